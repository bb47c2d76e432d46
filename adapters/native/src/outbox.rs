//! Submitting within the user's own SQLite transaction, and the jobs of such transactions that are for other backends.

use std::time::Duration;

use async_trait::async_trait;
use taskport_abstraction::backend::Submission;
use taskport_abstraction::outbox::{
    EnqueueStatement, Handover, Outbox, OutboxEntry, OutboxStats, Outgoing, Transactional,
};
use taskport_abstraction::{BackendName, JobId, Result};
use taskport_engine_runtime::InboxRecord;

use crate::client::NativeBackend;

#[async_trait]
impl Transactional for NativeBackend {
    fn enqueue_statement(
        &self,
        submission: &Submission,
        target: Option<&BackendName>,
    ) -> Result<EnqueueStatement> {
        // What another backend can do is not for this one to say.
        if target.is_none() {
            self.here(self.check(submission))?;
        }
        let job = self.here(InboxRecord::new(submission, self.environment.clock.now()))?;
        Ok(taskport_store_sqlite::enqueue_statement(&job, target))
    }

    async fn absorb(&self) -> Result<()> {
        self.here(self.engine.absorb().await)
    }

    fn outbox(&self) -> &dyn Outbox {
        self
    }
}

#[async_trait]
impl Outbox for NativeBackend {
    async fn fetch(&self, max: usize, lease_for: Duration) -> Result<Vec<Outgoing>> {
        self.here(self.engine.fetch_outgoing(max, lease_for).await)
    }

    async fn settle(&self, batch: Vec<Handover>) -> Vec<Result<()>> {
        self.all_here(self.engine.settle_outgoing(batch).await)
    }

    async fn stats(&self) -> Result<OutboxStats> {
        self.here(self.engine.outbox_stats().await)
    }

    async fn list(&self, after: u64, len: usize) -> Result<Vec<OutboxEntry>> {
        self.here(self.engine.outbox(after, len).await)
    }

    async fn retry(&self, ids: &[JobId]) -> Vec<Result<()>> {
        self.all_here(self.engine.retry_outgoing(ids.to_vec()).await)
    }

    async fn delete(&self, ids: &[JobId]) -> Vec<Result<()>> {
        self.all_here(self.engine.delete_outgoing(ids.to_vec()).await)
    }
}
