//! honker under the load of the benchmark: see `benches/README.md` for what each phase is.

use std::path::PathBuf;
use std::time::Instant;

use clap::Parser;
use honker::{Database, EnqueueOpts, Queue, QueueOpts};
use serde_json::json;

type Failed = Box<dyn std::error::Error>;

#[derive(Parser)]
struct Arguments {
    /// A folder for the files of this run
    #[arg(long)]
    dir: PathBuf,
    /// FULL or NORMAL
    #[arg(long)]
    durability: String,
    #[arg(long)]
    jobs: usize,
    #[arg(long, default_value_t = 100)]
    batch: usize,
    /// Jobs enqueued one by one
    #[arg(long)]
    singles: usize,
}

fn main() -> Result<(), Failed> {
    let arguments = Arguments::parse();
    let level: u8 = match arguments.durability.as_str() {
        "FULL" => 2,
        "NORMAL" => 1,
        other => return Err(format!("no durability `{other}`").into()),
    };
    let payload = "x".repeat(100);

    // The library has one connection behind a mutex, so that several submitters would only wait for each other.
    let database = open(&arguments, "singles.db", level)?;
    let queue = database.queue("bench", QueueOpts::default());
    let started = Instant::now();
    for _ in 0..arguments.singles {
        queue.enqueue(&payload, EnqueueOpts::default())?;
    }
    let single_rate = arguments.singles as f64 / started.elapsed().as_secs_f64();
    drop((queue, database));

    let database = open(&arguments, "jobs.db", level)?;
    let queue = database.queue("bench", QueueOpts::default());
    let started = Instant::now();
    for first in (0..arguments.jobs).step_by(arguments.batch) {
        let tx = database.transaction()?;
        for _ in first..arguments.jobs.min(first + arguments.batch) {
            queue.enqueue_tx(&tx, &payload, EnqueueOpts::default())?;
        }
        tx.commit()?;
    }
    let enqueued = started.elapsed();

    let started = Instant::now();
    let ran = work(&queue, arguments.batch)?;
    let worked = started.elapsed();
    if ran != arguments.jobs {
        return Err(format!("{ran} attempts ran for {} jobs", arguments.jobs).into());
    }
    let (synchronous, journal) = settings(&database)?;
    let jobs = arguments.jobs as f64;
    let figures = json!({
        "peer": "honker", "version": "0.5.0", "durability": arguments.durability,
        "synchronous": synchronous, "journal": journal, "jobs": arguments.jobs, "ran": ran,
        "bulk_per_second": jobs / enqueued.as_secs_f64(),
        "single_per_second": single_rate,
        "worked_per_second": jobs / worked.as_secs_f64(),
        "end_to_end_per_second": jobs / (enqueued + worked).as_secs_f64(),
    });
    println!("{figures}");
    Ok(())
}

/// The library has no worker, but verbs to write one with. This is the fastest loop they allow: a batch claimed in one
/// call, run in place, and acknowledged in one call. An acknowledged job is deleted and keeps no result.
fn work(queue: &Queue, batch: usize) -> Result<usize, Failed> {
    let mut ran = 0;
    loop {
        let jobs = queue.claim_batch("worker", i64::try_from(batch)?)?;
        if jobs.is_empty() {
            return Ok(ran);
        }
        for job in &jobs {
            let payload: String = job.payload_as()?;
            assert_eq!(payload.len(), 100);
        }
        let ids: Vec<i64> = jobs.iter().map(|job| job.id).collect();
        let acknowledged = queue.ack_batch(&ids, "worker")?;
        if usize::try_from(acknowledged)? != ids.len() {
            return Err(format!("{acknowledged} of {} jobs could be acknowledged", ids.len()).into());
        }
        ran += ids.len();
    }
}

/// The library asks for `NORMAL`; its one connection can be reached and set.
fn open(arguments: &Arguments, file: &str, level: u8) -> Result<Database, Failed> {
    let database = Database::open(arguments.dir.join(file))?;
    database.with_conn(|connection| connection.pragma_update(None, "synchronous", level))?;
    let (synchronous, journal) = settings(&database)?;
    if (synchronous, journal.as_str()) != (level, "wal") {
        return Err(format!("synchronous is {synchronous}, the journal {journal}").into());
    }
    Ok(database)
}

fn settings(database: &Database) -> Result<(u8, String), Failed> {
    Ok(database.with_conn(|connection| {
        let synchronous = connection.query_row("PRAGMA synchronous", [], |row| row.get(0))?;
        let journal = connection.query_row("PRAGMA journal_mode", [], |row| row.get(0))?;
        Ok::<_, rusqlite::Error>((synchronous, journal))
    })?)
}
