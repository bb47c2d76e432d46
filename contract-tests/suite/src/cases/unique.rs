//! Idempotency keys.

use std::time::Duration;

use taskport_abstraction::options::{OnConflict, Unique};
use taskport_abstraction::{ErrorKind, JobState, WithOptions};

use super::cases;
use crate::fixture::{Fixture, refused};
use crate::kit::{echo, gated};

cases! { "unique":
    a_second_submit_of_a_live_key_returns_the_first_job needs [UniqueWhileLive],
    the_key_is_free_when_its_job_has_ended needs [UniqueWhileLive, Results],
    many_submits_of_one_key_at_once_make_one_job needs [UniqueWhileLive, SubmitBatch],
    a_key_for_a_period_outlives_its_job needs [UniqueForPeriod, Results],
    a_key_for_a_period_is_free_after_it needs [UniqueForPeriod],
    a_key_for_ever_outlives_its_job needs [UniqueForever, Results],
    another_call_under_a_key_is_a_violation needs [UniqueWhileLive],
    a_waiting_job_is_replaced needs [UniqueReplace, UniqueWhileLive],
    a_running_job_is_not_replaced_and_the_newer_request_is_kept needs [UniqueReplace, UniqueWhileLive],
    a_key_outlives_a_restart needs [UniqueForever, Durable],
}

const PERIOD: Duration = Duration::from_millis(300);

async fn a_second_submit_of_a_live_key_returns_the_first_job(f: Fixture) {
    let first = f.try_submit(echo(1).idempotency_key("k")).await.unwrap();
    let second = f.try_submit(echo(1).idempotency_key("k")).await.unwrap();
    assert_eq!((&second.job, second.existing), (&first.job, true));
    let other = f.try_submit(echo(1).idempotency_key("l")).await.unwrap();
    assert!(!other.existing);
    let worker = f.worker(1);
    f.outcome(&first.job.id).await;
    f.outcome(&other.job.id).await;
    assert_eq!(worker.drain().await.succeeded, 2);
}

async fn the_key_is_free_when_its_job_has_ended(f: Fixture) {
    let first = f.submit(echo(1).idempotency_key("k")).await;
    let _worker = f.worker(1);
    f.outcome(&first).await;
    let second = f.try_submit(echo(2).idempotency_key("k")).await.unwrap();
    assert!(!second.existing);
    assert_eq!(f.result::<i64>(&second.job.id).await, 2);
}

async fn many_submits_of_one_key_at_once_make_one_job(f: Fixture) {
    let submits = (0..32).map(|_| f.try_submit(echo(1).idempotency_key("k")));
    let receipts = futures_util::future::join_all(submits).await;
    let new = receipts.iter().filter(|receipt| !receipt.as_ref().unwrap().existing).count();
    assert_eq!(new, 1);
    let batch = f.submit_all((0..32).map(|_| echo(1).idempotency_key("l"))).await;
    assert_eq!(batch.iter().filter(|receipt| !receipt.as_ref().unwrap().existing).count(), 1);
}

async fn a_key_for_a_period_outlives_its_job(f: Fixture) {
    let call = || echo(1).unique("k", Unique::For(Duration::from_secs(3_600)), OnConflict::Keep);
    let first = f.submit(call()).await;
    let _worker = f.worker(1);
    f.outcome(&first).await;
    assert_eq!(f.try_submit(call()).await.unwrap().job.id, first);
    assert_eq!(f.stage().started().len(), 1);
}

async fn a_key_for_a_period_is_free_after_it(f: Fixture) {
    let call = || echo(1).unique("k", Unique::For(PERIOD), OnConflict::Keep);
    let first = f.submit(call()).await;
    let marker = f.submit(echo("marker").queue("other").delay(PERIOD * 2)).await;
    let _worker = f.worker_of(f.backend(), &["default", "other"], 2);
    f.outcome(&first).await;
    f.outcome(&marker).await;
    assert!(!f.try_submit(call()).await.unwrap().existing);
}

async fn a_key_for_ever_outlives_its_job(f: Fixture) {
    let call = || echo(1).unique("k", Unique::Forever, OnConflict::Keep);
    let first = f.submit(call()).await;
    let _worker = f.worker(1);
    f.outcome(&first).await;
    let second = f.try_submit(call()).await.unwrap();
    assert_eq!((second.job.id, second.existing), (first, true));
}

async fn another_call_under_a_key_is_a_violation(f: Fixture) {
    let first = f.submit(echo(1).idempotency_key("k")).await;
    let error = refused(f.try_submit(echo(2).idempotency_key("k")).await);
    assert_eq!(error.kind(), ErrorKind::IdempotencyViolation);
    let _worker = f.worker(1);
    assert_eq!(f.result::<i64>(&first).await, 1);
}

async fn a_waiting_job_is_replaced(f: Fixture) {
    let replace = |value: i64| echo(value).unique("k", Unique::WhileLive, OnConflict::Replace);
    let first = f.submit(replace(1).priority(1)).await;
    let second = f.try_submit(replace(2).priority(8)).await.unwrap();
    assert_eq!((&second.job.id, second.existing), (&first, true));
    assert_eq!(f.status(&first).await.options.priority.unwrap().level(), 8);
    let worker = f.worker(1);
    assert_eq!(f.result::<i64>(&first).await, 2);
    assert_eq!(worker.drain().await.succeeded, 1);
    assert_eq!(f.stage().started(), [2]);
}

async fn a_running_job_is_not_replaced_and_the_newer_request_is_kept(f: Fixture) {
    let replace = |key: i64| gated("g", key).unique("k", Unique::WhileLive, OnConflict::Replace);
    let _worker = f.worker(1);
    let first = f.submit(replace(1)).await;
    f.until_state(&first, JobState::Running).await;
    let second = f.try_submit(replace(2)).await.unwrap();
    assert!(!second.existing);
    assert_ne!(second.job.id, first);
    f.stage().open_gate("g");
    assert_eq!(f.result::<i64>(&first).await, 1);
    assert_eq!(f.result::<i64>(&second.job.id).await, 2);
}

async fn a_key_outlives_a_restart(mut f: Fixture) {
    let call = || echo(1).unique("k", Unique::Forever, OnConflict::Keep);
    let first = f.submit(call()).await;
    f.restart().await;
    assert_eq!(f.submit(call()).await, first);
}
