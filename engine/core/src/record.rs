//! What a store keeps: one record for each row, in the engine's terms.

mod limits;

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use taskport_abstraction::backend::{Counts, QueueLimits, QueueOrder, StepState, WorkerLoad};
use taskport_abstraction::job::{Progress, StepRef};
use taskport_abstraction::options::Priority;
use taskport_abstraction::{
    JobId, JobState, LeaseToken, Payload, QueueName, RunId, ScheduleName, StepId, TaskName, Timestamp,
};

pub use self::limits::{
    BatchRecord, CallbackRecord, GateKind, GateName, GateRecord, IN_LINE, LinePlace, Pace,
};

/// A job.
#[derive(Debug, Clone, PartialEq)]
pub struct JobRecord {
    /// The place in the order of submits; the store's key of the job.
    pub seq: i64,
    /// The job's id.
    pub id: JobId,
    /// The task it calls.
    pub task: TaskName,
    /// The line it waits in.
    pub queue: QueueName,
    /// Where it stands.
    pub state: JobState,
    /// Its priority.
    pub priority: Priority,
    /// Its place in the line: the smallest goes first.
    pub position: i64,
    /// While scheduled or retrying: when it may start. While queued: since when it may. While running: when its lease
    /// lapses. While blocked: when it might have started. After its end: nothing.
    pub due_at: Option<Timestamp>,
    /// What holds it back, while it is blocked: a gate by its id, or [`IN_LINE`].
    pub held_by: Option<i64>,
    /// Its place in the line of its ordering key, until it has ended.
    pub line: Option<LinePlace>,
    /// When it is given up unless an attempt has started.
    pub expires_at: Option<Timestamp>,
    /// The attempts so far, the running one included.
    pub attempt: u32,
    /// The token of its newest lease; 0 before the first.
    pub token: LeaseToken,
    /// The worker of its newest lease.
    pub worker: Option<Arc<str>>,
    /// Whether its running attempt is to stop.
    pub cancel_requested: bool,
    /// When it was submitted.
    pub submitted_at: Timestamp,
    /// When its newest attempt started.
    pub started_at: Option<Timestamp>,
    /// When it ended.
    pub finished_at: Option<Timestamp>,
    /// Its arguments.
    pub arguments: Payload,
    /// Its options in their stored form, where they are not the default.
    pub options: Option<Bytes>,
    /// Its tags in the form of [`tags_text`], where it has some.
    pub tags: Option<Arc<str>>,
    /// Its result, where it succeeded.
    pub result: Option<Payload>,
    /// Why it ended or why its last attempt failed, in the stored form of a failure.
    pub failure: Option<Bytes>,
    /// The running attempt's last report.
    pub progress: Option<Progress>,
    /// The step of a run it executes.
    pub step: Option<StepRef>,
}

impl JobRecord {
    /// Whether it waits for those before it in the line of its ordering key.
    pub fn is_in_line(&self) -> bool {
        self.held_by == Some(IN_LINE)
    }
}

/// The text a job's tags are searched in: each as a JSON string on a line of its own, so that
/// [`tag_needle`] finds whole tags only.
pub fn tags_text(tags: &[Arc<str>]) -> Option<Arc<str>> {
    let mut text = String::new();
    for tag in tags {
        text.push_str(&tag_needle(tag));
    }
    (!text.is_empty()).then(|| text.into())
}

/// What stands in [`tags_text`] for one tag.
pub fn tag_needle(tag: &str) -> String {
    format!("\n{}\n", serde_json::Value::from(tag))
}

/// A queue.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct QueueRecord {
    /// Its name.
    pub name: QueueName,
    /// The order in which its jobs start.
    pub order: QueueOrder,
    /// What bounds it besides its workers.
    pub limits: QueueLimits,
    /// How far it has come.
    pub pace: Pace,
    /// Whether it hands out no jobs.
    pub paused: bool,
    /// Why.
    pub paused_reason: Option<String>,
    /// Its account.
    pub counts: Counts,
}

impl QueueRecord {
    /// An empty queue that hands out jobs by priority.
    pub fn new(name: QueueName) -> Self {
        Self {
            name,
            order: QueueOrder::default(),
            limits: QueueLimits::default(),
            pace: Pace::default(),
            paused: false,
            paused_reason: None,
            counts: Counts::default(),
        }
    }
}

/// For which job an idempotency key stands.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct KeyRecord {
    /// The key.
    pub key: Arc<str>,
    /// The job.
    pub job: JobId,
    /// Until when; `None` says until the job has ended.
    pub until: Option<Timestamp>,
}

/// A worker.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct WorkerRecord {
    /// Its name.
    pub name: Arc<str>,
    /// The machine it runs on.
    pub host: String,
    /// Its process.
    pub pid: u32,
    /// The queues it serves.
    pub queues: Vec<QueueName>,
    /// The tasks it can run.
    pub tasks: Vec<TaskName>,
    /// How long its leases last without a heartbeat.
    pub lease_for: Duration,
    /// What it was doing at its last heartbeat.
    pub load: WorkerLoad,
    /// When it started.
    pub started_at: Timestamp,
    /// Its last heartbeat.
    pub seen_at: Timestamp,
    /// When it is taken off the list unless it gives a heartbeat.
    pub forget_at: Timestamp,
}

/// A run of a workflow.
#[derive(Debug, Clone, PartialEq)]
pub struct RunRecord {
    /// The place in the order of starts; the store's key of the run. 0 lets the store choose.
    pub seq: i64,
    /// The run's id.
    pub id: RunId,
    /// The workflow's name.
    pub workflow: Arc<str>,
    /// The definition it runs by, in its stored form.
    pub definition: Bytes,
    /// The SHA-256 of `definition`.
    pub definition_hash: [u8; 32],
    /// The input.
    pub input: Payload,
    /// The trace it is part of.
    pub trace: Option<Arc<str>>,
    /// `Running`, or how it ended.
    pub state: JobState,
    /// Whether somebody asked for it to be cancelled.
    pub cancel_requested: bool,
    /// When it started.
    pub started_at: Timestamp,
    /// When it fails unless it has ended.
    pub deadline: Option<Timestamp>,
    /// While it runs: when it is to be looked at again, which is its deadline, or at once where it has more to do than
    /// fits one transaction.
    pub due_at: Option<Timestamp>,
    /// Grows with every transaction that changes the run or a step of it.
    pub version: i64,
    /// When it ended.
    pub finished_at: Option<Timestamp>,
    /// Its output, where it succeeded.
    pub output: Option<Payload>,
    /// Why it has no output, in the stored form of a failure.
    pub failure: Option<Bytes>,
}

/// A step of a run.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct StepRecord {
    /// The place in the definition's list of steps.
    pub index: u32,
    /// Where it stands.
    pub state: StepState,
    /// How many jobs it has: 1, or the length of its fan-out once that is known.
    pub total: u64,
    /// How many of them have been submitted.
    pub submitted: u64,
    /// How many have ended well.
    pub succeeded: u64,
    /// How many have ended badly.
    pub failed: u64,
    /// When its first job was submitted.
    pub started_at: Option<Timestamp>,
    /// When its last job ended.
    pub finished_at: Option<Timestamp>,
    /// What the interpreter keeps about it.
    pub data: Option<Bytes>,
    /// The version of the run that wrote it last.
    pub version: i64,
}

/// What a run needs to know of one of its jobs.
#[derive(Debug, Clone, PartialEq)]
pub struct StepJob {
    /// The job.
    pub id: JobId,
    /// The step.
    pub step: StepId,
    /// The place in the step's list, where it is a fan-out.
    pub index: Option<u32>,
    /// Where it stands.
    pub state: JobState,
    /// Its result, where it succeeded.
    pub result: Option<Payload>,
}

/// A schedule.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ScheduleRecord {
    /// Its name, the store's key of it.
    pub name: ScheduleName,
    /// Its definition but for the arguments, in its stored form.
    pub definition: Bytes,
    /// The arguments of its jobs.
    pub arguments: Payload,
    /// Whether it rests.
    pub paused: bool,
    /// Why.
    pub paused_reason: Option<String>,
    /// Its next tick, unless it rests or has none.
    pub next_at: Option<Timestamp>,
    /// No tick at this moment or before it fires any more.
    pub settled_until: Option<Timestamp>,
    /// The tick that fired last.
    pub last_at: Option<Timestamp>,
    /// The job of that tick.
    pub last_job: Option<JobId>,
    /// How many ticks have fired.
    pub fired: u64,
    /// How many ticks came to nothing.
    pub missed: u64,
    /// Why the last tick submitted nothing, where it did not.
    pub problem: Option<String>,
    /// When it was first put.
    pub created_at: Timestamp,
    /// When its definition last changed.
    pub updated_at: Timestamp,
}
