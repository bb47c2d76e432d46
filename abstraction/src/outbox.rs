//! Submitting within the user's own transaction, and handing jobs on to other backends from there.

use std::time::Duration;

use async_trait::async_trait;
use bytes::Bytes;

use crate::backend::Submission;
use crate::error::{Error, Result};
use crate::id::{BackendName, JobId, TaskName};
use crate::time::Timestamp;

/// A statement to run in a transaction of the user's own, on the backend's database: the job is submitted when that
/// commits.
#[derive(Debug, Clone, PartialEq)]
pub struct EnqueueStatement {
    /// The statement, with numbered parameters `?1`, `?2`, ….
    pub sql: &'static str,
    /// What to bind, in order.
    pub parameters: Vec<SqlValue>,
}

/// A value to bind to a statement.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum SqlValue {
    /// `NULL`.
    Null,
    /// A 64-bit integer.
    Integer(i64),
    /// Text.
    Text(String),
    /// Bytes.
    Blob(Bytes),
}

/// Submitting within the user's own transaction.
#[async_trait]
pub trait Transactional: Send + Sync {
    /// The statement that submits a job. With a `target`, the job is for that backend: it waits in the outbox until it
    /// has been handed on.
    ///
    /// # Delivery
    /// The job is taken if and only if the user's transaction commits. A repeat under one id is the same job.
    ///
    /// # Errors
    /// What a submit would answer before any I/O, where the job is for this backend.
    fn enqueue_statement(
        &self,
        submission: &Submission,
        target: Option<&BackendName>,
    ) -> Result<EnqueueStatement>;

    /// Takes at once what committed transactions have left, which otherwise takes a moment. Nothing depends on it.
    async fn absorb(&self) -> Result<()>;

    /// The jobs that are for other backends.
    fn outbox(&self) -> &dyn Outbox;
}

/// Jobs that wait to be handed on to other backends.
#[async_trait]
pub trait Outbox: Send + Sync {
    /// At most `max` jobs, oldest first, each under a lease that lapses after `lease_for`.
    ///
    /// # Cancel safety
    /// Jobs leased for a dropped future wait until the lease has lapsed.
    async fn fetch(&self, max: usize, lease_for: Duration) -> Result<Vec<Outgoing>>;

    /// Closes leases, each with a result in order. A repeat does no harm.
    async fn settle(&self, batch: Vec<Handover>) -> Vec<Result<()>>;

    /// How many jobs wait, and how many of them have been refused for good.
    async fn stats(&self) -> Result<OutboxStats>;

    /// At most `len` jobs that wait or were refused, oldest first, those after the receipt `after`.
    async fn list(&self, after: u64, len: usize) -> Result<Vec<OutboxEntry>>;

    /// Has jobs tried again at once, refused ones too, each with a result in order.
    ///
    /// # Errors
    /// `NotFound` (E-007) where no such job waits here.
    async fn retry(&self, ids: &[JobId]) -> Vec<Result<()>>;

    /// Deletes jobs that have not been handed on, each with a result in order. One that is being handed on may still
    /// arrive.
    ///
    /// # Errors
    /// `NotFound` (E-007) where no such job waits here.
    async fn delete(&self, ids: &[JobId]) -> Vec<Result<()>>;
}

/// A job on its way to another backend.
#[derive(Debug, Clone)]
pub struct Outgoing {
    /// The backend it is for.
    pub target: BackendName,
    /// The job. Its id makes a repeated hand-over the same job.
    pub submission: Submission,
    /// How often it has been tried, this time included.
    pub attempt: u32,
    /// The outbox's own handle.
    pub receipt: u64,
}

/// What came of handing a job on.
#[derive(Debug, Clone)]
pub struct Handover {
    /// The outbox's own handle.
    pub receipt: u64,
    /// The end of it.
    pub end: HandoverEnd,
}

/// How handing a job on ended.
#[derive(Debug, Clone)]
pub enum HandoverEnd {
    /// The target has it.
    Taken,
    /// Not yet: try again after so long.
    Again(Duration, Error),
    /// The target will never take it: it is kept as refused, with the reason.
    Refused(Error),
}

/// What an outbox holds.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct OutboxStats {
    /// Jobs that wait to be handed on.
    pub waiting: u64,
    /// Jobs their target refused for good.
    pub refused: u64,
}

/// A job in the outbox as others see it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct OutboxEntry {
    /// The outbox's own handle.
    pub receipt: u64,
    /// The backend it is for.
    pub target: BackendName,
    /// The id the job will have there.
    pub job: JobId,
    /// The task it calls.
    pub task: TaskName,
    /// How often it has been tried.
    pub attempt: u32,
    /// When it was submitted.
    pub submitted_at: Timestamp,
    /// When it is tried again, unless its target refused it for good.
    pub due_at: Option<Timestamp>,
    /// Why the last try came to nothing.
    pub reason: Option<String>,
}
