//! `check`: everything that can be found wrong without a network.

use clap::Args;
use serde::Serialize;
use taskport_registry::workflow_from_text;

use super::report::Report;
use super::session::{Session, tasks_of};
use super::value;
use super::wire::Problem;
use crate::abstraction::codes;
use crate::{Error, Result};

/// Check configuration, tasks and workflows without touching a backend; exit 1 where there are problems.
#[derive(Debug, Args)]
pub(super) struct Check {
    /// Workflow files to check besides the configured ones
    #[arg(value_name = "FILE")]
    files: Vec<String>,
}

pub(super) fn run(session: &Session, check: &Check) -> Result<Report> {
    let loaded = session.loaded()?;
    let builder = session.builder()?;
    let mut problems = builder.check();
    let registry = builder.build().ok();
    if let Some(registry) = &registry {
        problems.extend(crate::port::check(loaded, registry));
    }
    let tasks = registry.as_ref().map(tasks_of);
    for file in &check.files {
        match (value::read(file).and_then(|text| workflow_from_text(&text, file)), &tasks) {
            (Ok((workflow, location)), Some(tasks)) => {
                problems.extend(tasks.clone().workflow_at(workflow, location).check());
            }
            // Which tasks there are is not known until the problems above are mended.
            (Ok(_), None) => {}
            (Err(problem), _) => problems.push(problem),
        }
    }
    report(&problems)
}

/// The definitions alone.
pub(super) fn registry(session: &Session) -> Result<Report> {
    report(&session.builder()?.check())
}

fn report(problems: &[Error]) -> Result<Report> {
    #[derive(Serialize)]
    struct Checked {
        ok: bool,
        problems: Vec<Problem>,
    }
    let document = Checked { ok: problems.is_empty(), problems: problems.iter().map(Problem::new).collect() };
    let Some(first) = problems.first() else { return Report::new("no problems found", &document) };
    let mut text = String::new();
    for problem in problems {
        text.push_str(&format!("{problem}\n"));
        if let Some(remedy) = problem.remedy() {
            text.push_str(&format!("    hint: {remedy}\n"));
        }
    }
    let count = problems.len();
    let noun = if count == 1 { "problem was" } else { "problems were" };
    let failure = Error::new(&codes::CHECK_FAILED, "check", format!("{count} {noun} found"))
        .hint(first.remedy().map_or_else(|| "they are listed above".to_owned(), str::to_owned));
    Ok(Report::new(text, &document)?.failed([failure]))
}
