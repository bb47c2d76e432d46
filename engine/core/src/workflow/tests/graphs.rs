use std::collections::BTreeSet;

use proptest::prelude::*;
use serde_json::{Value, json};
use taskport_abstraction::backend::StepState;
use taskport_abstraction::workflow::{Binding, Fact, Graph, OnFailure, Path, Source};
use taskport_abstraction::{
    Failure, FailureKind, Outcome, StepDefinition, StepId, TaskName, WorkflowDefinition,
};

use super::stage::{Stage, arguments};
use crate::workflow::*;

/// A pure function of the arguments, so that a result depends on the graph only.
fn answer(task: &str, arguments: &Value) -> Result<Value, Failure> {
    let sum: usize = arguments.to_string().bytes().map(usize::from).sum();
    match task {
        "fail" => Err(Failure::new(FailureKind::Error, "broken")),
        "odd" if sum % 2 == 1 => Err(Failure::new(FailureKind::Error, "odd")),
        "list" => Ok((0..sum % 4).map(|n| json!({ "n": n })).collect()),
        _ => Ok(json!([arguments, sum])),
    }
}

/// A graph of one step for each six bytes, in an order that is not the order of its dependencies.
fn graph(bytes: &[[u8; 6]]) -> WorkflowDefinition {
    let id = |place: usize| StepId::new(format!("s{place}")).unwrap();
    let mut steps = Vec::new();
    for (place, byte) in bytes.iter().enumerate() {
        let earlier: Vec<usize> =
            (0..place).filter(|dependency| byte[0] >> (dependency % 8) & 1 == 1).collect();
        let task = ["echo", "echo", "list", "list", "odd", "odd", "echo", "fail"][usize::from(byte[1] % 8)];
        let mut step = StepDefinition::new(id(place), TaskName::new(task).unwrap()).arg("of", "$input.of");
        for (at, dependency) in earlier.iter().enumerate() {
            step = match (usize::from(byte[2]) + at) % 5 {
                0 => step.after(id(*dependency)),
                1 => step.arg(&format!("p{at}"), format!("$steps.s{dependency}.output.0")),
                _ => step.arg(&format!("a{at}"), format!("$steps.s{dependency}.output")),
            };
        }
        let lists = [
            "$input.list".to_owned(),
            earlier.last().map_or("$input.none".into(), |last| format!("$steps.s{last}.output")),
        ];
        if byte[3] % 3 == 0 {
            step = step
                .map(lists[usize::from(byte[3] / 3 % 2)].clone())
                .arg("item", "$item")
                .arg("index", "$index");
            step.concurrency = (byte[3] % 2 == 0).then_some(u32::from(byte[3] / 16 % 3) + 1);
        }
        step.when = match (byte[4] % 8, earlier.first()) {
            (0, Some(first)) => Some(format!("steps.s{first}.state == 'succeeded'")),
            (1, Some(first)) => Some(format!("steps.s{first}.output != null && input.on")),
            (2, _) => Some("input.off".into()),
            (3, _) => Some("input.on || input.missing".into()),
            _ => None,
        };
        if byte[5] % 4 != 0 {
            step = step.continue_on_failure();
        }
        steps.push((byte[5], step));
    }
    steps.sort_by_key(|(order, _)| *order);
    WorkflowDefinition {
        steps: steps.into_iter().map(|(_, step)| step).collect(),
        ..WorkflowDefinition::new("w")
    }
}

fn input() -> Value {
    json!({"of": "w", "on": true, "off": false, "list": [1, {"n": 2}, "three"], "none": null})
}

/// What a step came to; nothing for one that a failed run never reached.
type Known = Option<(StepState, Value)>;

/// The meaning of a definition, step by step and without any notion of time.
struct Reference<'a> {
    definition: &'a WorkflowDefinition,
    graph: Graph,
    known: Vec<Known>,
}

impl<'a> Reference<'a> {
    fn new(definition: &'a WorkflowDefinition) -> Self {
        let mut reference = Self {
            definition,
            graph: definition.check().unwrap(),
            known: vec![None; definition.steps.len()],
        };
        let mut left: BTreeSet<usize> = (0..definition.steps.len()).collect();
        while let Some(place) = left
            .iter()
            .copied()
            .find(|place| reference.graph.nodes[*place].dependencies.iter().all(|d| !left.contains(d)))
        {
            left.remove(&place);
            let dependencies = &reference.graph.nodes[place].dependencies;
            if !dependencies.iter().any(|dependency| reference.stops_run(*dependency)) {
                reference.known[place] = Some(reference.step(place));
            }
        }
        reference
    }

    fn stops_run(&self, place: usize) -> bool {
        match &self.known[place] {
            None => true,
            Some((state, _)) => {
                *state == StepState::Failed && self.definition.steps[place].on_failure == OnFailure::Fail
            }
        }
    }

    fn fails(&self) -> bool {
        (0..self.known.len()).any(|place| self.stops_run(place))
    }

    fn output(&self, step: &StepId) -> &(StepState, Value) {
        let place = self.definition.steps.iter().position(|known| known.id == *step).unwrap();
        self.known[place].as_ref().unwrap()
    }

    fn bound(&self, source: &Source, path: &Path, item: (usize, &Value)) -> Result<Value, ()> {
        match source {
            Source::Input => path.follow(&input()).cloned().ok_or(()),
            Source::Item => path.follow(item.1).cloned().ok_or(()),
            Source::Index => Ok(json!(item.0)),
            Source::Step(step) => match &self.output(step).1 {
                Value::Null => Ok(Value::Null),
                output => path.follow(output).cloned().ok_or(()),
            },
        }
    }

    fn fill(&self, binding: &Binding, item: (usize, &Value)) -> Result<Value, ()> {
        binding.fill(&mut |source, path| self.bound(source, path, item))
    }

    fn holds(&self, place: usize) -> Option<Result<bool, ()>> {
        let condition = self.graph.nodes[place].condition.as_ref()?;
        let known: Vec<Option<Value>> = condition
            .facts()
            .iter()
            .map(|fact| match fact {
                Fact::Input(path) => path.follow(&input()).cloned(),
                Fact::Output(step, path) => path.follow(&self.output(step).1).cloned(),
                Fact::State(step) => Some(serde_json::to_value(self.output(step).0).unwrap()),
            })
            .collect();
        Some(condition.holds(&known).map_err(|_| ()))
    }

    fn step(&self, place: usize) -> (StepState, Value) {
        let node = &self.graph.nodes[place];
        let skipped = |dependency: &usize| matches!(self.known[*dependency], Some((StepState::Skipped, _)));
        match self.holds(place) {
            Some(Err(())) => return (StepState::Failed, Value::Null),
            Some(Ok(false)) => return (StepState::Skipped, Value::Null),
            Some(Ok(true)) => {}
            None if !node.dependencies.is_empty() && node.dependencies.iter().all(skipped) => {
                return (StepState::Skipped, Value::Null);
            }
            None => {}
        }
        let task = self.definition.steps[place].task.as_str();
        let call =
            |item| self.fill(&node.args, item).and_then(|arguments| answer(task, &arguments).map_err(|_| ()));
        let Some(map) = &node.map else {
            return call((0, &Value::Null))
                .map_or((StepState::Failed, Value::Null), |v| (StepState::Succeeded, v));
        };
        let Ok(Value::Array(list)) = self.fill(map, (0, &Value::Null)) else {
            return (StepState::Failed, Value::Null);
        };
        // What is the same for all elements is made first, and with it fails the whole step.
        let same = node.args.fill(&mut |source, path| match source {
            Source::Item | Source::Index => Ok(Value::Null),
            other => self.bound(other, path, (0, &Value::Null)),
        });
        if !list.is_empty() && same.is_err() {
            return (StepState::Failed, Value::Null);
        }
        let results: Vec<_> = list.iter().enumerate().map(call).collect();
        let state = if results.iter().all(Result::is_ok) { StepState::Succeeded } else { StepState::Failed };
        (state, results.into_iter().map(Result::unwrap_or_default).collect())
    }
}

/// Plays a run, ending open jobs in the order `choices` says, with a second machine beside it that is sometimes told of
/// an event and sometimes only of what has been stored.
fn play(definition: &WorkflowDefinition, choices: &[u16]) -> Stage {
    let mut stage = Stage::new(definition, input());
    let mut beside = stage.rebuilt(std::iter::empty());
    let mut choices = choices.iter().copied().cycle();
    let mut event = Event::Advance;
    loop {
        let choice = choices.next().unwrap();
        if choice % 3 != 0 {
            let effects = beside.apply(event.clone(), &mut stage.stored).unwrap();
            assert_eq!(effects, stage.apply(event));
        } else {
            let changed = stage.apply(event).into_iter().filter_map(|effect| match effect {
                Effect::StepChanged(step) => Some(step),
                _ => None,
            });
            let mut changed: Vec<usize> = changed.collect();
            let len = stage.run.plan().definition().steps.len();
            if choice % 2 == 0 {
                let by = usize::from(choice) % changed.len().max(1);
                changed.rotate_left(by);
                changed.iter().for_each(|step| beside.restore(*step, stage.run.facts(*step).clone()));
            } else {
                beside = stage.rebuilt((0..len).map(|place| (place + usize::from(choice)) % len));
            }
        }
        check_bounds(&stage);
        if stage.run.has_more() {
            event = Event::Advance;
            continue;
        }
        if stage.open.is_empty() {
            return stage;
        }
        let job = stage.open.remove(usize::from(choice) / 3 % stage.open.len());
        let end = match answer(job.call.task.as_str(), &arguments(&job)) {
            _ if stage.cancel_requested && choice % 2 == 0 => {
                JobEnd::Failed(Failure::new(FailureKind::Cancelled, "stopped"))
            }
            Ok(result) => {
                let payload = taskport_abstraction::Payload::encode(&result).unwrap();
                stage.stored.results.insert((job.step, job.index.unwrap_or(0)), payload);
                JobEnd::Succeeded
            }
            Err(failure) => JobEnd::Failed(failure),
        };
        event = Event::JobEnded { step: job.step, index: job.index, end };
    }
}

fn check_bounds(stage: &Stage) {
    for (place, step) in stage.run.plan().definition().steps.iter().enumerate() {
        let open = stage.open.iter().filter(|job| job.step == place).count();
        assert!(open <= step.concurrency.unwrap_or(u32::MAX) as usize, "{} jobs of {}", open, step.id);
        let indices: Vec<_> =
            stage.open.iter().filter(|job| job.step == place).map(|job| job.index).collect();
        assert!(indices.is_sorted(), "a list starts in order: {indices:?}");
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 600, failure_persistence: None, ..ProptestConfig::default() })]

    // proves R-101 R-106 R-160 R-161
    #[test]
    fn a_run_means_what_its_graph_says_whatever_ends_first_and_whoever_goes_on(
        bytes in proptest::collection::vec(any::<[u8; 6]>(), 1..9),
        choices in proptest::collection::vec(any::<u16>(), 1..40),
    ) {
        let definition = graph(&bytes);
        let reference = Reference::new(&definition);
        let stage = play(&definition, &choices);
        match stage.outcome.as_ref().expect("the run ends") {
            Outcome::Success(output) => {
                prop_assert!(!reference.fails());
                let last = reference.known.last().unwrap().as_ref().unwrap();
                prop_assert_eq!(&output.decode::<Value>().unwrap(), &last.1);
                for (place, known) in reference.known.iter().enumerate() {
                    prop_assert_eq!(stage.run.facts(place).state, known.as_ref().unwrap().0);
                }
            }
            Outcome::Failure(failure) => {
                prop_assert!(reference.fails(), "{}", failure);
                prop_assert_eq!(failure.kind, FailureKind::StepFailed);
            }
        }
    }
}
