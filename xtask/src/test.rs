//! `cargo xtask test`.

use anyhow::{Result, bail};

use crate::Verdict;
use crate::process::{cargo, root, step};
use crate::{faults, sim};

/// Runs the tests. The backends of this workspace so far need no server; an adapter that needs one brings `ci/up.sh`,
/// which installs and starts it, and `ci/down.sh`.
pub(crate) fn run(adapter: Option<&str>, quick: bool) -> Result<Verdict> {
    if let Some(name) = adapter {
        let manifest = root().join("adapters").join(name).join("Cargo.toml");
        if !manifest.is_file() {
            bail!("there is no adapter `{name}`: {} does not exist", manifest.display());
        }
        let package = format!("taskport-{name}");
        return Ok(Verdict::from_bool(step(
            "tests of the adapter",
            &mut cargo(&["test", "--package", &package]),
        )?));
    }
    if quick {
        let unit = step("unit tests", &mut cargo(&["test", "--workspace", "--lib", "--quiet"]))?;
        let contract =
            ["test", "--package", "taskport-native", "--test", "contract", "--quiet", "--", "memory::"];
        let contract = step("contract suite in memory", &mut cargo(&contract))?;
        return Ok(Verdict::from_bool(unit & contract & sim::slice("dev", "0.1")?));
    }
    // The binary is built first: tests that run it as a user do not pay for a build inside a time limit.
    let built = step("build the command line", &mut cargo(&["build", "--package", "taskport-cli"]))?;
    let examples = step("examples", &mut cargo(&["build", "--package", "taskport-examples", "--examples"]))?;
    // It has a workspace of its own, and so a directory of its own for what is built.
    let sqlx =
        ["run", "--quiet", "--manifest-path", "examples/sqlx/Cargo.toml", "--target-dir", "target/sqlx"];
    let sqlx = step("example with sqlx", &mut cargo(&sqlx))?;
    // The spans are no part of the default build.
    let spans = ["test", "--package", "taskport", "--features", "otel", "--test", "it", "spans::"];
    let traced = step("tests of spans", &mut cargo(&spans))?;
    let simulated = sim::slice("campaign", "1.25")?;
    let stood = faults::run(&faults::Options::slice())? == Verdict::Holds;
    // Last, so that the test runner has the last word.
    let tested = step("tests", &mut cargo(&["test", "--workspace", "--no-fail-fast"]))?;
    Ok(Verdict::from_bool(built & examples & sqlx & tested & traced & simulated & stood))
}
