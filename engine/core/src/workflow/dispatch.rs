//! Starting steps and submitting their jobs.

use std::collections::hash_map::Entry;
use std::sync::Arc;

use bytes::Bytes;
use taskport_abstraction::backend::StepState;
use taskport_abstraction::workflow::Binding;
use taskport_abstraction::{Failure, FailureKind, Payload, RawCall, Result};

use super::identity::order_key;
use super::run::{EFFECTS_MAX, Effect, FanOut, Phase, Run, StepJob};
use super::values::{Lookup, Trouble, Values};

impl Run {
    /// Starts what may start, in declared order, up to the largest number for one event.
    pub(super) fn dispatch<V: Values>(&mut self, values: &mut V, effects: &mut Vec<Effect>) -> Result<()> {
        let mut budget = EFFECTS_MAX;
        while self.phase == Phase::Running && budget > 0 {
            let Some(place) = self.ready.first().copied() else { break };
            budget -= 1;
            let done = match self.steps[place].facts.state {
                StepState::Waiting => self.begin(place, values, effects),
                _ => self.submit_element(place, values, effects),
            };
            match done {
                Ok(()) => self.note_ready(place),
                Err(Trouble::Store(error)) => return Err(error),
                Err(Trouble::Misfit(message)) => {
                    self.keep_failure(place, None, misfit(message), effects);
                    self.end_step(place, StepState::Failed, effects);
                }
            }
        }
        Ok(())
    }

    /// Starts a step, or ends it at once.
    fn begin<V: Values>(
        &mut self,
        place: usize,
        values: &mut V,
        effects: &mut Vec<Effect>,
    ) -> Result<(), Trouble> {
        let plan = Arc::clone(&self.plan);
        let node = plan.node(place);
        let starts = match &node.condition {
            Some(condition) => self.lookup(values).holds(condition)?,
            None => !self.steps[place].all_skipped,
        };
        if !starts {
            self.end_step(place, StepState::Skipped, effects);
            return Ok(());
        }
        if let Some(binding) = &node.map {
            return self.begin_fan_out(place, binding, values, effects);
        }
        let arguments = self.lookup(values).arguments(&node.args)?.fill(0, None)?;
        let facts = &mut self.steps[place].facts;
        (facts.state, facts.total) = (StepState::Running, 1);
        self.submit(place, None, arguments, effects);
        effects.push(Effect::StepChanged(place));
        Ok(())
    }

    fn begin_fan_out<V: Values>(
        &mut self,
        place: usize,
        binding: &Binding,
        values: &mut V,
        effects: &mut Vec<Effect>,
    ) -> Result<(), Trouble> {
        let plan = Arc::clone(&self.plan);
        let mut lookup = self.lookup(values);
        let list = lookup.list(binding)?;
        let total = list.len();
        if total == 0 {
            self.end_step(place, StepState::Succeeded, effects);
            return Ok(());
        }
        let arguments = lookup.arguments(&plan.node(place).args)?;
        self.fan_outs.insert(place, FanOut { list, arguments });
        let facts = &mut self.steps[place].facts;
        (facts.state, facts.total) = (StepState::Running, total);
        effects.push(Effect::StepChanged(place));
        Ok(())
    }

    /// Submits the next element of a fan-out. One whose arguments cannot be made has failed.
    fn submit_element<V: Values>(
        &mut self,
        place: usize,
        values: &mut V,
        effects: &mut Vec<Effect>,
    ) -> Result<(), Trouble> {
        let index = self.steps[place].facts.submitted;
        let arguments = self.element_arguments(place, index, values);
        match arguments {
            Ok(arguments) => {
                self.submit(place, Some(index), arguments, effects);
                effects.push(Effect::StepChanged(place));
            }
            Err(Trouble::Misfit(message)) => {
                let facts = &mut self.steps[place].facts;
                facts.submitted += 1;
                facts.failed += 1;
                self.keep_failure(place, Some(index), misfit(message), effects);
                self.after_job(place, effects);
            }
            Err(trouble) => return Err(trouble),
        }
        if self.steps[place].facts.submitted == self.steps[place].facts.total {
            self.fan_outs.remove(&place);
        }
        Ok(())
    }

    /// The arguments of one element. After a restore, what its fan-out had worked out is worked out again.
    fn element_arguments<V: Values>(
        &mut self,
        place: usize,
        index: u32,
        values: &mut V,
    ) -> Result<Bytes, Trouble> {
        let plan = Arc::clone(&self.plan);
        let mut lookup = Lookup { plan: &plan, steps: &self.steps, input: &mut self.input, values };
        let fan_out = match self.fan_outs.entry(place) {
            Entry::Occupied(known) => known.into_mut(),
            Entry::Vacant(empty) => {
                let node = plan.node(place);
                let list = node.map.as_ref().map(|binding| lookup.list(binding)).transpose()?;
                let list = list.filter(|list| list.len() == self.steps[place].facts.total);
                let list =
                    list.ok_or_else(|| Trouble::Misfit("its list has changed under its run".to_owned()))?;
                empty.insert(FanOut { list, arguments: lookup.arguments(&node.args)? })
            }
        };
        let element = lookup.element(&fan_out.list, index)?;
        fan_out.arguments.fill(index, Some(&element))
    }

    fn submit(&mut self, place: usize, index: Option<u32>, arguments: Bytes, effects: &mut Vec<Effect>) {
        let step = self.plan.step(place);
        effects.push(Effect::SubmitJob(Box::new(StepJob {
            step: place,
            index,
            call: RawCall { task: step.task.clone(), arguments: Payload::json(arguments) },
            options: self.plan.options(place),
            order_key: order_key(&self.path, &step.id, index),
        })));
        self.steps[place].facts.submitted += 1;
        self.jobs_open += 1;
    }
}

/// Why a step, or an element of one, has no job: its definition does not fit its values.
fn misfit(message: String) -> Failure {
    Failure::new(FailureKind::BadArguments, message)
}
