//! Upkeep of a backend that keeps its own data.

use std::path::Path;
use std::time::Duration;

use async_trait::async_trait;
use serde::Serialize;

use crate::error::Result;

/// For how long jobs are kept after their end. `None` keeps them for ever.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Retention {
    /// Jobs that succeeded.
    pub succeeded: Option<Duration>,
    /// Jobs that failed for good: dead letters.
    pub failed: Option<Duration>,
    /// Jobs that were cancelled.
    pub cancelled: Option<Duration>,
    /// Jobs that expired.
    pub expired: Option<Duration>,
    /// Runs of workflows, with all their jobs.
    pub runs: Option<Duration>,
}

/// What a prune removed.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize)]
pub struct PruneReport {
    /// Jobs outside of runs.
    pub jobs: u64,
    /// Runs, and their jobs.
    pub runs: u64,
    /// Batches that had ended.
    pub batches: u64,
}

/// What a backup wrote.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct BackupReport {
    /// The size of the copy.
    pub bytes: u64,
    /// How many jobs are in it.
    pub jobs: u64,
}

/// What an integrity check found.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize)]
pub struct IntegrityReport {
    /// How many rows were looked at.
    pub rows: u64,
    /// What is wrong. Empty where all is well.
    pub problems: Vec<IntegrityProblem>,
}

/// Something that is wrong with the data.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct IntegrityProblem {
    /// What is wrong, with what.
    pub problem: String,
    /// What to do.
    pub advice: String,
    /// Whether it was put right, or can be.
    pub repair: Repair,
}

/// What can be done about a problem without losing anything that is still good.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Repair {
    /// Nothing: see the advice.
    Impossible,
    /// [`Maintenance::repair`] puts it right.
    Possible,
    /// It was put right.
    Done,
}

/// How large a file was before and after. What it is about says who gives it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
pub struct SizeReport {
    /// The size before.
    pub bytes_before: u64,
    /// The size after.
    pub bytes_after: u64,
}

/// Upkeep. Every verb works beside running producers and workers unless it says otherwise.
#[async_trait]
pub trait Maintenance: Send + Sync {
    /// Writes a consistent copy of everything to a new file.
    ///
    /// # Errors
    /// Where the file exists or cannot be written; then there is no partial copy under its name.
    async fn backup(&self, to: &Path) -> Result<BackupReport>;
    /// Replaces everything by a copy that `backup` wrote, after checking it.
    ///
    /// # Errors
    /// `Conflict` while workers are alive or jobs run; `Corrupt` where the copy is damaged or none. Then nothing was
    /// changed.
    async fn restore(&self, from: &Path) -> Result<BackupReport>;
    /// Looks for damage: of the file, and of what its rows say about each other.
    async fn integrity(&self) -> Result<IntegrityReport>;
    /// Puts right what can be put right without losing anything that is still good, and says so. Others wait meanwhile.
    async fn repair(&self) -> Result<IntegrityReport>;
    /// Moves everything from the log into the main file and empties the log, whose sizes it answers.
    async fn checkpoint(&self) -> Result<SizeReport>;
    /// Gives free space back to the file system, in small steps, and empties the log. Answers the sizes of the file.
    ///
    /// # Errors
    /// `Unsupported` where the file was made without this ability; [`rebuild`](Self::rebuild) gives it.
    async fn vacuum(&self) -> Result<SizeReport>;
    /// Writes the whole file anew without its free space. Others wait meanwhile, and the disk needs room for a second
    /// file. Answers the sizes of the file.
    ///
    /// # Errors
    /// `Conflict` while workers are alive or jobs run.
    async fn rebuild(&self) -> Result<SizeReport>;
    /// Removes what has ended longer ago than `retention` says, in small steps.
    async fn prune(&self, retention: &Retention) -> Result<PruneReport>;
    /// What [`prune`](Self::prune) would remove, without removing it.
    async fn prunable(&self, retention: &Retention) -> Result<PruneReport>;
}
