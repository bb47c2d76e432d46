//! What is remembered of one job. Every field is a count, a least, a greatest or a set, so that the order in which the
//! lines are read does not matter.

use std::hash::{DefaultHasher, Hash, Hasher};

use crate::checker::ATTEMPTS_MAX;
use crate::line::{Event, Line, Operation, State};

#[derive(Debug, Default)]
pub(crate) struct Job {
    pub(crate) submits: Calls,
    pub(crate) requeues: Calls,
    /// The least of all submits; 0 where one had none.
    pub(crate) not_before_us: Option<u64>,
    /// The ordering key, by its number, and the place under it.
    pub(crate) order: Option<(u32, u64)>,
    /// The first answer that the job has ended as cancelled.
    pub(crate) cancelled_us: Option<u64>,
    /// The first time somebody asked to run it again.
    pub(crate) requeued_us: Option<u64>,
    /// Faults that were aimed at this job, such as a message delivered twice.
    pub(crate) faults: u32,
    /// Acknowledged settles that end the job.
    pub(crate) outcomes: u32,
    /// The least token of those.
    pub(crate) outcome_token: Option<u64>,
    /// The least token a result was read back with.
    pub(crate) result_token: Option<u64>,
    pub(crate) states: States,
    pub(crate) two_ids: bool,
    id: Option<u64>,
    pub(crate) attempts: Vec<Attempt>,
}

/// Asked and answered.
#[derive(Debug, Default)]
pub(crate) struct Calls {
    pub(crate) invoked: u32,
    pub(crate) ok: u32,
    pub(crate) failed: u32,
}

impl Calls {
    fn count(&mut self, event: Event) {
        match event {
            Event::Invoke => self.invoked += 1,
            Event::Ok => self.ok += 1,
            Event::Fail => self.failed += 1,
            Event::Info | Event::Start | Event::End => {}
        }
    }

    /// How many may have happened: all that are not known to have failed.
    pub(crate) fn possible(&self) -> u32 {
        self.invoked.saturating_sub(self.failed)
    }
}

/// The states a job was read back in.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct States(u16);

impl States {
    fn insert(&mut self, state: State) {
        self.0 |= 1 << state as u16;
    }

    pub(crate) fn contains(self, state: State) -> bool {
        self.0 & (1 << state as u16) != 0
    }

    pub(crate) fn len(self) -> u32 {
        self.0.count_ones()
    }

    /// Whether the backend knew the job.
    pub(crate) fn exists(self) -> bool {
        self.0 & !(1 << State::Missing as u16) != 0
    }

    /// Whether the job had not ended.
    pub(crate) fn waits(self) -> bool {
        use State::{Blocked, Queued, Retrying, Running, Scheduled};
        [Scheduled, Blocked, Queued, Running, Retrying].into_iter().any(|state| self.contains(state))
    }
}

/// One lease in the hands of one process.
#[derive(Debug, Default)]
pub(crate) struct Attempt {
    pub(crate) token: u64,
    pub(crate) process: u32,
    pub(crate) starts: u32,
    pub(crate) ends: u32,
    pub(crate) first_start_us: Option<u64>,
    pub(crate) last_start_us: Option<u64>,
    pub(crate) first_start_wall_us: Option<u64>,
    pub(crate) settles: Calls,
    /// It may have been given back for another attempt, or its settle was refused or lost: a next start has a cause.
    pub(crate) excuses_next: bool,
}

impl Job {
    /// Takes in a line about this job. `process` and `order` are the numbers of the names in it.
    pub(crate) fn observe(&mut self, line: &Line, process: u32, order: Option<u32>) -> Result<(), String> {
        match line.op {
            Operation::Submit => self.submit(line, order),
            Operation::Cancel => {
                if line.event == Event::Ok && line.state == Some(State::Cancelled) {
                    least(&mut self.cancelled_us, line.at_us);
                }
            }
            Operation::Requeue => {
                self.requeues.count(line.event);
                if line.event == Event::Invoke {
                    least(&mut self.requeued_us, line.at_us);
                }
            }
            Operation::Read => {
                if let (Event::Ok, Some(state)) = (line.event, line.state) {
                    self.states.insert(state);
                    if let (State::Succeeded, Some(token)) = (state, line.token) {
                        least(&mut self.result_token, token);
                    }
                }
            }
            Operation::Settle => self.settle(line, process)?,
            Operation::Effect => self.attempt(line, process)?.effect(line),
            Operation::Fault => self.faults += u32::from(matches!(line.event, Event::Ok | Event::Info)),
            Operation::Drain => {}
        }
        Ok(())
    }

    pub(crate) fn starts(&self) -> u32 {
        self.started().map(|attempt| attempt.starts).sum()
    }

    pub(crate) fn started(&self) -> impl Iterator<Item = &Attempt> {
        self.attempts.iter().filter(|attempt| attempt.starts > 0)
    }

    fn submit(&mut self, line: &Line, order: Option<u32>) {
        self.submits.count(line.event);
        if line.event == Event::Invoke {
            least(&mut self.not_before_us, line.not_before_us.unwrap_or(0));
            self.order = self.order.or(order.zip(line.sequence));
        }
        if let (Event::Ok, Some(id)) = (line.event, &line.id) {
            let mut hasher = DefaultHasher::new();
            id.hash(&mut hasher);
            let id = hasher.finish();
            self.two_ids |= *self.id.get_or_insert(id) != id;
        }
    }

    fn settle(&mut self, line: &Line, process: u32) -> Result<(), String> {
        let ends = line.outcome.is_some_and(|outcome| outcome.is_final());
        if ends && line.event == Event::Ok {
            self.outcomes += 1;
            least(&mut self.outcome_token, line.token.unwrap_or(0));
        }
        let attempt = self.attempt(line, process)?;
        attempt.settles.count(line.event);
        attempt.excuses_next |= match line.event {
            Event::Fail | Event::Info => true,
            Event::Ok => !ends,
            Event::Invoke | Event::Start | Event::End => false,
        };
        Ok(())
    }

    fn attempt(&mut self, line: &Line, process: u32) -> Result<&mut Attempt, String> {
        let token = line.token.unwrap_or(0);
        let same = |attempt: &Attempt| attempt.token == token && attempt.process == process;
        let at = match self.attempts.iter().position(same) {
            Some(at) => at,
            None if self.attempts.len() == ATTEMPTS_MAX => {
                return Err(format!("the job has more than {ATTEMPTS_MAX} attempts"));
            }
            None => {
                // Most jobs have one attempt; a vector left to itself would make room for four.
                self.attempts.reserve_exact(1);
                self.attempts.push(Attempt { token, process, ..Attempt::default() });
                self.attempts.len() - 1
            }
        };
        Ok(&mut self.attempts[at])
    }
}

impl Attempt {
    fn effect(&mut self, line: &Line) {
        if line.event == Event::End {
            self.ends += 1;
            return;
        }
        self.starts += 1;
        least(&mut self.first_start_us, line.at_us);
        self.last_start_us = self.last_start_us.max(Some(line.at_us));
        least(&mut self.first_start_wall_us, line.wall_us);
    }
}

pub(crate) fn least(slot: &mut Option<u64>, value: u64) {
    *slot = Some(slot.map_or(value, |known| known.min(value)));
}
