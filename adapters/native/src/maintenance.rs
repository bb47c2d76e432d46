//! Upkeep of the engine's file.

use std::path::Path;

use async_trait::async_trait;
use taskport_abstraction::maintenance::{
    BackupReport, IntegrityReport, Maintenance, PruneReport, Retention, SizeReport,
};
use taskport_abstraction::{Feature, Result};

use crate::client::NativeBackend;

impl NativeBackend {
    fn require(&self, feature: Feature, operation: &'static str) -> Result<()> {
        self.here(self.capability.require(feature, operation))
    }
}

#[async_trait]
impl Maintenance for NativeBackend {
    async fn backup(&self, to: &Path) -> Result<BackupReport> {
        self.require(Feature::Backup, "backup")?;
        self.here(self.engine.backup(to.to_owned()).await)
    }

    async fn restore(&self, from: &Path) -> Result<BackupReport> {
        self.require(Feature::Restore, "restore")?;
        self.here(self.engine.restore(from.to_owned()).await)
    }

    async fn integrity(&self) -> Result<IntegrityReport> {
        self.here(self.engine.integrity().await)
    }

    async fn repair(&self) -> Result<IntegrityReport> {
        self.here(self.engine.repair().await)
    }

    async fn checkpoint(&self) -> Result<SizeReport> {
        self.require(Feature::Vacuum, "checkpoint")?;
        self.here(self.engine.checkpoint().await)
    }

    async fn vacuum(&self) -> Result<SizeReport> {
        self.require(Feature::Vacuum, "vacuum")?;
        self.here(self.engine.vacuum().await)
    }

    async fn rebuild(&self) -> Result<SizeReport> {
        self.require(Feature::Vacuum, "rebuild")?;
        self.here(self.engine.rebuild().await)
    }

    async fn prune(&self, retention: &Retention) -> Result<PruneReport> {
        self.here(self.engine.prune(*retention).await)
    }

    async fn prunable(&self, retention: &Retention) -> Result<PruneReport> {
        self.here(self.engine.prunable(*retention).await)
    }
}
