//! `submit`: one call of a task.

use std::fmt::Display;
use std::str::FromStr;
use std::time::Duration;

use clap::Args;
use futures_util::StreamExt;

use super::job::{ended_badly, no_outcome, state_now, state_of};
use super::report::Report;
use super::session::Session;
use super::{value, wire};
use crate::abstraction::backend::Backend;
use crate::abstraction::job::{JobState, Outcome};
use crate::abstraction::options::{OnConflict, Unique};
use crate::abstraction::typed::CallParts;
use crate::abstraction::{Backoff, BatchId, QueueName, RetryPolicy, TaskName, Timestamp, WithOptions, codes};
use crate::config::Rate;
use crate::{Call, Error, JobId, JobRef, Result};

/// Submit a call of a task.
#[derive(Debug, Args)]
pub(super) struct Submit {
    /// The task
    #[arg(value_parser = value::name::<TaskName>)]
    task: TaskName,
    /// Arguments, as NAME=JSON or as JSON by position; what is no JSON is text
    #[arg(value_name = "ARG", conflicts_with = "args")]
    arguments: Vec<String>,
    /// All arguments as one JSON object (by name) or list (by position); @FILE reads a file, @- standard input
    #[arg(long, value_name = "JSON")]
    args: Option<String>,
    /// Wait for the job to end and print its result
    #[arg(long)]
    wait: bool,
    /// How long to wait, such as 30s
    #[arg(long, value_name = "DURATION", requires = "wait", value_parser = value::duration)]
    timeout: Option<Duration>,
    #[command(flatten)]
    options: Options,
}

/// What the job asks for.
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

impl Options {
    pub(super) fn apply(self, mut call: Call, declared: Option<RetryPolicy>) -> Call {
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

pub(super) async fn run(session: &Session, submit: Submit) -> Result<Report> {
    let arguments = value::arguments(submit.args.as_deref(), &submit.arguments)?;
    let port = session.port().await?;
    // Known here, so that a call that sets one part of a declared policy keeps the others.
    let declared = port.registry().task(submit.task.as_str())?.options.retry.clone();
    let parts = CallParts::of_declared(declared.clone());
    let call: Call = submit.options.apply(Call::with_parts(submit.task, Ok(arguments), parts), declared);
    let job = port.submit(call).await?;
    let (place, existing) = (job.job_ref(), job.existing());
    if !submit.wait {
        return answer(&place, &place, &submitted(&place, existing));
    }
    // Said before the wait, so that whoever is interrupted in it knows what to look for.
    session.terminal.line(format_args!("submitted {place}"));
    let backend = session.backend_named(&place.backend).await?;
    remark_on_workers(session, &*backend, &place).await;
    let outcome = match outcome_within(&*backend, &place, submit.timeout).await {
        Ok(outcome) => outcome,
        // The job was taken: whoever gives up the wait is told where to find it.
        Err(error) => {
            let state = state_now(&*backend, std::slice::from_ref(&place.id)).await.pop().flatten();
            let document = wire::Submitted {
                state: state.map(JobState::as_str),
                problem: Some(wire::Problem::new(&error)),
                ..submitted(&place, existing)
            };
            return Ok(answer(&place, &place, &document)?.failed([error]));
        }
    };
    let document = wire::Submitted {
        state: Some(state_of(&outcome).as_str()),
        outcome: wire::Ending::new(Some(&outcome)),
        ..submitted(&place, existing)
    };
    match outcome {
        Outcome::Success(result) => answer(&place, wire::Body::new(&result).text(), &document),
        Outcome::Failure(failure) => {
            Ok(answer(&place, "", &document)?.failed([ended_badly(&place.to_string(), failure)]))
        }
    }
}

/// An answer that names the job even where it cannot be written.
fn answer(job: &JobRef, text: impl Display, document: &wire::Submitted) -> Result<Report> {
    Ok(Report::new(text, document)?.having(format!("job `{job}` was submitted")))
}

fn submitted(place: &JobRef, existing: bool) -> wire::Submitted {
    wire::Submitted {
        job: place.to_string(),
        id: place.id.to_string(),
        backend: place.backend.to_string(),
        existing,
        state: None,
        problem: None,
        outcome: wire::Ending::default(),
    }
}

async fn outcome_within(backend: &dyn Backend, job: &JobRef, limit: Option<Duration>) -> Result<Outcome> {
    let mut outcomes = backend.wait(vec![job.id.clone()]);
    let next = match limit {
        Some(limit) => tokio::time::timeout(limit, outcomes.next())
            .await
            .map_err(|_| no_outcome(&job.to_string(), limit))?,
        None => outcomes.next().await,
    };
    match next {
        Some((_, outcome)) => outcome,
        None => {
            Err(Error::new(&codes::CLOSED, "wait", format!("the backend closed before job `{job}` ended")))
        }
    }
}

/// Says that the wait may be long where no live worker serves the job's queue. Only a remark: a worker may come.
async fn remark_on_workers(session: &Session, backend: &dyn Backend, job: &JobRef) {
    let Some(admin) = backend.admin() else { return };
    let (Ok(found), Ok(workers)) = (backend.get(std::slice::from_ref(&job.id)).await, admin.workers().await)
    else {
        return;
    };
    let Some(status) = found.into_iter().next().flatten().filter(|status| !status.state.is_terminal()) else {
        return;
    };
    if !workers.iter().any(|worker| worker.alive && worker.queues.contains(&status.queue)) {
        let program = session.program();
        session.terminal.note(format_args!(
            "no live worker serves the queue `{}`; start one with `{program} worker`",
            status.queue
        ));
    }
}
