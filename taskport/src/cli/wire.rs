//! What `--json` prints. These types are a contract with programs, apart from the domain's own types (I8): a field may
//! be added, none is renamed or removed.

use std::collections::BTreeMap;

use serde::Serialize;
use serde_json::value::RawValue;

use crate::abstraction::backend::{
    Counts, Cursor, QueueOrder, QueueStats, RunStatus, StepState, StepStatus, WorkerStatus,
};
use crate::abstraction::capability::{Capability, Feature, Limit, Support};
use crate::abstraction::id::BackendName;
use crate::abstraction::job::{Failure, JobState, JobStatus, Outcome};
use crate::abstraction::options::{OnConflict, Start, Unique};
use crate::abstraction::retry::RetryPolicy;
use crate::abstraction::text::format_duration;
use crate::abstraction::{Certainty, Payload, Timestamp};
use crate::{Error, JobOptions};

/// An error, where there is no answer.
#[derive(Debug, Serialize)]
pub(crate) struct Problem {
    error: Fault,
}

#[derive(Debug, Serialize)]
struct Fault {
    code: String,
    title: &'static str,
    operation: &'static str,
    message: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    hint: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    backend: Option<String>,
    certainty: &'static str,
}

impl Problem {
    /// The error in the form programs read.
    pub(crate) fn new(error: &Error) -> Self {
        let certainty = match error.certainty() {
            Certainty::NotApplied => "not_applied",
            Certainty::MaybeApplied => "maybe_applied",
        };
        Self {
            error: Fault {
                code: error.code().to_string(),
                title: error.code().title,
                operation: error.operation(),
                message: error.to_string(),
                hint: error.remedy().map(str::to_owned),
                backend: error.backend().map(ToString::to_string),
                certainty,
            },
        }
    }
}

/// A job.
#[derive(Debug, Serialize)]
pub(super) struct Job {
    job: String,
    id: String,
    backend: String,
    task: String,
    queue: String,
    state: &'static str,
    attempt: u32,
    arguments: Body,
    options: Options,
    submitted_at: Option<Timestamp>,
    not_before: Option<Timestamp>,
    started_at: Option<Timestamp>,
    finished_at: Option<Timestamp>,
    #[serde(flatten)]
    outcome: Ending,
    #[serde(skip_serializing_if = "Option::is_none")]
    progress: Option<Progress>,
    #[serde(skip_serializing_if = "Option::is_none")]
    partial: Option<Body>,
    #[serde(skip_serializing_if = "Option::is_none")]
    worker: Option<String>,
    cancel_requested: bool,
    #[serde(skip_serializing_if = "Option::is_none")]
    step: Option<StepOf>,
}

impl Job {
    pub(super) fn new(backend: &BackendName, status: &JobStatus) -> Self {
        Self {
            job: format!("{backend}:{}", status.id),
            id: status.id.to_string(),
            backend: backend.to_string(),
            task: status.task.to_string(),
            queue: status.queue.to_string(),
            state: status.state.as_str(),
            attempt: status.attempt,
            arguments: Body::new(&status.arguments),
            options: Options::new(&status.options),
            submitted_at: status.submitted_at,
            not_before: status.not_before,
            started_at: status.started_at,
            finished_at: status.finished_at,
            outcome: Ending::new(status.outcome.as_ref()),
            progress: status
                .progress
                .as_ref()
                .map(|progress| Progress { fraction: progress.fraction, message: progress.message.clone() }),
            partial: None,
            worker: status.worker.as_deref().map(str::to_owned),
            cancel_requested: status.cancel_requested,
            step: status.step.as_ref().map(|step| StepOf {
                run: step.run.to_string(),
                step: step.step.to_string(),
                index: step.index,
            }),
        }
    }

    /// The same with the job's last partial result.
    pub(super) fn with_partial(self, payload: &Payload) -> Self {
        Self { partial: Some(Body::new(payload)), ..self }
    }
}

#[derive(Debug, Serialize)]
struct Progress {
    fraction: f64,
    message: Option<String>,
}

#[derive(Debug, Serialize)]
struct StepOf {
    run: String,
    step: String,
    index: Option<u32>,
}

/// How something ended: neither field while it has not.
#[derive(Debug, Default, Serialize)]
pub(super) struct Ending {
    #[serde(skip_serializing_if = "Option::is_none")]
    result: Option<Body>,
    #[serde(skip_serializing_if = "Option::is_none")]
    failure: Option<Why>,
}

impl Ending {
    pub(super) fn new(outcome: Option<&Outcome>) -> Self {
        match outcome {
            None => Self::default(),
            Some(Outcome::Success(result)) => Self { result: Some(Body::new(result)), failure: None },
            Some(Outcome::Failure(failure)) => Self { result: None, failure: Some(Why::new(failure)) },
        }
    }
}

#[derive(Debug, Serialize)]
struct Why {
    kind: &'static str,
    #[serde(rename = "type")]
    type_name: String,
    message: String,
    traceback: Option<String>,
    attempt: u32,
    retryable: bool,
}

impl Why {
    fn new(failure: &Failure) -> Self {
        Self {
            kind: failure.kind.as_str(),
            type_name: failure.type_name.clone(),
            message: failure.message.clone(),
            traceback: failure.traceback.clone(),
            attempt: failure.attempt,
            retryable: failure.retryable,
        }
    }
}

/// A payload: the JSON itself, or what is known of bytes that are none.
#[derive(Debug, Serialize)]
#[serde(untagged)]
pub(super) enum Body {
    Json(Box<RawValue>),
    Opaque { content_type: String, bytes: usize },
}

impl Body {
    pub(super) fn new(payload: &Payload) -> Self {
        let opaque =
            || Self::Opaque { content_type: payload.content_type.as_str().to_owned(), bytes: payload.len() };
        let json = payload.as_json().ok().and_then(|bytes| serde_json::from_slice(bytes).ok());
        json.map_or_else(opaque, Self::Json)
    }

    /// The same for people.
    pub(super) fn text(&self) -> String {
        match self {
            Self::Json(json) => json.get().to_owned(),
            Self::Opaque { content_type, bytes } => format!("{bytes} bytes of {content_type}"),
        }
    }
}

/// What a submit asked for; what was left out is left out.
#[derive(Debug, Serialize)]
pub(super) struct Options {
    #[serde(skip_serializing_if = "Option::is_none")]
    priority: Option<u8>,
    #[serde(skip_serializing_if = "Option::is_none")]
    start: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    expiry: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    timeout_soft: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    timeout_hard: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    retry: Option<Retry>,
    #[serde(skip_serializing_if = "Option::is_none")]
    idempotency: Option<Idempotency>,
    #[serde(skip_serializing_if = "Option::is_none")]
    ordering_key: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    fair: Option<Fair>,
    #[serde(skip_serializing_if = "Option::is_none")]
    batch: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    concurrency: Option<Concurrency>,
    #[serde(skip_serializing_if = "Option::is_none")]
    rate_limit: Option<Rate>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    tags: Vec<String>,
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    metadata: BTreeMap<String, String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    parent: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    trace: Option<String>,
}

#[derive(Debug, Serialize)]
struct Retry {
    attempts_max: u32,
    backoff: String,
    age_max: Option<String>,
}

#[derive(Debug, Serialize)]
struct Idempotency {
    key: String,
    unique: String,
    on_conflict: &'static str,
}

#[derive(Debug, Serialize)]
struct Fair {
    key: String,
    weight: u32,
}

#[derive(Debug, Serialize)]
struct Concurrency {
    key: String,
    max: u32,
}

#[derive(Debug, Serialize)]
struct Rate {
    key: String,
    count: u32,
    period: String,
}

impl Options {
    pub(super) fn new(options: &JobOptions) -> Self {
        Self {
            priority: options.priority.map(crate::abstraction::options::Priority::level),
            start: options.start.map(moment),
            expiry: options.expiry.map(moment),
            timeout_soft: options.timeout_soft.map(format_duration),
            timeout_hard: options.timeout_hard.map(format_duration),
            retry: options.retry.as_ref().map(Retry::new),
            idempotency: options.idempotency.as_ref().map(|idempotency| Idempotency {
                key: idempotency.key.to_string(),
                unique: match idempotency.unique {
                    Unique::WhileLive => "while-live".to_owned(),
                    Unique::Forever => "forever".to_owned(),
                    Unique::For(period) => format_duration(period),
                },
                on_conflict: match idempotency.on_conflict {
                    OnConflict::Keep => "keep",
                    OnConflict::Replace => "replace",
                    OnConflict::Ignore => "ignore",
                },
            }),
            ordering_key: options.ordering_key.as_deref().map(str::to_owned),
            fair: options
                .fair
                .as_ref()
                .map(|share| Fair { key: share.key.to_string(), weight: share.weight }),
            batch: options.batch.as_ref().map(ToString::to_string),
            concurrency: options
                .concurrency
                .as_ref()
                .map(|limit| Concurrency { key: limit.key.to_string(), max: limit.max }),
            rate_limit: options.rate_limit.as_ref().map(|limit| Rate {
                key: limit.key.to_string(),
                count: limit.count,
                period: format_duration(limit.period),
            }),
            tags: options.tags.iter().map(ToString::to_string).collect(),
            metadata: options.metadata.iter().map(|(k, v)| (k.to_string(), v.to_string())).collect(),
            parent: options.parent.as_ref().map(ToString::to_string),
            trace: options.trace.as_ref().map(|trace| trace.as_str().to_owned()),
        }
    }
}

impl Retry {
    fn new(policy: &RetryPolicy) -> Self {
        Self {
            attempts_max: policy.attempts_max,
            backoff: policy.backoff.to_string(),
            age_max: policy.age_max.map(format_duration),
        }
    }
}

/// `30s` after the submit, or a point in time.
fn moment(start: Start) -> String {
    match start {
        Start::In(delay) => format_duration(delay),
        Start::At(moment) => moment.to_string(),
    }
}

/// What became of a submit, and of the job where it was waited for.
#[derive(Debug, Serialize)]
pub(super) struct Submitted {
    pub(super) job: String,
    pub(super) id: String,
    pub(super) backend: String,
    pub(super) existing: bool,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) state: Option<&'static str>,
    #[serde(flatten)]
    pub(super) problem: Option<Problem>,
    #[serde(flatten)]
    pub(super) outcome: Ending,
}

/// What became of one job of a command that takes several.
#[derive(Debug, Serialize)]
pub(super) struct Done {
    pub(super) job: String,
    /// One word for what happened, absent where it failed.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) done: Option<&'static str>,
    /// Where it stands, where it was waited for in vain.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) state: Option<&'static str>,
    #[serde(flatten)]
    pub(super) problem: Option<Problem>,
    #[serde(flatten)]
    pub(super) outcome: Ending,
}

impl Done {
    /// It was done, as `word` says.
    pub(super) fn well(job: String, word: &'static str) -> Self {
        Self { job, done: Some(word), state: None, problem: None, outcome: Ending::default() }
    }

    /// It was not done.
    pub(super) fn failed(job: String, error: &Error) -> Self {
        Self { job, done: None, state: None, problem: Some(Problem::new(error)), outcome: Ending::default() }
    }

    /// It is in `state` still, and the wait for it was given up.
    pub(super) fn open(job: String, state: Option<JobState>, error: &Error) -> Self {
        Self { state: state.map(JobState::as_str), ..Self::failed(job, error) }
    }
}

/// What became of each of several jobs.
#[derive(Debug, Serialize)]
pub(super) struct Several {
    pub(super) jobs: Vec<Done>,
}

/// A page of jobs.
#[derive(Debug, Serialize)]
pub(super) struct Jobs {
    pub(super) jobs: Vec<Job>,
    pub(super) next: Option<Cursor>,
}

/// A page of runs.
#[derive(Debug, Serialize)]
pub(super) struct Runs {
    pub(super) runs: Vec<Run>,
    pub(super) next: Option<Cursor>,
}

/// A run.
#[derive(Debug, Serialize)]
pub(super) struct Run {
    run: String,
    backend: String,
    workflow: String,
    state: &'static str,
    started_at: Timestamp,
    finished_at: Option<Timestamp>,
    seconds: Option<f64>,
    #[serde(flatten)]
    outcome: Ending,
    steps: Vec<Step>,
}

#[derive(Debug, Serialize)]
struct Step {
    step: String,
    state: &'static str,
    total: u64,
    succeeded: u64,
    failed: u64,
    started_at: Option<Timestamp>,
    finished_at: Option<Timestamp>,
    seconds: Option<f64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    failure: Option<Why>,
}

impl Run {
    pub(super) fn new(backend: &BackendName, status: &RunStatus) -> Self {
        Self {
            run: status.id.to_string(),
            backend: backend.to_string(),
            workflow: status.workflow.clone(),
            state: status.state.as_str(),
            started_at: status.started_at,
            finished_at: status.finished_at,
            seconds: status.finished_at.map(|end| end.since(status.started_at).as_secs_f64()),
            outcome: Ending::new(status.outcome.as_ref()),
            steps: status.steps.iter().map(Step::new).collect(),
        }
    }
}

impl Step {
    fn new(status: &StepStatus) -> Self {
        let seconds =
            status.started_at.zip(status.finished_at).map(|(start, end)| end.since(start).as_secs_f64());
        Self {
            step: status.id.to_string(),
            state: step_state(status.state),
            total: status.total,
            succeeded: status.succeeded,
            failed: status.failed,
            started_at: status.started_at,
            finished_at: status.finished_at,
            seconds,
            failure: status.failure.as_ref().map(Why::new),
        }
    }
}

/// The name of a step's state.
pub(super) const fn step_state(state: StepState) -> &'static str {
    match state {
        StepState::Waiting => "waiting",
        StepState::Running => "running",
        StepState::Succeeded => "succeeded",
        StepState::Failed => "failed",
        StepState::Skipped => "skipped",
        StepState::Cancelled => "cancelled",
    }
}

/// A queue.
#[derive(Debug, Serialize)]
pub(super) struct Queue {
    queue: String,
    backend: String,
    order: &'static str,
    limits: QueueLimits,
    paused: bool,
    paused_reason: Option<String>,
    oldest_queued_at: Option<Timestamp>,
    #[serde(flatten)]
    counts: Account,
}

impl Queue {
    pub(super) fn new(backend: &BackendName, stats: &QueueStats) -> Self {
        Self {
            queue: stats.name.to_string(),
            backend: backend.to_string(),
            order: queue_order(stats.order),
            limits: QueueLimits {
                concurrency: stats.limits.concurrency_max,
                rate: stats.limits.rate.map(queue_rate),
                ageing: stats.limits.ageing.map(format_duration),
            },
            paused: stats.paused,
            paused_reason: stats.paused_reason.clone(),
            oldest_queued_at: stats.oldest_queued_at,
            counts: Account::new(&stats.counts),
        }
    }
}

/// What bounds a queue besides its workers.
#[derive(Debug, Serialize)]
struct QueueLimits {
    concurrency: Option<u32>,
    rate: Option<String>,
    ageing: Option<String>,
}

/// A rate as it is given to `queue set`.
pub(super) fn queue_rate(rate: crate::abstraction::backend::Rate) -> String {
    format!("{}/{}", rate.count, format_duration(rate.period))
}

/// The name of a queue's order.
pub(super) const fn queue_order(order: QueueOrder) -> &'static str {
    match order {
        QueueOrder::Priority => "priority",
        QueueOrder::Fifo => "fifo",
        QueueOrder::Lifo => "lifo",
        QueueOrder::Fair => "fair",
    }
}

/// How many jobs stand where; `submitted` is the sum of the others.
#[derive(Debug, Serialize)]
struct Account {
    submitted: u64,
    scheduled: u64,
    blocked: u64,
    queued: u64,
    running: u64,
    retrying: u64,
    succeeded: u64,
    failed: u64,
    cancelled: u64,
    expired: u64,
}

impl Account {
    fn new(counts: &Counts) -> Self {
        let Counts {
            submitted,
            scheduled,
            blocked,
            queued,
            running,
            retrying,
            succeeded,
            failed,
            cancelled,
            expired,
        } = *counts;
        Self {
            submitted,
            scheduled,
            blocked,
            queued,
            running,
            retrying,
            succeeded,
            failed,
            cancelled,
            expired,
        }
    }
}

/// A worker seen by a backend.
#[derive(Debug, Serialize)]
pub(super) struct Worker {
    worker: String,
    host: String,
    pid: u32,
    queues: Vec<String>,
    running: usize,
    slots: usize,
    started_at: Timestamp,
    seen_at: Timestamp,
    alive: bool,
}

impl Worker {
    pub(super) fn new(status: &WorkerStatus) -> Self {
        Self {
            worker: status.name.clone(),
            host: status.host.clone(),
            pid: status.pid,
            queues: status.queues.iter().map(ToString::to_string).collect(),
            running: status.load.running,
            slots: status.load.slots,
            started_at: status.started_at,
            seen_at: status.seen_at,
            alive: status.alive,
        }
    }
}

/// A row of the capability matrix: field → cell.
pub(super) type Capabilities = BTreeMap<&'static str, Cell>;

/// How one field is supported, or its limit. A limit that is not set is `null`.
#[derive(Debug, Serialize)]
pub(super) struct Cell {
    pub(super) support: &'static str,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) how: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) why: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) instead: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) limit: Option<Option<u64>>,
}

/// The matrix row of one backend.
pub(super) fn capabilities(capability: &Capability) -> Capabilities {
    let features = Feature::ALL.iter().map(|feature| (feature.name(), Cell::of(capability.get(*feature))));
    let limits = Limit::ALL.iter().map(|limit| {
        (limit.name(), Cell { limit: Some(capability.limit(*limit)), ..Cell::of(&Support::Native) })
    });
    features.chain(limits).collect()
}

impl Cell {
    fn of(support: &Support) -> Self {
        let cell = |support, how, why, instead| Self { support, how, why, instead, limit: None };
        match support {
            Support::Native => cell("native", None, None, None),
            Support::Emulated { how } => cell("emulated", Some(how.to_string()), None, None),
            Support::Unsupported { why, instead } => {
                cell("unsupported", None, Some(why.to_string()), Some(instead.to_string()))
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::abstraction::codes;

    #[test]
    fn a_payload_that_is_no_json_is_described_and_never_shown() {
        let secret = Payload { content_type: "application/x-pickle".into(), bytes: "secret".into() };
        let text = serde_json::to_string(&Body::new(&secret)).unwrap();
        assert_eq!(text, r#"{"content_type":"application/x-pickle","bytes":6}"#);
        assert_eq!(serde_json::to_string(&Body::new(&Payload::json("not json"))).unwrap().find("not"), None);
    }

    #[test]
    fn large_numbers_are_printed_as_they_came() {
        let body = Body::new(&Payload::json("123456789012345678901234567890"));
        assert_eq!(serde_json::to_string(&body).unwrap(), "123456789012345678901234567890");
    }

    #[test]
    fn every_capability_has_a_cell() {
        let row = capabilities(&Capability::NONE);
        assert_eq!(row.len(), Feature::ALL.len() + Limit::ALL.len());
        assert_eq!(serde_json::to_value(&row["page_len_max"]).unwrap()["limit"], 0);
    }

    #[test]
    fn an_error_carries_code_and_hint() {
        let error = Error::new(&codes::USAGE, "read arguments", "x").hint("y").maybe_applied();
        let value = serde_json::to_value(Problem::new(&error)).unwrap();
        assert_eq!(value["error"]["code"], "E-036");
        assert_eq!(value["error"]["hint"], "y");
        assert_eq!(value["error"]["certainty"], "maybe_applied");
    }
}
