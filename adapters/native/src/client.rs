//! The engine as a backend: submit, status, outcome, cancel.

use std::sync::Arc;

use async_trait::async_trait;
use futures_util::StreamExt;
use futures_util::stream::BoxStream;
use taskport_abstraction::backend::{
    Admin, Backend, Cancellation, Health, Receipt, Scope, Submission, Worker, WorkerSpec, Workflows,
};
use taskport_abstraction::batch::Batches;
use taskport_abstraction::id::IdGenerator;
use taskport_abstraction::journal::Journal;
use taskport_abstraction::maintenance::Maintenance;
use taskport_abstraction::outbox::Transactional;
use taskport_abstraction::schedule::Schedules;
use taskport_abstraction::{
    BackendName, Capability, Environment, Error, Feature, JobId, JobRef, JobStatus, Outcome, Result, codes,
};
use taskport_engine_runtime::{EngineHandle, NewJob};
use taskport_worker::PullWorker;

use crate::KIND;
use crate::capability::SUBMIT_BATCH_MAX;

/// One embedded engine under its configured name.
#[derive(Debug)]
pub struct NativeBackend {
    pub(crate) name: BackendName,
    pub(crate) engine: EngineHandle,
    pub(crate) environment: Environment,
    /// For jobs that nobody gave an id.
    pub(crate) ids: IdGenerator,
    pub(crate) capability: Arc<Capability>,
    pub(crate) health: Health,
}

impl NativeBackend {
    /// Names this backend in an error.
    pub(crate) fn here<T>(&self, answer: Result<T>) -> Result<T> {
        answer.map_err(|error| error.in_backend(&self.name))
    }

    /// The same for each of many answers.
    pub(crate) fn all_here<T>(&self, answers: Vec<Result<T>>) -> Vec<Result<T>> {
        answers.into_iter().map(|answer| self.here(answer)).collect()
    }

    /// An id of our own.
    pub(crate) fn new_id(&self) -> JobId {
        self.ids.job_id(self.environment.clock.now())
    }

    pub(crate) fn check(&self, submission: &Submission) -> Result<()> {
        submission.options.validate()?;
        for feature in submission.options.needs() {
            self.capability.require(feature, "submit")?;
        }
        let bytes = submission.call.arguments.len() as u64;
        match self.capability.payload_bytes_max {
            Some(max) if bytes > max => Err(Error::new(
                &codes::PAYLOAD_TOO_LARGE,
                "submit",
                format!("the arguments of job `{}` have {bytes} bytes, more than {max}", submission.id),
            )
            .hint("raise `payload_bytes_max`, or pass a file's name instead of its contents")),
            _ => Ok(()),
        }
    }
}

#[async_trait]
impl Backend for NativeBackend {
    fn name(&self) -> &BackendName {
        &self.name
    }

    fn kind(&self) -> &'static str {
        KIND
    }

    fn capabilities(&self, _: Scope<'_>) -> Arc<Capability> {
        self.capability.clone()
    }

    async fn submit(&self, batch: Vec<Submission>) -> Vec<Result<Receipt>> {
        if batch.len() > SUBMIT_BATCH_MAX {
            let message =
                format!("a submit of {} jobs is larger than the limit, {SUBMIT_BATCH_MAX}", batch.len());
            let error = Error::new(&codes::PAYLOAD_TOO_LARGE, "submit", message)
                .hint("submit in smaller batches")
                .in_backend(&self.name);
            return batch.iter().map(|_| Err(error.clone())).collect();
        }
        let checks: Vec<Result<()>> = batch.iter().map(|submission| self.check(submission)).collect();
        let good = batch.into_iter().zip(&checks).filter(|(_, check)| check.is_ok());
        let jobs = good.map(|(submission, _)| NewJob::from(submission)).collect();
        let mut taken = self.engine.enqueue(jobs).await.into_iter();
        let receipts = checks.into_iter().map(|check| {
            check?;
            let taken = taken.next().ok_or_else(|| {
                Error::new(&codes::INTERNAL, "submit", "the engine left a job without an answer")
                    .maybe_applied()
            })??;
            Ok(Receipt { job: JobRef { backend: self.name.clone(), id: taken.id }, existing: taken.existing })
        });
        receipts.map(|receipt| self.here(receipt)).collect()
    }

    async fn get(&self, ids: &[JobId]) -> Result<Vec<Option<JobStatus>>> {
        self.here(self.engine.get(ids.to_vec()).await)
    }

    fn wait(&self, ids: Vec<JobId>) -> BoxStream<'static, (JobId, Result<Outcome>)> {
        let name = self.name.clone();
        let ended = self.engine.wait(ids);
        ended.map(move |(id, outcome)| (id, outcome.map_err(|error| error.in_backend(&name)))).boxed()
    }

    async fn cancel(&self, ids: &[JobId]) -> Vec<Result<Cancellation>> {
        self.all_here(self.engine.cancel(ids.to_vec()).await)
    }

    fn worker(&self, spec: WorkerSpec) -> Result<Box<dyn Worker>> {
        let consumer = self.consumer(&spec)?;
        Ok(Box::new(PullWorker::new(consumer, spec, self.environment.clock.clone())))
    }

    fn workflows(&self) -> Option<&dyn Workflows> {
        Some(self)
    }

    fn admin(&self) -> Option<&dyn Admin> {
        Some(self)
    }

    fn schedules(&self) -> Option<&dyn Schedules> {
        Some(self)
    }

    fn batches(&self) -> Option<&dyn Batches> {
        Some(self)
    }

    fn journal(&self) -> Option<&dyn Journal> {
        Some(self)
    }

    fn transactional(&self) -> Option<&dyn Transactional> {
        self.capability.supports(Feature::TransactionalEnqueue).then_some(self as _)
    }

    fn maintenance(&self) -> Option<&dyn Maintenance> {
        Some(self)
    }

    async fn health(&self) -> Result<Health> {
        // A read that comes back proves that the file and both threads are there.
        self.here(self.engine.stats().await)?;
        Ok(self.health.clone())
    }

    async fn close(&self) -> Result<()> {
        self.engine.close().await;
        Ok(())
    }
}

pub(crate) fn check_spec(spec: &WorkerSpec) -> Result<()> {
    let bad = |message: &'static str| Err(Error::new(&codes::BAD_OPTION, "start worker", message));
    if spec.queues.is_empty() {
        return bad("a worker needs at least one queue");
    }
    if spec.concurrency == 0 {
        return bad("a worker needs a concurrency of at least 1");
    }
    if spec.lease_for.is_zero() {
        return bad("a lease of no length would lapse before its job starts");
    }
    Ok(())
}
