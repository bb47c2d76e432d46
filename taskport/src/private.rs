//! What the macros expand to, under one path, so that a user's crate depends on `taskport` alone. Not for direct use.

pub use std::borrow::Cow;
pub use std::string::String;
pub use std::sync::Arc;
pub use std::vec::Vec;

pub use taskport_abstraction::task::{Execution, Handler, Parameter};
pub use taskport_abstraction::typed::CallParts;
pub use taskport_abstraction::{
    ArgumentsBuilder, Backoff, Call, IntoCall, JobOptions, Payload, TaskContext, TaskDefinition, WithOptions,
};
pub use taskport_registry::declare::{
    Collected, DeclaredName, OpenCall, bind, boxed, concurrency, described, encode, inventory, location,
    optional, priority, probe, queue_name, rate_limit, required, retry_policy, schema, task_name, value,
};
