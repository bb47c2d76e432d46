//! `runs`: executions of workflows.

use clap::Subcommand;
use serde::Serialize;

use super::graph::{self, Drawing};
use super::job;
use super::listing::Paging;
use super::report::Report;
use super::session::{Session, workflows};
use super::table::{Facts, Table};
use super::{value, wire};
use crate::abstraction::backend::{RunFilter, RunStatus};
use crate::abstraction::id::BackendName;
use crate::abstraction::job::{JobState, Outcome};
use crate::abstraction::{RunId, codes};
use crate::{Error, Result};

/// Look at runs of workflows, cancel them, draw them.
#[derive(Debug, Subcommand)]
pub(super) enum Command {
    /// List runs, newest first
    List {
        /// Only runs of this workflow
        #[arg(long)]
        workflow: Option<String>,
        /// Only runs in this state
        #[arg(long, value_parser = str::parse::<JobState>)]
        state: Option<JobState>,
        #[command(flatten)]
        paging: Paging,
    },
    /// Show a run with its steps
    Get {
        /// The run
        #[arg(value_parser = value::name::<RunId>)]
        run: RunId,
    },
    /// Cancel a run: steps that wait never start, those that run are asked to stop
    Cancel {
        /// The run
        #[arg(value_parser = value::name::<RunId>)]
        run: RunId,
    },
    /// Draw a run, a workflow by name, or a workflow file
    Graph {
        /// The run, the workflow's name, or a file ending in .yaml, .yml or .json
        target: String,
        /// The form of the drawing
        #[arg(long, value_enum, default_value_t = Drawing::Text)]
        format: Drawing,
    },
}

pub(super) async fn run(session: &Session, command: Command) -> Result<Report> {
    match command {
        Command::List { workflow, state, paging } => {
            list(session, &RunFilter { workflow, state }, &paging).await
        }
        Command::Get { run } => {
            let (backend, status) = find(session, &run).await?;
            Report::new(describe(&backend, &status), &wire::Run::new(&backend, &status))
        }
        Command::Cancel { run } => {
            let backend = session.backend().await?;
            let done = job::cancelled(workflows(&*backend)?.cancel(&run).await.map_err(job::where_to_look)?);
            #[derive(Serialize)]
            struct Cancelled<'a> {
                run: &'a str,
                done: &'static str,
            }
            Report::new(format_args!("{run}  {done}"), &Cancelled { run: run.as_str(), done })
        }
        Command::Graph { target, format } => draw(session, &target, format).await,
    }
}

async fn find(session: &Session, run: &RunId) -> Result<(BackendName, RunStatus)> {
    let backend = session.backend().await?;
    match workflows(&*backend)?.get(run).await? {
        Some(status) => Ok((backend.name().clone(), status)),
        None => Err(Error::new(&codes::RUN_NOT_FOUND, "get", format!("there is no run `{run}`"))
            .in_backend(backend.name())
            .hint("`taskport runs list` shows the runs there are")),
    }
}

async fn list(session: &Session, filter: &RunFilter, paging: &Paging) -> Result<Report> {
    let backend = session.backend().await?;
    let workflows = workflows(&*backend)?;
    let page = paging.collect(&*backend, async |page| workflows.list(filter.clone(), page).await).await?;
    let mut table = Table::new(["run", "workflow", "state", "steps", "started", "seconds"]);
    for run in &page.items {
        let ended = run.steps.iter().filter(|step| step.state.is_terminal()).count();
        table.row([
            run.id.to_string(),
            run.workflow.clone(),
            run.state.to_string(),
            format!("{ended}/{}", run.steps.len()),
            run.started_at.to_string(),
            seconds(run).unwrap_or_default(),
        ]);
    }
    session.remark_on(page.items.is_empty(), page.next.as_ref(), "runs");
    let runs = page.items.iter().map(|run| wire::Run::new(backend.name(), run)).collect();
    Report::new(table, &wire::Runs { runs, next: page.next })
}

fn seconds(run: &RunStatus) -> Option<String> {
    run.finished_at.map(|end| format!("{:.2}", end.since(run.started_at).as_secs_f64()))
}

fn describe(backend: &BackendName, run: &RunStatus) -> String {
    let mut facts = Facts::default();
    facts.add("run", &run.id);
    facts.add("workflow", &run.workflow);
    facts.add("backend", backend);
    facts.add("state", run.state);
    facts.add("started", run.started_at);
    facts.maybe("finished", run.finished_at);
    facts.maybe("seconds", seconds(run));
    match &run.outcome {
        Some(Outcome::Success(output)) => facts.add("output", wire::Body::new(output).text()),
        Some(Outcome::Failure(failure)) => facts.add("failure", failure),
        None => {}
    }
    let mut table = Table::new(["step", "state", "jobs", "failed", "seconds", "failure"]);
    for step in &run.steps {
        let seconds = step.started_at.zip(step.finished_at);
        table.row([
            step.id.to_string(),
            wire::step_state(step.state).to_owned(),
            format!("{}/{}", step.succeeded + step.failed, step.total),
            step.failed.to_string(),
            seconds.map(|(start, end)| format!("{:.2}", end.since(start).as_secs_f64())).unwrap_or_default(),
            step.failure.as_ref().map(ToString::to_string).unwrap_or_default(),
        ]);
    }
    format!("{facts}\n{table}")
}

async fn draw(session: &Session, target: &str, format: Drawing) -> Result<Report> {
    let (definition, steps) = match session.definition(target) {
        Ok(definition) => (definition, Vec::new()),
        Err(error) if *error.code() != codes::UNKNOWN_WORKFLOW => return Err(error),
        Err(unknown) => {
            // A name that is no workflow's may still be a run's.
            let run = RunId::new(target).map_err(|_| unknown.clone())?;
            let backend = session.backend().await?;
            let status = workflows(&*backend)?.get(&run).await?.ok_or(unknown)?;
            (status.definition, status.steps)
        }
    };
    let graph = definition.check().map_err(|problems| bad_workflow(&definition.name, &problems))?;
    let drawing = graph::draw(&definition, &graph, &steps, format);
    #[derive(Serialize)]
    struct Drawn<'a> {
        workflow: &'a str,
        format: &'static str,
        graph: &'a str,
        edges: Vec<[&'a str; 2]>,
    }
    let id = |place: usize| definition.steps[place].id.as_str();
    let edges = graph.nodes.iter().enumerate();
    let edges = edges.flat_map(|(to, node)| node.dependencies.iter().map(move |from| [id(*from), id(to)]));
    let document = Drawn {
        workflow: &definition.name,
        format: if format == Drawing::Mermaid { "mermaid" } else { "text" },
        graph: &drawing,
        edges: edges.collect(),
    };
    Report::new(&drawing, &document)
}

/// Every problem of a definition in one error.
pub(super) fn bad_workflow(name: &str, problems: &[crate::abstraction::workflow::Problem]) -> Error {
    let all: Vec<String> = problems.iter().map(ToString::to_string).collect();
    Error::new(&codes::BAD_WORKFLOW, "check workflow", format!("workflow `{name}`: {}", all.join("; ")))
}
