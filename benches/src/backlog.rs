//! What a job costs, enqueued and worked, while few and while many others wait before it.

use std::path::PathBuf;
use std::time::Duration;

use anyhow::{Result, ensure};
use clap::Args;
use serde_json::{Value, json};
use taskport::engine::EngineHandle;

use crate::engine::{self, Producer};
use crate::load::{BATCH, Durability};
use crate::statistics::median_us_per_job;
use crate::stopwatch::Stopwatch;

/// How many times the two take turns.
const TURNS: usize = 5;

/// One run.
#[derive(Debug, Args)]
pub(crate) struct Backlog {
    #[arg(long)]
    dir: PathBuf,
    #[arg(long)]
    durability: Durability,
    #[arg(long, default_value_t = 10_000)]
    few: usize,
    #[arg(long, default_value_t = 1_000_000)]
    many: usize,
    /// Jobs of each turn
    #[arg(long)]
    jobs: usize,
}

impl Backlog {
    pub(crate) async fn run(&self) -> Result<Value> {
        let few = self.prefilled("few.db", self.few).await?;
        let many = self.prefilled("many.db", self.many).await?;
        let (mut of_few, mut of_many) = (Vec::new(), Vec::new());
        for _ in 0..TURNS {
            of_few.push(self.turn(&few).await?);
            of_many.push(self.turn(&many).await?);
        }
        ensure!(waiting(&few).await? == self.few as u64, "the few are not as many as before");
        ensure!(waiting(&many).await? == self.many as u64, "the many are not as many as before");
        few.close().await;
        many.close().await;
        Ok(json!({
            "durability": self.durability.name(),
            "few": self.few, "few_us_per_job": median_us_per_job(of_few, self.jobs),
            "many": self.many, "many_us_per_job": median_us_per_job(of_many, self.jobs),
        }))
    }

    async fn prefilled(&self, file: &str, jobs: usize) -> Result<EngineHandle> {
        let engine = engine::open(&self.dir.join(file), self.durability).await?;
        let producer = Producer::plain();
        for first in (0..jobs).step_by(1_000) {
            producer.enqueue(&engine, 1_000.min(jobs - first)).await?;
        }
        Ok(engine)
    }

    /// As many are enqueued as are worked, so that as many wait as before.
    async fn turn(&self, engine: &EngineHandle) -> Result<Duration> {
        let producer = Producer::plain();
        let watch = Stopwatch::start();
        for _ in (0..self.jobs).step_by(BATCH) {
            producer.enqueue(engine, BATCH).await?;
        }
        let worked = engine::work(engine, self.jobs).await?;
        ensure!(worked == self.jobs, "{worked} attempts ran for {} jobs", self.jobs);
        Ok(watch.elapsed())
    }
}

async fn waiting(engine: &EngineHandle) -> Result<u64> {
    Ok(engine.stats().await?.iter().map(|queue| queue.counts.queued).sum())
}
