//! The executor and the pull loop as a backend sees them.

#![expect(clippy::unwrap_used, reason = "the helpers of a test fail with it")]

mod executor;
mod metrics;
mod pull;
mod support;
