//! Waiting for jobs to end.

use std::time::Duration;

use futures_util::{FutureExt, StreamExt};
use taskport_abstraction::{JobId, Outcome, Payload, codes};

use crate::support::{claim, job, memory, soon, submit, worker};

fn id(text: &str) -> JobId {
    JobId::new(text).unwrap()
}

#[tokio::test]
async fn ends_before_and_after_the_wait_began_are_told_once_each() {
    let engine = memory().await;
    let request = worker(&engine, "w", Duration::from_secs(60)).await;
    for name in ["before", "after"] {
        submit(&engine, name).await.unwrap();
    }
    let mut deliveries = claim(&engine, &request).await;
    let (before, after) = (deliveries.remove(0).lease, deliveries.remove(0).lease);
    soon(engine.ack(before, Payload::json("1"))).await.unwrap();
    let mut ended = Box::pin(engine.wait(vec![id("before"), id("after"), id("nowhere"), id("before")]));
    let (first, outcome) = soon(ended.next()).await.unwrap();
    assert_eq!((first.as_str(), outcome.unwrap()), ("before", Outcome::Success(Payload::json("1"))));
    let (second, outcome) = soon(ended.next()).await.unwrap();
    assert_eq!((second.as_str(), outcome.unwrap_err().code()), ("nowhere", &codes::JOB_NOT_FOUND));
    assert!(ended.next().now_or_never().is_none());
    soon(engine.ack(after, Payload::json("2"))).await.unwrap();
    let (third, outcome) = soon(ended.next()).await.unwrap();
    assert_eq!((third.as_str(), outcome.unwrap()), ("after", Outcome::Success(Payload::json("2"))));
    assert!(soon(ended.next()).await.is_none());
}

#[tokio::test]
async fn a_caller_that_does_not_look_gets_every_outcome_all_the_same() {
    const JOBS: usize = 3_000;
    let engine = memory().await;
    let request = worker(&engine, "w", Duration::from_secs(60)).await;
    let jobs: Vec<_> = (0..JOBS).map(|number| job(&format!("j{number}"))).collect();
    let ids = jobs.iter().map(|job| job.id.clone()).collect();
    soon(engine.enqueue(jobs)).await;
    let mut ended = Box::pin(engine.wait(ids));
    assert!(ended.next().now_or_never().is_none());
    let mut left = JOBS;
    while left > 0 {
        for delivery in claim(&engine, &request).await {
            let result = Payload::encode(&delivery.lease.job).unwrap();
            soon(engine.ack(delivery.lease, result)).await.unwrap();
            left -= 1;
        }
    }
    let mut told = 0;
    while let Some((job, outcome)) = soon(ended.next()).await {
        assert_eq!(outcome.unwrap(), Outcome::Success(Payload::encode(&job).unwrap()));
        told += 1;
    }
    assert_eq!(told, JOBS);
}

#[tokio::test]
async fn a_wait_ends_with_an_error_when_the_engine_closes() {
    let engine = memory().await;
    submit(&engine, "a").await.unwrap();
    let mut ended = Box::pin(engine.wait(vec![id("a")]));
    assert!(ended.next().now_or_never().is_none());
    soon(engine.close()).await;
    let (job, outcome) = soon(ended.next()).await.unwrap();
    assert_eq!((job.as_str(), outcome.unwrap_err().code()), ("a", &codes::CLOSED));
    assert!(soon(ended.next()).await.is_none());
}
