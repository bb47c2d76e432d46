//! Breaks real processes of the engine and lets the checker judge what came of it.
//!
//! A *victim* is one process that submits jobs, runs them, or both; it keeps a history in a file of its own, and its
//! handlers keep an effect ledger ([`victim`]). An [`arena`] is one round: victims on one database, faults, the end, the
//! verdict. [`fault_fs`] is a file system that fails on purpose and forgets what was not synced. [`rounds`] are the
//! scenarios, and a [`campaign`] runs them by seed.
//!
//! What must hold under which fault is in `specs/faults.md`.

pub mod arena;
pub mod campaign;
pub mod clock;
pub mod fault_fs;
pub mod history;
pub mod process;
pub mod readback;
pub mod rounds;
pub mod victim;
