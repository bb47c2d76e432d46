//! What limits cost: the engine's processor time for a job with them and without, each limit alone and wide enough never
//! to hold a job back, and that of a queue without limits beside one that has them. Time itself would not tell a hundredth
//! apart, for the disk is never so steady.

use std::path::PathBuf;
use std::time::Duration;

use anyhow::{Result, ensure};
use clap::Args;
use serde_json::{Map, Value, json};
use taskport::abstraction::backend::{QueueLimits, QueueOrder, Rate};
use taskport::abstraction::options::{ConcurrencyLimit, FairShare, RateLimit};
use taskport::abstraction::{JobOptions, QueueName};
use taskport::engine::EngineHandle;

use crate::engine::{self, Producer};
use crate::load::{BATCH, Durability};
use crate::processor::processor_time;

/// How many times the variants take turns.
const TURNS: usize = 5;
/// How many jobs of the limited queue wait beside the one that is measured.
const BESIDE: usize = 1_000;
/// How many keys there are: more than jobs run at once, so that none waits for another of its key.
const KEYS: usize = 1_000;
const WIDE: u32 = 1_000_000;
const HOUR: Duration = Duration::from_secs(3600);

/// One run.
#[derive(Debug, Args)]
pub(crate) struct Limits {
    #[arg(long)]
    dir: PathBuf,
    #[arg(long)]
    durability: Durability,
    /// Jobs of each turn
    #[arg(long)]
    jobs: usize,
}

/// One limit, by itself.
struct Variant {
    name: &'static str,
    options: fn(usize) -> JobOptions,
    order: QueueOrder,
    limits: QueueLimits,
    beside: bool,
}

impl Variant {
    fn of(name: &'static str, options: fn(usize) -> JobOptions) -> Self {
        let (order, limits) = (QueueOrder::default(), QueueLimits::default());
        Self { name, options, order, limits, beside: false }
    }

    fn of_queue(name: &'static str, limits: QueueLimits) -> Self {
        Self { limits, ..Self::of(name, |_| JobOptions::default()) }
    }
}

fn variants() -> Vec<Variant> {
    let wide = Rate { count: WIDE, period: HOUR };
    let of_queue = QueueLimits::default();
    vec![
        Variant::of("none", |_| JobOptions::default()),
        Variant { beside: true, ..Variant::of("beside", |_| JobOptions::default()) },
        Variant::of("ordering_key", |number| JobOptions {
            ordering_key: Some(key(number)),
            ..JobOptions::default()
        }),
        Variant::of("concurrency_key", |number| JobOptions {
            concurrency: Some(ConcurrencyLimit { key: key(number), max: WIDE }),
            ..JobOptions::default()
        }),
        Variant::of("rate_key", |number| JobOptions {
            rate_limit: Some(RateLimit { key: key(number), count: WIDE, period: HOUR }),
            ..JobOptions::default()
        }),
        Variant {
            order: QueueOrder::Fair,
            ..Variant::of("fair", |number| JobOptions {
                fair: Some(FairShare { key: key(number % 10), weight: 1 }),
                ..JobOptions::default()
            })
        },
        Variant::of_queue("queue_concurrency", QueueLimits { concurrency_max: Some(WIDE), ..of_queue }),
        Variant::of_queue("queue_rate", QueueLimits { rate: Some(wide), ..of_queue }),
        Variant::of_queue("ageing", QueueLimits { ageing: Some(HOUR), ..of_queue }),
    ]
}

fn key(number: usize) -> std::sync::Arc<str> {
    format!("customer-{number}").into()
}

impl Limits {
    pub(crate) async fn run(&self) -> Result<Value> {
        let variants = variants();
        let mut times = vec![Vec::new(); variants.len()];
        for turn in 0..TURNS {
            for (variant, times) in variants.iter().zip(&mut times) {
                times.push(self.turn(&format!("{}-{turn}.db", variant.name), variant).await?);
            }
        }
        let mut figures = Map::new();
        for (variant, mut turns) in variants.into_iter().zip(times) {
            turns.sort_unstable();
            let median = turns[TURNS / 2].as_secs_f64() * 1e6 / self.jobs as f64;
            figures.insert(format!("{}_us_per_job", variant.name), median.into());
        }
        figures.insert("durability".to_owned(), json!(self.durability.name()));
        Ok(figures.into())
    }

    async fn turn(&self, file: &str, variant: &Variant) -> Result<Duration> {
        let engine = engine::open(&self.dir.join(file), self.durability).await?;
        let queue = QueueName::default_queue();
        if variant.beside {
            limited_jobs_beside(&engine).await?;
        }
        if variant.order != QueueOrder::default() {
            engine.set_order(queue.clone(), variant.order).await?;
        }
        if variant.limits != QueueLimits::default() {
            engine.set_limits(queue.clone(), variant.limits).await?;
        }
        let producer = Producer::new((0..KEYS).map(variant.options).collect());
        let idle = processor_time();
        for _ in (0..self.jobs).step_by(BATCH) {
            producer.enqueue(&engine, BATCH).await?;
        }
        let worked = engine::work_on(&engine, queue, self.jobs).await?;
        let time = processor_time().saturating_sub(idle);
        ensure!(worked == self.jobs, "{worked} attempts ran for {} jobs", self.jobs);
        engine.close().await;
        Ok(time)
    }
}

/// Jobs of another queue, with every limit, that wait all the while.
async fn limited_jobs_beside(engine: &EngineHandle) -> Result<()> {
    let limited = JobOptions {
        queue: Some(QueueName::new("limited")?),
        concurrency: Some(ConcurrencyLimit { key: "other".into(), max: 1 }),
        rate_limit: Some(RateLimit { key: "other".into(), count: 1, period: HOUR }),
        ..JobOptions::default()
    };
    Producer::new(vec![limited]).enqueue(engine, BESIDE).await
}
