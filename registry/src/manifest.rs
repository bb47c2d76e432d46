//! What a program offers, written for other programs and people. The form is the same for the same definitions,
//! whatever order or file they were declared in.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use serde::{Deserialize, Serialize};
use serde_json::Value;
use taskport_abstraction::options::Start;
use taskport_abstraction::task::{Execution, Parameter};
use taskport_abstraction::text::format_duration;
use taskport_abstraction::{JobOptions, TaskDefinition, WorkflowDefinition};

use crate::catalogue::Registry;

/// The version of the form.
pub const MANIFEST_VERSION: u32 = 1;

/// Every task and workflow of a program, by name.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Manifest {
    /// The version of this form.
    pub version: u32,
    /// The tasks.
    pub tasks: Vec<ManifestTask>,
    /// The workflows, in the form in which they are written.
    pub workflows: Vec<WorkflowDefinition>,
}

/// One task.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct ManifestTask {
    /// The name calls use.
    pub name: String,
    /// What it does, in one line.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub summary: Option<String>,
    /// How attempts are run: `async`, `inline`, `blocking`, `isolated` or `remote`.
    pub execution: String,
    /// Whether running it twice does no harm.
    pub idempotent: bool,
    /// The parameters, in declared order.
    pub parameters: Vec<ManifestParameter>,
    /// Whether calls may give other arguments besides.
    pub extra_arguments: bool,
    /// The JSON Schema of the result.
    pub result: Value,
    /// What its jobs ask for where the submit does not say.
    pub options: ManifestOptions,
}

/// One parameter.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct ManifestParameter {
    /// Its name.
    pub name: String,
    /// Whether a call must give it.
    pub required: bool,
    /// The JSON Schema of its values.
    pub schema: Value,
}

/// The declared options; durations are text such as `30s`.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct ManifestOptions {
    /// The line its jobs wait in.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub queue: Option<String>,
    /// From 0 to 9, 9 first.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub priority: Option<u8>,
    /// How long after the submit a job may start.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub delay: Option<String>,
    /// How long after the submit a job that has not started is given up.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub expires_in: Option<String>,
    /// How long an attempt may take before it is stopped.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub timeout: Option<String>,
    /// How long an attempt may take before it is asked to stop.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub soft_timeout: Option<String>,
    /// The largest number of attempts.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub max_attempts: Option<u32>,
    /// The delay before each next attempt.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub backoff: Option<String>,
    /// How long after the submit no attempt starts.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub max_age: Option<String>,
    /// Jobs of one key run in submit order.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub ordering_key: Option<Arc<str>>,
    /// How many jobs of one key run at once.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub concurrency: Option<ManifestConcurrency>,
    /// How many jobs of one key start in a period.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub rate_limit: Option<ManifestRateLimit>,
    /// Words to find its jobs by.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub tags: Vec<Arc<str>>,
    /// Facts carried with its jobs.
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    pub metadata: BTreeMap<Arc<str>, Arc<str>>,
}

/// A bound on how many jobs run at once.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct ManifestConcurrency {
    /// What is counted together.
    pub key: Arc<str>,
    /// How many may run at once.
    pub max: u32,
}

/// A bound on how many jobs start in a period.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct ManifestRateLimit {
    /// What is counted together.
    pub key: Arc<str>,
    /// How many may start.
    pub count: u32,
    /// In how long.
    pub period: String,
}

impl Manifest {
    pub(crate) fn of(registry: &Registry) -> Self {
        Self {
            version: MANIFEST_VERSION,
            tasks: registry.tasks().map(ManifestTask::of).collect(),
            workflows: registry.workflows().map(|workflow| (*workflow.definition).clone()).collect(),
        }
    }
}

impl ManifestTask {
    fn of(task: &TaskDefinition) -> Self {
        Self {
            name: task.name.to_string(),
            summary: task.summary.clone(),
            execution: execution(task.execution).to_owned(),
            idempotent: task.idempotent,
            parameters: task.parameters.iter().map(ManifestParameter::of).collect(),
            extra_arguments: task.extra_arguments,
            result: task.result_schema.clone(),
            options: ManifestOptions::of(&task.options),
        }
    }
}

impl ManifestParameter {
    fn of(parameter: &Parameter) -> Self {
        let Parameter { name, schema, required } = parameter;
        Self { name: name.to_string(), required: *required, schema: schema.clone() }
    }
}

impl ManifestOptions {
    /// What belongs to one job (a key, a parent, a trace, a point in time) is in no declaration.
    fn of(options: &JobOptions) -> Self {
        let text = |duration: Option<Duration>| duration.map(format_duration);
        let after_submit = |start: Option<Start>| match start {
            Some(Start::In(delay)) => Some(format_duration(delay)),
            Some(Start::At(_)) | None => None,
        };
        let retry = options.retry.as_ref();
        Self {
            queue: options.queue.as_ref().map(ToString::to_string),
            priority: options.priority.map(u8::from),
            delay: after_submit(options.start),
            expires_in: after_submit(options.expiry),
            timeout: text(options.timeout_hard),
            soft_timeout: text(options.timeout_soft),
            max_attempts: retry.map(|retry| retry.attempts_max),
            backoff: retry.map(|retry| retry.backoff.to_string()),
            max_age: text(retry.and_then(|retry| retry.age_max)),
            ordering_key: options.ordering_key.clone(),
            concurrency: options
                .concurrency
                .as_ref()
                .map(|limit| ManifestConcurrency { key: limit.key.clone(), max: limit.max }),
            rate_limit: options.rate_limit.as_ref().map(|limit| ManifestRateLimit {
                key: limit.key.clone(),
                count: limit.count,
                period: format_duration(limit.period),
            }),
            tags: options.tags.clone(),
            metadata: options.metadata.clone(),
        }
    }
}

fn execution(execution: Execution) -> &'static str {
    match execution {
        Execution::Async => "async",
        Execution::Inline => "inline",
        Execution::Blocking => "blocking",
        Execution::Isolated => "isolated",
        Execution::Remote => "remote",
    }
}
