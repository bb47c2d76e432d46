//! What the checker found.

use std::collections::{BTreeMap, BTreeSet};

use serde::Serialize;

/// A promise that a job can show broken.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Rule {
    /// Acknowledged, and then gone or without its effect.
    Lost,
    /// Seen, though nobody attempted it.
    Ghosts,
    /// More outcomes than one, an outcome under an old lease, or two jobs for one key.
    Double,
    /// Started again without a recorded cause. Counts starts; every other rule counts jobs.
    Unexplained,
    /// Refused as not applied, and there all the same.
    NotApplied,
    /// Started before its time.
    Early,
    /// Started after it was cancelled.
    Cancelled,
    /// Started before one that stands before it under the same ordering key.
    Order,
    /// Not ended when the queues were said to be drained.
    Stuck,
    /// Read back twice, in different states.
    Disagreeing,
}

impl Rule {
    /// Every rule.
    pub const ALL: [Self; 10] = [
        Self::Lost,
        Self::Ghosts,
        Self::Double,
        Self::Unexplained,
        Self::NotApplied,
        Self::Early,
        Self::Cancelled,
        Self::Order,
        Self::Stuck,
        Self::Disagreeing,
    ];
}

/// A job that broke a rule.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize)]
pub struct Example {
    /// The job's key.
    pub key: String,
    /// What the history says about it.
    pub why: String,
}

/// What a history shows. It depends on which lines there are, not on the order they were read in.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Verdict {
    /// Whether no rule was broken and nothing is objected to.
    pub passed: bool,
    /// Lines read, without torn ones.
    pub lines: u64,
    /// Last lines that a killed process left unfinished.
    pub torn: u64,
    /// Jobs whose submit was acknowledged.
    pub jobs: u64,
    /// Jobs somebody attempted to submit.
    pub attempted: u64,
    /// Jobs that ran although no submit of theirs was acknowledged, which may happen.
    pub recovered: u64,
    /// Faults that were injected.
    pub faults: u64,
    /// Starts of handlers.
    pub starts: u64,
    /// Starts beyond the first of their job.
    pub repeats: u64,
    /// Repeats with a recorded cause.
    pub explained: u64,
    /// How often each rule was broken.
    #[serde(flatten)]
    pub broken: BTreeMap<Rule, u64>,
    /// Why the run as a whole shows nothing, or failed.
    pub objections: Vec<String>,
    /// For each broken rule the first jobs by key.
    pub examples: BTreeMap<Rule, BTreeSet<Example>>,
}

impl Verdict {
    pub(crate) fn new() -> Self {
        Self {
            passed: false,
            lines: 0,
            torn: 0,
            jobs: 0,
            attempted: 0,
            recovered: 0,
            faults: 0,
            starts: 0,
            repeats: 0,
            explained: 0,
            broken: Rule::ALL.into_iter().map(|rule| (rule, 0)).collect(),
            objections: Vec::new(),
            examples: BTreeMap::new(),
        }
    }

    /// Counts `count` breaks by one job and keeps it as an example if it is among the first `examples_max`.
    pub(crate) fn add(&mut self, rule: Rule, count: u64, key: &str, why: String, examples_max: usize) {
        *self.broken.entry(rule).or_default() += count;
        let examples = self.examples.entry(rule).or_default();
        examples.insert(Example { key: key.to_owned(), why });
        if examples.len() > examples_max {
            examples.pop_last();
        }
    }
}
