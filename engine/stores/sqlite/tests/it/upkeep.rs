//! What goes after its time, and what stays whatever its age.

use std::time::Duration;

use rusqlite::Connection;
use taskport_abstraction::backend::{Submission, Verdict};
use taskport_abstraction::batch::BatchRequest;
use taskport_abstraction::maintenance::Retention;
use taskport_abstraction::options::{Idempotency, OnConflict, Start, Unique};
use taskport_abstraction::{JobOptions, JobState, Payload, codes};
use taskport_engine::store::Upkeep;
use taskport_engine::{Engine, EngineConfig, Store, Sweep, SweepMode};
use taskport_store_sqlite::{SqliteOptions, SqliteStore};

use crate::harness::{
    Harness, ack, assert_account, config, failure, memory_with, new_job, sqlite, sqlite_with, start,
};

const HOUR: Duration = Duration::from_secs(3_600);

fn keeping(retention: Retention) -> EngineConfig {
    EngineConfig { retention, ..config() }
}

fn hour_for_all() -> Retention {
    let hour = Some(HOUR);
    Retention { succeeded: hour, failed: hour, cancelled: hour, expired: hour, runs: hour }
}

/// Does what is due, a moment after the other, until nothing is due for a while.
fn settle_down<S: Store>(h: &mut Harness<S>) {
    for _ in 0..20 {
        h.now = h.now + Duration::from_millis(20);
        h.tx(|_| ());
    }
}

fn prune<S: Store>(h: &mut Harness<S>, retention: Retention, mode: SweepMode) -> Sweep {
    let mut sweep = Sweep::new(mode);
    while !sweep.is_done() {
        h.tx(|tx| tx.prune(&retention, &mut sweep).unwrap());
    }
    sweep
}

fn key(name: &str, unique: Unique) -> JobOptions {
    let idempotency = Idempotency { key: name.into(), unique, on_conflict: OnConflict::Keep };
    JobOptions { idempotency: Some(idempotency), ..JobOptions::default() }
}

/// One job in each state a job can end in, called after it, and one that lives.
fn one_of_each<S: Store>(h: &mut Harness<S>) {
    h.submit("succeeded", JobOptions::default()).unwrap();
    let delivery = h.claim(1).remove(0);
    h.settle(&delivery, ack("1")).unwrap();
    h.submit("failed", JobOptions::default()).unwrap();
    let delivery = h.claim(1).remove(0);
    h.settle(&delivery, Verdict::Reject(failure("no"))).unwrap();
    h.submit("cancelled", JobOptions::default()).unwrap();
    h.tx(|tx| tx.cancel(&["cancelled".parse().unwrap()]).remove(0).unwrap());
    let second = Some(Start::In(Duration::from_secs(1)));
    h.submit("expired", JobOptions { expiry: second, ..JobOptions::default() }).unwrap();
    h.pass(1);
    h.tx(|_| ());
    h.submit("live", JobOptions::default()).unwrap();
}

fn left<S: Store>(h: &mut Harness<S>) -> Vec<String> {
    let mut ids: Vec<String> = h.all().into_iter().map(|job| job.id.to_string()).collect();
    ids.sort();
    ids
}

fn what_is_over_goes_by_itself<S: Store>(mut h: Harness<S>) {
    one_of_each(&mut h);
    let counts = h.queues()[0].counts;
    h.pass(3_598);
    settle_down(&mut h);
    assert_eq!(left(&mut h).len(), 5, "nothing is an hour old");
    h.pass(900);
    settle_down(&mut h);
    assert_eq!(left(&mut h), ["live"]);
    let queues = h.queues();
    assert_account(&queues);
    assert_eq!(queues[0].counts, counts, "accounts stay");
}

// proves
#[test]
fn what_ended_long_ago_goes_by_itself_and_stays_in_the_account() {
    what_is_over_goes_by_itself(memory_with(keeping(hour_for_all())));
    what_is_over_goes_by_itself(sqlite_with(keeping(hour_for_all())));
}

fn each_state_has_its_own_time<S: Store>(mut h: Harness<S>) {
    one_of_each(&mut h);
    h.pass(10 * 3_600);
    settle_down(&mut h);
    assert_eq!(left(&mut h), ["cancelled", "failed", "live"]);
}

// proves R-460
#[test]
fn each_state_has_its_own_time_and_for_ever_is_one() {
    let hour = Some(HOUR);
    let retention =
        Retention { succeeded: hour, expired: hour, cancelled: Some(24 * HOUR), ..Retention::default() };
    each_state_has_its_own_time(memory_with(keeping(retention)));
    each_state_has_its_own_time(sqlite_with(keeping(retention)));
}

fn keys_hold<S: Store>(mut h: Harness<S>) {
    for (id, options) in [
        ("live-key", key("live", Unique::WhileLive)),
        ("for-key", key("for", Unique::For(10 * HOUR))),
        ("forever-key", key("forever", Unique::Forever)),
    ] {
        h.submit(id, options).unwrap();
        let delivery = h.claim(1).remove(0);
        h.settle(&delivery, ack("1")).unwrap();
    }
    h.pass(2 * 3_600);
    settle_down(&mut h);
    assert_eq!(left(&mut h), ["for-key", "forever-key"]);
    let taken = h.submit("again", key("for", Unique::For(10 * HOUR))).unwrap();
    assert_eq!((taken.id.as_str(), taken.existing), ("for-key", true));
    h.pass(20 * 3_600);
    settle_down(&mut h);
    assert_eq!(left(&mut h), ["forever-key"]);
    assert!(!h.submit("again", key("for", Unique::For(HOUR))).unwrap().existing);
    assert!(h.submit("never", key("forever", Unique::Forever)).unwrap().existing);
}

// proves R-463
#[test]
fn a_key_in_force_keeps_its_job() {
    keys_hold(memory_with(keeping(hour_for_all())));
    keys_hold(sqlite_with(keeping(hour_for_all())));
}

fn batches_hold_their_jobs<S: Store>(mut h: Harness<S>) {
    let submission = |id: &str| Submission {
        id: id.parse().unwrap(),
        call: new_job(id, JobOptions::default()).call,
        options: JobOptions::default(),
    };
    let request = BatchRequest {
        id: "batch".parse().unwrap(),
        jobs: vec![submission("first"), submission("second")],
        on_success: None,
        on_complete: None,
    };
    h.tx(|tx| tx.submit_batch(request).unwrap());
    let delivery = h.claim(1).remove(0);
    h.settle(&delivery, ack("1")).unwrap();
    h.pass(2 * 3_600);
    let report = prune(&mut h, hour_for_all(), SweepMode::Remove).report();
    assert_eq!((report.jobs, report.batches), (0, 0), "the batch is open");
    let delivery = h.claim(1).remove(0);
    h.settle(&delivery, ack("1")).unwrap();
    let report = prune(&mut h, hour_for_all(), SweepMode::Remove).report();
    assert_eq!((report.jobs, report.batches), (1, 0), "the second has just ended");
    h.pass(2 * 3_600);
    let report = prune(&mut h, hour_for_all(), SweepMode::Remove).report();
    assert_eq!((report.jobs, report.batches), (1, 1));
    assert_eq!(h.engine.reader().unwrap().batch(&"batch".parse().unwrap()).unwrap(), None);
}

// proves R-466
#[test]
fn a_member_of_an_open_batch_stays() {
    batches_hold_their_jobs(memory_with(config()));
    batches_hold_their_jobs(sqlite_with(config()));
}

fn slices_are_bounded<S: Store>(mut h: Harness<S>) {
    for batch in 0..25 {
        h.tx(|tx| {
            let jobs = (0..100).map(|n| new_job(&format!("{batch}-{n}"), JobOptions::default())).collect();
            tx.enqueue(jobs).into_iter().for_each(|taken| drop(taken.unwrap()));
        });
        for delivery in h.claim(100) {
            h.settle(&delivery, ack("1")).unwrap();
        }
    }
    h.pass(7_200);
    let mut sweep = Sweep::new(SweepMode::Remove);
    let mut removed = Vec::new();
    while !sweep.is_done() {
        let before = sweep.report().jobs;
        h.tx(|tx| tx.prune(&hour_for_all(), &mut sweep).unwrap());
        removed.push(sweep.report().jobs - before);
    }
    assert_eq!(removed.iter().sum::<u64>(), 2_500);
    assert!(removed.iter().all(|jobs| *jobs <= 1_000), "{removed:?}");
}

// proves R-461
#[test]
fn no_transaction_removes_more_than_a_slice() {
    slices_are_bounded(memory_with(config()));
    slices_are_bounded(sqlite_with(config()));
}

// proves R-461
#[test]
fn a_slice_ends_at_its_bytes() {
    let config = EngineConfig { payload_bytes_max: 8 << 20, ..config() };
    let mut h = sqlite_with(config);
    for n in 0..5 {
        let mut job = new_job(&format!("job-{n}"), JobOptions::default());
        job.call.arguments = Payload::json(vec![b' '; 5 << 20]);
        h.tx(|tx| tx.enqueue(vec![job]).remove(0).unwrap());
        let delivery = h.claim(1).remove(0);
        h.settle(&delivery, ack("1")).unwrap();
    }
    h.pass(7_200);
    let mut sweep = Sweep::new(SweepMode::Remove);
    h.tx(|tx| tx.prune(&hour_for_all(), &mut sweep).unwrap());
    assert_eq!(sweep.report().jobs, 2);
}

// proves R-465
#[test]
fn counting_removes_nothing_and_pruning_what_was_counted() {
    let mut h = sqlite();
    one_of_each(&mut h);
    h.pass(7_200);
    let counted = prune(&mut h, hour_for_all(), SweepMode::Count).report();
    assert_eq!((counted.jobs, left(&mut h).len()), (4, 5));
    let removed = prune(&mut h, hour_for_all(), SweepMode::Remove).report();
    assert_eq!(removed, counted);
    assert_eq!(left(&mut h), ["live"]);
}

#[test]
fn a_job_that_was_requeued_is_judged_by_its_new_end() {
    let mut h = sqlite();
    one_of_each(&mut h);
    h.pass(7_200);
    h.tx(|tx| tx.requeue(&["failed".parse().unwrap()]).remove(0).unwrap());
    prune(&mut h, hour_for_all(), SweepMode::Remove);
    assert_eq!(left(&mut h), ["failed", "live"]);
    assert_eq!(h.state("failed"), JobState::Queued);
}

// proves R-462
#[test]
fn of_two_processes_one_walks() {
    let mut h = sqlite_with(keeping(hour_for_all()));
    let mut other = SqliteStore::open(h.path(), SqliteOptions::default()).unwrap();
    h.pass(3_600);
    settle_down(&mut h);
    let walked = other.walked_at().unwrap();
    assert!(walked > start() + HOUR, "the walk is taken");
    let mut second = Engine::open(other, keeping(hour_for_all()), h.now).unwrap();
    assert_eq!(second.next_due().unwrap(), Some(walked + HOUR / 16), "the other waits for the next one");
    drop(second);
    // One that is to keep less does not wait for the time of those who keep more.
    let other = SqliteStore::open(h.path(), SqliteOptions::default()).unwrap();
    let minute = Retention { succeeded: Some(HOUR / 60), ..Retention::default() };
    let mut third = Engine::open(other, keeping(minute), h.now).unwrap();
    assert_eq!(third.next_due().unwrap(), Some(walked + HOUR / 60 / 16));
}

#[test]
fn a_run_that_is_started_again_after_it_was_pruned_is_a_new_one_everywhere() {
    // The reader remembers runs by number, and the number of a pruned one may be given again.
    let mut h = sqlite();
    let run = |id: &str| taskport_abstraction::backend::RunRequest {
        id: id.parse().unwrap(),
        definition: std::sync::Arc::new(
            serde_json::from_value(serde_json::json!({"name": "w", "steps": [{"id": "a", "task": "t"}]}))
                .unwrap(),
        ),
        input: Payload::json("null"),
        trace: None,
    };
    let jobs_of = |reader: &mut taskport_engine::Reader<taskport_store_sqlite::SqliteReader>, id: &str| {
        let filter =
            taskport_abstraction::backend::JobFilter { run: Some(id.parse().unwrap()), ..Default::default() };
        let page = taskport_abstraction::backend::PageRequest { after: None, len: 10 };
        reader.jobs(&filter, &page).unwrap().items
    };
    let mut reader = h.engine.reader().unwrap();
    h.tx(|tx| tx.start_runs(vec![run("first")]).remove(0).unwrap());
    assert_eq!(jobs_of(&mut reader, "first")[0].step.as_ref().unwrap().run.as_str(), "first");
    let delivery = h.claim(1).remove(0);
    h.settle(&delivery, ack("1")).unwrap();
    h.pass(7_200);
    assert_eq!(prune(&mut h, hour_for_all(), SweepMode::Remove).report().runs, 1);
    h.tx(|tx| tx.start_runs(vec![run("second")]).remove(0).unwrap());
    assert_eq!(jobs_of(&mut reader, "first"), []);
    assert_eq!(jobs_of(&mut reader, "second")[0].step.as_ref().unwrap().run.as_str(), "second");
}

fn fill_and_prune() -> Harness<SqliteStore> {
    let mut h = sqlite();
    for batch in 0..20 {
        h.tx(|tx| {
            let job = |n| {
                let mut job = new_job(&format!("{batch}-{n}"), JobOptions::default());
                job.call.arguments = Payload::json(vec![b' '; 900]);
                job
            };
            tx.enqueue((0..100).map(job).collect()).into_iter().for_each(|taken| drop(taken.unwrap()));
        });
        for delivery in h.claim(100) {
            h.settle(&delivery, ack("1")).unwrap();
        }
    }
    h.submit("kept", JobOptions::default()).unwrap();
    h.pass(7_200);
    prune(&mut h, hour_for_all(), SweepMode::Remove);
    h
}

// proves R-474
#[test]
fn a_vacuum_gives_back_what_was_pruned() {
    let mut h = fill_and_prune();
    let sizes = h.engine.store().keeper().vacuum().unwrap();
    assert!(sizes.bytes_after * 4 < sizes.bytes_before, "{sizes:?}");
    let on_disk = std::fs::metadata(h.path()).unwrap().len();
    assert_eq!(on_disk, sizes.bytes_after);
    let log = std::fs::metadata(format!("{}-wal", h.path().display())).unwrap().len();
    assert_eq!(log, 0, "the log is emptied");
    assert_eq!(left(&mut h), ["kept"]);
    assert_eq!(h.claim(1).len(), 1);
}

// proves R-475
#[test]
fn a_file_that_cannot_shrink_in_steps_is_rebuilt_once() {
    let mut h = fill_and_prune();
    h.tx(|tx| tx.remove_worker("nobody").unwrap());
    Connection::open(h.path()).unwrap().execute_batch("PRAGMA auto_vacuum = NONE; VACUUM").unwrap();
    let keeper = h.engine.store().keeper();
    let refused = keeper.vacuum().unwrap_err();
    assert_eq!(refused.code(), &codes::UNSUPPORTED);
    assert!(refused.remedy().unwrap().contains("--full"), "{refused}");
    keeper.rebuild(h.now).unwrap();
    keeper.vacuum().unwrap();
    assert_eq!(left(&mut h), ["kept"]);
}

// proves R-475
#[test]
fn nothing_is_rebuilt_under_a_worker() {
    let mut h = sqlite();
    h.submit("a", JobOptions::default()).unwrap();
    h.claim(1);
    let keeper = h.engine.store().keeper();
    assert_eq!(keeper.rebuild(h.now).unwrap_err().code(), &codes::STORE_IN_USE);
    h.pass(31);
    keeper.rebuild(h.now).unwrap();
}

// proves R-476
#[test]
fn a_checkpoint_empties_the_log() {
    let mut h = sqlite();
    h.submit("a", JobOptions::default()).unwrap();
    let sizes = h.engine.store().keeper().checkpoint().unwrap();
    assert!(sizes.bytes_before > 0 && sizes.bytes_after == 0, "{sizes:?}");
    assert_eq!(h.all().len(), 1);
}

#[test]
fn another_programs_file_is_not_changed_as_a_whole() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("app.db");
    Connection::open(&path).unwrap().execute_batch("CREATE TABLE mine (x)").unwrap();
    let options = SqliteOptions { shared_file: true, ..SqliteOptions::default() };
    let store = SqliteStore::open(&path, options).unwrap();
    let keeper = store.keeper();
    assert_eq!(keeper.vacuum().unwrap_err().code(), &codes::UNSUPPORTED);
    assert_eq!(keeper.rebuild(start()).unwrap_err().code(), &codes::UNSUPPORTED);
    assert_eq!(keeper.restore(&path, start()).unwrap_err().code(), &codes::UNSUPPORTED);
    assert_eq!(keeper.integrity().unwrap().problems, []);
}
