//! What limits, keys and batches cost: the engine's processor time for a job with them and without, each alone and, where
//! its name does not say otherwise, wide enough never to hold a job back, and that of a queue without limits beside one that
//! has them. Time itself would not tell a hundredth apart, for the disk is never so steady.

use std::sync::Arc;
use std::time::Duration;

use anyhow::{Result, ensure};
use serde_json::{Map, Value, json};
use taskport::abstraction::backend::{QueueLimits, QueueOrder, Rate, Submission};
use taskport::abstraction::batch::BatchRequest;
use taskport::abstraction::options::{
    ConcurrencyLimit, FairShare, Idempotency, OnConflict, RateLimit, Start, Unique,
};
use taskport::abstraction::{JobOptions, QueueName};
use taskport::engine::{EngineHandle, NewJob};

use crate::engine::{self, Producer};
use crate::load::{BATCH, Given};
use crate::processor::processor_time;
use crate::statistics::median_us_per_job;

/// How many times the variants take turns.
const TURNS: usize = 5;
/// How many jobs of the limited queue wait beside the one that is measured.
const BESIDE: usize = 1_000;
/// How many keys there are: more than jobs run at once, so that none waits for another of its key.
const KEYS: usize = 1_000;
/// A key of its own for each job.
const KEY_EACH: usize = usize::MAX;
/// How many slots a key has that is to hold jobs back: ten such keys have as many as jobs run at once. A row of jobs of
/// one key is several times as long, so that most wait.
const FEW_SLOTS: usize = BATCH / 10;
const WIDE: u32 = 1_000_000;
/// Over before the last job is enqueued.
const QUIET: Duration = Duration::from_millis(1);
const HOUR: Duration = Duration::from_secs(3600);

/// One limit, by itself.
struct Variant {
    name: &'static str,
    options: fn(usize) -> JobOptions,
    /// How many different options take turns.
    keys: usize,
    /// Every [`BATCH`] jobs are a batch, with a job that runs when they have ended.
    in_batches: bool,
    order: QueueOrder,
    limits: QueueLimits,
    beside: bool,
}

impl Variant {
    fn of(name: &'static str, options: fn(usize) -> JobOptions) -> Self {
        let (order, limits) = (QueueOrder::default(), QueueLimits::default());
        Self { name, options, keys: KEYS, in_batches: false, order, limits, beside: false }
    }

    fn of_unique(name: &'static str, options: fn(usize) -> JobOptions) -> Self {
        Self { keys: KEY_EACH, ..Self::of(name, options) }
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
        Variant::of("ordering_key", in_line),
        Variant::of_unique("ordering_key_new", in_line),
        Variant::of("concurrency_key", |number| JobOptions {
            concurrency: Some(ConcurrencyLimit { key: key(number), max: WIDE }),
            ..JobOptions::default()
        }),
        Variant::of("concurrency_key_full", |number| JobOptions {
            concurrency: Some(ConcurrencyLimit {
                key: key(number / (5 * FEW_SLOTS) % 10),
                max: FEW_SLOTS as u32,
            }),
            ..JobOptions::default()
        }),
        Variant::of("rate_key", |number| JobOptions {
            rate_limit: Some(RateLimit { key: key(number), count: WIDE, period: HOUR }),
            ..JobOptions::default()
        }),
        Variant::of_unique("debounce", |number| JobOptions {
            start: Some(Start::In(QUIET)),
            ..unique(number, Unique::WhileLive, OnConflict::Replace)
        }),
        Variant::of_unique("throttle", |number| unique(number, Unique::For(HOUR), OnConflict::Ignore)),
        Variant { in_batches: true, ..Variant::of("batch", |_| JobOptions::default()) },
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

fn key(number: usize) -> Arc<str> {
    format!("customer-{number}").into()
}

fn in_line(number: usize) -> JobOptions {
    JobOptions { ordering_key: Some(key(number)), ..JobOptions::default() }
}

fn unique(number: usize, unique: Unique, on_conflict: OnConflict) -> JobOptions {
    JobOptions {
        idempotency: Some(Idempotency { key: key(number), unique, on_conflict }),
        ..JobOptions::default()
    }
}

pub(crate) async fn run(given: &Given) -> Result<Value> {
    let variants = variants();
    let mut times = vec![Vec::new(); variants.len()];
    for _ in 0..TURNS {
        for (variant, times) in variants.iter().zip(&mut times) {
            times.push(turn(given, variant).await?);
        }
    }
    let mut figures = Map::new();
    for (variant, turns) in variants.into_iter().zip(times) {
        let median = median_us_per_job(turns, given.jobs);
        figures.insert(format!("{}_us_per_job", variant.name), median.into());
    }
    figures.insert("durability".to_owned(), json!(given.durability.name()));
    Ok(figures.into())
}

/// Enqueued, then worked. The job that follows a batch is part of what the batch costs.
async fn turn(given: &Given, variant: &Variant) -> Result<Duration> {
    let folder = given.turn_folder()?;
    let engine = engine::open(&folder.path().join("jobs.db"), given.durability).await?;
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
    let producer = Producer::new((0..variant.keys.min(given.jobs)).map(variant.options).collect());
    let mut jobs = given.jobs;
    let idle = processor_time();
    for (number, count) in given.batches().enumerate() {
        if variant.in_batches {
            submit_batch(&engine, &producer, number, count).await?;
            jobs += 1;
        } else {
            producer.enqueue(&engine, count).await?;
        }
    }
    let worked = engine::work_on(&engine, queue, jobs).await?;
    let time = processor_time().saturating_sub(idle);
    ensure!(worked == jobs, "{worked} attempts ran for {jobs} jobs");
    engine.close().await;
    Ok(time)
}

/// A batch named by its number, with a job that runs when it has ended.
async fn submit_batch(engine: &EngineHandle, producer: &Producer, number: usize, count: usize) -> Result<()> {
    let submission = |NewJob { id, call, options, step: _ }| Submission { id, call, options };
    let mut jobs: Vec<Submission> = producer.jobs(count + 1).into_iter().map(submission).collect();
    let on_complete = jobs.pop();
    let request =
        BatchRequest { id: format!("batch-{number}").parse()?, jobs, on_success: None, on_complete };
    engine.submit_batch(request).await?;
    Ok(())
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
