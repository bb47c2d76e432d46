//! A call of a task as it is spelled out on the command line.

use std::fmt::Display;
use std::str::FromStr;
use std::time::Duration;

use clap::Args;

use super::session::Session;
use super::value;
use crate::abstraction::options::{OnConflict, Unique};
use crate::abstraction::typed::CallParts;
use crate::abstraction::{Backoff, BatchId, QueueName, RetryPolicy, TaskName, Timestamp, WithOptions};
use crate::config::Rate;
use crate::{Call, JobId, Result};

/// What the task is called with.
#[derive(Debug, Args)]
pub(super) struct Arguments {
    /// Arguments, as NAME=JSON or as JSON by position; what is no JSON is text
    #[arg(value_name = "ARG", conflicts_with = "args")]
    arguments: Vec<String>,
    /// All arguments as one JSON object (by name) or list (by position); @FILE reads a file, @- standard input
    #[arg(long, value_name = "JSON")]
    args: Option<String>,
}

impl Arguments {
    /// The call of a task that the session knows.
    pub(super) async fn call(self, task: TaskName, options: Options, session: &Session) -> Result<Call> {
        let arguments = value::arguments(self.args.as_deref(), &self.arguments)?;
        // Known here, so that a call that sets one part of a declared policy keeps the others.
        let declared = session.port().await?.registry().task(task.as_str())?.options.retry.clone();
        let parts = CallParts::of_declared(declared.clone());
        Ok(options.apply(Call::with_parts(task, Ok(arguments), parts), declared))
    }
}

/// What the job asks for. It comes last in a command: its heading stands over all that follows.
#[derive(Debug, Args)]
#[command(next_help_heading = "Job options")]
pub(super) struct Options {
    /// The id the job is to have; a repeated submit of one id is the same job
    #[arg(long, value_parser = value::name::<JobId>)]
    id: Option<JobId>,
    /// The queue to wait in
    #[arg(long, value_parser = value::name::<QueueName>)]
    queue: Option<QueueName>,
    /// From 0 to 9, 9 first
    #[arg(long, value_name = "LEVEL", value_parser = clap::value_parser!(u8).range(0..=9))]
    priority: Option<u8>,
    /// Start no earlier than so long from now, such as 5m
    #[arg(long, value_name = "DURATION", allow_hyphen_values = true, value_parser = value::duration, conflicts_with = "at")]
    delay: Option<Duration>,
    /// Start no earlier than at this moment, such as 2026-01-31T09:30:00Z
    #[arg(long, value_name = "TIME", value_parser = str::parse::<Timestamp>)]
    at: Option<Timestamp>,
    /// Give the job up where it has not started so long from now
    #[arg(long, value_name = "DURATION", allow_hyphen_values = true, value_parser = value::duration, conflicts_with = "expires_at")]
    expires_in: Option<Duration>,
    /// Give the job up where it has not started at this moment
    #[arg(long, value_name = "TIME", value_parser = str::parse::<Timestamp>)]
    expires_at: Option<Timestamp>,
    /// Ask an attempt that takes longer to stop
    #[arg(long, value_name = "DURATION", value_parser = value::duration)]
    timeout_soft: Option<Duration>,
    /// Stop an attempt that takes longer
    #[arg(long, value_name = "DURATION", value_parser = value::duration)]
    timeout_hard: Option<Duration>,
    /// The largest number of attempts, the first included
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u32).range(1..))]
    max_attempts: Option<u32>,
    /// The delays between attempts: fixed(5s), linear(5s, max 1m) or exponential(1s, max 5m, jitter)
    #[arg(long, value_parser = str::parse::<Backoff>)]
    backoff: Option<Backoff>,
    /// Start no attempt later than so long after the submit
    #[arg(long, value_name = "DURATION", value_parser = value::duration)]
    retry_age_max: Option<Duration>,
    /// Keep one job per key; a second submit of the key returns the first job
    #[arg(long, value_name = "KEY")]
    idempotency_key: Option<String>,
    /// How long the key stands for one job: while-live, forever, or a period such as 1h
    #[arg(long, requires = "idempotency_key", value_parser = unique, default_value = "while-live", hide_default_value = true)]
    unique: Unique,
    /// What happens to a second submit of the key: keep the first job, or replace one that waits
    #[arg(long, requires = "idempotency_key", value_name = "keep|replace|ignore", value_parser = on_conflict, default_value = "keep", hide_default_value = true)]
    on_conflict: OnConflict,
    /// Run jobs of one key in submit order
    #[arg(long, value_name = "KEY")]
    ordering_key: Option<String>,
    /// Take the job from a key's share of a queue in fair order, such as customer-7, or customer-7:3 with a weight
    #[arg(long, value_name = "KEY[:WEIGHT]", value_parser = share)]
    fair_key: Option<(String, u32)>,
    /// Run at most so many jobs of a key at once, such as customer-7=2
    #[arg(long, value_name = "KEY=N", value_parser = keyed::<u32>)]
    concurrency_key: Option<(String, u32)>,
    /// Start jobs of a key at this rate, such as mail-server=100/1m
    #[arg(long, value_name = "KEY=COUNT/PERIOD", value_parser = keyed::<Rate>)]
    rate: Option<(String, Rate)>,
    /// Wait until no newer call of a key has come for so long, such as index-7=5s; only the newest runs
    #[arg(long, value_name = "KEY=PERIOD", value_parser = keyed_period, conflicts_with_all = ["idempotency_key", "throttle", "delay", "at"])]
    debounce: Option<(String, Duration)>,
    /// Take the first call of a key in each period, such as report-7=1h, and ignore the others
    #[arg(long, value_name = "KEY=PERIOD", value_parser = keyed_period, conflicts_with = "idempotency_key")]
    throttle: Option<(String, Duration)>,
    /// The open batch the job joins
    #[arg(long, value_name = "BATCH", value_parser = value::name::<BatchId>)]
    batch: Option<BatchId>,
    /// A word to find the job by; may be given several times
    #[arg(long = "tag", value_name = "TAG")]
    tags: Vec<String>,
    /// A fact carried with the job; may be given several times
    #[arg(long, value_name = "KEY=VALUE", value_parser = value::pair)]
    metadata: Vec<(String, String)>,
    /// The job that submits this one
    #[arg(long, value_name = "JOB", value_parser = value::name::<JobId>)]
    parent: Option<JobId>,
    /// The trace the job is part of, as a W3C traceparent
    #[arg(long, value_name = "TRACEPARENT")]
    trace: Option<String>,
}

impl Options {
    fn apply(self, mut call: Call, declared: Option<RetryPolicy>) -> Call {
        macro_rules! set {
            ($($field:ident => $method:ident),+ $(,)?) => {
                $(if let Some(value) = self.$field { call = call.$method(value); })+
            };
        }
        set! {
            id => id, priority => priority, delay => delay, at => not_before,
            expires_in => expires_in, expires_at => expires_at, timeout_soft => soft_timeout, timeout_hard => timeout,
            max_attempts => max_attempts, backoff => backoff, ordering_key => ordering_key, parent => parent,
        }
        call = call.with(|options| options.queue = self.queue);
        if let Some(age_max) = self.retry_age_max {
            call = call.with(|options| {
                options.retry.get_or_insert_with(|| declared.unwrap_or_default()).age_max = Some(age_max);
            });
        }
        if let Some(key) = self.idempotency_key {
            call = call.unique(key, self.unique, self.on_conflict);
        }
        if let Some((key, weight)) = self.fair_key {
            call = call.fair_key(key, weight);
        }
        if let Some((key, max)) = self.concurrency_key {
            call = call.concurrency_key(key, max);
        }
        if let Some((key, rate)) = self.rate {
            call = call.rate_limit(key, rate.count, rate.period);
        }
        if let Some((key, quiet)) = self.debounce {
            call = call.debounce(key, quiet);
        }
        if let Some((key, period)) = self.throttle {
            call = call.throttle(key, period);
        }
        if let Some(batch) = self.batch {
            call = call.with(|options| options.batch = Some(batch));
        }
        if let Some(trace) = &self.trace {
            call = call.trace(trace);
        }
        call = self.tags.into_iter().fold(call, WithOptions::tag);
        self.metadata.into_iter().fold(call, |call, (key, value)| call.metadata(key, value))
    }
}

fn unique(text: &str) -> Result<Unique, String> {
    match text {
        "while-live" => Ok(Unique::WhileLive),
        "forever" => Ok(Unique::Forever),
        period => value::duration(period).map(Unique::For),
    }
}

/// A key and a value. The key may hold `=` itself.
fn keyed<T: FromStr<Err: Display>>(text: &str) -> Result<(String, T), String> {
    let (key, value) = split_key(text, '=')?;
    value.parse().map(|value| (key, value)).map_err(|error: T::Err| error.to_string())
}

fn keyed_period(text: &str) -> Result<(String, Duration), String> {
    let (key, period) = split_key(text, '=')?;
    value::duration(period).map(|period| (key, period))
}

fn share(text: &str) -> Result<(String, u32), String> {
    // A key such as `host:8080` is given as `host:8080:1`.
    match text.rsplit_once(':') {
        None => Ok((text.to_owned(), 1)),
        Some((key, weight)) => weight
            .parse()
            .map(|weight| (key.to_owned(), weight))
            .map_err(|_| format!("`{weight}` is no weight from 1 to 1,000")),
    }
}

fn split_key(text: &str, separator: char) -> Result<(String, &str), String> {
    match text.rsplit_once(separator) {
        Some((key, value)) if !key.is_empty() => Ok((key.to_owned(), value)),
        _ => Err(format!("`{text}` is no key, `{separator}` and a value")),
    }
}

fn on_conflict(text: &str) -> Result<OnConflict, String> {
    match text {
        "keep" => Ok(OnConflict::Keep),
        "replace" => Ok(OnConflict::Replace),
        "ignore" => Ok(OnConflict::Ignore),
        other => Err(format!("`{other}` is none of keep, replace and ignore")),
    }
}
