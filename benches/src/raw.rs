//! The raw law: what a loop written by hand of the engine's own statements does on the engine's own schema.
//!
//! Jobs are enqueued in batches of 100; then each transaction completes the 100 of the one before and claims the next
//! 100. Nothing is interned, counted, checked or told to anybody.

use std::path::Path;

use anyhow::{Result, ensure};
use rusqlite::{Connection, Statement, params};
use serde_json::Value;
use taskport::engine::{SqliteOptions, SqliteStore, Synchronous};
use taskport_abstraction::id::{IdGenerator, uuid_bytes};
use taskport_abstraction::{Clock, SystemClock, Timestamp};

use crate::load::{BATCH, Durability, LEASE, Load, Times, arguments};
use crate::processor::processor_time;
use crate::stopwatch::Stopwatch;

const RESULT: &str = "null";

pub(crate) fn run(load: &Load) -> Result<Value> {
    let singles = enqueue_singly(&load.given.dir.join("singles.db"), load.given.durability, load.singles)?;

    let db = open(&load.given.dir.join("jobs.db"), load.given.durability)?;
    let mut producer = Producer::new(&db)?;
    let idle = processor_time();
    let watch = Stopwatch::start();
    for count in load.given.batches() {
        producer.enqueue(count)?;
    }
    let bulk = watch.elapsed();
    let watch = Stopwatch::start();
    work(&db)?;
    let work = watch.elapsed();
    let processor = processor_time().saturating_sub(idle);

    let succeeded: usize =
        db.query_row("SELECT count(*) FROM taskport_jobs WHERE state = 5", [], |row| row.get(0))?;
    ensure!(succeeded == load.given.jobs, "{succeeded} of {} jobs succeeded", load.given.jobs);
    let level: u8 = db.query_row("PRAGMA synchronous", [], |row| row.get(0))?;
    ensure!(level == load.given.durability.level(), "synchronous is {level}");
    Ok(load.figures("raw", &Times { singles, bulk, work, processor }))
}

/// One commit for each job, one after the other.
pub(crate) fn enqueue_singly(
    path: &Path,
    durability: Durability,
    jobs: usize,
) -> Result<std::time::Duration> {
    let db = open(path, durability)?;
    let mut producer = Producer::new(&db)?;
    let watch = Stopwatch::start();
    for _ in 0..jobs {
        producer.enqueue(1)?;
    }
    Ok(watch.elapsed())
}

struct Producer<'db> {
    ids: IdGenerator,
    arguments: String,
    begin: Statement<'db>,
    insert: Statement<'db>,
    commit: Statement<'db>,
    seq: i64,
}

impl<'db> Producer<'db> {
    fn new(db: &'db Connection) -> Result<Self> {
        Ok(Self {
            ids: IdGenerator::new(7),
            arguments: arguments(),
            begin: db.prepare("BEGIN IMMEDIATE")?,
            insert: db.prepare(
                "INSERT INTO taskport_jobs (seq, id, task, queue, state, priority, position, due_at, submitted_at, arguments) \
                 VALUES (?1, ?2, 1, 1, 2, 4, ?3, ?4, ?4, ?5) ON CONFLICT (id) DO NOTHING",
            )?,
            commit: db.prepare("COMMIT")?,
            seq: 0,
        })
    }

    fn enqueue(&mut self, count: usize) -> Result<()> {
        let now = SystemClock.now();
        self.begin.execute([])?;
        for _ in 0..count {
            self.seq += 1;
            let id = uuid_bytes(self.ids.job_id(now).as_str());
            let position = (5_i64 << 56) | self.seq;
            let arguments = self.arguments.as_bytes();
            self.insert.execute(params![self.seq, id, position, now.as_micros(), arguments])?;
        }
        self.commit.execute([])?;
        Ok(())
    }
}

/// Runs until nothing is left.
fn work(db: &Connection) -> Result<()> {
    let mut begin = db.prepare("BEGIN IMMEDIATE")?;
    let mut commit = db.prepare("COMMIT")?;
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
            let settled = settle.execute(params![seq, token, now.as_micros(), RESULT.as_bytes()])?;
            ensure!(settled == 1, "the lease of job {seq} was lost");
        }
        let until = now + LEASE;
        let mut rows = select.query(params![now.as_micros(), BATCH as i64])?;
        while let Some(row) = rows.next()? {
            let arguments: Vec<u8> = row.get(4)?;
            ensure!(arguments.len() > 100, "the arguments are gone");
            running.push((row.get(0)?, row.get::<_, i64>(2)? + 1));
        }
        drop(rows);
        for (seq, token) in &running {
            lease.execute(params![seq, 1, token, now.as_micros(), until.as_micros()])?;
        }
        commit.execute([])?;
        if running.is_empty() {
            return Ok(());
        }
    }
}

/// The store's own schema and settings, with its checkpoints left to SQLite.
fn open(path: &Path, durability: Durability) -> Result<Connection> {
    drop(SqliteStore::open(path, SqliteOptions::default())?);
    let db = Connection::open(path)?;
    db.execute_batch(&format!(
        "PRAGMA synchronous = {}; PRAGMA wal_autocheckpoint = 4000; PRAGMA cache_size = -16384; \
         PRAGMA journal_size_limit = 134217728;",
        Synchronous::from(durability).as_str()
    ))?;
    Ok(db)
}
