//! Runs of workflows as a pure state machine: `(state, event) → effects`, without I/O.
//!
//! A [`Run`] takes [`Event`]s and answers with [`Effect`]s, which its owner carries out: the engine in the transaction
//! in which a job ended, others in whatever keeps their promises. The rules are numbered in `specs/workflow-runs.md`.
//!
//! The machine keeps a few numbers for each step and none for each job, so that an event costs the same in a run of
//! ten steps and in one of a hundred thousand. Results stay where they are stored; the machine asks for them through
//! [`Values`] when a binding or a condition needs one.

mod dispatch;
mod identity;
mod json;
mod plan;
mod run;
mod template;
mod values;

pub use self::identity::{id_prefix, job_id, order_key};
pub use self::plan::Plan;
pub use self::run::{
    EFFECTS_MAX, Effect, Event, FAN_OUT_OPEN_MAX, JobEnd, Run, StepFacts, StepFailure, StepJob,
};
pub use self::values::{BOUND_BYTES_MAX, Values};

#[cfg(test)]
mod tests;
