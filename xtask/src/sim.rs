//! `cargo xtask sim`.

use std::ffi::OsStr;

use anyhow::Result;

use crate::Verdict;
use crate::process::{cargo, judge};

/// Plays seeds with the speed of a release and every assertion on.
pub(crate) fn run(arguments: &[String]) -> Result<Verdict> {
    play("campaign", arguments)
}

/// Plays fresh seeds for so many minutes.
pub(crate) fn slice(profile: &str, minutes: &str) -> Result<Verdict> {
    play(profile, &["--minutes", minutes])
}

fn play(profile: &str, arguments: &[impl AsRef<OsStr>]) -> Result<Verdict> {
    let run = ["run", "--quiet", "--profile", profile, "--package", "taskport-sim", "--"];
    judge("simulation of the engine", cargo(&run).args(arguments))
}
