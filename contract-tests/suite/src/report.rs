//! What the suite found, as JSON.

use std::collections::BTreeMap;
use std::fs;
use std::path::PathBuf;

use serde::Serialize;
use taskport_abstraction::{Capability, Feature, Support};

use crate::runner::Case;

/// The form `cargo xtask contract --json` prints.
#[derive(Debug, Serialize)]
pub(crate) struct Report {
    backend: String,
    pub(crate) version: String,
    passed: usize,
    failed: usize,
    refused: usize,
    cases: Vec<Entry>,
    #[serde(skip)]
    known: BTreeMap<String, usize>,
}

#[derive(Debug, Serialize)]
struct Entry {
    name: String,
    capability: String,
    verdict: Verdict,
    #[serde(skip_serializing_if = "Option::is_none")]
    reason: Option<String>,
}

/// What became of a case.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum Verdict {
    Passed,
    Failed,
    /// The capability rules the case out, and a refusal stands in its place.
    Refused,
}

impl Report {
    pub(crate) fn new(kind: &str) -> Self {
        Self {
            backend: kind.to_owned(),
            version: String::new(),
            passed: 0,
            failed: 0,
            refused: 0,
            cases: Vec::new(),
            known: BTreeMap::new(),
        }
    }

    pub(crate) fn add(
        &mut self,
        label: &str,
        name: &str,
        needs: &[Feature],
        verdict: Verdict,
        reason: Option<String>,
    ) {
        match verdict {
            Verdict::Passed => self.passed += 1,
            Verdict::Failed => self.failed += 1,
            Verdict::Refused => self.refused += 1,
        }
        let capability = needs.first().map(|feature| feature.name().to_owned()).unwrap_or_default();
        let name = format!("{label}::{name}");
        let previous = self.known.insert(name.clone(), self.cases.len());
        assert!(previous.is_none(), "two cases are called {name}");
        self.cases.push(Entry { name, capability, verdict, reason });
    }

    /// Lists a case that the capability rules out, with the declared reason.
    pub(crate) fn rule_out(&mut self, label: &str, case: Case, missing: Feature, capability: &Capability) {
        let why = match capability.get(missing) {
            Support::Unsupported { why, .. } => why.to_string(),
            Support::Native | Support::Emulated { .. } => String::new(),
        };
        let reason = Some(format!("`{}` is unsupported: {why}", missing.name()));
        self.add(label, case.name, &[missing], Verdict::Refused, reason);
    }

    /// Writes the report where the environment asks for one.
    pub(crate) fn write(&mut self) -> std::io::Result<()> {
        let Some(path) = std::env::var_os("TASKPORT_CONTRACT_REPORT").map(PathBuf::from) else {
            return Ok(());
        };
        self.cases.sort_by(|left, right| left.name.cmp(&right.name));
        fs::write(path, serde_json::to_vec_pretty(self)?)
    }
}
