//! A steady load for a long time: so many jobs are enqueued each second, the engine removes those that ended a while ago
//! as it does for any user, and rate, memory and file are written down every minute.

use std::fs::OpenOptions;
use std::io::Write;
use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use clap::{Args, value_parser};
use serde_json::{Value, json};
use taskport::prelude::*;

use crate::facade::{self, Running, fast, noop, ran, submit_batch};
use crate::load::{BATCH, Durability};
use crate::stopwatch::Stopwatch;

const MINUTE: Duration = Duration::from_secs(60);
/// Short, so that as many jobs go as come from the first minute on.
const RETENTION: &str = "[backends.main.retention]\nsucceeded = \"10s\"";

/// One run.
#[derive(Debug, Args)]
pub(crate) struct Soak {
    #[arg(long)]
    dir: PathBuf,
    #[arg(long)]
    durability: Durability,
    #[arg(long, value_parser = value_parser!(u32).range(1..))]
    minutes: u32,
    /// Jobs enqueued a second
    #[arg(long, value_parser = value_parser!(u32).range(1..))]
    per_second: u32,
    /// Where a line is added for each minute
    #[arg(long)]
    log: PathBuf,
}

impl Soak {
    pub(crate) async fn run(&self) -> Result<Value> {
        let db = self.dir.join("soak.db");
        let port = facade::open_with(&db, self.durability, RETENTION, registry![noop]).await?;
        let worker = Running::start(fast(port.worker()));
        let mut submitted = 0_usize;
        let mut rates = Vec::new();
        let watch = Stopwatch::start();
        for minute in 1..=self.minutes {
            let (from, before) = (watch.elapsed(), ran());
            while watch.elapsed() < MINUTE * minute {
                // What is owed by now, in whole batches; a late start is made up for.
                let owed = (watch.elapsed().as_secs_f64() * f64::from(self.per_second)) as usize;
                if owed < submitted + BATCH {
                    tokio::time::sleep(Duration::from_millis(1)).await;
                    continue;
                }
                submitted += submit_batch(&port, BATCH).await?.len();
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

/// What of this process is in memory.
fn resident_bytes() -> Result<u64> {
    let status = std::fs::read_to_string("/proc/self/status")?;
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:")).context("no VmRSS")?;
    let kib: u64 = line.trim().trim_end_matches(" kB").parse()?;
    ensure!(kib > 0, "no memory");
    Ok(kib << 10)
}
