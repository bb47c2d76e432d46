//! What most programs need: `use taskport::prelude::*;`.

pub use taskport_abstraction::{
    Backoff, Call, JobRef, RetryPolicy, StepDefinition, TaskContext, TaskError, TaskResult, WithOptions,
    WorkflowDefinition,
};
#[cfg(feature = "macros")]
pub use taskport_macros::task;
pub use taskport_registry::registry;

pub use crate::job::{Job, wait_all};
pub use crate::port::Taskport;
pub use crate::run::Run;
