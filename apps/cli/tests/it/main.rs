//! The built binary, as a user runs it.
#![cfg(test)]
#![expect(clippy::disallowed_methods, reason = "waits for other processes end at a deadline of real time")]

mod configuration;
#[cfg(feature = "demo")]
mod demo;
mod exec_orphans;
mod jobs;
mod journal;
mod maintain;
#[cfg(feature = "metrics")]
mod metrics;
mod sandbox;
mod schedules;
mod store;
mod usage;
mod workers;
mod workflows;
