//! `cargo xtask sim`.

use std::process::Stdio;

use anyhow::{Context, Result, bail};

use crate::Verdict;
use crate::process::{cargo, step};

/// Plays seeds with the speed of a release and every assertion on.
pub(crate) fn run(arguments: &[String]) -> Result<Verdict> {
    let mut command = cargo(&["run", "--quiet", "--profile", "campaign", "--package", "taskport-sim", "--"]);
    let status = command.args(arguments).stdin(Stdio::null()).status();
    let status = status.context("could not start the simulation")?;
    match status.code() {
        Some(0) => Ok(Verdict::Holds),
        Some(1) => Ok(Verdict::FallsShort),
        _ => bail!("the simulation did not run to its end: {status}"),
    }
}

/// Plays fresh seeds for so many minutes.
pub(crate) fn slice(profile: &str, minutes: &str) -> Result<bool> {
    let run = ["run", "--quiet", "--profile", profile, "--package", "taskport-sim", "--"];
    step("simulation of the engine", cargo(&run).args(["--minutes", minutes]))
}
