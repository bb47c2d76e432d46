//! Several engines on one file, as several processes would have.

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use futures_util::{FutureExt, StreamExt};
use taskport_abstraction::{JobId, Outcome, Payload, SystemClock};
use taskport_engine_runtime::{EngineConfig, EngineHandle};
use taskport_store_sqlite::{SqliteOptions, SqliteStore};
use tokio::time::Instant;

use crate::support::{claim, job, soon, started, submit, worker};

/// Far above the milliseconds it takes, and far below any time-out of the engine.
const PROMPTLY: Duration = Duration::from_millis(500);

async fn open(file: &Path) -> EngineHandle {
    let file = file.to_owned();
    let open = move || SqliteStore::open(&file, SqliteOptions::default());
    EngineHandle::open(open, EngineConfig::default(), Arc::new(SystemClock)).await.unwrap()
}

#[tokio::test]
async fn a_worker_in_one_process_promptly_gets_the_job_of_another() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("jobs.db");
    let (one, other) = (open(&file).await, open(&file).await);
    let request = worker(&other, "w", Duration::from_secs(60)).await;
    let waiting = started(other.claim(&request));
    submit(&one, "a").await.unwrap();
    let taken = Instant::now();
    assert_eq!(soon(waiting).await.unwrap().len(), 1);
    assert!(taken.elapsed() < PROMPTLY, "{:?}", taken.elapsed());
}

#[tokio::test]
async fn a_wait_in_one_process_promptly_sees_the_end_in_another() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("jobs.db");
    let (one, other) = (open(&file).await, open(&file).await);
    let request = worker(&other, "w", Duration::from_secs(60)).await;
    submit(&one, "a").await.unwrap();
    let mut ended = Box::pin(one.wait(vec![JobId::new("a").unwrap()]));
    assert!(ended.next().now_or_never().is_none());
    let delivery = claim(&other, &request).await.remove(0);
    soon(other.ack(delivery.lease, Payload::json("7"))).await.unwrap();
    let settled = Instant::now();
    let (_, outcome) = soon(ended.next()).await.unwrap();
    assert_eq!(outcome.unwrap(), Outcome::Success(Payload::json("7")));
    assert!(settled.elapsed() < PROMPTLY, "{:?}", settled.elapsed());
}

#[tokio::test(flavor = "multi_thread")]
async fn two_processes_take_turns_and_lose_nothing() {
    const JOBS: usize = 300;
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("jobs.db");
    let (one, other) = (open(&file).await, open(&file).await);
    let work = |engine: EngineHandle, name: &'static str| async move {
        let request = worker(&engine, name, Duration::from_secs(60)).await;
        loop {
            for delivery in claim(&engine, &request).await {
                soon(engine.ack(delivery.lease, Payload::json("null"))).await.unwrap();
            }
        }
    };
    let workers = [tokio::spawn(work(one.clone(), "one")), tokio::spawn(work(other.clone(), "other"))];
    let names: Vec<String> = (0..JOBS).map(|number| format!("j{number}")).collect();
    for (number, name) in names.iter().enumerate() {
        submit(if number % 2 == 0 { &one } else { &other }, name).await.unwrap();
    }
    let ids = names.iter().map(|name| JobId::new(name.as_str()).unwrap()).collect();
    let outcomes: Vec<_> = soon(one.wait(ids).collect()).await;
    assert_eq!(outcomes.len(), JOBS);
    assert!(outcomes.iter().all(|(_, outcome)| outcome.is_ok()));
    workers.iter().for_each(|worker| worker.abort());
    let counts = soon(other.stats()).await.unwrap()[0].counts;
    assert_eq!((counts.submitted, counts.succeeded), (JOBS as u64, JOBS as u64));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_process_that_never_rests_leaves_room_for_another() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("jobs.db");
    let (busy, other) = (open(&file).await, open(&file).await);
    let load = |lane: usize| {
        let busy = busy.clone();
        async move {
            for round in 0.. {
                let batch = (0..200).map(|number| job(&format!("{lane}-{round}-{number}"))).collect();
                busy.enqueue(batch).await.into_iter().for_each(|taken| drop(taken.unwrap()));
            }
        }
    };
    let lanes = [tokio::spawn(load(0)), tokio::spawn(load(1))];
    for number in 0..20 {
        submit(&other, &format!("other{number}")).await.unwrap();
    }
    lanes.iter().for_each(|lane| lane.abort());
}
