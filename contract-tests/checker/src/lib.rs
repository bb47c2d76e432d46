//! Judges the recorded history of a run: what was lost, doubled, early, out of order or stuck.
//!
//! Every process of a run appends JSON lines to a file of its own: what it asked for and what it was answered. Handlers
//! append theirs to the effect ledger, which passes through nothing under test. [`Checker`] reads these files, one line
//! at a time and in any order, and says in a [`Verdict`] which promise was broken. It knows no backend.
//!
//! The form of the lines and every rule are in `specs/history.md`.
//!
//! ```
//! use taskport_checker::{Checker, Demands};
//!
//! let history = concat!(
//!     r#"{"v":1,"at_us":1,"wall_us":1,"process":"client-1","op":"submit","event":"invoke","key":"a"}"#, "\n",
//!     r#"{"v":1,"at_us":2,"wall_us":2,"process":"client-1","op":"submit","event":"ok","key":"a"}"#, "\n",
//!     r#"{"v":1,"at_us":3,"wall_us":3,"process":"control","op":"drain","event":"ok"}"#, "\n",
//! );
//! let mut checker = Checker::new(Demands::default());
//! checker.read("client-1.jsonl", history.as_bytes())?;
//! let verdict = checker.verdict();
//! assert!(!verdict.passed, "the job was acknowledged and never seen again");
//! # Ok::<(), taskport_checker::HistoryError>(())
//! ```

mod checker;
mod error;
mod job;
mod line;
mod rules;
mod verdict;

pub use checker::{ATTEMPTS_MAX, Checker, Demands, LINE_BYTES_MAX};
pub use error::HistoryError;
pub use line::{Event, Line, Operation, Outcome, State, VERSION};
pub use verdict::{Example, Rule, Verdict};
