//! Workers on the engine.

use std::sync::Arc;

use futures_util::StreamExt;
use taskport_abstraction::backend::{Shutdown, Verdict, WorkerReport};
use taskport_abstraction::{
    Backend, Executor, Failure, FailureKind, JobId, JobState, Outcome, Payload, Result, codes,
};
use taskport_worker::ShutdownController;
use tokio::task::JoinHandle;

use crate::support::{Endless, Handler, eventually, job, memory, soon, spec, sqlite, state, submit};

fn start(
    backend: &dyn Backend,
    name: &str,
    executor: Arc<dyn Executor>,
) -> (ShutdownController, JoinHandle<Result<WorkerReport>>) {
    let controller = ShutdownController::new();
    let shutdown: Arc<dyn Shutdown> = controller.handle();
    let worker = backend.worker(spec(name)).unwrap();
    (controller, tokio::spawn(worker.run(executor, shutdown)))
}

#[tokio::test(flavor = "multi_thread")]
async fn a_worker_runs_what_is_submitted_and_drains() {
    let backend = memory().await;
    let (controller, worker) = start(backend.as_ref(), "w", Handler::acks());
    let ids: Vec<JobId> = (0..200).map(|number| JobId::new(format!("j{number}")).unwrap()).collect();
    for result in soon(backend.submit(ids.iter().map(|id| job(id.as_str())).collect())).await {
        result.unwrap();
    }
    let mut ended = backend.wait(ids.clone());
    for _ in &ids {
        let (_, outcome) = soon(ended.next()).await.unwrap();
        assert_eq!(outcome.unwrap(), Outcome::Success(Payload::json("1")));
    }
    let admin = backend.admin().unwrap();
    let workers = soon(admin.workers()).await.unwrap();
    assert_eq!((workers[0].name.as_str(), workers[0].host.as_str(), workers[0].alive), ("w", "here", true));
    controller.drain();
    assert_eq!(soon(worker).await.unwrap().unwrap().succeeded, 200);
    assert!(soon(admin.workers()).await.unwrap().is_empty());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_cancel_stops_the_running_attempt_here_and_in_another_process() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("jobs.db");
    let (one, other) = (sqlite(&file).await, sqlite(&file).await);
    let (controller, worker) = start(one.as_ref(), "w", Arc::new(Endless));
    for (name, canceller) in [("here", &one), ("elsewhere", &other)] {
        submit(one.as_ref(), job(name)).await.unwrap();
        eventually(|| state(one.as_ref(), name), |state| *state == JobState::Running).await;
        let id = JobId::new(name).unwrap();
        soon(canceller.cancel(std::slice::from_ref(&id))).await.remove(0).unwrap();
        let (_, outcome) = soon(one.wait(vec![id]).next()).await.unwrap();
        let Outcome::Failure(failure) = outcome.unwrap() else { panic!("it was cancelled") };
        assert_eq!(failure.kind, FailureKind::Cancelled, "{failure}");
        assert_eq!(state(one.as_ref(), name).await, JobState::Cancelled);
    }
    controller.drain();
    soon(worker).await.unwrap().unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_result_over_the_limit_fails_the_job_for_good() {
    let backend = memory().await;
    let large = Handler(|_| Verdict::Ack(Payload::json(vec![b' '; (16 << 20) + 1])));
    let (controller, worker) = start(backend.as_ref(), "w", Arc::new(large));
    submit(backend.as_ref(), job("a")).await.unwrap();
    let (_, outcome) = soon(backend.wait(vec![JobId::new("a").unwrap()]).next()).await.unwrap();
    let Outcome::Failure(failure) = outcome.unwrap() else { panic!("the result is too large") };
    assert_eq!(failure.kind, FailureKind::ResultTooLarge);
    controller.drain();
    soon(worker).await.unwrap().unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_dead_letter_keeps_its_reason() {
    let backend = memory().await;
    let rejects = Handler(|_| Verdict::Reject(Failure::new(FailureKind::Fatal, "no such customer")));
    let (controller, worker) = start(backend.as_ref(), "w", Arc::new(rejects));
    submit(backend.as_ref(), job("a")).await.unwrap();
    let (_, outcome) = soon(backend.wait(vec![JobId::new("a").unwrap()]).next()).await.unwrap();
    let Outcome::Failure(failure) = outcome.unwrap() else { panic!("it was rejected") };
    assert_eq!((failure.message.as_str(), failure.attempt), ("no such customer", 1));
    assert_eq!(state(backend.as_ref(), "a").await, JobState::Failed);
    controller.drain();
    soon(worker).await.unwrap().unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_worker_ends_when_its_backend_closes() {
    let backend = memory().await;
    let (_controller, worker) = start(backend.as_ref(), "w", Handler::acks());
    let admin = backend.admin().unwrap();
    eventually(|| async { admin.workers().await.unwrap().len() }, |workers| *workers == 1).await;
    soon(backend.close()).await.unwrap();
    if let Err(error) = soon(worker).await.unwrap() {
        assert_eq!(error.code(), &codes::CLOSED);
    }
}

#[tokio::test]
async fn a_worker_that_could_never_work_is_refused() {
    let backend = memory().await;
    for change in [
        (|spec| spec.queues.clear()) as fn(&mut taskport_abstraction::backend::WorkerSpec),
        |spec| spec.concurrency = 0,
        |spec| spec.lease_for = std::time::Duration::ZERO,
    ] {
        let mut impossible = spec("w");
        change(&mut impossible);
        assert_eq!(backend.worker(impossible).err().unwrap().code(), &codes::BAD_OPTION);
    }
}
