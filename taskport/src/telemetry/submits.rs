//! What this process submits.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use taskport_abstraction::backend::Submission;
use taskport_abstraction::{BackendName, Error, QueueName};
use taskport_worker::metrics::{Family, Histogram, Kind, Metric, Page, SECONDS};

/// How many triples of backend, task and queue are told apart.
const SUBMIT_SERIES_MAX: usize = 200;
/// How many pairs of backend and error code are told apart.
const FAILURE_SERIES_MAX: usize = 200;
/// How many backends are told apart.
const BACKENDS_MAX: usize = 50;

#[derive(Debug)]
pub(crate) struct SubmitMetrics {
    jobs: Family<3, Submitted>,
    failures: Family<2, AtomicU64>,
    requests: Family<1, Histogram>,
}

/// The submits of one task to one queue.
#[derive(Debug, Default)]
pub(crate) struct Submitted {
    taken: AtomicU64,
    existing: AtomicU64,
}

impl Submitted {
    /// Counts a job that the backend has taken, or had before.
    pub(crate) fn count(&self, existing: bool) {
        let counter = if existing { &self.existing } else { &self.taken };
        counter.fetch_add(1, Ordering::Relaxed);
    }
}

impl Default for SubmitMetrics {
    fn default() -> Self {
        Self {
            jobs: Family::new(SUBMIT_SERIES_MAX, Submitted::default),
            failures: Family::new(FAILURE_SERIES_MAX, AtomicU64::default),
            requests: Family::new(BACKENDS_MAX, || Histogram::new(&SECONDS)),
        }
    }
}

impl SubmitMetrics {
    /// Where the answer to a submission is counted.
    pub(crate) fn submitted(&self, backend: &BackendName, submission: &Submission) -> Arc<Submitted> {
        let queue = submission.options.queue.clone().unwrap_or_else(QueueName::default_queue);
        self.jobs.get([backend.as_str(), submission.call.task.as_str(), queue.as_str()]).clone()
    }

    /// Counts a submit that was refused or whose outcome is unknown.
    pub(crate) fn failed(&self, backend: &BackendName, error: &Error) {
        self.failures.get([backend.as_str(), &error.code().to_string()]).fetch_add(1, Ordering::Relaxed);
    }

    /// Counts one request to a backend.
    pub(crate) fn requested(&self, backend: &BackendName, took: Duration) {
        self.requests.get([backend.as_str()]).observe(took);
    }

    pub(super) fn write(&self, page: &mut Page) {
        let mut samples = page.metric(&SUBMITTED);
        for ([backend, task, queue], submitted) in self.jobs.series() {
            for (result, count) in [("taken", &submitted.taken), ("existing", &submitted.existing)] {
                samples.add(&[backend, task, queue, result], count.load(Ordering::Relaxed));
            }
        }
        let mut samples = page.metric(&FAILURES);
        for (values, count) in self.failures.series() {
            samples.add(&values, count.load(Ordering::Relaxed));
        }
        let mut samples = page.metric(&REQUESTS);
        for (values, requests) in self.requests.series() {
            requests.write(&mut samples, &values);
        }
    }
}

const SUBMITTED: Metric = Metric {
    name: "taskport_jobs_submitted_total",
    kind: Kind::Counter,
    labels: &["backend", "task", "queue", "result"],
    help: "Jobs this process has submitted: taken, or existing where the backend had the job before.",
};
const FAILURES: Metric = Metric {
    name: "taskport_submit_failures_total",
    kind: Kind::Counter,
    labels: &["backend", "code"],
    help: "Submits of this process that failed, by the code of the error.",
};
const REQUESTS: Metric = Metric {
    name: "taskport_submit_duration_seconds",
    kind: Kind::Histogram,
    labels: &["backend"],
    help: "How long requests to submit took, each for one job or many.",
};

pub(super) const METRICS: &[Metric] = &[SUBMITTED, FAILURES, REQUESTS];
