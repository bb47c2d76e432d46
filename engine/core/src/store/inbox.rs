//! Jobs that other programs' transactions leave in the store: for the engine itself, or for other backends.

use taskport_abstraction::{JobId, Result, Timestamp};

use crate::inbox::{InboxRecord, OutgoingRecord};

/// Reading them.
pub trait ReadInbox {
    /// The job of the inbox with this id.
    fn inbox_job(&mut self, id: &JobId) -> Result<Option<InboxRecord>>;

    /// At most `max` jobs for other backends, by rising `seq`, those above `after`.
    fn outgoing(&mut self, after: i64, max: usize) -> Result<Vec<OutgoingRecord>>;

    /// Whether a job for another backend is due.
    fn outgoing_due(&mut self, now: Timestamp) -> Result<bool>;

    /// How many jobs for other backends wait, and how many were refused for good.
    fn outgoing_counts(&mut self) -> Result<(u64, u64)>;
}

/// Taking them. Nothing here adds a job: that is for the transactions of others.
pub trait TakeInbox: ReadInbox {
    /// Whether the inbox holds anything. Cheap.
    fn inbox_waits(&mut self) -> Result<bool>;

    /// The first jobs of the inbox: at most `max`, and no more once their arguments have `bytes_max` bytes.
    fn inbox(&mut self, max: usize, bytes_max: usize) -> Result<Vec<InboxRecord>>;

    /// Deletes a job of the inbox.
    fn delete_inbox_job(&mut self, seq: i64) -> Result<()>;

    /// The first jobs for other backends that are due, within the same limits, each with its attempt grown by one and
    /// due again at `until`.
    fn lease_outgoing(
        &mut self,
        now: Timestamp,
        until: Timestamp,
        max: usize,
        bytes_max: usize,
    ) -> Result<Vec<OutgoingRecord>>;

    /// Sets when a job for another backend is due, `None` for never, and why it was not handed on. `false` where there
    /// is none with this `seq`.
    fn put_outgoing(&mut self, seq: i64, due_at: Option<Timestamp>, reason: Option<&str>) -> Result<bool>;

    /// Deletes a job for another backend. `false` where there is none with this `seq`.
    fn delete_outgoing(&mut self, seq: i64) -> Result<bool>;

    /// The `seq` of each job for another backend with this id: one id may be on its way to several.
    fn outgoing_seqs(&mut self, id: &JobId) -> Result<Vec<i64>>;
}
