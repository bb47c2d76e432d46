//! What a worker counts, and the page that Prometheus reads (`specs/metrics.md`).
//!
//! An attempt costs a handful of relaxed additions and no lock; everything else happens when somebody asks for the page.

mod family;
mod histogram;
mod page;

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::time::Duration;

use taskport_abstraction::backend::{Delivery, Verdict, WorkerEvent};
use taskport_abstraction::options::Start;
use taskport_abstraction::{Clock, FailureKind, RetryPolicy};
use tokio::time::Instant;

pub use self::family::{Family, OTHER};
pub use self::histogram::{Histogram, LENGTHS, SECONDS, Scale};
pub use self::page::{Kind, Metric, Page, Samples};
use crate::layers::Gauges;

/// How many pairs of task and queue are told apart.
pub const ATTEMPT_SERIES_MAX: usize = 200;

/// Everything that the workers of one process count.
#[derive(Debug)]
pub struct WorkerMetrics {
    clock: Arc<dyn Clock>,
    attempts: Family<2, AttemptSeries>,
    /// Shared by every executor that counts here.
    pub(crate) threads: Arc<Gauges>,
    slots: AtomicUsize,
    claims: Histogram,
    claim_failures: AtomicU64,
    leases_extended: AtomicU64,
    leases_lost: AtomicU64,
    extend_failures: AtomicU64,
    stored: AtomicU64,
    refused: AtomicU64,
    store_failures: AtomicU64,
}

/// How an attempt can end, as the label `outcome` says it.
const OUTCOMES: [&str; 6] = ["succeeded", "retried", "failed", "cancelled", "released", "abandoned"];
const ABANDONED: usize = 5;

/// Why an attempt can fail; what is none of them counts under the last.
const KINDS: [FailureKind; 9] = [
    FailureKind::Fatal,
    FailureKind::Panicked,
    FailureKind::TimedOut,
    FailureKind::OutOfMemory,
    FailureKind::WorkerLost,
    FailureKind::BadArguments,
    FailureKind::UnknownTask,
    FailureKind::Undecodable,
    FailureKind::Error,
];

/// The attempts of one task in one queue.
#[derive(Debug)]
struct AttemptSeries {
    started: AtomicU64,
    ended: [AtomicU64; OUTCOMES.len()],
    failures: [AtomicU64; KINDS.len()],
    duration: Histogram,
    wait: Histogram,
}

impl AttemptSeries {
    fn new() -> Self {
        Self {
            started: AtomicU64::default(),
            ended: Default::default(),
            failures: Default::default(),
            duration: Histogram::new(&SECONDS),
            wait: Histogram::new(&SECONDS),
        }
    }

    fn running(&self) -> u64 {
        // In this order, so that an attempt that ends in between is not seen as one that never started.
        let ended = self.ended.iter().map(get).sum();
        get(&self.started).saturating_sub(ended)
    }
}

impl WorkerMetrics {
    /// Nothing counted yet; `clock` is the one that submits are stamped with.
    pub fn new(clock: Arc<dyn Clock>) -> Self {
        Self {
            clock,
            attempts: Family::new(ATTEMPT_SERIES_MAX, AttemptSeries::new),
            threads: Arc::default(),
            slots: AtomicUsize::default(),
            claims: Histogram::new(&LENGTHS),
            claim_failures: AtomicU64::default(),
            leases_extended: AtomicU64::default(),
            leases_lost: AtomicU64::default(),
            extend_failures: AtomicU64::default(),
            stored: AtomicU64::default(),
            refused: AtomicU64::default(),
            store_failures: AtomicU64::default(),
        }
    }

    /// Counts the slots of a worker until the answer is dropped.
    pub fn serve(self: &Arc<Self>, slots: usize) -> Serving {
        self.slots.fetch_add(slots, Ordering::Relaxed);
        Serving { metrics: self.clone(), slots }
    }

    /// Counts the start of an attempt; `is_known` says whether its task is one of ours.
    ///
    /// Tasks of others share one series, so that no stranger's names use up the limit.
    pub(crate) fn start(&self, delivery: &Delivery, is_known: impl FnOnce() -> bool) -> RunningAttempt {
        let values = [delivery.call.task.as_str(), delivery.queue.as_str()];
        let series = match self.attempts.find(values) {
            Some(series) => series,
            None if is_known() => self.attempts.get(values),
            None => self.attempts.get([OTHER; 2]),
        };
        series.started.fetch_add(1, Ordering::Relaxed);
        if let Some(wait) = self.wait(delivery) {
            series.wait.observe(wait);
        }
        let policy = delivery.options.retry.as_ref();
        let attempts_max =
            policy.map_or_else(|| RetryPolicy::default().attempts_max, |policy| policy.attempts_max);
        let is_last = delivery.attempt >= attempts_max;
        RunningAttempt { series: series.clone(), started: Instant::now(), is_last, ended: false }
    }

    /// How long a job has waited since it could start. Nobody tells when a later attempt could.
    fn wait(&self, delivery: &Delivery) -> Option<Duration> {
        let submitted_at = delivery.submitted_at;
        let ready_at = match delivery.options.start {
            None => submitted_at,
            Some(Start::In(delay)) => submitted_at + delay,
            Some(Start::At(moment)) => moment.max(submitted_at),
        };
        (delivery.attempt == 1).then(|| self.clock.now().since(ready_at))
    }

    pub(crate) fn observe(&self, event: WorkerEvent) {
        let (counter, by) = match event {
            WorkerEvent::Claimed(jobs) => return self.claims.count(jobs as u64),
            WorkerEvent::ClaimFailed => (&self.claim_failures, 1),
            WorkerEvent::Extended(leases) => (&self.leases_extended, leases),
            WorkerEvent::ExtendFailed => (&self.extend_failures, 1),
            WorkerEvent::LeasesLost(leases) => (&self.leases_lost, leases),
            WorkerEvent::Stored(outcomes) => (&self.stored, outcomes),
            WorkerEvent::Refused(outcomes) => (&self.refused, outcomes),
            WorkerEvent::StoreFailed(outcomes) => (&self.store_failures, outcomes),
            _ => return,
        };
        counter.fetch_add(by as u64, Ordering::Relaxed);
    }

    /// Adds every metric of [`METRICS`] to a page.
    pub fn write(&self, page: &mut Page) {
        let series = self.attempts.series();
        let mut samples = page.metric(&STARTED);
        for (values, attempts) in &series {
            samples.add(values, get(&attempts.started));
        }
        let mut samples = page.metric(&ENDED);
        for ([task, queue], attempts) in &series {
            for (outcome, count) in OUTCOMES.iter().zip(&attempts.ended) {
                samples.add(&[task, queue, outcome], get(count));
            }
        }
        let mut samples = page.metric(&FAILURES);
        for ([task, queue], attempts) in &series {
            for (kind, count) in KINDS.iter().zip(&attempts.failures).filter(|(_, count)| get(count) > 0) {
                samples.add(&[task, queue, kind.as_str()], get(count));
            }
        }
        let mut samples = page.metric(&RUNNING);
        for (values, attempts) in &series {
            samples.add(values, attempts.running());
        }
        let mut samples = page.metric(&DURATION);
        for (values, attempts) in &series {
            attempts.duration.write(&mut samples, values);
        }
        let mut samples = page.metric(&WAIT);
        for (values, attempts) in &series {
            attempts.wait.write(&mut samples, values);
        }
        page.metric(&SLOTS).add(&[], self.slots.load(Ordering::Relaxed));
        page.metric(&DETACHED).add(&[], self.threads.detached());
        self.claims.write(&mut page.metric(&CLAIMS), &[]);
        for (metric, counter) in [
            (&CLAIM_FAILURES, &self.claim_failures),
            (&EXTENDED, &self.leases_extended),
            (&LOST, &self.leases_lost),
            (&EXTEND_FAILURES, &self.extend_failures),
            (&STORED, &self.stored),
            (&REFUSED, &self.refused),
            (&STORE_FAILURES, &self.store_failures),
        ] {
            page.metric(metric).add(&[], get(counter));
        }
    }
}

fn get(counter: &AtomicU64) -> u64 {
    counter.load(Ordering::Relaxed)
}

/// The slots of a worker, counted until this is dropped.
#[derive(Debug)]
pub struct Serving {
    metrics: Arc<WorkerMetrics>,
    slots: usize,
}

impl Drop for Serving {
    fn drop(&mut self) {
        self.metrics.slots.fetch_sub(self.slots, Ordering::Relaxed);
    }
}

/// An attempt that has started. One that is dropped before its end is counted as abandoned.
#[derive(Debug)]
pub(crate) struct RunningAttempt {
    series: Arc<AttemptSeries>,
    started: Instant,
    /// Whether the retry policy allows none after it.
    is_last: bool,
    ended: bool,
}

impl RunningAttempt {
    pub(crate) fn end(&mut self, verdict: &Verdict) {
        let (outcome, failure) = match verdict {
            Verdict::Ack(_) => (0, None),
            Verdict::Retry { failure, .. } if !self.is_last => (1, Some(failure)),
            Verdict::Retry { failure, .. } => (2, Some(failure)),
            Verdict::Reject(failure) => (2, Some(failure)),
            Verdict::Cancelled(_) => (3, None),
            Verdict::Release => (4, None),
        };
        if let Some(failure) = failure {
            let kind = KINDS.iter().position(|kind| *kind == failure.kind).unwrap_or(KINDS.len() - 1);
            self.series.failures[kind].fetch_add(1, Ordering::Relaxed);
        }
        self.count(outcome);
    }

    fn count(&mut self, outcome: usize) {
        self.ended = true;
        self.series.duration.observe(self.started.elapsed());
        self.series.ended[outcome].fetch_add(1, Ordering::Relaxed);
    }
}

impl Drop for RunningAttempt {
    fn drop(&mut self) {
        if !self.ended {
            self.count(ABANDONED);
        }
    }
}

const BY_TASK: &[&str] = &["task", "queue"];

const fn counter(name: &'static str, labels: &'static [&'static str], help: &'static str) -> Metric {
    Metric { name, kind: Kind::Counter, labels, help }
}

const fn gauge(name: &'static str, labels: &'static [&'static str], help: &'static str) -> Metric {
    Metric { name, kind: Kind::Gauge, labels, help }
}

const fn histogram(name: &'static str, labels: &'static [&'static str], help: &'static str) -> Metric {
    Metric { name, kind: Kind::Histogram, labels, help }
}

const STARTED: Metric = counter("taskport_attempts_started_total", BY_TASK, "Attempts that have started.");
const ENDED: Metric = counter(
    "taskport_attempts_ended_total",
    &["task", "queue", "outcome"],
    "Attempts that have ended, by how they are to be settled.",
);
const FAILURES: Metric = counter(
    "taskport_attempt_failures_total",
    &["task", "queue", "kind"],
    "Attempts that have failed, by why; those to be retried too.",
);
const RUNNING: Metric = gauge("taskport_attempts_running", BY_TASK, "Attempts under way.");
const DURATION: Metric =
    histogram("taskport_attempt_duration_seconds", BY_TASK, "How long attempts took, from start to end.");
const WAIT: Metric = histogram(
    "taskport_job_wait_seconds",
    BY_TASK,
    "How long jobs waited for their first attempt since they could start.",
);
const SLOTS: Metric = gauge("taskport_worker_slots", &[], "Attempts the workers could run at once.");
const DETACHED: Metric = gauge(
    "taskport_attempts_detached",
    &[],
    "Attempts left behind on their threads at their hard time limit.",
);
const CLAIMS: Metric = histogram("taskport_claim_jobs", &[], "Jobs that one request to the backend brought.");
const CLAIM_FAILURES: Metric =
    counter("taskport_claim_failures_total", &[], "Requests for jobs that failed.");
const EXTENDED: Metric = counter("taskport_leases_extended_total", &[], "Leases extended.");
const LOST: Metric = counter("taskport_leases_lost_total", &[], "Leases that had passed on to others.");
const EXTEND_FAILURES: Metric =
    counter("taskport_lease_extend_failures_total", &[], "Requests to extend leases that failed.");
const STORED: Metric = counter("taskport_outcomes_stored_total", &[], "Outcomes stored by the backend.");
const REFUSED: Metric = counter(
    "taskport_outcomes_refused_total",
    &[],
    "Outcomes refused by the backend, mostly because the lease had passed on.",
);
const STORE_FAILURES: Metric =
    counter("taskport_outcome_store_failures_total", &[], "Outcomes that had to be sent again.");

/// Every metric of [`WorkerMetrics`], in the order of the page.
pub const METRICS: &[Metric] = &[
    STARTED,
    ENDED,
    FAILURES,
    RUNNING,
    DURATION,
    WAIT,
    SLOTS,
    DETACHED,
    CLAIMS,
    CLAIM_FAILURES,
    EXTENDED,
    LOST,
    EXTEND_FAILURES,
    STORED,
    REFUSED,
    STORE_FAILURES,
];
