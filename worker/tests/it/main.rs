//! The executor and the pull loop as a backend sees them.

mod executor;
mod pull;
mod support;
