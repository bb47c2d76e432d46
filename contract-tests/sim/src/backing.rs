//! What the simulated processes share: tables in memory, or a file that each opens for itself.

use std::path::PathBuf;

use anyhow::{Context, Result};
use taskport_engine::Store;
use taskport_store_memory::MemoryStore;
use taskport_store_sqlite::{SqliteOptions, SqliteStore, Synchronous};
use tempfile::TempDir;

use crate::store::Shared;

/// A place that processes open.
pub(crate) trait Backing {
    type Store: Store;

    /// Opens it once more, as a new process does.
    fn open(&mut self) -> Result<Shared<Self::Store>>;
}

/// Tables in memory.
#[derive(Debug)]
pub(crate) struct Memory(Shared<MemoryStore>);

impl Memory {
    pub(crate) fn new() -> Self {
        Self(Shared::new(MemoryStore::new()))
    }
}

impl Backing for Memory {
    type Store = MemoryStore;

    fn open(&mut self) -> Result<Shared<MemoryStore>> {
        Ok(self.0.clone())
    }
}

/// A SQLite file.
#[derive(Debug)]
pub(crate) struct File {
    path: PathBuf,
    _directory: TempDir,
}

impl File {
    pub(crate) fn new() -> Result<Self> {
        let directory = tempfile::tempdir().context("could not make a directory for the store")?;
        Ok(Self { path: directory.path().join("sim.db"), _directory: directory })
    }
}

impl Backing for File {
    type Store = SqliteStore;

    fn open(&mut self) -> Result<Shared<SqliteStore>> {
        // Nothing here cuts the power, so what the operating system has is kept.
        let options = SqliteOptions { synchronous: Synchronous::Normal, ..SqliteOptions::default() };
        Ok(Shared::new(SqliteStore::open(&self.path, options)?))
    }
}
