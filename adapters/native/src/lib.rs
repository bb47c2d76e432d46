//! The embedded engine as a Taskport backend of kind `native`.
//!
//! This crate only translates: [`NativeConfig`] names a store, [`factory`] opens the engine on it, and the backend's
//! methods are the engine's.

mod admin;
mod batches;
mod capability;
mod client;
mod config;
mod consumer;
mod journal;
mod maintenance;
mod outbox;
mod over;
mod retention;
mod schedules;
mod workflows;

use std::sync::Arc;

use taskport_abstraction::backend::Health;
use taskport_abstraction::id::IdGenerator;
use taskport_abstraction::{Backend, BackendName, Environment, Factory, Result};
use taskport_engine_runtime::{EngineConfig, EngineHandle};
use taskport_store_memory::MemoryStore;
use taskport_store_sqlite::{SqliteOptions, SqliteStore};

pub use crate::capability::{MEMORY, SQLITE};
pub use crate::client::NativeBackend;
use crate::config::Location;
pub use crate::config::{NativeConfig, Synchronous};
pub use crate::retention::{Keep, RetentionConfig};

/// The kind, as configuration names it.
pub const KIND: &str = "native";

/// Makes backends on an embedded engine.
pub fn factory() -> Factory<NativeConfig> {
    Factory {
        kind: KIND,
        capability: |config| Ok(capability::of(config, &config.location()?)),
        open: |name, config, environment| Box::pin(open(name, config, environment)),
    }
}

async fn open(name: BackendName, config: NativeConfig, environment: Environment) -> Result<Arc<dyn Backend>> {
    match start(&name, &config, environment).await {
        Ok(backend) => Ok(Arc::new(backend)),
        Err(error) => Err(error.in_backend(&name)),
    }
}

async fn start(name: &BackendName, config: &NativeConfig, environment: Environment) -> Result<NativeBackend> {
    let location = config.location()?;
    let capability = Arc::new(capability::of(config, &location));
    let settings = settings(config, &environment);
    let clock = environment.clock.clone();
    let (engine, health) = match location {
        Location::Memory => (
            EngineHandle::open(|| Ok(MemoryStore::new()), settings, clock).await?,
            Health { version: "memory".to_owned(), degraded: Vec::new() },
        ),
        Location::Sqlite(file) => {
            let options = SqliteOptions {
                synchronous: config.synchronous.into(),
                shared_file: config.shared_file,
                ..SqliteOptions::default()
            };
            let open = move || SqliteStore::open(file, options);
            let version = format!("SQLite {}", SqliteStore::sqlite_version());
            let degraded = degraded(config.synchronous);
            (EngineHandle::open(open, settings, clock).await?, Health { version, degraded })
        }
    };
    let ids = IdGenerator::new(environment.random_seed);
    Ok(NativeBackend { name: name.clone(), engine, environment, ids, capability, health })
}

fn settings(config: &NativeConfig, environment: &Environment) -> EngineConfig {
    EngineConfig {
        seed: environment.random_seed,
        payload_bytes_max: bytes(config.payload_bytes_max),
        result_bytes_max: bytes(config.result_bytes_max),
        page_len_max: capability::PAGE_LEN_MAX,
        retention: config.retention.into(),
        ..EngineConfig::default()
    }
}

fn degraded(synchronous: Synchronous) -> Vec<String> {
    match synchronous {
        Synchronous::Full => Vec::new(),
        Synchronous::Normal => {
            vec!["synchronous = \"normal\": a power cut may lose the last commits".to_owned()]
        }
    }
}

fn bytes(limit: u64) -> usize {
    usize::try_from(limit).unwrap_or(usize::MAX)
}
