//! What waits together is committed together.

use std::sync::Arc;
use std::time::Duration;

use futures_util::future::{join, join_all};
use taskport_abstraction::{Payload, codes};

use crate::support::{claim, job, memory, probed, soon, started, submit, worker};

#[tokio::test(flavor = "multi_thread")]
async fn submits_that_wait_for_a_commit_share_the_next_one() {
    let (engine, thumb) = probed().await;
    thumb.hold();
    let first = tokio::spawn({
        let engine = engine.clone();
        async move { submit(&engine, "first").await }
    });
    let held = thumb.clone();
    tokio::task::spawn_blocking(move || held.await_held()).await.unwrap();
    let before = thumb.commits();
    let names: Vec<String> = (0..200).map(|number| format!("j{number}")).collect();
    let rest = started(join_all(names.iter().map(|name| submit(&engine, name))));
    thumb.let_go();
    for taken in rest.await {
        assert!(!taken.unwrap().existing);
    }
    first.await.unwrap().unwrap();
    assert_eq!(thumb.commits() - before, 1);
}

#[tokio::test]
async fn a_settle_and_the_next_claim_share_a_commit() {
    let (engine, thumb) = probed().await;
    let request = worker(&engine, "w", Duration::from_secs(60)).await;
    submit(&engine, "a").await.unwrap();
    let mut first = claim(&engine, &request).await;
    submit(&engine, "b").await.unwrap();
    thumb.hold();
    let busy = tokio::spawn({
        let engine = engine.clone();
        async move { submit(&engine, "c").await }
    });
    let held = thumb.clone();
    tokio::task::spawn_blocking(move || held.await_held()).await.unwrap();
    let before = thumb.commits();
    let lease = first.remove(0).lease;
    let both = started(join(engine.ack(lease, Payload::json("null")), engine.claim(&request)));
    thumb.let_go();
    let (settled, claimed) = soon(both).await;
    settled.unwrap();
    assert!(!claimed.unwrap().is_empty());
    assert_eq!(thumb.commits() - before, 1);
    busy.await.unwrap().unwrap();
}

#[tokio::test]
async fn close_finishes_what_was_accepted_and_refuses_the_rest() {
    let engine = memory().await;
    let accepted: Vec<_> = (0..500).map(|number| vec![job(&format!("j{number}"))]).collect();
    let accepted = started(join_all(accepted.into_iter().map(|jobs| engine.enqueue(jobs))));
    soon(engine.close()).await;
    for mut taken in soon(accepted).await {
        taken.pop().unwrap().unwrap();
    }
    assert_eq!(submit(&engine, "late").await.unwrap_err().code(), &codes::CLOSED);
    assert_eq!(soon(engine.stats()).await.unwrap_err().code(), &codes::CLOSED);
    soon(engine.close()).await;
}

#[tokio::test]
async fn many_times_more_than_fits_into_the_mailbox_goes_through_it() {
    let engine = memory().await;
    let batch = |batch: usize| (0..1_000).map(move |number| job(&format!("b{batch}-{number}"))).collect();
    let results = soon(join_all((0..200).map(|number| engine.enqueue(batch(number))))).await;
    assert!(results.iter().flatten().all(Result::is_ok));
    let stats = soon(engine.stats()).await.unwrap();
    assert_eq!(stats[0].counts.submitted, 200_000);
    assert_eq!(stats[0].counts.queued, 200_000);
}

#[tokio::test]
async fn the_last_handle_ends_the_engine_after_accepted_work() {
    let engine = memory().await;
    let mut line = engine.cancellations(Arc::from("w"));
    submit(&engine, "a").await.unwrap();
    drop(engine);
    assert_eq!(soon(line.recv()).await, None);
}
