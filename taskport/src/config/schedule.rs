use std::time::Duration;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::Value;
use taskport_abstraction::options::Priority;
use taskport_abstraction::schedule::{CatchUp, ScheduleRule};
use taskport_abstraction::{
    ArgumentsBuilder, Call, Error, Payload, QueueName, Result, ScheduleName, TaskName, Timestamp,
    WithOptions, codes,
};

use super::problem::Problem;
use super::units::optional_duration;
use crate::port::Schedule;

/// The metadata that tells the jobs, and the schedules, of the configuration from others.
const SOURCE: (&str, &str) = ("schedule_source", "configuration");

/// A schedule that is put when a worker starts.
#[derive(Debug, Clone, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct ScheduleConfig {
    /// When it ticks: `minute hour day-of-month month day-of-week`, six fields with seconds first, or a nickname such as
    /// `@daily`. Either this or `every` is required. Since v0.1.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub cron: Option<String>,
    /// The period at whose multiples it ticks, such as `5m`; at least `100ms`. Since v0.1.
    #[serde(default, with = "optional_duration", skip_serializing_if = "Option::is_none")]
    #[schemars(with = "Option<String>")]
    pub every: Option<Duration>,
    /// The IANA time zone of `cron`, such as `Europe/Berlin`. Default: UTC. Since v0.1.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub time_zone: Option<String>,
    /// A moment at which `every` ticks, such as `2026-01-31T09:30:00Z`. Default: the start of 1970. Since v0.1.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(with = "Option<String>")]
    pub anchor: Option<Timestamp>,
    /// The task of its jobs. Required. Since v0.1.
    #[schemars(with = "String")]
    pub task: TaskName,
    /// The arguments of its jobs: a list by position, or a table by name. Default: none. Since v0.1.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub args: Option<Value>,
    /// What becomes of ticks that could not fire in time: `latest` fires the newest of them, `skip` none, `all:N` the
    /// newest N. Default: `latest`. Since v0.1.
    #[serde(default = "latest")]
    pub catch_up: String,
    /// Each job may start up to so long after its tick, such as `10m`. Default: no delay. Since v0.1.
    #[serde(default, with = "optional_duration", skip_serializing_if = "Option::is_none")]
    #[schemars(with = "Option<String>")]
    pub jitter: Option<Duration>,
    /// No tick is before this moment. Default: no limit. Since v0.1.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(with = "Option<String>")]
    pub starts_at: Option<Timestamp>,
    /// No tick is at this moment or after it. Default: no limit. Since v0.1.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(with = "Option<String>")]
    pub ends_at: Option<Timestamp>,
    /// The line its jobs wait in. Default: that of the task. Since v0.1.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(with = "Option<String>")]
    pub queue: Option<QueueName>,
    /// From 0 to 9, 9 first. Default: that of the task. Since v0.1.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(with = "Option<u8>", range(max = 9))]
    pub priority: Option<Priority>,
    /// Words to find its jobs by. Default: none. Since v0.1.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub tags: Vec<String>,
}

fn latest() -> String {
    "latest".to_owned()
}

impl ScheduleConfig {
    /// The schedule as code would write it.
    ///
    /// # Errors
    /// `InvalidInput` (E-002) for arguments that are neither a list nor a table.
    pub(crate) fn schedule(&self, name: &ScheduleName) -> Result<Schedule<Value>> {
        let mut call = Call::with_parts(self.task.clone(), self.arguments(), Default::default())
            .metadata(SOURCE.0, SOURCE.1)
            .with(|options| {
                options.queue = self.queue.clone();
                options.priority = self.priority;
            });
        for tag in &self.tags {
            call = call.tag(tag.clone());
        }
        let rule = match (&self.cron, self.every) {
            (Some(expression), _) => {
                ScheduleRule::Cron { expression: expression.clone(), time_zone: self.time_zone.clone() }
            }
            (None, period) => ScheduleRule::Every { period: period.unwrap_or_default(), anchor: self.anchor },
        };
        let mut schedule = Schedule::of(name.as_str(), rule, call)
            .catch_up(parse_catch_up(&self.catch_up).unwrap_or_default())
            .jitter(self.jitter.unwrap_or_default());
        if let Some(moment) = self.starts_at {
            schedule = schedule.starts_at(moment);
        }
        if let Some(moment) = self.ends_at {
            schedule = schedule.ends_at(moment);
        }
        Ok(schedule)
    }

    fn arguments(&self) -> Result<Payload> {
        let builder = ArgumentsBuilder::default();
        let builder = match &self.args {
            None => builder,
            Some(Value::Array(positional)) => {
                positional.iter().try_fold(builder, ArgumentsBuilder::positional)?
            }
            Some(Value::Object(named)) => {
                named.iter().try_fold(builder, |builder, (name, value)| builder.named(name, value))?
            }
            Some(_) => {
                return Err(Error::new(
                    &codes::BAD_ARGUMENTS,
                    "schedule",
                    "`args` is neither a list nor a table",
                ));
            }
        };
        Ok(builder.finish())
    }

    /// What types cannot say.
    pub(super) fn check(&self, name: &str) -> Result<(), Problem> {
        let wrong = |key: &str, message: &str| Err(Problem::value(&["schedules", name, key], message));
        match (&self.cron, &self.every) {
            (None, None) => return wrong("cron", "is missing, and so is `every`"),
            (Some(_), Some(_)) => {
                return wrong("every", "is there beside `cron`, and a schedule has one rule");
            }
            (None, Some(_)) if self.time_zone.is_some() => {
                return wrong("time_zone", "is there beside `every`, and an interval has no time zone");
            }
            (Some(_), None) if self.anchor.is_some() => {
                return wrong("anchor", "is there beside `cron`, which needs none");
            }
            _ => {}
        }
        match parse_catch_up(&self.catch_up) {
            Ok(_) => Ok(()),
            Err(message) => wrong("catch_up", &message),
        }
    }
}

/// Whether jobs with these options come from a schedule of the configuration.
#[cfg(feature = "cli")]
pub(crate) fn is_configured(options: &taskport_abstraction::JobOptions) -> bool {
    options.metadata.get(SOURCE.0) == Some(&std::sync::Arc::from(SOURCE.1))
}

/// Reads `latest`, `skip` or `all:N`.
pub(crate) fn parse_catch_up(text: &str) -> Result<CatchUp, String> {
    let all = text.strip_prefix("all:").and_then(|max| max.parse().ok());
    match (text, all) {
        ("latest", _) => Ok(CatchUp::Latest),
        ("skip", _) => Ok(CatchUp::Skip),
        (_, Some(max)) => Ok(CatchUp::All { max }),
        _ => Err("is none of `latest`, `skip` and `all:N`, such as `all:10`".to_owned()),
    }
}
