//! The verbs in which nothing but the fault of the turn goes wrong.

use std::sync::Arc;
use std::time::Duration;

use taskport_abstraction::journal::JournalEntry;
use taskport_abstraction::{BatchId, JobId, QueueName, Result, RunId, ScheduleName, Timestamp};
use taskport_engine::Store;
use taskport_engine::inbox::{InboxRecord, OutgoingRecord};
use taskport_engine::record::{BatchRecord, GateName, GateRecord, JobRecord, ScheduleRecord};
use taskport_engine::store::{
    BatchOutline, Grant, JobOutline, JournalEnd, KeepJournal, Keeper, LimitRows, ReadBatches, ReadInbox,
    ReadJournal, ReadSchedules, RunOutline, Slice, TakeInbox, Upkeep, WriteSchedules,
};

use super::{SimStore, pass_on};
use crate::bug::Bug;

impl<S: Store> ReadSchedules for SimStore<S> {
    pass_on! {
        schedule(name: &ScheduleName) -> Option<ScheduleRecord>;
        schedules(after: Option<&ScheduleName>, max: usize) -> Vec<ScheduleRecord>;
    }
}

impl<S: Store> WriteSchedules for SimStore<S> {
    pass_on! {
        put_schedule(schedule: &ScheduleRecord) -> ();
        delete_schedule(name: &ScheduleName) -> ();
        due_schedules(now: Timestamp, max: usize) -> Vec<ScheduleRecord>;
    }
}

impl<S: Store> ReadInbox for SimStore<S> {
    pass_on! {
        inbox_job(id: &JobId) -> Option<InboxRecord>;
        outgoing(after: i64, max: usize) -> Vec<OutgoingRecord>;
        outgoing_due(now: Timestamp) -> bool;
        outgoing_counts() -> (u64, u64);
    }
}

impl<S: Store> TakeInbox for SimStore<S> {
    pass_on! {
        inbox_waits() -> bool;
        inbox(max: usize, bytes_max: usize) -> Vec<InboxRecord>;
        delete_inbox_job(seq: i64) -> ();
        lease_outgoing(now: Timestamp, until: Timestamp, max: usize, bytes_max: usize) -> Vec<OutgoingRecord>;
        put_outgoing(seq: i64, due_at: Option<Timestamp>, reason: Option<&str>) -> bool;
        delete_outgoing(seq: i64) -> bool;
        outgoing_seqs(id: &JobId) -> Vec<i64>;
    }
}

impl<S: Store> ReadJournal for SimStore<S> {
    pass_on! {
        entries(job: &JobId, after: u64, max: usize) -> Option<Vec<JournalEntry>>;
    }
}

impl<S: Store> KeepJournal for SimStore<S> {
    pass_on! {
        journal_end(seq: i64) -> Option<JournalEnd>;
        put_entry(seq: i64, entry: &JournalEntry) -> ();
    }
}

impl<S: Store> Upkeep for SimStore<S> {
    pass_on! {
        walked_at() -> Timestamp;
        put_walked_at(moment: Timestamp) -> ();
        outlines(after: i64, slice: Slice) -> Vec<JobOutline>;
        outlines_of_run(run: &RunId, slice: Slice) -> Vec<JobOutline>;
        delete_outlined(jobs: &[JobOutline]) -> ();
        run_outlines(after: i64, max: usize) -> Vec<RunOutline>;
        delete_run(run: &RunId) -> ();
        batch_outlines(after: Option<&BatchId>, max: usize) -> Vec<BatchOutline>;
        delete_batch(batch: &BatchId) -> ();
    }

    fn replaced(&mut self) -> bool {
        self.below.lock().replaced()
    }

    fn keeper(&self) -> Arc<dyn Keeper> {
        self.below.lock().keeper()
    }
}

impl<S: Store> ReadBatches for SimStore<S> {
    pass_on! {
        batch(id: &BatchId) -> Option<BatchRecord>;
    }
}

impl<S: Store> LimitRows for SimStore<S> {
    fn put_gate(&mut self, gate: &GateRecord) -> Result<()> {
        let inside = if self.has(Bug::GateForgets) { 0 } else { gate.inside };
        self.verb(|store| store.put_gate(&GateRecord { inside, ..gate.clone() }))
    }

    pass_on! {
        gate(name: &GateName) -> Option<GateRecord>;
        gates(after: i64, max: usize) -> Vec<GateRecord>;
        due_gates(now: Timestamp, max: usize) -> Vec<GateRecord>;
        gate_id_max() -> i64;
        delete_gate(id: i64) -> ();
        held(gate: i64, max: usize) -> Vec<JobRecord>;
        line_waits(key: &str) -> Option<bool>;
        next_in_line(key: &str) -> Option<JobRecord>;
        ready(queue: &QueueName, now: Timestamp, max: usize) -> Vec<JobRecord>;
        lease(jobs: &mut [JobRecord], grant: &Grant<'_>) -> ();
        move_job(job: &JobRecord) -> ();
        job_at(seq: i64) -> Option<JobRecord>;
        waiting_after(queue: &QueueName, after: i64, max: usize) -> Vec<JobRecord>;
        reposition_by_age(queue: &QueueName, ageing: Duration) -> ();
        due_queues(now: Timestamp, max: usize) -> Vec<QueueName>;
        insert_batch(batch: &BatchRecord) -> ();
        put_batch(batch: &BatchRecord) -> ();
    }
}
