//! What other programs' transactions leave: jobs of the engine's own, and those for other backends.

use std::time::Duration;

use taskport_abstraction::outbox::{Handover, OutboxEntry, OutboxStats, Outgoing};
use taskport_abstraction::{JobId, Result};

use crate::handle::EngineHandle;
use crate::mailbox::weigh;

impl EngineHandle {
    /// Takes at once what committed transactions of other programs have left. The engine also looks by itself: every
    /// 50 ms while anybody waits for a job here, every second otherwise.
    ///
    /// # Errors
    /// Those of the store.
    pub async fn absorb(&self) -> Result<()> {
        self.write("absorb", |write| write.absorb().map(drop)).await
    }

    /// Leases at most `max` jobs for other backends, oldest first.
    ///
    /// # Errors
    /// Those of the store.
    pub async fn fetch_outgoing(&self, max: usize, lease_for: Duration) -> Result<Vec<Outgoing>> {
        let now = self.now();
        // The reader takes no lock, so that looking into an empty outbox is in nobody's way.
        if !self.ask("fetch outgoing", weigh(1, 0), move |look| look.outbox_due(now)).await? {
            return Ok(Vec::new());
        }
        self.write("fetch outgoing", move |write| write.fetch_outgoing(max, lease_for)).await
    }

    /// Notes what came of handing jobs on, each with a result in order. A repeat does no harm.
    ///
    /// # Errors
    /// Those of the store.
    pub async fn settle_outgoing(&self, batch: Vec<Handover>) -> Vec<Result<()>> {
        self.each("settle outgoing", batch.len(), 0, move |write| write.settle_outgoing(&batch)).await
    }

    /// Has jobs for other backends tried again at once, each with a result in order.
    ///
    /// # Errors
    /// `NotFound` (E-007).
    pub async fn retry_outgoing(&self, ids: Vec<JobId>) -> Vec<Result<()>> {
        self.each("retry outgoing", ids.len(), 0, move |write| write.retry_outgoing(&ids)).await
    }

    /// Deletes jobs for other backends, each with a result in order.
    ///
    /// # Errors
    /// `NotFound` (E-007).
    pub async fn delete_outgoing(&self, ids: Vec<JobId>) -> Vec<Result<()>> {
        self.each("delete outgoing", ids.len(), 0, move |write| write.delete_outgoing(&ids)).await
    }

    /// At most `len` jobs for other backends after the receipt `after`, oldest first.
    ///
    /// # Errors
    /// Those of the store.
    pub async fn outbox(&self, after: u64, len: usize) -> Result<Vec<OutboxEntry>> {
        self.ask("list outgoing", weigh(len, 0), move |look| look.outbox(after, len)).await
    }

    /// How many jobs for other backends there are.
    ///
    /// # Errors
    /// Those of the store.
    pub async fn outbox_stats(&self) -> Result<OutboxStats> {
        self.ask("count outgoing", weigh(1, 0), |look| look.outbox_stats()).await
    }
}
