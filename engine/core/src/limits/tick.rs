//! What time calls for: gates and queues that have tokens again.

use taskport_abstraction::{QueueName, Result};

use super::Bucket;
use crate::record::{GateKind, GateRecord};
use crate::store::Store;
use crate::transaction::Transaction;

impl<S: Store> Transaction<'_, S> {
    /// Lets jobs go on whose gates are open again. `true` says that there may be more to do at once.
    pub(crate) fn open_gates(&mut self, max: usize) -> Result<bool> {
        let now = self.now;
        let due = self.store(|store| store.due_gates(now, max))?;
        for gate in &due {
            self.open_gate(gate, max)?;
        }
        let queues = self.store(|store| store.due_queues(now, max))?;
        for queue in &queues {
            let entry = self.queue(queue)?;
            entry.record.pace.wake_at = None;
            entry.dirty = true;
            self.changes.made_ready = true;
        }
        Ok(due.len() == max || queues.len() == max)
    }

    fn open_gate(&mut self, due: &GateRecord, max: usize) -> Result<()> {
        let now = self.now;
        let (room, wake_at) = self.change_gate(&due.name, |gate| {
            gate.mark = gate.settled(now);
            let room = match gate.name.kind {
                GateKind::Tokens => gate.tokens(now),
                _ => usize::try_from(u64::from(gate.max).saturating_sub(gate.inside)).unwrap_or(max),
            };
            let waits = gate.name.kind == GateKind::Tokens && room == 0 && gate.held > 0;
            gate.wake_at = waits.then(|| gate.bucket().next(gate.mark, now));
            (room, gate.wake_at)
        })?;
        if let Some(moment) = wake_at {
            self.engine.wake_at(moment);
        }
        if room > 0 { self.free_some(&due.name, room.min(max)) } else { Ok(()) }
    }

    /// How many of the next `wanted` jobs of a queue may start now by the queue's own limits.
    pub(crate) fn queue_room(&mut self, queue: &QueueName, wanted: usize) -> Result<usize> {
        let now = self.now;
        let entry = self.queue(queue)?;
        let (limits, counts) = (entry.record.limits, entry.record.counts);
        let slots =
            limits.concurrency_max.map_or(u64::MAX, |max| u64::from(max).saturating_sub(counts.running));
        let room = wanted.min(usize::try_from(slots).unwrap_or(usize::MAX));
        let Some(rate) = limits.rate else { return Ok(room) };
        let bucket = Bucket::new(rate.count, rate.period);
        entry.record.pace.bucket = bucket.settled(entry.record.pace.bucket, now);
        let tokens = bucket.tokens(entry.record.pace.bucket, now);
        if tokens == 0 {
            let moment = bucket.next(entry.record.pace.bucket, now);
            entry.record.pace.wake_at = Some(moment);
            entry.dirty = true;
            self.engine.wake_at(moment);
        }
        Ok(room.min(tokens))
    }

    /// Takes the tokens of jobs of a queue that have started.
    pub(crate) fn take_queue_tokens(&mut self, queue: &QueueName, count: usize) -> Result<()> {
        let now = self.now;
        let entry = self.queue(queue)?;
        let Some(rate) = entry.record.limits.rate else { return Ok(()) };
        let bucket = Bucket::new(rate.count, rate.period);
        entry.record.pace.bucket = bucket.take(entry.record.pace.bucket, now, count);
        entry.record.pace.wake_at = None;
        if entry.record.counts.queued > 0 && bucket.tokens(entry.record.pace.bucket, now) == 0 {
            let moment = bucket.next(entry.record.pace.bucket, now);
            entry.record.pace.wake_at = Some(moment);
            self.engine.wake_at(moment);
        }
        Ok(())
    }
}
