//! What an adapter implements. Every trait is object-safe and has no default methods, so that a wrapper which forgets
//! to forward one does not compile; later abilities come as new optional traits.

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use futures_core::stream::BoxStream;
use serde::Serialize;

use crate::batch::Batches;
use crate::call::RawCall;
use crate::capability::Capability;
use crate::context::{AttemptControl, Upstream};
use crate::error::Result;
use crate::id::{BackendName, JobId, JobRef, LeaseToken, QueueName, RunId, StepId, TaskName};
use crate::job::{Failure, JobState, JobStatus, Outcome, Progress, StepRef};
use crate::journal::{Journal, TimedNote};
use crate::maintenance::Maintenance;
use crate::options::JobOptions;
use crate::outbox::Transactional;
use crate::payload::Payload;
use crate::schedule::Schedules;
use crate::task::BoxFuture;
use crate::time::Timestamp;
use crate::workflow::WorkflowDefinition;

/// A configured task queue.
#[async_trait]
pub trait Backend: Send + Sync + fmt::Debug {
    /// The name it has in the configuration.
    fn name(&self) -> &BackendName;

    /// The kind of adapter, such as `native`.
    fn kind(&self) -> &'static str;

    /// What it can do for one task and queue. Every submit asks, so the answer is shared and not copied.
    fn capabilities(&self, scope: Scope<'_>) -> Arc<Capability>;

    /// Submits jobs and returns a result for each, in order.
    ///
    /// # Delivery
    /// After `Ok` the job is durably taken (I2). A repeated submit of one id is the same job.
    ///
    /// # Errors
    /// `Unsupported` and `InvalidInput` before any I/O; `Unavailable` says by its certainty whether the job may have
    /// been taken.
    ///
    /// # Cancel safety
    /// Dropping the future leaves the outcome unknown, as a time-out does.
    async fn submit(&self, batch: Vec<Submission>) -> Vec<Result<Receipt>>;

    /// What is known of each job, in order; `None` where the backend knows of none.
    async fn get(&self, ids: &[JobId]) -> Result<Vec<Option<JobStatus>>>;

    /// The outcome of each job as it ends, each once, in order of ending. A job that does not exist yields `NotFound`
    /// (E-007). The stream ends when every job has been yielded.
    fn wait(&self, ids: Vec<JobId>) -> BoxStream<'static, (JobId, Result<Outcome>)>;

    /// Asks for each job to end without a result, and says for each, in order, what came of it.
    async fn cancel(&self, ids: &[JobId]) -> Vec<Result<Cancellation>>;

    /// A worker that takes jobs from the queues of `spec`.
    ///
    /// # Errors
    /// `Unsupported` where the backend cannot serve the specification.
    fn worker(&self, spec: WorkerSpec) -> Result<Box<dyn Worker>>;

    /// Workflows, where the backend runs them by itself.
    fn workflows(&self) -> Option<&dyn Workflows>;

    /// Administration, where the backend allows it.
    fn admin(&self) -> Option<&dyn Admin>;

    /// Schedules, where the backend fires them by itself.
    fn schedules(&self) -> Option<&dyn Schedules>;

    /// Batches, where the backend keeps them.
    fn batches(&self) -> Option<&dyn Batches>;

    /// What jobs say while they run, where the backend keeps it.
    fn journal(&self) -> Option<&dyn Journal>;

    /// Submitting within the user's own transaction, where the backend lives in a database.
    fn transactional(&self) -> Option<&dyn Transactional>;

    /// Upkeep, where the backend keeps its own data.
    fn maintenance(&self) -> Option<&dyn Maintenance>;

    /// Whether it can work now.
    async fn health(&self) -> Result<Health>;

    /// Finishes what was accepted and lets go of every resource. Later calls answer `Unavailable` (E-030).
    async fn close(&self) -> Result<()>;
}

/// What a capability is asked for.
#[derive(Debug, Clone, Copy, Default)]
pub struct Scope<'a> {
    /// One task, or any.
    pub task: Option<&'a TaskName>,
    /// One queue, or any.
    pub queue: Option<&'a QueueName>,
}

/// One job to submit.
#[derive(Debug, Clone)]
pub struct Submission {
    /// The id the job is to have.
    pub id: JobId,
    /// The task and its arguments.
    pub call: RawCall,
    /// What the job asks for.
    pub options: JobOptions,
}

/// What became of a submit.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Receipt {
    /// Where the job lives. Under an idempotency key it may be an earlier job.
    pub job: JobRef,
    /// Whether the job was there before.
    pub existing: bool,
}

/// What became of a cancel.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Cancellation {
    /// It had not started and never will.
    Cancelled,
    /// It runs; its attempt has been asked to stop.
    Requested,
    /// It had already ended.
    AlreadyEnded(JobState),
}

/// Whether a backend can work now.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Health {
    /// The version of the server, library or file format behind it.
    pub version: String,
    /// Settings weaker than the adapter's promises need, each in one line. Empty where all is well.
    pub degraded: Vec<String>,
}

/// A running worker: takes jobs, has them executed, settles them.
#[async_trait]
pub trait Worker: Send {
    /// Works until `shutdown` says drain; then finishes what runs and hands back the rest.
    ///
    /// # Errors
    /// Only those that no reconnect can mend.
    async fn run(
        self: Box<Self>,
        executor: Arc<dyn Executor>,
        shutdown: Arc<dyn Shutdown>,
    ) -> Result<WorkerReport>;
}

/// When a worker is to stop.
pub trait Shutdown: Send + Sync + fmt::Debug {
    /// The phase now.
    fn phase(&self) -> Phase;
    /// Resolves when the phase is `phase` or a later one.
    fn reached(&self, phase: Phase) -> BoxFuture<'static, ()>;
}

/// How far a shutdown has come.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Phase {
    /// Work as usual.
    Running,
    /// Take no more; finish what runs.
    Draining,
    /// Hand back what still runs, at once.
    Aborting,
}

/// What a worker is to serve.
#[derive(Debug, Clone)]
pub struct WorkerSpec {
    /// Its name, unique among live workers.
    pub name: Arc<str>,
    /// The queues, in order of preference.
    pub queues: Vec<QueueName>,
    /// The tasks it can run.
    pub tasks: Vec<TaskName>,
    /// How many attempts run at once. At least 1.
    pub concurrency: usize,
    /// How many jobs may wait in the worker beyond those that run.
    pub prefetch: usize,
    /// How long a lease lasts without a heartbeat.
    pub lease_for: Duration,
    /// How long running attempts may go on after a drain begins.
    pub grace: Duration,
}

/// What a worker did until it stopped.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize)]
pub struct WorkerReport {
    /// Attempts that succeeded.
    pub succeeded: u64,
    /// Attempts that failed, to be retried or for good.
    pub failed: u64,
    /// Attempts that ended because a cancel was asked for.
    pub cancelled: u64,
    /// Jobs handed back without using up an attempt.
    pub released: u64,
    /// Outcomes refused because the lease had passed on.
    pub refused: u64,
}

/// Runs one attempt. The same executor serves every backend.
pub trait Executor: Send + Sync + fmt::Debug {
    /// Runs the attempt under its limits and says how it is to be settled. Never panics (I9).
    fn execute(&self, attempt: Attempt) -> BoxFuture<'static, Verdict>;

    /// Takes note of what the worker does between attempts. Returns at once.
    fn observe(&self, event: WorkerEvent);
}

/// What a worker does between attempts, for whoever counts it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum WorkerEvent {
    /// One request brought so many jobs.
    Claimed(usize),
    /// A request for jobs failed.
    ClaimFailed,
    /// So many leases were extended.
    Extended(usize),
    /// A request to extend leases failed.
    ExtendFailed,
    /// So many leases had passed on before they could be extended.
    LeasesLost(usize),
    /// So many outcomes were stored.
    Stored(usize),
    /// So many outcomes were refused for good.
    Refused(usize),
    /// So many outcomes could not be stored and are sent again.
    StoreFailed(usize),
}

/// One attempt, ready to run.
#[derive(Debug)]
pub struct Attempt {
    /// What is to be run.
    pub delivery: Delivery,
    /// The line to the handler.
    pub control: Arc<dyn AttemptControl>,
}

/// How an attempt is to be settled.
#[derive(Debug, Clone, PartialEq)]
pub enum Verdict {
    /// Done, with this result.
    Ack(Payload),
    /// Failed; try again after `after`, or by the policy, unless the attempts are used up.
    Retry {
        /// Why.
        failure: Failure,
        /// The delay the handler asked for.
        after: Option<Duration>,
    },
    /// Failed for good.
    Reject(Failure),
    /// Ended because a cancel was asked for.
    Cancelled(Failure),
    /// Handed back without using up the attempt.
    Release,
}

/// The pulling half of a backend: what `taskport-worker` needs to run its loop.
#[async_trait]
pub trait Consumer: Send + Sync + fmt::Debug {
    /// Waits for work and returns between 1 and `max` jobs, each under a lease; or none where the consumer is closed.
    ///
    /// # Cancel safety
    /// Jobs claimed for a dropped future are handed back at once, without using up an attempt.
    async fn fetch(&self, max: usize) -> Result<Vec<Delivery>>;

    /// Closes attempts, each with a result in order. `Ok` means that the outcome is durable (I1).
    ///
    /// # Errors
    /// `LeaseLost` where the lease has passed on (I3); `Unavailable` is worth repeating.
    async fn settle(&self, batch: Vec<Settlement>) -> Vec<Result<()>>;

    /// Extends leases by their original length and hands over progress, each with a result in order.
    ///
    /// # Errors
    /// `LeaseLost` where the lease has passed on.
    async fn extend(&self, batch: Vec<Extension>) -> Result<Vec<Result<Extended>>>;

    /// Jobs whose cancellation was asked for while this consumer holds them. Ends when the consumer is closed.
    fn cancellations(&self) -> BoxStream<'static, JobId>;

    /// Says what the worker is doing, for `workers`.
    async fn heartbeat(&self, load: WorkerLoad) -> Result<()>;

    /// Takes the worker off the list and lets go of every resource.
    async fn close(&self) -> Result<()>;
}

/// One job under a lease.
#[derive(Debug, Clone)]
pub struct Delivery {
    /// The right to run it.
    pub lease: Lease,
    /// The task and its arguments.
    pub call: RawCall,
    /// The queue it came from.
    pub queue: QueueName,
    /// The number of this attempt, from 1.
    pub attempt: u32,
    /// When it was submitted.
    pub submitted_at: Timestamp,
    /// What the submit asked for.
    pub options: Arc<JobOptions>,
    /// The step of a run it executes.
    pub step: Option<StepRef>,
    /// The results of the run's earlier steps.
    pub upstream: Option<Arc<dyn Upstream>>,
}

/// A time-bound right to run one attempt.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Lease {
    /// The job.
    pub job: JobId,
    /// Grows with every lease of the job.
    pub token: LeaseToken,
    /// When it lapses unless extended.
    pub expires_at: Timestamp,
    /// The adapter's own handle of the delivery.
    pub receipt: u64,
}

/// How one attempt ended.
#[derive(Debug, Clone)]
pub struct Settlement {
    /// The right under which it ran.
    pub lease: Lease,
    /// How it ended.
    pub verdict: Verdict,
}

/// A lease to extend.
#[derive(Debug, Clone)]
pub struct Extension {
    /// The lease.
    pub lease: Lease,
    /// The newest progress report.
    pub progress: Option<Progress>,
    /// What the attempt has said since the last extension, in order.
    pub notes: Vec<TimedNote>,
}

/// A lease that was extended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Extended {
    /// When it lapses now.
    pub expires_at: Timestamp,
    /// Whether somebody asked for the job to be cancelled.
    pub cancel_requested: bool,
}

/// What a worker is doing.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize)]
pub struct WorkerLoad {
    /// Attempts that run.
    pub running: usize,
    /// Attempts it could run at once.
    pub slots: usize,
}

/// A worker as others see it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct WorkerStatus {
    /// Its name.
    pub name: String,
    /// The machine it runs on.
    pub host: String,
    /// Its process.
    pub pid: u32,
    /// The queues it serves.
    pub queues: Vec<QueueName>,
    /// The tasks it can run.
    pub tasks: Vec<TaskName>,
    /// What it was doing at its last heartbeat.
    pub load: WorkerLoad,
    /// When it started.
    pub started_at: Timestamp,
    /// Its last heartbeat.
    pub seen_at: Timestamp,
    /// Whether the heartbeat is recent enough for its leases to hold.
    pub alive: bool,
}

/// Administration of a backend.
#[async_trait]
pub trait Admin: Send + Sync {
    /// Every queue that holds, or ever held, a job.
    async fn queues(&self) -> Result<Vec<QueueStats>>;
    /// Stops handing out a queue's jobs. What runs goes on.
    async fn pause(&self, queue: &QueueName, reason: Option<&str>) -> Result<()>;
    /// Hands out a queue's jobs again.
    async fn resume(&self, queue: &QueueName) -> Result<()>;
    /// Deletes a queue's waiting jobs and returns how many; each counts as cancelled.
    async fn purge(&self, queue: &QueueName) -> Result<u64>;
    /// Sets the order in which a queue's jobs start, for those that wait too.
    async fn set_order(&self, queue: &QueueName, order: QueueOrder) -> Result<()>;
    /// Sets the limits of a queue, all of them at once.
    async fn set_limits(&self, queue: &QueueName, limits: QueueLimits) -> Result<()>;
    /// One page of jobs, newest first.
    async fn jobs(&self, filter: JobFilter, page: PageRequest) -> Result<Page<JobStatus>>;
    /// Runs ended jobs again under their ids with fresh attempts, each with a result in order.
    async fn requeue(&self, ids: &[JobId]) -> Vec<Result<()>>;
    /// Deletes ended jobs, each with a result in order.
    async fn delete(&self, ids: &[JobId]) -> Vec<Result<()>>;
    /// Every worker that has not gone or been forgotten.
    async fn workers(&self) -> Result<Vec<WorkerStatus>>;
}

/// A queue as others see it.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct QueueStats {
    /// The queue.
    pub name: QueueName,
    /// The order in which jobs start.
    pub order: QueueOrder,
    /// Its limits.
    pub limits: QueueLimits,
    /// Whether it hands out jobs.
    pub paused: bool,
    /// Why it does not.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub paused_reason: Option<String>,
    /// How many jobs stand in each state, and how many were ever submitted.
    pub counts: Counts,
    /// When the oldest waiting job became ready.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub oldest_queued_at: Option<Timestamp>,
}

/// An account of jobs: `submitted` is the sum of all the others.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize)]
pub struct Counts {
    /// Jobs ever submitted.
    pub submitted: u64,
    /// Jobs that wait for their time.
    pub scheduled: u64,
    /// Jobs that wait for something other than time.
    pub blocked: u64,
    /// Jobs that wait for a worker.
    pub queued: u64,
    /// Jobs that run.
    pub running: u64,
    /// Jobs that wait for their next attempt.
    pub retrying: u64,
    /// Jobs ended with a result, deleted ones included.
    pub succeeded: u64,
    /// Jobs ended for good without one, deleted ones included.
    pub failed: u64,
    /// Jobs ended because somebody asked, deleted ones included.
    pub cancelled: u64,
    /// Jobs given up because they had not started in time, deleted ones included.
    pub expired: u64,
}

impl Counts {
    /// How many jobs stand in each state that is counted, in the order of [`JobState::ALL`].
    pub const fn by_state(&self) -> [(JobState, u64); 9] {
        [
            (JobState::Scheduled, self.scheduled),
            (JobState::Blocked, self.blocked),
            (JobState::Queued, self.queued),
            (JobState::Running, self.running),
            (JobState::Retrying, self.retrying),
            (JobState::Succeeded, self.succeeded),
            (JobState::Failed, self.failed),
            (JobState::Cancelled, self.cancelled),
            (JobState::Expired, self.expired),
        ]
    }

    /// The number of jobs in one state, to be changed. Whoever changes it keeps `submitted` the sum.
    ///
    /// # Panics
    /// Where the state is unknown: who keeps an account knows where its jobs stand.
    pub const fn of_mut(&mut self, state: JobState) -> &mut u64 {
        match state {
            JobState::Scheduled => &mut self.scheduled,
            JobState::Blocked => &mut self.blocked,
            JobState::Queued => &mut self.queued,
            JobState::Running => &mut self.running,
            JobState::Retrying => &mut self.retrying,
            JobState::Succeeded => &mut self.succeeded,
            JobState::Failed => &mut self.failed,
            JobState::Cancelled => &mut self.cancelled,
            JobState::Expired => &mut self.expired,
            JobState::Unknown => panic!("who keeps an account knows where its jobs stand"),
        }
    }

    /// How many jobs wait to start, for the first time or again.
    pub const fn waiting(&self) -> u64 {
        self.scheduled + self.blocked + self.queued + self.retrying
    }

    /// How many jobs have not ended.
    pub const fn live(&self) -> u64 {
        self.waiting() + self.running
    }
}

/// The order in which a queue's jobs start.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default, Serialize, serde::Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum QueueOrder {
    /// Higher priority first, then oldest first.
    #[default]
    Priority,
    /// Oldest first, whatever the priority.
    Fifo,
    /// Newest first, whatever the priority.
    Lifo,
    /// In proportion to the weights of the jobs' [`FairShare`](crate::options::FairShare)s, oldest first within each;
    /// jobs without one share as one key of weight 1. Priority does not count.
    Fair,
}

/// What bounds a queue besides the number of its workers.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, serde::Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct QueueLimits {
    /// How many of its jobs run at once, over all workers.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub concurrency_max: Option<u32>,
    /// At what rate its jobs start, over all workers.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub rate: Option<Rate>,
    /// In priority order: by how much longer wait a job makes up for one level of priority.
    #[serde(with = "crate::options::optional_duration", skip_serializing_if = "Option::is_none")]
    pub ageing: Option<Duration>,
}

/// A bucket of `count` tokens that refills evenly in `period`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, serde::Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Rate {
    /// How many.
    pub count: u32,
    /// In how long.
    #[serde(with = "crate::options::duration_micros")]
    pub period: Duration,
}

/// Which jobs to list. Every condition given must hold.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct JobFilter {
    /// In this state.
    pub state: Option<JobState>,
    /// In this queue.
    pub queue: Option<QueueName>,
    /// Of this task.
    pub task: Option<TaskName>,
    /// With this tag.
    pub tag: Option<String>,
    /// Of this run.
    pub run: Option<RunId>,
}

/// Which page of a listing.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PageRequest {
    /// Where the page before ended.
    pub after: Option<Cursor>,
    /// How many, at most the capability's `page_len_max`.
    pub len: usize,
}

/// Where a page ended. Opaque, and only good for the backend that made it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, serde::Deserialize)]
#[serde(transparent)]
pub struct Cursor(pub String);

/// One page of a listing.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Page<T> {
    /// What stands on it.
    pub items: Vec<T>,
    /// Where to go on, where there is more.
    pub next: Option<Cursor>,
}

/// Workflows a backend runs by itself.
#[async_trait]
pub trait Workflows: Send + Sync {
    /// Starts runs and returns once each is durably taken, with a result in order. A repeated start of one id is the
    /// same run. The run keeps the definition it started with.
    async fn start(&self, batch: Vec<RunRequest>) -> Vec<Result<RunId>>;
    /// What is known of a run.
    async fn get(&self, run: &RunId) -> Result<Option<RunStatus>>;
    /// The state of a run each time it changes, ending with its end. States in between may be left out.
    fn watch(&self, run: RunId) -> BoxStream<'static, Result<RunStatus>>;
    /// Cancels a run: steps that wait never start, those that run are asked to stop.
    async fn cancel(&self, run: &RunId) -> Result<Cancellation>;
    /// One page of runs, newest first.
    async fn list(&self, filter: RunFilter, page: PageRequest) -> Result<Page<RunStatus>>;
}

/// One run to start.
#[derive(Debug, Clone)]
pub struct RunRequest {
    /// The id the run is to have.
    pub id: RunId,
    /// The definition.
    pub definition: Arc<WorkflowDefinition>,
    /// The input, JSON.
    pub input: Payload,
    /// The trace the run is part of.
    pub trace: Option<crate::options::TraceContext>,
}

/// Which runs to list. Every condition given must hold.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct RunFilter {
    /// Of this workflow.
    pub workflow: Option<String>,
    /// In this state.
    pub state: Option<JobState>,
}

/// A run as others see it.
#[derive(Debug, Clone, PartialEq)]
pub struct RunStatus {
    /// The run.
    pub id: RunId,
    /// The workflow.
    pub workflow: String,
    /// `Running`, or how it ended.
    pub state: JobState,
    /// When it started.
    pub started_at: Timestamp,
    /// When it ended.
    pub finished_at: Option<Timestamp>,
    /// The output, or why there is none.
    pub outcome: Option<Outcome>,
    /// The steps, in declared order.
    pub steps: Vec<StepStatus>,
    /// The definition it runs by.
    pub definition: Arc<WorkflowDefinition>,
}

/// A step of a run as others see it.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct StepStatus {
    /// The step.
    pub id: StepId,
    /// Where it stands.
    pub state: StepState,
    /// How many jobs it has: 1, or the length of its fan-out once that is known.
    pub total: u64,
    /// How many of them have ended well.
    pub succeeded: u64,
    /// How many of them have ended badly.
    pub failed: u64,
    /// When its first job was submitted.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub started_at: Option<Timestamp>,
    /// When its last job ended.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub finished_at: Option<Timestamp>,
    /// Why it, or the first of its list, failed.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub failure: Option<Failure>,
}

/// Where a step of a run stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, serde::Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum StepState {
    /// Waits for the steps it depends on.
    Waiting,
    /// Its jobs wait or run.
    Running,
    /// Ended well.
    Succeeded,
    /// Ended badly.
    Failed,
    /// Left out by its condition or by what it depends on.
    Skipped,
    /// Ended because the run was cancelled or had failed.
    Cancelled,
}

impl StepState {
    /// Whether the step has ended.
    pub const fn is_terminal(self) -> bool {
        !matches!(self, Self::Waiting | Self::Running)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_account_names_each_state_but_the_unknown_once() {
        let mut counts = Counts::default();
        let known = JobState::ALL.iter().filter(|state| **state != JobState::Unknown);
        for (bit, state) in known.clone().enumerate() {
            *counts.of_mut(*state) += 1 << bit;
        }
        let expected: Vec<_> = known.enumerate().map(|(bit, state)| (*state, 1 << bit)).collect();
        assert_eq!(counts.by_state().to_vec(), expected);
        assert_eq!((counts.scheduled, counts.running, counts.expired), (1 << 0, 1 << 3, 1 << 8));
        let sum = |chosen: fn(JobState) -> bool| -> u64 {
            expected.iter().filter(|(state, _)| chosen(*state)).map(|(_, jobs)| jobs).sum()
        };
        assert_eq!(counts.waiting(), sum(JobState::is_waiting));
        assert_eq!(counts.live(), sum(|state| !state.is_terminal()));
        assert_eq!(counts.submitted, 0, "the sum is the keeper's to change");
    }
}
