//! Running programs and saying how long they took.

use std::path::{Path, PathBuf};
use std::process::{Command, ExitStatus, Stdio};
use std::time::Duration;

use anyhow::{Context, Result, bail};

use crate::Verdict;

/// The root of the workspace.
pub(crate) fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).parent().map(Path::to_path_buf).unwrap_or_default()
}

/// A `cargo` command at the root.
pub(crate) fn cargo(arguments: &[&str]) -> Command {
    let mut command = Command::new(option_env!("CARGO").unwrap_or("cargo"));
    command.current_dir(root()).args(arguments);
    command
}

/// Runs a step to its end, prints its time, and says whether it exited with 0.
pub(crate) fn step(name: &str, command: &mut Command) -> Result<bool> {
    Ok(marked(name, command)?.success())
}

/// Runs steps of `cargo` in order, as far as all is well: the last one that is printed is the one that fell short.
pub(crate) fn steps(of_cargo: &[(&str, &[&str])]) -> Result<bool> {
    for (name, arguments) in of_cargo {
        if !step(name, &mut cargo(arguments))? {
            return Ok(false);
        }
    }
    Ok(true)
}

/// Runs a step that says by its exit code what it found: 0 or 1, and anything else where it could not run.
pub(crate) fn judge(name: &str, command: &mut Command) -> Result<Verdict> {
    let status = marked(name, command)?;
    match status.code() {
        Some(0) => Ok(Verdict::Holds),
        Some(1) => Ok(Verdict::FallsShort),
        _ => bail!("{name} did not run to its end: {status}"),
    }
}

fn marked(name: &str, command: &mut Command) -> Result<ExitStatus> {
    eprintln!("▶ {name}");
    let (status, took) = timed(|| command.stdin(Stdio::null()).status());
    let status = status.with_context(|| format!("could not start {name}"))?;
    let mark = if status.success() { "✓" } else { "✗" };
    eprintln!("{mark} {name} {:.1}s", took.as_secs_f64());
    Ok(status)
}

/// Runs a command and returns what it printed.
pub(crate) fn output(command: &mut Command) -> Result<String> {
    let shown = format!("{command:?}");
    let output = command
        .stdin(Stdio::null())
        .stderr(Stdio::inherit())
        .output()
        .with_context(|| format!("could not start {shown}"))?;
    if !output.status.success() {
        bail!("{shown} ended with {}", output.status);
    }
    String::from_utf8(output.stdout).with_context(|| format!("{shown} printed no UTF-8"))
}

fn timed<T>(run: impl FnOnce() -> T) -> (T, Duration) {
    #[expect(clippy::disallowed_methods, reason = "automation reports wall time")]
    let start = std::time::Instant::now();
    let value = run();
    (value, start.elapsed())
}
