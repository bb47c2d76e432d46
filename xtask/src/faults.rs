//! `cargo xtask faults`.

use std::process::Command;

use anyhow::{Context, Result, bail};

use crate::Verdict;
use crate::process::{cargo, judge, output, root, step};

/// How a campaign is asked for.
#[derive(Debug, clap::Args)]
pub(crate) struct Options {
    /// What is broken: `engine`
    name: String,
    /// How long, in minutes
    #[arg(long, default_value_t = 5.0)]
    minutes: f64,
    /// What everything random is drawn from; left out, a fresh one
    #[arg(long)]
    seed: Option<u64>,
    /// Ends early once so many jobs were judged
    #[arg(long)]
    jobs: Option<u64>,
    /// Only one round, of this scenario
    #[arg(long)]
    scenario: Option<String>,
    /// A program of an earlier release, to run beside this one
    #[arg(long)]
    old_binary: Option<std::path::PathBuf>,
    /// One JSON object on standard output
    #[arg(long)]
    json: bool,
}

impl Options {
    /// A few minutes with a fresh seed, as every run of the tests has them.
    pub(crate) fn slice() -> Self {
        Self {
            name: "engine".to_owned(),
            minutes: SLICE_MINUTES,
            seed: None,
            jobs: None,
            scenario: None,
            old_binary: None,
            json: false,
        }
    }
}

/// With what the last round needs to end, at most five minutes.
const SLICE_MINUTES: f64 = 4.0;

/// Builds the harness and has it break things.
pub(crate) fn run(options: &Options) -> Result<Verdict> {
    if options.name != "engine" {
        bail!("there is no campaign `{}`; there is: engine", options.name);
    }
    let build = ["build", "--profile", "campaign", "--package", "taskport-harness"];
    if !step("build the harness", &mut cargo(&build))? {
        bail!("the harness does not build");
    }
    let target = target_directory()?;
    let mut campaign = Command::new(target.join("campaign").join("taskport-harness"));
    campaign.arg("campaign").arg("--out").arg(target.join("faults"));
    campaign.args(["--minutes", &options.minutes.to_string(), "--commit", &commit()]);
    let given = |name: &str, value: Option<String>| {
        value.map(|value| [format!("--{name}"), value]).into_iter().flatten().collect::<Vec<_>>()
    };
    campaign.args(given("seed", options.seed.map(|seed| seed.to_string())));
    campaign.args(given("jobs", options.jobs.map(|jobs| jobs.to_string())));
    campaign.args(given("scenario", options.scenario.clone()));
    campaign.args(given("old-binary", options.old_binary.as_ref().map(|path| path.display().to_string())));
    if options.json {
        campaign.arg("--json");
    }
    judge("faults of the engine", &mut campaign)
}

/// Where cargo builds.
fn target_directory() -> Result<std::path::PathBuf> {
    #[derive(serde::Deserialize)]
    struct Metadata {
        target_directory: std::path::PathBuf,
    }
    let text = output(&mut cargo(&["metadata", "--format-version", "1", "--no-deps"]))?;
    let metadata: Metadata = serde_json::from_str(&text).context("cargo metadata printed something else")?;
    Ok(metadata.target_directory)
}

/// The commit, for the record of a failure.
fn commit() -> String {
    let mut git = Command::new("git");
    git.current_dir(root()).args(["rev-parse", "--short", "HEAD"]);
    output(&mut git).map_or_else(|_| "unknown".to_owned(), |text| text.trim().to_owned())
}
