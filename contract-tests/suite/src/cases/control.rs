//! Cancelling.

use std::time::Duration;

use taskport_abstraction::backend::Cancellation;
use taskport_abstraction::context::StopReason;
use taskport_abstraction::{FailureKind, JobState, WithOptions, codes};

use super::cases;
use crate::fixture::Fixture;
use crate::kit::{echo, failing, gated};

cases! { "cancel":
    a_queued_job_never_starts_after_a_cancel needs [CancelWaiting],
    a_scheduled_job_is_cancelled needs [CancelWaiting, Delay],
    a_retrying_job_is_cancelled needs [CancelWaiting, RetryFixed],
    a_running_attempt_is_asked_to_stop needs [CancelRunning],
    a_handler_that_finishes_all_the_same_succeeds needs [CancelRunning],
    an_ended_job_stays_as_it_is needs [CancelWaiting, Results],
    an_unknown_job_cannot_be_cancelled needs [CancelWaiting],
    a_cancel_answers_for_each_job_in_order needs [CancelWaiting, SubmitBatch],
    a_cancel_reaches_another_process needs [CancelRunning, MultiProcess],
    a_cancelled_job_wakes_those_who_wait needs [CancelWaiting, ResultsPushed],
}

async fn cancel(f: &Fixture, id: &taskport_abstraction::JobId) -> Cancellation {
    f.backend().cancel(std::slice::from_ref(id)).await.remove(0).unwrap()
}

async fn a_queued_job_never_starts_after_a_cancel(f: Fixture) {
    let id = f.submit(echo(1)).await;
    assert_eq!(cancel(&f, &id).await, Cancellation::Cancelled);
    let worker = f.worker(1);
    let next = f.submit(echo(2)).await;
    f.outcome(&next).await;
    worker.drain().await;
    assert_eq!(f.stage().started(), [2]);
    assert_eq!(f.failure(&id).await.kind, FailureKind::Cancelled);
    assert_eq!(f.status(&id).await.state, JobState::Cancelled);
}

async fn a_scheduled_job_is_cancelled(f: Fixture) {
    let id = f.submit(echo(1).delay(Duration::from_secs(3_600))).await;
    assert_eq!(cancel(&f, &id).await, Cancellation::Cancelled);
    assert_eq!(f.status(&id).await.state, JobState::Cancelled);
}

async fn a_retrying_job_is_cancelled(f: Fixture) {
    let _worker = f.worker(1);
    let id = f.submit(failing("k", 9, "error").backoff("fixed(1h)".parse().unwrap())).await;
    f.until_state(&id, JobState::Retrying).await;
    assert_eq!(cancel(&f, &id).await, Cancellation::Cancelled);
    assert_eq!(f.status(&id).await.state, JobState::Cancelled);
}

async fn a_running_attempt_is_asked_to_stop(f: Fixture) {
    let _worker = f.worker(1);
    let id = f.submit(gated("never", 1)).await;
    f.until_state(&id, JobState::Running).await;
    assert_eq!(cancel(&f, &id).await, Cancellation::Requested);
    assert_eq!(f.failure(&id).await.kind, FailureKind::Cancelled);
    assert_eq!(f.stage().stops(), [StopReason::Cancelled]);
    assert_eq!(f.stage().starts().len(), 1, "a cancelled attempt is not retried");
}

async fn a_handler_that_finishes_all_the_same_succeeds(f: Fixture) {
    let release = f.path("release");
    let ledger = f.path("ledger");
    let arguments = [&ledger, &f.path("key"), &release].map(|path| path.to_string_lossy().into_owned());
    let _worker = f.worker(1);
    let id = f.submit(taskport_abstraction::Call::dynamic("suite.hold", &arguments, &[])).await;
    f.until_state(&id, JobState::Running).await;
    cancel(&f, &id).await;
    assert_eq!(f.result::<String>(&id).await, "attempt 1");
}

async fn an_ended_job_stays_as_it_is(f: Fixture) {
    let _worker = f.worker(1);
    let id = f.submit(echo(1)).await;
    f.outcome(&id).await;
    assert_eq!(cancel(&f, &id).await, Cancellation::AlreadyEnded(JobState::Succeeded));
    assert_eq!(f.result::<i64>(&id).await, 1);
}

async fn an_unknown_job_cannot_be_cancelled(f: Fixture) {
    let error = f.backend().cancel(&[f.new_id()]).await.remove(0).unwrap_err();
    assert_eq!(error.code(), &codes::JOB_NOT_FOUND);
}

async fn a_cancel_answers_for_each_job_in_order(f: Fixture) {
    let first = f.submit(echo(1)).await;
    let second = f.submit(echo(2)).await;
    let answers = f.backend().cancel(&[first, f.new_id(), second]).await;
    assert!(answers[0].is_ok() && answers[1].is_err() && answers[2].is_ok());
}

async fn a_cancel_reaches_another_process(f: Fixture) {
    let other = f.second_handle().await;
    let _worker = f.worker_of(&other, &["default"], 1);
    let id = f.submit(gated("never", 1)).await;
    f.until_state(&id, JobState::Running).await;
    assert_eq!(cancel(&f, &id).await, Cancellation::Requested);
    assert_eq!(f.failure(&id).await.kind, FailureKind::Cancelled);
}

async fn a_cancelled_job_wakes_those_who_wait(f: Fixture) {
    let id = f.submit(echo(1)).await;
    let (failure, _) = futures_util::future::join(f.failure(&id), cancel(&f, &id)).await;
    assert_eq!(failure.kind, FailureKind::Cancelled);
}
