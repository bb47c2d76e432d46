//! A definition, ready to be run.

use std::collections::HashMap;
use std::sync::Arc;

use taskport_abstraction::workflow::{Graph, Node, OnFailure, StepDefinition, WorkflowDefinition};
use taskport_abstraction::{Error, JobOptions, Result, StepId, codes};

/// A checked definition. All runs of it share one.
#[derive(Debug)]
pub struct Plan {
    definition: Arc<WorkflowDefinition>,
    graph: Graph,
    places: HashMap<StepId, usize>,
}

impl Plan {
    /// Checks a definition.
    ///
    /// # Errors
    /// `InvalidInput` (E-016) with the first problem; the others are counted.
    pub fn new(definition: Arc<WorkflowDefinition>) -> Result<Self> {
        match definition.check() {
            Ok(graph) => {
                let ids = definition.steps.iter().map(|step| step.id.clone());
                let places = ids.zip(0..).collect();
                Ok(Self { definition, graph, places })
            }
            Err(problems) => {
                let more = match problems.len() {
                    0 | 1 => String::new(),
                    len => format!(" (and {} more)", len - 1),
                };
                let first = problems.first().map(ToString::to_string).unwrap_or_default();
                let message = format!("workflow `{}`: {first}{more}", definition.name);
                Err(Error::new(&codes::BAD_WORKFLOW, "start run", message))
            }
        }
    }

    /// The definition.
    pub fn definition(&self) -> &Arc<WorkflowDefinition> {
        &self.definition
    }

    pub(super) fn graph(&self) -> &Graph {
        &self.graph
    }

    /// The place of a step in the definition.
    pub fn place(&self, step: &StepId) -> Option<usize> {
        self.places.get(step).copied()
    }

    /// Whether the step at `place` calls its task for each element of a list.
    pub fn is_fan_out(&self, place: usize) -> bool {
        self.graph.nodes[place].map.is_some()
    }

    pub(super) fn step(&self, place: usize) -> &StepDefinition {
        &self.definition.steps[place]
    }

    pub(super) fn node(&self, place: usize) -> &Node {
        &self.graph.nodes[place]
    }

    pub(super) fn ends_run(&self, place: usize) -> bool {
        self.step(place).on_failure == OnFailure::Fail
    }

    /// What the jobs of a step ask for.
    pub(super) fn options(&self, place: usize) -> JobOptions {
        let step = self.step(place);
        JobOptions {
            queue: step.queue.clone(),
            retry: step.retry.clone(),
            timeout_hard: step.timeout,
            ..JobOptions::default()
        }
    }
}
