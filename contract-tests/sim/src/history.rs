//! What the processes write down, for the checker to judge.

use std::collections::BTreeSet;
use std::io::Write as _;

use taskport_abstraction::JobId;
use taskport_abstraction::JobState;
use taskport_checker::{Checker, Demands, Event, Line, Operation, Outcome, Rule, State, Verdict};

use crate::broken::Broken;
use crate::graph::checksum;

/// Everything that was written down.
#[derive(Debug, Default)]
pub(crate) struct History {
    lines: Vec<Line>,
    at_us: u64,
    /// Steps' jobs that were seen, which no client submits.
    stepping: BTreeSet<JobId>,
}

/// Who writes, and what the clock on his wall says.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Scribe<'a> {
    pub(crate) process: &'a str,
    pub(crate) wall_us: i64,
}

impl History {
    /// So much time has passed since the run began.
    pub(crate) fn pass(&mut self, elapsed_us: u64) {
        self.at_us = self.at_us.max(elapsed_us);
    }

    pub(crate) fn line(
        &mut self,
        scribe: Scribe<'_>,
        op: Operation,
        event: Event,
        job: Option<&JobId>,
    ) -> &mut Line {
        self.at_us += 1;
        let wall_us = u64::try_from(scribe.wall_us).unwrap_or(0);
        let mut line = Line::new(scribe.process, op, event, self.at_us, wall_us);
        line.key = job.map(ToString::to_string);
        self.lines.push(line);
        self.lines.last_mut().expect("it was just put there")
    }

    /// A step's job was seen. Its run asked for it; nobody was told.
    pub(crate) fn stepped(&mut self, scribe: Scribe<'_>, job: &JobId) {
        if self.stepping.insert(job.clone()) {
            self.line(scribe, Operation::Submit, Event::Invoke, Some(job));
            self.line(scribe, Operation::Submit, Event::Info, Some(job));
        }
    }

    /// Every job that somebody attempted to submit.
    pub(crate) fn attempted(&self) -> BTreeSet<JobId> {
        let submits = self.lines.iter().filter(|line| line.op == Operation::Submit);
        submits.filter_map(|line| line.key.as_deref()?.parse().ok()).collect()
    }

    /// The number that two equal histories share.
    pub(crate) fn checksum(&self) -> u64 {
        checksum(&self.text(|_| true))
    }

    /// Has the checker judge all jobs but those that were deleted, which rightly are missing.
    pub(crate) fn judge(
        &self,
        clock_bound_us: u64,
        was_erased: impl Fn(&JobId) -> bool,
    ) -> Result<Verdict, Broken> {
        let erased: BTreeSet<String> =
            self.attempted().iter().filter(|id| was_erased(id)).map(ToString::to_string).collect();
        let text = self.text(|line| line.key.as_ref().is_none_or(|key| !erased.contains(key)));
        let mut checker = Checker::new(Demands { clock_bound_us, ..Demands::default() });
        if let Err(error) = checker.read("simulation", text.as_slice()) {
            return Err(Broken::new("history", error.to_string()));
        }
        let verdict = checker.verdict();
        if verdict.passed {
            return Ok(verdict);
        }
        for rule in Rule::ALL {
            if verdict.broken[&rule] > 0 {
                return Err(Broken::new("checker", format!("{rule:?}: {:?}", verdict.examples[&rule])));
            }
        }
        Err(Broken::new("checker", verdict.objections.join("; ")))
    }

    fn text(&self, keep: impl Fn(&Line) -> bool) -> Vec<u8> {
        let mut text = Vec::with_capacity(self.lines.len() * 160);
        for line in self.lines.iter().filter(|line| keep(line)) {
            serde_json::to_writer(&mut text, line).expect("a line has a JSON form");
            text.write_all(b"\n").expect("memory can be written");
        }
        text
    }
}

pub(crate) fn state(state: JobState) -> State {
    match state {
        JobState::Scheduled => State::Scheduled,
        JobState::Blocked => State::Blocked,
        JobState::Queued => State::Queued,
        JobState::Running => State::Running,
        JobState::Retrying => State::Retrying,
        JobState::Succeeded => State::Succeeded,
        JobState::Failed => State::Failed,
        JobState::Cancelled => State::Cancelled,
        JobState::Expired => State::Expired,
        JobState::Unknown => State::Missing,
    }
}

pub(crate) fn outcome(verdict: &taskport_abstraction::backend::Verdict) -> Outcome {
    use taskport_abstraction::backend::Verdict;
    match verdict {
        Verdict::Ack(_) => Outcome::Succeeded,
        Verdict::Reject(_) => Outcome::Failed,
        Verdict::Cancelled(_) => Outcome::Cancelled,
        Verdict::Retry { .. } => Outcome::Retry,
        Verdict::Release => Outcome::Release,
    }
}
