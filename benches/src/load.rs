//! The load that every participant is put under, and what one run of it gives.

use std::path::PathBuf;
use std::time::Duration;

use anyhow::Result;
use clap::{Args, ValueEnum};
use serde_json::{Value, json};
use taskport::engine::Synchronous;
use tempfile::TempDir;

use crate::statistics::rate;

/// How many jobs one bulk enqueue and one claim take.
pub(crate) const BATCH: usize = 100;
/// How many batches one caller has under way: while one is committed, the next is made.
pub(crate) const BATCHES_AT_ONCE: usize = 2;
/// How many tasks enqueue one by one.
pub(crate) const SUBMITTERS: usize = 64;
/// Longer than any run.
pub(crate) const LEASE: Duration = Duration::from_secs(600);
/// What each job carries.
pub(crate) const PAYLOAD_BYTES: usize = 100;

/// What most runs are given.
#[derive(Debug, Args)]
pub(crate) struct Given {
    /// An empty folder for the files of this run
    #[arg(long)]
    pub(crate) dir: PathBuf,
    #[arg(long)]
    pub(crate) durability: Durability,
    /// Jobs, of each turn where there are several
    #[arg(long)]
    pub(crate) jobs: usize,
}

impl Given {
    /// The sizes of the batches that make up all jobs.
    pub(crate) fn batches(&self) -> impl Iterator<Item = usize> {
        let jobs = self.jobs;
        (0..jobs).step_by(BATCH).map(move |first| BATCH.min(jobs - first))
    }

    /// A folder of its own for one turn, removed when it is dropped.
    pub(crate) fn turn_folder(&self) -> Result<TempDir> {
        Ok(tempfile::tempdir_in(&self.dir)?)
    }
}

/// One run of the load.
#[derive(Debug, Args)]
pub(crate) struct Load {
    #[command(flatten)]
    pub(crate) given: Given,
    /// Jobs enqueued one by one
    #[arg(long)]
    pub(crate) singles: usize,
}

/// What a commit waits for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
#[value(rename_all = "UPPER")]
pub(crate) enum Durability {
    Full,
    Normal,
}

impl Durability {
    /// What `PRAGMA synchronous` reads.
    pub(crate) fn level(self) -> u8 {
        match self {
            Self::Full => 2,
            Self::Normal => 1,
        }
    }

    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Full => "FULL",
            Self::Normal => "NORMAL",
        }
    }
}

impl From<Durability> for Synchronous {
    fn from(durability: Durability) -> Self {
        match durability {
            Durability::Full => Self::Full,
            Durability::Normal => Self::Normal,
        }
    }
}

/// What a participant took for each phase.
#[derive(Debug)]
pub(crate) struct Times {
    pub(crate) singles: Duration,
    pub(crate) bulk: Duration,
    pub(crate) work: Duration,
    /// What the processors worked for bulk and work together.
    pub(crate) processor: Duration,
}

impl Load {
    pub(crate) fn figures(&self, participant: &str, times: &Times) -> Value {
        let Given { durability, jobs, .. } = self.given;
        json!({
            "peer": participant,
            "version": env!("CARGO_PKG_VERSION"),
            "durability": durability.name(),
            "synchronous": durability.level(),
            "jobs": jobs,
            "bulk_per_second": rate(jobs, times.bulk),
            "single_per_second": rate(self.singles, times.singles),
            "worked_per_second": rate(jobs, times.work),
            "end_to_end_per_second": rate(jobs, times.bulk + times.work),
            "processor_us_per_job": times.processor.as_secs_f64() * 1e6 / jobs as f64,
        })
    }
}

pub(crate) fn payload() -> String {
    "x".repeat(PAYLOAD_BYTES)
}

/// What a call of the no-op task with that payload is encoded to.
pub(crate) fn arguments() -> String {
    format!(r#"[[],{{"payload":"{}"}}]"#, payload())
}
