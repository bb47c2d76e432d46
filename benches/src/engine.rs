//! The load through the engine's own verbs: one caller that enqueues, then one that settles a batch and claims the next
//! at the same time, so that both are in one transaction.

use std::future::ready;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use anyhow::{Context, Result, ensure};
use futures_util::future::{join, join_all};
use futures_util::{StreamExt, TryStreamExt, stream};
use serde_json::Value;
use taskport::abstraction::backend::{Delivery, Settlement, Verdict};
use taskport::abstraction::{JobOptions, Payload, QueueName, RawCall, SystemClock};
use taskport::engine::{ClaimRequest, EngineConfig, EngineHandle, NewJob, SqliteOptions, SqliteStore};
use taskport_abstraction::Clock;
use taskport_abstraction::id::IdGenerator;

use crate::load::{BATCH, BATCHES_AT_ONCE, Durability, LEASE, Load, SUBMITTERS, Times, arguments};
use crate::processor::processor_time;
use crate::stopwatch::Stopwatch;

pub(crate) async fn run(load: &Load) -> Result<Value> {
    let engine = open(&load.given.dir.join("singles.db"), load.given.durability).await?;
    let producer = Producer::plain();
    let watch = Stopwatch::start();
    let submitters = (0..SUBMITTERS).map(|index| {
        let share = load.singles / SUBMITTERS + usize::from(index < load.singles % SUBMITTERS);
        let (engine, producer) = (&engine, &producer);
        async move {
            for _ in 0..share {
                producer.enqueue(engine, 1).await?;
            }
            anyhow::Ok(())
        }
    });
    for done in join_all(submitters).await {
        done?;
    }
    let singles = watch.elapsed();
    engine.close().await;

    let engine = open(&load.given.dir.join("jobs.db"), load.given.durability).await?;
    let idle = processor_time();
    let watch = Stopwatch::start();
    let batches = stream::iter(load.given.batches().map(|count| producer.enqueue(&engine, count)));
    batches.buffered(BATCHES_AT_ONCE).try_for_each(|()| ready(Ok(()))).await?;
    let bulk = watch.elapsed();
    let watch = Stopwatch::start();
    let worked = work(&engine, load.given.jobs).await?;
    let work = watch.elapsed();
    let processor = processor_time().saturating_sub(idle);
    ensure!(worked == load.given.jobs, "{worked} attempts ran for {} jobs", load.given.jobs);
    ensure!(succeeded(&engine).await? == load.given.jobs as u64, "not every job succeeded");
    engine.close().await;
    Ok(load.figures("engine", &Times { singles, bulk, work, processor }))
}

pub(crate) async fn open(path: &Path, durability: Durability) -> Result<EngineHandle> {
    open_with(path, durability, EngineConfig::default(), Arc::new(SystemClock)).await
}

pub(crate) async fn open_with(
    path: &Path,
    durability: Durability,
    config: EngineConfig,
    clock: Arc<dyn Clock>,
) -> Result<EngineHandle> {
    let path = path.to_owned();
    let options = SqliteOptions { synchronous: durability.into(), ..SqliteOptions::default() };
    let open = move || SqliteStore::open(path, options);
    Ok(EngineHandle::open(open, config, clock).await?)
}

/// Makes no-op jobs with given options, which take turns.
pub(crate) struct Producer {
    ids: IdGenerator,
    call: RawCall,
    options: Vec<JobOptions>,
    made: AtomicUsize,
}

impl Producer {
    /// Of jobs that ask for nothing.
    pub(crate) fn plain() -> Self {
        Self::new(vec![JobOptions::default()])
    }

    pub(crate) fn new(options: Vec<JobOptions>) -> Self {
        let task = "noop".parse().expect("a task's name");
        let call = RawCall { task, arguments: Payload::json(arguments()) };
        Self { ids: IdGenerator::new(7), call, options, made: AtomicUsize::new(0) }
    }

    pub(crate) fn jobs(&self, count: usize) -> Vec<NewJob> {
        let now = SystemClock.now();
        let first = self.made.fetch_add(count, Ordering::Relaxed);
        let job = |number: usize| NewJob {
            id: self.ids.job_id(now),
            call: self.call.clone(),
            options: self.options[number % self.options.len()].clone(),
            step: None,
        };
        (first..first + count).map(job).collect()
    }

    pub(crate) async fn enqueue(&self, engine: &EngineHandle, count: usize) -> Result<()> {
        for taken in engine.enqueue(self.jobs(count)).await {
            taken?;
        }
        Ok(())
    }
}

/// Claims and acknowledges jobs until `max` are done.
pub(crate) async fn work(engine: &EngineHandle, max: usize) -> Result<usize> {
    work_on(engine, QueueName::default_queue(), max).await
}

/// As [`work`], on one queue.
pub(crate) async fn work_on(engine: &EngineHandle, queue: QueueName, max: usize) -> Result<usize> {
    let claim = |room: usize| ClaimRequest {
        worker: "worker".into(),
        queues: [queue.clone()].into(),
        max: BATCH.min(room),
        lease_for: LEASE,
    };
    let mut done = 0;
    let mut running = engine.claim(&claim(max)).await?;
    while !running.is_empty() {
        let settled = running.len();
        let room = max - done - settled;
        let settle = engine.settle(running.drain(..).map(acknowledged).collect());
        let outcomes = if room == 0 {
            settle.await
        } else {
            let request = claim(room);
            let (outcomes, claimed) = join(settle, engine.claim(&request)).await;
            running = claimed?;
            outcomes
        };
        for outcome in outcomes {
            outcome?;
        }
        done += settled;
    }
    Ok(done)
}

fn acknowledged(delivery: Delivery) -> Settlement {
    Settlement { lease: delivery.lease, verdict: Verdict::Ack(Payload::json("null")) }
}

pub(crate) async fn succeeded(engine: &EngineHandle) -> Result<u64> {
    let queues = engine.stats().await?;
    Ok(queues.first().context("there is no queue")?.counts.succeeded)
}
