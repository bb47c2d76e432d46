//! Copies made while everything goes on, and put in the place of everything.

use std::fs;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

use rusqlite::Connection;
use taskport_abstraction::backend::{JobFilter, PageRequest, Verdict, WorkerLoad};
use taskport_abstraction::codes::{self, Code};
use taskport_abstraction::{JobOptions, JobState, QueueName};
use taskport_engine::store::Upkeep;
use taskport_engine::{Engine, NewWorker};
use taskport_store_sqlite::{SqliteOptions, SqliteStore};

use crate::golden;
use crate::harness::{Harness, LEASE, ack, assert_account, config, job_id, new_job, sqlite, start};

fn beside(h: &Harness<SqliteStore>, name: &str) -> PathBuf {
    h.path().with_file_name(name)
}

fn files(directory: &Path) -> Vec<String> {
    let mut names: Vec<String> = fs::read_dir(directory)
        .unwrap()
        .map(|entry| entry.unwrap().file_name().to_string_lossy().into_owned())
        .collect();
    names.sort();
    names
}

/// The ids in a copy, once it was found whole.
fn check_copy(path: &Path) -> Vec<String> {
    let copy = tempfile::tempdir().unwrap();
    let path = {
        let to = copy.path().join("copy.db");
        fs::copy(path, &to).unwrap();
        to
    };
    let engine =
        Engine::open(SqliteStore::open(&path, SqliteOptions::default()).unwrap(), config(), start()).unwrap();
    assert_eq!(engine.store().keeper().integrity().unwrap().problems, []);
    let mut reader = engine.reader().unwrap();
    assert_account(&reader.queues().unwrap());
    let page = PageRequest { after: None, len: 1_000 };
    reader
        .jobs(&JobFilter::default(), &page)
        .unwrap()
        .items
        .into_iter()
        .map(|job| job.id.to_string())
        .collect()
}

// proves R-467
#[test]
fn a_backup_under_load_is_one_moment_of_it() {
    let h = sqlite();
    let (path, stop, commits) = (h.path(), AtomicBool::new(false), AtomicU64::new(0));
    std::thread::scope(|scope| {
        scope.spawn(|| {
            let store = SqliteStore::open(&path, SqliteOptions::default()).unwrap();
            let mut engine = Engine::open(store, config(), start()).unwrap();
            let mut n = 0;
            while !stop.load(Ordering::Relaxed) {
                // Each commit submits ten jobs and ends ten: any other number in a copy is half a commit.
                let mut tx = engine.begin(start()).unwrap();
                let jobs = (0..10).map(|k| new_job(&format!("job-{n}-{k}"), JobOptions::default())).collect();
                tx.enqueue(jobs).into_iter().for_each(|taken| drop(taken.unwrap()));
                let queues = [QueueName::default_queue()];
                let claim =
                    taskport_engine::Claim { worker: "w", queues: &queues, max: 10, lease_for: LEASE };
                let batch: Vec<_> = tx
                    .claim(&claim)
                    .unwrap()
                    .into_iter()
                    .map(|delivery| taskport_abstraction::backend::Settlement {
                        lease: delivery.lease,
                        verdict: ack("1"),
                    })
                    .collect();
                tx.settle(&batch).into_iter().for_each(|settled| settled.unwrap());
                tx.commit().unwrap();
                commits.fetch_add(1, Ordering::Relaxed);
                n += 1;
            }
        });
        let keeper = h.engine.store().keeper();
        for round in 0..5 {
            let before = commits.load(Ordering::Relaxed);
            while commits.load(Ordering::Relaxed) < before + 20 {
                std::thread::yield_now();
            }
            let to = beside(&h, &format!("backup-{round}.db"));
            let begun = commits.load(Ordering::Relaxed);
            let report = keeper.backup(&to).unwrap();
            let copy = Connection::open(&to).unwrap();
            let count = |sql: &str| copy.query_row(sql, [], |row| row.get::<_, u64>(0)).unwrap();
            assert_eq!(report.jobs % 10, 0, "half a commit is in the copy");
            assert!(report.jobs >= begun * 10, "what was committed before is missing");
            assert_eq!(count("SELECT count(*) FROM taskport_jobs WHERE state = 5"), report.jobs);
            assert_eq!(count("SELECT submitted FROM taskport_queues"), report.jobs);
            assert_eq!(report.bytes, fs::metadata(&to).unwrap().len());
            drop(copy);
            check_copy(&to);
        }
        stop.store(true, Ordering::Relaxed);
    });
}

// proves R-468
#[test]
fn a_backup_overwrites_nothing_and_leaves_nothing_unfinished() {
    let mut h = sqlite();
    h.submit("a", JobOptions::default()).unwrap();
    let keeper = h.engine.store().keeper();
    let taken = beside(&h, "taken.db");
    fs::write(&taken, "a letter").unwrap();
    assert_eq!(keeper.backup(&taken).unwrap_err().code(), &codes::FILE_IO);
    assert_eq!(fs::read(&taken).unwrap(), b"a letter");
    let nowhere = beside(&h, "no/such/directory.db");
    let error = keeper.backup(&nowhere).unwrap_err();
    assert_eq!(error.code(), &codes::FILE_IO);
    assert!(error.remedy().is_some() && error.to_string().contains("no/such"), "{error}");
    // What a killed process left is in nobody's way.
    fs::write(beside(&h, "new.db-unfinished0"), "half").unwrap();
    keeper.backup(&beside(&h, "new.db")).unwrap();
    let directory = h.path().parent().unwrap().to_owned();
    assert_eq!(
        files(&directory),
        ["jobs.db", "jobs.db-shm", "jobs.db-wake", "jobs.db-wal", "new.db", "new.db-unfinished0", "taken.db"]
    );
}

#[cfg(unix)]
#[test]
fn a_backup_belongs_to_this_user_alone() {
    use std::os::unix::fs::PermissionsExt;
    let h = sqlite();
    let to = beside(&h, "copy.db");
    h.engine.store().keeper().backup(&to).unwrap();
    assert_eq!(fs::metadata(&to).unwrap().permissions().mode() & 0o777, 0o600);
}

// proves R-469
#[test]
fn a_restore_brings_everything_back() {
    let mut h = sqlite();
    for n in 0..20 {
        h.submit(&format!("job-{n}"), JobOptions::default()).unwrap();
    }
    let done = h.claim(1).remove(0);
    h.settle(&done, ack("1")).unwrap();
    let (before, queues) = (h.all(), h.queues());
    let copy = beside(&h, "copy.db");
    let keeper = h.engine.store().keeper();
    assert_eq!(keeper.backup(&copy).unwrap().jobs, 20);
    for delivery in h.claim(19) {
        h.settle(&delivery, Verdict::Reject(crate::harness::failure("no"))).unwrap();
    }
    h.submit("later", JobOptions { queue: Some("later".parse().unwrap()), ..JobOptions::default() }).unwrap();
    let report = keeper.restore(&copy, h.now).unwrap();
    assert_eq!(report.jobs, 20);
    assert_eq!((h.all(), h.queues()), (before, queues));
    assert_eq!(keeper.integrity().unwrap().problems, []);
    // The engine that was open goes on with what is there now.
    assert_eq!(h.claim(100).len(), 19);
    let taken = h.submit("later", JobOptions::default()).unwrap();
    assert!(!taken.existing);
    assert_eq!(h.queues().len(), 1);
}

// proves R-470
#[test]
fn nothing_is_restored_under_a_worker() {
    let mut h = sqlite();
    h.submit("a", JobOptions::default()).unwrap();
    let copy = beside(&h, "copy.db");
    let keeper = h.engine.store().keeper();
    keeper.backup(&copy).unwrap();
    let worker = NewWorker {
        name: "w".into(),
        host: "here".to_owned(),
        pid: 1,
        queues: Vec::new(),
        tasks: Vec::new(),
        slots: 1,
        lease_for: LEASE,
    };
    h.tx(|tx| tx.register_worker(worker).unwrap());
    let refused = keeper.restore(&copy, h.now).unwrap_err();
    assert_eq!(refused.code(), &codes::STORE_IN_USE);
    assert!(refused.to_string().contains("1 workers"), "{refused}");
    h.pass(31);
    h.tx(|tx| tx.heartbeat("w", WorkerLoad::default()).unwrap());
    assert_eq!(keeper.restore(&copy, h.now).unwrap_err().code(), &codes::STORE_IN_USE);
    h.tx(|tx| tx.remove_worker("w").unwrap());
    h.claim(1);
    assert_eq!(keeper.restore(&copy, h.now).unwrap_err().code(), &codes::STORE_IN_USE);
    h.pass(31);
    keeper.restore(&copy, h.now).unwrap();
}

// proves R-471
#[test]
fn a_lease_from_before_a_restore_never_counts_after_it() {
    let mut h = sqlite();
    h.submit("a", JobOptions::default()).unwrap();
    let copy = beside(&h, "copy.db");
    let keeper = h.engine.store().keeper();
    keeper.backup(&copy).unwrap();
    // A worker that hangs: its lease lapses, and it does not know.
    let old = h.claim(1).remove(0);
    h.pass(31);
    keeper.restore(&copy, h.now).unwrap();
    let new = h.claim(1).remove(0);
    assert_eq!(new.attempt, 1);
    assert!(new.lease.token > old.lease.token);
    assert_eq!(h.settle(&old, ack("1")).unwrap_err().code(), &codes::LEASE_LOST);
    h.settle(&new, ack("2")).unwrap();
}

// proves R-472
#[test]
fn whoever_has_the_file_open_sees_all_of_the_old_or_all_of_the_new() {
    let mut h = sqlite();
    for n in 0..200 {
        h.submit(&format!("old-{n}"), JobOptions::default()).unwrap();
    }
    let copy = beside(&h, "copy.db");
    h.engine.store().keeper().backup(&copy).unwrap();
    // Another process that has read names and runs the copy does not know.
    let options = |queue: &str| JobOptions { queue: Some(queue.parse().unwrap()), ..JobOptions::default() };
    let store = SqliteStore::open(h.path(), SqliteOptions::default()).unwrap();
    let mut other = Engine::open(store, config(), h.now).unwrap();
    let mut reader = other.reader().unwrap();
    let mut tx = other.begin(h.now).unwrap();
    for n in 0..100 {
        tx.enqueue_one(new_job(&format!("new-{n}"), options("unknown"))).unwrap();
    }
    tx.commit().unwrap();
    let page = PageRequest { after: None, len: 1_000 };
    assert_eq!(reader.jobs(&JobFilter::default(), &page).unwrap().items.len(), 300);

    let stop = AtomicBool::new(false);
    std::thread::scope(|scope| {
        let watching = scope.spawn(|| {
            let mut seen = Vec::new();
            while !stop.load(Ordering::Relaxed) {
                let items = reader.jobs(&JobFilter::default(), &page).unwrap().items;
                seen.push(items.len());
            }
            seen.push(reader.jobs(&JobFilter::default(), &page).unwrap().items.len());
            seen
        });
        h.engine.store().keeper().restore(&copy, h.now).unwrap();
        stop.store(true, Ordering::Relaxed);
        let seen = watching.join().unwrap();
        assert!(seen.iter().all(|jobs| [300, 200].contains(jobs)), "{seen:?}");
        assert_eq!(seen.last(), Some(&200));
    });
    // Names that came after the copy are written anew, under numbers of their own.
    h.submit("mine", options("mine")).unwrap();
    let mut tx = other.begin(h.now).unwrap();
    tx.enqueue_one(new_job("theirs", options("unknown"))).unwrap();
    tx.commit().unwrap();
    let job = |id: &str| h.engine.reader().unwrap().get(&[job_id(id)]).unwrap().remove(0).unwrap();
    assert_eq!(job("mine").queue.as_str(), "mine");
    assert_eq!(job("theirs").queue.as_str(), "unknown");
    let mut reader = other.reader().unwrap();
    assert_account(&reader.queues().unwrap());
    assert_eq!(h.engine.store().keeper().integrity().unwrap().problems, []);
}

// proves R-473
#[test]
fn what_is_no_sound_backup_is_refused_and_changes_nothing() {
    let mut h = sqlite();
    for n in 0..300 {
        h.submit(&format!("job-{n}"), JobOptions::default()).unwrap();
    }
    let good = beside(&h, "good.db");
    let keeper = h.engine.store().keeper();
    keeper.backup(&good).unwrap();
    let before = h.all();
    let check = |name: &str, spoil: &dyn Fn(&Path), expected: &Code| {
        let path = good.with_file_name(name);
        fs::copy(&good, &path).unwrap();
        spoil(&path);
        let error = keeper.restore(&path, start()).unwrap_err();
        assert_eq!(error.code(), expected, "{name}: {error}");
        assert!(error.remedy().is_some(), "{name}: {error}");
    };
    check("missing", &|path| fs::remove_file(path).unwrap(), &codes::STORE_OPEN);
    check("letter", &|path| fs::write(path, "a letter ".repeat(500)).unwrap(), &codes::STORE_FOREIGN);
    check("empty", &|path| fs::write(path, "").unwrap(), &codes::STORE_FOREIGN);
    check(
        "newer",
        &|path| {
            Connection::open(path).unwrap().execute_batch("UPDATE taskport_schema SET version = 99").unwrap()
        },
        &codes::STORE_NEWER,
    );
    check(
        "torn",
        &|path| {
            let mut bytes = fs::read(path).unwrap();
            let middle = bytes.len() / 2 / 4_096 * 4_096;
            bytes[middle..middle + 4_096].fill(0xa5);
            fs::write(path, bytes).unwrap();
        },
        &codes::STORE_CORRUPT,
    );
    check(
        "cut",
        &|path| {
            let bytes = fs::read(path).unwrap();
            fs::write(path, &bytes[..bytes.len() / 2]).unwrap();
        },
        &codes::STORE_CORRUPT,
    );
    assert_eq!(h.all(), before);
    let directory = h.path().parent().unwrap().to_owned();
    assert!(files(&directory).iter().all(|name| !name.contains("unfinished")), "{:?}", files(&directory));
}

// proves R-473
#[test]
fn a_backup_by_an_earlier_version_is_restored_and_brought_up_to_date() {
    let mut h = sqlite();
    let now = "2100-01-01T00:00:00Z".parse().unwrap();
    let copy = beside(&h, "v1.db");
    fs::copy(golden::path(1), &copy).unwrap();
    let report = h.engine.store().keeper().restore(&copy, now).unwrap();
    assert_eq!(report.jobs as usize, h.all().len());
    assert_eq!(h.state("dead"), JobState::Failed);
    assert_eq!(h.engine.store().keeper().integrity().unwrap().problems, []);
}
