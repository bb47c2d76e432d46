//! What it costs a busy queue to remove what ended long ago: the engine's processor time for a job, enqueued and worked
//! while the engine removes an older one for each, over the same while it keeps them.

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Result, ensure};
use serde_json::{Value, json};
use taskport::abstraction::maintenance::Retention;
use taskport::abstraction::{SystemClock, Timestamp};
use taskport::engine::{EngineConfig, EngineHandle};
use taskport_abstraction::Clock;

use crate::engine::{self, Producer};
use crate::load::{Durability, Given};
use crate::processor::processor_time;
use crate::statistics::median_us_per_job;

/// How many times the two take turns.
const TURNS: usize = 5;
/// By how much the older jobs are older.
const AGE: Duration = Duration::from_secs(3600);
/// Over for the older jobs and long enough for the newer ones.
const KEEP: Duration = Duration::from_secs(1800);

pub(crate) async fn run(given: &Given) -> Result<Value> {
    let (mut kept, mut pruned) = (Vec::new(), Vec::new());
    for _ in 0..TURNS {
        kept.push(turn(given, None).await?);
        pruned.push(turn(given, Some(KEEP)).await?);
    }
    Ok(json!({
        "durability": given.durability.name(),
        "kept_us_per_job": median_us_per_job(kept, given.jobs),
        "pruned_us_per_job": median_us_per_job(pruned, given.jobs),
    }))
}

async fn turn(given: &Given, succeeded: Option<Duration>) -> Result<Duration> {
    let folder = given.turn_folder()?;
    let path = folder.path().join("jobs.db");
    let engine = engine::open(&path, given.durability).await?;
    work(given, &engine).await?;
    engine.close().await;

    let engine = open_later(&path, given.durability, Retention { succeeded, ..Retention::default() }).await?;
    let idle = processor_time();
    work(given, &engine).await?;
    let time = processor_time().saturating_sub(idle);
    let left = ended(&engine).await?;
    let expected = if succeeded.is_some() { given.jobs } else { 2 * given.jobs };
    ensure!(left == expected as u64, "{left} ended jobs are left, not {expected}");
    engine.close().await;
    Ok(time)
}

/// For an engine that is opened so, all that has ended is old.
async fn open_later(path: &Path, durability: Durability, retention: Retention) -> Result<EngineHandle> {
    let config = EngineConfig { retention, ..EngineConfig::default() };
    engine::open_with(path, durability, config, Arc::new(Later)).await
}

/// Batches are enqueued and worked in turn, so that jobs come and go all the while.
async fn work(given: &Given, engine: &EngineHandle) -> Result<()> {
    let producer = Producer::plain();
    for count in given.batches() {
        producer.enqueue(engine, count).await?;
        let worked = engine::work(engine, count).await?;
        ensure!(worked == count, "{worked} attempts ran for {count} jobs");
    }
    Ok(())
}

/// The system's clock, put forward by [`AGE`].
#[derive(Debug)]
struct Later;

impl Clock for Later {
    fn now(&self) -> Timestamp {
        SystemClock.now() + AGE
    }
}

/// How many jobs there are that have ended.
async fn ended(engine: &EngineHandle) -> Result<u64> {
    let all = Retention { succeeded: Some(Duration::ZERO), ..Retention::default() };
    Ok(engine.prunable(all).await?.jobs)
}
