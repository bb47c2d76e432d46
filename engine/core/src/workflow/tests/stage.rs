//! A world for runs: it keeps results, and carries effects out.

use std::collections::BTreeMap;
use std::sync::Arc;

use serde_json::Value;
use taskport_abstraction::{Failure, Outcome, Payload, Result, WorkflowDefinition};

use crate::workflow::*;

/// What a task answers to its arguments document.
pub(super) type Tasks = fn(task: &str, arguments: &Value) -> Result<Value, Failure>;

pub(super) type Place = (usize, Option<u32>);

/// What is stored about a run.
#[derive(Debug, Default)]
pub(super) struct Stored {
    pub(super) input: Value,
    pub(super) results: BTreeMap<(usize, u32), Payload>,
    pub(super) facts: BTreeMap<usize, StepFacts>,
    pub(super) reads: u64,
}

impl Values for Stored {
    fn input(&mut self) -> Result<Payload> {
        self.reads += 1;
        Payload::encode(&self.input)
    }

    fn results(&mut self, step: usize, from: u32, count: u32) -> Result<Vec<Option<Payload>>> {
        self.reads += u64::from(count);
        Ok((from..from + count).map(|index| self.results.get(&(step, index)).cloned()).collect())
    }
}

/// One run on its stage.
#[derive(Debug)]
pub(super) struct Stage {
    pub(super) run: Run,
    pub(super) stored: Stored,
    /// Jobs that have not ended, in order of submit.
    pub(super) open: Vec<StepJob>,
    pub(super) log: Vec<String>,
    pub(super) cancel_requested: bool,
    pub(super) outcome: Option<Outcome>,
}

impl Stage {
    pub(super) fn new(definition: &WorkflowDefinition, input: Value) -> Self {
        let plan = Arc::new(Plan::new(Arc::new(definition.clone())).unwrap());
        Self {
            run: Run::new(plan, "run"),
            stored: Stored { input, ..Stored::default() },
            open: Vec::new(),
            log: Vec::new(),
            cancel_requested: false,
            outcome: None,
        }
    }

    pub(super) fn name(&self, (step, index): Place) -> String {
        let id = &self.run.plan().definition().steps[step].id;
        index.map_or_else(|| id.to_string(), |index| format!("{id}[{index}]"))
    }

    /// Applies an event and carries out what follows from it.
    pub(super) fn apply(&mut self, event: Event) -> Vec<Effect> {
        let effects = self.run.apply(event, &mut self.stored).unwrap();
        let mut ends = false;
        for effect in &effects {
            assert!(!ends, "nothing follows the end: {effects:?}");
            match effect {
                Effect::SubmitJob(job) => {
                    let place = (job.step, job.index);
                    assert!(!self.cancel_requested, "{} starts after the run was stopped", self.name(place));
                    assert!(self.open.iter().all(|open| open.order_key != job.order_key), "submitted twice");
                    self.log.push(format!("+{}", self.name(place)));
                    self.open.push((**job).clone());
                }
                Effect::StepChanged(step) => {
                    self.stored.facts.insert(*step, self.run.facts(*step).clone());
                }
                Effect::CancelOpenJobs => {
                    self.cancel_requested = true;
                    self.log.push("cancel".to_owned());
                }
                Effect::Finish(outcome) => {
                    ends = true;
                    self.outcome = Some(outcome.clone());
                }
            }
        }
        effects
    }

    pub(super) fn advance(&mut self) {
        while self.run.has_more() {
            self.apply(Event::Advance);
        }
    }

    /// Ends the open job at this place in the order of submits.
    pub(super) fn end(&mut self, at: usize, answer: Result<Value, Failure>) -> Vec<Effect> {
        let job = self.open.remove(at);
        let end = match answer {
            Ok(result) => {
                let payload = Payload::encode(&result).unwrap();
                self.stored.results.insert((job.step, job.index.unwrap_or(0)), payload);
                JobEnd::Succeeded
            }
            Err(failure) => JobEnd::Failed(failure),
        };
        let mut effects = self.apply(Event::JobEnded { step: job.step, index: job.index, end });
        while self.run.has_more() {
            effects.extend(self.apply(Event::Advance));
        }
        effects
    }

    /// Another machine of the same run, made from what is stored.
    pub(super) fn rebuilt(&self, places: impl Iterator<Item = usize>) -> Run {
        let mut run = Run::new(self.run.plan().clone(), "run");
        for place in places {
            if let Some(facts) = self.stored.facts.get(&place) {
                run.restore(place, facts.clone());
            }
        }
        if self.run.is_cancelling() {
            run.restore_cancelled();
        }
        run
    }
}

/// The arguments of a job as `{name: value}` or `[value]`.
pub(super) fn arguments(job: &StepJob) -> Value {
    let document: Value = job.call.arguments.decode().unwrap();
    let named = &document[1];
    if named.as_object().is_some_and(|named| !named.is_empty()) { named.clone() } else { document[0].clone() }
}
