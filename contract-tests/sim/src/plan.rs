//! What a seed makes of a run: how many processes, which faults, which options, how often.
//!
//! Every seed leaves most things out, each seed others, so that what is left comes in unusual numbers.

use std::sync::Arc;
use std::time::Duration;

use fastrand::Rng;
use taskport_abstraction::backend::{QueueLimits, Rate};
use taskport_abstraction::options::{
    ConcurrencyLimit, FairShare, Idempotency, OnConflict, Priority, RateLimit, Start, Unique,
};
use taskport_abstraction::{Backoff, JobOptions, QueueName, RetryPolicy, Timestamp};
use taskport_engine::EngineConfig;

use crate::faults::Fault;

/// When every run begins.
pub(crate) const EPOCH: Timestamp = Timestamp::from_micros(1_790_000_000_000_000);
/// How far a clock jumps.
pub(crate) const JUMP_US: i64 = 3_600_000_000;
/// The largest result that is kept.
pub(crate) const RESULT_BYTES_MAX: usize = 200;

/// The shape of a run.
#[derive(Debug, Clone)]
pub(crate) struct Plan {
    /// How many steps it takes unless it is cut short.
    pub(crate) steps: usize,
    pub(crate) processes: usize,
    pub(crate) queues: Vec<QueueName>,
    /// Of 100 transactions, how many meet a fault of the store.
    store_faults: u8,
    /// Of 1,000 steps, how many kill a process, set its clock, or make it sleep.
    pub(crate) crashes: u16,
    pub(crate) jumps: u16,
    pub(crate) sleeps: u16,
    /// Of 100 transactions, how many are given up by their owner.
    pub(crate) abandons: u8,
    /// Of 100 jobs, how many ask for each.
    delays: u8,
    expiries: u8,
    keys: u8,
    retries: u8,
    priorities: u8,
    limits: u8,
    /// Of 100 requests, how many are about runs; about the order, pause or purge of a queue; about a job by its id.
    pub(crate) runs: u8,
    pub(crate) upkeep: u8,
    pub(crate) control: u8,
    /// Of 100 verdicts, how many are not what the task says.
    pub(crate) whims: u8,
    pub(crate) lease_s: u64,
    /// How long a step takes at most.
    pub(crate) step_ms_max: u64,
    tick_jobs_max: usize,
}

impl Plan {
    pub(crate) fn draw(rng: &mut Rng, with_faults: bool) -> Self {
        let queues = (0..rng.usize(1..=3)).map(queue).collect();
        let mut plan = Self {
            steps: rng.usize(100..=400),
            processes: rng.usize(1..=4),
            queues,
            store_faults: some(rng, 20),
            crashes: some(rng, 30).into(),
            jumps: some(rng, 30).into(),
            sleeps: some(rng, 60).into(),
            abandons: some(rng, 10),
            delays: some(rng, 60),
            expiries: some(rng, 50),
            keys: some(rng, 60),
            retries: some(rng, 80),
            priorities: some(rng, 80),
            limits: some(rng, 50),
            runs: some(rng, 20),
            upkeep: some(rng, 10),
            control: some(rng, 20),
            whims: some(rng, 30),
            lease_s: rng.u64(2..=60),
            step_ms_max: *pick(rng, &[5, 500, 5_000]),
            tick_jobs_max: *pick(rng, &[1, 3, 1_000]),
        };
        if !with_faults {
            (plan.store_faults, plan.abandons) = (0, 0);
            (plan.crashes, plan.jumps, plan.sleeps) = (0, 0, 0);
        }
        plan
    }

    /// The fault of the next transaction, mostly none.
    pub(crate) fn fault(&self, rng: &mut Rng) -> Option<Fault> {
        if rng.u8(0..100) >= self.store_faults {
            return None;
        }
        Some(match rng.u8(0..6) {
            0 => Fault::Busy,
            1 => Fault::CommitRefused,
            2 => Fault::CommitLost { applied: true },
            3 => Fault::CommitLost { applied: false },
            _ => Fault::Verb { nth: 1 + rng.u32(0..10) * rng.u32(1..4), done: rng.bool() },
        })
    }

    pub(crate) fn config(&self, seed: u64) -> EngineConfig {
        EngineConfig {
            seed,
            result_bytes_max: RESULT_BYTES_MAX,
            tick_jobs_max: self.tick_jobs_max,
            retry: RetryPolicy {
                attempts_max: 4,
                backoff: Backoff::Exponential {
                    base: Duration::from_secs(1),
                    max: Duration::from_secs(30),
                    jitter: true,
                },
                age_max: None,
            },
            ..EngineConfig::default()
        }
    }

    /// Whether jobs and queues are bounded.
    pub(crate) fn has_limits(&self) -> bool {
        self.limits > 0
    }

    pub(crate) fn lease_for(&self) -> Duration {
        Duration::from_secs(self.lease_s)
    }

    /// What a job asks for.
    pub(crate) fn options(&self, rng: &mut Rng, now: Timestamp) -> JobOptions {
        let asks = |rng: &mut Rng, often: u8| rng.u8(0..100) < often;
        let mut options =
            JobOptions { queue: Some(pick(rng, &self.queues).clone()), ..JobOptions::default() };
        if asks(rng, self.priorities) {
            options.priority = Priority::new(rng.u8(0..=9)).ok();
        }
        if asks(rng, self.delays) {
            options.start = Some(moment(rng, now, 0, 60));
        }
        if asks(rng, self.expiries) {
            options.expiry = Some(moment(rng, now, 61, 180));
        }
        if asks(rng, self.retries) {
            options.retry = Some(retry(rng));
        }
        if asks(rng, self.keys) {
            options.idempotency = Some(idempotency(rng));
        }
        if asks(rng, self.limits) {
            limit(rng, &mut options);
        }
        options
    }
}

pub(crate) fn queue(n: usize) -> QueueName {
    QueueName::new(format!("q{n}")).expect("a good name")
}

pub(crate) fn pick<'a, T>(rng: &mut Rng, from: &'a [T]) -> &'a T {
    &from[rng.usize(0..from.len())]
}

/// Nothing in two cases of five, else up to `max` of 100.
fn some(rng: &mut Rng, max: u8) -> u8 {
    if rng.u8(0..5) < 2 { 0 } else { rng.u8(1..=max) }
}

fn moment(rng: &mut Rng, now: Timestamp, from_s: u64, until_s: u64) -> Start {
    let delay = Duration::from_millis(rng.u64(from_s * 1_000..until_s * 1_000));
    if rng.bool() { Start::In(delay) } else { Start::At(now + delay) }
}

fn retry(rng: &mut Rng) -> RetryPolicy {
    let (base, max) = (Duration::from_millis(rng.u64(0..3_000)), Duration::from_secs(20));
    let backoff = match rng.u8(0..3) {
        0 => Backoff::Fixed { delay: base },
        1 => Backoff::Linear { base, max },
        _ => Backoff::Exponential { base, max, jitter: true },
    };
    let age_max = (rng.u8(0..4) == 0).then(|| Duration::from_secs(rng.u64(1..300)));
    RetryPolicy { attempts_max: rng.u32(1..6), backoff, age_max }
}

/// One bound or share. Each key always asks for the same.
fn limit(rng: &mut Rng, options: &mut JobOptions) {
    let n = rng.u32(0..2);
    let key = |kind: &str| -> Arc<str> { format!("{kind}-{n}").into() };
    match rng.u8(0..4) {
        0 => options.ordering_key = Some(key("line")),
        1 => options.concurrency = Some(ConcurrencyLimit { key: key("slots"), max: 1 + n }),
        2 => {
            let period = Duration::from_secs(2 + u64::from(n));
            options.rate_limit = Some(RateLimit { key: key("rate"), count: 1 + n, period });
        }
        _ => options.fair = Some(FairShare { key: key("share"), weight: 1 + n }),
    }
}

/// What bounds a queue from now on.
pub(crate) fn queue_limits(rng: &mut Rng) -> QueueLimits {
    let rate = Rate { count: rng.u32(1..4), period: Duration::from_secs(rng.u64(1..5)) };
    QueueLimits {
        concurrency_max: rng.bool().then(|| rng.u32(1..6)),
        rate: (rng.u8(0..3) == 0).then_some(rate),
        ageing: (rng.u8(0..3) == 0).then(|| Duration::from_secs(rng.u64(1..30))),
    }
}

fn idempotency(rng: &mut Rng) -> Idempotency {
    let unique = match rng.u8(0..3) {
        0 => Unique::For(Duration::from_secs(rng.u64(1..60))),
        1 => Unique::Forever,
        _ => Unique::WhileLive,
    };
    let key: Arc<str> = format!("key-{}", rng.u8(0..4)).into();
    let on_conflict = *pick(rng, &[OnConflict::Keep, OnConflict::Replace, OnConflict::Ignore]);
    Idempotency { key, unique, on_conflict }
}
