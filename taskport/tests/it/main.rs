//! The facade as a program uses it, with real workers over SQLite.
#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

mod blocking;
mod configured;
mod every_form;
mod jobs;
mod journal;
mod kit;
mod many;
mod metrics;
mod options;
mod outbox;
mod runs;
mod spans;
mod task_attribute;
#[cfg(feature = "testing")]
mod testing;
mod ui;
