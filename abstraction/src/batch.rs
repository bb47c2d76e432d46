//! Batches: jobs that belong together, with a job that runs when all of them have ended.

use async_trait::async_trait;
use serde::Serialize;

use crate::backend::Submission;
use crate::error::Result;
use crate::id::{BatchId, JobId};
use crate::time::Timestamp;

/// Jobs to submit together.
#[derive(Debug, Clone)]
pub struct BatchRequest {
    /// The id the batch is to have. A repeated submit of one id is the same batch.
    pub id: BatchId,
    /// Its jobs. All are taken, or none.
    pub jobs: Vec<Submission>,
    /// Submitted once every job has succeeded.
    pub on_success: Option<Submission>,
    /// Submitted once every job has ended, however.
    pub on_complete: Option<Submission>,
}

/// A batch as others see it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct BatchStatus {
    /// The batch.
    pub id: BatchId,
    /// How many jobs it has.
    pub total: u64,
    /// How many have not ended.
    pub pending: u64,
    /// How many have succeeded.
    pub succeeded: u64,
    /// How many have failed for good.
    pub failed: u64,
    /// How many were cancelled or expired.
    pub cancelled: u64,
    /// When it was submitted.
    pub submitted_at: Timestamp,
    /// When its last job ended.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub finished_at: Option<Timestamp>,
    /// The job that is submitted once every job has succeeded.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub on_success: Option<JobId>,
    /// The job that is submitted once every job has ended.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub on_complete: Option<JobId>,
}

/// Batches of a backend.
#[async_trait]
pub trait Batches: Send + Sync {
    /// Submits a batch. The end of its last job and the submit of its callbacks are one transaction.
    ///
    /// # Errors
    /// What a submit of one of its jobs or callbacks would answer; then none was taken.
    async fn submit(&self, request: BatchRequest) -> Result<BatchId>;
    /// What is known of a batch.
    async fn get(&self, id: &BatchId) -> Result<Option<BatchStatus>>;
}
