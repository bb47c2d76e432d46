//! One job: its result, its end, its state.

use std::time::Duration;

use taskport::abstraction::backend::Cancellation;
use taskport::abstraction::codes;
use taskport::prelude::*;
use taskport::{ErrorKind, FailureKind, JobId, JobState};

use crate::kit::{PATIENCE, Place, add, eventually, fail, read_file, start, third_time_lucky, until_stopped};

#[tokio::test]
async fn a_submitted_call_yields_its_typed_result() {
    let place = Place::new();
    let port = place.open().await;
    let job = port.submit(add(19, 23)).await.unwrap();
    assert!(!job.existing());
    assert_eq!(job.status().await.unwrap().state, JobState::Queued);
    let worker = start(port.worker());
    assert_eq!(job.result_timeout(PATIENCE).await.unwrap(), 42);
    assert_eq!(job.status().await.unwrap().state, JobState::Succeeded);
    let report = worker.stop().await;
    assert_eq!((report.succeeded, report.failed), (1, 0));
    port.close().await.unwrap();
}

#[tokio::test]
async fn two_handles_on_one_file_are_one_queue() {
    let place = Place::new();
    let (submitter, worker_side) = (place.open().await, place.open().await);
    let worker = start(worker_side.worker());
    let job = submitter.submit(add(1, 2)).await.unwrap();
    assert_eq!(job.result_timeout(PATIENCE).await.unwrap(), 3);
    let elsewhere = worker_side.job(&job.job_ref().to_string().parse().unwrap()).unwrap();
    assert_eq!(elsewhere.result_timeout(PATIENCE).await.unwrap(), 3);
    worker.stop().await;
    submitter.close().await.unwrap();
    worker_side.close().await.unwrap();
}

#[tokio::test]
async fn a_failed_job_says_why_with_its_failure() {
    let place = Place::new();
    let port = place.open().await;
    let worker = start(port.worker());
    let error = port.submit(fail("no ink".into())).await.unwrap().result_timeout(PATIENCE).await.unwrap_err();
    assert_eq!((error.code(), error.kind()), (&codes::JOB_FAILED, ErrorKind::JobFailed));
    assert!(error.to_string().contains("no ink"), "{error}");
    assert_eq!(error.failure().unwrap().attempt, 1);
    assert_eq!(error.backend().unwrap().as_str(), "main");
    worker.stop().await;
}

#[tokio::test]
async fn a_failing_attempt_is_tried_again_by_the_task_s_policy() {
    let place = Place::new();
    let port = place.open().await;
    let worker = start(port.worker());
    assert_eq!(port.submit(third_time_lucky()).await.unwrap().result_timeout(PATIENCE).await.unwrap(), 3);
    let impatient = port.submit(third_time_lucky().max_attempts(2)).await.unwrap();
    let error = impatient.result_timeout(PATIENCE).await.unwrap_err();
    assert_eq!(error.failure().unwrap().attempt, 2);
    worker.stop().await;
}

#[tokio::test]
async fn a_wait_that_runs_out_leaves_the_job_alone() {
    let place = Place::new();
    let port = place.open().await;
    let job = port.submit(add(1, 1)).await.unwrap();
    let error = job.result_timeout(Duration::from_millis(5)).await.unwrap_err();
    assert_eq!(error.code(), &codes::WAIT_TIMEOUT);
    let worker = start(port.worker());
    assert_eq!(job.result_timeout(PATIENCE).await.unwrap(), 2);
    worker.stop().await;
}

#[tokio::test]
async fn a_cancelled_job_never_starts() {
    let place = Place::new();
    let port = place.open().await;
    let job = port.submit(add(1, 1)).await.unwrap();
    assert_eq!(job.cancel().await.unwrap(), Cancellation::Cancelled);
    let error = job.result_timeout(PATIENCE).await.unwrap_err();
    assert_eq!(error.code(), &codes::CANCELLED);
    assert_eq!(job.cancel().await.unwrap(), Cancellation::AlreadyEnded(JobState::Cancelled));
}

#[tokio::test]
async fn a_running_job_is_asked_to_stop() {
    let place = Place::new();
    let port = place.open().await;
    let worker = start(port.worker());
    let job = port.submit(until_stopped()).await.unwrap();
    eventually(async || job.status().await.unwrap().state, |state| *state == JobState::Running).await;
    assert_eq!(job.cancel().await.unwrap(), Cancellation::Requested);
    let error = job.result_timeout(PATIENCE).await.unwrap_err();
    assert_eq!(error.code(), &codes::CANCELLED);
    assert_eq!(error.failure().unwrap().kind, FailureKind::Cancelled);
    worker.stop().await;
}

#[tokio::test]
async fn a_dead_job_runs_again_when_retried() {
    let place = Place::new();
    let port = place.open().await;
    let worker = start(port.worker());
    let file = place.path().join("late.txt");
    let job = port.submit(read_file(file.clone())).await.unwrap();
    assert_eq!(job.result_timeout(PATIENCE).await.unwrap_err().code(), &codes::JOB_FAILED);
    std::fs::write(&file, "here").unwrap();
    job.retry().await.unwrap();
    assert_eq!(job.result_timeout(PATIENCE).await.unwrap(), "here");
    assert_eq!(job.retry().await.unwrap_err().code(), &codes::JOB_CONFLICT);
    worker.stop().await;
}

#[tokio::test]
async fn a_job_that_has_not_started_in_time_expires() {
    let place = Place::new();
    let port = place.open().await;
    let job = port.submit(add(1, 1).expires_in(Duration::from_millis(1))).await.unwrap();
    assert_eq!(job.result_timeout(PATIENCE).await.unwrap_err().code(), &codes::EXPIRED);
}

#[tokio::test]
async fn a_result_of_another_type_is_an_error_that_names_the_type() {
    let place = Place::new();
    let port = place.open().await;
    let worker = start(port.worker());
    let job = port.submit(add(1, 1)).await.unwrap();
    assert_eq!(job.result_timeout(PATIENCE).await.unwrap(), 2);
    let error = job.returning::<Vec<String>>().result_timeout(PATIENCE).await.unwrap_err();
    assert_eq!(error.code(), &codes::RESULT_TYPE);
    assert!(error.message().contains("Vec<"), "{error}");
    worker.stop().await;
}

#[tokio::test]
async fn a_job_nobody_submitted_is_not_found() {
    let place = Place::new();
    let port = place.open().await;
    let job = port.job(&"main:nobody".parse().unwrap()).unwrap();
    assert_eq!(job.status().await.unwrap_err().code(), &codes::JOB_NOT_FOUND);
    assert_eq!(job.result_timeout(PATIENCE).await.unwrap_err().code(), &codes::JOB_NOT_FOUND);
    assert_eq!(job.cancel().await.unwrap_err().code(), &codes::JOB_NOT_FOUND);
    assert_eq!(job.retry().await.unwrap_err().code(), &codes::JOB_NOT_FOUND);
    let elsewhere = port.job(&"mian:nobody".parse().unwrap()).unwrap_err();
    assert_eq!(elsewhere.remedy(), Some("did you mean `main`?"));
}

#[tokio::test]
async fn a_submit_of_one_id_or_key_yields_one_job() {
    let place = Place::new();
    let port = place.open().await;
    let id = JobId::new("order-17").unwrap();
    let first = port.submit(add(1, 1).id(id.clone())).await.unwrap();
    let again = port.submit(add(1, 1).id(id.clone())).await.unwrap();
    assert_eq!((first.id(), again.id(), again.existing()), (&id, &id, true));

    let first = port.submit(add(1, 2).idempotency_key("k")).await.unwrap();
    let again = port.submit(add(1, 2).idempotency_key("k")).await.unwrap();
    assert_eq!((first.id(), again.existing()), (again.id(), true));
    let other = port.submit(add(2, 2).idempotency_key("k")).await.unwrap_err();
    assert_eq!(other.code(), &codes::IDEMPOTENCY);
}

#[tokio::test]
async fn a_closed_handle_answers_and_takes_nothing() {
    let place = Place::new();
    let port = place.open().await;
    let job = port.submit(add(1, 1)).await.unwrap();
    port.close().await.unwrap();
    assert_eq!(port.submit(add(1, 1)).await.unwrap_err().code(), &codes::CLOSED);
    assert_eq!(job.status().await.unwrap_err().code(), &codes::CLOSED);
    assert_eq!(job.result_timeout(PATIENCE).await.unwrap_err().code(), &codes::CLOSED);
}
