//! Gathers definitions and checks them against each other.

use std::collections::BTreeMap;
use std::collections::btree_map::Entry;
use std::panic;
use std::sync::Arc;

use taskport_abstraction::task::Location;
use taskport_abstraction::{Error, Result, TaskDefinition, TaskName, WorkflowDefinition, codes};

use crate::catalogue::{Catalogue, RegisteredWorkflow, Registry};
use crate::shown;
use crate::task_check::check_task;
use crate::workflow_check::check_workflow;

/// The definitions a registry is to have, not yet checked.
#[derive(Debug, Clone, Default)]
pub struct RegistryBuilder {
    tasks: Vec<TaskDefinition>,
    workflows: Vec<(WorkflowDefinition, Location)>,
    problems: Vec<Error>,
}

impl RegistryBuilder {
    /// Adds a task.
    #[must_use]
    pub fn task(mut self, task: TaskDefinition) -> Self {
        self.tasks.push(task);
        self
    }

    /// Adds a workflow that is declared in code. A mistake in making it is kept for the check.
    #[must_use]
    #[track_caller]
    pub fn workflow(mut self, workflow: impl IntoWorkflow) -> Self {
        let caller = panic::Location::caller();
        match workflow.into_workflow() {
            Ok(workflow) => {
                let location = Location { file: caller.file().into(), line: caller.line() };
                self.workflow_at(workflow, location)
            }
            Err(error) => {
                self.problems.push(error);
                self
            }
        }
    }

    /// Adds a workflow that stands at `location`.
    #[must_use]
    pub fn workflow_at(mut self, workflow: WorkflowDefinition, location: Location) -> Self {
        self.workflows.push((workflow, location));
        self
    }

    /// Everything that is wrong.
    pub fn check(&self) -> Vec<Error> {
        self.clone().examine().1
    }

    /// The registry, where nothing is wrong.
    ///
    /// # Errors
    /// `InvalidInput`: two definitions of one name (E-014), a malformed task (E-015), a malformed workflow (E-016). The
    /// first problem is returned, and its hint counts the others.
    pub fn build(self) -> Result<Registry> {
        let (catalogue, problems) = self.examine();
        let others = problems.len().saturating_sub(1);
        match problems.into_iter().next() {
            None => Ok(Registry::of(catalogue)),
            Some(first) if others == 0 => Err(first),
            Some(first) => {
                let more = format!("{others} more problems were found; `taskport check` lists them all");
                let hint = first.remedy().map_or(more.clone(), |remedy| format!("{remedy}; {more}"));
                Err(first.hint(hint))
            }
        }
    }

    fn examine(self) -> (Catalogue, Vec<Error>) {
        let mut problems = self.problems;
        let tasks = unique_tasks(self.tasks, &mut problems);
        let mut workflows = BTreeMap::new();
        for (definition, location) in self.workflows {
            match workflows.entry(definition.name.clone()) {
                Entry::Occupied(first) => {
                    let first: &RegisteredWorkflow = first.get();
                    problems.push(duplicate("workflow", &definition.name, &first.location, &location));
                }
                Entry::Vacant(free) => match check_workflow(&definition, &location, &tasks) {
                    Ok(graph) => {
                        let (definition, graph) = (Arc::new(definition), Arc::new(graph));
                        free.insert(RegisteredWorkflow { definition, graph, location });
                    }
                    Err(problem) => problems.push(problem),
                },
            }
        }
        (Catalogue { tasks, workflows }, problems)
    }
}

/// What gives a workflow: a definition, a `Result` of one, or a function that returns either.
pub trait IntoWorkflow {
    /// The definition.
    ///
    /// # Errors
    /// The mistake made in building it.
    fn into_workflow(self) -> Result<WorkflowDefinition>;
}

impl IntoWorkflow for WorkflowDefinition {
    fn into_workflow(self) -> Result<WorkflowDefinition> {
        Ok(self)
    }
}

impl IntoWorkflow for Result<WorkflowDefinition> {
    fn into_workflow(self) -> Result<WorkflowDefinition> {
        self
    }
}

impl<F: FnOnce() -> W, W: IntoWorkflow> IntoWorkflow for F {
    fn into_workflow(self) -> Result<WorkflowDefinition> {
        self().into_workflow()
    }
}

fn unique_tasks(tasks: Vec<TaskDefinition>, problems: &mut Vec<Error>) -> BTreeMap<TaskName, TaskDefinition> {
    let mut unique = BTreeMap::new();
    for task in tasks {
        problems.extend(check_task(&task).err());
        match unique.entry(task.name.clone()) {
            Entry::Occupied(first) => {
                let first: &TaskDefinition = first.get();
                problems.push(duplicate("task", task.name.as_str(), &first.location, &task.location));
            }
            Entry::Vacant(free) => {
                free.insert(task);
            }
        }
    }
    unique
}

fn duplicate(what: &str, name: &str, first: &Location, second: &Location) -> Error {
    let name = shown(name);
    let (message, hint) = if first == second {
        (format!("{what} `{name}`, declared at {first}, is listed twice"), "list it once".to_owned())
    } else {
        let message = format!("{what} `{name}` is declared twice, at {first} and at {second}");
        (message, format!("give one {what} another name"))
    };
    Error::new(&codes::DUPLICATE_DEFINITION, "register", message).hint(hint)
}
