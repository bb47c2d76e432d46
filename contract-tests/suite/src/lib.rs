//! The contract every adapter is tested against.
//!
//! An adapter brings a test binary without a harness of its own, whose `main` is one call of [`main`] with its
//! [`Factory`]s. Each contract is one named test. Its [`Case::needs`] say which features it exercises: where the
//! backend declares one of them unsupported, the case is ruled out, and a *refusal* takes its place that asks for the
//! feature all the same and demands `Unsupported` with the declared text. So every cell of the capability table is
//! proved, and nothing is left out in silence.

#![expect(clippy::unwrap_used, reason = "a case fails by panicking")]

mod cases;
mod fixture;
mod kit;
mod process;
mod refusal;
mod report;
mod runner;

pub use fixture::{Factory, Fixture};
pub use runner::{Case, Running, main};
