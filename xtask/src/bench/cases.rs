//! What is compared, and what each comparison is to reach.

use std::collections::BTreeMap;
use std::path::Path;
use std::process::Command;

use anyhow::Result;

use super::build::Built;
use super::participants::{self, ENGINE, OURS, RAW};
use super::report::{Case, Unit};
use super::runner::{Figures, Runner};
use crate::process::output;

const DURABILITIES: [&str; 2] = ["FULL", "NORMAL"];
/// The share of the measured rate that the soak asks for.
const SOAK_SHARE: f64 = 0.7;
/// The shortest time that a clock of microseconds tells from none.
const TICK_MS: f64 = 0.001;

/// A steady load for so many minutes.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Soak {
    pub(crate) minutes: u32,
    /// Jobs enqueued a second, in place of [`SOAK_SHARE`] of what was measured.
    pub(crate) per_second: Option<u32>,
}

/// Measures the embedded engine.
pub(crate) fn engine(built: &Built, folder: &Path, quick: bool, soak: Option<Soak>) -> Result<Vec<Case>> {
    let measure = Measure { built, runner: Runner::new(folder), folder, quick };
    let mut cases = Vec::new();
    let full = measure.load("FULL")?;
    let normal = measure.load("NORMAL")?;
    for (durability, figures) in DURABILITIES.into_iter().zip([&full, &normal]) {
        cases.extend(load_cases(durability, figures)?);
    }
    cases.extend(measure.singles()?);
    cases.extend(measure.pickup()?);
    cases.push(measure.backlog()?);
    cases.extend(measure.workflow()?);
    let (ours, bare) = (of(&full, OURS)?, of(&full, ENGINE)?);
    cases.push(Case::new(
        "API over engine's verbs, end to end, FULL",
        Unit::PerSecond,
        ours.median(END_TO_END)?,
        bare.median(END_TO_END)?,
        Some(0.95),
    ));
    cases.extend(measure.layer()?);
    cases.extend(measure.limits()?);
    cases.push(measure.pruning()?);
    if let Some(Soak { minutes, per_second }) = soak {
        let measured = ours.median("worked_per_second")?.min(ours.median(END_TO_END)?);
        cases.push(measure.soak(minutes, per_second.map_or(measured * SOAK_SHARE, f64::from))?);
    }
    Ok(cases)
}

const END_TO_END: &str = "end_to_end_per_second";
/// What the processors do for a job, enqueued and worked. Where neighbors are at work, this says more than time does.
const PROCESSOR: &str = "processor_us_per_job";

type Load = BTreeMap<&'static str, Figures>;

/// The comparisons that peers take part in.
fn load_cases(durability: &str, load: &Load) -> Result<Vec<Case>> {
    let full = durability == "FULL";
    let compare = |name: &str, ours: &str, figure: &str, target: Option<f64>| {
        let (ours, raw) = (of(load, ours)?.median(figure)?, of(load, RAW)?.median(figure)?);
        anyhow::Ok(Case::new(format!("{name}, {durability}"), Unit::PerSecond, ours, raw, target))
    };
    let peers = |figure: &str| -> Result<BTreeMap<String, f64>> {
        let peers = load.iter().filter(|(name, _)| ![OURS, ENGINE, RAW].contains(name));
        peers.map(|(name, figures)| Ok(((*name).to_owned(), figures.median(figure)?))).collect()
    };
    let at_full = |target: f64| full.then_some(target);
    let (bulk, single) = ("bulk_per_second", "single_per_second");
    Ok(vec![
        compare("end to end", OURS, END_TO_END, at_full(0.7))?.with_peers(peers(END_TO_END)?, at_full(10.0)),
        compare("bulk enqueue", OURS, bulk, Some(0.7))?.with_peers(peers(bulk)?, None),
        compare("64 tasks over one commit each", OURS, single, at_full(10.0))?
            .with_peers(peers(single)?, None),
        compare("engine's verbs, end to end", ENGINE, END_TO_END, None)?,
        compare("engine's verbs, bulk enqueue", ENGINE, bulk, None)?,
        Case::new(
            format!("processor time, {durability}"),
            Unit::MicrosecondsPerJob,
            of(load, OURS)?.median(PROCESSOR)?,
            of(load, RAW)?.median(PROCESSOR)?,
            None,
        ),
        Case::new(
            format!("engine's verbs, processor time, {durability}"),
            Unit::MicrosecondsPerJob,
            of(load, ENGINE)?.median(PROCESSOR)?,
            of(load, RAW)?.median(PROCESSOR)?,
            None,
        ),
    ])
}

fn of<'load>(load: &'load Load, name: &str) -> Result<&'load Figures> {
    load.get(name).ok_or_else(|| anyhow::anyhow!("{name} did not run"))
}

struct Measure<'a> {
    built: &'a Built,
    runner: Runner,
    folder: &'a Path,
    quick: bool,
}

impl Measure<'_> {
    /// Round after round, everybody once in each.
    fn load(&self, durability: &str) -> Result<Load> {
        let participants = participants::all(self.built, self.quick);
        let mut load = Load::new();
        for round in 1..=self.pick(2, 7) {
            eprintln!("▶ {durability}, round {round}");
            for participant in &participants {
                let mut command = Command::new(&participant.program);
                command.args(&participant.arguments).args(["--durability", durability]);
                command.args(["--jobs", &participant.jobs.to_string()]);
                command.args(["--singles", &participant.singles.to_string()]);
                self.runner.run(&mut command, load.entry(participant.name).or_default())?;
            }
        }
        Ok(load)
    }

    fn singles(&self) -> Result<Vec<Case>> {
        let figures = self.repeated("singles", &["--jobs", &self.pick(20_000, 100_000).to_string()])?;
        let fsync = figures.median("fsync_p50_ms")?;
        Ok(vec![Case::new(
            "64 tasks, p99 over one fsync, FULL",
            Unit::Milliseconds,
            figures.median("p99_ms")?,
            fsync,
            Some(1.0 / 3.0),
        )])
    }

    fn pickup(&self) -> Result<Vec<Case>> {
        let figures = self.repeated("pickup", &["--jobs", &self.pick(100, 500).to_string()])?;
        let case = |name: &str, figure: &str, limit: f64| {
            let ours = figures.median(figure)?.max(TICK_MS);
            anyhow::Ok(Case::new(name, Unit::Milliseconds, ours, limit, Some(1.0)))
        };
        Ok(vec![
            case("pick-up after commit, p50 over limit", "here_p50_ms", 0.2)?,
            case("pick-up in another process, p50 over limit", "elsewhere_p50_ms", 2.0)?,
        ])
    }

    fn backlog(&self) -> Result<Case> {
        let figures = self.once("backlog", &["--jobs", &self.pick(10_000, 50_000).to_string()])?;
        Ok(Case::new(
            "1,000,000 waiting over 10,000 waiting, FULL",
            Unit::MicrosecondsPerJob,
            figures.median("many_us_per_job")?,
            figures.median("few_us_per_job")?,
            Some(1.0 / 1.3),
        ))
    }

    fn workflow(&self) -> Result<Vec<Case>> {
        let (steps, graph) = (self.pick(100_000, 100_000), self.pick(10_000, 100_000));
        let sizes = ["--steps", &steps.to_string(), "--graph", &graph.to_string()];
        let figures = self.once("workflow", &sizes)?;
        let plain = figures.median("plain_per_second")?;
        let case = |name: String, figure: &str| {
            anyhow::Ok(Case::new(name, Unit::PerSecond, figures.median(figure)?, plain, Some(0.5)))
        };
        Ok(vec![
            case(format!("run over a list of {steps} over plain jobs, FULL"), "list_per_second")?,
            case(format!("run of {graph} steps over plain jobs, FULL"), "graph_per_second")?,
        ])
    }

    fn layer(&self) -> Result<Vec<Case>> {
        eprintln!("▶ layer");
        let mut figures = Figures::default();
        let jobs = self.pick(10_000, 100_000).to_string();
        figures.add(&output(Command::new(self.built.layer()).args(["--jobs", &jobs]))?)?;
        let us = figures.median("ns_per_job")? / 1e3;
        let allocations = figures.median("allocations_per_job")?;
        Ok(vec![
            Case::new("API alone, time over limit", Unit::MicrosecondsPerJob, us, 1.0, Some(1.0)),
            Case::new("API alone, over limit", Unit::AllocationsPerJob, allocations, 4.0, Some(1.0)),
        ])
    }

    fn limits(&self) -> Result<Vec<Case>> {
        let figures = self.once("limits", &["--jobs", &self.pick(20_000, 100_000).to_string()])?;
        let plain = figures.median("none_us_per_job")?;
        // A hundredth of the rate, a fifth of the rate.
        let (unused, used) = (0.99, 0.8);
        let case = |name: &str, figure: &str, target: f64| {
            let ours = figures.median(&format!("{figure}_us_per_job"))?;
            let name = format!("{name} over none, processor time, FULL");
            anyhow::Ok(Case::new(name, Unit::MicrosecondsPerJob, ours, plain, Some(target)))
        };
        Ok(vec![
            case("limits of another queue", "beside", unused)?,
            case("ordering keys", "ordering_key", used)?,
            case("new ordering keys", "ordering_key_new", used)?,
            case("concurrency keys", "concurrency_key", used)?,
            case("full concurrency keys", "concurrency_key_full", used)?,
            case("rate keys", "rate_key", used)?,
            case("debounce", "debounce", used)?,
            case("throttle", "throttle", used)?,
            case("batches", "batch", used)?,
            case("fair order", "fair", used)?,
            case("ageing", "ageing", used)?,
            case("queue concurrency", "queue_concurrency", used)?,
            case("queue rate", "queue_rate", used)?,
        ])
    }

    fn pruning(&self) -> Result<Case> {
        let figures = self.once("pruning", &["--jobs", &self.pick(20_000, 100_000).to_string()])?;
        Ok(Case::new(
            "pruning over none, processor time, FULL",
            Unit::MicrosecondsPerJob,
            figures.median("pruned_us_per_job")?,
            figures.median("kept_us_per_job")?,
            Some(0.98),
        ))
    }

    fn soak(&self, minutes: u32, per_second: f64) -> Result<Case> {
        let log = self.folder.join("soak.jsonl");
        let mut command = self.ours("soak");
        command.args(["--minutes", &minutes.to_string(), "--per-second", &format!("{per_second:.0}")]);
        command.arg("--log").arg(log);
        let mut figures = Figures::default();
        self.runner.run(&mut command, &mut figures)?;
        Ok(Case::new(
            format!("last minute of {minutes} over the first, FULL"),
            Unit::PerSecond,
            figures.median("last_per_second")?,
            figures.median("first_per_second")?,
            Some(0.97),
        ))
    }

    fn once(&self, run: &str, arguments: &[&str]) -> Result<Figures> {
        let mut figures = Figures::default();
        eprintln!("▶ {run}");
        self.runner.run(self.ours(run).args(arguments), &mut figures)?;
        Ok(figures)
    }

    fn repeated(&self, run: &str, arguments: &[&str]) -> Result<Figures> {
        let mut figures = Figures::default();
        eprintln!("▶ {run}");
        for _ in 0..self.pick(2, 5) {
            self.runner.run(self.ours(run).args(arguments), &mut figures)?;
        }
        Ok(figures)
    }

    fn ours(&self, run: &str) -> Command {
        let mut command = Command::new(self.built.bench());
        command.args([run, "--durability", "FULL"]);
        command
    }

    fn pick(&self, quick: usize, long: usize) -> usize {
        if self.quick { quick } else { long }
    }
}
