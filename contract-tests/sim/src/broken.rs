//! A promise that was broken.

use std::fmt;

/// Which promise was broken, and by what.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Broken {
    /// The promise, by a short name; `specs/simulation.md` lists them.
    pub rule: &'static str,
    /// What happened.
    pub why: String,
}

impl Broken {
    pub(crate) fn new(rule: &'static str, why: impl Into<String>) -> Self {
        Self { rule, why: why.into() }
    }
}

impl fmt::Display for Broken {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.rule, self.why)
    }
}

/// Leaves the function with the promise as broken unless the condition holds.
macro_rules! hold {
    ($condition:expr, $rule:literal, $($why:tt)+) => {
        if !$condition {
            return Err($crate::broken::Broken::new($rule, format!($($why)+)));
        }
    };
}
pub(crate) use hold;
