//! What the owner of a store decides.

use std::time::Duration;

/// How a SQLite store works.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SqliteOptions {
    /// When a commit counts as durable.
    pub synchronous: Synchronous,
    /// How long to wait for another process that holds the file.
    pub busy_timeout: Duration,
    /// The file is another program's database, in which the store only keeps tables of its own, named `taskport_…`. What
    /// holds for the whole file, such as its owner in the header, is left to that program.
    pub shared_file: bool,
    /// The size of the file, in bytes, at which it counts as full. Left out, the disk decides.
    pub file_bytes_max: Option<u64>,
    /// The size of the log, in bytes, from which a thread checkpoints it.
    pub wal_bytes_soft: u64,
    /// The size of the log, in bytes, from which the writer itself waits for a checkpoint.
    pub wal_bytes_max: u64,
}

impl Default for SqliteOptions {
    fn default() -> Self {
        Self {
            synchronous: Synchronous::Full,
            busy_timeout: Duration::from_secs(5),
            shared_file: false,
            file_bytes_max: None,
            wal_bytes_soft: 16 << 20,
            wal_bytes_max: 128 << 20,
        }
    }
}

/// When a commit counts as durable.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Synchronous {
    /// When the disk has it. Survives a power cut.
    #[default]
    Full,
    /// When the operating system has it. Survives the death of the process; a power cut may take the last commits, and
    /// leaves the file intact.
    Normal,
}

impl Synchronous {
    /// The value of `PRAGMA synchronous`.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Full => "FULL",
            Self::Normal => "NORMAL",
        }
    }
}
