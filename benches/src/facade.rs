//! The load through the API that users have: a task, a handle, a worker.

use std::future::ready;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use futures_util::{StreamExt, TryStreamExt, stream};
use serde_json::Value;
use taskport::abstraction::backend::WorkerReport;
use taskport::config::Config;
use taskport::prelude::*;
use taskport::{RegistryBuilder, ShutdownController, WorkerBuilder};
use tokio::task::{JoinHandle, JoinSet};

use crate::load::{BATCHES_AT_ONCE, Durability, Load, PAYLOAD_BYTES, SUBMITTERS, Times, payload};
use crate::processor::processor_time;
use crate::stopwatch::Stopwatch;

/// How many attempts run at once, and how many more jobs a worker holds.
///
/// 128 and 1,024 did best of 16 to 512 and 0 to 4,096: what counts is that a claim and a settle carry hundreds of jobs.
const CONCURRENCY: usize = 128;
const PREFETCH: usize = 1_024;

/// How often the account is asked whether all is done.
const LOOK_EVERY: Duration = Duration::from_millis(2);

static RAN: AtomicUsize = AtomicUsize::new(0);

/// Does nothing but look at its bytes.
#[task]
pub(crate) async fn noop(payload: String) -> TaskResult<()> {
    if payload.len() != PAYLOAD_BYTES {
        return Err(TaskError::fatal("the payload is not whole"));
    }
    RAN.fetch_add(1, Ordering::Relaxed);
    Ok(())
}

/// How many attempts of [`noop()`] have run in this process.
pub(crate) fn ran() -> usize {
    RAN.load(Ordering::Relaxed)
}

pub(crate) async fn run(load: &Load) -> Result<Value> {
    let port = open(&load.given.dir.join("singles.db"), load.given.durability, registry![noop]).await?;
    let watch = Stopwatch::start();
    enqueue_singly(&port, load.singles).await?;
    let singles = watch.elapsed();
    port.close().await?;

    let port = open(&load.given.dir.join("jobs.db"), load.given.durability, registry![noop]).await?;
    let idle = processor_time();
    let watch = Stopwatch::start();
    let batches = stream::iter(load.given.batches().map(|count| submit_batch(&port, count)));
    batches.buffered(BATCHES_AT_ONCE).try_for_each(|_| ready(Ok(()))).await?;
    let bulk = watch.elapsed();
    let watch = Stopwatch::start();
    let worker = Running::start(fast(port.worker()));
    until_succeeded(&port, load.given.jobs as u64).await?;
    let work = watch.elapsed();
    let processor = processor_time().saturating_sub(idle);
    worker.stop().await?;
    ensure!(ran() == load.given.jobs, "{} attempts ran for {} jobs", ran(), load.given.jobs);
    port.close().await?;
    Ok(load.figures("ours", &Times { singles, bulk, work, processor }))
}

pub(crate) async fn open(
    path: &Path,
    durability: Durability,
    registry: impl Into<RegistryBuilder>,
) -> Result<Taskport> {
    open_with(path, durability, "", registry).await
}

/// As [`open`], with more of the configuration, in TOML.
pub(crate) async fn open_with(
    path: &Path,
    durability: Durability,
    settings: &str,
    registry: impl Into<RegistryBuilder>,
) -> Result<Taskport> {
    let path = path.canonicalize().or_else(|_| std::path::absolute(path))?;
    let level = durability.name().to_lowercase();
    let toml = format!(
        "[backends.main]\nkind = \"native\"\nurl = \"sqlite://{}\"\nsynchronous = \"{level}\"\n{settings}",
        path.display()
    );
    Ok(Taskport::builder().config(Config::from_toml(&toml)?).registry(registry).open().await?)
}

/// The settings of the measured worker.
pub(crate) fn fast(worker: WorkerBuilder) -> WorkerBuilder {
    worker.concurrency(CONCURRENCY).prefetch(PREFETCH)
}

pub(crate) async fn submit_batch(port: &Taskport, count: usize) -> Result<Vec<Job<()>>> {
    let payload = payload();
    let jobs = port.submit_many((0..count).map(|_| noop(payload.clone()))).await;
    Ok(jobs.into_iter().collect::<Result<_, _>>()?)
}

/// Submits one by one from many tasks at once.
async fn enqueue_singly(port: &Taskport, jobs: usize) -> Result<()> {
    let left = Arc::new(AtomicUsize::new(jobs));
    let mut submitters = JoinSet::new();
    for _ in 0..SUBMITTERS {
        let (port, left) = (port.clone(), left.clone());
        submitters.spawn(async move {
            while take(&left) {
                port.submit(noop(payload())).await?;
            }
            anyhow::Ok(())
        });
    }
    while let Some(done) = submitters.join_next().await {
        done??;
    }
    Ok(())
}

/// Takes one of what is left.
pub(crate) fn take(left: &AtomicUsize) -> bool {
    left.fetch_update(Ordering::Relaxed, Ordering::Relaxed, |left| left.checked_sub(1)).is_ok()
}

/// Waits until so many jobs have succeeded, by the queue's account.
pub(crate) async fn until_succeeded(port: &Taskport, jobs: u64) -> Result<()> {
    while succeeded(port).await? < jobs {
        tokio::time::sleep(LOOK_EVERY).await;
    }
    Ok(())
}

pub(crate) async fn succeeded(port: &Taskport) -> Result<u64> {
    let queues = port.admin()?.queues().await?;
    let counts = queues.first().context("there is no queue")?.counts;
    ensure!(counts.failed == 0, "{} jobs failed", counts.failed);
    Ok(counts.succeeded)
}

/// A worker at work.
pub(crate) struct Running {
    stop: ShutdownController,
    worker: JoinHandle<taskport::Result<WorkerReport>>,
}

impl Running {
    pub(crate) fn start(worker: WorkerBuilder) -> Self {
        let stop = ShutdownController::new();
        let worker = tokio::spawn(worker.run_until(stop.handle()));
        Self { stop, worker }
    }

    pub(crate) async fn stop(self) -> Result<WorkerReport> {
        self.stop.drain();
        Ok(self.worker.await??)
    }
}
