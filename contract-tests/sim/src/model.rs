//! What was promised: each answer of the engine is compared with what it had to be, and remembered.
//!
//! The model is told of an operation while its transaction is open, and takes everything back where the transaction comes
//! to nothing. It is told by the simulation whether a transaction counts, which the engine sometimes cannot know.

mod audit;
mod gates;
mod keys;
mod leases;

pub(crate) use self::audit::Rows;
pub(crate) use self::leases::ROWS_MAX;
use std::sync::Arc;

use taskport_abstraction::backend::{Cancellation, Counts, QueueLimits, QueueOrder};
use taskport_abstraction::codes::Code;
use taskport_abstraction::options::{Idempotency, Unique};
use taskport_abstraction::{JobId, JobState, Payload, QueueName, Result as Answer, RunId, Timestamp, codes};
use taskport_engine::record::JobRecord;

use self::gates::{Bounds, Bucket};
use crate::book::Book;
use crate::broken::{Broken, hold};

/// What is remembered of everything that counts.
#[derive(Debug, Default)]
pub(crate) struct Model {
    jobs: Book<JobId, Job>,
    /// Deleted and purged jobs.
    erased: Book<JobId, ()>,
    keys: Book<Arc<str>, Key>,
    queues: Book<QueueName, Queue>,
    buckets: Book<Arc<str>, Bucket>,
    /// How runs ended, and whether jobs of theirs were deleted since.
    runs: Book<RunId, Run>,
}

/// A job that was taken.
#[derive(Debug, Clone, Default)]
struct Job {
    /// The token of its newest lease.
    token: u64,
    /// The store's key of it, which an older job of its id did not have.
    receipt: u64,
    /// That lease, while it holds.
    lease: Option<Lease>,
    end: Option<End>,
    cancel_asked: bool,
    key: Option<Idempotency>,
    /// What may let others go first.
    bounds: Bounds,
    /// It was asked to run again, or replaced, and its place among others of its key is not known.
    displaced: bool,
}

#[derive(Debug, Clone, Copy)]
struct Lease {
    until: Timestamp,
    /// Its time was over when somebody looked, and it may have been taken away.
    lapsed: bool,
}

#[derive(Debug, Clone, PartialEq)]
struct End {
    state: JobState,
    result: Option<Payload>,
}

impl End {
    fn without_result(state: JobState) -> Self {
        Self { state, result: None }
    }
}

/// For which job a key stands.
#[derive(Debug, Clone)]
struct Key {
    job: JobId,
    until: Option<Timestamp>,
    /// Its time was over by some process's clock, and it may have been forgotten.
    forgotten: bool,
}

#[derive(Debug, Clone, Default)]
struct Queue {
    paused: bool,
    order: QueueOrder,
    limits: QueueLimits,
    /// Jobs that were deleted, by the state they count as.
    erased: Counts,
}

#[derive(Debug, Clone, Default)]
struct Run {
    end: Option<JobState>,
    erased: bool,
}

impl Model {
    /// The transaction counts.
    pub(crate) fn commit(&mut self) {
        self.jobs.commit();
        self.erased.commit();
        self.keys.commit();
        self.queues.commit();
        self.buckets.commit();
        self.runs.commit();
    }

    /// The transaction has come to nothing.
    pub(crate) fn rollback(&mut self) {
        self.jobs.rollback();
        self.erased.rollback();
        self.keys.rollback();
        self.queues.rollback();
        self.buckets.rollback();
        self.runs.rollback();
    }

    /// Whether a job was deleted or purged at some time.
    pub(crate) fn was_erased(&self, id: &JobId) -> bool {
        self.erased.get(id).is_some()
    }

    /// What a cancel had to answer, from the row before.
    pub(crate) fn cancelled(
        &mut self,
        id: &JobId,
        row: Option<&JobRecord>,
        answer: &Answer<Cancellation>,
    ) -> Result<(), Broken> {
        let Some(row) = row else { return refused("cancel", id, answer, &codes::JOB_NOT_FOUND) };
        let expected = match row.state {
            JobState::Running => Cancellation::Requested,
            state if state.is_terminal() => Cancellation::AlreadyEnded(state),
            _ => Cancellation::Cancelled,
        };
        hold!(answer.as_ref().ok() == Some(&expected), "cancel", "{id} is {}: {answer:?}", row.state);
        let mut job = self.known(row);
        match expected {
            Cancellation::Requested => job.cancel_asked = true,
            Cancellation::Cancelled => job.end = Some(End::without_result(JobState::Cancelled)),
            Cancellation::AlreadyEnded(_) => {}
        }
        self.jobs.put(id.clone(), job);
        Ok(())
    }

    /// What a requeue had to answer, from the row before and from whether its key stands for another live job.
    pub(crate) fn requeued(
        &mut self,
        id: &JobId,
        row: Option<&JobRecord>,
        key_taken: bool,
        answer: &Answer<()>,
    ) -> Result<(), Broken> {
        let Some(row) = row else { return refused("requeue", id, answer, &codes::JOB_NOT_FOUND) };
        if row.step.is_some() {
            return refused("requeue", id, answer, &codes::JOB_CONFLICT);
        }
        let key = self.jobs.get(id).and_then(|job| job.key.clone());
        let key = key.filter(|key| key.unique == Unique::WhileLive);
        if key.is_some() && key_taken {
            return refused("requeue", id, answer, &codes::IDEMPOTENCY);
        }
        if !matches!(row.state, JobState::Failed | JobState::Cancelled | JobState::Expired) {
            return refused("requeue", id, answer, &codes::JOB_CONFLICT);
        }
        hold!(answer.is_ok(), "requeue", "{id} is {}: {answer:?}", row.state);
        self.jobs.change(id, |job| (job.end, job.cancel_asked, job.displaced) = (None, false, true));
        if let Some(key) = key {
            self.keys.put(key.key, Key { job: id.clone(), until: None, forgotten: false });
        }
        Ok(())
    }

    /// What a delete had to answer, from the row before and from whether its run goes on.
    pub(crate) fn deleted(
        &mut self,
        id: &JobId,
        row: Option<&JobRecord>,
        run_goes_on: bool,
        answer: &Answer<()>,
    ) -> Result<(), Broken> {
        let Some(row) = row else { return refused("delete", id, answer, &codes::JOB_NOT_FOUND) };
        if !row.state.is_terminal() || run_goes_on {
            return refused("delete", id, answer, &codes::JOB_CONFLICT);
        }
        hold!(answer.is_ok(), "delete", "{id} is {}: {answer:?}", row.state);
        self.erase(row, row.state);
        Ok(())
    }

    /// What a purge had to answer, from the jobs that waited before.
    pub(crate) fn purged(
        &mut self,
        queue: &QueueName,
        waiting: &[JobRecord],
        answer: &Answer<u64>,
    ) -> Result<(), Broken> {
        let count = waiting.len() as u64;
        hold!(answer.as_ref().ok() == Some(&count), "purge", "{queue} has {count} waiting: {answer:?}");
        for row in waiting {
            if row.step.is_none() {
                self.erase(row, JobState::Cancelled);
            } else {
                let end = Some(End::without_result(JobState::Cancelled));
                let job = Job { end, ..self.known(row) };
                self.jobs.put(row.id.clone(), job);
            }
        }
        Ok(())
    }

    /// A queue was paused or not, or its order set.
    pub(crate) fn queue_set(&mut self, queue: &QueueName, paused: Option<bool>, order: Option<QueueOrder>) {
        let mut known = self.queues.get(queue).cloned().unwrap_or_default();
        known.paused = paused.unwrap_or(known.paused);
        known.order = order.unwrap_or(known.order);
        self.queues.put(queue.clone(), known);
    }

    /// A queue was given limits.
    pub(crate) fn queue_limited(&mut self, queue: &QueueName, limits: QueueLimits) {
        let known = self.queues.get(queue).cloned().unwrap_or_default();
        self.queues.put(queue.clone(), Queue { limits, ..known });
    }

    /// Whether a queue's jobs may go in another order, or wait although somebody would take them.
    pub(crate) fn is_bounded(&self, queue: &QueueName) -> bool {
        let known = self.queues.get(queue);
        known.is_some_and(|known| known.limits != QueueLimits::default() || known.order == QueueOrder::Fair)
    }

    fn erase(&mut self, row: &JobRecord, counts_as: JobState) {
        if let Some(key) = self.jobs.get(&row.id).and_then(|job| job.key.clone())
            && self.keys.get(&key.key).is_some_and(|known| known.job == row.id)
        {
            self.keys.remove(&key.key);
        }
        if let Some(step) = &row.step {
            let run = self.runs.get(&step.run).cloned().unwrap_or_default();
            self.runs.put(step.run.clone(), Run { erased: true, ..run });
        }
        self.jobs.remove(&row.id);
        self.erased.put(row.id.clone(), ());
        let mut queue = self.queues.get(&row.queue).cloned().unwrap_or_default();
        *queue.erased.of_mut(counts_as) += 1;
        queue.erased.submitted += 1;
        self.queues.put(row.queue.clone(), queue);
    }

    /// What is known of a job with a row. A step's job is first heard of when somebody sees it.
    fn known(&self, row: &JobRecord) -> Job {
        self.jobs.get(&row.id).cloned().unwrap_or_default()
    }
}

/// Expects an error.
fn refused<T: std::fmt::Debug>(
    verb: &str,
    what: impl std::fmt::Display,
    answer: &Answer<T>,
    code: &'static Code,
) -> Result<(), Broken> {
    let is = answer.as_ref().is_err_and(|error| error.code() == code);
    if is {
        Ok(())
    } else {
        Err(Broken::new("refusal", format!("{verb} {what}: {code} expected: {answer:?}")))
    }
}
