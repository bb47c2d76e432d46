//! What the tests work with.

use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicI64, Ordering};
use std::time::Duration;

use futures_util::FutureExt;
use taskport_abstraction::backend::Delivery;
use taskport_abstraction::{
    ArgumentsBuilder, Clock, JobId, JobOptions, JobState, JobStatus, QueueName, RawCall, Result, SystemClock,
    TaskName, Timestamp,
};
use taskport_engine_runtime::{ClaimRequest, EngineConfig, EngineHandle, Enqueued, NewJob, NewWorker};
use taskport_store_memory::MemoryStore;

use crate::probe::Thumb;

/// How long a test waits for what must come.
const DEADLINE: Duration = Duration::from_secs(30);

pub(crate) async fn soon<T>(future: impl Future<Output = T>) -> T {
    tokio::time::timeout(DEADLINE, future).await.expect("it came to nothing within the deadline")
}

/// Polls a future for the first time, which must not be enough for it.
pub(crate) fn started<F: Future>(future: F) -> Pin<Box<F>> {
    let mut future = Box::pin(future);
    assert!(future.as_mut().now_or_never().is_none(), "it had nothing to wait for");
    future
}

/// A clock that a test moves.
#[derive(Debug)]
pub(crate) struct HandClock(AtomicI64);

impl HandClock {
    pub(crate) fn new() -> Arc<Self> {
        Arc::new(Self(AtomicI64::new(1_790_000_000_000_000)))
    }

    pub(crate) fn advance(&self, by: Duration) {
        self.0.fetch_add(i64::try_from(by.as_micros()).unwrap(), Ordering::SeqCst);
    }
}

impl Clock for HandClock {
    fn now(&self) -> Timestamp {
        Timestamp::from_micros(self.0.load(Ordering::SeqCst))
    }
}

/// An engine in memory, under the system's clock.
pub(crate) async fn memory() -> EngineHandle {
    memory_at(Arc::new(SystemClock)).await
}

pub(crate) async fn memory_at(clock: Arc<dyn Clock>) -> EngineHandle {
    EngineHandle::open(|| Ok(MemoryStore::new()), EngineConfig::default(), clock).await.unwrap()
}

/// An engine in memory whose transactions the test has under its thumb.
pub(crate) async fn probed() -> (EngineHandle, Arc<Thumb>) {
    let thumb = Arc::new(Thumb::default());
    let inner = thumb.clone();
    let open = move || Ok(inner.on(MemoryStore::new()));
    let engine = EngineHandle::open(open, EngineConfig::default(), Arc::new(SystemClock)).await.unwrap();
    (engine, thumb)
}

pub(crate) fn job(id: &str) -> NewJob {
    let call =
        RawCall { task: TaskName::new("noop").unwrap(), arguments: ArgumentsBuilder::default().finish() };
    NewJob { id: JobId::new(id).unwrap(), call, options: JobOptions::default(), step: None }
}

pub(crate) async fn submit(engine: &EngineHandle, id: &str) -> Result<Enqueued> {
    soon(engine.enqueue(vec![job(id)])).await.pop().unwrap()
}

/// A worker on the list, and what it claims.
pub(crate) async fn worker(engine: &EngineHandle, name: &str, lease_for: Duration) -> ClaimRequest {
    let request = ClaimRequest {
        worker: name.into(),
        queues: Arc::new([QueueName::default_queue()]),
        max: 100,
        lease_for,
    };
    let worker = NewWorker {
        name: name.into(),
        host: "here".to_owned(),
        pid: 1,
        queues: request.queues.to_vec(),
        tasks: Vec::new(),
        slots: 100,
        lease_for,
    };
    soon(engine.register_worker(worker)).await.unwrap();
    request
}

pub(crate) async fn claim(engine: &EngineHandle, request: &ClaimRequest) -> Vec<Delivery> {
    soon(engine.claim(request)).await.unwrap()
}

pub(crate) async fn status(engine: &EngineHandle, id: &str) -> Option<JobStatus> {
    soon(engine.get(vec![JobId::new(id).unwrap()])).await.unwrap().pop().unwrap()
}

pub(crate) async fn state(engine: &EngineHandle, id: &str) -> JobState {
    status(engine, id).await.expect("the job exists").state
}
