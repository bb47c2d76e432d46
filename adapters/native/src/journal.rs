//! What jobs say while they run.

use async_trait::async_trait;
use taskport_abstraction::journal::{Journal, JournalEntry};
use taskport_abstraction::{JobId, Result};

use crate::client::NativeBackend;

#[async_trait]
impl Journal for NativeBackend {
    async fn entries(&self, job: &JobId, after: u64, len: usize) -> Result<Vec<JournalEntry>> {
        self.here(self.engine.journal(job.clone(), after, len).await)
    }
}
