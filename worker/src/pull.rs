//! The loop for backends that are pulled.

use std::sync::Arc;

use async_trait::async_trait;
use futures_util::future::join_all;
use taskport_abstraction::backend::{Attempt, Phase, Settlement, Shutdown, WorkerReport, WorkerSpec};
use taskport_abstraction::{Clock, Consumer, Executor, Result, Worker};

use crate::control::Control;

/// Fetches jobs under leases, has them executed, renews the leases and settles the outcomes.
#[derive(Debug)]
pub struct PullWorker {
    consumer: Arc<dyn Consumer>,
    spec: WorkerSpec,
    clock: Arc<dyn Clock>,
}

impl PullWorker {
    /// A worker that takes jobs from `consumer`.
    pub fn new(consumer: Arc<dyn Consumer>, spec: WorkerSpec, clock: Arc<dyn Clock>) -> Self {
        Self { consumer, spec, clock }
    }
}

#[async_trait]
impl Worker for PullWorker {
    async fn run(
        self: Box<Self>,
        executor: Arc<dyn Executor>,
        shutdown: Arc<dyn Shutdown>,
    ) -> Result<WorkerReport> {
        let started_at = self.clock.now();
        loop {
            let batch = tokio::select! {
                batch = self.consumer.fetch(self.spec.concurrency) => batch?,
                () = shutdown.reached(Phase::Draining) => break,
            };
            let batch = join_all(batch.into_iter().map(async |delivery| {
                let lease = delivery.lease.clone();
                let verdict = executor.execute(Attempt { delivery, control: Control::new() }).await;
                Settlement { lease, verdict }
            }));
            for result in self.consumer.settle(batch.await).await {
                result?;
            }
        }
        tracing::info!(%started_at, "worker stopped");
        self.consumer.close().await?;
        Ok(WorkerReport::default())
    }
}
