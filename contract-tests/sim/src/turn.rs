//! One transaction: what its process asks of the engine, and what the model says of each answer.

mod jobs;
mod others;

pub(crate) use self::jobs::good_verdict;
use std::sync::{Arc, Mutex, PoisonError};

use fastrand::Rng;
use taskport_abstraction::backend::{Cancellation, Delivery, Settlement};
use taskport_abstraction::{JobId, Payload, Result as Answer, RunId, Timestamp, WorkflowDefinition};
use taskport_engine::{Enqueued, Store, Transaction};

use crate::broken::{Broken, hold};
use crate::faults::Faults;
use crate::model::Model;
use crate::plan::Plan;
use crate::process::Hand;
use crate::store::{Shared, SimStore};

/// What was asked for, to be written down once it is known what became of it.
#[derive(Debug)]
pub(crate) enum Deed {
    Submit { id: JobId, not_before: Option<Timestamp>, answer: Answer<Enqueued> },
    Claim(Vec<Delivery>),
    Settle(Settlement, Answer<()>),
    Cancel(JobId, Answer<Cancellation>),
    Requeue(JobId, Answer<()>),
}

/// What has been made so far, to be asked for again.
#[derive(Debug, Default)]
pub(crate) struct Made {
    /// Those that clients submitted.
    pub(crate) jobs: Vec<JobId>,
    /// Those of steps.
    pub(crate) step_jobs: Vec<JobId>,
    pub(crate) runs: Vec<(RunId, Arc<WorkflowDefinition>, Payload)>,
}

/// A process's turn.
pub(crate) struct Turn<'a, S: Store> {
    pub(crate) plan: &'a Plan,
    pub(crate) rng: &'a mut Rng,
    pub(crate) model: &'a mut Model,
    pub(crate) made: &'a mut Made,
    pub(crate) below: &'a Shared<S>,
    pub(crate) faults: Arc<Mutex<Faults>>,
    pub(crate) process: &'a str,
    pub(crate) hands: &'a [Hand],
    pub(crate) spent: &'a [Settlement],
    pub(crate) now: Timestamp,
    pub(crate) deeds: Vec<Deed>,
    /// What is asked for, in words, where somebody wants to know.
    pub(crate) words: Option<String>,
}

/// The transaction of a simulated process.
type Tx<'a, S> = Transaction<'a, SimStore<S>>;

impl<S: Store> Turn<'_, S> {
    /// Asks for one thing.
    pub(crate) fn request(&mut self, tx: &mut Tx<'_, S>) -> Result<(), Broken> {
        let roll = self.rng.u8(0..100);
        if roll < self.plan.runs {
            return self.ask_of_runs(tx);
        }
        if roll < self.plan.runs + self.plan.upkeep {
            return self.ask_of_queue(tx);
        }
        if roll < self.plan.runs + self.plan.upkeep + self.plan.control {
            return self.ask_of_job(tx);
        }
        match self.rng.u8(0..100) {
            0..30 => self.submit(tx),
            30..55 => {
                let max = self.rng.usize(1..=5);
                self.claim(tx, max)
            }
            55..85 => self.settle(tx),
            85..93 => self.extend(tx),
            93..96 => self.beat(tx),
            _ => self.tick(tx).map(drop),
        }
    }

    /// Lets the engine do what time calls for. Says whether there is more.
    pub(crate) fn tick(&mut self, tx: &mut Tx<'_, S>) -> Result<bool, Broken> {
        let answer = tx.tick();
        self.say(|| format!("tick -> {}", brief(&answer)));
        if self.struck() {
            return Ok(false);
        }
        let more = self.settled("tick", answer)?;
        self.model.ticked(self.now, more);
        if !more && self.is_due() {
            // What a transaction changes of gates and queues is written late, and with the next tick at the latest.
            let answer = tx.tick();
            if self.struck() {
                return Ok(false);
            }
            let more = self.settled("tick", answer)?;
            self.model.ticked(self.now, more);
            let left = !more && self.is_due();
            hold!(!left, "tick", "a tick at {} left what is due", self.now);
            return Ok(more);
        }
        Ok(more)
    }

    fn is_due(&self) -> bool {
        self.below.peek(Store::next_due).is_some_and(|moment| moment <= self.now)
    }

    /// Whether the store has failed under this transaction, so that no answer counts.
    fn struck(&self) -> bool {
        self.faults.lock().unwrap_or_else(PoisonError::into_inner).struck()
    }

    /// The answer to what cannot be refused.
    fn settled<T>(&self, verb: &'static str, answer: Answer<T>) -> Result<T, Broken> {
        answer.map_err(|error| Broken::new("refusal", format!("{verb} failed by itself: {error}")))
    }

    fn say(&mut self, what: impl FnOnce() -> String) {
        if let Some(words) = &mut self.words {
            words.push_str("; ");
            words.push_str(&what());
        }
    }

    /// A job that somebody made, or one that nobody did.
    fn any_job(&mut self) -> JobId {
        let (own, of_steps) = (self.made.jobs.len(), self.made.step_jobs.len());
        let at = self.rng.usize(0..=own + of_steps);
        let job = self.made.jobs.get(at).or_else(|| self.made.step_jobs.get(at.checked_sub(own)?));
        job.cloned().unwrap_or_else(|| "nobody".parse().expect("a good name"))
    }
}

/// An answer in words; an error by its code.
fn brief<T: std::fmt::Debug>(answer: &Answer<T>) -> String {
    match answer {
        Ok(said) => format!("{said:?}"),
        Err(error) => error.code().to_string(),
    }
}
