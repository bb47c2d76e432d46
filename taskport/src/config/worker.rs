use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::time::Duration;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use taskport_abstraction::QueueName;

use super::units::{Rate, duration, optional_duration, optional_size};

/// What the workers of this program do.
#[derive(Debug, Clone, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct WorkerConfig {
    /// The worker's name, unique among live workers. Default: host name, process id and a random part. Since v0.1.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub name: Option<String>,
    /// The queues it serves, in order of preference. Default: `default` and every queue that a registered task or
    /// workflow step names. A queue nobody serves keeps its jobs waiting. Since v0.1.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(with = "Option<Vec<String>>")]
    pub queues: Option<Vec<QueueName>>,
    /// How many attempts run at once. From 1 to 10000, default 16. Since v0.1.
    #[schemars(range(min = 1, max = 10_000))]
    pub concurrency: usize,
    /// How many jobs a worker may hold beyond those that run. From 0 to 100000, default 0. More saves round trips for
    /// many short jobs. A job that is held counts as running: other workers, a pause of its queue and its expiry no
    /// longer reach it. Since v0.1.
    #[schemars(range(max = 100_000))]
    pub prefetch: usize,
    /// How long a job stays with a worker that gives no sign of life. A duration from `1s` to `1d`, default `30s`.
    /// Shorter runs the jobs of a dead worker again sooner; too short runs jobs twice on a busy machine. Since v0.1.
    #[serde(with = "duration")]
    #[schemars(with = "String")]
    pub lease: Duration,
    /// How long running attempts may go on after the worker is told to stop; the rest is handed back without using up
    /// an attempt. A duration from `0s` to `1d`, default `30s`. Since v0.1.
    #[serde(with = "duration")]
    #[schemars(with = "String")]
    pub grace: Duration,
    /// Where a worker serves `/metrics` for Prometheus, `/healthz` and `/readyz`: an address and a port, such as
    /// `127.0.0.1:9464`; port 0 takes a free one and logs it. Default: nowhere. Since v0.1.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(with = "Option<String>")]
    pub metrics: Option<SocketAddr>,
    /// Whether `metrics` may be an address that other machines reach. Default: false, since nothing asks who is there and
    /// the page names tasks and queues. Since v0.1.
    pub metrics_public: bool,
    /// Resource profiles, by name: what a class of tasks may use. A task takes the first profile, by name, whose
    /// `tasks` match. Since v0.1.
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    pub profiles: BTreeMap<String, ProfileConfig>,
}

impl Default for WorkerConfig {
    fn default() -> Self {
        Self {
            name: None,
            queues: None,
            concurrency: 16,
            prefetch: 0,
            lease: Duration::from_secs(30),
            grace: Duration::from_secs(30),
            metrics: None,
            metrics_public: false,
            profiles: BTreeMap::new(),
        }
    }
}

/// What a class of tasks may use.
#[derive(Debug, Clone, Default, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct ProfileConfig {
    /// The tasks of the class; `*` stands for any run of characters. Required, at least one. Since v0.1.
    pub tasks: Vec<String>,
    /// How many attempts of the class run at once in one worker. From 1 to 10000; default: as many as the worker's
    /// `concurrency`. Since v0.1.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 1, max = 10_000))]
    pub concurrency: Option<usize>,
    /// Where attempts run: `none` as the task declares, `process` in a child process that is killed at its limits.
    /// Default: `none`. Since v0.1.
    pub isolation: Isolation,
    /// How much memory the child process of an attempt may use. A size such as `512MiB`, at least `16MiB`; default: no
    /// limit. Needs `isolation = "process"`; an attempt past it is killed. Since v0.1.
    #[serde(with = "optional_size", skip_serializing_if = "Option::is_none")]
    #[schemars(with = "Option<String>")]
    pub memory: Option<u64>,
    /// How long one attempt may take where its job does not say less. A duration such as `10m`, more than zero;
    /// default: no limit. Since v0.1.
    #[serde(with = "optional_duration", skip_serializing_if = "Option::is_none")]
    #[schemars(with = "Option<String>")]
    pub time_limit: Option<Duration>,
    /// How many attempts of the class start in a period in one worker, such as `100/s` or `5/10m`. Default: no limit.
    /// Since v0.1.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(with = "Option<String>")]
    pub rate_limit: Option<Rate>,
}

/// Where the attempts of a class of tasks run.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Isolation {
    /// As the task declares.
    #[default]
    None,
    /// In a child process.
    Process,
}
