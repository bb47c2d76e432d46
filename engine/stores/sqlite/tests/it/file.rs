//! What a file may be, and what becomes of one that is something else.

use std::fs;

use rusqlite::Connection;
use taskport_abstraction::backend::Verdict;
use taskport_abstraction::codes::{self, Code};
use taskport_abstraction::{Error, FailureKind, JobOptions, JobState, Outcome, Payload, QueueName};
use taskport_engine::Engine;
use taskport_store_sqlite::{SqliteOptions, SqliteStore};
use tempfile::TempDir;

use crate::harness::{ack, config, failure, job_id, new_job, sqlite, start};

fn check_refused(contents: impl FnOnce(&std::path::Path), expected: &Code) {
    let directory = TempDir::new().unwrap();
    let path = directory.path().join("file.db");
    contents(&path);
    let before = fs::read(&path).unwrap();
    let error = SqliteStore::open(&path, SqliteOptions::default()).unwrap_err();
    assert_eq!(error.code(), expected, "{error}");
    assert!(error.remedy().is_some(), "{error} has no hint");
    assert_eq!(fs::read(&path).unwrap(), before, "the file was changed");
}

#[test]
fn foreign_and_newer_files_are_refused_and_left_as_they_are() {
    check_refused(
        |path| fs::write(path, "a letter to a friend, longer than a header".repeat(30)).unwrap(),
        &codes::STORE_FOREIGN,
    );
    check_refused(|path| fs::write(path, "short").unwrap(), &codes::STORE_FOREIGN);
    check_refused(
        |path| Connection::open(path).unwrap().execute_batch("CREATE TABLE taskport_jobs (id)").unwrap(),
        &codes::STORE_FOREIGN,
    );
    check_refused(
        |path| {
            Connection::open(path)
                .unwrap()
                .execute_batch("PRAGMA application_id = 7; CREATE TABLE t (x)")
                .unwrap()
        },
        &codes::STORE_FOREIGN,
    );
    check_refused(
        |path| {
            drop(SqliteStore::open(path, SqliteOptions::default()).unwrap());
            Connection::open(path).unwrap().execute_batch("UPDATE taskport_schema SET version = 3").unwrap();
        },
        &codes::STORE_NEWER,
    );
}

#[test]
fn a_shared_file_keeps_its_owner_and_its_own_tables() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("app.db");
    let app = Connection::open(&path).unwrap();
    app.execute_batch(
        "PRAGMA application_id = 7; PRAGMA user_version = 12; CREATE TABLE jobs (title); CREATE TABLE queues (x);
         CREATE INDEX jobs_id ON jobs (title); INSERT INTO jobs VALUES ('baker')",
    )
    .unwrap();
    let options = SqliteOptions { shared_file: true, ..SqliteOptions::default() };
    let store = SqliteStore::open(&path, options.clone()).unwrap();
    let mut engine = Engine::open(store, config(), start()).unwrap();
    let mut tx = engine.begin(start()).unwrap();
    tx.enqueue_one(new_job("job-1", JobOptions::default())).unwrap();
    tx.commit().unwrap();
    drop(engine);
    let pragma = |name: &str| app.pragma_query_value(None, name, |row| row.get::<_, i64>(0)).unwrap();
    assert_eq!((pragma("application_id"), pragma("user_version")), (7, 12));
    let title: String = app.query_row("SELECT title FROM jobs", [], |row| row.get(0)).unwrap();
    assert_eq!(title, "baker");
    let jobs: i64 = app.query_row("SELECT count(*) FROM taskport_jobs", [], |row| row.get(0)).unwrap();
    assert_eq!(jobs, 1);
    // Once the tables are there, the file is known without the option.
    drop(SqliteStore::open(&path, SqliteOptions::default()).unwrap());
}

#[test]
fn a_damaged_file_says_so() {
    let mut h = sqlite();
    for n in 0..500 {
        h.submit(&format!("job-{n}"), JobOptions::default()).unwrap();
    }
    let path = h.path();
    let copy = path.with_extension("copy");
    Connection::open(&path).unwrap().execute("VACUUM INTO ?1", [copy.to_str().unwrap()]).unwrap();
    let mut bytes = fs::read(&copy).unwrap();
    // Everything but the page that says what the file is.
    bytes[4_096..].fill(0xa5);
    fs::write(&copy, bytes).unwrap();
    let opened = SqliteStore::open(&copy, SqliteOptions::default())
        .and_then(|store| Engine::open(store, config(), start()));
    let error = opened.and_then(|mut engine| {
        let mut tx = engine.begin(start())?;
        tx.cancel(&[job_id("job-1")]).remove(0)?;
        Ok(())
    });
    let error = error.unwrap_err();
    assert_eq!(error.code(), &codes::STORE_CORRUPT, "{error}");
    assert!(error.remedy().is_some());
}

/// Opens a sound file after `change` was made to it.
fn open_changed(change: &str) -> Result<SqliteStore, Error> {
    let h = sqlite();
    let path = h.path();
    let connection = Connection::open(&path).unwrap();
    connection.execute_batch(change).unwrap();
    SqliteStore::open(&path, SqliteOptions::default())
}

#[test]
fn a_schema_that_says_something_else_is_damage() {
    let in_schema = |from: &str, to: &str| {
        format!(
            "PRAGMA writable_schema = ON; UPDATE sqlite_schema SET sql = replace(sql, '{from}', '{to}'); \
             PRAGMA writable_schema = RESET"
        )
    };
    let changes = [
        ("index `taskport_jobs_ready`", in_schema("WHERE state = 2", "WHERE state = 3")),
        ("index `taskport_jobs_timers`", in_schema("(due_at) WHERE state < 5", "(due_at) WHERE state < 1")),
        ("column `rate_count` of `taskport_queues`", in_schema("rate_count", "rate_counu")),
        ("column `progress_message` of `taskport_jobs`", in_schema("progress_message", "progress_lessage")),
        ("column `state` of `taskport_jobs`", in_schema("state INTEGER", "state HNTEGER")),
        ("index `taskport_jobs_dead`", "DROP INDEX taskport_jobs_dead".to_owned()),
        ("of `taskport_journal`", "DROP TABLE taskport_journal".to_owned()),
    ];
    for (part, change) in changes {
        let error = open_changed(&change).unwrap_err();
        assert_eq!(error.code(), &codes::STORE_CORRUPT, "{change}: {error}");
        assert!(error.to_string().contains(part), "{change}: {error}");
        assert!(error.remedy().is_some());
    }
}

#[test]
fn an_index_that_somebody_added_is_no_damage() {
    open_changed("CREATE INDEX by_task ON taskport_jobs (task); CREATE TABLE taskport_notes (x)").unwrap();
}

#[test]
fn a_value_that_no_release_writes_is_damage() {
    let mut h = sqlite();
    h.submit("job-1", JobOptions::default()).unwrap();
    Connection::open(h.path()).unwrap().execute("UPDATE taskport_jobs SET queue = x'00'", []).unwrap();
    let mut tx = h.engine.begin(start()).unwrap();
    let error = tx.cancel(&[job_id("job-1")]).remove(0).unwrap_err();
    assert_eq!(error.code(), &codes::STORE_CORRUPT, "{error}");
    assert!(error.remedy().is_some());
}

#[test]
fn a_directory_that_does_not_exist_is_named_with_a_remedy() {
    let directory = TempDir::new().unwrap();
    let error =
        SqliteStore::open(directory.path().join("no/such/file.db"), SqliteOptions::default()).unwrap_err();
    assert_eq!(error.code(), &codes::STORE_OPEN);
    assert!(error.remedy().is_some() && error.to_string().contains("file.db"), "{error}");
}

#[cfg(unix)]
#[test]
fn new_files_belong_to_this_user_alone() {
    use std::os::unix::fs::PermissionsExt;
    let mut h = sqlite();
    h.submit("a", JobOptions::default()).unwrap();
    for suffix in ["", "-wal", "-shm", "-wake"] {
        let path = format!("{}{suffix}", h.path().display());
        let mode = fs::metadata(&path).unwrap().permissions().mode();
        assert_eq!(mode & 0o777, 0o600, "{path}");
    }
}

#[test]
fn what_was_committed_is_there_when_the_file_is_opened_again() {
    let mut h = sqlite();
    h.submit("a", JobOptions::default()).unwrap();
    h.submit("b", JobOptions::default()).unwrap();
    let delivery = h.claim(1).remove(0);
    let reopened = SqliteStore::open(h.path(), SqliteOptions::default()).unwrap();
    h.engine = Engine::open(reopened, config(), h.now).unwrap();
    // The lease outlives the process that gave it.
    h.settle(&delivery, ack("1")).unwrap();
    assert_eq!(h.state("a"), JobState::Succeeded);
    assert_eq!(h.claim(5).len(), 1);
    assert_eq!(h.queues()[0].counts.submitted, 2);
}

#[test]
fn a_transaction_that_meets_a_full_disk_fails_whole_and_the_next_goes_on() {
    let mut h = sqlite();
    h.submit("a", JobOptions::default()).unwrap();
    let full = SqliteOptions { file_bytes_max: Some(256 << 10), ..SqliteOptions::default() };
    let store = SqliteStore::open(h.path(), full).unwrap();
    let mut engine = Engine::open(store, config(), h.now).unwrap();
    let mut tx = engine.begin(h.now).unwrap();
    let mut failed = None;
    for n in 0..1_000 {
        let mut job = new_job(&format!("job-{n}"), JobOptions::default());
        job.call.arguments = Payload::json(vec![b' '; 900]);
        if let Err(error) = tx.enqueue(vec![job]).remove(0) {
            failed = Some(error);
            break;
        }
    }
    assert_eq!(failed.unwrap().code(), &codes::STORE_FULL);
    assert_eq!(tx.commit().unwrap_err().code(), &codes::STORE_FULL);
    assert_eq!(h.all().len(), 1);
    assert_eq!(h.claim(1).len(), 1);
}

// proves R-046
#[test]
fn options_of_an_unknown_version_make_a_dead_letter_and_stop_nobody() {
    let mut h = sqlite();
    h.submit("newer", JobOptions::default()).unwrap();
    h.submit("broken", JobOptions::default()).unwrap();
    h.submit("good", JobOptions::default()).unwrap();
    let other = Connection::open(h.path()).unwrap();
    let set = "UPDATE taskport_jobs SET options = ?1 WHERE id = ?2";
    other.execute(set, rusqlite::params![br#"{"v":2,"value":{"new":1}}"#, "newer"]).unwrap();
    other.execute(set, rusqlite::params![b"\xff\x00", "broken"]).unwrap();
    let deliveries = h.claim(3);
    assert_eq!(deliveries.len(), 1);
    assert_eq!(deliveries[0].lease.job, job_id("good"));
    for (id, code) in [("newer", "E-032"), ("broken", "E-033")] {
        let status = h.status(id);
        let Some(Outcome::Failure(outcome)) = status.outcome else { panic!("no failure") };
        assert_eq!((status.state, outcome.kind), (JobState::Failed, FailureKind::Undecodable));
        assert!(outcome.message.contains(code), "{outcome}");
    }
}

#[test]
fn the_log_stays_under_its_limit() {
    let directory = TempDir::new().unwrap();
    let path = directory.path().join("jobs.db");
    let options =
        SqliteOptions { wal_bytes_soft: 64 << 10, wal_bytes_max: 512 << 10, ..SqliteOptions::default() };
    let mut engine = Engine::open(SqliteStore::open(&path, options).unwrap(), config(), start()).unwrap();
    let wal = directory.path().join("jobs.db-wal");
    let mut longest = 0;
    for batch in 0..200 {
        let jobs = (0..20).map(|n| {
            let mut job = new_job(&format!("job-{batch}-{n}"), JobOptions::default());
            job.call.arguments = Payload::json(vec![b' '; 900]);
            job
        });
        let mut tx = engine.begin(start()).unwrap();
        tx.enqueue(jobs.collect()).into_iter().for_each(|answer| drop(answer.unwrap()));
        tx.commit().unwrap();
        longest = longest.max(fs::metadata(&wal).unwrap().len());
    }
    assert!(longest < (1 << 20), "the log grew to {longest} bytes");
}

#[test]
fn the_planner_uses_the_indexes_the_hot_statements_need() {
    let h = sqlite();
    let other = Connection::open(h.path()).unwrap();
    let check = |sql: &str, index: &str| {
        let mut statement = other.prepare(&format!("EXPLAIN QUERY PLAN {sql}")).unwrap();
        let plan: Vec<String> =
            statement.query_map([], |row| row.get(3)).unwrap().map(Result::unwrap).collect();
        assert!(plan.iter().any(|line| line.contains(index)), "{sql}: {plan:?}");
        assert!(!plan.iter().any(|line| line.contains("TEMP B-TREE")), "{sql}: {plan:?}");
    };
    check(
        "SELECT seq FROM taskport_jobs WHERE state = 2 AND queue = 1 AND (expires_at IS NULL OR expires_at > 5) ORDER BY position LIMIT 9",
        "taskport_jobs_ready",
    );
    check(
        "SELECT seq, queue, state FROM taskport_jobs WHERE state < 5 AND state <> 2 AND state <> 1 AND state <> 3 AND due_at <= 5 ORDER BY due_at LIMIT 9",
        "taskport_jobs_timers",
    );
    check(
        "SELECT seq FROM taskport_jobs WHERE state < 5 AND state <> 2 AND state <> 1 AND state = 3 AND due_at <= 5 ORDER BY due_at, seq LIMIT 9",
        "taskport_jobs_timers",
    );
    check(
        "SELECT seq FROM taskport_jobs WHERE expires_at IS NOT NULL AND state < 3 AND expires_at <= 5 ORDER BY expires_at, seq LIMIT 9",
        "taskport_jobs_expiring",
    );
    check(
        "SELECT seq FROM taskport_jobs WHERE seq < 9 AND state = 6 AND state > 5 ORDER BY seq DESC LIMIT 9",
        "taskport_jobs_dead",
    );
    check(
        "SELECT seq FROM taskport_jobs WHERE run = 1 AND step = 2 AND step_index >= 3 ORDER BY step_index LIMIT 9",
        "taskport_jobs_steps",
    );
    check("SELECT seq FROM taskport_jobs WHERE id = 'x'", "taskport_jobs_id");
    check(
        "SELECT seq FROM taskport_jobs WHERE line = 'x' AND held_by = -1 ORDER BY line_place, seq LIMIT 9",
        "taskport_jobs_lines",
    );
    check(
        "SELECT held_by IS -1 FROM taskport_jobs WHERE line = 'x' ORDER BY line_place DESC, seq DESC LIMIT 1",
        "taskport_jobs_lines",
    );
    check(
        "SELECT seq FROM taskport_jobs WHERE held_by = 7 AND held_by > 0 AND queue = 1 ORDER BY position, seq LIMIT 9",
        "taskport_jobs_parked",
    );
    check(
        "SELECT gate FROM taskport_gates WHERE wake_at IS NOT NULL AND wake_at <= 5 ORDER BY wake_at, gate LIMIT 9",
        "taskport_gates_wake",
    );
    check("SELECT gate FROM taskport_gates WHERE key = 'x' AND kind = 1 AND queue = 0", "taskport_gates_key");
}

#[test]
fn a_lost_worker_is_seen_by_whoever_opens_the_file_next() {
    let mut h = sqlite();
    h.submit("a", JobOptions::default()).unwrap();
    h.claim(1);
    h.pass(31);
    let reopened = SqliteStore::open(h.path(), SqliteOptions::default()).unwrap();
    h.engine = Engine::open(reopened, config(), h.now).unwrap();
    let status = h.engine.reader().unwrap().get(&[job_id("a")]).unwrap().remove(0).unwrap();
    assert_eq!((status.state, status.attempt), (JobState::Queued, 1));
}

#[test]
fn the_schema_knows_who_owns_the_file() {
    let mut h = sqlite();
    h.submit("a", JobOptions { queue: Some(QueueName::default_queue()), ..JobOptions::default() }).unwrap();
    let delivery = h.claim(1).remove(0);
    h.settle(&delivery, Verdict::Reject(failure("no"))).unwrap();
    let other = Connection::open(h.path()).unwrap();
    let pragma = |name: &str| other.pragma_query_value(None, name, |row| row.get::<_, i64>(0)).unwrap();
    assert_eq!((pragma("application_id"), pragma("user_version")), (0x5473_6b70, 2));
    let mode: String = other.pragma_query_value(None, "journal_mode", |row| row.get(0)).unwrap();
    assert_eq!(mode, "wal");
    let check: String = other.pragma_query_value(None, "integrity_check", |row| row.get(0)).unwrap();
    assert_eq!(check, "ok");
}
