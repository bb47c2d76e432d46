//! What a job says while it runs: log lines and partial results that others can read.

use async_trait::async_trait;
use serde::{Deserialize, Serialize};

use crate::error::Result;
use crate::id::JobId;
use crate::payload::Payload;
use crate::time::Timestamp;

/// The largest number of entries of one job; an attempt that says more is told so by its last entry.
pub const ENTRIES_MAX: usize = 10_000;
/// The largest number of bytes of one entry. A longer log line is cut, a larger partial result is refused.
pub const ENTRY_BYTES_MAX: usize = 64 << 10;

/// Something a running job says.
#[derive(Debug, Clone, PartialEq)]
pub enum Note {
    /// A line of its log.
    Log {
        /// How much it matters.
        level: LogLevel,
        /// The line.
        message: String,
    },
    /// A part of its result, or a preliminary one.
    Partial(Payload),
}

/// How much a line of a log matters.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum LogLevel {
    /// For whoever looks for a mistake.
    Debug,
    /// For whoever wants to know what goes on.
    Info,
    /// Something is not as it should be.
    Warn,
    /// Something failed.
    Error,
}

/// A note with its moment, on its way to the backend.
#[derive(Debug, Clone, PartialEq)]
pub struct TimedNote {
    /// When it was said, by the worker's clock.
    pub at: Timestamp,
    /// What was said.
    pub note: Note,
}

/// A note as others read it.
#[derive(Debug, Clone, PartialEq)]
pub struct JournalEntry {
    /// Its place in the job's journal, from 1.
    pub number: u64,
    /// The attempt that said it.
    pub attempt: u32,
    /// When it was said, by the worker's clock.
    pub at: Timestamp,
    /// What was said.
    pub note: Note,
}

/// The journals of a backend's jobs.
#[async_trait]
pub trait Journal: Send + Sync {
    /// At most `len` entries of a job after number `after`, in order. Entries of earlier attempts stay.
    ///
    /// # Errors
    /// `NotFound` where there is no such job.
    async fn entries(&self, job: &JobId, after: u64, len: usize) -> Result<Vec<JournalEntry>>;
}
