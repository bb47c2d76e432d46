//! `outbox`: jobs of transactions on their way to other backends.

use std::sync::Arc;

use clap::{Args, Subcommand};
use serde::Serialize;

use super::report::Report;
use super::session::Session;
use super::table::Table;
use super::{value, wire};
use crate::abstraction::backend::{Backend, Scope};
use crate::abstraction::outbox::{Outbox, OutboxEntry};
use crate::abstraction::{Feature, Timestamp, codes};
use crate::{Error, JobId, Result};

/// Look at jobs on their way to other backends, have them tried again, delete them.
#[derive(Debug, Subcommand)]
pub(super) enum Command {
    /// List jobs that wait to be handed on, and those their backend refused, oldest first
    List {
        /// The largest number of entries
        #[arg(long, value_name = "N", default_value_t = 50, value_parser = clap::value_parser!(u16).range(1..=1_000))]
        limit: u16,
        /// Go on where an earlier listing ended
        #[arg(long, value_name = "NUMBER", default_value_t = 0, hide_default_value = true)]
        after: u64,
    },
    /// Try jobs again at once, refused ones too
    Retry(Ids),
    /// Delete jobs; they are never handed on
    Delete(Ids),
}

/// Some jobs of the outbox.
#[derive(Debug, Args)]
pub(super) struct Ids {
    /// The ids of the jobs
    #[arg(required = true, value_name = "ID", value_parser = value::name::<JobId>)]
    ids: Vec<JobId>,
}

#[derive(Debug, Serialize)]
struct Listing {
    waiting: u64,
    refused: u64,
    jobs: Vec<Entry>,
    next: Option<u64>,
}

#[derive(Debug, Serialize)]
struct Entry {
    id: String,
    target: String,
    task: String,
    state: &'static str,
    attempt: u32,
    submitted_at: Timestamp,
    due_at: Option<Timestamp>,
    reason: Option<String>,
}

impl Entry {
    fn new(entry: &OutboxEntry) -> Self {
        Self {
            id: entry.job.to_string(),
            target: entry.target.to_string(),
            task: entry.task.to_string(),
            state: if entry.due_at.is_some() { "waiting" } else { "refused" },
            attempt: entry.attempt,
            submitted_at: entry.submitted_at,
            due_at: entry.due_at,
            reason: entry.reason.clone(),
        }
    }
}

pub(super) async fn run(session: &Session, command: Command) -> Result<Report> {
    let backend = session.backend().await?;
    let outbox = outbox(&backend)?;
    match command {
        Command::List { limit, after } => list(session, outbox, after, limit.into()).await,
        Command::Retry(Ids { ids }) => {
            let results = outbox.retry(&ids).await;
            report(&backend, &ids, results, "retried")
        }
        Command::Delete(Ids { ids }) => {
            let results = outbox.delete(&ids).await;
            report(&backend, &ids, results, "deleted")
        }
    }
}

async fn list(session: &Session, outbox: &dyn Outbox, after: u64, limit: usize) -> Result<Report> {
    let found = outbox.list(after, limit).await?;
    let stats = outbox.stats().await?;
    let next = found.last().filter(|_| found.len() == limit).map(|entry| entry.receipt);
    let mut table = Table::new(["job", "target", "task", "state", "attempts", "reason"]);
    let jobs: Vec<Entry> = found.iter().map(Entry::new).collect();
    for job in &jobs {
        table.row([
            job.id.clone(),
            job.target.clone(),
            job.task.clone(),
            job.state.to_owned(),
            job.attempt.to_string(),
            job.reason.clone().unwrap_or_default(),
        ]);
    }
    let cursor = next.map(|next| crate::abstraction::backend::Cursor(next.to_string()));
    session.remark_on(jobs.is_empty(), cursor.as_ref(), "jobs in the outbox");
    Report::new(table, &Listing { waiting: stats.waiting, refused: stats.refused, jobs, next })
}

fn report(
    backend: &Arc<dyn Backend>,
    ids: &[JobId],
    results: Vec<Result<()>>,
    word: &'static str,
) -> Result<Report> {
    let (mut done, mut text, mut failures) = (Vec::new(), String::new(), Vec::new());
    for (id, result) in ids.iter().zip(results) {
        match result {
            Ok(()) => {
                text.push_str(&format!("{id}  {word}\n"));
                done.push(wire::Done::well(id.to_string(), word));
            }
            Err(error) => {
                let error = error.in_backend(backend.name());
                done.push(wire::Done::failed(id.to_string(), &error));
                failures.push(error);
            }
        }
    }
    Ok(Report::new(text, &wire::Several { jobs: done })?.failed(failures))
}

fn outbox(backend: &Arc<dyn Backend>) -> Result<&dyn Outbox> {
    match backend.transactional() {
        Some(transactional) => Ok(transactional.outbox()),
        None => {
            let refused =
                backend.capabilities(Scope::default()).require(Feature::Outbox, "read outbox").err();
            Err(refused
                .unwrap_or_else(|| {
                    Error::new(&codes::UNSUPPORTED, "read outbox", "the backend has no outbox")
                })
                .in_backend(backend.name()))
        }
    }
}
