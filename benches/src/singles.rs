//! Single enqueues from 64 tasks: rate and latency, against one commit for each job and against the disk.

use std::fs::File;
use std::io::Write;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::AtomicUsize;
use std::time::Duration;

use anyhow::Result;
use serde_json::{Value, json};
use taskport::registry;
use tokio::task::JoinSet;

use crate::facade::{self, noop, take};
use crate::load::{Given, SUBMITTERS, payload};
use crate::raw;
use crate::statistics::{percentile_ms, rate};
use crate::stopwatch::Stopwatch;

/// How many times the disk is asked.
const FSYNCS: usize = 300;
/// What one commit of a few jobs appends to the log: a page with its frame's header, a few times.
static APPENDED: [u8; 4 * 4_120] = [7; 4 * 4_120];

pub(crate) async fn run(given: &Given) -> Result<Value> {
    let mut fsyncs = fsync_times(&given.dir.join("fsync"))?;
    let one_by_one = given.jobs / 20;
    let raw = raw::enqueue_singly(&given.dir.join("raw.db"), given.durability, one_by_one)?;

    let port = facade::open(&given.dir.join("jobs.db"), given.durability, registry![noop]).await?;
    let left = Arc::new(AtomicUsize::new(given.jobs));
    let mut submitters = JoinSet::new();
    let watch = Stopwatch::start();
    for _ in 0..SUBMITTERS {
        let (port, left) = (port.clone(), left.clone());
        submitters.spawn(async move {
            let mut latencies = Vec::new();
            while take(&left) {
                let watch = Stopwatch::start();
                port.submit(noop(payload())).await?;
                latencies.push(watch.elapsed());
            }
            anyhow::Ok(latencies)
        });
    }
    let mut latencies = Vec::new();
    while let Some(done) = submitters.join_next().await {
        latencies.extend(done??);
    }
    let ours = watch.elapsed();
    port.close().await?;
    fsyncs.extend(fsync_times(&given.dir.join("fsync"))?);
    Ok(json!({
        "durability": given.durability.name(),
        "per_second": rate(given.jobs, ours),
        "one_commit_each_per_second": rate(one_by_one, raw),
        "p50_ms": percentile_ms(&mut latencies, 0.50),
        "p99_ms": percentile_ms(&mut latencies, 0.99),
        "fsync_p50_ms": percentile_ms(&mut fsyncs, 0.50),
        "fsync_p99_ms": percentile_ms(&mut fsyncs, 0.99),
    }))
}

/// What the disk takes for what a commit asks of it: a short append and its way to the platter.
pub(crate) fn fsync_times(path: &Path) -> Result<Vec<Duration>> {
    let mut file = File::create(path)?;
    let mut times = Vec::with_capacity(FSYNCS);
    for _ in 0..FSYNCS {
        let watch = Stopwatch::start();
        file.write_all(&APPENDED)?;
        file.sync_data()?;
        times.push(watch.elapsed());
    }
    Ok(times)
}
