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

impl LogLevel {
    /// The name used in JSON.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Debug => "debug",
            Self::Info => "info",
            Self::Warn => "warn",
            Self::Error => "error",
        }
    }
}

impl Note {
    /// The note within [`ENTRY_BYTES_MAX`]: a longer line is cut, and a larger partial result gives way to a line that
    /// says so.
    #[must_use]
    pub fn fitting(self) -> Self {
        match self {
            Self::Log { level, mut message } if message.len() > ENTRY_BYTES_MAX => {
                let end = (0..=ENTRY_BYTES_MAX).rev().find(|end| message.is_char_boundary(*end));
                message.truncate(end.unwrap_or_default());
                Self::Log { level, message }
            }
            Self::Partial(payload) if payload.len() > ENTRY_BYTES_MAX => {
                let bytes = payload.len();
                let message =
                    format!("a partial result of {bytes} bytes is left out: the limit is {ENTRY_BYTES_MAX}");
                Self::Log { level: LogLevel::Warn, message }
            }
            note => note,
        }
    }

    /// How many bytes it holds.
    pub fn bytes(&self) -> usize {
        match self {
            Self::Log { message, .. } => message.len(),
            Self::Partial(payload) => payload.len(),
        }
    }
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
