use std::sync::Arc;

use futures_util::stream::BoxStream;
use taskport_abstraction::backend::{
    Admin, Backend, Cancellation, Health, Receipt, Scope, Submission, Worker, WorkerSpec, Workflows,
};
use taskport_abstraction::batch::Batches;
use taskport_abstraction::journal::Journal;
use taskport_abstraction::maintenance::Maintenance;
use taskport_abstraction::outbox::Transactional;
use taskport_abstraction::schedule::Schedules;
use taskport_abstraction::{
    BackendName, Capability, Certainty, Error, JobId, JobStatus, Outcome, Result, async_trait,
};

use super::drain::Stage;

/// The engine with the faults that were asked for. Inline, it runs what it has taken before it answers.
#[derive(Debug)]
pub(super) struct TestBackend {
    stage: Arc<Stage>,
    inline: bool,
}

impl TestBackend {
    pub(super) const fn new(stage: Arc<Stage>, inline: bool) -> Self {
        Self { stage, inline }
    }
}

#[async_trait]
impl Backend for TestBackend {
    fn name(&self) -> &BackendName {
        self.stage.backend().name()
    }

    fn kind(&self) -> &'static str {
        self.stage.backend().kind()
    }

    fn capabilities(&self, scope: Scope<'_>) -> Arc<Capability> {
        self.stage.backend().capabilities(scope)
    }

    async fn submit(&self, batch: Vec<Submission>) -> Vec<Result<Receipt>> {
        let refuse = |error: &Error, len: usize| (0..len).map(|_| Err(error.clone())).collect();
        let len = batch.len();
        let fault = self.stage.faults().next_submit();
        if let Some(error) = &fault
            && error.certainty() == Certainty::NotApplied
        {
            return refuse(error, len);
        }
        let receipts = self.stage.backend().submit(batch).await;
        if self.inline
            && let Err(error) = self.stage.drain_all().await
        {
            return refuse(&error.maybe_applied(), len);
        }
        match fault {
            Some(error) => refuse(&error, len),
            None => receipts,
        }
    }

    async fn get(&self, ids: &[JobId]) -> Result<Vec<Option<JobStatus>>> {
        self.stage.backend().get(ids).await
    }

    fn wait(&self, ids: Vec<JobId>) -> BoxStream<'static, (JobId, Result<Outcome>)> {
        self.stage.backend().wait(ids)
    }

    async fn cancel(&self, ids: &[JobId]) -> Vec<Result<Cancellation>> {
        self.stage.backend().cancel(ids).await
    }

    fn worker(&self, spec: WorkerSpec) -> Result<Box<dyn Worker>> {
        self.stage.backend().worker(spec)
    }

    fn workflows(&self) -> Option<&dyn Workflows> {
        self.stage.backend().workflows()
    }

    fn admin(&self) -> Option<&dyn Admin> {
        self.stage.backend().admin()
    }

    fn schedules(&self) -> Option<&dyn Schedules> {
        self.stage.backend().schedules()
    }

    fn batches(&self) -> Option<&dyn Batches> {
        self.stage.backend().batches()
    }

    fn journal(&self) -> Option<&dyn Journal> {
        self.stage.backend().journal()
    }

    fn transactional(&self) -> Option<&dyn Transactional> {
        self.stage.backend().transactional()
    }

    fn maintenance(&self) -> Option<&dyn Maintenance> {
        self.stage.backend().maintenance()
    }

    async fn health(&self) -> Result<Health> {
        self.stage.backend().health().await
    }

    async fn close(&self) -> Result<()> {
        self.stage.backend().close().await
    }
}
