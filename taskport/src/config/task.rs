use std::collections::BTreeMap;
use std::fmt;
use std::path::PathBuf;
use std::time::Duration;

use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde::de::{Deserializer, SeqAccess, Visitor};
use serde::{Deserialize, Serialize};
use taskport_abstraction::options::{ConcurrencyLimit, Priority, RateLimit};
use taskport_abstraction::{Backoff, JobOptions, QueueName, RetryPolicy, TaskName};

use super::secret::{Secret, SecretUrl};
use super::units::{Rate, from_text, optional_duration, size};

/// A task that needs no code.
#[derive(Debug, Clone, Serialize, JsonSchema)]
#[schemars(extend("unevaluatedProperties" = false))]
pub struct TaskConfig {
    /// What its jobs ask for.
    #[serde(flatten)]
    pub options: TaskOptions,
    /// What it does.
    #[serde(flatten)]
    pub action: Action,
}

/// What the jobs of a configured task ask for where the submit does not say.
#[derive(Debug, Clone, Default, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct TaskOptions {
    /// What the task does, in one line. Since v0.1.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub summary: Option<String>,
    /// The line its jobs wait in. Default: `default`. Since v0.1.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(with = "Option<String>")]
    pub queue: Option<QueueName>,
    /// From 0 to 9, 9 first. Default: 4. Since v0.1.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(with = "Option<u8>", range(max = 9))]
    pub priority: Option<Priority>,
    /// How long one attempt may take before it is stopped, such as `30s`, more than zero. Default: no limit for a
    /// command, `1m` for a request. Since v0.1.
    #[serde(with = "optional_duration", skip_serializing_if = "Option::is_none")]
    #[schemars(with = "Option<String>")]
    pub timeout: Option<Duration>,
    /// How many of its jobs run at once, over all workers. At least 1; default: no limit. Since v0.1.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 1))]
    pub concurrency: Option<u32>,
    /// At what rate its jobs start, over all workers, such as `100/1m`. Default: no limit. Since v0.1.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(with = "Option<String>")]
    pub rate_limit: Option<Rate>,
    /// The largest number of attempts, the first included. At least 1; default 5. An attempt that died is repeated, so
    /// what the task does should be harmless to repeat. Since v0.1.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 1))]
    pub max_attempts: Option<u32>,
    /// The delay before each next attempt, such as `fixed(5s)`, `linear(5s, max 1m)` or
    /// `exponential(1s, max 5m, jitter)`. Default: `exponential(1s, max 10m, jitter)`. Since v0.1.
    #[serde(deserialize_with = "from_text", skip_serializing_if = "Option::is_none")]
    #[schemars(with = "Option<String>")]
    pub backoff: Option<Backoff>,
    /// Whether running it twice does no harm. Default: false. Since v0.1.
    pub idempotent: bool,
}

impl TaskOptions {
    /// The keys of this part of a `[tasks.NAME]` table.
    pub(super) const KEYS: [&'static str; 9] = [
        "summary",
        "queue",
        "priority",
        "timeout",
        "concurrency",
        "rate_limit",
        "max_attempts",
        "backoff",
        "idempotent",
    ];

    /// The options as jobs of the task carry them. Its name is the key of its limits.
    pub(crate) fn job_options(&self, task: &TaskName) -> JobOptions {
        let key = || task.as_str().into();
        let retry = (self.max_attempts.is_some() || self.backoff.is_some()).then(|| {
            let default = RetryPolicy::default();
            RetryPolicy {
                attempts_max: self.max_attempts.unwrap_or(default.attempts_max),
                backoff: self.backoff.clone().unwrap_or(default.backoff),
                age_max: None,
            }
        });
        JobOptions {
            queue: self.queue.clone(),
            priority: self.priority,
            timeout_hard: self.timeout,
            concurrency: self.concurrency.map(|max| ConcurrencyLimit { key: key(), max }),
            rate_limit: self.rate_limit.map(|rate| RateLimit {
                key: key(),
                count: rate.count,
                period: rate.period,
            }),
            retry,
            ..JobOptions::default()
        }
    }
}

/// What a configured task does.
#[derive(Debug, Clone, Serialize, JsonSchema)]
#[serde(tag = "kind", rename_all = "snake_case")]
#[schemars(tag = "kind", rename_all = "snake_case")]
pub enum Action {
    /// Runs a command.
    Exec(ExecAction),
    /// Sends a request.
    Http(HttpAction),
}

impl Action {
    /// The kinds a configuration may name.
    pub(super) const KINDS: [&'static str; 2] = ["exec", "http"];
}

/// A command. The arguments of the call come as JSON on its standard input, never through a shell: the object of named
/// arguments, or the list of positional ones.
#[derive(Debug, Clone, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct ExecAction {
    /// The program and its fixed arguments, such as `["convert", "-"]`; with `shell = true`, one text for `/bin/sh -c`.
    /// Required. Since v0.1.
    pub command: CommandLine,
    /// Whether `command` is a text for the shell. Default: false, so that nothing is expanded. Since v0.1.
    #[serde(default)]
    pub shell: bool,
    /// Variables set for the command, besides those of the worker. A value may be `env:NAME` or `file:PATH`.
    /// Default: none. Since v0.1.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub env: BTreeMap<String, Secret>,
    /// The directory it runs in, relative to the configuration file. Default: the worker's. Since v0.1.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub cwd: Option<PathBuf>,
    /// What its standard output is: `text`, or `json` that becomes the result as it is. Default: `text`. Since v0.1.
    #[serde(default)]
    pub output: OutputFormat,
    /// The largest standard output. A size such as `4MiB`; default `1MiB`. More than that fails the job. Since v0.1.
    #[serde(with = "size", default = "output_bytes_max")]
    #[schemars(with = "String")]
    pub output_max: u64,
}

/// A request. The arguments of the call go as a JSON body, or as query parameters for `GET`, `HEAD` and `DELETE`.
///
/// Each request carries the job's id as `Idempotency-Key`, so that the server can tell a repeated attempt.
#[derive(Debug, Clone, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct HttpAction {
    /// The method: `GET`, `HEAD`, `POST`, `PUT`, `PATCH` or `DELETE`. Default: `POST`. Since v0.1.
    #[serde(default)]
    pub method: HttpMethod,
    /// The address, `http` or `https`; it never comes from a job. May be `env:NAME` or `file:PATH`. Required.
    /// Since v0.1.
    pub url: SecretUrl,
    /// Headers. A value may be `env:NAME` or `file:PATH`. Default: none. Since v0.1.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub headers: BTreeMap<String, Secret>,
    /// What the answer is: `text`, or `json` that becomes the result as it is. Default: `json`. Since v0.1.
    #[serde(default = "json_output")]
    pub output: OutputFormat,
    /// The largest answer. A size such as `4MiB`; default `1MiB`. More than that fails the job. Since v0.1.
    #[serde(with = "size", default = "output_bytes_max")]
    #[schemars(with = "String")]
    pub output_max: u64,
}

fn output_bytes_max() -> u64 {
    1 << 20
}

fn json_output() -> OutputFormat {
    OutputFormat::Json
}

/// What a task's output is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum OutputFormat {
    /// Text, without the line break at its end.
    #[default]
    Text,
    /// One JSON value.
    Json,
}

/// The method of a request.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "UPPERCASE")]
#[expect(missing_docs, reason = "the names are HTTP's")]
pub enum HttpMethod {
    Get,
    Head,
    #[default]
    Post,
    Put,
    Patch,
    Delete,
}

/// A program with its arguments, or a text for the shell.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(untagged)]
pub enum CommandLine {
    /// The program and its arguments.
    Program(Vec<String>),
    /// A text for the shell.
    Shell(String),
}

impl<'de> Deserialize<'de> for CommandLine {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Written;
        impl<'de> Visitor<'de> for Written {
            type Value = CommandLine;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a list such as [\"convert\", \"-\"]")
            }
            fn visit_str<E>(self, text: &str) -> Result<CommandLine, E> {
                Ok(CommandLine::Shell(text.to_owned()))
            }
            fn visit_seq<A: SeqAccess<'de>>(self, mut seq: A) -> Result<CommandLine, A::Error> {
                let mut words = Vec::new();
                while let Some(word) = seq.next_element()? {
                    words.push(word);
                }
                Ok(CommandLine::Program(words))
            }
        }
        deserializer.deserialize_any(Written)
    }
}

impl JsonSchema for CommandLine {
    fn schema_name() -> std::borrow::Cow<'static, str> {
        "CommandLine".into()
    }

    fn json_schema(_: &mut SchemaGenerator) -> Schema {
        json_schema!({
            "oneOf": [
                { "type": "array", "items": { "type": "string" }, "minItems": 1 },
                { "type": "string", "minLength": 1 },
            ]
        })
    }
}
