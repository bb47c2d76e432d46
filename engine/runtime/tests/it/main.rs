//! The engine on its threads, as its callers see it.

#![expect(clippy::unwrap_used, reason = "a test that cannot go on is to fail")]

mod claims;
mod failures;
mod groups;
mod probe;
mod processes;
mod support;
mod waits;
