//! What time calls for.

use taskport_abstraction::backend::QueueOrder;
use taskport_abstraction::{JobState, Result};

use super::Transaction;
use crate::runs;
use crate::state::Event;
use crate::store::Store;

impl<S: Store> Transaction<'_, S> {
    /// Does what the time calls for: starts what is due, fires schedules, rescues what lapsed, gives up what expired, forgets workers and
    /// keys, ends runs out of time. Costs nothing where no moment has come.
    ///
    /// At most [`tick_jobs_max`](crate::EngineConfig::tick_jobs_max) of each sort move; `true` says that there may be
    /// more to do at once.
    ///
    /// # Errors
    /// Those of the store.
    pub fn tick(&mut self) -> Result<bool> {
        // What this transaction has put off is looked for among the rows.
        self.flush_limits()?;
        let flushed = self.engine.flush_queues();
        self.keep_failure(flushed)?;
        let due = self.engine.next_due();
        if self.keep_failure(due)?.is_none_or(|moment| moment > self.now) {
            return Ok(false);
        }
        let (now, max) = (self.now, self.engine.config.tick_jobs_max);
        // What has expired goes first: it may be due as well, and must not start.
        let mut more = self.expire(max)?;
        more |= self.fire_schedules(max)?;
        more |= self.promote(max)?;
        more |= self.rescue(max)?;
        more |= self.open_gates(max)?;
        let ended = runs::tick(self, max);
        more |= self.keep_failure(ended)?;
        self.store(|store| store.forget_workers(now))?;
        self.store(|store| store.delete_keys_until(now, max))?;
        self.upkeep()?;
        self.run_hooks()?;
        self.engine.ask_for_time_again();
        Ok(more)
    }

    fn expire(&mut self, max: usize) -> Result<bool> {
        let now = self.now;
        let jobs = self.store(|store| store.expired(now, max))?;
        let more = jobs.len() == max;
        for job in jobs {
            let Some(job) = self.renewed(job)? else { continue };
            let state = self.advance(job, Event::Expire)?;
            debug_assert_eq!(state, Some(JobState::Expired), "the store finds only what has not started");
        }
        Ok(more)
    }

    /// Makes due jobs ready in bulk, which the table allows of every scheduled and every retrying job.
    fn promote(&mut self, max: usize) -> Result<bool> {
        let now = self.now;
        let promoted = self.store(|store| store.promote(now, max))?;
        let mut total = 0;
        for some in &promoted {
            self.count_many(&some.queue, Some(some.from), JobState::Queued, some.count)?;
            total += some.count;
            if self.queue(&some.queue)?.record.order == QueueOrder::Fair {
                self.share_promoted(&some.seqs)?;
            }
        }
        Ok(total == max as u64)
    }

    /// Lets the keys of jobs in a fair order pay for their starts now that they may start.
    fn share_promoted(&mut self, seqs: &[i64]) -> Result<()> {
        for seq in seqs {
            if let Some(mut job) = self.store(|store| store.job_at(*seq))? {
                job.position = self.place(&job)?;
                self.store(|store| store.move_job(&job))?;
            }
        }
        Ok(())
    }

    fn rescue(&mut self, max: usize) -> Result<bool> {
        let now = self.now;
        let jobs = self.store(|store| store.lapsed(now, max))?;
        let more = jobs.len() == max;
        for job in jobs {
            let Some(job) = self.renewed(job)? else { continue };
            self.advance(job, Event::Lapse)?;
        }
        Ok(more)
    }
}
