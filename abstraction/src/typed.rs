//! A call that knows the type of its result, and the options it may carry.

use std::fmt;
use std::marker::PhantomData;
use std::sync::Arc;
use std::time::Duration;

use serde::Serialize;
use serde_json::Value;

use crate::call::{ArgumentsBuilder, RawCall};
use crate::codes;
use crate::error::{Error, Result};
use crate::id::{JobId, QueueName, TaskName};
use crate::options::{
    ConcurrencyLimit, FairShare, Idempotency, JobOptions, OnConflict, Priority, RateLimit, Start,
    TraceContext, Unique,
};
use crate::payload::Payload;
use crate::retry::{Backoff, RetryPolicy};
use crate::time::Timestamp;

/// A call of a task whose result is a `T`. Nothing happens until it is submitted.
///
/// A mistake in an argument or option is kept and returned by the submit.
#[must_use = "a call does nothing until it is submitted"]
pub struct Call<T = Value> {
    task: TaskName,
    arguments: Payload,
    parts: CallParts,
    output: PhantomData<fn() -> T>,
}

/// The options of a call, and the first mistake made in setting them.
#[derive(Debug, Clone, Default)]
pub struct CallParts {
    /// The id the job is to have; made by the client where left out.
    pub id: Option<JobId>,
    /// What the job asks for.
    pub options: JobOptions,
    retry_declared: Option<RetryPolicy>,
    problem: Option<Error>,
}

impl CallParts {
    /// No options yet, for a call of a task that declares `retry`: a call that sets one part of the policy keeps the
    /// declared others.
    pub fn of_declared(retry: Option<RetryPolicy>) -> Self {
        Self { retry_declared: retry, ..Self::default() }
    }

    /// The policy to change: the call's own, else the declared one, else the default.
    fn retry_mut(&mut self) -> &mut RetryPolicy {
        let declared = &mut self.retry_declared;
        self.options.retry.get_or_insert_with(|| declared.take().unwrap_or_default())
    }

    /// Keeps the first mistake for the submit.
    pub fn note<V>(&mut self, value: Result<V>) -> Option<V> {
        match value {
            Ok(value) => Some(value),
            Err(error) => {
                self.problem.get_or_insert(error);
                None
            }
        }
    }
}

impl<T> Call<T> {
    /// A call of `task` with encoded arguments. An error in them is returned by the submit.
    pub fn new(task: TaskName, arguments: Result<Payload>) -> Self {
        Self::with_parts(task, arguments, CallParts::default())
    }

    /// As [`new`](Self::new), with the options set so far.
    pub fn with_parts(task: TaskName, arguments: Result<Payload>, mut parts: CallParts) -> Self {
        let arguments = parts.note(arguments).unwrap_or_default();
        Self { task, arguments, parts, output: PhantomData }
    }

    /// The task.
    pub fn task(&self) -> &TaskName {
        &self.task
    }

    /// The id, the call and its options, or the first mistake made in building it.
    ///
    /// # Errors
    /// `InvalidInput`, or whatever the mistake was.
    pub fn into_raw(self) -> Result<(Option<JobId>, RawCall, JobOptions)> {
        match self.parts.problem {
            Some(problem) => Err(problem),
            None => {
                let raw = RawCall { task: self.task, arguments: self.arguments };
                Ok((self.parts.id, raw, self.parts.options))
            }
        }
    }

    /// The same call with a result read as another type.
    pub fn returning<U>(self) -> Call<U> {
        Call { task: self.task, arguments: self.arguments, parts: self.parts, output: PhantomData }
    }
}

impl Call {
    /// A call of a task known only by name.
    pub fn dynamic<A: Serialize>(task: &str, positional: &[A], named: &[(String, Value)]) -> Self {
        let mut parts = CallParts::default();
        let arguments = || {
            let builder =
                positional.iter().try_fold(ArgumentsBuilder::default(), ArgumentsBuilder::positional)?;
            let builder =
                named.iter().try_fold(builder, |builder, (name, value)| builder.named(name, value))?;
            Ok(builder.finish())
        };
        let task = match TaskName::new(task) {
            Ok(task) => task,
            Err(error) => {
                parts.note::<()>(Err(error));
                TaskName::invalid()
            }
        };
        Self::with_parts(task, arguments(), parts)
    }
}

impl<T> Clone for Call<T> {
    fn clone(&self) -> Self {
        Self {
            task: self.task.clone(),
            arguments: self.arguments.clone(),
            parts: self.parts.clone(),
            output: PhantomData,
        }
    }
}

impl<T> fmt::Debug for Call<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Call")
            .field("task", &self.task)
            .field("arguments", &self.arguments)
            .field("parts", &self.parts)
            .finish()
    }
}

/// What can be submitted.
pub trait IntoCall {
    /// The type of the result.
    type Output;
    /// The call.
    fn into_call(self) -> Call<Self::Output>;
}

impl<T> IntoCall for Call<T> {
    type Output = T;

    fn into_call(self) -> Self {
        self
    }
}

/// The options a call may carry. Each method returns the call, so that they chain.
pub trait WithOptions: Sized {
    /// The options set so far.
    fn parts_mut(&mut self) -> &mut CallParts;

    /// Applies `change` to the options.
    #[must_use]
    fn with(mut self, change: impl FnOnce(&mut JobOptions)) -> Self {
        change(&mut self.parts_mut().options);
        self
    }

    /// Gives the job an id of the caller's, so that a repeated submit is the same job.
    #[must_use]
    fn id(mut self, id: JobId) -> Self {
        self.parts_mut().id = Some(id);
        self
    }

    /// Sets the line to wait in.
    #[must_use]
    fn queue(mut self, queue: &str) -> Self {
        let parts = self.parts_mut();
        parts.options.queue = parts.note(QueueName::new(queue));
        self
    }

    /// Sets the priority, from 0 to 9, 9 first.
    #[must_use]
    fn priority(mut self, level: u8) -> Self {
        let parts = self.parts_mut();
        parts.options.priority = parts.note(Priority::new(level));
        self
    }

    /// Starts no earlier than so long after the submit.
    #[must_use]
    fn delay(self, delay: Duration) -> Self {
        self.with(|options| options.start = Some(Start::In(delay)))
    }

    /// Starts no earlier than at `moment`.
    #[must_use]
    fn not_before(self, moment: Timestamp) -> Self {
        self.with(|options| options.start = Some(Start::At(moment)))
    }

    /// Gives the job up where it has not started so long after the submit.
    #[must_use]
    fn expires_in(self, period: Duration) -> Self {
        self.with(|options| options.expiry = Some(Start::In(period)))
    }

    /// Gives the job up where it has not started at `moment`.
    #[must_use]
    fn expires_at(self, moment: Timestamp) -> Self {
        self.with(|options| options.expiry = Some(Start::At(moment)))
    }

    /// Stops an attempt that takes longer.
    #[must_use]
    fn timeout(self, limit: Duration) -> Self {
        self.with(|options| options.timeout_hard = Some(limit))
    }

    /// Asks an attempt that takes longer to stop.
    #[must_use]
    fn soft_timeout(self, limit: Duration) -> Self {
        self.with(|options| options.timeout_soft = Some(limit))
    }

    /// Sets when a failed attempt is tried again.
    #[must_use]
    fn retry(self, policy: RetryPolicy) -> Self {
        self.with(|options| options.retry = Some(policy))
    }

    /// Sets the largest number of attempts, the first included.
    #[must_use]
    fn max_attempts(mut self, attempts: u32) -> Self {
        self.parts_mut().retry_mut().attempts_max = attempts;
        self
    }

    /// Sets the delay before each next attempt.
    #[must_use]
    fn backoff(mut self, backoff: Backoff) -> Self {
        self.parts_mut().retry_mut().backoff = backoff;
        self
    }

    /// Keeps one job per key until it has ended; a second submit returns the first job.
    #[must_use]
    fn idempotency_key(self, key: impl Into<Arc<str>>) -> Self {
        self.unique(key, Unique::WhileLive, OnConflict::Keep)
    }

    /// Keeps one job per key, for as long as `unique` says, with `on_conflict` for a second submit.
    #[must_use]
    fn unique(self, key: impl Into<Arc<str>>, unique: Unique, on_conflict: OnConflict) -> Self {
        let key = key.into();
        self.with(|options| options.idempotency = Some(Idempotency { key, unique, on_conflict }))
    }

    /// Runs jobs of one key in submit order.
    #[must_use]
    fn ordering_key(self, key: impl Into<Arc<str>>) -> Self {
        let key = key.into();
        self.with(|options| options.ordering_key = Some(key))
    }

    /// Takes the job from the share of `key` in a queue in fair order, with a weight from 1 to 1,000.
    #[must_use]
    fn fair_key(self, key: impl Into<Arc<str>>, weight: u32) -> Self {
        let key = key.into();
        self.with(|options| options.fair = Some(FairShare { key, weight }))
    }

    /// Waits until no newer call of `key` has come for `quiet`; only the newest runs. A call that comes while one runs
    /// is a job of its own.
    #[must_use]
    fn debounce(self, key: impl Into<Arc<str>>, quiet: Duration) -> Self {
        self.delay(quiet).unique(key, Unique::WhileLive, OnConflict::Replace)
    }

    /// Takes the first call of `key` in each `period` and ignores the others: their submit returns the first job.
    #[must_use]
    fn throttle(self, key: impl Into<Arc<str>>, period: Duration) -> Self {
        self.unique(key, Unique::For(period), OnConflict::Ignore)
    }

    /// Runs at most `max` jobs of one key at once.
    #[must_use]
    fn concurrency_key(self, key: impl Into<Arc<str>>, max: u32) -> Self {
        let key = key.into();
        self.with(|options| options.concurrency = Some(ConcurrencyLimit { key, max }))
    }

    /// Starts jobs of one key at `count` in each `period`. See [`RateLimit`].
    #[must_use]
    fn rate_limit(self, key: impl Into<Arc<str>>, count: u32, period: Duration) -> Self {
        let key = key.into();
        self.with(|options| options.rate_limit = Some(RateLimit { key, count, period }))
    }

    /// Adds a word to find the job by.
    #[must_use]
    fn tag(self, tag: impl Into<Arc<str>>) -> Self {
        let tag = tag.into();
        self.with(|options| options.tags.push(tag))
    }

    /// Adds a fact that is carried with the job.
    #[must_use]
    fn metadata(self, key: impl Into<Arc<str>>, value: impl Into<Arc<str>>) -> Self {
        let (key, value) = (key.into(), value.into());
        self.with(|options| {
            options.metadata.insert(key, value);
        })
    }

    /// Records which job submits this one.
    #[must_use]
    fn parent(self, job: JobId) -> Self {
        self.with(|options| options.parent = Some(job))
    }

    /// Makes the job part of a trace.
    #[must_use]
    fn trace(mut self, traceparent: &str) -> Self {
        let parts = self.parts_mut();
        parts.options.trace = parts.note(TraceContext::new(traceparent));
        self
    }
}

impl<T> WithOptions for Call<T> {
    fn parts_mut(&mut self) -> &mut CallParts {
        &mut self.parts
    }
}

impl TaskName {
    /// Stands in for a name that was refused; the call that holds it also holds the error and is never submitted.
    fn invalid() -> Self {
        static INVALID: std::sync::LazyLock<TaskName> = std::sync::LazyLock::new(|| {
            TaskName::new("invalid").unwrap_or_else(|error| unreachable!("{error} [{}]", codes::INTERNAL))
        });
        INVALID.clone()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn options_chain_and_the_first_mistake_is_kept() {
        let call = Call::dynamic("render", &[1], &[("pages".into(), Value::from(2))])
            .queue("reports")
            .priority(7)
            .tag("a")
            .tag("b");
        let (id, raw, options) = call.into_raw().unwrap();
        assert_eq!((id, raw.task.as_str()), (None, "render"));
        assert_eq!(raw.arguments.bytes, r#"[[1],{"pages":2}]"#);
        assert_eq!((options.priority, options.tags.len()), (Some(Priority::new(7).unwrap()), 2));

        let mistaken = Call::dynamic::<Value>("render", &[], &[]).priority(12).queue("a b");
        assert_eq!(mistaken.into_raw().unwrap_err().message(), "priority 12 is not within 0 to 9");
        assert_eq!(Call::dynamic::<Value>("a b", &[], &[]).into_raw().unwrap_err().code(), &codes::BAD_NAME);
    }

    #[test]
    fn a_call_that_sets_its_attempts_keeps_the_declared_backoff() {
        let declared = RetryPolicy { backoff: "fixed(5s)".parse().unwrap(), ..RetryPolicy::default() };
        let name = TaskName::new("render").unwrap();
        let parts = CallParts::of_declared(Some(declared.clone()));
        let call: Call = Call::with_parts(name, Ok(Payload::json("[[],{}]")), parts);
        assert_eq!(call.clone().into_raw().unwrap().2.retry, None);
        let retry = call.max_attempts(9).into_raw().unwrap().2.retry.unwrap();
        assert_eq!(retry, RetryPolicy { attempts_max: 9, ..declared });
    }
}
