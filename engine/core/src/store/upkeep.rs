//! Upkeep: what has ended long ago, and the store as a whole.

use std::fmt;
use std::path::Path;
use std::sync::Arc;

use bytes::Bytes;
use taskport_abstraction::maintenance::{BackupReport, IntegrityReport, SizeReport};
use taskport_abstraction::{BatchId, JobId, JobState, Result, RunId, Timestamp};

/// Reading and deleting in bulk what has ended. Nothing here decides what may go.
pub trait Upkeep {
    /// When anybody last walked over what has ended, of all who share the store.
    fn walked_at(&mut self) -> Result<Timestamp>;

    /// Sets when anybody last walked over what has ended.
    fn put_walked_at(&mut self, moment: Timestamp) -> Result<()>;

    /// The first jobs above `after` by rising `seq`.
    fn outlines(&mut self, after: i64, slice: Slice) -> Result<Vec<JobOutline>>;

    /// Jobs of a run, in no particular order.
    fn outlines_of_run(&mut self, run: &RunId, slice: Slice) -> Result<Vec<JobOutline>>;

    /// Deletes jobs as [`delete_job`](crate::Store::delete_job) does. They come by rising `seq`.
    fn delete_outlined(&mut self, jobs: &[JobOutline]) -> Result<()>;

    /// At most `max` runs above `after` by rising `seq`.
    fn run_outlines(&mut self, after: i64, max: usize) -> Result<Vec<RunOutline>>;

    /// Deletes a run without jobs: itself, its steps and its input, and its definition where no other run has it.
    fn delete_run(&mut self, run: &RunId) -> Result<()>;

    /// At most `max` batches by rising id, those above `after`.
    fn batch_outlines(&mut self, after: Option<&BatchId>, max: usize) -> Result<Vec<BatchOutline>>;

    /// Deletes a batch and what would have followed it.
    fn delete_batch(&mut self, batch: &BatchId) -> Result<()>;

    /// Whether everything was replaced since this was last asked, so that nothing remembered holds any more.
    fn replaced(&mut self) -> bool;

    /// What looks after the store as a whole.
    fn keeper(&self) -> Arc<dyn Keeper>;
}

/// How much of a walk fits one transaction. What passes `bytes_max` is still part of it, so that a walk goes on.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Slice {
    /// How many rows at most.
    pub rows_max: usize,
    /// How many bytes of arguments and results they may have together.
    pub bytes_max: u64,
}

/// What upkeep needs to know of a job.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct JobOutline {
    /// Its place in the order of submits.
    pub seq: i64,
    /// Its id.
    pub id: JobId,
    /// Where it stands.
    pub state: JobState,
    /// Whether it belongs to a run.
    pub of_run: bool,
    /// When it was submitted.
    pub submitted_at: Timestamp,
    /// When it ended.
    pub finished_at: Option<Timestamp>,
    /// Its options in their stored form.
    pub options: Option<Bytes>,
}

/// What upkeep needs to know of a run.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RunOutline {
    /// Its place in the order of starts.
    pub seq: i64,
    /// Its id.
    pub id: RunId,
    /// Where it stands.
    pub state: JobState,
    /// When it started.
    pub started_at: Timestamp,
    /// When it ended.
    pub finished_at: Option<Timestamp>,
}

/// What upkeep needs to know of a batch.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct BatchOutline {
    /// Its id.
    pub id: BatchId,
    /// When its last job ended.
    pub finished_at: Option<Timestamp>,
}

/// Looks after a store as a whole, beside its writer and on the caller's thread, which it may keep for long.
///
/// # Errors
/// Each verb may be `Unsupported`, which says why and what to do instead.
pub trait Keeper: Send + Sync + fmt::Debug {
    /// Writes a consistent copy of everything to a new file.
    fn backup(&self, to: &Path) -> Result<BackupReport>;

    /// Replaces everything by a copy, where nobody works.
    fn restore(&self, from: &Path, now: Timestamp) -> Result<BackupReport>;

    /// Looks for damage.
    fn integrity(&self) -> Result<IntegrityReport>;

    /// Looks for damage and puts right what can be.
    fn repair(&self) -> Result<IntegrityReport>;

    /// Moves the log into the main file and empties it.
    fn checkpoint(&self) -> Result<SizeReport>;

    /// Gives free space back in small steps.
    fn vacuum(&self) -> Result<SizeReport>;

    /// Writes the file anew without its free space, where nobody works.
    fn rebuild(&self, now: Timestamp) -> Result<SizeReport>;
}
