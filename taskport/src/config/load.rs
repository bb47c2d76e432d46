//! The layers, from the weakest to the strongest: defaults, file, profile, environment.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use figment::value::{Dict, Map, Value};
use figment::{Figment, Metadata, Profile, Provider};
use serde::Deserialize;
use taskport_abstraction::task::Location;
use taskport_abstraction::{BackendName, Error, Result, ScheduleName, TaskName, codes};

use super::ScheduleConfig;
use super::file::{FileLayer, parse_value};
use super::origin::{KeyPath, Origin, Origins};
use super::problem::Problem;
use super::{
    Action, BackendConfig, Config, DEFAULT_FILE, LogConfig, RoutingConfig, TaskConfig, TaskOptions,
    TelemetryConfig, Variables, WorkerConfig, WorkflowsConfig, limits,
};
use crate::backends;

/// What every variable of the configuration starts with.
const PREFIX: &str = "TASKPORT_";

/// Reads a configuration. Made for one load.
#[derive(Debug, Clone, Default)]
pub struct Loader {
    source: Source,
    profile: Option<String>,
    variables: Variables,
}

#[derive(Debug, Clone, Default)]
enum Source {
    /// `taskport.toml`, where there is one.
    #[default]
    Usual,
    File(PathBuf),
    Text(String),
}

/// A configuration, and where each of its values comes from.
#[derive(Debug, Clone)]
pub struct Loaded {
    /// The configuration.
    pub config: Config,
    /// The file it was read from.
    pub file: Option<PathBuf>,
    /// The profile that was selected.
    pub profile: Option<String>,
    /// The variables its secrets may refer to.
    pub variables: Variables,
    pub(super) origins: Origins,
}

impl From<Config> for Loaded {
    /// A configuration made by the program, whose secrets refer to the variables of this process.
    fn from(config: Config) -> Self {
        Self {
            config,
            file: None,
            profile: None,
            variables: Variables::system(),
            origins: Origins::default(),
        }
    }
}

impl Loaded {
    /// Where the value or table at `path` stands, for messages.
    pub(crate) fn location(&self, path: &[&str]) -> Location {
        let path: KeyPath = path.iter().map(|key| (*key).to_owned()).collect();
        match self.origins.find(&path) {
            Some(Origin::File { file, line, .. }) => Location { file: file.to_string().into(), line: *line },
            Some(Origin::Variable { name }) => Location { file: name.to_string().into(), line: 1 },
            Some(Origin::Default) | None => Location { file: "configuration".into(), line: 1 },
        }
    }
}

impl Loader {
    /// Reads `taskport.toml` in the working directory, where there is one, and no variables.
    pub fn new() -> Self {
        Self::default()
    }

    /// Reads the file at `path`, which must exist.
    #[must_use]
    pub fn file(mut self, path: impl Into<PathBuf>) -> Self {
        self.source = Source::File(path.into());
        self
    }

    /// Reads TOML text in place of a file.
    #[must_use]
    pub fn text(mut self, text: impl Into<String>) -> Self {
        self.source = Source::Text(text.into());
        self
    }

    /// Selects a profile, which must exist.
    #[must_use]
    pub fn profile(mut self, name: impl Into<String>) -> Self {
        self.profile = Some(name.into());
        self
    }

    /// Takes variables of the environment into account: `TASKPORT_CONFIG` names the file and `TASKPORT_PROFILE` the profile, where the
    /// caller does not; `TASKPORT_A__B` sets `a.b`.
    #[must_use]
    pub fn variables(mut self, variables: Variables) -> Self {
        self.variables = variables;
        self
    }

    /// Reads and checks everything. Secrets are not read yet.
    ///
    /// # Errors
    /// `InvalidConfig` that names the file and line, or the variable, and the key, with the nearest known key;
    /// `Unavailable` (E-037) where a file cannot be read.
    pub fn load(self) -> Result<Loaded> {
        let (file, layer) = self.read()?;
        let profile = self.profile.as_deref().or_else(|| self.variables.get("TASKPORT_PROFILE"));
        if let Some(name) = profile.filter(|name| !layer.profiles.contains_key(*name)) {
            return Err(layer.unknown_profile(name));
        }
        let (overrides, override_origins) = overrides(&self.variables)?;
        let base_dir = file.as_deref().and_then(Path::parent).unwrap_or(Path::new("")).to_owned();
        let build = |profile: Option<&str>| {
            let mut origins = Origins::default();
            layer.note_origins(None, &mut origins);
            let mut figment = Figment::new().merge(Layer(Profile::Default, layer.base.clone()));
            if let Some(name) = profile {
                layer.note_origins(Some(name), &mut origins);
                let overlay = layer.profiles.get(name).cloned().unwrap_or_default();
                figment = figment.merge(Layer(Profile::new(name), overlay)).select(Profile::new(name));
            }
            for (path, origin) in &override_origins {
                origins.set(path.clone(), origin.clone());
            }
            let figment = figment.merge(Layer(Profile::Global, overrides.clone()));
            let config = extract(&figment).and_then(|raw| raw.check(&base_dir));
            config.map_err(|problem| problem.into_error(&origins)).map(|config| (config, origins))
        };
        // A mistake in a profile that is not selected would otherwise wait for the day it is.
        for name in layer.profiles.keys().filter(|name| Some(name.as_str()) != profile) {
            build(Some(name))?;
        }
        let (config, origins) = build(profile)?;
        let profile = profile.map(str::to_owned);
        Ok(Loaded { config, file, profile, variables: self.variables, origins })
    }

    fn read(&self) -> Result<(Option<PathBuf>, FileLayer)> {
        let path = match &self.source {
            Source::Text(text) => return Ok((None, FileLayer::parse("configuration", text)?)),
            Source::File(path) => path.clone(),
            Source::Usual => match self.variables.get("TASKPORT_CONFIG") {
                Some(path) => PathBuf::from(path),
                None if Path::new(DEFAULT_FILE).exists() => PathBuf::from(DEFAULT_FILE),
                None => return Ok((None, FileLayer::default())),
            },
        };
        let layer = FileLayer::read(&path)?;
        Ok((Some(path), layer))
    }
}

/// One layer, as figment merges them.
struct Layer(Profile, Dict);

impl Provider for Layer {
    fn metadata(&self) -> Metadata {
        Metadata::named("configuration")
    }

    fn data(&self) -> figment::Result<Map<Profile, Dict>> {
        Ok(Map::from([(self.0.clone(), self.1.clone())]))
    }
}

/// The values set by variables, and the names of those variables.
fn overrides(variables: &Variables) -> Result<(Dict, Vec<(KeyPath, Origin)>)> {
    let mut dict = Dict::new();
    let mut origins = Vec::new();
    for (name, text) in variables.with_prefix(PREFIX) {
        let full_name: Arc<str> = format!("{PREFIX}{name}").into();
        let lower = name.to_ascii_lowercase();
        let path: KeyPath = lower.split("__").map(str::to_owned).collect();
        if path.len() == 1 {
            refuse_single_underscores(&full_name, &lower)?;
            continue;
        }
        if path.iter().any(String::is_empty) {
            return Err(Error::new(
                &codes::CONFIG_KEY,
                "load configuration",
                format!("the variable `{full_name}` names no key"),
            )
            .hint("join the levels of a key with two underscores: TASKPORT_WORKER__CONCURRENCY"));
        }
        insert(&mut dict, &path, variable_value(text));
        origins.push((path, Origin::Variable { name: full_name }));
    }
    Ok((dict, origins))
}

/// `TASKPORT_WORKER_CONCURRENCY` would set nothing, so it is refused; other variables without `__` are not ours.
fn refuse_single_underscores(full_name: &str, lower: &str) -> Result<()> {
    let Some((section, rest)) = lower.split_once('_') else { return Ok(()) };
    if !Raw::SECTIONS.contains(&section) {
        return Ok(());
    }
    let meant = format!("{PREFIX}{section}__{rest}").to_ascii_uppercase();
    Err(Error::new(
        &codes::CONFIG_KEY,
        "load configuration",
        format!("the variable `{full_name}` names no key"),
    )
    .hint(format!("did you mean `{meant}`? levels are joined with two underscores")))
}

/// A variable's text as TOML would read it, so long as nothing is lost: `007` stays text.
fn variable_value(text: &str) -> Value {
    if let Ok(boolean) = text.parse::<bool>() {
        return boolean.into();
    }
    match text.parse::<i64>() {
        Ok(number) if number.to_string() == text => number.into(),
        _ if text.starts_with(['[', '{', '"', '\'']) => parse_value(text).unwrap_or_else(|| text.into()),
        _ => text.into(),
    }
}

fn insert(dict: &mut Dict, path: &[String], value: Value) {
    match path {
        [] => {}
        [key] => {
            dict.insert(key.clone(), value);
        }
        [key, rest @ ..] => {
            let inner = dict.entry(key.clone()).or_insert_with(|| Dict::new().into());
            if !matches!(inner, Value::Dict(..)) {
                *inner = Dict::new().into();
            }
            if let Value::Dict(_, inner) = inner {
                insert(inner, rest, value);
            }
        }
    }
}

fn extract(figment: &Figment) -> Result<Raw, Problem> {
    figment.extract().map_err(|error| Problem::found(error, &[], &[]))
}

/// The configuration before the parts whose form depends on their kind are read.
#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
struct Raw {
    backends: BTreeMap<String, Dict>,
    routing: RoutingConfig,
    worker: WorkerConfig,
    tasks: BTreeMap<String, Dict>,
    schedules: BTreeMap<String, Dict>,
    workflows: WorkflowsConfig,
    log: LogConfig,
    telemetry: TelemetryConfig,
}

impl Raw {
    const SECTIONS: [&'static str; 8] =
        ["backends", "routing", "worker", "tasks", "schedules", "workflows", "log", "telemetry"];

    fn check(self, base_dir: &Path) -> Result<Config, Problem> {
        let mut config = Config {
            backends: BTreeMap::new(),
            routing: self.routing,
            worker: self.worker,
            tasks: BTreeMap::new(),
            schedules: BTreeMap::new(),
            workflows: self.workflows,
            log: self.log,
            telemetry: self.telemetry,
        };
        for (name, options) in self.backends {
            let backend = read_backend(&name, options)?;
            config.backends.insert(checked_name("backends", &name, BackendName::new)?, backend);
        }
        for (name, options) in self.tasks {
            let task = read_task(&name, options, base_dir)?;
            config.tasks.insert(checked_name("tasks", &name, TaskName::new)?, task);
        }
        for (name, options) in self.schedules {
            let schedule: ScheduleConfig = read(options, &["schedules", &name], &[])?;
            schedule.check(&name)?;
            config.schedules.insert(checked_name("schedules", &name, ScheduleName::new)?, schedule);
        }
        if config.backends.is_empty() {
            config.backends = backends::default_backends();
        }
        for file in &mut config.workflows.files {
            *file = base_dir.join(&*file);
        }
        limits::check(&config)?;
        Ok(config)
    }
}

fn checked_name<T>(section: &str, name: &str, make: fn(String) -> Result<T>) -> Result<T, Problem> {
    make(name.to_owned()).map_err(|error| {
        let problem = Problem::value(&[section, name], format!("will not do: {}", error.message()));
        match error.remedy() {
            Some(remedy) => problem.hint(remedy),
            None => problem,
        }
    })
}

fn read<T: for<'de> Deserialize<'de>>(
    options: Dict,
    path: &[&str],
    also_known: &[&'static str],
) -> Result<T, Problem> {
    Value::from(options).deserialize().map_err(|error| Problem::found(error, path, also_known))
}

fn take_kind(options: &mut Dict, path: &[&str], known: &[&str]) -> Result<String, Problem> {
    let kind_path = [path, &["kind"]].concat();
    match options.remove("kind") {
        Some(Value::String(_, kind)) if known.contains(&kind.as_str()) => Ok(kind),
        Some(Value::String(_, kind)) => {
            let message = format!("is `{}`, which is no kind", text_start(&kind));
            Err(Problem::unknown(&codes::UNKNOWN_BACKEND, &kind_path, message, &kind, known))
        }
        Some(_) => Err(Problem::value(&kind_path, "is no text")),
        None => Err(Problem::value(&kind_path, "is missing").hint(format!("one of: {}", known.join(", ")))),
    }
}

fn text_start(text: &str) -> String {
    text.chars().take(40).flat_map(char::escape_debug).collect()
}

fn read_backend(name: &str, mut options: Dict) -> Result<BackendConfig, Problem> {
    let path = ["backends", name];
    let kind_names: Vec<&str> = backends::KINDS.iter().map(|kind| kind.name).collect();
    let kind = take_kind(&mut options, &path, &kind_names)?;
    let on_unsupported = match options.remove("on_unsupported") {
        Some(value) => value
            .deserialize()
            .map_err(|error| Problem::found(error, &["backends", name, "on_unsupported"], &[]))?,
        None => Default::default(),
    };
    let options = read(options, &path, &[])?;
    let config = BackendConfig { kind, on_unsupported, options };
    let Ok(kind) = backends::find(&config.kind) else { return Ok(config) };
    match (kind.check)(config.options.clone()) {
        Ok(()) => Ok(config),
        Err(error) => Err(Problem::found(*error, &path, &["kind", "on_unsupported"])
            .map_message(|message| config.scrub(message))),
    }
}

fn read_task(name: &str, mut options: Dict, base_dir: &Path) -> Result<TaskConfig, Problem> {
    let path = ["tasks", name];
    let kind = take_kind(&mut options, &path, &Action::KINDS)?;
    let (common, own): (Dict, Dict) =
        options.into_iter().partition(|(key, _)| TaskOptions::KEYS.contains(&key.as_str()));
    let common = read(common, &path, &[])?;
    let mut action = match kind.as_str() {
        "exec" => Action::Exec(read(own, &path, &TaskOptions::KEYS)?),
        _ => Action::Http(read(own, &path, &TaskOptions::KEYS)?),
    };
    if let Action::Exec(exec) = &mut action {
        exec.cwd = exec.cwd.take().map(|cwd| base_dir.join(cwd));
    }
    Ok(TaskConfig { options: common, action })
}
