//! Reading what jobs say.

use taskport_abstraction::journal::JournalEntry;
use taskport_abstraction::{JobId, Result};

use crate::handle::EngineHandle;
use crate::mailbox::weigh;

impl EngineHandle {
    /// At most `len` entries of a job's journal after number `after`, in order.
    ///
    /// # Errors
    /// `NotFound` (E-007); those of the store.
    pub async fn journal(&self, job: JobId, after: u64, len: usize) -> Result<Vec<JournalEntry>> {
        self.ask("read journal", weigh(len, 0), move |look| look.journal(&job, after, len)).await
    }
}
