//! `cargo xtask contract`.

use std::fs;

use anyhow::{Context, Result, bail};
use serde::{Deserialize, Serialize};

use crate::Verdict;
use crate::process::{cargo, root, step};

/// What the suite found for one kind of backend.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) struct Report {
    backend: String,
    version: String,
    passed: usize,
    failed: usize,
    refused: usize,
    cases: Vec<Case>,
}

#[derive(Debug, Serialize, Deserialize)]
struct Case {
    name: String,
    capability: String,
    verdict: String,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    reason: Option<String>,
}

pub(crate) fn run(backend: Option<&str>, json: bool) -> Result<Verdict> {
    let kinds = kinds()?;
    let chosen: Vec<&String> =
        kinds.iter().filter(|kind| backend.is_none_or(|name| name == kind.as_str())).collect();
    if chosen.is_empty() {
        bail!(
            "there is no backend of kind `{}`; the kinds are: {}",
            backend.unwrap_or_default(),
            kinds.join(", ")
        );
    }
    let mut good = true;
    for kind in chosen {
        let report = exercise(kind)?;
        good &= report.failed == 0 && report.passed > 0;
        if json {
            println!("{}", serde_json::to_string(&report)?);
        } else {
            print(&report);
        }
    }
    Ok(Verdict::from_bool(good))
}

/// Every folder under `adapters/` is a kind.
fn kinds() -> Result<Vec<String>> {
    let mut kinds = Vec::new();
    for entry in fs::read_dir(root().join("adapters"))? {
        let entry = entry?;
        if entry.path().join("Cargo.toml").is_file() {
            kinds.push(entry.file_name().to_string_lossy().into_owned());
        }
    }
    kinds.sort();
    Ok(kinds)
}

fn exercise(kind: &str) -> Result<Report> {
    let path = root().join("target").join(format!("contract-{kind}.json"));
    if path.exists() {
        fs::remove_file(&path)?;
    }
    let package = format!("taskport-{kind}");
    let mut command = cargo(&["test", "--package", &package, "--test", "contract", "--quiet"]);
    // Standard output belongs to the report.
    command.env("TASKPORT_CONTRACT_REPORT", &path).stdout(std::process::Stdio::null());
    step(&format!("contract suite of {kind}"), &mut command)?;
    let text = fs::read(&path).with_context(|| format!("the suite of {kind} left no report"))?;
    serde_json::from_slice(&text).with_context(|| format!("the report of {kind} cannot be read"))
}

fn print(report: &Report) {
    for case in &report.cases {
        match &case.reason {
            Some(reason) => println!("{:8} {} ({reason})", case.verdict, case.name),
            None => println!("{:8} {}", case.verdict, case.name),
        }
    }
    println!(
        "{} {}: {} passed, {} failed, {} refused as declared",
        report.backend, report.version, report.passed, report.failed, report.refused
    );
}
