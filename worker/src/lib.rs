//! What every worker shares: the executor that runs an attempt under its limits, and the loop for backends that are
//! pulled.
//!
//! [`PullWorker`] fetches jobs under leases from a [`Consumer`](taskport_abstraction::Consumer), has an
//! [`Executor`](taskport_abstraction::Executor) run them, renews the leases and settles the outcomes. It never knows
//! which backend it serves.

mod catalog;
mod control;
mod executor;
mod hash;
mod isolation;
mod layers;
pub mod metrics;
pub mod profile;
mod pull;
pub mod shutdown;

pub use control::Control;
pub use executor::{ExecutorOptions, TaskExecutor};
pub use isolation::child_hook;
pub use layers::trace::AttemptSpans;
pub use profile::Profile;
pub use pull::PullWorker;
pub use shutdown::ShutdownController;
