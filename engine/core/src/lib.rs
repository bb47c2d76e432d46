//! The embedded engine: jobs, leases, retries and workflow runs as pure state machines over a store.
//!
//! An [`Engine`] owns the writing side of a [`Store`]. Its owner begins a [`Transaction`], calls any number of
//! operations on it, and commits once: that is one group commit. Nothing here reads a clock, starts a thread or knows
//! SQL; the time and a random seed come in as arguments (I4).
//!
//! What a job may do in which state is the pure function [`state::transition`]; `specs/job-states.md` draws its table.

mod config;
mod engine;
pub mod inbox;
mod limits;
mod reader;
pub mod record;
mod runs;
pub mod schedule;
pub mod state;
pub mod store;
mod stored;
mod transaction;
pub mod upkeep;
pub mod workflow;

pub use self::config::EngineConfig;
pub use self::engine::Engine;
pub use self::reader::Reader;
pub use self::store::{Read, Store};
pub use self::transaction::{Claim, Committed, Ended, Enqueued, NewJob, NewWorker, StepEnded, Transaction};
pub use self::upkeep::{Sweep, SweepMode};
