//! Configuration: defaults ← `taskport.toml` ← profile ← environment.
//!
//! A file has one table per part. Every key may also be set by a variable that starts with `TASKPORT_` and joins the
//! levels with two underscores: `TASKPORT_WORKER__CONCURRENCY=32`, `TASKPORT_BACKENDS__LEGACY__BROKER=amqp://…`. A
//! table `[profile.NAME.…]` overlays the rest of the file where the profile is selected.
//!
//! Unknown keys and wrong values are errors that name the file, the line and the key. Passwords may be written as
//! `env:NAME` or `file:PATH` and are never shown.

mod backend;
mod file;
mod limits;
mod load;
mod origin;
mod problem;
mod schedule;
mod schema;
mod secret;
mod show;
mod task;
mod telemetry;
#[cfg(all(test, feature = "native"))]
mod tests;

mod units;
mod variables;
mod worker;

use std::collections::BTreeMap;
use std::path::PathBuf;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use taskport_abstraction::{BackendName, Error, Result, ScheduleName, TaskName, codes, text};

use crate::backends;

pub use self::backend::{BackendConfig, OnUnsupported};
pub use self::load::{Loaded, Loader};
pub use self::origin::Origin;
pub use self::schedule::ScheduleConfig;
#[cfg(feature = "cli")]
pub(crate) use self::schedule::{is_configured, parse_catch_up};
pub use self::schema::schema;
pub use self::secret::{Secret, SecretUrl};
pub use self::show::Entry;
pub use self::task::{
    Action, CommandLine, ExecAction, HttpAction, HttpMethod, OutputFormat, TaskConfig, TaskOptions,
};
pub use self::telemetry::TelemetryConfig;
pub use self::units::Rate;
pub use self::variables::Variables;
pub use self::worker::{Isolation, ProfileConfig, WorkerConfig};

/// The file that is read where none is named.
pub const DEFAULT_FILE: &str = "taskport.toml";

/// Everything that can be configured.
#[derive(Debug, Clone, Serialize, JsonSchema)]
#[schemars(deny_unknown_fields, default, title = "Taskport configuration")]
pub struct Config {
    /// The task queues in use, by name. Default: one called `main`, of kind `native`, in `taskport.db`. Names are
    /// lower-case words joined by single underscores. Since v0.1.
    #[schemars(with = "BTreeMap<String, BackendConfig>")]
    pub backends: BTreeMap<BackendName, BackendConfig>,
    /// Which backend takes a job. Since v0.1.
    pub routing: RoutingConfig,
    /// What the workers of this program do. Since v0.1.
    pub worker: WorkerConfig,
    /// Tasks that need no code, by name. Since v0.1.
    #[schemars(with = "BTreeMap<String, TaskConfig>")]
    pub tasks: BTreeMap<TaskName, TaskConfig>,
    /// Schedules, by name, which are put on the default backend when a worker starts. One that is taken out of the file
    /// goes on until it is removed. Since v0.1.
    #[schemars(with = "BTreeMap<String, ScheduleConfig>")]
    pub schedules: BTreeMap<ScheduleName, ScheduleConfig>,
    /// Workflows written as files. Since v0.1.
    pub workflows: WorkflowsConfig,
    /// What is logged, and how. Since v0.1.
    pub log: LogConfig,
    /// Where the spans of this program go. Since v0.1.
    pub telemetry: TelemetryConfig,
}

impl Default for Config {
    /// One backend called `main`: the embedded engine in `taskport.db`, where this build has it.
    fn default() -> Self {
        Self {
            backends: backends::default_backends(),
            routing: RoutingConfig::default(),
            worker: WorkerConfig::default(),
            tasks: BTreeMap::new(),
            schedules: BTreeMap::new(),
            workflows: WorkflowsConfig::default(),
            log: LogConfig::default(),
            telemetry: TelemetryConfig::default(),
        }
    }
}

/// Which backend takes a job.
#[derive(Debug, Clone, Default, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct RoutingConfig {
    /// The backend of every job that names none. Default: the only backend there is; with several it must be set, so
    /// that no job goes to a backend by accident. Since v0.1.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(with = "Option<String>")]
    pub default: Option<BackendName>,
}

/// Workflows written as files.
#[derive(Debug, Clone, Default, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct WorkflowsConfig {
    /// YAML or JSON files, relative to the configuration file; `*` in a file name stands for any run of characters.
    /// Default: none. A definition that does not pass its checks stops the program at start. Since v0.1.
    pub files: Vec<PathBuf>,
}

/// What is logged, and how.
#[derive(Debug, Clone, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct LogConfig {
    /// What is logged: a level (`error`, `warn`, `info`, `debug`, `trace`) or a list such as `info,taskport=debug`.
    /// Default: `info`. Payloads and secrets are logged at no level. Since v0.1.
    pub filter: String,
    /// The form of a line: `text` for people, `json` for machines. Default: `text`. Since v0.1.
    pub format: LogFormat,
}

impl Default for LogConfig {
    fn default() -> Self {
        Self { filter: "info".to_owned(), format: LogFormat::Text }
    }
}

/// The form of a log line.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum LogFormat {
    /// For people.
    #[default]
    Text,
    /// One JSON object per line.
    Json,
}

impl Config {
    /// A configuration from TOML text alone, without profile and environment.
    ///
    /// # Errors
    /// `InvalidConfig` naming line and key.
    pub fn from_toml(text: &str) -> Result<Self> {
        Ok(Loader::new().text(text).load()?.config)
    }

    /// The backend of every job that names none.
    ///
    /// # Errors
    /// `InvalidConfig` where it is not configured, or where there are several and none is the default.
    pub fn default_backend(&self) -> Result<&BackendName> {
        match &self.routing.default {
            Some(name) if self.backends.contains_key(name) => Ok(name),
            Some(name) => Err(self.unknown_backend(name.as_str())),
            None => match (self.backends.len(), self.backends.keys().next()) {
                (1, Some(only)) => Ok(only),
                (count, _) => Err(Error::new(
                    &codes::CONFIG_VALUE,
                    "choose a backend",
                    format!("there are {count} backends and `routing.default` names none of them"),
                )
                .hint("set `default` under `[routing]`")),
            },
        }
    }

    /// The error for a backend that is not configured.
    pub(crate) fn unknown_backend(&self, name: &str) -> Error {
        let error = Error::new(
            &codes::UNKNOWN_BACKEND,
            "choose a backend",
            format!("there is no backend `{name}` in the configuration"),
        );
        match text::nearest(name, self.backends.keys().map(BackendName::as_str)) {
            Some(near) => error.hint(format!("did you mean `{near}`?")),
            None => error.hint(format!("add a table `[backends.{name}]`")),
        }
    }
}
