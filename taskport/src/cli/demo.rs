//! `demo`: a document pipeline on the embedded engine, over real files.
//!
//! It scans a directory, fans out one durable job for each file, merges what they found and writes a report. With
//! `--chaos` worker processes are killed while they work, and the report must be the same, byte for byte.

mod account;
mod chaos;
mod chart;
mod crew;
mod engine;
mod file;
mod language;
mod page;
mod pipeline;
mod plan;
mod run;
mod scan;
mod sources;
mod summary;
mod tasks;
mod text;
mod words;
mod workspace;

use std::fs;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use clap::{Args, value_parser};
use serde::Serialize;
use taskport_worker::shutdown;

use self::account::Account;
use self::chaos::Survived;
use self::pipeline::Input;
use self::run::Ran;
use self::text::Grouped;
use self::workspace::{Reports, Workspace, difference};
use super::progress::RunProgress;
use super::report::Report;
use super::session::Session;
use super::usage::misuse;
use crate::abstraction::backend::Shutdown;
use crate::abstraction::codes;
use crate::port::random_seed;
use crate::{Error, Result, Run};

/// The report for programs.
const REPORT_JSON: &str = "report.json";
/// The report for people.
const REPORT_HTML: &str = "report.html";

/// Run a document pipeline over real files: one durable job for each
#[derive(Debug, Args)]
pub(super) struct Demo {
    /// The directory to scan; left out, library sources or documentation found on this machine
    dir: Option<PathBuf>,
    /// How many files at most
    #[arg(long, value_name = "N", default_value_t = 2_000, value_parser = value_parser!(u32).range(1..=FILES_MAX))]
    files: u32,
    /// Where the report is written
    #[arg(long, value_name = "DIR", default_value = "taskport-demo")]
    out: PathBuf,
    /// Kill worker processes while they work, and compare the report with that of a calm run
    #[arg(long)]
    chaos: bool,
    /// Repeats the kills of a run that printed this seed
    #[arg(long, value_name = "N", requires = "chaos")]
    seed: Option<u64>,
    /// Works for the run in this directory until standard input ends
    #[arg(long, value_name = "DIR", hide = true, exclusive = true)]
    worker_of: Option<PathBuf>,
}

/// The longest listing that one result can hold.
const FILES_MAX: i64 = 1_000_000;

pub(super) async fn run(session: &Session, command: Demo) -> Result<Report> {
    if let Some(room) = &command.worker_of {
        return crew::serve(room).await;
    }
    if command.chaos && session.chosen_backend().is_some() {
        return Err(misuse("`--chaos` and `--backend` exclude each other")
            .hint("`--chaos` kills workers of an engine file of its own; leave `--backend` out"));
    }
    let stop = shutdown::signals()?.handle();
    let root = root(command.dir.as_deref(), command.files)?;
    let workspace = Workspace::create(&command.out)?;
    let stage = Stage { session, stop, root, files_max: command.files, workspace };
    if command.chaos {
        stage.chaos(command.seed.unwrap_or_else(random_seed)).await
    } else {
        stage.calm().await
    }
}

/// The directory to scan.
fn root(dir: Option<&Path>, files: u32) -> Result<PathBuf> {
    let Some(dir) = dir else {
        let candidates = sources::candidates(&|name| std::env::var_os(name));
        let chosen = sources::choose(&candidates, files as usize).map(Path::to_owned);
        return chosen
            .ok_or_else(|| misuse("no text was found on this machine").hint("name a directory: demo DIR"));
    };
    let unusable = |source| {
        Error::new(&codes::USAGE, "scan", format!("`{}` is no directory that can be read", dir.display()))
            .caused_by(source)
            .hint("name a directory, or leave it out to take text found on this machine")
    };
    let root = fs::canonicalize(dir).map_err(unusable)?;
    fs::read_dir(&root).map_err(unusable)?;
    Ok(root)
}

/// What the runs of one invocation share.
#[derive(Debug)]
struct Stage<'a> {
    session: &'a Session,
    stop: Arc<dyn Shutdown>,
    root: PathBuf,
    files_max: u32,
    workspace: Workspace,
}

impl Stage<'_> {
    /// One run with a worker in this process.
    async fn calm(&self) -> Result<Report> {
        let room = self.workspace.room("calm")?;
        let ran = self.run_calmly(&room).await?;
        let reports = self.workspace.publish(&room)?;
        Answer::new(&ran, &reports).report(None)
    }

    /// A calm run, then one among kills, and the comparison.
    async fn chaos(&self, seed: u64) -> Result<Report> {
        let terminal = self.session.terminal;
        terminal.line("a calm run, to compare with");
        let calm = self.workspace.room("calm")?;
        self.run_calmly(&calm).await?;
        terminal.line(format_args!("the same with workers that are killed (repeat it with --seed {seed})"));
        let room = self.workspace.room("chaos")?;
        let Survived { ran, kills, repeats } = self.run_among_kills(&room, seed).await?;
        let differs = difference(&calm, &room)?;
        let reports = self.workspace.publish(&room)?;
        let chaos = Chaos { seed, kills, repeats, identical: differs.is_none() };
        Answer { chaos: Some(chaos), ..Answer::new(&ran, &reports) }.report(shortfall(differs, kills))
    }

    async fn run_calmly(&self, room: &Path) -> Result<Ran> {
        let port = match self.session.chosen_backend() {
            None => engine::open(room).await?,
            Some(_) => self.session.connect(pipeline::registry()).await?,
        };
        let mut progress = RunProgress::new(self.session.terminal);
        let input = self.input(room);
        let follow = async |run: &Run| run.progress(|status| progress.update(status)).await;
        let run = run::carry_out(&port, &input, &*self.stop, follow);
        let ran = engine::with_worker(&port, run).await;
        progress.finish();
        engine::close(port, ran).await
    }

    async fn run_among_kills(&self, room: &Path, seed: u64) -> Result<Survived> {
        let port = engine::open(room).await?;
        let mut progress = RunProgress::new(self.session.terminal);
        let survived = chaos::survive(&port, &self.input(room), seed, &*self.stop, &mut progress).await;
        progress.finish();
        engine::close(port, survived).await
    }

    fn input(&self, room: &Path) -> Input {
        Input {
            root: self.root.clone(),
            files_max: self.files_max,
            excluded: self.workspace.out().to_owned(),
            directory: room.to_owned(),
        }
    }
}

/// Why a run among kills falls short of what it is to show.
fn shortfall(differs: Option<&str>, kills: u64) -> Option<Error> {
    if let Some(file) = differs {
        let message = format!("`{file}` of the run among kills differs from that of the calm run");
        let hint = "the files may have changed in between: choose a directory that nobody writes to";
        return Some(Error::new(&codes::INTERNAL, "compare", message).hint(hint));
    }
    let over = "the run was over before a worker could be killed";
    (kills == 0).then(|| Error::new(&codes::INTERNAL, "run the demo", over).hint("give it more files"))
}

/// The answer of the command; its names are relied on.
#[derive(Debug, Serialize)]
struct Answer<'a> {
    #[serde(flatten)]
    account: Account,
    seconds: f64,
    jobs_per_second: f64,
    report_json: &'a Path,
    report_html: &'a Path,
    #[serde(flatten)]
    chaos: Option<Chaos>,
}

/// What a run among kills showed.
#[derive(Debug, Clone, Copy, Serialize)]
struct Chaos {
    seed: u64,
    kills: u64,
    repeats: u64,
    identical: bool,
}

impl<'a> Answer<'a> {
    fn new(ran: &Ran, reports: &'a Reports) -> Self {
        let seconds = ran.took.as_secs_f64();
        Self {
            account: ran.account,
            seconds: rounded(seconds, 1_000.0),
            jobs_per_second: rounded(ran.account.submitted as f64 / seconds.max(f64::MIN_POSITIVE), 10.0),
            report_json: &reports.json,
            report_html: &reports.html,
            chaos: None,
        }
    }

    /// What is printed, and the error where the run fell short.
    fn report(&self, shortfall: Option<Error>) -> Result<Report> {
        let failed = self.account.failed;
        let failure = || {
            let message =
                format!("{} jobs failed for good; the report leaves their files out", Grouped(failed));
            Error::new(&codes::JOB_FAILED, "run the demo", message)
        };
        Ok(Report::new(self, self)?.failed(shortfall.or_else(|| (failed > 0).then(failure))))
    }
}

impl std::fmt::Display for Answer<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let rate = Grouped(self.jobs_per_second as u64);
        writeln!(f, "{}", self.account)?;
        writeln!(f, "{:.2} s, {rate} jobs per second", self.seconds)?;
        if let Some(Chaos { kills, repeats, identical, .. }) = self.chaos {
            let same = if identical { "the report is the same, byte for byte" } else { "the report differs" };
            writeln!(f, "{kills} workers killed, {repeats} attempts made again, {same}")?;
        }
        writeln!(f, "{}", self.report_json.display())?;
        writeln!(f, "{}", self.report_html.display())
    }
}

fn rounded(number: f64, parts: f64) -> f64 {
    (number * parts).round() / parts
}
