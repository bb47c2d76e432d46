//! The working half of a victim: the worker every program has, with a consumer that is watched.

use std::sync::Arc;

use taskport_abstraction::backend::{Attempt, Verdict, WorkerEvent, WorkerSpec};
use taskport_abstraction::task::BoxFuture;
use taskport_abstraction::{Error, Executor, QueueName, Worker};
use taskport_worker::profile::Isolation;
use taskport_worker::{ExecutorOptions, Profile, PullWorker, ShutdownController, TaskExecutor};

use super::Victim;
use super::consumer::{RecordingConsumer, key_of};
use super::ledger::Ledger;
use super::producer::BOUNDED;
use super::tasks::{ISOLATED, registry};
use crate::history::History;

/// How much memory an attempt in a child may hold.
const CHILD_BYTES_MAX: u64 = 128 << 20;

/// Runs jobs until it is told to stop, where the settings say so.
pub(crate) async fn run(victim: &Arc<Victim>, shutdown: &ShutdownController) -> Result<(), Error> {
    let Some(work) = victim.settings.work.clone() else { return Ok(()) };
    let registry = registry().build()?;
    let tasks = registry.tasks().filter(|task| work.isolated || !ISOLATED.contains(&task.name.as_str()));
    let spec = WorkerSpec {
        name: victim.settings.name.as_str().into(),
        queues: vec![QueueName::default_queue(), QueueName::new(BOUNDED)?],
        tasks: tasks.map(|task| task.name.clone()).collect(),
        concurrency: work.concurrency,
        prefetch: work.prefetch,
        lease_for: work.lease,
        grace: work.grace,
    };
    let ledger = Ledger::new(
        History::create(&victim.settings.records, "ledger", &victim.settings.name, &victim.clock)
            .map_err(|source| failed(source.to_string()))?,
    );
    ledger.install();
    let consumer = RecordingConsumer::new(victim.backend.consumer(&spec)?, victim.clone(), ledger.clone());
    let profile = Profile {
        isolation: Isolation::Process,
        memory_bytes: Some(CHILD_BYTES_MAX),
        ..Profile::new("child", ISOLATED)
    };
    let options = ExecutorOptions { profiles: vec![profile], ..ExecutorOptions::default() };
    let executor = RecordingExecutor { inner: TaskExecutor::new(&registry, options)?, ledger };
    let worker = PullWorker::new(Arc::new(consumer), spec, Arc::new(victim.clock.clone()));
    Box::new(worker).run(Arc::new(executor), shutdown.handle()).await.map(drop)
}

fn failed(message: String) -> Error {
    Error::new(&taskport_abstraction::codes::INTERNAL, "start worker", message)
}

/// Writes the effects of attempts that run in a child, which has no ledger. Every other handler writes its own.
#[derive(Debug)]
struct RecordingExecutor {
    inner: TaskExecutor,
    ledger: Arc<Ledger>,
}

impl Executor for RecordingExecutor {
    fn execute(&self, attempt: Attempt) -> BoxFuture<'static, Verdict> {
        let delivery = &attempt.delivery;
        let is_isolated = ISOLATED.contains(&delivery.call.task.as_str());
        let effect = is_isolated
            .then(|| key_of(&delivery.call.arguments))
            .flatten()
            .map(|key| self.ledger.start(&key, &delivery.lease.job, delivery.attempt));
        let verdict = self.inner.execute(attempt);
        Box::pin(async move {
            let verdict = verdict.await;
            if let (Some(effect), Verdict::Ack(_)) = (effect, &verdict) {
                effect.end();
            }
            verdict
        })
    }

    fn observe(&self, event: WorkerEvent) {
        self.inner.observe(event);
    }
}
