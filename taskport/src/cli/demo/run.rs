//! One run of the pipeline, from its start to its account.

use std::time::Duration;

use serde_json::Value;
use tokio::time::Instant;

use super::account::{self, Account};
use super::pipeline::{Input, WORKFLOW};
use crate::abstraction::backend::{Phase, RunStatus, Shutdown, StepState};
use crate::abstraction::codes;
use crate::run::output;
use crate::{Error, Result, Run, Taskport};

/// A run that has ended well.
#[derive(Debug)]
pub(super) struct Ran {
    /// How its jobs ended.
    pub(super) account: Account,
    /// How long it took, from the start to the last outcome.
    pub(super) took: Duration,
}

/// Starts the pipeline, has `follow` see it to its end, and closes its account. Where it cannot be followed to its
/// end, it is cancelled.
pub(super) async fn carry_out(
    port: &Taskport,
    input: &Input,
    stop: &dyn Shutdown,
    follow: impl AsyncFnOnce(&Run) -> Result<RunStatus>,
) -> Result<Ran> {
    let admin = port.admin()?;
    let before = account::counts(admin).await?;
    let started = Instant::now();
    let run = port.run(WORKFLOW, input).await?;
    let status = match unless_stopped(stop, follow(&run)).await {
        Ok(status) => status,
        Err(error) => {
            // What went wrong first is what is told.
            let _cancelled = run.cancel().await;
            return Err(error);
        }
    };
    let took = started.elapsed();
    let account = Account::between(before, account::counts(admin).await?);
    output::<Value>(&status)?;
    account.check(account::jobs_of(&status))?;
    Ok(Ran { account, took })
}

/// How much of the files has been analyzed: how many have ended, of how many where that is known.
pub(super) fn analyzed(status: &RunStatus) -> (u64, Option<u64>) {
    let step = status.steps.iter().find(|step| step.id.as_str() == "analyze");
    step.map_or((0, None), |step| {
        (step.succeeded + step.failed, (step.state != StepState::Waiting).then_some(step.total))
    })
}

/// Does the work, unless somebody asks the program to stop first.
pub(super) async fn unless_stopped<T>(
    stop: &dyn Shutdown,
    work: impl Future<Output = Result<T>>,
) -> Result<T> {
    tokio::select! {
        done = work => done,
        () = stop.reached(Phase::Draining) => {
            let message = "interrupted; the run is cancelled, and no process and no file of it stays";
            Err(Error::new(&codes::CANCELLED, "run the demo", message))
        }
    }
}
