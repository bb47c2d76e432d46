//! The native backend as the facade and a worker see it.

#![expect(clippy::unwrap_used, reason = "a test that cannot go on is to fail")]

mod backend;
mod support;
mod worker;
