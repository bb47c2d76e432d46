//! `registry`: the tasks and workflows this program knows.

use std::path::PathBuf;

use clap::Subcommand;
use serde::Serialize;
use taskport_registry::manifest::{Manifest, ManifestTask};

use super::check;
use super::report::Report;
use super::session::Session;
use super::table::{Facts, Table};
use super::value;
use crate::abstraction::codes;
use crate::{Error, Result};

/// Look at the tasks and workflows this program knows.
#[derive(Debug, Subcommand)]
pub(super) enum Command {
    /// List tasks and workflows
    List,
    /// Show a task with its parameters and options
    Show {
        /// The task
        task: String,
    },
    /// Print the manifest: every definition with its JSON Schemas
    Export {
        /// Write it to this file, which must not exist, instead of printing it
        #[arg(long, value_name = "FILE")]
        output: Option<PathBuf>,
    },
    /// Check every definition, without a backend
    Check,
}

pub(super) fn run(session: &Session, command: Command) -> Result<Report> {
    match command {
        Command::List => list(session),
        Command::Show { task } => show(session, &task),
        Command::Export { output } => export(session, output),
        Command::Check => check::registry(session),
    }
}

fn list(session: &Session) -> Result<Report> {
    #[derive(Serialize)]
    struct Item {
        name: String,
        kind: &'static str,
        summary: Option<String>,
        declared_at: String,
    }
    let registry = session.registry()?;
    let tasks = registry.tasks().map(|task| Item {
        name: task.name.to_string(),
        kind: "task",
        summary: task.summary.clone(),
        declared_at: task.location.to_string(),
    });
    let workflows = registry.workflows().map(|workflow| Item {
        name: workflow.definition.name.clone(),
        kind: "workflow",
        summary: workflow.definition.summary.clone(),
        declared_at: workflow.location.to_string(),
    });
    let items: Vec<Item> = tasks.chain(workflows).collect();
    let mut table = Table::new(["name", "kind", "declared at", "summary"]);
    for item in &items {
        let summary = item.summary.clone().unwrap_or_default();
        table.row([item.name.clone(), item.kind.to_owned(), item.declared_at.clone(), summary]);
    }
    session.remark_on(items.is_empty(), None, "tasks or workflows");
    #[derive(Serialize)]
    struct Items {
        definitions: Vec<Item>,
    }
    Report::new(table, &Items { definitions: items })
}

fn show(session: &Session, name: &str) -> Result<Report> {
    let registry = session.registry()?;
    let definition = registry.task(name)?;
    let Manifest { tasks, .. } = registry.manifest();
    let task = tasks.into_iter().find(|task| task.name == name).ok_or_else(|| {
        Error::new(&codes::INTERNAL, "show", format!("the manifest lacks the task `{name}`"))
    })?;
    Report::new(describe(&task, &definition.location.to_string()), &task)
}

fn describe(task: &ManifestTask, location: &str) -> Facts {
    let mut facts = Facts::default();
    facts.add("task", &task.name);
    facts.maybe("summary", task.summary.as_deref());
    facts.add("declared at", location);
    facts.add("runs", &task.execution);
    facts.add("idempotent", if task.idempotent { "yes" } else { "no" });
    for parameter in &task.parameters {
        let needed = if parameter.required { "" } else { " (has a default)" };
        facts.add("parameter", format_args!("{}{needed}: {}", parameter.name, parameter.schema));
    }
    if task.extra_arguments {
        facts.add("parameters", "whatever the call gives");
    }
    facts.add("result", &task.result);
    if let Ok(serde_json::Value::Object(options)) = serde_json::to_value(&task.options) {
        for (name, value) in options {
            facts.add("option", format_args!("{name} = {value}"));
        }
    }
    facts
}

fn export(session: &Session, output: Option<PathBuf>) -> Result<Report> {
    let manifest = session.registry()?.manifest();
    let text = serde_json::to_string_pretty(&manifest).unwrap_or_default();
    let Some(path) = output else { return Report::new(text, &manifest) };
    value::write_new(&path, &format!("{text}\n"))?;
    #[derive(Serialize)]
    struct Written {
        written: String,
    }
    let written = path.display().to_string();
    Report::new(written.clone(), &Written { written })
}
