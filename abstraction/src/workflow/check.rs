//! The checks a definition passes before any run, and the graph they yield.

use std::collections::{BTreeSet, HashMap};
use std::fmt;

use serde_json::Value;

use super::{
    Binding, Condition, DEFINITION_VERSION, Fact, STEPS_MAX, Source, StepDefinition, WorkflowDefinition,
};
use crate::text::nearest;

/// One thing wrong with a definition.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Problem {
    /// The step, where it is one step's.
    pub step: Option<String>,
    /// What is wrong.
    pub message: String,
}

impl fmt::Display for Problem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.step {
            Some(step) => write!(f, "step `{step}`: {}", self.message),
            None => f.write_str(&self.message),
        }
    }
}

/// A checked definition with its bindings parsed and its steps joined.
#[derive(Debug, Clone, PartialEq)]
pub struct Graph {
    /// The steps, in declared order.
    pub nodes: Vec<Node>,
    /// The binding of the run's output.
    pub output: Option<Binding>,
}

/// One step of a checked definition.
#[derive(Debug, Clone, PartialEq)]
pub struct Node {
    /// The arguments.
    pub args: Binding,
    /// The list of a fan-out.
    pub map: Option<Binding>,
    /// What must hold for it to start.
    pub condition: Option<Condition>,
    /// The places of the steps it waits for, ascending.
    pub dependencies: Vec<usize>,
    /// The places of the steps that wait for it, ascending.
    pub dependents: Vec<usize>,
}

impl WorkflowDefinition {
    /// Checks names, references, fan-outs and cycles.
    ///
    /// # Errors
    /// Every problem found, in declared order; a cycle names its steps.
    pub fn check(&self) -> Result<Graph, Vec<Problem>> {
        let mut problems = Vec::new();
        self.check_header(&mut problems);
        let places: HashMap<&str, usize> =
            self.steps.iter().enumerate().rev().map(|(place, step)| (step.id.as_str(), place)).collect();
        let mut nodes = Vec::with_capacity(self.steps.len());
        for (place, step) in self.steps.iter().enumerate() {
            let mut found = |message: String| {
                problems.push(Problem { step: Some(step.id.to_string()), message });
            };
            if places[step.id.as_str()] != place {
                found("its name is used twice".into());
            }
            nodes.push(check_step(step, &places, &mut found));
        }
        let output = self.output.as_ref().and_then(|written| {
            let mut found = |message: String| problems.push(Problem { step: None, message });
            let binding = Binding::parse(written).map_err(&mut found).ok()?;
            let mut names = BTreeSet::new();
            note_sources(&binding, false, &places, &mut names, &mut found);
            Some(binding)
        });
        if problems.is_empty() {
            join(&mut nodes);
            if let Some(cycle) = self.cycle(&nodes) {
                problems.push(Problem { step: None, message: cycle });
            }
        }
        if problems.is_empty() { Ok(Graph { nodes, output }) } else { Err(problems) }
    }

    fn check_header(&self, problems: &mut Vec<Problem>) {
        let mut found = |message: String| problems.push(Problem { step: None, message });
        if self.version != DEFINITION_VERSION {
            found(format!(
                "version {} of the form is unknown; this program knows {DEFINITION_VERSION}",
                self.version
            ));
        }
        if self.name.is_empty() || self.name.len() > 255 || !self.name.bytes().all(|b| b.is_ascii_graphic()) {
            found("the name is not 1 to 255 printable ASCII characters without spaces".into());
        }
        if self.steps.is_empty() {
            found("there are no steps".into());
        }
        if self.steps.len() > STEPS_MAX {
            found(format!("{} steps are more than the largest number, {STEPS_MAX}", self.steps.len()));
        }
    }

    /// Peels off steps without open dependencies; what is left holds a cycle, of which one is walked.
    fn cycle(&self, nodes: &[Node]) -> Option<String> {
        let mut open: Vec<usize> = nodes.iter().map(|node| node.dependencies.len()).collect();
        let mut ready: Vec<usize> = (0..nodes.len()).filter(|place| open[*place] == 0).collect();
        let mut left = nodes.len();
        while let Some(place) = ready.pop() {
            left -= 1;
            for dependent in &nodes[place].dependents {
                open[*dependent] -= 1;
                if open[*dependent] == 0 {
                    ready.push(*dependent);
                }
            }
        }
        if left == 0 {
            return None;
        }
        let mut at = open.iter().position(|open| *open > 0)?;
        let mut walked = Vec::new();
        while !walked.contains(&at) {
            walked.push(at);
            at = *nodes[at].dependencies.iter().find(|dependency| open[**dependency] > 0)?;
        }
        let start = walked.iter().position(|place| *place == at)?;
        let mut names: Vec<&str> =
            walked[start..].iter().map(|place| self.steps[*place].id.as_str()).collect();
        names.reverse();
        names.push(names[0]);
        Some(format!("the steps wait for each other: {}", names.join(" → ")))
    }
}

fn check_step(step: &StepDefinition, places: &HashMap<&str, usize>, found: &mut dyn FnMut(String)) -> Node {
    let mut dependencies = BTreeSet::new();
    for name in &step.after {
        note_step(name.as_str(), places, &mut dependencies, found);
    }
    if !matches!(step.args, Value::Object(_) | Value::Array(_)) {
        found("its arguments are neither an object nor a list".into());
    }
    let mut parse = |written: &Value, in_fan_out: bool| {
        let binding = Binding::parse(written).map_err(&mut *found).ok()?;
        note_sources(&binding, in_fan_out, places, &mut dependencies, found);
        Some(binding)
    };
    let args = parse(&step.args, step.map.is_some()).unwrap_or(Binding::Literal(Value::Null));
    let map = step.map.as_ref().and_then(|written| parse(written, false));
    let condition = step.when.as_ref().and_then(|text| {
        Condition::parse(text).map_err(|message| found(format!("in `when`: {message}"))).ok()
    });
    for name in condition.iter().flat_map(Condition::facts).filter_map(Fact::step) {
        note_step(name.as_str(), places, &mut dependencies, found);
    }
    if let Some(Binding::Literal(value)) = &map
        && !value.is_array()
    {
        found("`map` is not a list".into());
    }
    if step.concurrency == Some(0) {
        found("a concurrency of 0 would never let it run".into());
    }
    if step.concurrency.is_some() && step.map.is_none() {
        found("`concurrency` bounds a fan-out, and the step has no `map`".into());
    }
    if step.retry.as_ref().is_some_and(|retry| retry.attempts_max == 0) {
        found("a step needs at least one attempt".into());
    }
    Node { args, map, condition, dependencies: dependencies.into_iter().collect(), dependents: Vec::new() }
}

fn note_sources(
    binding: &Binding,
    in_fan_out: bool,
    places: &HashMap<&str, usize>,
    dependencies: &mut BTreeSet<usize>,
    found: &mut dyn FnMut(String),
) {
    binding.sources(&mut |source| match source {
        Source::Input => {}
        Source::Step(name) => note_step(name.as_str(), places, dependencies, found),
        Source::Item | Source::Index if in_fan_out => {}
        Source::Item | Source::Index => {
            found("`$item` and `$index` are known only inside a step with `map`".into())
        }
    });
}

fn note_step(
    name: &str,
    places: &HashMap<&str, usize>,
    dependencies: &mut BTreeSet<usize>,
    found: &mut dyn FnMut(String),
) {
    match places.get(name) {
        Some(place) => {
            dependencies.insert(*place);
        }
        None => found(match nearest(name, places.keys().copied()) {
            Some(near) => format!("there is no step `{name}`; did you mean `{near}`?"),
            None => format!("there is no step `{name}`"),
        }),
    }
}

fn join(nodes: &mut [Node]) {
    for place in 0..nodes.len() {
        for dependency in nodes[place].dependencies.clone() {
            nodes[dependency].dependents.push(place);
        }
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn check(steps: Value) -> Result<Graph, Vec<String>> {
        let definition: WorkflowDefinition =
            serde_json::from_value(json!({"name": "w", "steps": steps})).unwrap();
        definition.check().map_err(|problems| problems.iter().map(Problem::to_string).collect())
    }

    #[test]
    fn dependencies_come_from_bindings_from_conditions_and_from_after() {
        let graph = check(json!([
            {"id": "a", "task": "t"},
            {"id": "b", "task": "t", "args": {"x": {"deep": "$steps.a.output.y"}}},
            {"id": "c", "task": "t", "after": ["a"], "map": "$steps.b.output", "args": ["$item"], "concurrency": 2},
            {"id": "d", "task": "t", "when": "steps.b.state == 'succeeded' && input.on"},
        ]))
        .unwrap();
        assert_eq!(graph.nodes[1].dependencies, [0]);
        assert_eq!(graph.nodes[2].dependencies, [0, 1]);
        assert_eq!(graph.nodes[3].dependencies, [1]);
        assert_eq!(graph.nodes[0].dependents, [1, 2]);
    }

    #[test]
    fn every_problem_is_named() {
        for (steps, message) in [
            (json!([]), "there are no steps"),
            (json!([{"id": "a", "task": "t"}, {"id": "a", "task": "t"}]), "step `a`: its name is used twice"),
            (json!([{"id": "a", "task": "t", "after": ["bb"]}]), "step `a`: there is no step `bb`"),
            (
                json!([{"id": "extract", "task": "t"}, {"id": "b", "task": "t", "args": ["$steps.extrct.output"]}]),
                "step `b`: there is no step `extrct`; did you mean `extract`?",
            ),
            (
                json!([{"id": "a", "task": "t", "after": ["c"]}, {"id": "b", "task": "t", "after": ["a"]},
                       {"id": "c", "task": "t", "after": ["b"]}]),
                "the steps wait for each other: b → c → a → b",
            ),
            (json!([{"id": "a", "task": "t", "after": ["a"]}]), "the steps wait for each other: a → a"),
            (
                json!([{"id": "a", "task": "t", "args": ["$item"]}]),
                "step `a`: `$item` and `$index` are known only inside a step with `map`",
            ),
            (
                json!([{"id": "a", "task": "t", "when": "inpt.x"}]),
                "step `a`: in `when`: the name `inpt` is unknown; did you mean `input`?",
            ),
            (
                json!([{"id": "scan", "task": "t"}, {"id": "b", "task": "t", "when": "steps.scn.state == ''"}]),
                "step `b`: there is no step `scn`; did you mean `scan`?",
            ),
            (json!([{"id": "a", "task": "t", "map": 3}]), "step `a`: `map` is not a list"),
            (
                json!([{"id": "a", "task": "t", "concurrency": 2}]),
                "step `a`: `concurrency` bounds a fan-out, and the step has no `map`",
            ),
        ] {
            let problems = check(steps.clone()).unwrap_err();
            assert_eq!(problems, [message], "{steps}");
        }
    }

    #[test]
    fn a_chain_of_the_largest_length_is_checked_without_recursion() {
        let mut definition = WorkflowDefinition::new("long");
        for place in 0..STEPS_MAX {
            let mut step = StepDefinition::new(
                crate::StepId::new(format!("s{place}")).unwrap(),
                crate::TaskName::new("t").unwrap(),
            );
            if place > 0 {
                step = step.after(crate::StepId::new(format!("s{}", place - 1)).unwrap());
            }
            definition.steps.push(step);
        }
        assert_eq!(definition.check().unwrap().nodes.len(), STEPS_MAX);
    }
}
