//! Runs of workflows.

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use futures_util::StreamExt;
use futures_util::stream::BoxStream;
use serde::Serialize;
use serde::de::DeserializeOwned;
use taskport_abstraction::backend::{Cancellation, RunRequest, RunStatus, Scope, Workflows};
use taskport_abstraction::text::format_duration;
use taskport_abstraction::{
    Backend, Error, Feature, JobState, Outcome, Payload, Result, RunId, WorkflowDefinition, codes,
};
use taskport_registry::{Registry, RegistryBuilder};

use crate::job::within;
use crate::port::{Taskport, check_workflow};
use crate::telemetry::spans;

/// What names a workflow to run: the name of a registered one, or a definition.
pub trait WorkflowSource {
    /// The definition, checked against the tasks of `registry`.
    ///
    /// # Errors
    /// `NotFound` (E-046) for an unknown name; `InvalidInput` (E-016) for a malformed definition.
    fn resolve(self, registry: &Registry) -> Result<Arc<WorkflowDefinition>>;
}

impl WorkflowSource for &str {
    fn resolve(self, registry: &Registry) -> Result<Arc<WorkflowDefinition>> {
        registry.workflow(self).map(|workflow| workflow.definition.clone())
    }
}

impl WorkflowSource for &WorkflowDefinition {
    fn resolve(self, registry: &Registry) -> Result<Arc<WorkflowDefinition>> {
        let tasks = registry.tasks().cloned().fold(RegistryBuilder::default(), RegistryBuilder::task);
        let checked = tasks.workflow(self.clone()).build()?;
        checked.workflow(&self.name).map(|workflow| workflow.definition.clone())
    }
}

impl Taskport {
    /// Starts a run of a workflow on the default backend and returns once the backend has taken responsibility for it.
    /// The run keeps the definition it started with.
    ///
    /// # Delivery
    /// After `Ok`, the run goes on whatever happens to this process; each step commits once.
    ///
    /// # Errors
    /// `NotFound` (E-046), `InvalidInput` (E-016) and `Unsupported` (E-005) before any I/O; `Unavailable`.
    ///
    /// # Cancel safety
    /// Dropping the future leaves the outcome unknown, exactly as a time-out does.
    pub async fn run<I: Serialize + ?Sized>(&self, workflow: impl WorkflowSource, input: &I) -> Result<Run> {
        let inner = self.inner();
        let backend = &self.default_backend().backend;
        let definition = self.with_defaults(workflow.resolve(&inner.registry)?);
        check_workflow(&definition, &backend.capabilities(Scope::default()))
            .map_err(|error| error.in_backend(backend.name()))?;
        let id = inner.ids.run_id(inner.clock.now());
        let request = RunRequest {
            id: id.clone(),
            definition: definition.clone(),
            input: Payload::encode(input)?,
            trace: spans::current_trace(),
        };
        let started = workflows(backend)?.start(vec![request]).await;
        let id =
            started.into_iter().next().unwrap_or(Ok(id)).map_err(|error| error.in_backend(backend.name()))?;
        Ok(Run { backend: backend.clone(), id })
    }

    /// The run called `id` on the default backend, whoever started it. Nothing is asked of the backend yet.
    pub fn existing_run(&self, id: RunId) -> Run {
        Run { backend: self.default_backend().backend.clone(), id }
    }

    /// The definition with what each step's task declares and the step does not say, since the backend knows no tasks.
    fn with_defaults(&self, definition: Arc<WorkflowDefinition>) -> Arc<WorkflowDefinition> {
        let mut filled = (*definition).clone();
        for step in &mut filled.steps {
            let Some(task) = self.registry().find(step.task.as_str()) else { continue };
            step.queue = step.queue.take().or_else(|| task.options.queue.clone());
            step.retry = step.retry.take().or_else(|| task.options.retry.clone());
            step.timeout = step.timeout.or(task.options.timeout_hard);
        }
        if filled == *definition { definition } else { Arc::new(filled) }
    }
}

/// One execution of a workflow. Dropping the handle leaves the run alone.
#[derive(Clone)]
pub struct Run {
    backend: Arc<dyn Backend>,
    id: RunId,
}

impl Run {
    /// Its id.
    pub fn id(&self) -> &RunId {
        &self.id
    }

    /// What is known of it now, each step with its times.
    ///
    /// # Errors
    /// `NotFound` (E-017); `Unavailable`.
    pub async fn status(&self) -> Result<RunStatus> {
        let found = workflows(&self.backend)?.get(&self.id).await.map_err(|error| self.named(error))?;
        found.ok_or_else(|| {
            self.named(Error::new(&codes::RUN_NOT_FOUND, "read", format!("there is no run `{}`", self.id)))
        })
    }

    /// Its state each time it changes, ending with its end. States in between may be left out.
    ///
    /// # Errors
    /// `Unsupported` (E-005) where the backend runs no workflows; `NotFound` (E-017) and `Unavailable` in the stream.
    pub fn watch(&self) -> Result<BoxStream<'static, Result<RunStatus>>> {
        Ok(workflows(&self.backend)?.watch(self.id.clone()))
    }

    /// Asks for it to end: steps that wait never start, those that run are asked to stop.
    ///
    /// # Errors
    /// `NotFound` (E-017); `Unavailable`.
    pub async fn cancel(&self) -> Result<Cancellation> {
        workflows(&self.backend)?.cancel(&self.id).await.map_err(|error| self.named(error))
    }

    /// Calls `each` with every state it is seen in, and returns the last one once it has ended, well or not.
    ///
    /// # Errors
    /// `NotFound` (E-017); `Unavailable`.
    ///
    /// # Cancel safety
    /// May be dropped and called again at any time.
    pub async fn progress(&self, mut each: impl FnMut(&RunStatus)) -> Result<RunStatus> {
        let mut states = self.watch()?;
        while let Some(status) = states.next().await {
            let status = status.map_err(|error| self.named(error))?;
            each(&status);
            if status.state.is_terminal() {
                return Ok(status);
            }
        }
        Err(self.named(Error::new(
            &codes::CLOSED,
            "wait",
            format!("the backend closed before run `{}` ended", self.id),
        )))
    }

    /// Its output, once it has ended.
    ///
    /// # Errors
    /// `JobFailed` (E-043; E-041 where it was cancelled) with the failure attached; `InvalidInput` (E-013) where the
    /// output is no `T`; as [`progress`](Self::progress).
    ///
    /// # Cancel safety
    /// May be dropped and called again at any time.
    pub async fn wait<T: DeserializeOwned>(&self) -> Result<T> {
        let status = self.progress(|_| {}).await?;
        output(&status).map_err(|error| self.named(error))
    }

    /// Its output, where it ends within `limit`. The run itself goes on.
    ///
    /// # Errors
    /// As [`wait`](Self::wait), and `Timeout` (E-012).
    ///
    /// # Cancel safety
    /// As [`wait`](Self::wait).
    pub async fn wait_timeout<T: DeserializeOwned>(&self, limit: Duration) -> Result<T> {
        within(limit, self.wait()).await.unwrap_or_else(|| {
            let message = format!("run `{}` has not ended within {}", self.id, format_duration(limit));
            let error = Error::new(&codes::WAIT_TIMEOUT, "wait", message);
            Err(self.named(error.hint("it goes on; wait again, or cancel it")))
        })
    }

    fn named(&self, error: Error) -> Error {
        error.in_backend(self.backend.name())
    }
}

/// The output of a run that succeeded, or the error that says how it ended.
///
/// # Errors
/// As [`Run::wait`].
pub fn output<T: DeserializeOwned>(status: &RunStatus) -> Result<T> {
    let ended = |how: String| match status.state {
        JobState::Cancelled => {
            Error::new(&codes::CANCELLED, "wait", format!("run `{}` was cancelled", status.id))
        }
        _ => Error::new(&codes::RUN_FAILED, "wait", format!("run `{}` {how}", status.id)),
    };
    match &status.outcome {
        Some(Outcome::Success(value)) => value.decode(),
        Some(Outcome::Failure(failure)) => {
            Err(ended(format!("failed: {failure}")).with_failure(failure.clone()))
        }
        None => Err(ended(format!("is {} and has no output", status.state))),
    }
}

fn workflows(backend: &Arc<dyn Backend>) -> Result<&dyn Workflows> {
    backend.workflows().ok_or_else(|| {
        let refused = backend.capabilities(Scope::default()).require(Feature::Workflows, "run").err();
        refused
            .unwrap_or_else(|| Error::new(&codes::UNSUPPORTED, "run", "the backend runs no workflows"))
            .in_backend(backend.name())
    })
}

impl fmt::Debug for Run {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Run({}:{})", self.backend.name(), self.id)
    }
}
