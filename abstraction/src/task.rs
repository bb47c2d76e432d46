//! A registered handler and its declaration.

use std::borrow::Cow;
use std::error::Error as StdError;
use std::fmt;
use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::time::Duration;

use serde_json::Value;

use crate::context::TaskContext;
use crate::error::Error;
use crate::id::TaskName;
use crate::job::{Failure, FailureKind};
use crate::options::JobOptions;
use crate::payload::Payload;

/// A task as it is declared in code or configuration.
#[derive(Debug, Clone)]
pub struct TaskDefinition {
    /// The name calls use.
    pub name: TaskName,
    /// What it does, in one line.
    pub summary: Option<String>,
    /// The parameters, in declared order.
    pub parameters: Vec<Parameter>,
    /// Whether calls may give arguments besides the parameters, as a command that reads its own does.
    pub extra_arguments: bool,
    /// The JSON Schema of the result.
    pub result_schema: Value,
    /// What its jobs ask for where the submit does not say.
    pub options: JobOptions,
    /// How attempts are run.
    pub execution: Execution,
    /// Whether running it twice does no harm.
    pub idempotent: bool,
    /// Whether an attempt past its hard limit may be left behind on its thread. Its slot stays taken until it ends.
    pub detach_on_timeout: bool,
    /// Where it is declared.
    pub location: Location,
    /// What runs an attempt; `None` for a task that is implemented elsewhere.
    pub handler: Option<Handler>,
}

impl TaskDefinition {
    /// A task without parameters or options that is implemented elsewhere, to be filled in.
    pub fn new(name: TaskName, location: Location) -> Self {
        Self {
            name,
            summary: None,
            parameters: Vec::new(),
            extra_arguments: false,
            result_schema: Value::Bool(true),
            options: JobOptions::default(),
            execution: Execution::Remote,
            idempotent: false,
            detach_on_timeout: false,
            location,
            handler: None,
        }
    }
}

/// One parameter of a task.
#[derive(Debug, Clone, PartialEq)]
pub struct Parameter {
    /// Its name.
    pub name: Cow<'static, str>,
    /// The JSON Schema of its values.
    pub schema: Value,
    /// Whether a call must give it.
    pub required: bool,
}

/// How the attempts of a task are run.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Execution {
    /// As a future on the worker's runtime.
    Async,
    /// As a short function on the worker's runtime.
    Inline,
    /// On the blocking pool.
    Blocking,
    /// In a child process that can be killed at its limits.
    Isolated,
    /// Elsewhere; this process only submits it.
    Remote,
}

/// Where a definition stands, for messages.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Location {
    /// The file, as the compiler or the configuration names it.
    pub file: Cow<'static, str>,
    /// The line, from 1.
    pub line: u32,
}

impl fmt::Display for Location {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}", self.file, self.line)
    }
}

/// A boxed future that may move between threads.
pub type BoxFuture<'a, T> = Pin<Box<dyn Future<Output = T> + Send + 'a>>;

/// The signature of an asynchronous handler.
pub type AsyncHandler = dyn Fn(TaskContext, Payload) -> BoxFuture<'static, TaskResult<Payload>> + Send + Sync;
/// The signature of a plain handler.
pub type SyncHandler = dyn Fn(&TaskContext, &Payload) -> TaskResult<Payload> + Send + Sync;

/// What runs an attempt.
#[derive(Clone)]
pub enum Handler {
    /// A future.
    Async(Arc<AsyncHandler>),
    /// A function.
    Sync(Arc<SyncHandler>),
}

impl fmt::Debug for Handler {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Async(_) => "Handler::Async",
            Self::Sync(_) => "Handler::Sync",
        })
    }
}

/// What a handler returns.
pub type TaskResult<T, E = TaskError> = std::result::Result<T, E>;

/// How a handler says that its attempt failed.
///
/// `?` turns any error, `anyhow` errors and strings into [`TaskError::Error`], which the task's policy retries. It is
/// itself no `std::error::Error`, so that it is not mixed with [`Error`].
#[derive(Debug)]
pub enum TaskError {
    /// Try again, after `after` where given, else by the policy.
    Retry {
        /// The delay before the next attempt.
        after: Option<Duration>,
        /// Why.
        failure: Failure,
    },
    /// No attempt can mend this.
    Fatal(Failure),
    /// Failed; the policy decides whether to try again.
    Error(Failure),
}

impl TaskError {
    /// Asks for another attempt after `after`.
    pub fn retry_after(after: Duration, message: impl Into<String>) -> Self {
        Self::Retry { after: Some(after), failure: Failure::new(FailureKind::Error, message) }
    }

    /// Ends the job: no attempt can mend this.
    pub fn fatal(message: impl Into<String>) -> Self {
        Self::Fatal(Failure::new(FailureKind::Fatal, message))
    }

    /// The failure inside.
    pub fn failure(&self) -> &Failure {
        match self {
            Self::Retry { failure, .. } | Self::Fatal(failure) | Self::Error(failure) => failure,
        }
    }

    /// A call whose arguments do not fit: fatal, with the error that says which one.
    pub fn bad_arguments(error: &Error) -> Self {
        Self::Fatal(Failure::new(FailureKind::BadArguments, error.to_string()))
    }
}

impl<E: Into<Box<dyn StdError + Send + Sync>>> From<E> for TaskError {
    fn from(error: E) -> Self {
        let error = error.into();
        let mut message = error.to_string();
        let mut source = error.source();
        while let Some(below) = source {
            let text = below.to_string();
            if !message.contains(&text) {
                message.push_str(": ");
                message.push_str(&text);
            }
            source = below.source();
        }
        Self::Error(Failure::new(FailureKind::Error, message).of_type(std::any::type_name::<E>()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn any_error_becomes_a_task_error_with_its_type() {
        fn handler() -> TaskResult<()> {
            Err(std::io::Error::other("disk gone"))?;
            Ok(())
        }
        let error = handler().unwrap_err();
        assert_eq!(error.failure().type_name, "std::io::error::Error");
        assert_eq!(error.failure().message, "disk gone");
        assert!(error.failure().retryable);
        let text: TaskError = "plain text".into();
        assert_eq!(text.failure().message, "plain text");
    }
}
