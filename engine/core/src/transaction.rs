//! One group commit: any number of operations, then one commit.

use std::sync::Arc;
use std::time::Duration;

use taskport_abstraction::backend::{
    Cancellation, Delivery, Extended, Extension, QueueOrder, Settlement, Submission, WorkerLoad,
};
use taskport_abstraction::job::StepRef;
use taskport_abstraction::{
    Error, JobId, JobOptions, JobState, Outcome, QueueName, RawCall, Result, RunId, TaskName, Timestamp,
    codes,
};

use crate::engine::Engine;
use crate::store::Store;

/// One group commit.
///
/// Each operation is all or nothing by itself. What is wrong with a request is that request's error and leaves nothing
/// behind; when the store fails, the whole transaction fails and [`commit`](Self::commit) says so again.
/// Dropped without a commit, a transaction leaves nothing behind.
#[derive(Debug)]
pub struct Transaction<'a, S: Store> {
    pub(crate) engine: &'a mut Engine<S>,
    pub(crate) now: Timestamp,
    pub(crate) changes: Committed,
}

/// A job to take.
#[derive(Debug, Clone)]
pub struct NewJob {
    /// The id it is to have.
    pub id: JobId,
    /// The task and its arguments.
    pub call: RawCall,
    /// What it asks for.
    pub options: JobOptions,
    /// The step of a run it executes.
    pub step: Option<StepRef>,
}

impl From<Submission> for NewJob {
    fn from(submission: Submission) -> Self {
        Self { id: submission.id, call: submission.call, options: submission.options, step: None }
    }
}

/// What became of a [`NewJob`].
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Enqueued {
    /// The job. Under an idempotency key it may be an earlier one.
    pub id: JobId,
    /// Whether it was there before.
    pub existing: bool,
}

/// Which jobs a worker wants.
#[derive(Debug, Clone, Copy)]
pub struct Claim<'a> {
    /// The worker's name.
    pub worker: &'a str,
    /// The queues, in order of preference.
    pub queues: &'a [QueueName],
    /// How many jobs at most.
    pub max: usize,
    /// How long the leases last.
    pub lease_for: Duration,
}

/// A worker that goes on the list.
#[derive(Debug, Clone)]
pub struct NewWorker {
    /// Its name, unique among live workers.
    pub name: Arc<str>,
    /// The machine it runs on.
    pub host: String,
    /// Its process.
    pub pid: u32,
    /// The queues it serves.
    pub queues: Vec<QueueName>,
    /// The tasks it can run.
    pub tasks: Vec<TaskName>,
    /// How many attempts it can run at once.
    pub slots: usize,
    /// How long its leases last without a heartbeat.
    pub lease_for: Duration,
}

/// What a commit changed that others wait for.
#[derive(Debug, Default)]
pub struct Committed {
    /// Jobs that ended, in order of ending.
    pub ended: Vec<Ended>,
    /// Running jobs whose cancellation was asked for, with the worker that holds each.
    pub cancel_requested: Vec<(Arc<str>, JobId)>,
    /// Runs whose state or steps changed.
    pub runs_changed: Vec<RunId>,
    /// Whether a job became ready, or a queue began to hand out jobs again.
    pub made_ready: bool,
}

/// A job that ended.
#[derive(Debug, Clone, PartialEq)]
pub struct Ended {
    /// The job.
    pub id: JobId,
    /// How.
    pub outcome: Outcome,
}

/// A job of a step of a run that ended.
#[derive(Debug, Clone, PartialEq)]
pub struct StepEnded {
    /// The step.
    pub step: StepRef,
    /// The job.
    pub job: JobId,
    /// The state it ended in.
    pub state: JobState,
    /// How it ended.
    pub outcome: Outcome,
}

impl<'a, S: Store> Transaction<'a, S> {
    pub(crate) fn begin(engine: &'a mut Engine<S>, now: Timestamp) -> Result<Self> {
        Ok(Self { engine, now, changes: Committed::default() })
    }

    /// The time of the transaction.
    pub fn now(&self) -> Timestamp {
        self.now
    }

    /// Takes jobs, each with a result in order.
    ///
    /// A repeated id is the same job. Of an idempotency key, see [`Unique`](taskport_abstraction::options::Unique).
    pub fn enqueue(&mut self, jobs: Vec<NewJob>) -> Vec<Result<Enqueued>> {
        jobs.into_iter().map(|_| Err(unfinished())).collect()
    }

    /// Leases ready jobs to a worker: at most `max`, from the first queues that have some. A delivery's `upstream` is
    /// left for the caller to fill.
    ///
    /// # Errors
    /// Those of the store.
    pub fn claim(&mut self, claim: &Claim<'_>) -> Result<Vec<Delivery>> {
        let _ = claim;
        Err(unfinished())
    }

    /// Closes attempts, each with a result in order.
    ///
    /// # Errors
    /// `LeaseLost` (E-010) where the job is no longer under this lease: it was rescued, or settled before, as when the
    /// reply to a first settle was lost.
    pub fn settle(&mut self, batch: &[Settlement]) -> Vec<Result<()>> {
        batch.iter().map(|_| Err(unfinished())).collect()
    }

    /// Extends leases to `lease_for` from now and keeps progress, each with a result in order.
    ///
    /// # Errors
    /// `LeaseLost` (E-010).
    pub fn extend(&mut self, batch: &[Extension], lease_for: Duration) -> Vec<Result<Extended>> {
        let _ = lease_for;
        batch.iter().map(|_| Err(unfinished())).collect()
    }

    /// Asks for jobs to end without a result, each with a result in order.
    ///
    /// # Errors
    /// `NotFound` (E-007).
    pub fn cancel(&mut self, ids: &[JobId]) -> Vec<Result<Cancellation>> {
        ids.iter().map(|_| Err(unfinished())).collect()
    }

    /// Runs failed, cancelled and expired jobs again with fresh attempts, each with a result in order.
    ///
    /// # Errors
    /// `NotFound` (E-007), `Conflict` (E-008).
    pub fn requeue(&mut self, ids: &[JobId]) -> Vec<Result<()>> {
        ids.iter().map(|_| Err(unfinished())).collect()
    }

    /// Deletes ended jobs, each with a result in order.
    ///
    /// # Errors
    /// `NotFound` (E-007), `Conflict` (E-008).
    pub fn delete(&mut self, ids: &[JobId]) -> Vec<Result<()>> {
        ids.iter().map(|_| Err(unfinished())).collect()
    }

    /// Deletes a queue's waiting jobs and returns how many; each counts as cancelled.
    ///
    /// # Errors
    /// `NotFound` (E-035).
    pub fn purge(&mut self, queue: &QueueName) -> Result<u64> {
        let _ = queue;
        Err(unfinished())
    }

    /// Stops handing out a queue's jobs. What runs goes on.
    ///
    /// # Errors
    /// Those of the store.
    pub fn pause(&mut self, queue: &QueueName, reason: Option<&str>) -> Result<()> {
        let _ = (queue, reason);
        Err(unfinished())
    }

    /// Hands out a queue's jobs again.
    ///
    /// # Errors
    /// `NotFound` (E-035).
    pub fn resume(&mut self, queue: &QueueName) -> Result<()> {
        let _ = queue;
        Err(unfinished())
    }

    /// Sets the order in which a queue's jobs start, for those that wait too.
    ///
    /// # Errors
    /// Those of the store.
    pub fn set_order(&mut self, queue: &QueueName, order: QueueOrder) -> Result<()> {
        let _ = (queue, order);
        Err(unfinished())
    }

    /// Puts a worker on the list.
    ///
    /// # Errors
    /// Those of the store.
    pub fn register_worker(&mut self, worker: NewWorker) -> Result<()> {
        let _ = worker;
        Err(unfinished())
    }

    /// Says what a worker is doing.
    ///
    /// # Errors
    /// `NotFound` (E-007) where the worker was never registered or has been forgotten: register it again.
    pub fn heartbeat(&mut self, name: &str, load: WorkerLoad) -> Result<()> {
        let _ = (name, load);
        Err(unfinished())
    }

    /// Takes a worker off the list. What it holds lapses unless it is settled.
    ///
    /// # Errors
    /// Those of the store.
    pub fn remove_worker(&mut self, name: &str) -> Result<()> {
        let _ = name;
        Err(unfinished())
    }

    /// Does what the time calls for: starts what is due, rescues what lapsed, gives up what expired, forgets workers,
    /// ends runs out of time. Bounded; `true` says that there is more to do.
    ///
    /// # Errors
    /// Those of the store.
    pub fn tick(&mut self) -> Result<bool> {
        Err(unfinished())
    }

    /// Commits.
    ///
    /// # Errors
    /// Those of the store. The error's certainty says whether the transaction may have been applied.
    pub fn commit(self) -> Result<Committed> {
        Ok(self.changes)
    }
}

fn unfinished() -> Error {
    Error::new(&codes::INTERNAL, "engine", "unfinished")
}
