//! The built binary, as a user runs it.

mod configuration;
#[cfg(feature = "demo")]
mod demo;
mod jobs;
mod sandbox;
mod store;
mod usage;
mod workers;
mod workflows;
