//! What each limit costs: jobs per second through the engine on SQLite, at `FULL`, over those of plain jobs.
//!
//! `cargo run --release -p taskport-store-sqlite --example limits [JOBS]`
//!
//! Jobs are enqueued in batches of 100; then 100 are claimed and the 100 before settled in one transaction, until all
//! have succeeded. The workloads take turns, and the median of five rounds counts.

use std::error::Error;
use std::io::Write;
use std::time::Duration;

use taskport_abstraction::backend::{QueueLimits, QueueOrder, Rate, Settlement, Submission, Verdict};
use taskport_abstraction::batch::BatchRequest;
use taskport_abstraction::id::IdGenerator;
use taskport_abstraction::options::{ConcurrencyLimit, FairShare, RateLimit};
use taskport_abstraction::{Clock, JobOptions, Payload, QueueName, RawCall, SystemClock};
use taskport_engine::{Claim, Engine, EngineConfig, NewJob};
use taskport_store_sqlite::{SqliteOptions, SqliteStore, Synchronous};

type Failed = Box<dyn Error>;

const BATCH: usize = 100;
const ROUNDS: usize = 5;
const KEYS: usize = 100;
const LEASE: Duration = Duration::from_secs(60);
const ARGUMENTS: &str = r#"[[],{"path":"/usr/share/doc/example/README","pages":12}]"#;
const SECOND: Duration = Duration::from_secs(1);

/// What a queue and its jobs ask for.
#[derive(Clone, Copy)]
struct Workload {
    name: &'static str,
    order: QueueOrder,
    limits: QueueLimits,
    options: fn(usize) -> JobOptions,
    /// Each transaction's jobs are a batch.
    in_batches: bool,
}

const NO_LIMITS: QueueLimits = QueueLimits { concurrency_max: None, rate: None, ageing: None };
const PLAIN: Workload = Workload {
    name: "plain",
    order: QueueOrder::Priority,
    limits: NO_LIMITS,
    options: |_| JobOptions::default(),
    in_batches: false,
};

fn workloads() -> Vec<Workload> {
    vec![
        PLAIN,
        Workload { name: "fair order, 100 keys", order: QueueOrder::Fair, options: share, ..PLAIN },
        Workload {
            name: "priority ageing",
            limits: QueueLimits { ageing: Some(SECOND), ..NO_LIMITS },
            ..PLAIN
        },
        Workload { name: "ordering key, a key a job", options: own_line, ..PLAIN },
        Workload { name: "ordering key, 1,000 lines", options: line, ..PLAIN },
        Workload { name: "concurrency key, with room", options: wide, ..PLAIN },
        Workload { name: "concurrency key, full", options: narrow, ..PLAIN },
        Workload { name: "rate key, with room", options: rate, ..PLAIN },
        Workload {
            name: "queue concurrency",
            limits: QueueLimits { concurrency_max: Some(100), ..NO_LIMITS },
            ..PLAIN
        },
        Workload {
            name: "queue rate",
            limits: QueueLimits { rate: Some(Rate { count: 1_000_000, period: SECOND }), ..NO_LIMITS },
            ..PLAIN
        },
        Workload { name: "batches of 100", in_batches: true, ..PLAIN },
    ]
}

fn share(n: usize) -> JobOptions {
    let key = format!("tenant-{}", n % KEYS).into();
    JobOptions { fair: Some(FairShare { key, weight: 1 + (n % 3) as u32 }), ..JobOptions::default() }
}

fn own_line(n: usize) -> JobOptions {
    JobOptions { ordering_key: Some(format!("order-{n}").into()), ..JobOptions::default() }
}

fn line(n: usize) -> JobOptions {
    JobOptions { ordering_key: Some(format!("order-{}", n % 1_000).into()), ..JobOptions::default() }
}

fn wide(n: usize) -> JobOptions {
    let key = format!("tenant-{}", n % KEYS).into();
    JobOptions { concurrency: Some(ConcurrencyLimit { key, max: 100 }), ..JobOptions::default() }
}

fn narrow(n: usize) -> JobOptions {
    let key = format!("tenant-{}", n % 10).into();
    JobOptions { concurrency: Some(ConcurrencyLimit { key, max: 10 }), ..JobOptions::default() }
}

fn rate(n: usize) -> JobOptions {
    let key = format!("tenant-{}", n % KEYS).into();
    JobOptions {
        rate_limit: Some(RateLimit { key, count: 1_000_000, period: SECOND }),
        ..JobOptions::default()
    }
}

fn main() -> Result<(), Failed> {
    let jobs = std::env::args().nth(1).map_or(Ok(20_000), |text| text.parse::<usize>())?;
    let mut out = std::io::stdout().lock();
    let workloads = workloads();
    let mut times = vec![Vec::new(); workloads.len()];
    for _ in 0..ROUNDS {
        for (workload, times) in workloads.iter().zip(&mut times) {
            times.push(run(jobs, workload)?);
        }
    }
    let medians: Vec<Duration> = times
        .iter_mut()
        .map(|times| {
            times.sort();
            times[times.len() / 2]
        })
        .collect();
    for (workload, time) in workloads.iter().zip(&medians) {
        let rate = jobs as f64 / time.as_secs_f64();
        let cost = (time.as_secs_f64() / medians[0].as_secs_f64() - 1.0) * 100.0;
        writeln!(out, "{:28} {rate:>8.0} jobs/s   {cost:+6.1} %", workload.name)?;
    }
    Ok(())
}

fn run(jobs: usize, workload: &Workload) -> Result<Duration, Failed> {
    let directory = tempfile::tempdir()?;
    let options = SqliteOptions { synchronous: Synchronous::Full, ..SqliteOptions::default() };
    let store = SqliteStore::open(directory.path().join("jobs.db"), options)?;
    let mut engine = Engine::open(store, EngineConfig::default(), SystemClock.now())?;
    let queue = QueueName::default_queue();
    let mut tx = engine.begin(SystemClock.now())?;
    tx.set_order(&queue, workload.order)?;
    tx.set_limits(&queue, workload.limits)?;
    tx.commit()?;
    let started = SystemClock.now();
    let ids = IdGenerator::new(7);
    let call = RawCall { task: "example.count".parse()?, arguments: Payload::json(ARGUMENTS) };
    for page in 0..jobs / BATCH {
        let now = SystemClock.now();
        let places = page * BATCH..(page + 1) * BATCH;
        let mut tx = engine.begin(now)?;
        if workload.in_batches {
            let submission =
                |n| Submission { id: ids.job_id(now), call: call.clone(), options: (workload.options)(n) };
            tx.submit_batch(BatchRequest {
                id: format!("batch-{page}").parse()?,
                jobs: places.map(submission).collect(),
                on_success: None,
                on_complete: None,
            })?;
        } else {
            let new_job = |n| NewJob {
                id: ids.job_id(now),
                call: call.clone(),
                options: (workload.options)(n),
                step: None,
            };
            for answer in tx.enqueue(places.map(new_job).collect()) {
                answer?;
            }
        }
        tx.commit()?;
    }
    let queues = [queue];
    let claim = Claim { worker: "worker", queues: &queues, max: BATCH, lease_for: LEASE };
    let (mut running, mut done) = (Vec::new(), 0);
    while done < jobs / BATCH * BATCH {
        let mut tx = engine.begin(SystemClock.now())?;
        tx.tick()?;
        let last: Vec<Settlement> = std::mem::take(&mut running);
        done += last.len();
        for answer in tx.settle(&last) {
            answer?;
        }
        let claimed = tx.claim(&claim)?;
        tx.commit()?;
        let settle = |lease| Settlement { lease, verdict: Verdict::Ack(Payload::json("1")) };
        running = claimed.into_iter().map(|delivery| settle(delivery.lease)).collect();
    }
    Ok(SystemClock.now().since(started))
}
