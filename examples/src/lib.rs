//! Runnable examples. Each is one file that runs to its end by itself, on a database in a temporary folder, and asserts
//! what it claims:
//!
//! - `cargo run --example quickstart`: declare a task, submit calls, run a worker, read results;
//! - `cargo run --example retries`: failures that pass, failures for good, dead letters and idempotency keys;
//! - `cargo run --example transactional`: a job in the same transaction as a row of the program's own, with rusqlite;
//!   `examples/sqlx` does the same with sqlx, in a workspace of its own;
//! - `cargo run --example workflow`: a graph of steps with a fan-out, which another process finishes;
//! - `cargo run --example testing`: what code submits, tomorrow today, and faults on demand.
//!
//! The guide below is compiled and run with the tests of this crate.
#![doc = include_str!("../../docs/guides/getting-started.md")]
#![doc = include_str!("../../docs/guides/transactional.md")]
#![doc = include_str!("../../docs/guides/progress.md")]

/// The readme's first task compiles.
#[cfg(doctest)]
#[doc = include_str!("../../README.md")]
struct Readme;

/// The guide to metrics and traces compiles.
#[cfg(doctest)]
#[doc = include_str!("../../docs/guides/observability.md")]
struct Observability;

/// The guide to tests compiles and runs.
#[cfg(doctest)]
#[doc = include_str!("../../docs/guides/testing.md")]
struct Testing;
