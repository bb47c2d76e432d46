//! One group commit: any number of operations, then one commit.

mod advance;
mod control;
mod enqueue;
mod inbox;
mod journal;
mod lease;
mod queues;
mod schedules;
mod tick;
mod upkeep;
mod workers;

use std::mem;
use std::sync::Arc;

use taskport_abstraction::job::StepRef;
use taskport_abstraction::{
    BatchId, Error, JobId, JobState, Outcome, QueueName, Result, RunId, Timestamp, codes,
};

pub use self::enqueue::{Enqueued, NewJob};
pub use self::lease::Claim;
pub(crate) use self::schedules::status as schedule_status;
pub use self::workers::NewWorker;
use crate::engine::{Engine, QueueEntry};
use crate::runs;
use crate::store::Store;

/// One group commit.
///
/// Each operation is all or nothing by itself. What is wrong with a request is that request's error and leaves nothing
/// behind; when the store fails, the whole transaction fails, and so does every later operation and the commit.
/// Dropped without a commit, a transaction leaves nothing behind.
#[derive(Debug)]
pub struct Transaction<'a, S: Store> {
    pub(crate) engine: &'a mut Engine<S>,
    pub(crate) now: Timestamp,
    pub(crate) changes: Committed,
    steps_ended: Vec<StepEnded>,
    pub(crate) batches_ended: Vec<BatchId>,
    /// How many jobs gates have let go on.
    pub(crate) freed: u64,
    pub(crate) broken: Option<Error>,
    open: bool,
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
    /// Whether a schedule was put, changed or removed, or has fired.
    pub schedules_changed: bool,
    /// Whether a job became ready, or a queue began to hand out jobs again.
    pub made_ready: bool,
}

impl Committed {
    /// Whether another process may wait for any of it.
    fn concerns_others(&self) -> bool {
        self.made_ready
            || !self.ended.is_empty()
            || !self.cancel_requested.is_empty()
            || !self.runs_changed.is_empty()
            || self.schedules_changed
    }
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
    pub(crate) fn new(engine: &'a mut Engine<S>, now: Timestamp) -> Self {
        Self {
            engine,
            now,
            changes: Committed::default(),
            steps_ended: Vec::new(),
            batches_ended: Vec::new(),
            freed: 0,
            broken: None,
            open: true,
        }
    }

    /// The time of the transaction.
    pub fn now(&self) -> Timestamp {
        self.now
    }

    /// Commits.
    ///
    /// # Errors
    /// Those of the store. The error's certainty says whether the transaction may have been applied.
    pub fn commit(mut self) -> Result<Committed> {
        self.run_hooks()?;
        if let Some(error) = &self.broken {
            return Err(error.clone());
        }
        self.flush_limits()?;
        self.engine.sweep_gates(self.now)?;
        self.engine.flush_queues()?;
        self.engine.store.commit(self.changes.concerns_others())?;
        self.open = false;
        Ok(mem::take(&mut self.changes))
    }

    /// Writes the gates and batches that differ.
    fn flush_limits(&mut self) -> Result<()> {
        let now = self.now;
        let flushed = self.engine.flush_gates(now).and_then(|()| self.engine.flush_batches());
        self.keep_failure(flushed)
    }

    /// Runs one verb of the store. Its failure is the transaction's.
    pub(crate) fn store<T>(&mut self, verb: impl FnOnce(&mut S) -> Result<T>) -> Result<T> {
        if let Some(error) = &self.broken {
            return Err(error.clone());
        }
        let answer = verb(&mut self.engine.store);
        self.keep_failure(answer)
    }

    /// A queue's row as it will be after the transaction.
    pub(crate) fn queue(&mut self, name: &QueueName) -> Result<&mut QueueEntry> {
        if let Some(error) = &self.broken {
            return Err(error.clone());
        }
        match self.engine.queue(name) {
            Ok(entry) => Ok(entry),
            Err(error) => {
                self.broken = Some(error.clone());
                Err(error)
            }
        }
    }

    pub(crate) fn keep_failure<T>(&mut self, answer: Result<T>) -> Result<T> {
        if let Err(error) = &answer {
            self.broken.get_or_insert_with(|| error.clone());
        }
        answer
    }

    /// Enters a move into its queue's account; `None` stands for a job that was not there before.
    pub(crate) fn count(&mut self, queue: &QueueName, from: Option<JobState>, to: JobState) -> Result<()> {
        self.count_many(queue, from, to, 1)
    }

    pub(crate) fn count_many(
        &mut self,
        queue: &QueueName,
        from: Option<JobState>,
        to: JobState,
        jobs: u64,
    ) -> Result<()> {
        if to == JobState::Queued {
            self.changes.made_ready = true;
        }
        let entry = self.queue(queue)?;
        entry.dirty = true;
        entry.exists = true;
        let frees_slot = from == Some(JobState::Running) && entry.record.limits.concurrency_max.is_some();
        let counts = &mut entry.record.counts;
        match from {
            Some(from) => take_out(counts.of_mut(from), jobs),
            None => counts.submitted += jobs,
        }
        *counts.of_mut(to) += jobs;
        if frees_slot && counts.queued > 0 {
            self.changes.made_ready = true;
        }
        Ok(())
    }

    /// Takes a job that moves to another queue out of this one's account.
    pub(crate) fn uncount(&mut self, queue: &QueueName, state: JobState) -> Result<()> {
        let entry = self.queue(queue)?;
        entry.dirty = true;
        take_out(&mut entry.record.counts.submitted, 1);
        take_out(entry.record.counts.of_mut(state), 1);
        Ok(())
    }

    /// Notes that a job has ended.
    pub(crate) fn ended(&mut self, id: JobId, state: JobState, outcome: Outcome, step: Option<StepRef>) {
        if let Some(step) = step {
            self.steps_ended.push(StepEnded { step, job: id.clone(), state, outcome: outcome.clone() });
        }
        self.changes.ended.push(Ended { id, outcome });
    }

    /// Lets runs hear of the jobs of their steps that have ended.
    pub(crate) fn run_hooks(&mut self) -> Result<()> {
        while !self.steps_ended.is_empty() {
            let ended = mem::take(&mut self.steps_ended);
            let answer = runs::on_steps_ended(self, ended);
            self.keep_failure(answer)?;
        }
        if self.batches_ended.is_empty() {
            return Ok(());
        }
        let ended = self.end_batches();
        self.keep_failure(ended)
    }

    fn find(&mut self, id: &JobId, operation: &'static str) -> Result<crate::record::JobRecord> {
        let mut job = self.store(|store| store.job(id))?;
        if job.is_none() && self.absorb_named(id)? {
            job = self.store(|store| store.job(id))?;
        }
        job.ok_or_else(|| Error::new(&codes::JOB_NOT_FOUND, operation, format!("there is no job `{id}`")))
    }
}

impl<S: Store> Drop for Transaction<'_, S> {
    fn drop(&mut self) {
        if self.open {
            self.engine.store.rollback();
            self.engine.forget_all();
        }
    }
}

/// Takes jobs out of a number that holds them. Where somebody changed the rows by hand, an account that is off is better
/// than a queue that stands still.
fn take_out(number: &mut u64, jobs: u64) {
    debug_assert!(*number >= jobs, "the account holds every job");
    *number = number.saturating_sub(jobs);
}
