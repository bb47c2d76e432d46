//! The engine: the writing side of a store, with what it remembers between transactions.

use taskport_abstraction::{Result, Timestamp};

use crate::config::EngineConfig;
use crate::reader::Reader;
use crate::store::Store;
use crate::transaction::Transaction;

/// The writing side of a store.
#[derive(Debug)]
pub struct Engine<S: Store> {
    pub(crate) store: S,
    pub(crate) config: EngineConfig,
}

impl<S: Store> Engine<S> {
    /// Takes the writing side of a store into use.
    ///
    /// # Errors
    /// Those of the store.
    pub fn open(store: S, config: EngineConfig, _now: Timestamp) -> Result<Self> {
        Ok(Self { store, config })
    }

    /// Begins a transaction. Dropped without a commit, it leaves nothing behind.
    ///
    /// # Errors
    /// Those of the store, such as `Backpressure` (E-029) where another process holds it.
    pub fn begin(&mut self, now: Timestamp) -> Result<Transaction<'_, S>> {
        Transaction::begin(self, now)
    }

    /// Opens a reader of what is committed, for another thread.
    ///
    /// # Errors
    /// Those of the store.
    pub fn reader(&self) -> Result<Reader<S::Reader>> {
        Ok(Reader::new(self.store.reader()?, self.config.clone()))
    }

    /// The store, to be watched.
    pub fn store(&self) -> &S {
        &self.store
    }

    /// Whether another process or connection has committed since the engine last looked.
    ///
    /// # Errors
    /// Those of the store.
    pub fn changed_elsewhere(&mut self) -> Result<bool> {
        self.store.changed_elsewhere()
    }

    /// When [`tick`](Transaction::tick) has something to do next, or earlier.
    ///
    /// # Errors
    /// Those of the store.
    pub fn next_due(&mut self) -> Result<Option<Timestamp>> {
        self.store.next_due()
    }
}
