//! How an adapter is made: what it is given, and what it gives to whoever knows only its kind.

use std::fmt;
use std::sync::Arc;

use crate::backend::Backend;
use crate::capability::Capability;
use crate::error::Result;
use crate::id::BackendName;
use crate::task::BoxFuture;
use crate::time::Clock;

/// What an adapter takes from its surroundings, since it looks at none by itself (I4).
#[derive(Debug, Clone)]
pub struct Environment {
    /// Where "now" comes from.
    pub clock: Arc<dyn Clock>,
    /// Random bits from the operating system.
    pub random_seed: u64,
    /// The name of this machine.
    pub host: Arc<str>,
    /// The number of this process.
    pub pid: u32,
}

/// Makes the backends of one kind from their configuration `C`.
pub struct Factory<C> {
    /// The kind, as configuration names it.
    pub kind: &'static str,
    /// What a backend so configured can do, before any connection.
    ///
    /// # Errors
    /// `InvalidConfig` where the configuration contradicts itself.
    pub capability: fn(&C) -> Result<Capability>,
    /// Connects, or creates what is to be embedded.
    pub open: OpenBackend<C>,
}

/// Opens a backend of the given name and configuration.
pub type OpenBackend<C> = fn(BackendName, C, Environment) -> BoxFuture<'static, Result<Arc<dyn Backend>>>;

impl<C> fmt::Debug for Factory<C> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Factory").field("kind", &self.kind).finish_non_exhaustive()
    }
}
