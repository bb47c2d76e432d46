//! `dead`: jobs that failed for good, kept with their reason.

use clap::{Args, Subcommand};

use super::job::{self, Filter, Jobs};
use super::listing::Paging;
use super::queue::Consent;
use super::report::Report;
use super::session::{Session, admin};
use crate::abstraction::codes;
use crate::abstraction::job::{JobState, JobStatus, Outcome};
use crate::{Error, JobId, Result};

/// Look at dead letters, run them again, delete them.
#[derive(Debug, Subcommand)]
pub(super) enum Command {
    /// List dead letters, newest first
    List {
        #[command(flatten)]
        filter: Filter,
        #[command(flatten)]
        paging: Paging,
    },
    /// Show a dead letter with its last failure
    Show {
        /// The job: `backend:id`, or an id on the default backend
        job: String,
    },
    /// Run dead letters again
    Requeue(Selection),
    /// Delete dead letters
    Purge {
        #[command(flatten)]
        selection: Selection,
        #[command(flatten)]
        consent: Consent,
    },
}

/// Some dead letters, by id or by what they have in common.
#[derive(Debug, Args)]
pub(super) struct Selection {
    /// The jobs: `backend:id`, or ids on the default backend
    #[arg(value_name = "JOB", required_unless_present = "all", conflicts_with_all = ["all", "queue", "task", "tag", "run"])]
    jobs: Vec<String>,
    /// Every dead letter that the filters let through
    #[arg(long)]
    all: bool,
    #[command(flatten)]
    filter: Filter,
}

pub(super) async fn run(session: &Session, command: Command) -> Result<Report> {
    match command {
        Command::List { filter, paging } => {
            let filter = filter.in_state(Some(JobState::Failed));
            let head = ["job", "task", "queue", "attempts", "reason"];
            job::list(session, &filter, &paging, "dead letters", head, row).await
        }
        Command::Show { job } => {
            let (backend, status) = job::find(session, &job).await?;
            if status.state != JobState::Failed {
                return Err(not_dead(&job, status.state).in_backend(&backend));
            }
            Report::new(job::describe(&backend, &status), &super::wire::Job::new(&backend, &status))
        }
        Command::Requeue(selection) => {
            let jobs = select(session, selection).await?;
            job::requeue(session, &jobs).await
        }
        Command::Purge { selection, consent } => {
            let jobs = select(session, selection).await?;
            consent.check(jobs.jobs.len() as u64, "dead purge")?;
            purge(session, &jobs).await
        }
    }
}

fn row(job: String, status: &JobStatus) -> [String; 5] {
    let reason = match &status.outcome {
        Some(Outcome::Failure(failure)) => brief(&format!("{}: {}", failure.kind.as_str(), failure.message)),
        _ => String::new(),
    };
    [job, status.task.to_string(), status.queue.to_string(), status.attempt.to_string(), reason]
}

/// The first line of a text, cut so that a row stays readable; all of it is in `dead show`.
fn brief(text: &str) -> String {
    const CHARS_MAX: usize = 40;
    let line = text.lines().next().unwrap_or_default();
    if line.len() == text.len() && line.chars().count() <= CHARS_MAX {
        return line.to_owned();
    }
    let cut: String = line.chars().take(CHARS_MAX - 1).collect();
    format!("{cut}…")
}

async fn select(session: &Session, selection: Selection) -> Result<Jobs> {
    if !selection.all {
        return Ok(Jobs { jobs: selection.jobs });
    }
    let backend = session.backend().await?;
    let admin = admin(&*backend)?;
    let filter = selection.filter.in_state(Some(JobState::Failed));
    let page = Paging::all().collect(&*backend, async |page| admin.jobs(filter.clone(), page).await).await?;
    session.remark_on(page.items.is_empty(), None, "dead letters");
    Ok(Jobs { jobs: page.items.iter().map(|status| format!("{}:{}", backend.name(), status.id)).collect() })
}

async fn purge(session: &Session, jobs: &Jobs) -> Result<Report> {
    job::each(session, jobs, async |backend, ids| {
        let (found, admin) = match (backend.get(ids).await, admin(backend)) {
            (Ok(found), Ok(admin)) => (found, admin),
            (Err(error), _) | (_, Err(error)) => return ids.iter().map(|_| Err(error.clone())).collect(),
        };
        // Whatever is not dead any more is left alone, and the rest goes in one call.
        let alive =
            |status: &Option<JobStatus>| status.as_ref().map(|s| s.state).filter(|s| *s != JobState::Failed);
        let dead: Vec<JobId> =
            ids.iter().zip(&found).filter(|(_, s)| alive(s).is_none()).map(|(id, _)| id.clone()).collect();
        let mut deleted = admin.delete(&dead).await.into_iter();
        let outcome = |(id, status): (&JobId, &Option<JobStatus>)| match alive(status) {
            Some(state) => Err(not_dead(id.as_str(), state)),
            None => deleted.next().unwrap_or(Ok(())).map(|()| "purged"),
        };
        ids.iter().zip(&found).map(outcome).collect()
    })
    .await
}

fn not_dead(job: &str, state: JobState) -> Error {
    Error::new(&codes::JOB_CONFLICT, "find dead letter", format!("job `{job}` is {state}, not failed"))
        .hint("`taskport job get` shows any job")
}
