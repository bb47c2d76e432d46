//! What a workflow must hold besides its own graph: its tasks exist, its arguments fit their parameters, and no step
//! takes what another can never give.

use std::collections::{BTreeMap, HashMap};

use serde_json::Value;
use taskport_abstraction::task::Location;
use taskport_abstraction::text::nearest;
use taskport_abstraction::workflow::{Binding, Graph, Node, Problem, Source};
use taskport_abstraction::{
    Error, Result, StepDefinition, StepId, TaskDefinition, TaskName, WorkflowDefinition, codes,
};

use crate::arguments::{Given, join};
use crate::schema::{Known, Shape, Types};
use crate::shown;
use crate::task_check::can_be_stopped;

/// The largest number of problems that one message lists.
const LISTED_MAX: usize = 20;

pub(crate) fn check_workflow(
    workflow: &WorkflowDefinition,
    location: &Location,
    tasks: &BTreeMap<TaskName, TaskDefinition>,
) -> Result<Graph> {
    let bad = |problems: &[Problem]| {
        let listed: Vec<String> = problems.iter().take(LISTED_MAX).map(Problem::to_string).collect();
        let rest = problems.len() - listed.len();
        let rest = if rest > 0 { format!("; and {rest} more") } else { String::new() };
        let name = shown(&workflow.name);
        let message = format!("workflow `{name}`, declared at {location}: {}{rest}", listed.join("; "));
        Error::new(&codes::BAD_WORKFLOW, "register", message)
    };
    let graph = workflow.check().map_err(|problems| bad(&problems))?;
    let steps = Steps::new(workflow, &graph, tasks);
    let problems: Vec<Problem> = (0..graph.nodes.len()).flat_map(|place| steps.check(place)).collect();
    if problems.is_empty() { Ok(graph) } else { Err(bad(&problems)) }
}

/// The steps of a sound graph, and the tasks they may call.
struct Steps<'a> {
    workflow: &'a WorkflowDefinition,
    graph: &'a Graph,
    tasks: &'a BTreeMap<TaskName, TaskDefinition>,
    places: HashMap<&'a StepId, usize>,
}

/// What is known of a bound value; `Err` where its path leads nowhere.
type Bound<'a> = std::result::Result<Known<'a>, String>;

impl<'a> Steps<'a> {
    fn new(
        workflow: &'a WorkflowDefinition,
        graph: &'a Graph,
        tasks: &'a BTreeMap<TaskName, TaskDefinition>,
    ) -> Self {
        let places = workflow.steps.iter().enumerate().map(|(place, step)| (&step.id, place)).collect();
        Self { workflow, graph, tasks, places }
    }

    fn check(&self, place: usize) -> Vec<Problem> {
        let (step, node) = (&self.workflow.steps[place], &self.graph.nodes[place]);
        let mut problems = Vec::new();
        let mut found = |message| problems.push(Problem { step: Some(step.id.to_string()), message });
        let Some(task) = self.tasks.get(&step.task) else {
            found(self.unknown_task(step));
            return problems;
        };
        if step.timeout.is_some() && !can_be_stopped(task) {
            found(format!("it has a timeout, and task `{}` cannot be stopped on its thread", task.name));
        }
        let element = self.element(node, &mut found);
        let given = self.given(&node.args, &element);
        for (parameter, bound) in join(task, given, &mut found) {
            match bound.map(|known| known.mismatch(Shape::new(&parameter.schema))) {
                Ok(None) => {}
                Ok(Some(mismatch)) => found(format!("argument `{}`{mismatch}", parameter.name)),
                Err(message) => found(format!("argument `{}`: {message}", parameter.name)),
            }
        }
        problems
    }

    fn unknown_task(&self, step: &StepDefinition) -> String {
        let name = step.task.as_str();
        match nearest(name, self.tasks.keys().map(TaskName::as_str)) {
            Some(near) => format!("there is no task `{name}`; did you mean `{near}`?"),
            None => format!("there is no task `{name}`"),
        }
    }

    /// What is known of `$item`, where the step is a fan-out.
    fn element(&self, node: &'a Node, found: &mut dyn FnMut(String)) -> Known<'a> {
        let Some(map) = &node.map else { return Known::Anything };
        let element = self.known(map, &Known::Anything).and_then(|list| {
            list.element().map_err(|there| format!("it takes a list, and is given {there}"))
        });
        element.unwrap_or_else(|message| {
            found(format!("`map`: {message}"));
            Known::Anything
        })
    }

    fn given(&self, args: &'a Binding, element: &Known<'a>) -> Given<'a, Bound<'a>> {
        match args {
            Binding::Object(parts) => {
                let named = parts.iter().map(|(name, part)| (name.as_str(), self.known(part, element)));
                Given { positional: Vec::new(), named: named.collect() }
            }
            Binding::List(parts) => {
                let positional = parts.iter().map(|part| self.known(part, element)).collect();
                Given { positional, named: Vec::new() }
            }
            Binding::Literal(Value::Array(list)) => {
                let positional = list.iter().map(|value| Ok(Known::Literal(value))).collect();
                Given { positional, named: Vec::new() }
            }
            Binding::Literal(_) | Binding::From(..) => Given { positional: Vec::new(), named: Vec::new() },
        }
    }

    fn known(&self, binding: &'a Binding, element: &Known<'a>) -> Bound<'a> {
        let (source, path) = match binding {
            Binding::Literal(value) => return Ok(Known::Literal(value)),
            Binding::List(_) => return Ok(Known::Of(Types::ARRAY)),
            Binding::Object(_) => return Ok(Known::Of(Types::OBJECT)),
            Binding::From(source, path) => (source, path),
        };
        let start = match source {
            Source::Input => Known::Anything,
            Source::Index => Known::Of(Types::INTEGER),
            Source::Item => element.clone(),
            Source::Step(id) => self.result_of(id),
        };
        path.keys().try_fold(start, |known, key| {
            known.inside(key).map_err(|there| format!("`{key}` leads nowhere, for there is {there}"))
        })
    }

    fn result_of(&self, id: &StepId) -> Known<'a> {
        let step = self.places.get(id).map(|place| &self.workflow.steps[*place]);
        let Some((step, task)) = step.and_then(|step| Some((step, self.tasks.get(&step.task)?))) else {
            return Known::Anything;
        };
        let result = Known::Fits(Shape::new(&task.result_schema));
        if step.map.is_some() { Known::ListOf(Box::new(result)) } else { result }
    }
}
