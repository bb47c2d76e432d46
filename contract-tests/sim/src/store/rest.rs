//! The verbs in which nothing but the fault of the turn goes wrong.

use taskport_abstraction::journal::JournalEntry;
use taskport_abstraction::{JobId, Result, ScheduleName, Timestamp};
use taskport_engine::Store;
use taskport_engine::inbox::{InboxRecord, OutgoingRecord};
use taskport_engine::record::ScheduleRecord;
use taskport_engine::store::{
    JournalEnd, KeepJournal, ReadInbox, ReadJournal, ReadSchedules, TakeInbox, WriteSchedules,
};

use super::{SimStore, pass_on};

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
