//! What jobs say while they run.

use taskport_abstraction::journal::JournalEntry;
use taskport_abstraction::{JobId, Result};

/// Reading what jobs said.
pub trait ReadJournal {
    /// At most `max` entries of a job after number `after`, in order; `None` where there is no such job.
    fn entries(&mut self, job: &JobId, after: u64, max: usize) -> Result<Option<Vec<JournalEntry>>>;
}

/// Keeping what jobs say. [`delete_job`](crate::Store::delete_job) deletes what the job said.
pub trait KeepJournal: ReadJournal {
    /// Where a job's journal stands; `None` where there is no job with this `seq`.
    fn journal_end(&mut self, seq: i64) -> Result<Option<JournalEnd>>;

    /// Adds an entry to the journal of the job with this `seq`.
    fn put_entry(&mut self, seq: i64, entry: &JournalEntry) -> Result<()>;
}

/// Where a journal stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct JournalEnd {
    /// The job's present attempt.
    pub attempt: u32,
    /// The number of its last entry, 0 where it has none.
    pub number: u64,
}
