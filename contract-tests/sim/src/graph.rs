//! Workflows by seed, what their tasks answer, and what a run of them must come to.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use fastrand::Rng;
use serde_json::{Value, json};
use taskport_abstraction::backend::{Delivery, Verdict};
use taskport_abstraction::job::StepRef;
use taskport_abstraction::workflow::OnFailure;
use taskport_abstraction::{
    Backoff, Failure, FailureKind, JobState, Payload, RetryPolicy, StepDefinition, StepId, TaskName,
    WorkflowDefinition,
};
use taskport_engine::record::{JobRecord, RunRecord};

use crate::broken::{Broken, hold};
use crate::plan::{Plan, pick};

/// The largest number of steps.
const STEPS_MAX: usize = 6;
/// The longest list.
const LIST_LEN_MAX: u64 = 5;
/// So often that no run of bad luck uses them up.
const ATTEMPTS_MAX: u32 = 200;

/// A workflow: steps `s0`, `s1`, … each of which depends on earlier ones only, declared in any order.
pub(crate) fn definition(rng: &mut Rng, plan: &Plan) -> Arc<WorkflowDefinition> {
    let mut steps: Vec<_> = (0..rng.usize(1..=STEPS_MAX)).map(|place| step(rng, plan, place)).collect();
    rng.shuffle(&mut steps);
    let mut definition = WorkflowDefinition::new("generated");
    definition.timeout = (rng.u8(0..4) == 0).then(|| Duration::from_secs(rng.u64(10..600)));
    definition.steps = steps;
    Arc::new(definition)
}

/// An input that every definition fits.
pub(crate) fn input(rng: &mut Rng) -> Payload {
    let list: Vec<u64> = (0..rng.u64(0..=LIST_LEN_MAX)).collect();
    Payload::encode(&json!({"on": rng.bool(), "len": rng.u64(0..=LIST_LEN_MAX), "list": list}))
        .expect("a value has a JSON form")
}

fn step(rng: &mut Rng, plan: &Plan, place: usize) -> StepDefinition {
    let task = *pick(rng, &["echo", "echo", "list", "odd", "flaky", "fail"]);
    let mut step = StepDefinition::new(name(place), TaskName::new(task).expect("a good name"));
    let earlier = |rng: &mut Rng| (place > 0).then(|| format!("$steps.{}.output", name(rng.usize(0..place))));
    let mut args = vec![json!("$input.len")];
    if rng.bool() {
        let list = earlier(rng).filter(|_| rng.bool()).unwrap_or_else(|| "$input.list".to_owned());
        step.map = Some(list.into());
        step.concurrency = rng.bool().then(|| rng.u32(1..4));
        args = vec![json!("$item"), json!("$index")];
    }
    args.extend((0..rng.u8(0..3)).filter_map(|_| earlier(rng)).map(Value::from));
    step.args = args.into();
    if place > 0 && rng.bool() {
        step.after = vec![name(rng.usize(0..place))];
    }
    if rng.u8(0..6) == 0 {
        step.when = Some(pick(rng, &["input.on", "!input.on"]).to_string());
    }
    if rng.u8(0..4) > 0 {
        step.on_failure = OnFailure::Continue;
    }
    step.queue = Some(pick(rng, &plan.queues).clone());
    step.retry = Some(RetryPolicy {
        attempts_max: ATTEMPTS_MAX,
        backoff: Backoff::Fixed { delay: Duration::from_secs(1) },
        age_max: None,
    });
    step
}

fn name(place: usize) -> StepId {
    StepId::new(format!("s{place}")).expect("a good name")
}

/// What the task of a step answers: a function of its arguments and, for `flaky`, of the attempt.
pub(crate) fn work(delivery: &Delivery) -> Verdict {
    let document: Value = delivery.call.arguments.decode().unwrap_or_default();
    let argument = &document[0][0];
    let failed = |message: &str| Failure::new(FailureKind::Error, message);
    let answer = match delivery.call.task.as_str() {
        "list" => (0..argument.as_u64().unwrap_or(2).min(LIST_LEN_MAX)).collect(),
        "fail" => return Verdict::Reject(failed("broken")),
        "odd" if argument.as_u64().is_some_and(|number| number % 2 == 1) => {
            return Verdict::Reject(failed("odd"));
        }
        "flaky" if delivery.attempt == 1 => {
            return Verdict::Retry { failure: failed("the first attempt"), after: Some(Duration::ZERO) };
        }
        _ => json!(checksum(document.to_string().as_bytes())),
    };
    Verdict::Ack(Payload::encode(&answer).expect("a value has a JSON form"))
}

/// FNV-1a.
pub(crate) fn checksum(bytes: &[u8]) -> u64 {
    bytes
        .iter()
        .fold(0xcbf2_9ce4_8422_2325, |sum, byte| (sum ^ u64::from(*byte)).wrapping_mul(0x0100_0000_01b3))
}

/// What became of a step.
#[derive(Debug, Clone, PartialEq)]
enum Fate {
    Skipped,
    /// It ended with this, or failed and the run went on with this.
    Ended(Value),
    /// It failed, or it did not end before the run did; nothing that depends on it may have a job.
    Open,
}

impl Fate {
    fn value(&self) -> Value {
        match self {
            Self::Ended(value) => value.clone(),
            Self::Skipped | Self::Open => Value::Null,
        }
    }
}

/// Works out from the definition, the input and what became of the jobs which jobs there are, with which arguments, and
/// what the run comes to; and compares. The order in which jobs ended is not looked at.
pub(crate) fn judge(run: &RunRecord, jobs: &[JobRecord]) -> Result<(), Broken> {
    let definition: WorkflowDefinition = match serde_json::from_slice(&run.definition) {
        Ok(definition) => definition,
        Err(error) => return Err(Broken::new("run", format!("{}: the definition is gone: {error}", run.id))),
    };
    let mut judge = Judge {
        run,
        input: run.input.decode().unwrap_or_default(),
        jobs: BTreeMap::new(),
        fates: BTreeMap::new(),
        failed: false,
    };
    for job in jobs {
        let Some(StepRef { step, index, .. }) = &job.step else { continue };
        let twice = judge.jobs.insert((step.clone(), index.unwrap_or(0)), job);
        hold!(twice.is_none(), "step-once", "{}: step {step} {index:?} has two jobs", run.id);
    }
    let mut steps: Vec<_> = definition.steps.iter().collect();
    steps.sort_by(|a, b| a.id.cmp(&b.id));
    for step in steps {
        let fate = judge.step(step)?;
        judge.fates.insert(step.id.clone(), fate);
    }
    let last = definition.steps.last().map(|step| step.id.clone());
    judge.outcome(last.and_then(|last| judge.fates.get(&last)).map_or(Value::Null, Fate::value), &definition)
}

struct Judge<'a> {
    run: &'a RunRecord,
    input: Value,
    jobs: BTreeMap<(StepId, u32), &'a JobRecord>,
    fates: BTreeMap<StepId, Fate>,
    /// Whether a step has failed that fails the run.
    failed: bool,
}

impl Judge<'_> {
    fn step(&mut self, step: &StepDefinition) -> Result<Fate, Broken> {
        let needs = needs(step);
        let fates: Vec<_> = needs.iter().filter_map(|need| self.fates.get(need)).collect();
        if fates.contains(&&Fate::Open) {
            self.no_jobs(step, 0, "a step it depends on has not ended")?;
            return Ok(Fate::Open);
        }
        let when = step.when.as_deref().map(|when| (self.input["on"] == json!(true)) == (when == "input.on"));
        let deserted = !fates.is_empty() && fates.iter().all(|fate| **fate == Fate::Skipped);
        if when == Some(false) || (when.is_none() && deserted) {
            self.no_jobs(step, 0, "it is skipped")?;
            return Ok(Fate::Skipped);
        }
        match &step.map {
            None => self.single(step),
            Some(map) => match self.bind(map, None) {
                Value::Array(items) => self.fan_out(step, &items),
                _ => {
                    self.no_jobs(step, 0, "its `map` is no list")?;
                    Ok(self.failure(step, Value::Null))
                }
            },
        }
    }

    fn single(&mut self, step: &StepDefinition) -> Result<Fate, Broken> {
        self.no_jobs(step, 1, "it is no fan-out")?;
        match self.element(step, 0, None)? {
            None => Ok(Fate::Open),
            Some((value, true)) => Ok(Fate::Ended(value)),
            Some((_, false)) => Ok(self.failure(step, Value::Null)),
        }
    }

    fn fan_out(&mut self, step: &StepDefinition, items: &[Value]) -> Result<Fate, Broken> {
        let len = u32::try_from(items.len()).unwrap_or(u32::MAX);
        self.no_jobs(step, len, "its list is not that long")?;
        let (mut values, mut good, mut whole) = (Vec::new(), true, true);
        for (index, item) in (0..).zip(items) {
            match self.element(step, index, Some(item))? {
                Some((value, succeeded)) => {
                    good &= succeeded;
                    values.push(value);
                }
                None => whole = false,
            }
        }
        Ok(match (whole, good) {
            (false, _) => {
                self.failed |= !good && step.on_failure == OnFailure::Fail;
                Fate::Open
            }
            (true, true) => Fate::Ended(values.into()),
            (true, false) => self.failure(step, values.into()),
        })
    }

    fn failure(&mut self, step: &StepDefinition, value: Value) -> Fate {
        if step.on_failure == OnFailure::Continue {
            return Fate::Ended(value);
        }
        self.failed = true;
        Fate::Open
    }

    /// The result of one job and whether it succeeded, where it has ended.
    fn element(
        &self,
        step: &StepDefinition,
        index: u32,
        item: Option<&Value>,
    ) -> Result<Option<(Value, bool)>, Broken> {
        let Some(job) = self.jobs.get(&(step.id.clone(), index)) else { return Ok(None) };
        let expected = json!([self.bind(&step.args, item.map(|item| (index, item))), {}]);
        let given: Value = job.arguments.decode().unwrap_or_default();
        hold!(
            given == expected,
            "merge",
            "{}: step {} {index} was given {given}, its graph says {expected}",
            self.run.id,
            step.id
        );
        if !job.state.is_terminal() {
            return Ok(None);
        }
        let result = job.result.as_ref().map_or(Ok(Value::Null), Payload::decode).unwrap_or_default();
        Ok(Some((result, job.state == JobState::Succeeded)))
    }

    fn no_jobs(&self, step: &StepDefinition, from: u32, why: &str) -> Result<(), Broken> {
        let stray = self.jobs.range((step.id.clone(), from)..=(step.id.clone(), u32::MAX)).next();
        hold!(stray.is_none(), "merge", "{}: step {} has a job, and {why}", self.run.id, step.id);
        Ok(())
    }

    fn bind(&self, written: &Value, item: Option<(u32, &Value)>) -> Value {
        match written {
            Value::Array(parts) => parts.iter().map(|part| self.bind(part, item)).collect(),
            Value::String(text) => match (text.as_str(), item) {
                ("$item", Some((_, item))) => item.clone(),
                ("$index", Some((index, _))) => json!(index),
                (text, _) => match text.strip_prefix("$input.") {
                    Some(path) => self.input[path].clone(),
                    None => {
                        upstream(text).and_then(|step| self.fates.get(&step)).map_or(Value::Null, Fate::value)
                    }
                },
            },
            other => other.clone(),
        }
    }

    fn outcome(&self, output: Value, definition: &WorkflowDefinition) -> Result<(), Broken> {
        let run = self.run;
        let open = self.fates.values().any(|fate| *fate == Fate::Open);
        match run.state {
            JobState::Succeeded => {
                hold!(
                    !open && !self.failed,
                    "run",
                    "{} succeeded, and a step failed or has not ended",
                    run.id
                );
                let given: Option<Value> = run.output.as_ref().and_then(|output| output.decode().ok());
                hold!(
                    given.as_ref() == Some(&output),
                    "merge",
                    "{} came to {given:?}, its graph says {output}",
                    run.id
                );
            }
            JobState::Failed => {
                let overdue = run.deadline.is_some_and(|deadline| run.finished_at >= Some(deadline));
                let too_large = output.to_string().len() > crate::plan::RESULT_BYTES_MAX;
                hold!(
                    self.failed || overdue || (too_large && !open),
                    "run",
                    "{} failed, and no step of {} did: {:?}",
                    run.id,
                    definition.steps.len(),
                    run.failure
                );
            }
            JobState::Cancelled => {
                hold!(run.cancel_requested, "run", "{} was cancelled, and nobody asked", run.id);
            }
            _ => {}
        }
        Ok(())
    }
}

/// The steps that a step depends on.
fn needs(step: &StepDefinition) -> Vec<StepId> {
    let args = step.args.as_array().into_iter().flatten();
    let bound = args.chain(&step.map).filter_map(Value::as_str).filter_map(upstream);
    step.after.iter().cloned().chain(bound).collect()
}

fn upstream(binding: &str) -> Option<StepId> {
    StepId::new(binding.strip_prefix("$steps.")?.strip_suffix(".output")?).ok()
}
