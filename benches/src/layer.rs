//! What the API layer costs a job: registry, typed call and executor, in time and in allocations, without the engine.
//!
//! The submitting half is the difference between submitting typed calls and handing the backend, in memory, what they
//! come to. The running half is the executor alone. What the user's own values cost to encode is taken off, and the task
//! takes no argument, so that nothing is decoded. Time is that of the processors, which neighbors do not add to.
#![expect(clippy::print_stdout, reason = "a benchmark prints its figures")]

mod processor;

use std::alloc::System;
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use clap::Parser;
use serde_json::json;
use stats_alloc::{INSTRUMENTED_SYSTEM, Region, StatsAlloc};
use taskport::abstraction::backend::{Attempt, Delivery, Lease, Submission, Verdict};
use taskport::abstraction::call::ArgumentsBuilder;
use taskport::abstraction::{JobOptions, LeaseToken, Payload, QueueName, RawCall, SystemClock, TaskName};
use taskport::config::Config;
use taskport::prelude::*;
use taskport_abstraction::id::IdGenerator;
use taskport_abstraction::{Clock, Executor};
use taskport_worker::metrics::WorkerMetrics;
use taskport_worker::{Control, ExecutorOptions, TaskExecutor};

use crate::processor::processor_time;

#[global_allocator]
static ALLOCATOR: &StatsAlloc<System> = &INSTRUMENTED_SYSTEM;

const BATCH: usize = 100;
/// How many times the two ways of submitting take turns.
const TURNS: usize = 21;

#[derive(Parser)]
struct Arguments {
    /// Jobs of each turn
    #[arg(long)]
    jobs: usize,
}

/// Does nothing.
#[task]
async fn nothing() -> TaskResult<()> {
    Ok(())
}

/// What something took for each job.
#[derive(Debug, Clone, Copy)]
struct Cost {
    time: Duration,
    allocations: usize,
}

fn main() -> Result<()> {
    let jobs = Arguments::parse().jobs;
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build()?;
    let (typed, bare, run, control) = runtime.block_on(measure(jobs))?;
    let ns = |cost: Cost| cost.time.as_secs_f64() * 1e9 / jobs as f64;
    let allocations = |cost: Cost| cost.allocations as f64 / jobs as f64;
    let submit_ns = ns(typed) - ns(bare);
    let submit_allocations = allocations(typed) - allocations(bare);
    println!(
        "{}",
        json!({
            "submit_ns": submit_ns,
            "submit_allocations": submit_allocations,
            "execute_ns": ns(run) - ns(control),
            "execute_allocations": allocations(run) - allocations(control),
            "ns_per_job": submit_ns + ns(run) - ns(control),
            "allocations_per_job": submit_allocations + allocations(run) - allocations(control),
        })
    );
    Ok(())
}

/// Typed submits, bare submits, attempts run, and the making of what those attempts are given.
async fn measure(jobs: usize) -> Result<(Cost, Cost, Cost, Cost)> {
    let config = Config::from_toml("[backends.main]\nkind = \"native\"\nurl = \"memory:\"")?;
    let port = Taskport::builder().config(config).registry(registry![nothing]).open().await?;
    let (mut typed, mut bare, mut run, mut control) = (Vec::new(), Vec::new(), Vec::new(), Vec::new());
    for _ in 0..TURNS {
        typed.push(typed_submits(&port, jobs).await?);
        port.admin()?.purge(&QueueName::default_queue()).await?;
        bare.push(bare_submits(&port, jobs).await?);
        port.admin()?.purge(&QueueName::default_queue()).await?;
        run.push(attempts(&port, jobs, true).await?);
        control.push(attempts(&port, jobs, false).await?);
    }
    port.close().await?;
    Ok((median(typed), median(bare), median(run), median(control)))
}

async fn typed_submits(port: &Taskport, jobs: usize) -> Result<Cost> {
    let meter = Meter::start();
    for _ in 0..jobs / BATCH {
        for job in port.submit_many((0..BATCH).map(|_| nothing())).await {
            job?;
        }
    }
    Ok(meter.stop())
}

async fn bare_submits(port: &Taskport, jobs: usize) -> Result<Cost> {
    let backend = port.backends().next().context("there is no backend")?;
    let ids = IdGenerator::new(7);
    let task: TaskName = nothing::NAME.parse()?;
    let meter = Meter::start();
    for _ in 0..jobs / BATCH {
        let now = SystemClock.now();
        let submission = |_| Submission {
            id: ids.job_id(now),
            call: RawCall { task: task.clone(), arguments: ArgumentsBuilder::default().finish() },
            options: JobOptions::default(),
        };
        for receipt in backend.submit((0..BATCH).map(submission).collect()).await {
            receipt?;
        }
    }
    Ok(meter.stop())
}

/// Makes the attempts as a worker does, and runs them where that is `wanted`, counted as a worker's are; where it is not,
/// the result is encoded all the same.
async fn attempts(port: &Taskport, jobs: usize, wanted: bool) -> Result<Cost> {
    let metrics = Arc::new(WorkerMetrics::new(Arc::new(SystemClock)));
    let options = ExecutorOptions { metrics: Some(metrics), ..ExecutorOptions::default() };
    let executor = TaskExecutor::new(port.registry(), options)?;
    let options = Arc::new(JobOptions::default());
    let call = RawCall { task: nothing::NAME.parse()?, arguments: Payload::json("[[],{}]") };
    let now = SystemClock.now();
    let delivery = Delivery {
        lease: Lease {
            job: "job-1".parse()?,
            token: LeaseToken(1),
            expires_at: now + Duration::from_secs(600),
            receipt: 1,
        },
        call,
        queue: QueueName::default_queue(),
        attempt: 1,
        submitted_at: now,
        options,
        step: None,
        upstream: None,
    };
    let meter = Meter::start();
    for _ in 0..jobs {
        let attempt = Attempt { delivery: delivery.clone(), control: Control::new() };
        if wanted {
            let verdict = executor.execute(attempt).await;
            ensure!(matches!(verdict, Verdict::Ack(_)), "the attempt gave {verdict:?}");
        } else {
            drop(std::hint::black_box((attempt, Payload::encode(&())?)));
        }
    }
    Ok(meter.stop())
}

/// Time and allocations of all threads since it was made.
struct Meter {
    began: Duration,
    region: Region<'static, System>,
}

impl Meter {
    fn start() -> Self {
        Self { region: Region::new(ALLOCATOR), began: processor_time() }
    }

    fn stop(self) -> Cost {
        let time = processor_time().saturating_sub(self.began);
        let change = self.region.change();
        Cost { time, allocations: change.allocations + change.reallocations }
    }
}

fn median(mut costs: Vec<Cost>) -> Cost {
    let middle = costs.len() / 2;
    costs.sort_unstable_by_key(|cost| cost.allocations);
    let allocations = costs[middle].allocations;
    costs.sort_unstable_by_key(|cost| cost.time);
    Cost { time: costs[middle].time, allocations }
}
