//! What the tests work with.

use std::future::Future;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use taskport_abstraction::backend::{
    Attempt, Delivery, Receipt, Submission, Verdict, WorkerEvent, WorkerSpec,
};
use taskport_abstraction::task::BoxFuture;
use taskport_abstraction::{
    ArgumentsBuilder, Backend, BackendName, Environment, Executor, JobId, JobOptions, JobState, Payload,
    QueueName, RawCall, Result, SystemClock, TaskName,
};
use taskport_native::NativeConfig;

/// How long a test waits for what must come.
const DEADLINE: Duration = Duration::from_secs(30);

pub(crate) async fn soon<T>(future: impl Future<Output = T>) -> T {
    tokio::time::timeout(DEADLINE, future).await.expect("it came to nothing within the deadline")
}

/// Asks again until the answer is `wanted`.
pub(crate) async fn eventually<T, F: Future<Output = T>>(
    mut ask: impl FnMut() -> F,
    wanted: impl Fn(&T) -> bool,
) -> T {
    soon(async {
        loop {
            let answer = ask().await;
            if wanted(&answer) {
                return answer;
            }
            tokio::task::yield_now().await;
        }
    })
    .await
}

pub(crate) async fn open(config: NativeConfig) -> Result<Arc<dyn Backend>> {
    let environment = Environment {
        clock: Arc::new(SystemClock),
        random_seed: 7,
        host: "here".into(),
        pid: std::process::id(),
    };
    soon((taskport_native::factory().open)(BackendName::new("main").unwrap(), config, environment)).await
}

pub(crate) async fn memory() -> Arc<dyn Backend> {
    open(NativeConfig::from_url("memory:").unwrap()).await.unwrap()
}

pub(crate) async fn sqlite(file: &Path) -> Arc<dyn Backend> {
    open(NativeConfig::from_url(format!("sqlite://{}", file.display())).unwrap()).await.unwrap()
}

pub(crate) fn job(id: &str) -> Submission {
    Submission {
        id: JobId::new(id).unwrap(),
        call: RawCall {
            task: TaskName::new("noop").unwrap(),
            arguments: ArgumentsBuilder::default().finish(),
        },
        options: JobOptions::default(),
    }
}

pub(crate) async fn submit(backend: &dyn Backend, job: Submission) -> Result<Receipt> {
    soon(backend.submit(vec![job])).await.pop().unwrap()
}

pub(crate) async fn state(backend: &dyn Backend, id: &str) -> JobState {
    let found = soon(backend.get(&[JobId::new(id).unwrap()])).await.unwrap();
    found[0].as_ref().expect("the job exists").state
}

pub(crate) fn spec(name: &str) -> WorkerSpec {
    WorkerSpec {
        name: name.into(),
        queues: vec![QueueName::default_queue()],
        tasks: vec![TaskName::new("noop").unwrap()],
        concurrency: 4,
        prefetch: 4,
        lease_for: Duration::from_secs(60),
        grace: Duration::from_secs(10),
    }
}

/// Settles every attempt as a function says.
pub(crate) struct Handler(pub(crate) fn(&Delivery) -> Verdict);

impl Handler {
    pub(crate) fn acks() -> Arc<dyn Executor> {
        Arc::new(Self(|delivery| Verdict::Ack(Payload::encode(&delivery.attempt).unwrap())))
    }
}

impl std::fmt::Debug for Handler {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Handler")
    }
}

impl Executor for Handler {
    fn execute(&self, attempt: Attempt) -> BoxFuture<'static, Verdict> {
        let verdict = (self.0)(&attempt.delivery);
        Box::pin(async move { verdict })
    }

    fn observe(&self, _: WorkerEvent) {}
}

/// Runs every attempt until it is asked to stop.
#[derive(Debug)]
pub(crate) struct Endless;

impl Executor for Endless {
    fn execute(&self, attempt: Attempt) -> BoxFuture<'static, Verdict> {
        Box::pin(async move {
            let reason = attempt.control.stopped().await;
            let message = format!("stopped: {reason:?}");
            let failure =
                taskport_abstraction::Failure::new(taskport_abstraction::FailureKind::Cancelled, message);
            Verdict::Cancelled(failure)
        })
    }

    fn observe(&self, _: WorkerEvent) {}
}
