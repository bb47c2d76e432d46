//! One API for tasks and workflows on any task queue.

#[cfg(feature = "cli")]
pub mod cli;

#[doc(hidden)]
pub mod private;

#[cfg(feature = "macros")]
pub use taskport_macros::*;

pub use taskport_abstraction as abstraction;
pub use taskport_abstraction::{
    Call, Clock, Error, ErrorKind, JobId, JobOptions, JobRef, Result, TaskContext, TaskError, TaskResult,
    WithOptions,
};
