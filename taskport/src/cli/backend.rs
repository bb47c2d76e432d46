//! `backend`: the configured task queues.

use std::collections::BTreeMap;

use clap::Subcommand;
use serde::Serialize;

use super::report::Report;
use super::session::{Session, admin};
use super::table::Table;
use super::{value, wire};
use crate::Result;
use crate::abstraction::id::BackendName;

/// Look at the configured backends.
#[derive(Debug, Subcommand)]
pub(super) enum Command {
    /// List the configured backends
    List,
    /// Connect to backends and ask whether they can work
    Check {
        /// The backends; all where none is named
        #[arg(value_parser = value::name::<BackendName>)]
        backends: Vec<BackendName>,
    },
    /// Show what backends can do, without connecting
    Capabilities {
        /// The backends; all where none is named
        #[arg(value_parser = value::name::<BackendName>)]
        backends: Vec<BackendName>,
    },
    /// List the workers a backend has seen
    Workers,
}

pub(super) async fn run(session: &Session, command: Command) -> Result<Report> {
    match command {
        Command::List => list(session),
        Command::Check { backends } => check(session, backends).await,
        Command::Capabilities { backends } => capabilities(session, backends),
        Command::Workers => workers(session).await,
    }
}

/// The named backends, or those that `--backend` and the configuration name.
fn chosen(session: &Session, mut backends: Vec<BackendName>) -> Result<Vec<BackendName>> {
    let config = &session.loaded()?.config;
    backends.extend(session.chosen_backend().cloned());
    if backends.is_empty() {
        return Ok(config.backends.keys().cloned().collect());
    }
    for backend in &backends {
        if !config.backends.contains_key(backend) {
            return Err(config.unknown_backend(backend.as_str()));
        }
    }
    Ok(backends)
}

fn list(session: &Session) -> Result<Report> {
    #[derive(Serialize)]
    struct Item {
        backend: String,
        kind: String,
        default: bool,
    }
    #[derive(Serialize)]
    struct Items {
        backends: Vec<Item>,
        kinds: Vec<&'static str>,
    }
    let loaded = session.loaded()?;
    session.remark_on_defaults(loaded);
    let default = loaded.config.default_backend().ok();
    let mut table = Table::new(["backend", "kind", "default"]);
    let mut backends = Vec::new();
    for (name, backend) in &loaded.config.backends {
        let default = default == Some(name);
        let mark = if default { "yes" } else { "" };
        table.row([name.to_string(), backend.kind.clone(), mark.to_owned()]);
        backends.push(Item { backend: name.to_string(), kind: backend.kind.clone(), default });
    }
    let kinds = crate::backends::KINDS.iter().map(|kind| kind.name).collect();
    Report::new(table, &Items { backends, kinds })
}

async fn check(session: &Session, backends: Vec<BackendName>) -> Result<Report> {
    #[derive(Serialize)]
    struct Item {
        backend: String,
        ok: bool,
        #[serde(skip_serializing_if = "Option::is_none")]
        version: Option<String>,
        degraded: Vec<String>,
        #[serde(flatten)]
        problem: Option<wire::Problem>,
    }
    #[derive(Serialize)]
    struct Items {
        backends: Vec<Item>,
    }
    let mut table = Table::new(["backend", "state", "version", "remarks"]);
    let (mut items, mut failure) = (Vec::new(), None);
    for name in chosen(session, backends)? {
        let health = match session.backend_named(&name).await {
            Ok(backend) => backend.health().await,
            Err(error) => Err(error),
        };
        let backend = name.to_string();
        match health {
            Ok(health) => {
                let state = if health.degraded.is_empty() { "ready" } else { "degraded" };
                let remarks = health.degraded.join("; ");
                table.row([backend.clone(), state.to_owned(), health.version.clone(), remarks]);
                let version = Some(health.version);
                items.push(Item { backend, ok: true, version, degraded: health.degraded, problem: None });
            }
            Err(error) => {
                table.row([
                    backend.clone(),
                    "unavailable".to_owned(),
                    String::new(),
                    error.message().to_owned(),
                ]);
                let problem = Some(wire::Problem::new(&error));
                items.push(Item { backend, ok: false, version: None, degraded: Vec::new(), problem });
                failure.get_or_insert(error);
            }
        }
    }
    Ok(Report::new(table, &Items { backends: items })?.failed(failure))
}

fn capabilities(session: &Session, backends: Vec<BackendName>) -> Result<Report> {
    let config = &session.loaded()?.config;
    let mut matrix = BTreeMap::new();
    for name in chosen(session, backends)? {
        let backend = &config.backends[&name];
        let capability = (crate::backends::find(&backend.kind)?.capability)(backend.options.clone())
            .map_err(|error| error.in_backend(&name))?;
        matrix.insert(name.to_string(), wire::capabilities(&capability));
    }
    let mut table = Table::new(["backend", "field", "support", "how, why or limit"]);
    for (backend, fields) in &matrix {
        for (field, cell) in fields {
            let more = match (&cell.how, &cell.why, &cell.instead, cell.limit) {
                (Some(how), ..) => how.clone(),
                (_, Some(why), Some(instead), _) => format!("{why}; instead: {instead}"),
                (.., Some(Some(limit))) => limit.to_string(),
                (.., Some(None)) => "no limit".to_owned(),
                _ => String::new(),
            };
            table.row([backend.clone(), (*field).to_owned(), cell.support.to_owned(), more]);
        }
    }
    Report::new(table, &matrix)
}

async fn workers(session: &Session) -> Result<Report> {
    #[derive(Serialize)]
    struct Items {
        workers: Vec<wire::Worker>,
    }
    let backend = session.backend().await?;
    let workers = admin(&*backend)?.workers().await?;
    let mut table = Table::new(["worker", "host", "pid", "queues", "running", "seen", "state"]);
    for worker in &workers {
        let queues: Vec<&str> = worker.queues.iter().map(crate::abstraction::QueueName::as_str).collect();
        table.row([
            worker.name.clone(),
            worker.host.clone(),
            worker.pid.to_string(),
            queues.join(","),
            format!("{}/{}", worker.load.running, worker.load.slots),
            worker.seen_at.to_string(),
            if worker.alive { "alive".to_owned() } else { "lost".to_owned() },
        ]);
    }
    session.remark_on(workers.is_empty(), None, "workers");
    Report::new(table, &Items { workers: workers.iter().map(wire::Worker::new).collect() })
}
