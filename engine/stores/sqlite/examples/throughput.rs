//! Jobs per second through the engine on SQLite, against a hand-written loop of the same statements.
//!
//! `cargo run --release -p taskport-store-sqlite --example throughput [JOBS]`
//!
//! Both enqueue in batches of 100, then claim 100 and settle the 100 before in one transaction, until all have
//! succeeded. The rate counts one job once, whatever it took.

use std::error::Error;
use std::io::Write;
use std::path::Path;
use std::time::Duration;

use rusqlite::{Connection, params};
use taskport_abstraction::backend::{Settlement, Verdict};
use taskport_abstraction::id::{IdGenerator, uuid_bytes};
use taskport_abstraction::{Clock, JobOptions, Payload, QueueName, RawCall, SystemClock, Timestamp};
use taskport_engine::{Claim, Engine, EngineConfig, NewJob};
use taskport_store_sqlite::{SqliteOptions, SqliteStore, Synchronous};

type Failed = Box<dyn Error>;

const BATCH: usize = 100;
const LEASE: Duration = Duration::from_secs(60);
const ARGUMENTS: &str = r#"[[],{"path":"/usr/share/doc/example/README","pages":12}]"#;
const RESULT: &str = r#"{"words":1234,"lines":120}"#;

fn main() -> Result<(), Failed> {
    let jobs = std::env::args().nth(1).map_or(Ok(100_000), |text| text.parse::<usize>())?;
    let mut out = std::io::stdout().lock();
    for synchronous in [Synchronous::Full, Synchronous::Normal] {
        // The two take turns and the best of three counts, so that one stall of the disk does not decide.
        let (mut ours, mut raw) = (Duration::MAX, Duration::MAX);
        for _ in 0..3 {
            ours = ours.min(engine_run(jobs, synchronous)?);
            raw = raw.min(raw_run(jobs, synchronous)?);
        }
        let (ours, raw) = (rate(jobs, ours), rate(jobs, raw));
        let name = synchronous.as_str();
        writeln!(
            out,
            "{name:6}  engine {ours:>8.0} jobs/s   raw {raw:>8.0} jobs/s   ratio {:.2}",
            ours / raw
        )?;
    }
    Ok(())
}

fn rate(jobs: usize, time: Duration) -> f64 {
    jobs as f64 / time.as_secs_f64()
}

fn engine_run(jobs: usize, synchronous: Synchronous) -> Result<Duration, Failed> {
    let directory = tempfile::tempdir()?;
    let store = SqliteStore::open(
        directory.path().join("jobs.db"),
        SqliteOptions { synchronous, ..SqliteOptions::default() },
    )?;
    let started = SystemClock.now();
    let mut engine = Engine::open(store, EngineConfig::default(), started)?;
    let ids = IdGenerator::new(7);
    let call = RawCall { task: "example.count".parse()?, arguments: Payload::json(ARGUMENTS) };
    for _ in 0..jobs / BATCH {
        let now = SystemClock.now();
        let new_job = |_| NewJob {
            id: ids.job_id(now),
            call: call.clone(),
            options: JobOptions::default(),
            step: None,
        };
        let mut tx = engine.begin(now)?;
        for answer in tx.enqueue((0..BATCH).map(new_job).collect()) {
            answer?;
        }
        tx.commit()?;
    }
    let queues = [QueueName::default_queue()];
    let claim = Claim { worker: "worker", queues: &queues, max: BATCH, lease_for: LEASE };
    let mut running = Vec::new();
    loop {
        let mut tx = engine.begin(SystemClock.now())?;
        tx.tick()?;
        let last: Vec<Settlement> = std::mem::take(&mut running);
        for answer in tx.settle(&last) {
            answer?;
        }
        let claimed = tx.claim(&claim)?;
        tx.commit()?;
        if claimed.is_empty() {
            break;
        }
        let settle = |lease| Settlement { lease, verdict: Verdict::Ack(Payload::json(RESULT)) };
        running = claimed.into_iter().map(|delivery| settle(delivery.lease)).collect();
    }
    let time = SystemClock.now().since(started);
    let succeeded = engine.reader()?.queues()?[0].counts.succeeded;
    assert_eq!(succeeded, (jobs / BATCH * BATCH) as u64);
    Ok(time)
}

fn raw_run(jobs: usize, synchronous: Synchronous) -> Result<Duration, Failed> {
    let directory = tempfile::tempdir()?;
    let path = directory.path().join("raw.db");
    let db = raw_database(&path, synchronous)?;
    let started = SystemClock.now();
    let ids = IdGenerator::new(7);
    let mut begin = db.prepare("BEGIN IMMEDIATE")?;
    let mut commit = db.prepare("COMMIT")?;
    let mut insert = db.prepare(
        "INSERT INTO taskport_jobs (seq, id, task, queue, state, priority, position, due_at, submitted_at, arguments) \
         VALUES (?1, ?2, 1, 1, 2, 4, ?3, ?4, ?4, ?5) ON CONFLICT (id) DO NOTHING",
    )?;
    let mut seq = 0_i64;
    for _ in 0..jobs / BATCH {
        let now = SystemClock.now();
        begin.execute([])?;
        for _ in 0..BATCH {
            seq += 1;
            let id = uuid_bytes(ids.job_id(now).as_str());
            insert.execute(params![seq, id, (5_i64 << 56) | seq, now.as_micros(), ARGUMENTS.as_bytes()])?;
        }
        commit.execute([])?;
    }
    let mut select = db.prepare(
        "SELECT seq, id, token, attempt, arguments FROM taskport_jobs WHERE state = 2 AND queue = 1 \
         AND (expires_at IS NULL OR expires_at > ?1) ORDER BY position LIMIT ?2",
    )?;
    let mut lease = db.prepare(
        "UPDATE taskport_jobs SET state = 3, attempt = ?2, token = ?3, worker = 2, started_at = ?4, due_at = ?5 WHERE seq = ?1",
    )?;
    let mut settle = db.prepare(
        "UPDATE taskport_jobs SET state = 5, due_at = NULL, finished_at = ?3, result = ?4 \
         WHERE seq = ?1 AND token = ?2 AND state = 3",
    )?;
    let mut running: Vec<(i64, i64)> = Vec::new();
    loop {
        let now: Timestamp = SystemClock.now();
        begin.execute([])?;
        for (seq, token) in running.drain(..) {
            assert_eq!(settle.execute(params![seq, token, now.as_micros(), RESULT.as_bytes()])?, 1);
        }
        let until = now + LEASE;
        let mut rows = select.query(params![now.as_micros(), BATCH as i64])?;
        while let Some(row) = rows.next()? {
            let arguments: Vec<u8> = row.get(4)?;
            assert_eq!(arguments.len(), ARGUMENTS.len());
            running.push((row.get(0)?, row.get::<_, i64>(2)? + 1));
        }
        drop(rows);
        for (seq, token) in &running {
            lease.execute(params![seq, 1, token, now.as_micros(), until.as_micros()])?;
        }
        commit.execute([])?;
        if running.is_empty() {
            break;
        }
    }
    Ok(SystemClock.now().since(started))
}

/// The store's own schema and settings, with its checkpoints left to SQLite.
fn raw_database(path: &Path, synchronous: Synchronous) -> Result<Connection, Failed> {
    drop(SqliteStore::open(path, SqliteOptions::default())?);
    let db = Connection::open(path)?;
    db.execute_batch(&format!(
        "PRAGMA synchronous = {}; PRAGMA wal_autocheckpoint = 4000; PRAGMA cache_size = -16384; PRAGMA journal_size_limit = 134217728;",
        synchronous.as_str()
    ))?;
    Ok(db)
}
