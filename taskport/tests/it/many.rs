//! Many jobs at once.

use std::time::Duration;

use serde_json::{Value, json};
use taskport::abstraction::codes;
use taskport::prelude::*;
use taskport::{Call, JobState, wait_all_timeout};

use crate::kit::{PATIENCE, Place, add, eventually, fail, start, until_stopped};

#[tokio::test]
async fn each_call_of_a_batch_has_its_own_answer_in_order() {
    let place = Place::new();
    let port = place.open().await;
    let calls = vec![
        add(1, 2).returning::<Value>(),
        Call::dynamic::<Value>("ad", &[], &[]),
        Call::dynamic("add", &[json!(1), json!("two")], &[]),
        Call::dynamic("add", &[json!(1)], &[]),
        add(3, 4).priority(12).returning(),
        add(5, 6).returning(),
    ];
    let jobs = port.submit_many(calls).await;
    let codes: Vec<u16> =
        jobs.iter().map(|job| job.as_ref().map_or_else(|e| e.code().number, |_| 0)).collect();
    assert_eq!(codes, [0, 1, 2, 2, 4, 0]);
    assert_eq!(jobs[1].as_ref().unwrap_err().remedy(), Some("did you mean `add`?"));

    let worker = start(port.worker());
    let good: Vec<Job> = jobs.into_iter().filter_map(Result::ok).collect();
    let results = wait_all(&good).await;
    let values: Vec<Value> = results.into_iter().map(Result::unwrap).collect();
    assert_eq!(values, [json!(3), json!(11)]);
    worker.stop().await;
}

#[tokio::test]
async fn a_thousand_results_come_in_the_order_of_the_jobs() {
    let place = Place::new();
    let port = place.open().await;
    let worker = start(port.worker().concurrency(64));
    let jobs: Vec<Job<i64>> =
        port.submit_many((0..1_000).map(|n| add(n, n))).await.into_iter().map(Result::unwrap).collect();
    let results = wait_all(&jobs).await;
    for (n, result) in (0..).zip(results) {
        assert_eq!(result.unwrap(), 2 * n);
    }
    assert_eq!(worker.stop().await.succeeded, 1_000);
}

#[tokio::test]
async fn a_busy_worker_holds_nothing_that_an_idle_one_could_run() {
    let place = Place::new();
    let port = place.open().await;
    let _busy = start(port.worker().concurrency(1));
    let first = port.submit(until_stopped()).await.unwrap();
    eventually(async || first.status().await.unwrap().state, |state| *state == JobState::Running).await;
    let second = port.submit(add(1, 1)).await.unwrap();
    let _idle = start(port.worker().concurrency(1));
    assert_eq!(second.result_timeout(PATIENCE).await.unwrap(), 2);
}

#[tokio::test]
async fn one_job_waited_for_twice_answers_twice_and_failures_keep_their_place() {
    let place = Place::new();
    let port = place.open().await;
    let worker = start(port.worker());
    let good = port.submit(add(1, 1)).await.unwrap().returning::<Value>();
    let bad = port.submit(fail("broken".into())).await.unwrap().returning::<Value>();
    let results = wait_all(&[good.clone(), bad, good]).await;
    assert_eq!(results[0].as_ref().unwrap(), 2);
    assert_eq!(results[1].as_ref().unwrap_err().code(), &codes::JOB_FAILED);
    assert_eq!(results[2].as_ref().unwrap(), 2);
    assert!(wait_all::<Value>(&[]).await.is_empty());
    worker.stop().await;
}

#[tokio::test]
async fn what_has_ended_is_kept_when_the_wait_for_the_rest_runs_out() {
    let place = Place::new();
    let port = place.open().await;
    let worker = start(port.worker());
    let ended = port.submit(add(1, 1)).await.unwrap();
    ended.result().await.unwrap();
    let waiting = port.submit(add(2, 2).delay(Duration::from_secs(3_600))).await.unwrap();
    let results = wait_all_timeout(&[waiting, ended], Duration::from_millis(50)).await;
    assert_eq!(results[0].as_ref().unwrap_err().code(), &codes::WAIT_TIMEOUT);
    assert_eq!(*results[1].as_ref().unwrap(), 2);
    worker.stop().await;
}
