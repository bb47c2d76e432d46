//! A job's place in its queue: by the order of the queue, by age, or by fair shares.
//!
//! Fair order is start-time fair queueing. A job's position is its start tag: the virtual time of the queue or the end
//! of its key's job before, whichever is later. A job takes `COST / weight` of its key's time. The queue's virtual time
//! is the tag of the job claimed last, so that a newcomer starts there and no backlog of others delays it.

use taskport_abstraction::backend::QueueOrder;
use taskport_abstraction::options::FairShare;
use taskport_abstraction::{JobState, QueueName, Result};

use crate::record::{GateKind, GateName, JobRecord};
use crate::state;
use crate::store::Store;
use crate::transaction::Transaction;

/// What a job of weight 1 takes of its key's time.
const COST: i64 = 1 << 20;
/// How many jobs are given new places at once.
const PAGE_LEN: usize = 1_000;

impl<S: Store> Transaction<'_, S> {
    /// The place of a job that enters its queue. In fair order its key pays for it, unless it may start later only.
    pub(crate) fn place(&mut self, job: &JobRecord) -> Result<i64> {
        let record = &self.queue(&job.queue)?.record;
        match (record.order, record.limits.ageing) {
            (QueueOrder::Fair, _) if job.state != JobState::Scheduled => self.next_share(job),
            (QueueOrder::Fair, _) => Ok(record.pace.virtual_time),
            (QueueOrder::Priority, Some(ageing)) => {
                Ok(state::aged_position(job.submitted_at, job.priority, ageing))
            }
            (order, _) => Ok(state::position(order, job.priority, job.seq)),
        }
    }

    /// The place of a job that comes back to its queue, which its key has paid for.
    pub(crate) fn place_again(&mut self, job: &JobRecord) -> Result<i64> {
        let record = &self.queue(&job.queue)?.record;
        if record.order == QueueOrder::Fair { Ok(record.pace.virtual_time) } else { self.place(job) }
    }

    fn next_share(&mut self, job: &JobRecord) -> Result<i64> {
        let virtual_time = self.queue(&job.queue)?.record.pace.virtual_time;
        let (name, cost) = self.share(job);
        self.change_gate(&name, |share| {
            let tag = virtual_time.max(share.mark);
            share.mark = tag.saturating_add(cost);
            tag
        })
    }

    /// Takes back what a key paid for a job that was there before.
    pub(crate) fn give_share_back(&mut self, job: &JobRecord) -> Result<()> {
        let is_fair = self.queue(&job.queue)?.record.order == QueueOrder::Fair;
        if !is_fair || job.state == JobState::Scheduled || job.is_in_line() {
            return Ok(());
        }
        let (name, cost) = self.share(job);
        self.change_gate(&name, |share| share.mark -= cost)
    }

    /// The share a job is taken from, and what it takes. Jobs without a key share one.
    fn share(&mut self, job: &JobRecord) -> (GateName, i64) {
        let options = self.engine.options.decode(job.options.as_ref()).unwrap_or_default();
        let (key, weight) = match &options.fair {
            Some(FairShare { key, weight }) => (key.clone(), i64::from(*weight).max(1)),
            None => ("".into(), 1),
        };
        (GateName { kind: GateKind::Share, queue: Some(job.queue.clone()), key }, COST / weight)
    }

    /// Lets a queue in fair order know what was claimed last.
    pub(crate) fn pass_time(&mut self, queue: &QueueName, jobs: &[JobRecord]) -> Result<()> {
        let Some(last) = jobs.last() else { return Ok(()) };
        let record = &mut self.queue(queue)?.record;
        if record.order == QueueOrder::Fair {
            record.pace.virtual_time = record.pace.virtual_time.max(last.position);
        }
        Ok(())
    }

    /// Gives every job that waits in a queue the place it has by the queue's present order.
    pub(crate) fn reposition(&mut self, queue: &QueueName) -> Result<()> {
        let record = &self.queue(queue)?.record;
        match (record.order, record.limits.ageing) {
            (QueueOrder::Fair, _) => self.share_out(queue),
            (QueueOrder::Priority, Some(ageing)) => {
                self.store(|store| store.reposition_by_age(queue, ageing))
            }
            (order, _) => self.store(|store| store.reposition(queue, order)),
        }
    }

    fn share_out(&mut self, queue: &QueueName) -> Result<()> {
        let mut after = i64::MIN;
        loop {
            let jobs = self.store(|store| store.waiting_after(queue, after, PAGE_LEN))?;
            let Some(last) = jobs.last() else { return Ok(()) };
            after = last.seq;
            for mut job in jobs {
                job.position = self.next_share(&job)?;
                self.store(|store| store.move_job(&job))?;
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::COST;

    #[test]
    fn the_greatest_weight_still_takes_time() {
        assert!(COST / i64::from(taskport_abstraction::options::WEIGHT_MAX) > 1_000);
    }
}
