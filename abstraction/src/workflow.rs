//! Workflow definitions: a static graph of steps, the same from a Rust builder, YAML or JSON.

mod binding;
mod check;
mod condition;

use std::time::Duration;

use serde::{Deserialize, Serialize};
use serde_json::Value;

pub use self::binding::{Binding, Path, Source};
pub use self::check::{Graph, Node, Problem};
pub use self::condition::{CONDITION_BYTES_MAX, CONDITION_DEPTH_MAX, CONDITION_WORK_MAX, Condition, Fact};
use crate::id::{QueueName, StepId, TaskName};
use crate::retry::RetryPolicy;

/// The version of the stored form.
pub const DEFINITION_VERSION: u32 = 1;
/// The largest number of steps of a definition.
pub const STEPS_MAX: usize = 100_000;
/// The largest number of elements of a fan-out.
pub const FAN_OUT_MAX: usize = 1_000_000;

/// A named graph of steps.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct WorkflowDefinition {
    /// The version of this form.
    #[serde(default = "current_version")]
    pub version: u32,
    /// The workflow's name.
    pub name: String,
    /// What it does, in one line.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub summary: Option<String>,
    /// How long a run may take.
    #[serde(default, with = "duration_text", skip_serializing_if = "Option::is_none")]
    pub timeout: Option<Duration>,
    /// The steps, in the order in which those that are ready together start.
    pub steps: Vec<StepDefinition>,
    /// The run's output: a binding. Left out, it is the result of the last step.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub output: Option<Value>,
}

fn current_version() -> u32 {
    DEFINITION_VERSION
}

/// One node of a workflow.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct StepDefinition {
    /// Its name.
    pub id: StepId,
    /// The task it calls.
    pub task: TaskName,
    /// The arguments: an object of bindings by name, or a list of bindings by position.
    #[serde(default = "no_arguments", skip_serializing_if = "is_no_arguments")]
    pub args: Value,
    /// A binding to a list: the task is called once for each element, which the arguments see as `$item`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub map: Option<Value>,
    /// How many elements of the list run at once. Left out, as many as there are workers.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub concurrency: Option<u32>,
    /// The steps that must have ended before, besides those its bindings name.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub after: Vec<StepId>,
    /// A CEL expression over `input` and `steps`; where it is false, the step is skipped.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub when: Option<String>,
    /// What a failure of this step means for the run.
    #[serde(default, skip_serializing_if = "is_fail")]
    pub on_failure: OnFailure,
    /// The line its jobs wait in.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub queue: Option<QueueName>,
    /// When a failed attempt is tried again.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub retry: Option<RetryPolicy>,
    /// How long one attempt may take.
    #[serde(default, with = "duration_text", skip_serializing_if = "Option::is_none")]
    pub timeout: Option<Duration>,
}

fn no_arguments() -> Value {
    Value::Object(serde_json::Map::new())
}

fn is_no_arguments(args: &Value) -> bool {
    args.as_object().is_some_and(serde_json::Map::is_empty)
}

fn is_fail(on_failure: &OnFailure) -> bool {
    *on_failure == OnFailure::Fail
}

/// What a failure of a step means for the run.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum OnFailure {
    /// The run fails; steps that wait never start.
    #[default]
    Fail,
    /// The run goes on; the step has no result, and a fan-out leaves the element out.
    Continue,
}

impl WorkflowDefinition {
    /// A workflow without steps, to be filled with [`step`](Self::step).
    pub fn new(name: impl Into<String>) -> Self {
        Self {
            version: DEFINITION_VERSION,
            name: name.into(),
            summary: None,
            timeout: None,
            steps: Vec::new(),
            output: None,
        }
    }

    /// Adds a step.
    #[must_use]
    pub fn step(mut self, step: StepDefinition) -> Self {
        self.steps.push(step);
        self
    }

    /// Sets how long a run may take.
    #[must_use]
    pub fn timeout(mut self, timeout: Duration) -> Self {
        self.timeout = Some(timeout);
        self
    }

    /// Sets the binding that is the run's output.
    #[must_use]
    pub fn output(mut self, binding: impl Into<Value>) -> Self {
        self.output = Some(binding.into());
        self
    }
}

impl StepDefinition {
    /// A step that calls `task` without arguments.
    pub fn new(id: StepId, task: TaskName) -> Self {
        Self {
            id,
            task,
            args: no_arguments(),
            map: None,
            concurrency: None,
            after: Vec::new(),
            when: None,
            on_failure: OnFailure::Fail,
            queue: None,
            retry: None,
            timeout: None,
        }
    }

    /// Binds the parameter `name`: a literal, or `$input.x`, `$steps.extract.output.path`, `$item`, `$index`.
    #[must_use]
    pub fn arg(mut self, name: &str, binding: impl Into<Value>) -> Self {
        if let Value::Object(args) = &mut self.args {
            args.insert(name.to_owned(), binding.into());
        }
        self
    }

    /// Calls the task once for each element of the list `binding` stands for.
    #[must_use]
    pub fn map(mut self, binding: impl Into<Value>) -> Self {
        self.map = Some(binding.into());
        self
    }

    /// Bounds how many elements run at once.
    #[must_use]
    pub fn concurrency(mut self, max: u32) -> Self {
        self.concurrency = Some(max);
        self
    }

    /// Waits for `step` to end first.
    #[must_use]
    pub fn after(mut self, step: StepId) -> Self {
        self.after.push(step);
        self
    }

    /// Skips the step where the CEL expression is false.
    #[must_use]
    pub fn when(mut self, condition: impl Into<String>) -> Self {
        self.when = Some(condition.into());
        self
    }

    /// Lets the run go on when this step fails.
    #[must_use]
    pub fn continue_on_failure(mut self) -> Self {
        self.on_failure = OnFailure::Continue;
        self
    }

    /// Sets the line its jobs wait in.
    #[must_use]
    pub fn queue(mut self, queue: QueueName) -> Self {
        self.queue = Some(queue);
        self
    }

    /// Sets when a failed attempt is tried again.
    #[must_use]
    pub fn retry(mut self, retry: RetryPolicy) -> Self {
        self.retry = Some(retry);
        self
    }

    /// Sets how long one attempt may take.
    #[must_use]
    pub fn timeout(mut self, timeout: Duration) -> Self {
        self.timeout = Some(timeout);
        self
    }
}

/// An optional duration written as text such as `30s`.
mod duration_text {
    use std::time::Duration;

    use serde::{Deserialize, Deserializer, Serializer};

    use crate::text::{format_duration, parse_duration};

    pub(super) fn serialize<S: Serializer>(
        duration: &Option<Duration>,
        serializer: S,
    ) -> Result<S::Ok, S::Error> {
        match duration {
            Some(duration) => serializer.serialize_str(&format_duration(*duration)),
            None => serializer.serialize_none(),
        }
    }

    pub(super) fn deserialize<'de, D: Deserializer<'de>>(
        deserializer: D,
    ) -> Result<Option<Duration>, D::Error> {
        let text = Option::<String>::deserialize(deserializer)?;
        text.map(|text| parse_duration(&text).map_err(serde::de::Error::custom)).transpose()
    }
}
