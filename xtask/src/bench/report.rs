//! What a run found, as JSON, as a table, and as a verdict.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::fs;
use std::path::Path;
use std::process::Command;

use anyhow::Result;
use serde::Serialize;

use crate::process::output;

/// What `--json` prints.
#[derive(Debug, Serialize)]
pub(crate) struct Report {
    machine: Machine,
    pub(crate) cases: Vec<Case>,
}

/// Where it was measured. Figures of two machines are not to be compared; ratios are.
#[derive(Debug, Serialize)]
struct Machine {
    processor: String,
    processors: usize,
    kernel: String,
    file_system: String,
    /// The load average of the last minute before the report. Above the number of runs at once, others were at work.
    load: f64,
}

/// One comparison. Every ratio is the better the higher it is: for a unit of time it is the other side's over ours.
#[derive(Debug, Serialize)]
pub(crate) struct Case {
    pub(crate) name: String,
    pub(crate) unit: Unit,
    pub(crate) ours: f64,
    /// The raw law, or what the case compares with instead: its name says which.
    pub(crate) raw: Option<f64>,
    pub(crate) peers: BTreeMap<String, f64>,
    pub(crate) ratio_raw: Option<f64>,
    pub(crate) ratio_best_peer: Option<f64>,
    pub(crate) target: Target,
}

/// The least each ratio is to be.
#[derive(Debug, Clone, Copy, Default, Serialize)]
pub(crate) struct Target {
    pub(crate) ratio_raw: Option<f64>,
    pub(crate) ratio_best_peer: Option<f64>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
pub(crate) enum Unit {
    #[serde(rename = "jobs/s")]
    PerSecond,
    #[serde(rename = "ms")]
    Milliseconds,
    #[serde(rename = "us/job")]
    MicrosecondsPerJob,
    #[serde(rename = "allocations/job")]
    AllocationsPerJob,
}

impl Unit {
    fn as_str(self) -> &'static str {
        match self {
            Self::PerSecond => "jobs/s",
            Self::Milliseconds => "ms",
            Self::MicrosecondsPerJob => "us/job",
            Self::AllocationsPerJob => "allocations/job",
        }
    }

    /// How many times better `ours` is than `other`.
    fn ratio(self, ours: f64, other: f64) -> f64 {
        if self == Self::PerSecond { ours / other } else { other / ours }
    }
}

impl Case {
    /// A comparison with the raw law, or whatever else `raw` is, alone.
    pub(crate) fn new(
        name: impl Into<String>,
        unit: Unit,
        ours: f64,
        raw: f64,
        ratio_raw: Option<f64>,
    ) -> Self {
        Self {
            name: name.into(),
            unit,
            ours,
            raw: Some(raw),
            peers: BTreeMap::new(),
            ratio_raw: Some(unit.ratio(ours, raw)),
            ratio_best_peer: None,
            target: Target { ratio_raw, ratio_best_peer: None },
        }
    }

    /// And with peers.
    #[must_use]
    pub(crate) fn with_peers(mut self, peers: BTreeMap<String, f64>, target: Option<f64>) -> Self {
        let ratios = peers.values().map(|peer| self.unit.ratio(self.ours, *peer));
        self.ratio_best_peer = ratios.min_by(f64::total_cmp);
        self.target.ratio_best_peer = target;
        self.peers = peers;
        self
    }

    pub(crate) fn holds(&self) -> bool {
        let holds = |ratio: Option<f64>, target: Option<f64>| {
            target.is_none_or(|target| ratio.is_some_and(|ratio| ratio >= target))
        };
        holds(self.ratio_raw, self.target.ratio_raw)
            && holds(self.ratio_best_peer, self.target.ratio_best_peer)
    }
}

impl Report {
    pub(crate) fn new(folder: &Path, cases: Vec<Case>) -> Result<Self> {
        Ok(Self { machine: Machine::here(folder)?, cases })
    }

    /// Whether every target is met.
    pub(crate) fn holds(&self) -> bool {
        self.cases.iter().all(Case::holds)
    }

    pub(crate) fn table(&self) -> String {
        let machine = &self.machine;
        let mut text = format!(
            "{}, {} processors, {}, {}, load {:.1}\n\n",
            machine.processor, machine.processors, machine.kernel, machine.file_system, machine.load
        );
        let _ = writeln!(
            text,
            "  {:56} {:>11} {:>11} {:>22}  {:>16} {:>16}  unit",
            "case", "ours", "raw", "best peer", "ratio (target)", "ratio (target)"
        );
        for case in &self.cases {
            let mark = if case.holds() { "✓" } else { "✗" };
            let best = case.peers.iter().max_by(|a, b| a.1.total_cmp(b.1));
            let _ = writeln!(
                text,
                "{mark} {:56} {:>11} {:>11} {:>22}  {:>16} {:>16}  {}",
                case.name,
                shown(case.ours),
                case.raw.map(shown).unwrap_or_default(),
                best.map(|(name, rate)| format!("{name} {}", shown(*rate))).unwrap_or_default(),
                ratio(case.ratio_raw, case.target.ratio_raw),
                ratio(case.ratio_best_peer, case.target.ratio_best_peer),
                case.unit.as_str(),
            );
        }
        text
    }
}

/// A number with as many digits as are worth reading.
pub(crate) fn shown(value: f64) -> String {
    match value {
        _ if value >= 100.0 => format!("{value:.0}"),
        _ if value >= 1.0 => format!("{value:.2}"),
        _ => format!("{value:.4}"),
    }
}

fn ratio(ratio: Option<f64>, target: Option<f64>) -> String {
    match (ratio, target) {
        (Some(ratio), Some(target)) => format!("{ratio:.2} (≥ {target:.2})"),
        (Some(ratio), None) => format!("{ratio:.2}"),
        (None, _) => String::new(),
    }
}

impl Machine {
    fn here(folder: &Path) -> Result<Self> {
        let processors = fs::read_to_string("/proc/cpuinfo").unwrap_or_default();
        let processor = processors
            .lines()
            .find_map(|line| line.strip_prefix("model name"))
            .map_or("unknown", |rest| rest.trim_start_matches(['\t', ' ', ':']));
        let load = fs::read_to_string("/proc/loadavg").unwrap_or_default();
        let kernel = output(Command::new("uname").arg("-sr"))?;
        let file_system = output(Command::new("stat").args(["--file-system", "--format=%T"]).arg(folder))?;
        Ok(Self {
            processor: processor.to_owned(),
            processors: std::thread::available_parallelism().map_or(1, usize::from),
            kernel: kernel.trim().to_owned(),
            file_system: file_system.trim().to_owned(),
            load: load.split(' ').next().and_then(|number| number.parse().ok()).unwrap_or(0.0),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn peers(rates: &[(&str, f64)]) -> BTreeMap<String, f64> {
        rates.iter().map(|(name, rate)| ((*name).to_owned(), *rate)).collect()
    }

    #[test]
    fn a_rate_is_compared_with_the_best_peer() {
        let case = Case::new("rate", Unit::PerSecond, 70.0, 100.0, Some(0.7));
        assert!(case.holds());
        let case = case.with_peers(peers(&[("slow", 1.0), ("fast", 8.0)]), Some(10.0));
        assert_eq!(case.ratio_best_peer, Some(8.75));
        assert!(!case.holds());
    }

    #[test]
    fn less_time_is_a_higher_ratio() {
        let check = |ours: f64, limit: f64, holds: bool| {
            assert_eq!(
                Case::new("time", Unit::Milliseconds, ours, limit, Some(1.0)).holds(),
                holds,
                "{ours}"
            );
        };
        check(0.1, 0.2, true);
        check(0.3, 0.2, false);
    }

    #[test]
    fn a_missing_ratio_does_not_meet_a_target() {
        let mut case = Case::new("rate", Unit::PerSecond, 1.0, 1.0, None);
        assert!(case.holds());
        case.target.ratio_best_peer = Some(10.0);
        assert!(!case.holds());
    }

    #[test]
    fn the_fields_are_those_that_others_rely_on() {
        let case = Case::new("rate", Unit::PerSecond, 1.0, 2.0, Some(0.7));
        let json = serde_json::to_value(&case).unwrap();
        let expected = serde_json::json!({
            "name": "rate", "unit": "jobs/s", "ours": 1.0, "raw": 2.0, "peers": {}, "ratio_raw": 0.5,
            "ratio_best_peer": null, "target": {"ratio_raw": 0.7, "ratio_best_peer": null},
        });
        assert_eq!(json, expected);
    }
}
