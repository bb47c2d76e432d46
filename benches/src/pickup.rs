//! How soon an idle worker starts a job: in the process that submits it, and in another one.
//!
//! Each job's result is the moment at which it started. What counts is the time from the moment at which the submit
//! was answered, that is, from the end of its commit; where a job starts before its submitter has been told, it is none.

use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use anyhow::{Result, ensure};
use clap::Args;
use serde_json::{Value, json};
use taskport::abstraction::SystemClock;
use taskport::prelude::*;
use taskport_abstraction::Clock;

use crate::facade::{self, Running};
use crate::load::{Durability, Given};
use crate::statistics::percentile_ms;

/// How long everything is left to come to rest before each job.
const REST: Duration = Duration::from_millis(15);
/// Jobs that are not counted.
const WARM_UP: usize = 10;

/// A worker until its standard input ends.
#[derive(Debug, Args)]
pub(crate) struct PickupWorker {
    #[arg(long)]
    db: PathBuf,
    #[arg(long)]
    durability: Durability,
}

/// When it started, in microseconds.
#[task]
async fn start_time() -> TaskResult<i64> {
    Ok(SystemClock.now().as_micros())
}

pub(crate) async fn run(given: &Given) -> Result<Value> {
    let port = facade::open(&given.dir.join("jobs.db"), given.durability, registry![start_time]).await?;
    let worker = Running::start(port.worker());
    let mut here = samples(&port, given.jobs).await?;
    worker.stop().await?;

    let child = child(given)?;
    let mut elsewhere = samples(&port, given.jobs).await?;
    drop(child);
    port.close().await?;
    Ok(json!({
        "durability": given.durability.name(),
        "here_p50_ms": percentile_ms(&mut here, 0.50),
        "here_p99_ms": percentile_ms(&mut here, 0.99),
        "elsewhere_p50_ms": percentile_ms(&mut elsewhere, 0.50),
        "elsewhere_p99_ms": percentile_ms(&mut elsewhere, 0.99),
    }))
}

/// The times from the end of a submit to the start of its job.
async fn samples(port: &Taskport, jobs: usize) -> Result<Vec<Duration>> {
    let mut samples = Vec::with_capacity(jobs);
    for number in 0..WARM_UP + jobs {
        tokio::time::sleep(REST).await;
        let job = port.submit(start_time()).await?;
        let submitted = SystemClock.now().as_micros();
        let started = job.result().await?;
        ensure!(submitted - started < 1_000_000, "the job started long before its submit was answered");
        if number >= WARM_UP {
            samples.push(Duration::from_micros(u64::try_from(started - submitted).unwrap_or(0)));
        }
    }
    Ok(samples)
}

fn child(given: &Given) -> Result<OtherProcess> {
    let mut command = Command::new(std::env::current_exe()?);
    command.args(["pickup-worker", "--durability", given.durability.name(), "--db"]);
    command.arg(given.dir.join("jobs.db")).stdin(Stdio::piped()).stdout(Stdio::null());
    Ok(OtherProcess(command.spawn()?))
}

impl PickupWorker {
    pub(crate) async fn run(&self) -> Result<Value> {
        let port = facade::open(&self.db, self.durability, registry![start_time]).await?;
        let worker = Running::start(port.worker());
        tokio::task::spawn_blocking(|| std::io::copy(&mut std::io::stdin(), &mut std::io::sink())).await??;
        let report = worker.stop().await?;
        port.close().await?;
        Ok(json!({ "succeeded": report.succeeded }))
    }
}

/// A process that ends when its standard input does.
struct OtherProcess(Child);

impl Drop for OtherProcess {
    fn drop(&mut self) {
        drop(self.0.stdin.take());
        let _ended = self.0.wait();
    }
}
