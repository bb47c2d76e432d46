//! The checked catalogue.

use std::collections::BTreeMap;
use std::sync::Arc;

use taskport_abstraction::task::Location;
use taskport_abstraction::text::nearest;
use taskport_abstraction::workflow::Graph;
use taskport_abstraction::{Error, RawCall, Result, TaskDefinition, TaskName, WorkflowDefinition, codes};

use crate::arguments::check_arguments;
use crate::builder::RegistryBuilder;
use crate::declare::Collected;
use crate::manifest::Manifest;
use crate::shown;

/// Every task and workflow a program knows. Clones share it.
#[derive(Debug, Clone, Default)]
pub struct Registry(Arc<Catalogue>);

#[derive(Debug, Default)]
pub(crate) struct Catalogue {
    pub(crate) tasks: BTreeMap<TaskName, TaskDefinition>,
    pub(crate) workflows: BTreeMap<String, RegisteredWorkflow>,
}

/// A workflow that passed every check.
#[derive(Debug, Clone)]
pub struct RegisteredWorkflow {
    /// The definition.
    pub definition: Arc<WorkflowDefinition>,
    /// The definition with its bindings parsed and its steps joined.
    pub graph: Arc<Graph>,
    /// Where it is declared.
    pub location: Location,
}

impl Registry {
    /// A builder without definitions.
    pub fn builder() -> RegistryBuilder {
        RegistryBuilder::default()
    }

    /// A builder with every `#[task]` that is linked into the program.
    ///
    /// A library whose items the program never names may be left out by the linker, its tasks with it; list those with
    /// [`registry!`](crate::registry).
    pub fn collected() -> RegistryBuilder {
        let builder = RegistryBuilder::default();
        inventory::iter::<Collected>().map(Collected::definition).fold(builder, RegistryBuilder::task)
    }

    pub(crate) fn of(catalogue: Catalogue) -> Self {
        Self(Arc::new(catalogue))
    }

    /// The task called `name`.
    ///
    /// # Errors
    /// `NotFound` (E-001) with the nearest name.
    pub fn task(&self, name: &str) -> Result<&TaskDefinition> {
        self.find(name).ok_or_else(|| {
            let message = format!("there is no task `{}`", shown(name));
            let error = Error::new(&codes::UNKNOWN_TASK, "look up", message);
            with_nearest(error, name, self.0.tasks.keys().map(TaskName::as_str))
        })
    }

    /// The task called `name`, where there is one.
    pub fn find(&self, name: &str) -> Option<&TaskDefinition> {
        self.0.tasks.get(name)
    }

    /// Every task, by name.
    pub fn tasks(&self) -> impl Iterator<Item = &TaskDefinition> {
        self.0.tasks.values()
    }

    /// The workflow called `name`.
    ///
    /// # Errors
    /// `NotFound` (E-046) with the nearest name.
    pub fn workflow(&self, name: &str) -> Result<&RegisteredWorkflow> {
        self.0.workflows.get(name).ok_or_else(|| {
            let message = format!("there is no workflow `{}`", shown(name));
            let error = Error::new(&codes::UNKNOWN_WORKFLOW, "look up", message);
            with_nearest(error, name, self.0.workflows.keys().map(String::as_str))
        })
    }

    /// Every workflow, by name.
    pub fn workflows(&self) -> impl Iterator<Item = &RegisteredWorkflow> {
        self.0.workflows.values()
    }

    /// Checks a call that was not made by a task's own function, and gives the task it calls.
    ///
    /// # Errors
    /// `NotFound` (E-001) for an unknown task; `InvalidInput` (E-002) for an argument that is missing, unknown, given
    /// twice, or certainly of another type; `Corrupt` (E-033) for malformed arguments.
    pub fn check_call(&self, call: &RawCall) -> Result<&TaskDefinition> {
        let task = self.task(call.task.as_str())?;
        check_arguments(task, &call.arguments)?;
        Ok(task)
    }

    /// What the program offers, for other programs and people to read.
    pub fn manifest(&self) -> Manifest {
        Manifest::of(self)
    }
}

/// An unchecked copy, to which more can be added.
impl From<Registry> for RegistryBuilder {
    fn from(registry: Registry) -> Self {
        let builder = registry.tasks().cloned().fold(Self::default(), Self::task);
        registry.workflows().fold(builder, |builder, workflow| {
            builder.workflow_at((*workflow.definition).clone(), workflow.location.clone())
        })
    }
}

fn with_nearest<'a>(error: Error, name: &str, known: impl Iterator<Item = &'a str> + Clone) -> Error {
    match nearest(name, known.clone()) {
        Some(near) => error.hint(format!("did you mean `{near}`?")),
        None if known.clone().count() == 0 => error.hint("none is registered"),
        None => error.hint("`taskport registry list` shows every name"),
    }
}
