//! `job logs`: what a job says while it runs.

use clap::Args;
use futures_util::StreamExt;
use serde::Serialize;

use super::job::where_to_look;
use super::report::{Format, Report, print_line};
use super::session::{Located, Session};
use super::terminal::Printable;
use super::wire::Body;
use crate::Result;
use crate::abstraction::Timestamp;
use crate::abstraction::journal::{JournalEntry, Note};
use crate::job::Job;

/// How many entries are read at once.
const PAGE_LEN: usize = 500;

/// Show what a job has said: its log and partial results
///
/// With `--json` the answer is one document, or with `--follow` one document on a line for each entry.
#[derive(Debug, Args)]
pub(super) struct Logs {
    /// The job: `backend:id`, or an id on the default backend
    job: String,
    /// Go on as it says more, until it has ended
    #[arg(long, short)]
    follow: bool,
    /// Only what it said after the entry of this number
    #[arg(long, value_name = "NUMBER", default_value_t = 0, hide_default_value = true)]
    after: u64,
}

/// Everything a job has said.
#[derive(Debug, Serialize)]
struct Said {
    job: String,
    entries: Vec<Entry>,
}

/// One thing a job has said: a line of its log with its level, or a partial result.
#[derive(Debug, Serialize)]
struct Entry {
    number: u64,
    attempt: u32,
    at: Timestamp,
    #[serde(flatten)]
    note: What,
}

#[derive(Debug, Serialize)]
#[serde(untagged)]
enum What {
    Log { level: &'static str, message: String },
    Partial { partial: Body },
}

impl Entry {
    fn new(entry: &JournalEntry) -> Self {
        Self {
            number: entry.number,
            attempt: entry.attempt,
            at: entry.at,
            note: match &entry.note {
                Note::Log { level, message } => What::Log { level: level.as_str(), message: message.clone() },
                Note::Partial(payload) => What::Partial { partial: Body::new(payload) },
            },
        }
    }

    /// The same for people, on one line.
    fn text(&self) -> String {
        let (word, body) = match &self.note {
            What::Log { level, message } => (*level, message.clone()),
            What::Partial { partial } => ("partial", partial.text()),
        };
        format!("{}  {}  {word:<7}  {}", self.at, self.attempt, Printable(&body))
    }
}

pub(super) async fn run(session: &Session, logs: Logs) -> Result<Report> {
    let Located { backend, id } = session.locate(&logs.job).await?;
    let job = Job::of(backend, id);
    if logs.follow { follow(session, &job, logs.after).await } else { show(&job, logs.after).await }
}

/// Everything a job has said after an entry.
pub(super) async fn all(job: &Job, after: u64) -> Result<Vec<JournalEntry>> {
    let mut said: Vec<JournalEntry> = Vec::new();
    loop {
        let after = said.last().map_or(after, |entry| entry.number);
        let page = job.journal(after, PAGE_LEN).await?;
        let is_last = page.len() < PAGE_LEN;
        said.extend(page);
        if is_last {
            return Ok(said);
        }
    }
}

async fn show(job: &Job, after: u64) -> Result<Report> {
    let entries = all(job, after).await.map_err(where_to_look)?;
    let entries: Vec<Entry> = entries.iter().map(Entry::new).collect();
    let text: String = entries.iter().map(|entry| entry.text() + "\n").collect();
    Report::new(text, &Said { job: job.job_ref().to_string(), entries })
}

async fn follow(session: &Session, job: &Job, after: u64) -> Result<Report> {
    let mut said = job.follow(after)?;
    while let Some(entry) = said.next().await {
        let entry = Entry::new(&entry.map_err(where_to_look)?);
        let line = match session.format() {
            Format::Json => Report::new("", &entry)?.into_document(),
            Format::Text => entry.text(),
        };
        if !print_line(&line)? {
            break;
        }
    }
    Ok(Report::printed())
}
