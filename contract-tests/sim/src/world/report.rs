//! What a process was told of its transaction, and what it writes down and does about it.

use taskport_abstraction::backend::{Cancellation, Settlement};
use taskport_abstraction::{JobId, JobState, Result as Answer, Timestamp};
use taskport_checker::{Event, Operation};
use taskport_engine::Enqueued;

use super::{Deed, World};
use crate::backing::Backing;
use crate::history::{Scribe, outcome, state};
use crate::process::Hand;

/// What a process was told.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Report {
    /// It counts.
    Counts,
    /// It has come to nothing.
    Refused,
    /// Nobody knows.
    Unknown,
}

impl Report {
    /// What is written of an answer that was given under it.
    fn event<T>(self, answer: &Answer<T>) -> Event {
        match self {
            Self::Counts if answer.is_ok() => Event::Ok,
            Self::Counts | Self::Refused => Event::Fail,
            Self::Unknown => Event::Info,
        }
    }
}

impl<B: Backing> World<B> {
    pub(super) fn write_down(&mut self, at: usize, now: Timestamp, report: Report, deeds: Vec<Deed>) {
        self.history.pass(u64::try_from(self.elapsed_us).unwrap_or(0));
        let name = self.processes[at].name.clone();
        let scribe = Scribe { process: &name, wall_us: now.as_micros() };
        for deed in deeds {
            match deed {
                Deed::Submit { id, not_before, answer } => {
                    self.submitted(scribe, report, &id, not_before, &answer);
                }
                Deed::Claim(deliveries) if report == Report::Counts => {
                    for delivery in deliveries {
                        self.figures.attempts += 1;
                        let id = &delivery.lease.job;
                        if delivery.step.is_some() {
                            self.history.stepped(scribe, id);
                        }
                        let line = self.history.line(scribe, Operation::Effect, Event::Start, Some(id));
                        (line.token, line.attempt) = (Some(delivery.lease.token.0), Some(delivery.attempt));
                        self.processes[at].hands.push(Hand { delivery, done: false });
                    }
                }
                // Whoever was not given the jobs cannot run them.
                Deed::Claim(_) => {}
                Deed::Settle(settlement, answer) => self.settled(at, scribe, report, settlement, &answer),
                Deed::Cancel(id, answer) => {
                    self.history.line(scribe, Operation::Cancel, Event::Invoke, Some(&id));
                    let line = self.history.line(scribe, Operation::Cancel, report.event(&answer), Some(&id));
                    line.state = answer.ok().map(|answer| match answer {
                        Cancellation::Cancelled => state(JobState::Cancelled),
                        Cancellation::Requested => state(JobState::Running),
                        Cancellation::AlreadyEnded(ended) => state(ended),
                    });
                }
                Deed::Requeue(id, answer) => {
                    self.history.line(scribe, Operation::Requeue, Event::Invoke, Some(&id));
                    self.history.line(scribe, Operation::Requeue, report.event(&answer), Some(&id));
                }
            }
        }
    }

    /// A submit is written under the job that it came to, which its key may have been standing for.
    fn submitted(
        &mut self,
        scribe: Scribe<'_>,
        report: Report,
        id: &JobId,
        not_before: Option<Timestamp>,
        answer: &Answer<Enqueued>,
    ) {
        let event = report.event(answer);
        let meant = answer.as_ref().map_or(id, |enqueued| &enqueued.id);
        let mut keys = vec![meant];
        if event != Event::Ok && meant != id {
            keys.push(id);
        }
        for key in keys {
            let invoke = self.history.line(scribe, Operation::Submit, Event::Invoke, Some(key));
            invoke.not_before_us = not_before.and_then(|moment| u64::try_from(moment.as_micros()).ok());
            let line = self.history.line(scribe, Operation::Submit, event, Some(key));
            line.id = (event == Event::Ok).then(|| key.to_string());
        }
        let is_new = answer.as_ref().is_ok_and(|enqueued| !enqueued.existing);
        self.figures.jobs += u64::from(event == Event::Ok && is_new);
    }

    fn settled(
        &mut self,
        at: usize,
        scribe: Scribe<'_>,
        report: Report,
        settlement: Settlement,
        answer: &Answer<()>,
    ) {
        let lease = settlement.lease.clone();
        let process = &mut self.processes[at];
        let place = process.hands.iter().position(|hand| hand.delivery.lease == lease);
        let mut write = |op, event| {
            let line = self.history.line(scribe, op, event, Some(&lease.job));
            line.token = Some(lease.token.0);
            line.outcome = (op == Operation::Settle).then(|| outcome(&settlement.verdict));
        };
        if let Some(place) = place
            && !std::mem::replace(&mut process.hands[place].done, true)
        {
            write(Operation::Effect, Event::End);
        }
        write(Operation::Settle, Event::Invoke);
        write(Operation::Settle, report.event(answer));
        let Some(place) = place else { return };
        // Who was not heard may say it again. Who does not know may too, or leave it.
        let again = report == Report::Refused || (report == Report::Unknown && self.rng.bool());
        if !again {
            process.hands.remove(place);
            if report == Report::Counts && answer.is_ok() {
                process.spent.push(settlement);
            }
        }
    }
}
