//! `maintain`: upkeep of a backend that keeps its own data.

use std::path::PathBuf;
use std::time::Duration;

use clap::{Args, Subcommand, ValueEnum};
use serde::Serialize;

use super::queue::Consent;
use super::report::Report;
use super::session::Session;
use super::table::Facts;
use super::terminal::Printable;
use super::value;
use crate::abstraction::backend::Backend;
use crate::abstraction::codes;
use crate::abstraction::maintenance::{
    BackupReport, IntegrityReport, PruneReport, Repair, Retention, SizeReport,
};
use crate::{Error, Result, port};

/// Back up, restore, check and tidy what a backend keeps.
#[derive(Debug, Subcommand)]
pub(super) enum Command {
    /// Write a consistent copy of everything to a new file; producers and workers go on
    Backup {
        /// The file, which must not exist
        file: PathBuf,
    },
    /// Replace everything by a backup; workers must be stopped
    Restore {
        /// The backup
        file: PathBuf,
        #[command(flatten)]
        consent: Consent,
    },
    /// Look for damage, of the file and of what its rows say about each other; exit 1 where there is some
    Integrity {
        /// Put right what can be without losing anything
        #[arg(long)]
        repair: bool,
    },
    /// Give free space back to the file system, in small steps
    Vacuum {
        /// Write the whole file anew; workers must be stopped, and the disk needs room for a second file
        #[arg(long)]
        full: bool,
    },
    /// Move the log into the main file and empty it
    Checkpoint,
    /// Remove what ended long ago
    Prune {
        #[command(flatten)]
        what: Old,
        /// Only count
        #[arg(long, conflicts_with_all = ["yes", "force"])]
        dry_run: bool,
        #[command(flatten)]
        consent: Consent,
    },
}

/// What ended long ago.
#[derive(Debug, Args)]
pub(super) struct Old {
    /// Remove what ended at least so long ago, such as 30d
    #[arg(long, value_name = "AGE", value_parser = value::duration)]
    older_than: Duration,
    /// Only what ended so; dead letters and runs go only where they are named
    #[arg(long, value_name = "KIND,…", value_delimiter = ',', default_values = ["succeeded", "cancelled", "expired"])]
    only: Vec<Kind>,
}

/// What a prune removes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
enum Kind {
    /// Jobs that succeeded
    Succeeded,
    /// Dead letters
    Failed,
    /// Jobs that were cancelled
    Cancelled,
    /// Jobs that expired
    Expired,
    /// Runs with all their jobs
    Runs,
}

impl Old {
    fn retention(&self) -> Retention {
        let of = |kind| self.only.contains(&kind).then_some(self.older_than);
        Retention {
            succeeded: of(Kind::Succeeded),
            failed: of(Kind::Failed),
            cancelled: of(Kind::Cancelled),
            expired: of(Kind::Expired),
            runs: of(Kind::Runs),
        }
    }
}

pub(super) async fn run(session: &Session, command: Command) -> Result<Report> {
    let backend = session.backend().await?;
    let maintenance = backend.maintenance().ok_or_else(|| port::no_maintenance(backend.name()))?;
    let name = backend.name().to_string();
    match command {
        Command::Backup { file } => {
            let BackupReport { bytes, jobs } = maintenance.backup(&file).await?;
            let file = file.display().to_string();
            let text = format!("{}  {jobs} jobs, {bytes} bytes", Printable(&file));
            let done = format!("the backup `{file}` was written");
            Report::new(text, &Copied { backend: name, file, jobs, bytes }).map(|report| report.having(done))
        }
        Command::Restore { file, consent } => {
            consent.check(jobs_now(&*backend).await?, "restore")?;
            let BackupReport { bytes, jobs } = maintenance.restore(&file).await?;
            let file = file.display().to_string();
            let text = format!("{}  {jobs} jobs restored", Printable(&file));
            let done = format!("the backup `{file}` was restored");
            Report::new(text, &Copied { backend: name, file, jobs, bytes }).map(|report| report.having(done))
        }
        Command::Integrity { repair } => {
            let found = if repair { maintenance.repair().await? } else { maintenance.integrity().await? };
            integrity(name, found)
        }
        Command::Vacuum { full } => {
            let sizes = if full { maintenance.rebuild().await? } else { maintenance.vacuum().await? };
            sized(name, "the file", sizes)
        }
        Command::Checkpoint => sized(name, "the log", maintenance.checkpoint().await?),
        Command::Prune { what, dry_run, consent } => {
            let retention = what.retention();
            let found = maintenance.prunable(&retention).await?;
            if dry_run {
                return pruned(name, found, true);
            }
            consent.check(found.jobs + found.runs, "prune")?;
            pruned(name, maintenance.prune(&retention).await?, false)
        }
    }
}

/// How many jobs a restore would put others in the place of.
async fn jobs_now(backend: &dyn Backend) -> Result<u64> {
    let queues = super::session::admin(backend)?.queues().await?;
    Ok(queues.iter().map(|queue| queue.counts.submitted).sum())
}

#[derive(Serialize)]
struct Copied {
    backend: String,
    file: String,
    jobs: u64,
    bytes: u64,
}

#[derive(Serialize)]
struct Checked {
    backend: String,
    ok: bool,
    #[serde(flatten)]
    found: IntegrityReport,
}

#[derive(Serialize)]
struct Sized {
    backend: String,
    #[serde(flatten)]
    sizes: SizeReport,
}

#[derive(Serialize)]
struct Pruned {
    backend: String,
    dry_run: bool,
    #[serde(flatten)]
    pruned: PruneReport,
}

fn integrity(backend: String, found: IntegrityReport) -> Result<Report> {
    let open = found.problems.iter().filter(|problem| problem.repair != Repair::Done).count();
    let mut text = String::new();
    for problem in &found.problems {
        let word = if problem.repair == Repair::Done { "repaired" } else { "problem" };
        text.push_str(&format!("{word}  {}\n", Printable(&problem.problem)));
        if problem.repair != Repair::Done {
            text.push_str(&format!("         {}\n", Printable(&problem.advice)));
        }
    }
    if found.problems.is_empty() {
        text = format!("ok  {} rows\n", found.rows);
    }
    let repairable = found.problems.iter().any(|problem| problem.repair == Repair::Possible);
    let report = Report::new(text, &Checked { backend, ok: open == 0, found })?;
    if open == 0 {
        return Ok(report);
    }
    let problems = if open == 1 { "1 problem".to_owned() } else { format!("{open} problems") };
    let error = Error::new(&codes::CHECK_FAILED, "check integrity", format!("the database has {problems}"));
    Ok(report.failed([match repairable {
        true => error.hint("back up first, then repeat with `--repair`"),
        false => error,
    }]))
}

fn sized(backend: String, what: &str, sizes: SizeReport) -> Result<Report> {
    let SizeReport { bytes_before, bytes_after } = sizes;
    let text = format!("{what} had {bytes_before} bytes and has {bytes_after}");
    Report::new(text, &Sized { backend, sizes })
}

fn pruned(backend: String, pruned: PruneReport, dry_run: bool) -> Result<Report> {
    let mut facts = Facts::default();
    facts.add(if dry_run { "jobs to remove" } else { "jobs removed" }, pruned.jobs);
    facts.add(if dry_run { "runs to remove" } else { "runs removed" }, pruned.runs);
    Report::new(facts, &Pruned { backend, dry_run, pruned })
}

#[cfg(test)]
mod tests {
    use clap::Parser;

    use super::*;

    #[derive(Parser)]
    struct Line {
        #[command(flatten)]
        old: Old,
    }

    #[test]
    fn dead_letters_and_runs_are_pruned_only_where_they_are_named() {
        let day = Some(Duration::from_secs(86_400));
        let parse = |arguments: &[&str]| {
            let line = ["prune", "--older-than", "1d"].iter().chain(arguments);
            Line::try_parse_from(line).unwrap().old.retention()
        };
        let all = parse(&[]);
        assert_eq!((all.succeeded, all.cancelled, all.expired), (day, day, day));
        assert_eq!((all.failed, all.runs), (None, None));
        let named = parse(&["--only", "failed,runs"]);
        assert_eq!((named.failed, named.runs, named.succeeded), (day, day, None));
        assert!(Line::try_parse_from(["prune"]).is_err());
    }
}
