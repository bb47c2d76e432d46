//! `cargo xtask test`.

use anyhow::{Result, bail};

use crate::process::{root, steps};
use crate::{Verdict, faults, sim};

/// Runs the tests up to the first step that falls short. The backends of this workspace so far need no server; an
/// adapter that needs one brings `ci/up.sh`, which installs and starts it, and `ci/down.sh`.
pub(crate) fn run(adapter: Option<&str>, quick: bool) -> Result<Verdict> {
    let holds = match adapter {
        Some(name) => of_adapter(name)?,
        None if quick => steps(QUICK)? && sim::slice("dev", "0.1")? == Verdict::Holds,
        None => {
            steps(BEFORE)?
                && sim::slice("campaign", "1.25")? == Verdict::Holds
                && faults::run(&faults::Options::slice())? == Verdict::Holds
                && steps(LAST)?
        }
    };
    Ok(Verdict::from_bool(holds))
}

fn of_adapter(name: &str) -> Result<bool> {
    let manifest = root().join("adapters").join(name).join("Cargo.toml");
    if !manifest.is_file() {
        bail!("there is no adapter `{name}`: {} does not exist", manifest.display());
    }
    let package = format!("taskport-{name}");
    steps(&[("tests of the adapter", &["test", "--package", &package])])
}

/// Steps of `cargo`: what each is called, and its arguments.
type Steps = &'static [(&'static str, &'static [&'static str])];

const QUICK: Steps = &[
    ("unit tests", &["test", "--workspace", "--lib", "--quiet"]),
    (
        "contract suite in memory",
        &["test", "--package", "taskport-native", "--test", "contract", "--quiet", "--", "memory::"],
    ),
];

const BEFORE: Steps = &[
    // The binary is built first: tests that run it as a user do not pay for a build inside a time limit.
    ("build the command line", &["build", "--package", "taskport-cli"]),
    ("examples", &["build", "--package", "taskport-examples", "--examples"]),
    // It has a workspace of its own, and so a directory of its own for what is built.
    (
        "example with sqlx",
        &["run", "--quiet", "--manifest-path", "examples/sqlx/Cargo.toml", "--target-dir", "target/sqlx"],
    ),
    // The spans are no part of the default build.
    ("tests of spans", &["test", "--package", "taskport", "--features", "otel", "--test", "it", "spans::"]),
];

/// By itself at the end, so that the test runner has the last word.
const LAST: Steps = &[("tests", &["test", "--workspace", "--no-fail-fast"])];
