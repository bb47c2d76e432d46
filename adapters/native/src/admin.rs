//! Administration of the engine.

use async_trait::async_trait;
use taskport_abstraction::backend::{
    Admin, JobFilter, Page, PageRequest, QueueLimits, QueueOrder, QueueStats, WorkerStatus,
};
use taskport_abstraction::{Error, JobId, JobStatus, QueueName, Result, codes};

use crate::capability::PAGE_LEN_MAX;
use crate::client::NativeBackend;

#[async_trait]
impl Admin for NativeBackend {
    async fn queues(&self) -> Result<Vec<QueueStats>> {
        self.here(self.engine.stats().await)
    }

    async fn pause(&self, queue: &QueueName, reason: Option<&str>) -> Result<()> {
        self.here(self.engine.pause(queue.clone(), reason.map(str::to_owned)).await)
    }

    async fn resume(&self, queue: &QueueName) -> Result<()> {
        self.here(self.engine.resume(queue.clone()).await)
    }

    async fn purge(&self, queue: &QueueName) -> Result<u64> {
        self.here(self.engine.purge(queue.clone()).await)
    }

    async fn set_order(&self, queue: &QueueName, order: QueueOrder) -> Result<()> {
        self.here(self.engine.set_order(queue.clone(), order).await)
    }

    async fn set_limits(&self, queue: &QueueName, limits: QueueLimits) -> Result<()> {
        self.here(self.engine.set_limits(queue.clone(), limits).await)
    }

    async fn jobs(&self, filter: JobFilter, page: PageRequest) -> Result<Page<JobStatus>> {
        self.here(check_page(&page))?;
        self.here(self.engine.jobs(filter, page).await)
    }

    async fn requeue(&self, ids: &[JobId]) -> Vec<Result<()>> {
        self.all_here(self.engine.requeue(ids.to_vec()).await)
    }

    async fn delete(&self, ids: &[JobId]) -> Vec<Result<()>> {
        self.all_here(self.engine.delete(ids.to_vec()).await)
    }

    async fn workers(&self) -> Result<Vec<WorkerStatus>> {
        self.here(self.engine.workers().await)
    }
}

/// Refuses a page longer than the limit.
pub(crate) fn check_page(page: &PageRequest) -> Result<()> {
    if (1..=PAGE_LEN_MAX).contains(&page.len) {
        return Ok(());
    }
    let message = format!("a page of {} is not within 1 to {PAGE_LEN_MAX}", page.len);
    Err(Error::new(&codes::BAD_OPTION, "list", message).hint("ask for several pages"))
}
