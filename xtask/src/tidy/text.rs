//! What no tracked file may hold.

use std::fs;

use anyhow::Result;

use crate::process::{output, root};

/// Unfinished work and switched-off tests. Each is written in two parts so that this file does not hold it.
const UNFINISHED: &[(&str, &str)] =
    &[("todo", "!("), ("unimplemented", "!("), ("#[igno", "re]"), ("dbg", "!(")];

/// Files longer than this own more than one thing.
const LINES_MAX: usize = 1_000;

pub(super) fn check() -> Result<Vec<String>> {
    let mut findings = Vec::new();
    let home = std::env::home_dir().map(|home| format!("{}/", home.display())).filter(|home| home.len() > 2);
    let here = format!("{}/", root().display());
    for path in tracked()? {
        let Ok(text) = fs::read_to_string(root().join(&path)) else { continue };
        if path.ends_with(".rs") {
            if text.lines().count() > LINES_MAX {
                findings.push(format!("{path} is longer than {LINES_MAX} lines"));
            }
            for (head, tail) in UNFINISHED {
                if text.contains(&format!("{head}{tail}")) {
                    findings.push(format!("{path} holds `{head}{tail}`"));
                }
            }
        }
        for place in home.iter().chain([&here]) {
            if path != "Cargo.lock" && text.contains(place.as_str()) {
                findings.push(format!("{path} names a path of this machine, {place}"));
            }
        }
    }
    Ok(findings)
}

/// The files git knows, new ones included.
pub(super) fn tracked() -> Result<Vec<String>> {
    let mut git = std::process::Command::new("git");
    git.current_dir(root()).args(["ls-files", "--cached", "--others", "--exclude-standard"]);
    Ok(output(&mut git)?.lines().map(str::to_owned).collect())
}
