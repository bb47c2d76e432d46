//! The checker is itself checked: good histories pass, and each mutant of one is caught by the right rule.

#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

mod files;
mod history;
mod mutants;
