//! Leases: who gets them, who loses them.

use std::time::Duration;

use futures_util::{StreamExt, stream};
use taskport_abstraction::backend::{Cancellation, WorkerLoad};
use taskport_abstraction::options::Start;
use taskport_abstraction::{Failure, FailureKind, JobId, JobState, Payload, codes};

use crate::support::{
    HandClock, claim, job, memory, memory_at, probed, soon, started, state, status, submit, worker,
};

const LEASE: Duration = Duration::from_secs(60);

#[tokio::test]
async fn a_waiting_worker_gets_a_job_as_soon_as_it_is_taken() {
    let engine = memory().await;
    let request = worker(&engine, "w", LEASE).await;
    let waiting = started(engine.claim(&request));
    submit(&engine, "a").await.unwrap();
    let deliveries = soon(waiting).await.unwrap();
    assert_eq!(deliveries[0].lease.job.as_str(), "a");
    assert_eq!(deliveries[0].attempt, 1);
}

#[tokio::test]
async fn jobs_leased_for_a_dropped_claim_are_handed_back_without_an_attempt() {
    let (engine, thumb) = probed().await;
    let request = worker(&engine, "w", LEASE).await;
    let dropped = started(engine.claim(&request));
    // An answer says that the claim, which came before, waits in the writer.
    assert!(soon(engine.heartbeat("w".into(), WorkerLoad::default())).await.unwrap());
    // The claim is dropped while the commit that leases it the job is under way.
    thumb.hold();
    let busy = tokio::spawn({
        let engine = engine.clone();
        async move { submit(&engine, "a").await }
    });
    let held = thumb.clone();
    tokio::task::spawn_blocking(move || held.await_held()).await.unwrap();
    drop(dropped);
    thumb.let_go();
    busy.await.unwrap().unwrap();
    let deliveries = claim(&engine, &request).await;
    assert_eq!((deliveries[0].lease.job.as_str(), deliveries[0].attempt), ("a", 1));
}

#[tokio::test]
async fn jobs_that_arrived_at_a_claim_nobody_looked_at_again_are_handed_back_too() {
    let engine = memory().await;
    let request = worker(&engine, "w", LEASE).await;
    let dropped = started(engine.claim(&request));
    submit(&engine, "a").await.unwrap();
    drop(dropped);
    let deliveries = claim(&engine, &request).await;
    assert_eq!((deliveries[0].lease.job.as_str(), deliveries[0].attempt), ("a", 1));
}

#[tokio::test]
async fn a_worker_that_gave_up_waiting_takes_no_job_from_others() {
    let engine = memory().await;
    let request = worker(&engine, "w", LEASE).await;
    let gone = started(engine.claim(&request));
    let waiting = started(engine.claim(&request));
    drop(gone);
    submit(&engine, "a").await.unwrap();
    assert_eq!(soon(waiting).await.unwrap().len(), 1);
}

#[tokio::test]
async fn a_worker_that_finds_nothing_begins_no_transaction() {
    let (engine, thumb) = probed().await;
    let request = worker(&engine, "w", LEASE).await;
    let before = thumb.commits();
    let idle: Vec<_> = (0..10).map(|_| started(engine.claim(&request))).collect();
    // An answer says that the claims, which came before, wait in the writer.
    assert!(soon(engine.heartbeat("w".into(), WorkerLoad::default())).await.unwrap());
    assert_eq!(thumb.commits() - before, 1);
    drop(idle);
}

#[tokio::test]
async fn a_lapsed_lease_is_rescued_by_the_clock_and_its_late_ack_refused() {
    let clock = HandClock::new();
    let engine = memory_at(clock.clone()).await;
    let request = worker(&engine, "killed", LEASE).await;
    submit(&engine, "a").await.unwrap();
    let late = claim(&engine, &request).await.remove(0);
    let other = worker(&engine, "other", LEASE).await;
    let waiting = started(engine.claim(&other));
    clock.advance(LEASE + Duration::from_secs(1));
    let again = soon(waiting).await.unwrap().remove(0);
    assert_eq!(again.attempt, 2);
    assert!(again.lease.token > late.lease.token);
    let refused = soon(engine.ack(late.lease, Payload::json("1"))).await.unwrap_err();
    assert_eq!(refused.code(), &codes::LEASE_LOST);
    soon(engine.ack(again.lease, Payload::json("2"))).await.unwrap();
    assert_eq!(state(&engine, "a").await, JobState::Succeeded);
}

#[tokio::test]
async fn a_cancel_of_a_running_job_reaches_its_worker() {
    let engine = memory().await;
    let request = worker(&engine, "w", LEASE).await;
    let mut line = engine.cancellations("w".into());
    submit(&engine, "a").await.unwrap();
    let delivery = claim(&engine, &request).await.remove(0);
    let cancelled = soon(engine.cancel(vec![delivery.lease.job.clone()])).await.remove(0);
    assert_eq!(cancelled.unwrap(), Cancellation::Requested);
    assert_eq!(soon(line.recv()).await, Some(delivery.lease.job.clone()));
    assert!(status(&engine, "a").await.unwrap().cancel_requested);
    soon(engine.remove_worker("w".into())).await.unwrap();
    assert_eq!(soon(line.recv()).await, None);
}

#[tokio::test]
async fn the_low_level_verbs_close_attempts_as_they_say() {
    let engine = memory().await;
    let request = worker(&engine, "w", LEASE).await;
    for id in ["acked", "retried", "rejected", "released"] {
        submit(&engine, id).await.unwrap();
    }
    let failure = || Failure::new(FailureKind::Error, "no luck");
    for delivery in claim(&engine, &request).await {
        let id = delivery.lease.job.clone();
        match id.as_str() {
            "acked" => soon(engine.ack(delivery.lease, Payload::json("1"))).await.unwrap(),
            "retried" => soon(engine.retry(delivery.lease, failure(), Some(LEASE))).await.unwrap(),
            "rejected" => soon(engine.reject(delivery.lease, failure())).await.unwrap(),
            _ => soon(engine.release(delivery.lease)).await.unwrap(),
        }
    }
    let states = stream::iter(["acked", "retried", "rejected", "released"])
        .then(|id| state(&engine, id))
        .collect::<Vec<_>>();
    use JobState::{Failed, Queued, Retrying, Succeeded};
    assert_eq!(states.await, [Succeeded, Retrying, Failed, Queued]);
    let requeued = soon(engine.requeue(vec![JobId::new("rejected").unwrap()])).await;
    requeued.into_iter().for_each(|result| result.unwrap());
    assert_eq!(state(&engine, "rejected").await, Queued);
}

#[tokio::test]
async fn a_scheduled_job_starts_when_its_time_has_come() {
    let clock = HandClock::new();
    let engine = memory_at(clock.clone()).await;
    let request = worker(&engine, "w", LEASE).await;
    let mut later = job("later");
    later.options.start = Some(Start::In(LEASE));
    soon(engine.enqueue(vec![later])).await.remove(0).unwrap();
    let waiting = started(engine.claim(&request));
    assert_eq!(state(&engine, "later").await, JobState::Scheduled);
    clock.advance(LEASE);
    assert_eq!(soon(waiting).await.unwrap().len(), 1);
}
