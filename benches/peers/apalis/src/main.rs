//! apalis on SQLite under the load of the benchmark: see `benches/README.md` for what each phase is.

use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use apalis::prelude::*;
use apalis_sqlite::{Config, SqliteConnectOptions, SqlitePool, SqlitePoolOptions, SqliteStorage};
use clap::Parser;
use futures_util::future::join_all;
use serde_json::json;
use sqlx::sqlite::{SqliteJournalMode, SqliteSynchronous};

type Failed = Box<dyn std::error::Error + Send + Sync>;

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
    /// Jobs the worker fetches at once. 100 did best of 10, 100 and 1,000.
    #[arg(long, default_value_t = 100)]
    fetch: usize,
    /// Jobs that run at once
    #[arg(long, default_value_t = 100)]
    workers: usize,
    /// Jobs enqueued one by one, by `submitters` tasks at once
    #[arg(long)]
    singles: usize,
    #[arg(long, default_value_t = 64)]
    submitters: usize,
}

#[tokio::main(flavor = "multi_thread", worker_threads = 2)]
async fn main() -> Result<(), Failed> {
    let arguments = Arguments::parse();
    let (synchronous, level) = match arguments.durability.as_str() {
        "FULL" => (SqliteSynchronous::Full, 2),
        "NORMAL" => (SqliteSynchronous::Normal, 1),
        other => return Err(format!("no durability `{other}`").into()),
    };
    let payload = "x".repeat(100);

    let pool = open(&arguments, "singles.db", synchronous).await?;
    let single_rate = enqueue_singly(&arguments, &pool, &payload).await?;
    pool.close().await;

    let pool = open(&arguments, "jobs.db", synchronous).await?;
    let mut storage = storage(&arguments, &pool);
    let started = Instant::now();
    for first in (0..arguments.jobs).step_by(arguments.batch) {
        let count = arguments.batch.min(arguments.jobs - first);
        storage.push_bulk(vec![payload.clone(); count]).await?;
    }
    let enqueued = started.elapsed();

    let ran = Arc::new(AtomicUsize::new(0));
    let started = Instant::now();
    let worker = WorkerBuilder::new("worker")
        .backend(storage.poll_with_interval(Duration::from_millis(1)))
        .data(ran.clone())
        .concurrency(arguments.workers)
        .build(noop);
    let running = tokio::spawn(async move { worker.run().await.map_err(|error| error.to_string()) });
    while !running.is_finished() && ended(&pool, &ran, arguments.jobs).await? < arguments.jobs {
        if started.elapsed() > Duration::from_secs(600) {
            return Err(format!("only {} of {} jobs ran", ran.load(Ordering::Relaxed), arguments.jobs).into());
        }
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    let worked = started.elapsed();
    if running.is_finished() {
        running.await??;
        return Err("the worker stopped".into());
    }
    running.abort();
    let ran = ran.load(Ordering::Relaxed);
    if ran != arguments.jobs {
        return Err(format!("{ran} attempts ran for {} jobs", arguments.jobs).into());
    }
    let journal = check_settings(&pool, level).await?;
    let jobs = arguments.jobs as f64;
    let figures = json!({
        "peer": "apalis", "version": "1.0.0", "durability": arguments.durability,
        "synchronous": level, "journal": journal, "jobs": arguments.jobs, "ran": ran,
        "bulk_per_second": jobs / enqueued.as_secs_f64(),
        "single_per_second": single_rate,
        "worked_per_second": jobs / worked.as_secs_f64(),
        "end_to_end_per_second": jobs / (enqueued + worked).as_secs_f64(),
    });
    println!("{figures}");
    Ok(())
}

async fn noop(payload: String, ran: Data<Arc<AtomicUsize>>) -> Result<(), BoxDynError> {
    assert_eq!(payload.len(), 100);
    ran.fetch_add(1, Ordering::Relaxed);
    Ok(())
}

/// `SqliteStorage::setup` makes the journal WAL for the file but asks for `synchronous = OFF`, on one connection of the
/// pool: so it is done on a pool of its own. The pool that is measured sets the level on every connection it opens.
/// Two connections did better than one or more: every write of the library is a transaction, and SQLite has one writer.
async fn open(
    arguments: &Arguments,
    file: &str,
    synchronous: SqliteSynchronous,
) -> Result<SqlitePool, Failed> {
    let options = SqliteConnectOptions::new().filename(arguments.dir.join(file)).create_if_missing(true);
    let setup = SqlitePool::connect_with(options.clone()).await?;
    SqliteStorage::setup(&setup).await?;
    setup.close().await;
    let options = options.journal_mode(SqliteJournalMode::Wal).synchronous(synchronous);
    let options = options.busy_timeout(Duration::from_secs(30)).pragma("temp_store", "MEMORY");
    let options = options.pragma("cache_size", "64000");
    Ok(SqlitePoolOptions::new().min_connections(2).max_connections(2).connect_with(options).await?)
}

/// Without the lock of each job as it starts, one write less: a fetched job is already marked with its worker.
fn storage(arguments: &Arguments, pool: &SqlitePool) -> SqliteStorage<String> {
    let config = Config::default().queue("bench").batch_size(arguments.fetch).lock_tasks(false);
    SqliteStorage::new(pool).with_config(config)
}

async fn enqueue_singly(arguments: &Arguments, pool: &SqlitePool, payload: &str) -> Result<f64, Failed> {
    let next = AtomicUsize::new(0);
    let started = Instant::now();
    let submit = |_| async {
        let mut storage = storage(arguments, pool);
        while next.fetch_add(1, Ordering::Relaxed) < arguments.singles {
            storage.push(payload.to_owned()).await?;
        }
        Ok::<_, Failed>(())
    };
    for done in join_all((0..arguments.submitters).map(submit)).await {
        done?;
    }
    Ok(arguments.singles as f64 / started.elapsed().as_secs_f64())
}

/// The file is asked only once all have run, so that the question costs nothing while they do.
async fn ended(pool: &SqlitePool, ran: &AtomicUsize, jobs: usize) -> Result<usize, Failed> {
    if ran.load(Ordering::Relaxed) < jobs {
        return Ok(0);
    }
    let sql = "SELECT count(*) FROM Jobs WHERE status = 'Done'";
    let ended: i64 = sqlx::query_scalar(sql).fetch_one(pool).await?;
    Ok(usize::try_from(ended)?)
}

/// Both connections are held at once, so that each of them is read.
async fn check_settings(pool: &SqlitePool, level: i64) -> Result<String, Failed> {
    let mut connections = [pool.acquire().await?, pool.acquire().await?];
    let mut journal = String::new();
    for connection in &mut connections {
        let synchronous: i64 = sqlx::query_scalar("PRAGMA synchronous").fetch_one(&mut **connection).await?;
        journal = sqlx::query_scalar("PRAGMA journal_mode").fetch_one(&mut **connection).await?;
        if synchronous != level || journal != "wal" {
            return Err(format!("synchronous is {synchronous}, the journal {journal}").into());
        }
    }
    Ok(journal)
}
