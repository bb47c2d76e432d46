//! The backend with something put between: a store that breaks on purpose, a consumer that is watched.

use std::sync::Arc;

use taskport_abstraction::backend::{Health, WorkerSpec};
use taskport_abstraction::id::IdGenerator;
use taskport_abstraction::{BackendName, Consumer, Environment, Result};
use taskport_engine_runtime::{EngineHandle, Store};

use crate::client::{NativeBackend, check_spec};
use crate::config::NativeConfig;
use crate::consumer::NativeConsumer;
use crate::{capability, settings};

impl NativeBackend {
    /// A backend on the store that `open` gives, with the limits of `config`; its URL says what the store is like.
    ///
    /// # Errors
    /// `InvalidConfig` (E-020); those of `open`.
    pub async fn over<S: Store>(
        name: BackendName,
        config: &NativeConfig,
        environment: Environment,
        open: impl FnOnce() -> Result<S> + Send + 'static,
    ) -> Result<Self> {
        let capability = Arc::new(capability::of(config, &config.location()?));
        let settings = settings(config, &environment);
        let engine = EngineHandle::open(open, settings, environment.clock.clone()).await?;
        let health = Health { version: "a given store".to_owned(), degraded: Vec::new() };
        let ids = IdGenerator::new(environment.random_seed);
        Ok(Self { name, engine, environment, ids, capability, health })
    }

    /// The pulling half of the worker that [`worker`](taskport_abstraction::Backend::worker) makes of `spec`.
    ///
    /// # Errors
    /// `InvalidInput` (E-004) where the specification makes no sense.
    pub fn consumer(&self, spec: &WorkerSpec) -> Result<Arc<dyn Consumer>> {
        self.here(check_spec(spec))?;
        Ok(Arc::new(NativeConsumer::new(&self.engine, &self.name, &self.environment, spec)))
    }
}
