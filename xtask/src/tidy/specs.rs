//! Tests that name a requirement name one that exists.

use std::collections::BTreeSet;
use std::fs;

use anyhow::Result;

use super::text::tracked;
use crate::process::root;

pub(super) fn check() -> Result<Vec<String>> {
    let mut known = BTreeSet::new();
    for entry in fs::read_dir(root().join("specs"))? {
        known.extend(requirements(&fs::read_to_string(entry?.path())?));
    }
    let mut findings = Vec::new();
    for path in tracked()?.iter().filter(|path| path.ends_with(".rs")) {
        let Ok(text) = fs::read_to_string(root().join(path)) else { continue };
        for (number, line) in text.lines().enumerate() {
            let Some((_, named)) = line.split_once("// proves ") else { continue };
            for requirement in requirements(named) {
                if !known.contains(&requirement) {
                    findings.push(format!("{path}:{}: {requirement} is in no spec", number + 1));
                }
            }
        }
    }
    Ok(findings)
}

/// Every `R-` with three digits in a text.
fn requirements(text: &str) -> BTreeSet<String> {
    text.match_indices("R-")
        .filter_map(|(at, _)| text.get(at..at + 5))
        .filter(|found| found[2..].bytes().all(|b| b.is_ascii_digit()))
        .map(str::to_owned)
        .collect()
}
