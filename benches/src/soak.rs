//! A steady load for a long time: what is enqueued each second is a fixed share of what the machine can do, finished
//! jobs are deleted, and rate, memory and file are written down every minute.

use std::collections::VecDeque;
use std::fs::OpenOptions;
use std::io::Write;
use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use clap::Args;
use serde_json::{Value, json};
use taskport::JobId;
use taskport::prelude::*;

use crate::facade::{self, Running, fast, noop, ran, submit_batch};
use crate::load::{BATCH, Durability};
use crate::stopwatch::Stopwatch;

const MINUTE: Duration = Duration::from_secs(60);
/// How many of the latest jobs are kept.
const KEPT: usize = 100_000;
/// How many are deleted at once.
const DELETED: usize = 500;

/// One run.
#[derive(Debug, Args)]
pub(crate) struct Soak {
    #[arg(long)]
    dir: PathBuf,
    #[arg(long)]
    durability: Durability,
    #[arg(long)]
    minutes: u32,
    /// Jobs enqueued a second
    #[arg(long)]
    per_second: f64,
    /// Where a line is added for each minute
    #[arg(long)]
    log: PathBuf,
}

impl Soak {
    pub(crate) async fn run(&self) -> Result<Value> {
        let db = self.dir.join("soak.db");
        let port = facade::open(&db, self.durability, registry![noop]).await?;
        let worker = Running::start(fast(port.worker()));
        let mut submitted = 0_usize;
        let mut kept = VecDeque::new();
        let mut rates = Vec::new();
        let watch = Stopwatch::start();
        for minute in 1..=self.minutes {
            let (from, before) = (watch.elapsed(), ran());
            while watch.elapsed() < MINUTE * minute {
                // What is owed by now, in whole batches; a late start is made up for.
                let owed = (watch.elapsed().as_secs_f64() * self.per_second) as usize;
                if owed < submitted + BATCH {
                    tokio::time::sleep(Duration::from_millis(1)).await;
                    continue;
                }
                let jobs = submit_batch(&port, BATCH).await?;
                submitted += jobs.len();
                kept.extend(jobs.into_iter().map(|job| job.id().clone()));
                delete_surplus(&port, &mut kept).await?;
            }
            let per_second = (ran() - before) as f64 / (watch.elapsed() - from).as_secs_f64();
            rates.push(per_second);
            self.note(minute, per_second, submitted, &db)?;
        }
        worker.stop().await?;
        port.close().await?;
        let (first, last) = (rates[0], rates[rates.len() - 1]);
        Ok(
            json!({ "minutes": self.minutes, "first_per_second": first, "last_per_second": last, "ratio": last / first }),
        )
    }

    fn note(&self, minute: u32, per_second: f64, submitted: usize, db: &Path) -> Result<()> {
        let wal = db.with_extension("db-wal");
        let line = json!({
            "minute": minute,
            "per_second": per_second,
            "submitted": submitted,
            "behind": submitted - ran().min(submitted),
            "resident_bytes": resident_bytes()?,
            "file_bytes": std::fs::metadata(db)?.len(),
            "log_bytes": std::fs::metadata(wal).map_or(0, |file| file.len()),
        });
        let mut log = OpenOptions::new().create(true).append(true).open(&self.log)?;
        writeln!(log, "{line}")?;
        Ok(())
    }
}

/// Deletes the oldest finished jobs, so that only the latest are kept.
async fn delete_surplus(port: &Taskport, kept: &mut VecDeque<JobId>) -> Result<()> {
    while kept.len() > KEPT + DELETED {
        let oldest: Vec<JobId> = kept.drain(..DELETED).collect();
        for deleted in port.admin()?.delete(&oldest).await {
            deleted.context("the worker is too far behind to delete what it has finished")?;
        }
    }
    Ok(())
}

/// What of this process is in memory.
fn resident_bytes() -> Result<u64> {
    let status = std::fs::read_to_string("/proc/self/status")?;
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:")).context("no VmRSS")?;
    let kib: u64 = line.trim().trim_end_matches(" kB").parse()?;
    ensure!(kib > 0, "no memory");
    Ok(kib << 10)
}
