//! Batches of the engine.

use async_trait::async_trait;
use taskport_abstraction::batch::{BatchRequest, BatchStatus, Batches};
use taskport_abstraction::{BatchId, Error, Result, codes};

use crate::capability::SUBMIT_BATCH_MAX;
use crate::client::NativeBackend;

#[async_trait]
impl Batches for NativeBackend {
    async fn submit(&self, request: BatchRequest) -> Result<BatchId> {
        let BatchRequest { jobs, on_success, on_complete, .. } = &request;
        if jobs.len() > SUBMIT_BATCH_MAX {
            let message =
                format!("a batch of {} jobs is larger than the limit, {SUBMIT_BATCH_MAX}", jobs.len());
            return self.here(Err(Error::new(&codes::PAYLOAD_TOO_LARGE, "submit batch", message)
                .hint("let a job of the batch submit the others: they join it while it is open")));
        }
        for submission in jobs.iter().chain(on_success).chain(on_complete) {
            self.here(self.check(submission))?;
        }
        self.here(self.engine.submit_batch(request).await)
    }

    async fn get(&self, id: &BatchId) -> Result<Option<BatchStatus>> {
        self.here(self.engine.batch(id.clone()).await)
    }
}
