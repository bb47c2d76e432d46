//! The machine.

use std::collections::{BTreeSet, HashMap};
use std::sync::Arc;

use bytes::Bytes;
use taskport_abstraction::backend::StepState;
use taskport_abstraction::workflow::{Node, Path};
use taskport_abstraction::{Failure, FailureKind, JobOptions, Outcome, Payload, RawCall, Result, StepId};

use super::json::Document;
use super::plan::Plan;
use super::template::{List, Template};
use super::values::{Lookup, Trouble, Values};

/// How many steps one [`Event::Advance`] starts and jobs it submits at most.
pub const EFFECTS_MAX: usize = 1_024;
/// How many jobs of one fan-out are open at once at most, whatever its concurrency.
pub const FAN_OUT_OPEN_MAX: u32 = 1_024;

/// What happened to a run.
#[derive(Debug, Clone, PartialEq)]
pub enum Event {
    /// Start what may start, at most [`EFFECTS_MAX`]. Deliver it first, and then while [`Run::has_more`]; when several
    /// jobs end together, once after all of them.
    Advance,
    /// A job of a step ended for good. Deliver it once for each job. What it makes ready waits for an advance.
    JobEnded {
        /// The step's place in the definition.
        step: usize,
        /// The place in the step's list, where it has one.
        index: Option<u32>,
        /// How.
        end: JobEnd,
    },
    /// Somebody asked for the run to end.
    Cancel,
    /// The run has passed its time limit.
    TimedOut,
}

/// How a job ended, as far as the graph is concerned: its result stays in the store.
#[derive(Debug, Clone, PartialEq)]
pub enum JobEnd {
    /// With a result.
    Succeeded,
    /// Without one.
    Failed(Failure),
}

/// What the owner of a run has to do, in order.
#[derive(Debug, Clone, PartialEq)]
pub enum Effect {
    /// Submit a job. Where that is refused, the job has ended with the failure that says why.
    SubmitJob(Box<StepJob>),
    /// Keep the [`Run::facts`] of the step at this place.
    StepChanged(usize),
    /// Cancel every job of the run that has not ended.
    CancelOpenJobs,
    /// The run has ended. Later events have no effect.
    Finish(Outcome),
}

/// One job to submit.
#[derive(Debug, Clone, PartialEq)]
pub struct StepJob {
    /// The step's place in the definition.
    pub step: usize,
    /// The place in the step's list, where it has one.
    pub index: Option<u32>,
    /// The task and its arguments.
    pub call: RawCall,
    /// What the step asks for.
    pub options: JobOptions,
    /// Which job of which run it is.
    pub order_key: [u8; 32],
}

/// What a run knows about one of its steps, and all it needs to know to go on elsewhere.
#[derive(Debug, Clone, PartialEq)]
pub struct StepFacts {
    /// Where the step stands.
    pub state: StepState,
    /// How many jobs it has: 1, or the length of its list once that is known.
    pub total: u32,
    /// How many of them have been submitted.
    pub submitted: u32,
    /// How many of them have ended well.
    pub succeeded: u32,
    /// How many of them have ended badly.
    pub failed: u32,
    /// Why it failed.
    pub failure: Option<Box<StepFailure>>,
}

/// Why a step failed: of its jobs, the first in the order of the list.
#[derive(Debug, Clone, PartialEq)]
pub struct StepFailure {
    /// The place in the list, where it was one element.
    pub index: Option<u32>,
    /// What happened.
    pub failure: Failure,
}

impl StepFacts {
    const WAITING: Self =
        Self { state: StepState::Waiting, total: 0, submitted: 0, succeeded: 0, failed: 0, failure: None };

    fn open(&self) -> u32 {
        self.submitted - self.succeeded - self.failed
    }
}

#[derive(Debug)]
pub(super) struct Step {
    pub(super) facts: StepFacts,
    /// How many of its dependencies have not ended.
    waits_for: u32,
    /// Whether every dependency that has ended was skipped.
    pub(super) all_skipped: bool,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Phase {
    Running,
    Failing,
    Cancelling,
    Ended,
}

/// What is worked out once for all elements of a list.
#[derive(Debug)]
pub(super) struct FanOut {
    pub(super) list: List,
    pub(super) arguments: Template,
}

/// One execution of a [`Plan`].
#[derive(Debug)]
pub struct Run {
    pub(super) plan: Arc<Plan>,
    pub(super) path: Arc<str>,
    pub(super) steps: Vec<Step>,
    /// Steps that may start, and fan-outs that may submit more, in declared order.
    pub(super) ready: BTreeSet<usize>,
    pub(super) fan_outs: HashMap<usize, FanOut>,
    pub(super) input: Option<Document>,
    steps_left: usize,
    pub(super) jobs_open: u64,
    /// The first step in declared order whose failure ends the run.
    first_failed: Option<usize>,
    pub(super) phase: Phase,
}

impl Run {
    /// A run that has not begun. `path` is what tells it from all others, such as its id.
    pub fn new(plan: Arc<Plan>, path: impl Into<Arc<str>>) -> Self {
        let step = |node: &Node| Step {
            facts: StepFacts::WAITING,
            waits_for: u32::try_from(node.dependencies.len()).unwrap_or(u32::MAX),
            all_skipped: !node.dependencies.is_empty(),
        };
        let steps: Vec<Step> = plan.graph().nodes.iter().map(step).collect();
        let roots = steps.iter().enumerate().filter(|(_, step)| step.waits_for == 0);
        Self {
            path: path.into(),
            ready: roots.map(|(place, _)| place).collect(),
            fan_outs: HashMap::new(),
            input: None,
            steps_left: steps.len(),
            jobs_open: 0,
            first_failed: None,
            phase: Phase::Running,
            steps,
            plan,
        }
    }

    /// The definition it runs by.
    pub fn plan(&self) -> &Arc<Plan> {
        &self.plan
    }

    /// What is known about the step at `place`.
    pub fn facts(&self, place: usize) -> &StepFacts {
        &self.steps[place].facts
    }

    /// Whether [`Event::Advance`] would do something.
    pub fn has_more(&self) -> bool {
        self.phase == Phase::Running && !self.ready.is_empty()
    }

    /// Whether a cancel has been taken in.
    pub fn is_cancelling(&self) -> bool {
        self.phase == Phase::Cancelling
    }

    /// The results a job of the step at `place` may read: of each step it depends on, how many there are.
    pub fn upstream(&self, place: usize) -> Vec<(StepId, u64)> {
        let results = |dependency: &usize| {
            let facts = &self.steps[*dependency].facts;
            let is_list = self.plan.is_fan_out(*dependency);
            (
                self.plan.step(*dependency).id.clone(),
                u64::from(if is_list { facts.total } else { facts.succeeded }),
            )
        };
        self.plan.node(place).dependencies.iter().map(results).collect()
    }

    /// About how many bytes it holds.
    pub fn weight(&self) -> usize {
        let fan_outs =
            self.fan_outs.values().map(|fan_out| fan_out.list.weight() + fan_out.arguments.weight());
        self.steps.len() * size_of::<Step>() + fan_outs.sum::<usize>()
    }

    /// Takes over what another machine of the same run knew about the step at `place`. In any order; newer facts of a
    /// step may follow older ones.
    pub fn restore(&mut self, place: usize, facts: StepFacts) {
        let step = &mut self.steps[place];
        let had_ended = step.facts.state.is_terminal();
        self.jobs_open = self.jobs_open + u64::from(facts.open()) - u64::from(step.facts.open());
        step.facts = facts;
        if self.steps[place].facts.failure.is_some() {
            self.note_failure(place);
        }
        if self.steps[place].facts.state.is_terminal() && !had_ended {
            self.fan_outs.remove(&place);
            self.release_dependents(place);
        }
        self.note_ready(place);
    }

    /// Takes over that the run had been cancelled, after every step was restored.
    pub fn restore_cancelled(&mut self) {
        self.phase = Phase::Cancelling;
    }

    /// Takes an event in and says what is to be done.
    ///
    /// # Errors
    /// Those of `values`. The machine is then of no use: make a new one and [`restore`](Self::restore) it.
    pub fn apply<V: Values>(&mut self, event: Event, values: &mut V) -> Result<Vec<Effect>> {
        let mut effects = Vec::new();
        if self.phase == Phase::Ended {
            return Ok(effects);
        }
        match event {
            Event::Advance => self.dispatch(values, &mut effects)?,
            Event::JobEnded { step, index, end } => self.job_ended(step, index, end, &mut effects),
            Event::Cancel if self.phase == Phase::Running => {
                self.phase = Phase::Cancelling;
                effects.push(Effect::CancelOpenJobs);
            }
            Event::Cancel => {}
            Event::TimedOut => {
                effects.push(Effect::CancelOpenJobs);
                let failure = Failure::new(FailureKind::RunTimedOut, "the run passed its time limit");
                self.finish(Outcome::Failure(failure), &mut effects);
            }
        }
        self.conclude(values, &mut effects)?;
        Ok(effects)
    }

    fn job_ended(&mut self, place: usize, index: Option<u32>, end: JobEnd, effects: &mut Vec<Effect>) {
        let Some(step) = self.steps.get_mut(place) else { return };
        if step.facts.open() == 0 {
            return;
        }
        self.jobs_open -= 1;
        match end {
            JobEnd::Succeeded => step.facts.succeeded += 1,
            JobEnd::Failed(failure) => {
                step.facts.failed += 1;
                // What was stopped because the run ends is no reason for anything.
                if self.phase == Phase::Running || failure.kind != FailureKind::Cancelled {
                    self.keep_failure(place, index, failure, effects);
                }
            }
        }
        self.after_job(place, effects);
    }

    pub(super) fn keep_failure(
        &mut self,
        place: usize,
        index: Option<u32>,
        failure: Failure,
        effects: &mut Vec<Effect>,
    ) {
        let facts = &mut self.steps[place].facts;
        if facts.failure.as_ref().is_none_or(|known| index < known.index) {
            facts.failure = Some(Box::new(StepFailure { index, failure }));
        }
        let was_running = self.phase == Phase::Running;
        self.note_failure(place);
        if was_running && self.phase == Phase::Failing {
            effects.push(Effect::CancelOpenJobs);
        }
    }

    /// Where the step's failure ends the run, remembers the first of them in declared order.
    fn note_failure(&mut self, place: usize) {
        if self.plan.ends_run(place) {
            self.first_failed = Some(self.first_failed.map_or(place, |first| first.min(place)));
            if self.phase == Phase::Running {
                self.phase = Phase::Failing;
            }
        }
    }

    /// Ends the step where its last job has ended, else lets a fan-out go on.
    pub(super) fn after_job(&mut self, place: usize, effects: &mut Vec<Effect>) {
        let facts = &self.steps[place].facts;
        let complete = facts.succeeded + facts.failed == facts.total;
        let stopped = self.phase != Phase::Running && facts.open() == 0;
        if complete || stopped {
            let state = match &facts.failure {
                Some(_) => StepState::Failed,
                None if facts.succeeded == facts.total => StepState::Succeeded,
                None => StepState::Cancelled,
            };
            self.end_step(place, state, effects);
        } else {
            effects.push(Effect::StepChanged(place));
            self.note_ready(place);
        }
    }

    pub(super) fn end_step(&mut self, place: usize, state: StepState, effects: &mut Vec<Effect>) {
        self.steps[place].facts.state = state;
        self.fan_outs.remove(&place);
        self.ready.remove(&place);
        effects.push(Effect::StepChanged(place));
        self.release_dependents(place);
    }

    fn release_dependents(&mut self, place: usize) {
        self.steps_left -= 1;
        let skipped = self.steps[place].facts.state == StepState::Skipped;
        let plan = Arc::clone(&self.plan);
        for dependent in &plan.node(place).dependents {
            let step = &mut self.steps[*dependent];
            step.waits_for -= 1;
            step.all_skipped &= skipped;
            self.note_ready(*dependent);
        }
    }

    /// Keeps `ready` true for one step.
    pub(super) fn note_ready(&mut self, place: usize) {
        let step = &self.steps[place];
        let facts = &step.facts;
        let is_ready = match facts.state {
            StepState::Waiting => step.waits_for == 0,
            StepState::Running => facts.submitted < facts.total && facts.open() < self.open_max(place),
            _ => false,
        };
        if is_ready {
            self.ready.insert(place);
        } else {
            self.ready.remove(&place);
        }
    }

    fn open_max(&self, place: usize) -> u32 {
        self.plan.step(place).concurrency.unwrap_or(FAN_OUT_OPEN_MAX).min(FAN_OUT_OPEN_MAX)
    }

    fn conclude<V: Values>(&mut self, values: &mut V, effects: &mut Vec<Effect>) -> Result<()> {
        let outcome = match self.phase {
            Phase::Running if self.steps_left == 0 => match self.output(values) {
                Ok(output) => Outcome::Success(output),
                Err(Trouble::Misfit(message)) => {
                    let message = format!("the output cannot be made: {message}");
                    Outcome::Failure(Failure::new(FailureKind::BadArguments, message))
                }
                Err(Trouble::Store(error)) => return Err(error),
            },
            Phase::Failing if self.jobs_open == 0 => Outcome::Failure(self.failure()),
            Phase::Cancelling if self.jobs_open == 0 => {
                Outcome::Failure(Failure::new(FailureKind::Cancelled, "the run was cancelled"))
            }
            _ => return Ok(()),
        };
        self.finish(outcome, effects);
        Ok(())
    }

    fn finish(&mut self, outcome: Outcome, effects: &mut Vec<Effect>) {
        self.phase = Phase::Ended;
        self.ready.clear();
        self.fan_outs.clear();
        effects.push(Effect::Finish(outcome));
    }

    fn failure(&self) -> Failure {
        let place = self.first_failed.unwrap_or_default();
        let name = &self.plan.step(place).id;
        match &self.steps[place].facts.failure {
            Some(known) => {
                let element = known.index.map(|index| format!(", element {index}")).unwrap_or_default();
                let message = format!("step `{name}`{element}: {}", known.failure);
                Failure::new(FailureKind::StepFailed, message)
            }
            None => Failure::new(FailureKind::StepFailed, format!("step `{name}`")),
        }
    }

    /// The output the definition asks for, else the result of the last step.
    fn output<V: Values>(&mut self, values: &mut V) -> Result<Payload, Trouble> {
        let plan = Arc::clone(&self.plan);
        if let Some(binding) = &plan.graph().output {
            return Ok(Payload::json(self.lookup(values).template(binding)?.fill(0, None)?));
        }
        let last = self.steps.len() - 1;
        if !plan.is_fan_out(last) && self.steps[last].facts.succeeded == 1 {
            let result = values.results(last, 0, 1)?.into_iter().next().flatten();
            return Ok(result.unwrap_or_else(|| Payload::json(Bytes::from_static(b"null"))));
        }
        let id: &StepId = &plan.step(last).id;
        Ok(Payload::json(self.lookup(values).output(id, &Path::default())?.or_null()))
    }

    pub(super) fn lookup<'a, V: Values>(&'a mut self, values: &'a mut V) -> Lookup<'a, V> {
        Lookup { plan: &self.plan, steps: &self.steps, input: &mut self.input, values }
    }
}
