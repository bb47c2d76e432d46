//! Rounds of every scenario by seed, until the time is over, and what they add up to.

use std::collections::BTreeMap;
use std::fmt;
use std::fs;
use std::path::PathBuf;

use anyhow::{Context, Result, bail};
use fastrand::Rng;
use serde::Serialize;
use taskport_checker::Rule;

use crate::arena::{Figures, Judged};
use crate::clock::monotonic_us;
use crate::rounds::{Ground, SCENARIOS, Scenario};

/// From how many minutes on a campaign is a long one, whose rounds are longer.
const LONG_MINUTES: f64 = 15.0;
/// How much longer.
const LONG_FACTOR: f64 = 4.0;

/// What a campaign is asked for.
#[derive(Debug, Clone)]
pub struct Plan {
    /// How long, in minutes.
    pub minutes: f64,
    /// What everything random is drawn from.
    pub seed: u64,
    /// Ends early once so many jobs were judged.
    pub jobs: Option<u64>,
    /// Only one round, of this scenario.
    pub scenario: Option<String>,
    /// A release from before.
    pub old_binary: Option<PathBuf>,
    /// Where failures and the report are kept.
    pub out: PathBuf,
    /// The commit, for the record of a failure.
    pub commit: String,
}

/// Rounds until the time is over.
#[derive(Debug)]
pub struct Campaign {
    plan: Plan,
    program: PathBuf,
    scratch: tempfile::TempDir,
    report: Report,
    ended_us: u64,
}

/// What a campaign has shown.
#[derive(Debug, Clone, Default, Serialize)]
pub struct Report {
    jobs: u64,
    faults: u64,
    lost: u64,
    ghosts: u64,
    double: u64,
    early: u64,
    stuck: u64,
    repeats: u64,
    explained: u64,
    unexplained: u64,
    not_applied: u64,
    cancelled: u64,
    order: u64,
    disagreeing: u64,
    recovered: u64,
    seed: u64,
    rounds: BTreeMap<&'static str, u64>,
    by_fault: BTreeMap<&'static str, u64>,
    /// Where the histories of failed rounds are kept; empty where none failed.
    history: Vec<PathBuf>,
    /// What failed, each with the command that runs it again.
    failures: Vec<Failure>,
}

/// A round that failed.
#[derive(Debug, Clone, Serialize)]
struct Failure {
    scenario: &'static str,
    seed: u64,
    commit: String,
    problems: Vec<String>,
    replay: String,
}

impl Campaign {
    /// A campaign that has not begun.
    ///
    /// # Errors
    /// Where no scenario is called so, or nothing can be written.
    pub fn new(plan: Plan) -> Result<Self> {
        if let Some(name) = &plan.scenario
            && !SCENARIOS.iter().any(|scenario| scenario.name == name)
        {
            let names: Vec<&str> = SCENARIOS.iter().map(|scenario| scenario.name).collect();
            bail!("there is no scenario `{name}`; they are: {}", names.join(", "));
        }
        fs::create_dir_all(&plan.out).context("make the directory of the report")?;
        let program = std::env::current_exe().context("find this program")?;
        let scratch = tempfile::tempdir().context("make a directory for the rounds")?;
        let report = Report { seed: plan.seed, ..Report::default() };
        let ended_us = monotonic_us() + micros(plan.minutes);
        Ok(Self { plan, program, scratch, report, ended_us })
    }

    /// Runs the rounds.
    ///
    /// # Errors
    /// Where the report cannot be written. A round that cannot be judged is a failed round.
    pub fn run(mut self) -> Result<Report> {
        if let Some(name) = self.plan.scenario.clone() {
            for scenario in SCENARIOS.iter().filter(|scenario| scenario.name == name) {
                self.round(scenario, self.plan.seed, scenario.seconds)?;
            }
            return Ok(self.report);
        }
        let factor = if self.plan.minutes >= LONG_MINUTES { LONG_FACTOR } else { 1.0 };
        let mut rng = Rng::with_seed(self.plan.seed);
        for pass in 0.. {
            for scenario in SCENARIOS.iter().filter(|scenario| pass == 0 || !scenario.once) {
                let left = seconds(self.ended_us.saturating_sub(monotonic_us()));
                // The first pass shows each at least once, as far as the time reaches.
                let enough = self.plan.jobs.is_some_and(|jobs| self.report.jobs >= jobs && pass > 0);
                if left < scenario.seconds || enough {
                    return Ok(self.report);
                }
                self.round(scenario, rng.u64(1..1_000_000_000), (scenario.seconds * factor).min(left))?;
            }
        }
        Ok(self.report)
    }

    fn round(&mut self, scenario: &Scenario, seed: u64, seconds: f64) -> Result<()> {
        let dir = self.scratch.path().join(format!("{}-{seed}", scenario.name));
        fs::create_dir_all(&dir)?;
        let began = monotonic_us();
        let judged = (scenario.run)(&Ground {
            program: &self.program,
            old_binary: self.plan.old_binary.as_deref(),
            dir: &dir,
            seed,
            seconds,
        });
        let took = self::seconds(monotonic_us() - began);
        let problems = match &judged {
            Ok(judged) => {
                self.report.add(judged);
                if judged.passed() {
                    Vec::new()
                } else {
                    [judged.problems.clone(), judged.examples.clone()].concat()
                }
            }
            Err(error) => vec![format!("the round cannot be judged: {error:#}")],
        };
        *self.report.rounds.entry(scenario.name).or_default() += 1;
        let (jobs, faults) =
            judged.as_ref().map_or((0, 0), |judged| (judged.figures.jobs, judged.figures.faults));
        let failed = judged.as_ref().map_or(true, |judged| !judged.passed());
        let mark = if failed { "✗" } else { "✓" };
        self.say(&format!(
            "{mark} {} seed {seed}: {jobs} jobs, {faults} faults, {took:.1} s",
            scenario.name
        ))?;
        if failed {
            self.keep(scenario, seed, &dir, problems)?;
        }
        fs::remove_dir_all(&dir).context("remove the directory of a round")
    }

    /// Keeps what is needed to understand a failed round.
    fn keep(
        &mut self,
        scenario: &Scenario,
        seed: u64,
        dir: &std::path::Path,
        mut problems: Vec<String>,
    ) -> Result<()> {
        let kept = self.plan.out.join(format!("{}-{seed}", scenario.name));
        if problems.is_empty() {
            problems.push("no jobs or no faults".to_owned());
        }
        copy_files(dir, &kept)?;
        let failure = Failure {
            scenario: scenario.name,
            seed,
            commit: self.plan.commit.clone(),
            problems,
            replay: format!("cargo xtask faults engine --scenario {} --seed {seed}", scenario.name),
        };
        fs::write(kept.join("failure.json"), serde_json::to_vec_pretty(&failure)?)?;
        self.say(&failure.to_string())?;
        self.report.history.push(kept);
        self.report.failures.push(failure);
        Ok(())
    }

    /// Writes a line to the log of the campaign, which others may follow, and to standard error.
    #[expect(clippy::print_stderr, reason = "a campaign takes long, and says how far it is")]
    fn say(&self, line: &str) -> Result<()> {
        use std::io::Write;
        eprintln!("{line}");
        let log = fs::OpenOptions::new().create(true).append(true).open(self.plan.out.join("campaign.log"));
        writeln!(log?, "{line}").context("write the log of the campaign")?;
        // What was shown so far survives the end of this process.
        fs::write(self.plan.out.join("report.json"), serde_json::to_vec(&self.report)?)?;
        Ok(())
    }
}

impl Report {
    /// Whether there were jobs and faults, and nothing went wrong.
    pub fn passed(&self) -> bool {
        self.jobs > 0 && self.faults > 0 && self.failures.is_empty()
    }

    fn add(&mut self, judged: &Judged) {
        let Figures { jobs, faults, repeats, explained, recovered, broken } = &judged.figures;
        self.jobs += jobs;
        self.faults += faults;
        self.repeats += repeats;
        self.explained += explained;
        self.recovered += recovered;
        for (rule, count) in broken {
            *self.figure(*rule) += count;
        }
        for (kind, count) in &judged.faults {
            *self.by_fault.entry(kind).or_default() += count;
        }
    }

    fn figure(&mut self, rule: Rule) -> &mut u64 {
        match rule {
            Rule::Lost => &mut self.lost,
            Rule::Ghosts => &mut self.ghosts,
            Rule::Double => &mut self.double,
            Rule::Unexplained => &mut self.unexplained,
            Rule::NotApplied => &mut self.not_applied,
            Rule::Early => &mut self.early,
            Rule::Cancelled => &mut self.cancelled,
            Rule::Order => &mut self.order,
            Rule::Stuck => &mut self.stuck,
            Rule::Disagreeing => &mut self.disagreeing,
        }
    }
}

impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "seed {}: {} jobs, {} faults", self.seed, self.jobs, self.faults)?;
        for (kind, count) in &self.by_fault {
            writeln!(f, "  {count:6} {kind}")?;
        }
        writeln!(
            f,
            "{} lost, {} ghosts, {} double, {} early, {} stuck, {} of {} repeats explained",
            self.lost, self.ghosts, self.double, self.early, self.stuck, self.explained, self.repeats
        )?;
        for failure in &self.failures {
            writeln!(f, "✗ {} seed {}\n{failure}", failure.scenario, failure.seed)?;
        }
        Ok(())
    }
}

/// What went wrong, and the command that runs the round again.
impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for problem in &self.problems {
            writeln!(f, "    {problem}")?;
        }
        write!(f, "    {}", self.replay)
    }
}

#[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "a campaign takes days at most")]
fn micros(minutes: f64) -> u64 {
    (minutes.max(0.0) * 60e6) as u64
}

#[expect(clippy::cast_precision_loss, reason = "a campaign takes days at most")]
fn seconds(micros: u64) -> f64 {
    micros as f64 / 1e6
}

/// Copies the files of a directory and of the directories in it, but for what is mounted there.
fn copy_files(from: &std::path::Path, to: &std::path::Path) -> Result<()> {
    fs::create_dir_all(to)?;
    for entry in fs::read_dir(from)? {
        let entry = entry?;
        let target = to.join(entry.file_name());
        if entry.file_type()?.is_dir() {
            copy_files(&entry.path(), &target)?;
        } else if entry.file_type()?.is_file() {
            fs::copy(entry.path(), target)?;
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_report_ends_with_what_failed_and_how_to_run_it_again() {
        let failure = Failure {
            scenario: "disk-full",
            seed: 7,
            commit: "unknown".to_owned(),
            problems: vec!["1 job is lost".to_owned()],
            replay: "cargo xtask faults engine --scenario disk-full --seed 7".to_owned(),
        };
        let report = Report { failures: vec![failure], ..Report::default() }.to_string();
        let end = "✗ disk-full seed 7\n    1 job is lost\n    cargo xtask faults engine --scenario disk-full --seed 7\n";
        assert!(report.ends_with(end), "{report}");
    }
}
