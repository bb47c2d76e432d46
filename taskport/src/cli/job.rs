//! `job`: one job, or some, wherever they live.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

use clap::{Args, Subcommand};
use futures_util::StreamExt;

use super::listing::Paging;
use super::logs;
use super::report::Report;
use super::session::{Located, Session, admin};
use super::table::{Facts, Table};
use super::value;
use super::wire;
use crate::abstraction::backend::{Backend, Cancellation, JobFilter};
use crate::abstraction::id::BackendName;
use crate::abstraction::job::{JobState, JobStatus, Outcome};
use crate::abstraction::journal::{JournalEntry, Note};
use crate::abstraction::{QueueName, RunId, TaskName, codes};
use crate::job::code_of;
use crate::{Error, JobId, Result};

/// Look at jobs, wait for them, cancel them, run them again.
#[derive(Debug, Subcommand)]
pub(super) enum Command {
    /// Show a job
    Get {
        /// The job: `backend:id`, or an id on the default backend
        job: String,
    },
    /// Wait until jobs have ended; exit 1 where one ended without success
    Wait {
        #[command(flatten)]
        jobs: Jobs,
        /// How long to wait, such as 30s
        #[arg(long, value_name = "DURATION", value_parser = value::duration)]
        timeout: Option<Duration>,
    },
    /// List jobs, newest first
    List {
        #[command(flatten)]
        filter: Filter,
        /// Only jobs in this state
        #[arg(long, value_parser = str::parse::<JobState>)]
        state: Option<JobState>,
        #[command(flatten)]
        paging: Paging,
    },
    Logs(logs::Logs),
    /// Ask jobs to end without a result
    Cancel(Jobs),
    /// Run ended jobs again, under their ids and with fresh attempts
    Retry(Jobs),
}

/// Some jobs by id.
#[derive(Debug, Args)]
pub(super) struct Jobs {
    /// The jobs: `backend:id`, or ids on the default backend
    #[arg(required = true, value_name = "JOB")]
    pub(super) jobs: Vec<String>,
}

/// Which jobs are meant.
#[derive(Debug, Clone, Args)]
pub(super) struct Filter {
    /// Only jobs of this queue
    #[arg(long, value_parser = value::name::<QueueName>)]
    queue: Option<QueueName>,
    /// Only jobs of this task
    #[arg(long, value_parser = value::name::<TaskName>)]
    task: Option<TaskName>,
    /// Only jobs with this tag
    #[arg(long)]
    tag: Option<String>,
    /// Only jobs of this run
    #[arg(long, value_parser = value::name::<RunId>)]
    run: Option<RunId>,
}

impl Filter {
    /// The filter, for jobs in one state or any.
    pub(super) fn in_state(&self, state: Option<JobState>) -> JobFilter {
        JobFilter {
            state,
            queue: self.queue.clone(),
            task: self.task.clone(),
            tag: self.tag.clone(),
            run: self.run.clone(),
        }
    }
}

pub(super) async fn run(session: &Session, command: Command) -> Result<Report> {
    match command {
        Command::Get { job } => get(session, &job).await,
        Command::Wait { jobs, timeout } => wait(session, &jobs, timeout).await,
        Command::List { filter, state, paging } => {
            let head = ["job", "task", "queue", "state", "attempt", "submitted"];
            list(session, &filter.in_state(state), &paging, "jobs", head, row).await
        }
        Command::Logs(logs) => logs::run(session, logs).await,
        Command::Cancel(jobs) => cancel(session, &jobs).await,
        Command::Retry(jobs) => requeue(session, &jobs).await,
    }
}

async fn get(session: &Session, text: &str) -> Result<Report> {
    let (name, status) = find(session, text).await?;
    let backend = Arc::clone(session.port().await?.backend(name.as_str())?);
    let mut wire = wire::Job::new(&name, &status);
    let mut facts = describe(&name, &status);
    if backend.journal().is_some() {
        let said = logs::all(&crate::job::Job::of(backend, status.id), 0).await?;
        if !said.is_empty() {
            facts.add("entries", said.len());
        }
        let partial = |entry: &JournalEntry| match &entry.note {
            Note::Partial(payload) => Some(payload.clone()),
            Note::Log { .. } => None,
        };
        if let Some(payload) = said.iter().rev().find_map(partial) {
            facts.add("partial", wire::Body::new(&payload).text());
            wire = wire.with_partial(&payload);
        }
    }
    Report::new(facts, &wire)
}

/// The job of an id given on the command line.
pub(super) async fn find(session: &Session, text: &str) -> Result<(BackendName, JobStatus)> {
    let Located { backend, id } = session.locate(text).await?;
    let name = backend.name().clone();
    match backend.get(std::slice::from_ref(&id)).await?.pop().flatten() {
        Some(status) => Ok((name, status)),
        None => Err(Error::new(&codes::JOB_NOT_FOUND, "get", format!("there is no job `{id}`"))
            .in_backend(&name)
            .hint("`taskport job list` shows the jobs there are")),
    }
}

/// A page of jobs, with a row for each.
pub(super) async fn list<const N: usize>(
    session: &Session,
    filter: &JobFilter,
    paging: &Paging,
    what: &str,
    head: [&str; N],
    row: impl Fn(String, &JobStatus) -> [String; N],
) -> Result<Report> {
    let backend = session.backend().await?;
    let admin = admin(&*backend)?;
    let page = paging.collect(&*backend, async |page| admin.jobs(filter.clone(), page).await).await?;
    let mut table = Table::new(head);
    for status in &page.items {
        table.row(row(format!("{}:{}", backend.name(), status.id), status));
    }
    session.remark_on(page.items.is_empty(), page.next.as_ref(), what);
    let jobs = page.items.iter().map(|status| wire::Job::new(backend.name(), status)).collect();
    Report::new(table, &wire::Jobs { jobs, next: page.next })
}

fn row(job: String, status: &JobStatus) -> [String; 6] {
    [
        job,
        status.task.to_string(),
        status.queue.to_string(),
        status.state.to_string(),
        status.attempt.to_string(),
        status.submitted_at.map(|moment| moment.to_string()).unwrap_or_default(),
    ]
}

async fn wait(session: &Session, jobs: &Jobs, timeout: Option<Duration>) -> Result<Report> {
    let groups = session.locate_all(&jobs.jobs).await?;
    let mut open: BTreeSet<String> = groups
        .iter()
        .flat_map(|(backend, ids)| ids.iter().map(|id| format!("{}:{id}", backend.name())))
        .collect();
    let mut outcomes = futures_util::stream::select_all(groups.iter().map(|(backend, ids)| {
        let name = backend.name().clone();
        backend.wait(ids.clone()).map(move |(id, outcome)| (name.clone(), id, outcome)).boxed()
    }));
    let deadline = timeout.map(|timeout| tokio::time::Instant::now() + timeout);
    let (mut done, mut text, mut failure) = (Vec::new(), String::new(), None);
    while !open.is_empty() {
        let next = match deadline {
            Some(deadline) => tokio::time::timeout_at(deadline, outcomes.next()).await,
            None => Ok(outcomes.next().await),
        };
        let Ok(next) = next else {
            let limit = timeout.unwrap_or_default();
            for (job, state) in states_of(&groups, &open).await {
                let word = state.map_or("unknown", JobState::as_str);
                text.push_str(&format!("{job}  {word}\n"));
                done.push(wire::Done::open(job.clone(), state, &no_outcome(&job, limit)));
            }
            let open: Vec<&str> = open.iter().map(String::as_str).collect();
            failure.get_or_insert(no_outcome(&open.join("`, `"), limit));
            break;
        };
        let Some((backend, id, outcome)) = next else { break };
        let job = format!("{backend}:{id}");
        open.remove(&job);
        match outcome {
            Ok(outcome) => {
                let state = state_of(&outcome);
                text.push_str(&format!("{job}  {state}\n"));
                done.push(wire::Done {
                    job: job.clone(),
                    done: Some(state.as_str()),
                    state: None,
                    problem: None,
                    outcome: wire::Ending::new(Some(&outcome)),
                });
                if let Outcome::Failure(why) = outcome {
                    failure.get_or_insert_with(|| ended_badly(&job, why));
                }
            }
            Err(error) => {
                done.push(wire::Done::failed(job, &error));
                failure.get_or_insert(error);
            }
        }
    }
    Ok(Report::new(text, &wire::Several { jobs: done })?.failed(failure))
}

/// Where the `open` ones of these jobs stand.
async fn states_of(
    groups: &[(Arc<dyn Backend>, Vec<JobId>)],
    open: &BTreeSet<String>,
) -> Vec<(String, Option<JobState>)> {
    let mut states = Vec::new();
    for (backend, ids) in groups {
        let jobs = ids.iter().map(|id| format!("{}:{id}", backend.name()));
        states.extend(jobs.zip(state_now(&**backend, ids).await).filter(|(job, _)| open.contains(job)));
    }
    states
}

/// The state of each job, where the backend can tell.
pub(super) async fn state_now(backend: &dyn Backend, ids: &[JobId]) -> Vec<Option<JobState>> {
    match backend.get(ids).await {
        Ok(found) => found.into_iter().map(|status| status.map(|status| status.state)).collect(),
        Err(_) => vec![None; ids.len()],
    }
}

/// The wait was given up.
pub(super) fn no_outcome(open: &str, limit: Duration) -> Error {
    let limit = crate::abstraction::text::format_duration(limit);
    Error::new(&codes::WAIT_TIMEOUT, "wait", format!("job `{open}` has not ended within {limit}"))
        .hint("it goes on; `taskport job get` shows where it stands")
}

/// The error that says how a job ended.
pub(super) fn ended_badly(job: &str, failure: crate::abstraction::Failure) -> Error {
    Error::new(code_of(failure.kind), "wait", format!("job `{job}` ended without success: {failure}"))
        .hint(format!("`taskport job get {job}` shows all that is known"))
        .with_failure(failure)
}

/// The state of a job that ended so.
pub(super) fn state_of(outcome: &Outcome) -> JobState {
    use crate::abstraction::FailureKind;
    match outcome {
        Outcome::Success(_) => JobState::Succeeded,
        Outcome::Failure(failure) => match failure.kind {
            FailureKind::Cancelled => JobState::Cancelled,
            FailureKind::Expired => JobState::Expired,
            _ => JobState::Failed,
        },
    }
}

async fn cancel(session: &Session, jobs: &Jobs) -> Result<Report> {
    each(session, jobs, async |backend, ids| {
        let results = backend.cancel(ids).await;
        results.into_iter().map(|result| result.map(cancelled)).collect()
    })
    .await
}

/// One word for what became of a cancel.
pub(super) fn cancelled(cancellation: Cancellation) -> &'static str {
    match cancellation {
        Cancellation::Cancelled => "cancelled",
        Cancellation::Requested => "requested",
        Cancellation::AlreadyEnded(state) => state.as_str(),
    }
}

/// Runs ended jobs again.
pub(super) async fn requeue(session: &Session, jobs: &Jobs) -> Result<Report> {
    each(session, jobs, async |backend, ids| match admin(backend) {
        Ok(admin) => admin.requeue(ids).await.into_iter().map(|result| result.map(|()| "requeued")).collect(),
        Err(error) => ids.iter().map(|_| Err(error.clone())).collect(),
    })
    .await
}

/// Does one thing to each job and says what came of it, and every failure; the first one decides the exit code.
pub(super) async fn each(
    session: &Session,
    jobs: &Jobs,
    act: impl AsyncFn(&dyn Backend, &[JobId]) -> Vec<Result<&'static str>>,
) -> Result<Report> {
    let (mut done, mut text, mut failures) = (Vec::new(), String::new(), Vec::new());
    for (backend, ids) in session.locate_all(&jobs.jobs).await? {
        for (id, result) in ids.iter().zip(act(&*backend, &ids).await) {
            let job = format!("{}:{id}", backend.name());
            match result {
                Ok(word) => {
                    text.push_str(&format!("{job}  {word}\n"));
                    done.push(wire::Done::well(job, word));
                }
                Err(error) => {
                    let error = where_to_look(error);
                    done.push(wire::Done::failed(job, &error));
                    failures.push(error);
                }
            }
        }
    }
    Ok(Report::new(text, &wire::Several { jobs: done })?.failed(failures))
}

/// Adds a remedy to an error about a job or run that does not exist.
pub(super) fn where_to_look(error: Error) -> Error {
    match error.code() {
        _ if error.remedy().is_some() => error,
        code if *code == codes::JOB_NOT_FOUND => error.hint("`taskport job list` shows the jobs there are"),
        code if *code == codes::RUN_NOT_FOUND => error.hint("`taskport runs list` shows the runs there are"),
        _ => error,
    }
}

/// A job for people.
pub(super) fn describe(backend: &BackendName, status: &JobStatus) -> Facts {
    let mut facts = Facts::default();
    facts.add("job", format_args!("{backend}:{}", status.id));
    facts.add("task", &status.task);
    facts.add("queue", &status.queue);
    facts.add("state", status.state);
    facts.add("attempt", status.attempt);
    facts.maybe("submitted", status.submitted_at);
    facts.maybe("not before", status.not_before);
    facts.maybe("started", status.started_at);
    facts.maybe("finished", status.finished_at);
    facts.maybe("worker", status.worker.as_deref());
    if let Some(progress) = &status.progress {
        let message = progress.message.as_deref().unwrap_or_default();
        facts.add("progress", format_args!("{:.0}% {message}", progress.fraction * 100.0));
    }
    if status.cancel_requested {
        facts.add("cancel", "requested");
    }
    if let Some(step) = &status.step {
        let index = step.index.map(|index| format!("[{index}]")).unwrap_or_default();
        facts.add("step", format_args!("{}{index} of run {}", step.step, step.run));
    }
    facts.add("arguments", wire::Body::new(&status.arguments).text());
    match &status.outcome {
        Some(Outcome::Success(result)) => facts.add("result", wire::Body::new(result).text()),
        Some(Outcome::Failure(failure)) => {
            facts.add("failure", failure);
            facts.maybe("traceback", failure.traceback.as_deref());
        }
        None => {}
    }
    facts
}
