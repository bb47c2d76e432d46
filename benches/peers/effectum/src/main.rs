//! effectum under the load of the benchmark: see `benches/README.md` for what each phase is.

use std::ffi::{c_char, c_int, c_void};
use std::path::{Path, PathBuf};
use std::ptr;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use clap::Parser;
use effectum::{Job, JobRunner, Queue, RunningJob, Worker};
use futures_util::{StreamExt, stream};
use rusqlite::{Connection, ffi};
use serde_json::json;

/// How many batches one caller has under way: while one is committed, the next is made.
const BATCHES_AT_ONCE: usize = 2;

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
    /// Jobs that run at once. 256 did best of 64, 256, 512 and 1,024: the library writes up to 50 completions in one
    /// transaction, and only with many in flight is there always that much to write.
    #[arg(long, default_value_t = 256)]
    workers: u16,
    /// Jobs enqueued one by one, by `submitters` tasks at once
    #[arg(long)]
    singles: usize,
    #[arg(long, default_value_t = 64)]
    submitters: usize,
}

#[tokio::main(flavor = "multi_thread", worker_threads = 2)]
async fn main() -> Result<(), Failed> {
    let arguments = Arguments::parse();
    let level: u8 = match arguments.durability.as_str() {
        "FULL" => 2,
        "NORMAL" => 1,
        other => return Err(format!("no durability `{other}`").into()),
    };
    force_synchronous(level)?;
    let payload = payload();

    let singles = open(&arguments.dir.join("singles.db")).await?;
    let single_rate = enqueue_singly(&singles, &arguments, &payload).await?;
    singles.close(Duration::from_secs(10)).await?;

    let path = arguments.dir.join("jobs.db");
    let queue = Arc::new(open(&path).await?);
    let started = Instant::now();
    let batches = (0..arguments.jobs).step_by(arguments.batch).map(async |first| {
        let count = arguments.batch.min(arguments.jobs - first);
        let jobs: Vec<Job> = (0..count).map(|_| job(&payload)).collect();
        queue.add_jobs(jobs).await
    });
    let mut enqueued = stream::iter(batches).buffered(BATCHES_AT_ONCE);
    while let Some(batch) = enqueued.next().await {
        batch?;
    }
    let enqueued = started.elapsed();

    let done = Arc::new(AtomicUsize::new(0));
    let started = Instant::now();
    let runner = JobRunner::builder("noop", noop).build();
    let worker = Worker::builder(&queue, done.clone())
        .max_concurrency(arguments.workers)
        .min_concurrency((arguments.workers / 2).max(1))
        .jobs([runner])
        .build()
        .await?;
    // A reader of our own: a job counts once its completion is committed.
    let reader = Connection::open(&path)?;
    while finished(&reader)? < arguments.jobs {
        if started.elapsed() > Duration::from_secs(600) {
            return Err(format!("only {} of {} jobs ended", finished(&reader)?, arguments.jobs).into());
        }
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    let worked = started.elapsed();
    let ran = done.load(Ordering::Relaxed);
    if ran != arguments.jobs {
        return Err(format!("{ran} attempts ran for {} jobs", arguments.jobs).into());
    }
    let (synchronous, journal) = read_back()?;
    if synchronous != level {
        return Err(format!("synchronous is {synchronous} and should be {level}").into());
    }
    worker.unregister(Some(Duration::from_secs(10))).await?;
    queue.close(Duration::from_secs(10)).await?;
    let jobs = arguments.jobs as f64;
    let figures = json!({
        "peer": "effectum", "version": "0.7.0", "durability": arguments.durability,
        "synchronous": synchronous, "journal": journal, "jobs": arguments.jobs, "ran": ran,
        "bulk_per_second": jobs / enqueued.as_secs_f64(),
        "single_per_second": single_rate,
        "worked_per_second": jobs / worked.as_secs_f64(),
        "end_to_end_per_second": jobs / (enqueued + worked).as_secs_f64(),
    });
    println!("{figures}");
    Ok(())
}

async fn noop(job: RunningJob, done: Arc<AtomicUsize>) -> Result<(), Failed> {
    assert_eq!(job.payload.len(), 100);
    done.fetch_add(1, Ordering::Relaxed);
    Ok(())
}

fn payload() -> Vec<u8> {
    vec![b'x'; 100]
}

fn job(payload: &[u8]) -> Job {
    Job::builder("noop").payload(payload.to_vec()).build()
}

/// The library sets the pragma `journal`, which SQLite does not have, and so runs with a rollback journal. The mode is a
/// property of the file: made WAL beforehand, as for every other participant, it stays WAL.
async fn open(path: &Path) -> Result<Queue, Failed> {
    let mode: String =
        Connection::open(path)?.query_row("PRAGMA journal_mode = wal", [], |row| row.get(0))?;
    assert_eq!(mode, "wal");
    Ok(Queue::new(path).await?)
}

async fn enqueue_singly(queue: &Queue, arguments: &Arguments, payload: &[u8]) -> Result<f64, Failed> {
    let next = AtomicUsize::new(0);
    let started = Instant::now();
    let submit = |_| async {
        while next.fetch_add(1, Ordering::Relaxed) < arguments.singles {
            queue.add_job(job(payload)).await?;
        }
        Ok::<_, Failed>(())
    };
    for done in futures_util::future::join_all((0..arguments.submitters).map(submit)).await {
        done?;
    }
    Ok(arguments.singles as f64 / started.elapsed().as_secs_f64())
}

fn finished(reader: &Connection) -> Result<usize, Failed> {
    // The table of live jobs is short at the end, the table of all jobs never is.
    let live: usize = reader.query_row("SELECT count(*) FROM active_jobs", [], |row| row.get(0))?;
    if live > 0 {
        return Ok(0);
    }
    let sql = "SELECT count(*) FROM jobs WHERE finished_at IS NOT NULL";
    Ok(reader.query_row(sql, [], |row| row.get(0))?)
}

/// What the library's write connection is, as the last one that asked for a level.
static WRITER: AtomicUsize = AtomicUsize::new(0);
static LEVEL: AtomicUsize = AtomicUsize::new(0);

/// The library sets `synchronous = normal` on its only writing connection and gives no way to change it. So every
/// connection of this process is set to the wanted level as it is opened, and is forbidden to change it.
fn force_synchronous(level: u8) -> Result<(), Failed> {
    LEVEL.store(level.into(), Ordering::Relaxed);
    // SAFETY: SQLite calls an automatic extension with exactly these parameters.
    let code = unsafe { ffi::sqlite3_auto_extension(Some(on_open)) };
    if code == ffi::SQLITE_OK { Ok(()) } else { Err(format!("SQLite refused the extension: {code}").into()) }
}

unsafe extern "C" fn on_open(
    db: *mut ffi::sqlite3,
    _: *mut *const c_char,
    _: *const ffi::sqlite3_api_routines,
) -> c_int {
    let pragma = match LEVEL.load(Ordering::Relaxed) {
        2 => c"PRAGMA synchronous = FULL",
        _ => c"PRAGMA synchronous = NORMAL",
    };
    // SAFETY: `db` is open for the length of this call, and the statement is a terminated text.
    unsafe {
        let code = ffi::sqlite3_exec(db, pragma.as_ptr(), None, ptr::null_mut(), ptr::null_mut());
        if code != ffi::SQLITE_OK {
            return code;
        }
        ffi::sqlite3_set_authorizer(db, Some(authorize), db.cast())
    }
}

unsafe extern "C" fn authorize(
    db: *mut c_void,
    action: c_int,
    name: *const c_char,
    value: *const c_char,
    _: *const c_char,
    _: *const c_char,
) -> c_int {
    if action != ffi::SQLITE_PRAGMA || name.is_null() || value.is_null() {
        return ffi::SQLITE_OK;
    }
    // SAFETY: the name of a pragma is a terminated text that lives as long as this call.
    let name = unsafe { std::ffi::CStr::from_ptr(name) };
    if name.to_bytes().eq_ignore_ascii_case(b"synchronous") {
        WRITER.store(db as usize, Ordering::Relaxed);
        return ffi::SQLITE_IGNORE;
    }
    ffi::SQLITE_OK
}

/// Reads the settings of the library's own connection, the only one that asked to change its level.
fn read_back() -> Result<(u8, String), Failed> {
    let writer = WRITER.load(Ordering::Relaxed) as *mut ffi::sqlite3;
    if writer.is_null() {
        return Err("the library opened no connection".into());
    }
    // SAFETY: the queue is open and so is its connection; SQLite serializes its use, and it is not closed here.
    let connection = unsafe { Connection::from_handle(writer) }?;
    let synchronous = connection.query_row("PRAGMA synchronous", [], |row| row.get(0))?;
    let journal = connection.query_row("PRAGMA journal_mode", [], |row| row.get(0))?;
    Ok((synchronous, journal))
}
