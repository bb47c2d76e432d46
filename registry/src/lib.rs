//! The catalogue of tasks and workflows: gathered and checked once, at start, and then only read.
//!
//! A [`RegistryBuilder`] gathers definitions from code and configuration; [`RegistryBuilder::build`] checks them
//! against each other and gives the immutable [`Registry`]. Nothing here runs a task or knows a backend.

mod arguments;
mod builder;
mod catalogue;
#[doc(hidden)]
pub mod declare;
pub mod manifest;
mod schema;
mod task_check;
mod workflow_check;
mod workflow_text;

#[cfg(test)]
mod tests;

pub use self::builder::{IntoWorkflow, RegistryBuilder};
pub use self::catalogue::{RegisteredWorkflow, Registry};
pub use self::manifest::Manifest;
pub use self::task_check::effective_options;
pub use self::workflow_text::{WORKFLOW_BYTES_MAX, workflow_from_text};

/// Lists tasks and, after a semicolon, workflows: `registry![render, archive; nightly]`.
///
/// A task is named by its function; a workflow is a [`WorkflowDefinition`](taskport_abstraction::WorkflowDefinition),
/// a `Result` of one, or a function that gives either. The value is a [`RegistryBuilder`], to which configuration may
/// add before it is checked.
#[macro_export]
macro_rules! registry {
    ($($task:ty),* $(,)?) => { $crate::registry![$($task),*;] };
    ($($task:ty),* $(,)?; $($workflow:expr),* $(,)?) => {
        $crate::Registry::builder()$(.task(<$task>::definition()))*$(.workflow($workflow))*
    };
}

/// Text from outside as a message may show it: on one line, without control characters, at most 300 characters.
fn shown(text: &str) -> String {
    let cut = text.chars().take(300);
    cut.flat_map(|c| if c.is_control() { c.escape_debug().collect() } else { vec![c] }).collect()
}
