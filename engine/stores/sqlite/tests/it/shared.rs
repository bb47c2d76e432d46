//! Several engines on one file, as several processes have them.

use std::collections::BTreeSet;
use std::sync::mpsc::sync_channel;
use std::time::Duration;

use taskport_abstraction::backend::Settlement;
use taskport_abstraction::codes;
use taskport_abstraction::{JobOptions, JobState, QueueName};
use taskport_engine::{Claim, Engine, Store};
use taskport_store_sqlite::{SqliteOptions, SqliteStore, Synchronous};

use crate::harness::{Harness, LEASE, ack, assert_account, config, job_id, new_job, sqlite, start};

fn second(h: &Harness<SqliteStore>) -> Engine<SqliteStore> {
    let options = SqliteOptions {
        busy_timeout: Duration::from_secs(20),
        synchronous: Synchronous::Normal,
        ..SqliteOptions::default()
    };
    Engine::open(SqliteStore::open(h.path(), options).unwrap(), config(), h.now).unwrap()
}

#[test]
fn what_one_process_commits_the_other_sees() {
    let mut h = sqlite();
    let mut other = second(&h);
    assert!(h.engine.changed_elsewhere().unwrap() || !other.changed_elsewhere().unwrap());
    let queue = QueueName::default_queue();
    let mut tx = other.begin(h.now).unwrap();
    tx.pause(&queue, None).unwrap();
    tx.commit().unwrap();
    assert!(h.engine.changed_elsewhere().unwrap());
    assert!(!h.engine.changed_elsewhere().unwrap());
    h.submit("a", JobOptions::default()).unwrap();
    assert!(h.claim(1).is_empty(), "the other paused the queue");
    let mut tx = other.begin(h.now).unwrap();
    tx.resume(&queue).unwrap();
    tx.commit().unwrap();
    let delivery = h.claim(1).remove(0);
    // The other settles what this one leased, and asks it to stop what it has not seen end.
    let settlement = Settlement { lease: delivery.lease.clone(), verdict: ack("1") };
    let mut tx = other.begin(h.now).unwrap();
    tx.settle(&[settlement]).remove(0).unwrap();
    tx.commit().unwrap();
    assert_eq!(h.settle(&delivery, ack("2")).unwrap_err().code(), &codes::LEASE_LOST);
    assert_eq!(h.state("a"), JobState::Succeeded);
    assert_account(&h.queues());
}

#[test]
fn a_commit_wakes_whoever_watches_the_file() {
    let mut h = sqlite();
    let other = second(&h);
    let (woken, wakes) = sync_channel(1);
    let _watch = other
        .store()
        .watch(Box::new(move || {
            // One wake-up is enough.
            let _ = woken.try_send(());
        }))
        .unwrap()
        .expect("a file can be shared");
    h.submit("a", JobOptions::default()).unwrap();
    wakes.recv_timeout(Duration::from_secs(10)).expect("a wake-up");
}

#[test]
fn processes_share_the_jobs_of_a_file_and_none_runs_twice() {
    const JOBS: usize = 2_000;
    let mut h = sqlite();
    let jobs = (0..JOBS).map(|n| new_job(&format!("job-{n}"), JobOptions::default())).collect();
    h.tx(|tx| assert!(tx.enqueue(jobs).iter().all(Result::is_ok)));
    let now = h.now;
    let workers: Vec<_> = (0..3).map(|n| (n, second(&h))).collect();
    let threads: Vec<_> = workers
        .into_iter()
        .map(|(n, mut engine)| {
            std::thread::spawn(move || {
                let queues = [QueueName::default_queue()];
                let worker = format!("worker-{n}");
                let mut done = Vec::new();
                loop {
                    let mut tx = engine.begin(now).unwrap();
                    let claim = Claim { worker: &worker, queues: &queues, max: 20, lease_for: LEASE };
                    let deliveries = tx.claim(&claim).unwrap();
                    tx.commit().unwrap();
                    if deliveries.is_empty() {
                        return done;
                    }
                    let settlements = deliveries
                        .iter()
                        .map(|delivery| Settlement { lease: delivery.lease.clone(), verdict: ack("1") });
                    let mut tx = engine.begin(now).unwrap();
                    let answers = tx.settle(&settlements.collect::<Vec<_>>());
                    assert!(answers.iter().all(Result::is_ok));
                    tx.commit().unwrap();
                    done.extend(deliveries.into_iter().map(|delivery| delivery.lease.job));
                }
            })
        })
        .collect();
    let done: Vec<_> = threads.into_iter().flat_map(|thread| thread.join().unwrap()).collect();
    assert_eq!(done.len(), JOBS);
    assert_eq!(done.iter().collect::<BTreeSet<_>>().len(), JOBS);
    assert!(done.contains(&job_id("job-0")));
    let counts = h.queues()[0].counts;
    assert_eq!((counts.succeeded, counts.queued, counts.running), (JOBS as u64, 0, 0));
}

#[test]
fn processes_that_make_a_file_at_the_same_time_share_it() {
    for _ in 0..10 {
        let directory = tempfile::TempDir::new().unwrap();
        let path = directory.path().join("jobs.db");
        let gate = std::sync::Barrier::new(4);
        std::thread::scope(|scope| {
            let open = |n: usize| {
                let (path, gate) = (&path, &gate);
                move || {
                    gate.wait();
                    let store = SqliteStore::open(path, SqliteOptions::default()).unwrap();
                    let mut engine = Engine::open(store, config(), start()).unwrap();
                    let mut tx = engine.begin(start()).unwrap();
                    tx.enqueue(vec![new_job(&format!("job-{n}"), JobOptions::default())]).remove(0).unwrap();
                    tx.commit().unwrap();
                }
            };
            let threads: Vec<_> = (0..4).map(|n| scope.spawn(open(n))).collect();
            threads.into_iter().for_each(|thread| thread.join().unwrap());
        });
        let store = SqliteStore::open(&path, SqliteOptions::default()).unwrap();
        let engine = Engine::open(store, config(), start()).unwrap();
        assert_eq!(engine.reader().unwrap().queues().unwrap()[0].counts.queued, 4);
    }
}

#[test]
fn a_process_that_holds_the_file_too_long_is_reported() {
    let h = sqlite();
    let mut holder = second(&h);
    let options = SqliteOptions { busy_timeout: Duration::from_millis(20), ..SqliteOptions::default() };
    let store = SqliteStore::open(h.path(), options).unwrap();
    let mut waiting = Engine::open(store, config(), h.now).unwrap();
    let tx = holder.begin(h.now).unwrap();
    let error = waiting.begin(h.now).map(drop).unwrap_err();
    assert_eq!(error.code(), &codes::STORE_BUSY);
    assert!(error.remedy().is_some());
    drop(tx);
    assert!(waiting.begin(h.now).is_ok());
}
