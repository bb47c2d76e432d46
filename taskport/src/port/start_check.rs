//! What is checked before the first job: the registry against what the backends can do.

use std::sync::Arc;

use taskport_abstraction::{
    BackendName, Capability, Error, Feature, Result, TaskDefinition, WorkflowDefinition, codes,
};
use taskport_registry::Registry;

use super::prepare::{Warned, admit};
use super::schedules::check_configured;
use crate::backends;
use crate::config::{Loaded, OnUnsupported};

/// Checks a registry against what the default backend of a configuration can do, without touching that backend, and
/// returns every problem.
pub fn check(loaded: &Loaded, registry: &Registry) -> Vec<Error> {
    let config = &loaded.config;
    let capability = config.default_backend().and_then(|name| {
        let backend = &config.backends[name];
        let kind = backends::find(&backend.kind)?;
        let capability =
            (kind.capability)(backend.options.clone()).map_err(|error| error.in_backend(name))?;
        Ok((name, Arc::new(capability), backend.on_unsupported))
    });
    match capability {
        Ok((name, capability, on_unsupported)) => {
            let mut problems = check_registry(registry, name, on_unsupported, |_| capability.clone());
            problems.extend(check_configured(loaded, registry, &capability, on_unsupported));
            problems
        }
        Err(problem) => vec![problem],
    }
}

/// Every task and workflow of `registry` that asks for what the backend `name` cannot give.
pub(super) fn check_registry(
    registry: &Registry,
    name: &BackendName,
    on_unsupported: OnUnsupported,
    capability: impl Fn(&TaskDefinition) -> Arc<Capability>,
) -> Vec<Error> {
    let warned = Warned::default();
    let tasks = registry.tasks().filter_map(|task| {
        let refused =
            admit(task, &mut task.options.clone(), &capability(task), on_unsupported, &warned).err()?;
        Some(named(&refused, &format!("task `{}`, declared at {}", task.name, task.location), name))
    });
    let workflows = registry.workflows().filter_map(|workflow| {
        let any_task = registry.find(workflow.definition.steps.first()?.task.as_str())?;
        let refused = check_workflow(&workflow.definition, &capability(any_task)).err()?;
        let what = format!("workflow `{}`, declared at {}", workflow.definition.name, workflow.location);
        Some(named(&refused, &what, name))
    });
    tasks.chain(workflows).collect()
}

/// Refuses a workflow that needs what the backend cannot do.
pub(crate) fn check_workflow(workflow: &WorkflowDefinition, capability: &Capability) -> Result<()> {
    let any = |test: fn(&taskport_abstraction::StepDefinition) -> bool| workflow.steps.iter().any(test);
    let needs = [
        (true, Feature::Workflows),
        (any(|step| step.map.is_some()), Feature::WorkflowFanOut),
        (any(|step| step.concurrency.is_some()), Feature::WorkflowBound),
        (any(|step| step.when.is_some()), Feature::WorkflowConditions),
        (
            any(|step| step.on_failure == taskport_abstraction::workflow::OnFailure::Continue),
            Feature::WorkflowContinue,
        ),
        (any(|step| step.retry.is_some() || step.timeout.is_some()), Feature::WorkflowStepOptions),
        (workflow.timeout.is_some(), Feature::WorkflowTimeout),
    ];
    for (needed, feature) in needs {
        if needed {
            capability.require(feature, "run")?;
        }
    }
    match capability.workflow_steps_max {
        Some(steps_max) if workflow.steps.len() as u64 > steps_max => Err(Error::new(
            &codes::BAD_WORKFLOW,
            "run",
            format!("{} steps are more than the backend's limit, {steps_max}", workflow.steps.len()),
        )),
        _ => Ok(()),
    }
}

fn named(refused: &Error, what: &str, backend: &BackendName) -> Error {
    let error =
        Error::new(refused.code(), "check", format!("{what}: {}", refused.message())).in_backend(backend);
    match refused.remedy() {
        Some(remedy) => error.hint(remedy.to_owned()),
        None => error,
    }
}
