//! A store that fails: every caller is told, nobody hangs, and the engine goes on.

use std::time::Duration;

use futures_util::{FutureExt, StreamExt};
use taskport_abstraction::options::Start;
use taskport_abstraction::{Certainty, JobId, JobState, codes};
use tokio::time::Instant;

use crate::probe::Trouble;
use crate::support::{claim, job, probed, soon, started, state, submit, worker};

#[tokio::test]
async fn a_failed_transaction_is_answered_with_its_certainty_and_the_engine_goes_on() {
    for (trouble, certainty, applied) in [
        (Trouble::Begin, Certainty::NotApplied, false),
        (Trouble::Commit, Certainty::NotApplied, false),
        (Trouble::Reply, Certainty::MaybeApplied, true),
    ] {
        let (engine, thumb) = probed().await;
        thumb.cause(trouble);
        let error = submit(&engine, "a").await.unwrap_err();
        assert_eq!((error.code(), error.certainty()), (&codes::STORE_IO, certainty), "{trouble:?}");
        let again = submit(&engine, "a").await.unwrap();
        assert_eq!(again.existing, applied, "{trouble:?}");
    }
}

#[tokio::test]
async fn a_waiting_worker_is_told_of_a_failure_and_loses_no_job() {
    for trouble in [Trouble::Begin, Trouble::Commit, Trouble::Reply] {
        let (engine, thumb) = probed().await;
        let request = worker(&engine, "w", Duration::from_secs(60)).await;
        let waiting = started(engine.claim(&request));
        thumb.cause(trouble);
        submit(&engine, "a").await.unwrap_err();
        assert_eq!(soon(waiting).await.unwrap_err().code(), &codes::STORE_IO, "{trouble:?}");
        submit(&engine, "a").await.unwrap();
        let deliveries = claim(&engine, &request).await;
        assert_eq!((deliveries.len(), deliveries[0].attempt), (1, 1), "{trouble:?}");
    }
}

#[tokio::test]
async fn a_defect_in_the_writer_is_told_to_every_caller_then_and_later() {
    let (engine, thumb) = probed().await;
    submit(&engine, "kept").await.unwrap();
    let request = worker(&engine, "w", Duration::from_secs(60)).await;
    claim(&engine, &request).await;
    let waiting = started(engine.claim(&request));
    let mut ended = Box::pin(engine.wait(vec![JobId::new("kept").unwrap()]));
    assert!(ended.next().now_or_never().is_none());
    thumb.cause(Trouble::Panic);
    let error = submit(&engine, "a").await.unwrap_err();
    assert_eq!((error.code(), error.certainty()), (&codes::INTERNAL, Certainty::MaybeApplied));
    assert_eq!(soon(waiting).await.unwrap_err().code(), &codes::INTERNAL);
    let (_, outcome) = soon(ended.next()).await.unwrap();
    assert_eq!(outcome.unwrap_err().code(), &codes::INTERNAL);
    let later = submit(&engine, "b").await.unwrap_err();
    assert_eq!((later.code(), later.certainty()), (&codes::INTERNAL, Certainty::NotApplied));
    soon(engine.close()).await;
}

#[tokio::test]
async fn time_driven_work_is_tried_again_after_a_failure() {
    let (engine, thumb) = probed().await;
    let mut later = job("later");
    later.options.start = Some(Start::In(Duration::from_millis(50)));
    soon(engine.enqueue(vec![later])).await.remove(0).unwrap();
    thumb.cause(Trouble::Begin);
    soon(async {
        while state(&engine, "later").await != JobState::Queued {
            tokio::task::yield_now().await;
        }
    })
    .await;
}

#[tokio::test]
async fn a_store_that_keeps_failing_is_left_alone_longer_and_longer() {
    let (engine, thumb) = probed().await;
    let mut later = job("later");
    later.options.start = Some(Start::In(Duration::from_millis(50)));
    soon(engine.enqueue(vec![later])).await.remove(0).unwrap();
    thumb.take_down();
    let begins = async |begins| {
        let thumb = thumb.clone();
        soon(tokio::task::spawn_blocking(move || thumb.await_begins(begins))).await.unwrap();
        Instant::now()
    };
    let (second, third, fourth) = (begins(2).await, begins(3).await, begins(4).await);
    let (shorter, longer) = (third - second, fourth - third);
    assert!(shorter > Duration::from_millis(100) && longer > shorter, "{shorter:?}, then {longer:?}");
}
