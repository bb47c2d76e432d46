//! Upkeep of the engine's store.

use std::path::PathBuf;

use taskport_abstraction::maintenance::{BackupReport, IntegrityReport, PruneReport, Retention, SizeReport};
use taskport_abstraction::{Result, Timestamp};
use taskport_engine::store::Keeper;
use taskport_engine::{Sweep, SweepMode};
use tokio::sync::oneshot;

use crate::handle::{EngineHandle, defect, spawn};

/// # Cancel safety
/// Upkeep whose future is dropped goes on to its end, but for a prune, which stops between two transactions.
impl EngineHandle {
    /// Removes what has ended longer ago than `retention` says, in many transactions.
    ///
    /// # Errors
    /// Those of the store. What was removed before stays removed.
    pub async fn prune(&self, retention: Retention) -> Result<PruneReport> {
        self.sweep(retention, SweepMode::Remove).await
    }

    /// What [`prune`](Self::prune) would remove.
    ///
    /// # Errors
    /// Those of the store.
    pub async fn prunable(&self, retention: Retention) -> Result<PruneReport> {
        self.sweep(retention, SweepMode::Count).await
    }

    async fn sweep(&self, retention: Retention, mode: SweepMode) -> Result<PruneReport> {
        let mut sweep = Sweep::new(mode);
        while !sweep.is_done() {
            let slice = move |write: &mut dyn crate::verbs::Write| {
                write.prune(&retention, &mut sweep)?;
                Ok(sweep)
            };
            sweep = self.write("prune", slice).await?;
        }
        Ok(sweep.report())
    }

    /// Writes a consistent copy of everything to a new file.
    ///
    /// # Errors
    /// `Unavailable` where the file exists or cannot be written (E-037); `Unsupported`; those of the store.
    pub async fn backup(&self, to: PathBuf) -> Result<BackupReport> {
        self.keep("backup", move |keeper, _| keeper.backup(&to)).await
    }

    /// Replaces everything by a copy, where nobody works.
    ///
    /// # Errors
    /// `Conflict` while workers are alive or jobs run (E-054); `Corrupt` where the copy is damaged (E-026) or none
    /// (E-024); `Unsupported`; those of the store.
    pub async fn restore(&self, from: PathBuf) -> Result<BackupReport> {
        self.keep("restore", move |keeper, now| keeper.restore(&from, now)).await
    }

    /// Looks for damage.
    ///
    /// # Errors
    /// Those of the store.
    pub async fn integrity(&self) -> Result<IntegrityReport> {
        self.keep("check", |keeper, _| keeper.integrity()).await
    }

    /// Looks for damage and puts right what can be without losing anything.
    ///
    /// # Errors
    /// Those of the store.
    pub async fn repair(&self) -> Result<IntegrityReport> {
        self.keep("repair", |keeper, _| keeper.repair()).await
    }

    /// Moves the log into the main file and empties it. Answers the sizes of the log.
    ///
    /// # Errors
    /// `Unsupported`; those of the store.
    pub async fn checkpoint(&self) -> Result<SizeReport> {
        self.keep("checkpoint", |keeper, _| keeper.checkpoint()).await
    }

    /// Gives free space back in small steps. Answers the sizes of the file.
    ///
    /// # Errors
    /// `Unsupported`; those of the store.
    pub async fn vacuum(&self) -> Result<SizeReport> {
        self.keep("vacuum", |keeper, _| keeper.vacuum()).await
    }

    /// Writes the file anew, where nobody works. Answers its sizes.
    ///
    /// # Errors
    /// `Conflict` while workers are alive or jobs run (E-054); `Unsupported`; those of the store.
    pub async fn rebuild(&self) -> Result<SizeReport> {
        self.keep("rebuild", |keeper, now| keeper.rebuild(now)).await
    }

    /// Has the keeper do something on a thread of its own, one after the other.
    async fn keep<T: Send + 'static>(
        &self,
        operation: &'static str,
        work: impl FnOnce(&dyn Keeper, Timestamp) -> Result<T> + Send + 'static,
    ) -> Result<T> {
        let one_at_a_time = self.shared().keeper.lock().await;
        let Some(keeper) = one_at_a_time.clone() else { return Err(defect(operation)) };
        let now = self.now();
        let (reply, answer) = oneshot::channel();
        spawn("taskport-upkeep", move || drop(reply.send(work(&*keeper, now))))?;
        let answer = answer.await.unwrap_or_else(|_| Err(defect(operation)));
        drop(one_at_a_time);
        answer
    }
}
