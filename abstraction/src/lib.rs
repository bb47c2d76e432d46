//! The vocabulary of Taskport: tasks, calls, jobs, attempts, workflows, states, the backend traits, capabilities
//! and errors.
//!
//! This crate does no I/O, owns no thread, knows no runtime and names no backend. Time, randomness and environment
//! come in as arguments (I4).

pub mod backend;
pub mod batch;
pub mod call;
pub mod capability;
pub mod codes;
pub mod context;
pub mod error;
pub mod factory;
pub mod id;
pub mod job;
pub mod journal;
pub mod maintenance;
pub mod options;
pub mod outbox;
pub mod payload;
pub mod retry;
pub mod schedule;
pub mod task;
pub mod text;
pub mod time;
pub mod typed;
pub mod workflow;

pub use async_trait::async_trait;
pub use backend::{Admin, Backend, Consumer, Executor, Worker, Workflows};
pub use call::{ArgumentsBuilder, ArgumentsView, RawCall};
pub use capability::{Capability, Feature, Support};
pub use context::{AttemptControl, TaskContext};
pub use error::{Certainty, Error, ErrorKind, Result, Retry};
pub use factory::{Environment, Factory};
pub use id::{
    BackendName, BatchId, JobId, JobRef, LeaseToken, QueueName, RunId, ScheduleName, StepId, TaskName,
};
pub use job::{Failure, FailureKind, JobState, JobStatus, Outcome};
pub use options::JobOptions;
pub use payload::{ContentType, Payload};
pub use retry::{Backoff, RetryPolicy};
pub use task::{TaskDefinition, TaskError, TaskResult};
pub use time::{Clock, SystemClock, Timestamp};
pub use typed::{Call, IntoCall, WithOptions};
pub use workflow::{StepDefinition, WorkflowDefinition};
