//! One invocation: what it was started with, and what it has loaded so far.

use std::collections::BTreeMap;
use std::sync::Arc;

use taskport_registry::{Registry, RegistryBuilder, workflow_from_text};
use tokio::sync::OnceCell;

use super::report::Format;
use super::terminal::Terminal;
use super::value;
use crate::abstraction::backend::{Admin, Backend, Cursor, Workflows};
use crate::abstraction::id::BackendName;
use crate::abstraction::{WorkflowDefinition, codes};
use crate::config::{Loaded, Loader, Variables};
use crate::{Error, JobId, Result, Taskport, port, tasks};

/// Options that every command takes.
#[derive(Debug, Clone, clap::Args)]
#[command(next_help_heading = "Global options")]
pub(crate) struct Global {
    /// Print the answer as one JSON document on one line
    #[arg(long, global = true)]
    json: bool,
    /// The configuration file; left out, taskport.toml where there is one
    #[arg(long, global = true, value_name = "PATH")]
    config: Option<std::path::PathBuf>,
    /// The backend to use; left out, the default one
    #[arg(long, global = true, value_name = "NAME", value_parser = value::name::<BackendName>)]
    backend: Option<BackendName>,
    /// The profile of the configuration
    #[arg(long, global = true, value_name = "NAME")]
    profile: Option<String>,
    /// What is logged to standard error: a level, or a list such as warn,taskport=debug
    #[arg(long, global = true, value_name = "FILTER")]
    log: Option<String>,
}

impl Global {
    /// How results are to be printed.
    pub(crate) fn format(&self) -> Format {
        if self.json { Format::Json } else { Format::Text }
    }
}

/// One invocation of the command line.
#[derive(Debug)]
pub(crate) struct Session {
    /// What standard error may look like.
    pub(crate) terminal: Terminal,
    program: String,
    global: Global,
    code: RegistryBuilder,
    loaded: std::cell::OnceCell<Loaded>,
    port: OnceCell<Taskport>,
}

/// A job, where it lives.
#[derive(Debug)]
pub(super) struct Located {
    pub(super) backend: Arc<dyn Backend>,
    pub(super) id: JobId,
}

impl Session {
    /// Nothing is loaded until it is needed.
    pub(super) fn new(program: String, global: Global, terminal: Terminal, code: RegistryBuilder) -> Self {
        Self { terminal, program, global, code, loaded: std::cell::OnceCell::new(), port: OnceCell::new() }
    }

    /// How results are to be printed.
    pub(crate) fn format(&self) -> Format {
        self.global.format()
    }

    /// The name the program was called by.
    pub(super) fn program(&self) -> &str {
        &self.program
    }

    /// What is to be logged, where the command line says so.
    pub(super) fn log_filter(&self) -> Option<&str> {
        self.global.log.as_deref()
    }

    /// The backend that `--backend` names.
    pub(super) fn chosen_backend(&self) -> Option<&BackendName> {
        self.global.backend.as_ref()
    }

    /// The configuration.
    pub(crate) fn loaded(&self) -> Result<&Loaded> {
        if let Some(loaded) = self.loaded.get() {
            return Ok(loaded);
        }
        let mut loader = Loader::new().variables(Variables::system());
        if let Some(path) = &self.global.config {
            loader = loader.file(path);
        }
        if let Some(profile) = &self.global.profile {
            loader = loader.profile(profile);
        }
        let mut loaded = loader.load()?;
        if let Some(name) = &self.global.backend {
            if !loaded.config.backends.contains_key(name) {
                return Err(loaded.config.unknown_backend(name.as_str()));
            }
            loaded.config.routing.default = Some(name.clone());
        }
        Ok(self.loaded.get_or_init(|| loaded))
    }

    /// The tasks and workflows that are declared in code.
    pub(super) fn code(&self) -> RegistryBuilder {
        self.code.clone()
    }

    /// Every task and workflow, not yet checked.
    pub(super) fn builder(&self) -> Result<RegistryBuilder> {
        tasks::add_configured(self.code(), self.loaded()?)
    }

    /// Every task and workflow, checked.
    pub(crate) fn registry(&self) -> Result<Registry> {
        self.builder()?.build()
    }

    /// The connected backends.
    pub(crate) async fn port(&self) -> Result<&Taskport> {
        self.port.get_or_try_init(|| self.connect(self.code())).await
    }

    /// Connects the backends for these tasks and workflows besides the configured ones.
    pub(crate) async fn connect(&self, code: RegistryBuilder) -> Result<Taskport> {
        Taskport::builder().config(self.loaded()?.clone()).registry(code).open().await
    }

    /// Finishes what was accepted, where anything was connected.
    pub(super) async fn close(&self) -> Result<()> {
        match self.port.get() {
            Some(port) => port.close().await,
            None => Ok(()),
        }
    }

    /// The backend that `--backend` names, or the default one.
    pub(super) async fn backend(&self) -> Result<Arc<dyn Backend>> {
        let port = self.port().await?;
        Ok(Arc::clone(port.backend(port.default_name().as_str())?))
    }

    /// The backend of a name.
    pub(super) async fn backend_named(&self, name: &BackendName) -> Result<Arc<dyn Backend>> {
        Ok(Arc::clone(self.port().await?.backend(name.as_str())?))
    }

    /// The job that `text` names: `backend:id` where it starts with the name of a backend, else an id.
    pub(super) async fn locate(&self, text: &str) -> Result<Located> {
        let backends = &self.loaded()?.config.backends;
        let named = text.split_once(':').and_then(|(name, id)| Some((BackendName::new(name).ok()?, id)));
        match named.filter(|(name, _)| backends.contains_key(name)) {
            None => Ok(Located { backend: self.backend().await?, id: JobId::new(text)? }),
            Some((name, id)) => match self.chosen_backend() {
                Some(chosen) if *chosen != name => {
                    let message = format!("job `{text}` is not on the backend `{chosen}`");
                    Err(super::usage::misuse(message)
                        .hint("leave `--backend` out, or the backend in the job"))
                }
                _ => Ok(Located { backend: self.backend_named(&name).await?, id: JobId::new(id)? }),
            },
        }
    }

    /// The jobs that `texts` name, by backend, so that each backend is asked once.
    pub(super) async fn locate_all(&self, texts: &[String]) -> Result<Vec<(Arc<dyn Backend>, Vec<JobId>)>> {
        let mut groups: BTreeMap<BackendName, (Arc<dyn Backend>, Vec<JobId>)> = BTreeMap::new();
        for text in texts {
            let Located { backend, id } = self.locate(text).await?;
            let (_, ids) = groups.entry(backend.name().clone()).or_insert((backend, Vec::new()));
            if !ids.contains(&id) {
                ids.push(id);
            }
        }
        Ok(groups.into_values().collect())
    }

    /// The workflow that `target` names: a file, or a name in the registry.
    pub(super) fn definition(&self, target: &str) -> Result<Arc<WorkflowDefinition>> {
        if !is_file(target) {
            return Ok(Arc::clone(&self.registry()?.workflow(target)?.definition));
        }
        let (definition, location) = workflow_from_text(&value::read(target)?, target)?;
        let name = definition.name.clone();
        let registry = tasks_of(&self.registry()?).workflow_at(definition, location).build()?;
        Ok(Arc::clone(&registry.workflow(&name)?.definition))
    }

    /// Says on standard error what an empty or cut listing would leave open.
    pub(super) fn remark_on(&self, empty: bool, next: Option<&Cursor>, what: &str) {
        if self.format() == Format::Json {
            return;
        }
        if empty {
            self.terminal.note(format_args!("there are no {what}"));
        }
        if let Some(next) = next {
            self.terminal.note(format_args!("there are more; go on with `--after {}`", next.0));
        }
    }

    /// Says on standard error where a configuration without a file comes from.
    pub(super) fn remark_on_defaults(&self, loaded: &Loaded) {
        if loaded.file.is_none() {
            self.terminal.note(format_args!(
                "there is no `{}` here: the defaults give one native backend in `taskport.db`",
                crate::config::DEFAULT_FILE
            ));
        }
    }
}

/// The tasks alone, for a file that is named and may be one of the configured workflows.
pub(super) fn tasks_of(registry: &Registry) -> RegistryBuilder {
    registry.tasks().cloned().fold(RegistryBuilder::default(), RegistryBuilder::task)
}

/// A file is told from a name by its ending or by a slash.
fn is_file(target: &str) -> bool {
    target.contains('/') || [".yaml", ".yml", ".json"].iter().any(|ending| target.ends_with(ending))
}

/// Administration of a backend.
pub(super) fn admin(backend: &dyn Backend) -> Result<&dyn Admin> {
    backend.admin().ok_or_else(|| port::no_admin(backend.name()))
}

/// Workflows of a backend.
pub(super) fn workflows(backend: &dyn Backend) -> Result<&dyn Workflows> {
    backend.workflows().ok_or_else(|| {
        Error::new(&codes::UNSUPPORTED, "run", "the backend runs no workflows")
            .in_backend(backend.name())
            .hint("name another backend with `--backend`")
    })
}
