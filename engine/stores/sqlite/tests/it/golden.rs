//! Files of every released schema version, as `tests/golden/README.md` describes them: today's program reads them whole,
//! goes on with them, and makes of them what it makes of a new file.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};
use std::time::Duration;

use rusqlite::Connection;
use serde_json::{Value, json};
use taskport_abstraction::backend::{JobFilter, PageRequest, RunFilter, RunStatus, StepState, Verdict};
use taskport_abstraction::maintenance::Retention;
use taskport_abstraction::options::{OnConflict, Start, Unique};
use taskport_abstraction::text::format_duration;
use taskport_abstraction::{JobId, JobOptions, JobState, JobStatus, Outcome, Payload, QueueName, Timestamp};
use taskport_engine::{Claim, Engine, EngineConfig, Sweep, SweepMode};
use taskport_store_sqlite::{SqliteOptions, SqliteStore};
use tempfile::TempDir;

use crate::harness::{assert_account, config, job_id, new_job};

const VERSIONS: &[u32] = &[1];
const PAGE: PageRequest = PageRequest { after: None, len: 1_000 };

/// A copy of a golden file, and what its own program said of it.
struct Golden {
    _directory: TempDir,
    path: PathBuf,
    expected: Value,
}

impl Golden {
    fn taken_at(&self) -> Timestamp {
        Timestamp::from_micros(self.expected["taken_at"].as_i64().unwrap())
    }

    fn open(&self, now: Timestamp) -> Engine<SqliteStore> {
        let config = EngineConfig { payload_bytes_max: 16 << 20, result_bytes_max: 16 << 20, ..config() };
        let store = SqliteStore::open(&self.path, SqliteOptions::default()).unwrap();
        Engine::open(store, config, now).unwrap()
    }

    fn connect(&self) -> Connection {
        Connection::open(&self.path).unwrap()
    }
}

fn folder() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/golden")
}

pub(crate) fn path(version: u32) -> PathBuf {
    folder().join(format!("v{version}.db"))
}

fn golden(version: u32) -> Golden {
    let directory = TempDir::new().unwrap();
    let copy = directory.path().join("jobs.db");
    fs::copy(path(version), &copy).unwrap();
    let expected = fs::read(folder().join(format!("v{version}.json"))).unwrap();
    Golden { _directory: directory, path: copy, expected: serde_json::from_slice(&expected).unwrap() }
}

fn each(check: impl Fn(Golden)) {
    VERSIONS.iter().for_each(|version| check(golden(*version)));
}

/// What stands in a list of the expectation, by the text of one field.
fn by(list: &Value, field: &str) -> BTreeMap<String, Value> {
    let entries = list.as_array().unwrap().iter();
    entries.map(|entry| (entry[field].as_str().unwrap().to_owned(), entry.clone())).collect()
}

fn body(payload: &Payload) -> Value {
    serde_json::from_slice(payload.as_json().unwrap()).unwrap()
}

fn ending(outcome: Option<&Outcome>, into: &mut Value) {
    match outcome {
        None => {}
        Some(Outcome::Success(result)) => into["result"] = body(result),
        Some(Outcome::Failure(failure)) => {
            into["failure"] = json!({
                "kind": failure.kind.as_str(), "type": failure.type_name, "message": failure.message,
                "traceback": failure.traceback, "attempt": failure.attempt, "retryable": failure.retryable,
            });
        }
    }
}

fn options(options: &JobOptions) -> Value {
    let moment = |start: Start| match start {
        Start::In(delay) => format_duration(delay),
        Start::At(moment) => moment.to_string(),
    };
    let mut form = json!({});
    let mut set = |name: &str, value: Option<Value>| {
        if let Some(value) = value {
            form[name] = value;
        }
    };
    set("priority", options.priority.map(|priority| json!(priority.level())));
    set("start", options.start.map(|start| json!(moment(start))));
    set("expiry", options.expiry.map(|start| json!(moment(start))));
    set("timeout_soft", options.timeout_soft.map(|time| json!(format_duration(time))));
    set("timeout_hard", options.timeout_hard.map(|time| json!(format_duration(time))));
    set(
        "retry",
        options.retry.as_ref().map(|policy| {
            json!({
                "attempts_max": policy.attempts_max, "backoff": policy.backoff.to_string(),
                "age_max": policy.age_max.map(format_duration),
            })
        }),
    );
    set(
        "idempotency",
        options.idempotency.as_ref().map(|idempotency| {
            let unique = match idempotency.unique {
                Unique::WhileLive => "while-live".to_owned(),
                Unique::Forever => "forever".to_owned(),
                Unique::For(period) => format_duration(period),
            };
            let on_conflict = match idempotency.on_conflict {
                OnConflict::Keep => "keep",
                OnConflict::Replace => "replace",
                OnConflict::Ignore => "ignore",
            };
            json!({"key": &*idempotency.key, "unique": unique, "on_conflict": on_conflict})
        }),
    );
    let tags: Vec<&str> = options.tags.iter().map(|tag| &**tag).collect();
    set("tags", (!tags.is_empty()).then(|| json!(tags)));
    let metadata: BTreeMap<&str, &str> =
        options.metadata.iter().map(|(key, value)| (&**key, &**value)).collect();
    set("metadata", (!metadata.is_empty()).then(|| json!(metadata)));
    set("parent", options.parent.as_ref().map(|parent| json!(parent.to_string())));
    set("trace", options.trace.as_ref().map(|trace| json!(trace.as_str())));
    form
}

/// A job as the command line of version 1 printed it.
fn job(status: &JobStatus) -> Value {
    let mut form = json!({
        "job": format!("main:{}", status.id), "id": status.id, "backend": "main", "task": status.task,
        "queue": status.queue, "state": status.state.as_str(), "attempt": status.attempt,
        "arguments": body(&status.arguments), "options": options(&status.options),
        "submitted_at": status.submitted_at, "not_before": status.not_before, "started_at": status.started_at,
        "finished_at": status.finished_at, "cancel_requested": status.cancel_requested,
    });
    ending(status.outcome.as_ref(), &mut form);
    if let Some(worker) = &status.worker {
        form["worker"] = json!(&**worker);
    }
    if let Some(step) = &status.step {
        form["step"] = json!({"run": step.run, "step": step.step, "index": step.index});
    }
    form
}

/// A run as the command line of version 1 printed it, without what it computed.
fn run(status: &RunStatus) -> Value {
    let state = |state: StepState| serde_json::to_value(state).unwrap();
    let step = |step: &taskport_abstraction::backend::StepStatus| {
        json!({
            "step": step.id, "state": state(step.state), "total": step.total, "succeeded": step.succeeded,
            "failed": step.failed, "started_at": step.started_at, "finished_at": step.finished_at,
        })
    };
    let mut form = json!({
        "run": status.id, "backend": "main", "workflow": status.workflow, "state": status.state.as_str(),
        "started_at": status.started_at, "finished_at": status.finished_at,
        "steps": status.steps.iter().map(step).collect::<Vec<_>>(),
    });
    ending(status.outcome.as_ref(), &mut form);
    form
}

fn without(mut value: Value, names: &[&str]) -> Value {
    let object = value.as_object_mut().unwrap();
    names.iter().for_each(|name| drop(object.remove(*name)));
    if let Some(steps) = object.get_mut("steps") {
        for step in steps.as_array_mut().unwrap() {
            let step = step.as_object_mut().unwrap();
            ["seconds", "failure"].iter().for_each(|name| drop(step.remove(*name)));
        }
    }
    value
}

fn check_reads_back(golden: &Golden, engine: &Engine<SqliteStore>) {
    let mut reader = engine.reader().unwrap();
    let jobs = reader.jobs(&JobFilter::default(), &PAGE).unwrap().items;
    let expected = by(&golden.expected["jobs"], "id");
    assert_eq!(jobs.len(), expected.len());
    for status in &jobs {
        assert_eq!(job(status), expected[status.id.as_str()]);
        // By its id too, and not only in the listing.
        assert_eq!(reader.get(std::slice::from_ref(&status.id)).unwrap()[0].as_ref(), Some(status));
    }
    let runs = reader.runs(&RunFilter::default(), &PAGE).unwrap().items;
    let expected = by(&golden.expected["runs"], "run");
    assert_eq!(runs.len(), expected.len());
    for status in &runs {
        assert_eq!(run(status), without(expected[status.id.as_str()].clone(), &["seconds"]));
    }
    let queues = reader.queues().unwrap();
    assert_account(&queues);
    let expected = by(&golden.expected["queues"], "queue");
    assert_eq!(queues.len(), expected.len());
    for queue in &queues {
        let mut form = serde_json::to_value(queue.counts).unwrap();
        form["queue"] = json!(queue.name);
        form["backend"] = json!("main");
        form["order"] = serde_json::to_value(queue.order).unwrap();
        form["paused"] = json!(queue.paused);
        form["paused_reason"] = json!(queue.paused_reason);
        form["oldest_queued_at"] = json!(queue.oldest_queued_at);
        assert_eq!(form, expected[queue.name.as_str()]);
    }
    let workers = reader.workers(golden.taken_at()).unwrap();
    let expected = golden.expected["workers"].as_array().unwrap();
    let form = workers.iter().map(|worker| {
        json!({"name": worker.name, "host": worker.host, "pid": worker.pid, "seen_at": worker.seen_at.as_micros()})
    });
    assert_eq!(&form.collect::<Vec<_>>(), expected);
}

fn keys(connection: &Connection) -> Vec<Value> {
    let sql = "SELECT key, CASE typeof(job) WHEN 'text' THEN job ELSE lower(hex(job)) END, until \
               FROM taskport_keys ORDER BY key";
    let mut statement = connection.prepare(sql).unwrap();
    let read = |row: &rusqlite::Row<'_>| {
        let (key, job, until): (String, String, Option<i64>) = (row.get(0)?, row.get(1)?, row.get(2)?);
        Ok(json!({"key": key, "job": job, "until": until}))
    };
    statement.query_map([], read).unwrap().map(Result::unwrap).collect()
}

// proves R-479
#[test]
fn every_released_file_reads_back_equal() {
    each(|golden| {
        let engine = golden.open(golden.taken_at());
        check_reads_back(&golden, &engine);
        assert_eq!(&keys(&golden.connect()), golden.expected["keys"].as_array().unwrap());
        let report = taskport_engine::store::Upkeep::keeper(engine.store()).integrity().unwrap();
        assert_eq!(report.problems, [], "{:?}", golden.path);
    });
}

// proves R-479
#[test]
fn keys_of_every_released_file_still_hold() {
    each(|golden| {
        let mut engine = golden.open(golden.taken_at());
        let expected = by(&golden.expected["jobs"], "id");
        let held = ["key-forever", "key-period", "key-live", "key-live-replaced", "key-ended"];
        for (n, id) in held.into_iter().enumerate() {
            let options = engine.reader().unwrap().get(&[job_id(id)]).unwrap().remove(0).unwrap().options;
            let key = options.idempotency.clone().unwrap();
            let mut tx = engine.begin(golden.taken_at()).unwrap();
            let call = JobOptions { idempotency: Some(key), queue: options.queue, ..JobOptions::default() };
            let mut repeated = new_job(&format!("repeated-{n}"), call);
            let kept = &expected[id];
            repeated.call.task = kept["task"].as_str().unwrap().parse().unwrap();
            repeated.call.arguments = Payload::json(serde_json::to_vec(&kept["arguments"]).unwrap());
            let taken = tx.enqueue(vec![repeated]).remove(0).unwrap();
            // A key that held as long as its job lived is free, and one that replaces takes the place of what has ended.
            assert_eq!(taken.existing, !["key-ended", "key-period"].contains(&id), "{id}");
        }
    });
}

/// Runs everything that is ready in every queue that is not paused.
fn drain(engine: &mut Engine<SqliteStore>, now: Timestamp) {
    loop {
        let queues: Vec<QueueName> =
            engine.reader().unwrap().queues().unwrap().into_iter().map(|queue| queue.name).collect();
        let mut tx = engine.begin(now).unwrap();
        while tx.tick().unwrap() {}
        let claim = Claim { worker: "w", queues: &queues, max: 100, lease_for: Duration::from_secs(60) };
        let deliveries = tx.claim(&claim).unwrap();
        let settle = |delivery: &taskport_abstraction::backend::Delivery| {
            let verdict = Verdict::Ack(Payload::json("\"done\""));
            taskport_abstraction::backend::Settlement { lease: delivery.lease.clone(), verdict }
        };
        let batch: Vec<_> = deliveries.iter().map(settle).collect();
        tx.settle(&batch).into_iter().for_each(|answer| answer.unwrap());
        tx.commit().unwrap();
        if deliveries.is_empty() {
            return;
        }
    }
}

// proves R-480
#[test]
fn work_of_every_released_file_goes_on() {
    each(|golden| {
        let later = golden.taken_at() + Duration::from_secs(3_600);
        let mut engine = golden.open(later);
        drain(&mut engine, later);
        let mut reader = engine.reader().unwrap();
        let runs = reader.runs(&RunFilter::default(), &PAGE).unwrap().items;
        assert!(runs.iter().all(|run| run.state.is_terminal()), "{runs:?}");
        let open = by(&golden.expected["runs"], "state")["running"]["run"].as_str().unwrap().to_owned();
        let finished = runs.iter().find(|run| run.id.as_str() == open).unwrap();
        assert_eq!(finished.state, JobState::Succeeded);
        let state = |id: &str| {
            let id: JobId = job_id(id);
            engine.reader().unwrap().get(&[id]).unwrap().remove(0).unwrap().state
        };
        for id in ["running", "ready-2", "ready-3", "fifo-2", "lifo-3", "key-live", "ready-expiring"] {
            assert_eq!(state(id), JobState::Succeeded, "{id}");
        }
        for (id, expected) in [
            ("paused-1", JobState::Queued),
            ("scheduled", JobState::Scheduled),
            ("retrying", JobState::Retrying),
            ("dead", JobState::Failed),
        ] {
            assert_eq!(state(id), expected, "{id}");
        }
        assert_account(&reader.queues().unwrap());
    });
}

// proves R-464
#[test]
fn runs_of_every_released_file_are_pruned_whole() {
    each(|golden| {
        let later = golden.taken_at() + Duration::from_secs(3_600);
        let mut engine = golden.open(later);
        let retention = Retention { runs: Some(Duration::from_secs(60)), ..Retention::default() };
        let mut sweep = Sweep::new(SweepMode::Remove);
        while !sweep.is_done() {
            let mut tx = engine.begin(later).unwrap();
            tx.prune(&retention, &mut sweep).unwrap();
            tx.commit().unwrap();
        }
        assert_eq!((sweep.report().runs, sweep.report().jobs), (2, 0));
        let count = |sql: &str| golden.connect().query_row(sql, [], |row| row.get::<_, i64>(0)).unwrap();
        assert_eq!(count("SELECT count(*) FROM taskport_runs"), 1);
        // Of both runs by one definition, one is open; that of the other definition is gone.
        assert_eq!(count("SELECT count(*) FROM taskport_definitions"), 1);
        assert_eq!(count("SELECT count(*) FROM taskport_run_inputs"), 1);
        assert_eq!(count("SELECT count(DISTINCT run) FROM taskport_jobs WHERE run IS NOT NULL"), 1);
        drain(&mut engine, later);
        let runs = engine.reader().unwrap().runs(&RunFilter::default(), &PAGE).unwrap().items;
        assert_eq!(runs.iter().map(|run| run.state).collect::<Vec<_>>(), [JobState::Succeeded]);
        let report = taskport_engine::store::Upkeep::keeper(engine.store()).integrity().unwrap();
        assert_eq!(report.problems, []);
    });
}

/// Every table with its columns, and every index and trigger with its definition.
fn schema(connection: &Connection) -> BTreeMap<String, Vec<String>> {
    let mut statement = connection.prepare("SELECT type, name, sql FROM sqlite_schema").unwrap();
    let read = |row: &rusqlite::Row<'_>| Ok((row.get(0)?, row.get(1)?, row.get::<_, Option<String>>(2)?));
    let things: Vec<(String, String, Option<String>)> =
        statement.query_map([], read).unwrap().map(Result::unwrap).collect();
    let mut schema = BTreeMap::new();
    for (kind, name, sql) in things {
        let mut facts = if kind == "table" {
            let columns = "SELECT name || ' ' || type || ' ' || \"notnull\" || ' ' || coalesce(dflt_value, '-') \
                           || ' ' || pk FROM pragma_table_info(?1)";
            let mut statement = connection.prepare(columns).unwrap();
            statement.query_map([&name], |row| row.get(0)).unwrap().map(Result::unwrap).collect()
        } else {
            vec![sql.unwrap_or_default().split_whitespace().collect::<Vec<_>>().join(" ")]
        };
        facts.sort();
        schema.insert(format!("{kind} {name}"), facts);
    }
    schema
}

// proves R-481
#[test]
fn a_migrated_file_is_what_a_new_one_is() {
    let directory = TempDir::new().unwrap();
    let path = directory.path().join("new.db");
    drop(SqliteStore::open(&path, SqliteOptions::default()).unwrap());
    let fresh = schema(&Connection::open(&path).unwrap());
    each(|golden| {
        drop(golden.open(golden.taken_at()));
        let migrated = schema(&golden.connect());
        assert_eq!(migrated.keys().collect::<Vec<_>>(), fresh.keys().collect::<Vec<_>>());
        for (name, facts) in &migrated {
            assert_eq!(facts, &fresh[name], "{name}");
        }
        let version =
            |name: &str| golden.connect().pragma_query_value(None, name, |row| row.get::<_, i64>(0)).unwrap();
        // A program from before looks here, and refuses what is newer than itself.
        assert_eq!(version("user_version"), 2);
    });
}

// proves R-482
#[test]
fn a_migration_that_is_killed_leaves_the_file_as_it_was() {
    let golden = golden(1);
    let dead = golden.path.with_extension("dead");
    {
        let mut connection = golden.connect();
        // So small a cache that pages reach the log before the commit.
        connection.execute_batch("PRAGMA cache_size = 1; PRAGMA wal_autocheckpoint = 0").unwrap();
        let tx = connection.transaction().unwrap();
        tx.execute_batch(include_str!("../../src/schema/v2/rename.sql")).unwrap();
        tx.execute_batch("UPDATE taskport_jobs SET priority = priority").unwrap();
        fs::copy(&golden.path, &dead).unwrap();
        fs::copy(golden.path.with_extension("db-wal"), dead.with_extension("dead-wal")).unwrap();
        assert!(fs::metadata(dead.with_extension("dead-wal")).unwrap().len() > 0, "nothing was on its way");
    }
    let left = Connection::open(&dead).unwrap();
    let version: i64 = left.pragma_query_value(None, "user_version", |row| row.get(0)).unwrap();
    let jobs: usize = left.query_row("SELECT count(*) FROM jobs", [], |row| row.get(0)).unwrap();
    assert_eq!((version, jobs), (1, golden.expected["jobs"].as_array().unwrap().len()));
    drop(left);
    let golden = Golden { path: dead, ..golden };
    check_reads_back(&golden, &golden.open(golden.taken_at()));
}
