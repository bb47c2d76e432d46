//! `submit`: one call of a task.

use std::fmt::Display;
use std::time::Duration;

use clap::Args;
use futures_util::StreamExt;

use super::call::{Arguments, Options};
use super::job::{ended_badly, no_outcome, state_now, state_of};
use super::report::Report;
use super::session::Session;
use super::{value, wire};
use crate::abstraction::backend::Backend;
use crate::abstraction::job::{JobState, Outcome};
use crate::abstraction::{TaskName, codes};
use crate::{Error, JobRef, Result};

/// Submit a call of a task.
#[derive(Debug, Args)]
pub(super) struct Submit {
    /// The task
    #[arg(value_parser = value::name::<TaskName>)]
    task: TaskName,
    #[command(flatten)]
    arguments: Arguments,
    /// Wait for the job to end and print its result
    #[arg(long)]
    wait: bool,
    /// How long to wait, such as 30s
    #[arg(long, value_name = "DURATION", requires = "wait", value_parser = value::duration)]
    timeout: Option<Duration>,
    #[command(flatten)]
    options: Options,
}

pub(super) async fn run(session: &Session, submit: Submit) -> Result<Report> {
    let call = submit.arguments.call(submit.task, submit.options, session).await?;
    let job = session.port().await?.submit(call).await?;
    let (place, existing) = (job.job_ref(), job.existing());
    if !submit.wait {
        return answer(&place, &place, &submitted(&place, existing));
    }
    // Said before the wait, so that whoever is interrupted in it knows what to look for.
    session.terminal.line(format_args!("submitted {place}"));
    let backend = session.backend_named(&place.backend).await?;
    remark_on_workers(session, &*backend, &place).await;
    let outcome = match outcome_within(&*backend, &place, submit.timeout).await {
        Ok(outcome) => outcome,
        // The job was taken: whoever gives up the wait is told where to find it.
        Err(error) => {
            let state = state_now(&*backend, std::slice::from_ref(&place.id)).await.pop().flatten();
            let document = wire::Submitted {
                state: state.map(JobState::as_str),
                problem: Some(wire::Problem::new(&error)),
                ..submitted(&place, existing)
            };
            return Ok(answer(&place, &place, &document)?.failed([error]));
        }
    };
    let document = wire::Submitted {
        state: Some(state_of(&outcome).as_str()),
        outcome: wire::Ending::new(Some(&outcome)),
        ..submitted(&place, existing)
    };
    match outcome {
        Outcome::Success(result) => answer(&place, wire::Body::new(&result).text(), &document),
        Outcome::Failure(failure) => {
            Ok(answer(&place, "", &document)?.failed([ended_badly(&place.to_string(), failure)]))
        }
    }
}

/// An answer that names the job even where it cannot be written.
fn answer(job: &JobRef, text: impl Display, document: &wire::Submitted) -> Result<Report> {
    Ok(Report::new(text, document)?.having(format!("job `{job}` was submitted")))
}

fn submitted(place: &JobRef, existing: bool) -> wire::Submitted {
    wire::Submitted {
        job: place.to_string(),
        id: place.id.to_string(),
        backend: place.backend.to_string(),
        existing,
        state: None,
        problem: None,
        outcome: wire::Ending::default(),
    }
}

async fn outcome_within(backend: &dyn Backend, job: &JobRef, limit: Option<Duration>) -> Result<Outcome> {
    let mut outcomes = backend.wait(vec![job.id.clone()]);
    let next = match limit {
        Some(limit) => tokio::time::timeout(limit, outcomes.next())
            .await
            .map_err(|_| no_outcome(&job.to_string(), limit))?,
        None => outcomes.next().await,
    };
    match next {
        Some((_, outcome)) => outcome,
        None => {
            Err(Error::new(&codes::CLOSED, "wait", format!("the backend closed before job `{job}` ended")))
        }
    }
}

/// Says that the wait may be long where no live worker serves the job's queue. Only a remark: a worker may come.
async fn remark_on_workers(session: &Session, backend: &dyn Backend, job: &JobRef) {
    let Some(admin) = backend.admin() else { return };
    let (Ok(found), Ok(workers)) = (backend.get(std::slice::from_ref(&job.id)).await, admin.workers().await)
    else {
        return;
    };
    let Some(status) = found.into_iter().next().flatten().filter(|status| !status.state.is_terminal()) else {
        return;
    };
    if !workers.iter().any(|worker| worker.alive && worker.queues.contains(&status.queue)) {
        let program = session.program();
        session.terminal.note(format_args!(
            "no live worker serves the queue `{}`; start one with `{program} worker`",
            status.queue
        ));
    }
}
