//! `run`: one run of a workflow, from its start to its end.

use std::sync::Arc;
use std::time::Duration;

use clap::Args;
use serde::Serialize;
use serde_json::Value;
use taskport_worker::{ShutdownController, shutdown};

use super::progress::RunProgress;
use super::report::Report;
use super::session::Session;
use super::worker::farewell;
use super::{value, wire};
use crate::abstraction::backend::{RunStatus, WorkerReport};
use crate::abstraction::job::Outcome;
use crate::abstraction::{QueueName, WorkflowDefinition, codes};
use crate::run::output;
use crate::{Error, Result, Taskport};

/// Run a workflow and wait for its end.
///
/// A worker for the run's queues lives in this process until the run has ended; others may help. The run outlives the
/// process: `runs get` shows it afterwards.
#[derive(Debug, Args)]
pub(super) struct Run {
    /// The workflow's name, or a file ending in .yaml, .yml or .json
    workflow: String,
    /// The input as JSON; @FILE reads a file, @- standard input
    #[arg(long, value_name = "JSON", default_value = "null", hide_default_value = true)]
    input: String,
    /// End the run where it takes longer, such as 10m
    #[arg(long, value_name = "DURATION", value_parser = value::duration)]
    timeout: Option<Duration>,
    /// Leave the steps to the workers of other processes
    #[arg(long)]
    no_worker: bool,
    /// Start the run and do not wait for its end
    #[arg(long)]
    detach: bool,
}

pub(super) async fn run(session: &Session, options: Run) -> Result<Report> {
    let input = value::json("--input", &options.input)?;
    let mut definition = session.definition(&options.workflow)?;
    if let Some(timeout) = options.timeout {
        Arc::make_mut(&mut definition).timeout = Some(timeout);
    }
    let port = session.port().await?;
    let run = port.run(&*definition, &input).await?;
    if options.detach {
        return started(port, &run);
    }
    let status = if options.no_worker {
        follow(session, &run).await?
    } else {
        let controller = shutdown::signals()?;
        let worker = port.worker().queues(queues(port, &definition)).run_until(controller.handle());
        follow_working(session, &run, &controller, worker).await?
    };
    let document = wire::Run::new(port.default_name(), &status);
    match (&status.outcome, output::<Value>(&status)) {
        (Some(Outcome::Success(output)), _) => Report::new(wire::Body::new(output).text(), &document),
        (_, ended) => {
            let hint = format!("`{} runs get {}` shows the steps", session.program(), status.id);
            Ok(Report::new("", &document)?.failed(ended.err().map(|error| error.hint(hint))))
        }
    }
}

fn started(port: &Taskport, run: &crate::Run) -> Result<Report> {
    #[derive(Serialize)]
    struct Started<'a> {
        run: &'a str,
        backend: &'a str,
    }
    let (run, backend) = (run.id().as_str(), port.default_name().as_str());
    Ok(Report::new(run, &Started { run, backend })?.having(format!("run `{run}` was started")))
}

async fn follow(session: &Session, run: &crate::Run) -> Result<RunStatus> {
    let mut progress = RunProgress::new(session.terminal);
    let status = run.progress(|status| progress.update(status)).await;
    progress.finish();
    status
}

/// Follows the run while `worker` works on it, and lets the worker finish.
async fn follow_working(
    session: &Session,
    run: &crate::Run,
    controller: &ShutdownController,
    worker: impl Future<Output = Result<WorkerReport>>,
) -> Result<RunStatus> {
    let mut worker = std::pin::pin!(worker);
    let grace = session.loaded()?.config.worker.grace;
    tokio::select! {
        status = follow(session, run) => {
            controller.drain();
            worker.await?;
            status
        }
        never = farewell(session, controller, grace) => match never {},
        stopped = &mut worker => {
            stopped?;
            let message = format!("the wait for run `{}` was interrupted", run.id());
            let hint = format!("the run goes on where a worker serves it; `{} runs cancel {}` ends it", session.program(), run.id());
            Err(Error::new(&codes::WAIT_TIMEOUT, "run", message).hint(hint))
        }
    }
}

/// The queues in which the run's steps will wait.
fn queues(port: &Taskport, definition: &WorkflowDefinition) -> Vec<QueueName> {
    let registry = port.registry();
    let of_step = |step: &crate::abstraction::StepDefinition| {
        let declared = || registry.find(step.task.as_str()).and_then(|task| task.options.queue.clone());
        step.queue.clone().or_else(declared).unwrap_or_else(QueueName::default_queue)
    };
    let mut queues: Vec<QueueName> = definition.steps.iter().map(of_step).collect();
    queues.sort();
    queues.dedup();
    queues
}
