//! `cargo xtask tidy`: the rules of the house that no compiler checks.

mod adapters;
mod arrows;
mod errors;
mod features;
mod specs;
mod text;

use anyhow::Result;

use crate::{Verdict, generate};

pub(crate) fn run() -> Result<Verdict> {
    let mut findings = Vec::new();
    findings.extend(arrows::check()?);
    findings.extend(adapters::check()?);
    findings.extend(errors::check()?);
    findings.extend(features::check()?);
    findings.extend(specs::check()?);
    findings.extend(text::check()?);
    findings.extend(generate::check()?);
    for finding in &findings {
        eprintln!("tidy: {finding}");
    }
    eprintln!("{} tidy, {} findings", if findings.is_empty() { "✓" } else { "✗" }, findings.len());
    Ok(Verdict::from_bool(findings.is_empty()))
}
