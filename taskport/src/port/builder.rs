use std::collections::BTreeMap;
use std::hash::{BuildHasher, RandomState};
use std::path::PathBuf;
use std::sync::Arc;

use taskport_abstraction::backend::Scope;
use taskport_abstraction::id::IdGenerator;
use taskport_abstraction::{Backend, BackendName, Clock, Environment, Result, SystemClock};
use taskport_registry::{Registry, RegistryBuilder};

use super::prepare::Warned;
use super::start_check::check_registry;
use super::{Inner, OpenBackend, Taskport};
use crate::backends;
use crate::config::{BackendConfig, Loaded, Loader, Variables};
use crate::tasks;
use crate::telemetry::Telemetry;

/// Makes a [`Taskport`].
#[derive(Debug, Clone)]
pub struct Builder {
    source: Source,
    registry: RegistryBuilder,
    clock: Arc<dyn Clock>,
    given: Option<Arc<dyn Backend>>,
}

#[derive(Debug, Clone)]
enum Source {
    Loaded(Box<Loaded>),
    Files(Loader),
}

impl Default for Builder {
    fn default() -> Self {
        Self {
            source: Source::Files(Loader::new()),
            registry: RegistryBuilder::default(),
            clock: Arc::new(SystemClock),
            given: None,
        }
    }
}

impl Builder {
    /// Reads the configuration file at `path`, and the environment.
    #[must_use]
    pub fn path(mut self, path: impl Into<PathBuf>) -> Self {
        self.source = Source::Files(Loader::new().file(path));
        self
    }

    /// Takes a configuration that is already there, in place of file and environment.
    #[must_use]
    pub fn config(mut self, config: impl Into<Loaded>) -> Self {
        self.source = Source::Loaded(Box::new(config.into()));
        self
    }

    /// Sets the tasks and workflows, usually `registry![…]`. Those of the configuration are added.
    #[must_use]
    pub fn registry(mut self, registry: impl Into<RegistryBuilder>) -> Self {
        self.registry = registry.into();
        self
    }

    /// Sets where "now" comes from. Left out, the operating system.
    #[must_use]
    pub fn clock(mut self, clock: Arc<dyn Clock>) -> Self {
        self.clock = clock;
        self
    }

    /// Takes a backend that is there already, in place of the configured one of its name.
    #[cfg(feature = "testing")]
    pub(crate) fn given(mut self, backend: Arc<dyn Backend>) -> Self {
        self.given = Some(backend);
        self
    }

    /// Connects every backend and checks the registry against what they can do.
    ///
    /// # Errors
    /// As [`Taskport::open`].
    pub async fn open(self) -> Result<Taskport> {
        let loaded = match self.source {
            Source::Loaded(loaded) => *loaded,
            Source::Files(loader) => loader.variables(Variables::system()).load()?,
        };
        let registry = tasks::add_configured(self.registry, &loaded)?.build()?;
        let default = loaded.config.default_backend()?.clone();
        let host: Arc<str> = host_name().into();
        let mut backends = BTreeMap::new();
        for (name, config) in &loaded.config.backends {
            let environment = Environment {
                clock: self.clock.clone(),
                random_seed: random_seed(),
                host: host.clone(),
                pid: std::process::id(),
            };
            let given = self.given.clone().filter(|backend| backend.name() == name);
            match open_backend(name, config, &loaded, environment, given).await {
                Ok(open) => backends.insert(name.clone(), open),
                Err(error) => {
                    close_all(&backends).await;
                    return Err(error.in_backend(name));
                }
            };
        }
        if let Err(error) = check_start(&registry, &backends[&default]) {
            close_all(&backends).await;
            return Err(error);
        }
        let ids = IdGenerator::new(random_seed());
        let telemetry = Telemetry::new(self.clock.clone());
        let inner = Inner { registry, loaded, backends, default, ids, clock: self.clock, host, telemetry };
        Ok(Taskport { inner: Arc::new(inner), parentage: None })
    }
}

async fn open_backend(
    name: &BackendName,
    config: &BackendConfig,
    loaded: &Loaded,
    environment: Environment,
    given: Option<Arc<dyn Backend>>,
) -> Result<OpenBackend> {
    let backend = match given {
        Some(backend) => backend,
        None => {
            let kind = backends::find(&config.kind)?;
            (kind.open)(name.clone(), config.revealed(&loaded.variables)?, environment).await?
        }
    };
    Ok(OpenBackend { backend, on_unsupported: config.on_unsupported, warned: Warned::default() })
}

/// Lets go of what was opened before a later step failed; that step's error is the one to report.
async fn close_all(backends: &BTreeMap<BackendName, OpenBackend>) {
    for open in backends.values() {
        if let Err(error) = open.backend.close().await {
            tracing::warn!(%error, "a backend did not close cleanly");
        }
    }
}

fn check_start(registry: &Registry, default: &OpenBackend) -> Result<()> {
    let backend = &default.backend;
    let problems = check_registry(registry, backend.name(), default.on_unsupported, |task| {
        backend.capabilities(Scope { task: Some(&task.name), queue: task.options.queue.as_ref() })
    });
    match problems.into_iter().next() {
        Some(first) => Err(first),
        None => Ok(()),
    }
}

/// 64 bits from the operating system: what the standard library seeds its hash maps with.
pub(crate) fn random_seed() -> u64 {
    RandomState::new().hash_one(std::process::id())
}

fn host_name() -> String {
    rustix::system::uname().nodename().to_string_lossy().into_owned()
}
