//! What is carried with a job, and what is told of it.

use serde_json::{Value, json};
use taskport_abstraction::backend::JobFilter;
use taskport_abstraction::{Call, JobState, Outcome, WithOptions};

use super::cases;
use crate::fixture::{Fixture, eventually};
use crate::kit::{echo, gated};

cases! { "describe":
    an_unknown_job_is_told_from_a_waiting_one needs [StatusUnknown],
    a_status_follows_the_job_through_its_life needs [Status],
    many_statuses_come_in_order needs [Status, SubmitBatch],
    tags_find_jobs needs [Tags, JobList],
    metadata_reaches_the_handler needs [Metadata],
    the_parent_is_recorded needs [Parent],
    the_trace_reaches_the_handler needs [TraceContext],
    arguments_are_kept_as_they_came needs [ArgumentsKept],
    progress_is_seen_by_others needs [Progress],
    outcomes_are_announced_to_all_who_wait needs [ResultsPushed],
    waiting_for_an_unknown_job_says_so needs [Results, StatusUnknown],
    an_oversize_result_is_a_failure_and_not_retried needs [Results, FailureDetails],
}

const TRACE: &str = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01";

async fn described(f: &Fixture, change: impl FnOnce(Call) -> Call) -> Value {
    let _worker = f.worker(1);
    let id = f.submit(change(Call::dynamic::<Value>("suite.describe", &[], &[]))).await;
    f.outcome(&id).await;
    f.stage().seen().remove(0)
}

async fn an_unknown_job_is_told_from_a_waiting_one(f: Fixture) {
    let waiting = f.submit(echo(1)).await;
    let unknown = f.new_id();
    let found = f.backend().get(&[unknown, waiting]).await.unwrap();
    assert!(found[0].is_none());
    assert_eq!(found[1].as_ref().unwrap().state, JobState::Queued);
}

async fn a_status_follows_the_job_through_its_life(f: Fixture) {
    let id = f.submit(gated("g", 1)).await;
    let queued = f.status(&id).await;
    assert_eq!((queued.state, queued.attempt, queued.task.as_str()), (JobState::Queued, 0, "suite.gate"));
    assert!(queued.submitted_at.is_some() && queued.started_at.is_none() && queued.finished_at.is_none());
    let _worker = f.worker(1);
    let running = f.until_state(&id, JobState::Running).await;
    assert_eq!(running.attempt, 1);
    assert!(running.started_at.is_some() && running.worker.is_some());
    f.stage().open_gate("g");
    f.outcome(&id).await;
    let ended = f.status(&id).await;
    assert_eq!(ended.state, JobState::Succeeded);
    assert!(ended.finished_at >= ended.started_at);
    assert!(matches!(ended.outcome, Some(Outcome::Success(_))));
}

async fn many_statuses_come_in_order(f: Fixture) {
    let receipts = f.submit_all((0..50).map(echo)).await;
    let mut ids: Vec<_> = receipts.into_iter().map(|receipt| receipt.unwrap().job.id).collect();
    ids.reverse();
    let found = f.backend().get(&ids).await.unwrap();
    assert_eq!(found.into_iter().map(|status| status.unwrap().id).collect::<Vec<_>>(), ids);
}

async fn tags_find_jobs(f: Fixture) {
    f.submit(echo(1).tag("red")).await;
    let both = f.submit(echo(2).tag("red").tag("blue")).await;
    let found = f.list(JobFilter { tag: Some("blue".into()), ..JobFilter::default() }).await;
    assert_eq!(found.iter().map(|job| &job.id).collect::<Vec<_>>(), [&both]);
    assert_eq!(f.list(JobFilter { tag: Some("red".into()), ..JobFilter::default() }).await.len(), 2);
    assert!(f.list(JobFilter { tag: Some("re".into()), ..JobFilter::default() }).await.is_empty());
}

async fn metadata_reaches_the_handler(f: Fixture) {
    let seen = described(&f, |call| call.metadata("customer", "42").metadata("é", "\"")).await;
    assert_eq!(seen["options"]["metadata"], json!({"customer": "42", "é": "\""}));
}

async fn the_parent_is_recorded(f: Fixture) {
    let parent = f.submit(echo(1).queue("other")).await;
    let seen = described(&f, |call| call.parent(parent.clone())).await;
    assert_eq!(seen["options"]["parent"], json!(parent));
}

async fn the_trace_reaches_the_handler(f: Fixture) {
    let seen = described(&f, |call| call.trace(TRACE)).await;
    assert_eq!(seen["options"]["trace"], TRACE);
}

async fn arguments_are_kept_as_they_came(f: Fixture) {
    let call = Call::dynamic("suite.add", &[1], &[("right".into(), json!(2.50))]);
    let expected = call.clone().into_raw().unwrap().1.arguments;
    let id = f.submit(call).await;
    assert_eq!(f.status(&id).await.arguments, expected);
}

async fn progress_is_seen_by_others(f: Fixture) {
    let _worker = f.worker(1);
    let id = f.submit(Call::dynamic("suite.progress", &["g"], &[])).await;
    let seen =
        eventually("progress shows", async || f.status(&id).await.progress.ok_or("none".to_owned())).await;
    assert_eq!((seen.fraction, seen.message.as_deref()), (0.5, Some("half way")));
    f.stage().open_gate("g");
    f.outcome(&id).await;
}

async fn outcomes_are_announced_to_all_who_wait(f: Fixture) {
    let id = f.submit(gated("g", 1)).await;
    let waiters: Vec<_> = (0..8).map(|_| f.outcome(&id)).collect();
    let _worker = f.worker(1);
    f.stage().open_gate("g");
    for outcome in futures_util::future::join_all(waiters).await {
        assert!(matches!(outcome, Outcome::Success(_)));
    }
}

async fn waiting_for_an_unknown_job_says_so(f: Fixture) {
    let error = f.try_outcome(&f.new_id()).await.unwrap_err();
    assert_eq!(error.code(), &taskport_abstraction::codes::JOB_NOT_FOUND);
}

async fn an_oversize_result_is_a_failure_and_not_retried(f: Fixture) {
    let Some(limit) = f.capability().result_bytes_max else { return };
    let _worker = f.worker(1);
    let fits = f.submit(Call::dynamic("suite.large", &[limit - 2], &[])).await;
    assert_eq!(f.result::<String>(&fits).await.len() as u64, limit - 2);
    let large = f.submit(Call::dynamic("suite.large", &[limit - 1], &[])).await;
    let failure = f.failure(&large).await;
    assert_eq!(failure.kind, taskport_abstraction::FailureKind::ResultTooLarge);
    assert_eq!(f.status(&large).await.attempt, 1);
}
