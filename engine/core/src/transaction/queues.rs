//! What somebody may ask of a whole queue: pause, resume, order, purge.

use std::time::Duration;

use taskport_abstraction::backend::{QueueLimits, QueueOrder};
use taskport_abstraction::{Error, JobState, QueueName, Result, codes};

use super::Transaction;
use crate::state::Event;
use crate::store::Store;

/// How many jobs a purge reads at once.
const PURGE_PAGE_LEN: usize = 1_000;
/// The largest number of bytes of the reason of a pause.
const REASON_BYTES_MAX: usize = 1_024;
/// The longest wait that makes up for a level of priority.
const AGEING_MAX: Duration = Duration::from_secs(366 * 86_400);

impl<S: Store> Transaction<'_, S> {
    /// Stops handing out a queue's jobs. What runs goes on. A queue that never held a job may be paused ahead.
    ///
    /// # Errors
    /// `InvalidInput` (E-004) where the reason is too long; those of the store.
    pub fn pause(&mut self, queue: &QueueName, reason: Option<&str>) -> Result<()> {
        if reason.is_some_and(|reason| reason.len() > REASON_BYTES_MAX) {
            return Err(Error::new(
                &codes::BAD_OPTION,
                "pause",
                format!("the reason has more than {REASON_BYTES_MAX} bytes"),
            ));
        }
        let entry = self.queue(queue)?;
        entry.record.paused = true;
        entry.record.paused_reason = reason.map(str::to_owned);
        (entry.exists, entry.dirty) = (true, true);
        Ok(())
    }

    /// Hands out a queue's jobs again.
    ///
    /// # Errors
    /// `NotFound` (E-035); those of the store.
    pub fn resume(&mut self, queue: &QueueName) -> Result<()> {
        let entry = self.queue(queue)?;
        if !entry.exists {
            return Err(no_queue("resume", queue));
        }
        entry.record.paused = false;
        entry.record.paused_reason = None;
        entry.dirty = true;
        self.changes.made_ready = true;
        Ok(())
    }

    /// Sets the order in which a queue's jobs start, for those that wait too. The time it takes grows with the number of
    /// waiting jobs.
    ///
    /// # Errors
    /// Those of the store.
    pub fn set_order(&mut self, queue: &QueueName, order: QueueOrder) -> Result<()> {
        let entry = self.queue(queue)?;
        (entry.exists, entry.dirty) = (true, true);
        if entry.record.order == order {
            return Ok(());
        }
        entry.record.order = order;
        self.reposition(queue)
    }

    /// Sets what bounds a queue besides its workers, for those that wait too. With another `ageing`, the time it takes
    /// grows with the number of waiting jobs.
    ///
    /// # Errors
    /// `InvalidInput` (E-004) for limits under which no job would ever start; those of the store.
    pub fn set_limits(&mut self, queue: &QueueName, limits: QueueLimits) -> Result<()> {
        check_limits(&limits)?;
        let entry = self.queue(queue)?;
        (entry.exists, entry.dirty) = (true, true);
        let ages_otherwise = entry.record.limits.ageing != limits.ageing;
        entry.record.limits = limits;
        entry.record.pace.wake_at = None;
        let order = entry.record.order;
        self.changes.made_ready = true;
        if ages_otherwise && order == QueueOrder::Priority { self.reposition(queue) } else { Ok(()) }
    }

    /// Deletes a queue's waiting jobs and returns how many; each counts as cancelled. Jobs of runs are cancelled and
    /// kept, since their run reads them.
    ///
    /// # Errors
    /// `NotFound` (E-035); those of the store.
    pub fn purge(&mut self, queue: &QueueName) -> Result<u64> {
        if !self.queue(queue)?.exists {
            return Err(no_queue("purge", queue));
        }
        let mut purged = 0;
        loop {
            let jobs = self.store(|store| store.waiting(queue, PURGE_PAGE_LEN))?;
            if jobs.is_empty() {
                break;
            }
            for job in jobs {
                let Some(job) = self.renewed(job)? else { continue };
                let kept = job.clone();
                let state = self.advance(job, Event::Cancel)?;
                debug_assert_eq!(state, Some(JobState::Cancelled), "whatever waits can be cancelled");
                if kept.step.is_none() {
                    self.erase(&kept)?;
                }
                purged += 1;
            }
        }
        self.run_hooks()?;
        Ok(purged)
    }
}

fn check_limits(limits: &QueueLimits) -> Result<()> {
    let bad = |message: &'static str| Err(Error::new(&codes::BAD_OPTION, "set limits", message));
    if limits.concurrency_max == Some(0) {
        return bad("a concurrency limit of 0 would never let a job run")
            .map_err(|error| error.hint("pause the queue instead"));
    }
    if limits.rate.is_some_and(|rate| rate.count == 0 || rate.period.is_zero()) {
        return bad("a rate of 0 would never let a job run")
            .map_err(|error| error.hint("pause the queue instead"));
    }
    if limits.ageing.is_some_and(|ageing| ageing > AGEING_MAX) {
        return bad("an ageing of more than a year is no ageing");
    }
    Ok(())
}

fn no_queue(operation: &'static str, queue: &QueueName) -> Error {
    Error::new(&codes::QUEUE_NOT_FOUND, operation, format!("no queue `{queue}` ever held a job"))
        .hint("`taskport queue list` names the queues")
}
