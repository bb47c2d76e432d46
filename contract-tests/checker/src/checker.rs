//! Reads histories and remembers what a verdict needs of each job.

use std::collections::HashMap;
use std::io::{BufRead, Read as _};

use crate::error::HistoryError;
use crate::job::{Job, least};
use crate::line::{Event, Line, Operation};
use crate::rules::{self, Context};
use crate::verdict::{Rule, Verdict};

/// The longest line that is read.
pub const LINE_BYTES_MAX: usize = 64 << 10;

/// The most attempts one job may have.
pub const ATTEMPTS_MAX: usize = 1_000;

/// What a run must be to count, and how it is judged.
#[derive(Clone, Debug)]
pub struct Demands {
    /// How far the wall clocks of the run may be apart: a job that starts early by no more is not early.
    pub clock_bound_us: u64,
    /// A run with fewer injected faults fails.
    pub faults_min: u64,
    /// The most examples that are kept for each rule.
    pub examples_max: usize,
}

impl Default for Demands {
    /// Clocks 1 ms apart, no faults demanded, 10 examples.
    fn default() -> Self {
        Self { clock_bound_us: 1_000, faults_min: 0, examples_max: 10 }
    }
}

/// Takes in histories and gives a [`Verdict`].
///
/// Memory grows with the jobs and their attempts, about 400 bytes for a job with one attempt, and not with the lines.
#[derive(Debug)]
pub struct Checker {
    demands: Demands,
    /// Boxed, so that a table that grows stays small.
    jobs: HashMap<String, Box<Job>>,
    orders: Names,
    processes: Names,
    hits: HashMap<u32, Hits>,
    drains: Drains,
    faults: u64,
    lines: u64,
    torn: u64,
}

/// When a process was hit by a fault, killed or paused.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Hits {
    pub(crate) first_us: u64,
    pub(crate) last_us: u64,
}

/// What the controller was told when it waited for the end.
#[derive(Debug, Default)]
struct Drains {
    ok_us: Option<u64>,
    failed: bool,
}

impl Checker {
    /// A checker that has read nothing.
    #[must_use]
    pub fn new(demands: Demands) -> Self {
        Self {
            demands,
            jobs: HashMap::new(),
            orders: Names::default(),
            processes: Names::default(),
            hits: HashMap::new(),
            drains: Drains::default(),
            faults: 0,
            lines: 0,
            torn: 0,
        }
    }

    /// Reads one file to its end. A last line without an end that is not whole was torn by the death of its process:
    /// it is counted and left out.
    ///
    /// # Errors
    ///
    /// Fails at the first line that cannot be read, is longer than [`LINE_BYTES_MAX`], has an unknown version or makes
    /// no sense; the checker is then of no further use.
    pub fn read(&mut self, file: &str, mut source: impl BufRead) -> Result<(), HistoryError> {
        let mut text = Vec::new();
        for number in 1.. {
            let fail = |problem: String| HistoryError::new(file, number, problem);
            text.clear();
            let limit = LINE_BYTES_MAX as u64 + 1;
            source
                .by_ref()
                .take(limit)
                .read_until(b'\n', &mut text)
                .map_err(|error| fail(error.to_string()))?;
            if text.is_empty() {
                break;
            }
            if text.len() > LINE_BYTES_MAX {
                return Err(fail(format!("the line is longer than {LINE_BYTES_MAX} bytes")));
            }
            if text.last() != Some(&b'\n') && is_torn(&text) {
                self.torn += 1;
                break;
            }
            Line::parse(&text).and_then(|line| self.observe(line)).map_err(fail)?;
        }
        Ok(())
    }

    /// Judges what was read.
    #[must_use]
    pub fn verdict(self) -> Verdict {
        let mut verdict = Verdict::new();
        verdict.lines = self.lines;
        verdict.torn = self.torn;
        verdict.faults = self.faults;
        let context = Context {
            hits: self.hits,
            drained_us: self.drains.ok_us,
            clock_bound_us: self.demands.clock_bound_us,
        };
        let examples_max = self.demands.examples_max;
        for (key, job) in &self.jobs {
            rules::judge(key, job, &context, examples_max, &mut verdict);
        }
        rules::judge_order(&self.jobs, examples_max, &mut verdict);

        let mut object = |holds: bool, objection: String| {
            if holds {
                verdict.objections.push(objection);
            }
        };
        object(verdict.jobs == 0, "no job was acknowledged".to_owned());
        let demanded = self.demands.faults_min;
        object(
            verdict.faults < demanded,
            format!("{} faults were injected, {demanded} demanded", verdict.faults),
        );
        object(self.drains.failed, "the queues were not drained at the deadline".to_owned());
        object(self.drains.ok_us.is_none() && !self.drains.failed, "nobody waited for the end".to_owned());
        verdict.passed =
            verdict.objections.is_empty() && Rule::ALL.iter().all(|rule| verdict.broken[rule] == 0);
        verdict
    }

    fn observe(&mut self, line: Line) -> Result<(), String> {
        self.lines += 1;
        match (line.op, line.event) {
            (Operation::Drain, Event::Ok) => least(&mut self.drains.ok_us, line.at_us),
            (Operation::Drain, Event::Fail) => self.drains.failed = true,
            (Operation::Fault, Event::Ok | Event::Info) => self.hit(&line),
            _ => {}
        }
        let Some(key) = line.key.as_deref() else { return Ok(()) };
        let process = match line.op {
            Operation::Settle | Operation::Effect => self.processes.number(&line.process),
            _ => 0,
        };
        let order = line.order.as_deref().map(|order| self.orders.number(order));
        if let Some(job) = self.jobs.get_mut(key) {
            return job.observe(&line, process, order);
        }
        self.jobs.entry(key.to_owned()).or_default().observe(&line, process, order)
    }

    fn hit(&mut self, line: &Line) {
        self.faults += u64::from(line.event == Event::Ok);
        if let Some(target) = &line.target {
            let at_us = line.at_us;
            let hits = Hits { first_us: at_us, last_us: at_us };
            let hits = self.hits.entry(self.processes.number(target)).or_insert(hits);
            hits.first_us = hits.first_us.min(at_us);
            hits.last_us = hits.last_us.max(at_us);
        }
    }
}

fn is_torn(text: &[u8]) -> bool {
    serde_json::from_slice::<serde::de::IgnoredAny>(text).is_err()
}

/// Numbers for names that occur often.
#[derive(Debug, Default)]
struct Names(HashMap<String, u32>);

impl Names {
    fn number(&mut self, name: &str) -> u32 {
        if let Some(number) = self.0.get(name) {
            return *number;
        }
        let next = u32::try_from(self.0.len()).unwrap_or(u32::MAX);
        *self.0.entry(name.to_owned()).or_insert(next)
    }
}
