//! Why a history cannot be judged.

use std::fmt;

/// A line that cannot be read or makes no sense. A history with one has no verdict.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct HistoryError {
    file: String,
    line: u64,
    problem: String,
}

impl HistoryError {
    pub(crate) fn new(file: &str, line: u64, problem: impl Into<String>) -> Self {
        Self { file: file.to_owned(), line, problem: problem.into() }
    }

    /// The file, as it was named to [`read`](crate::Checker::read).
    #[must_use]
    pub fn file(&self) -> &str {
        &self.file
    }

    /// The line, counted from 1.
    #[must_use]
    pub fn line(&self) -> u64 {
        self.line
    }
}

impl fmt::Display for HistoryError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}: {}", self.file, self.line, self.problem)
    }
}

impl std::error::Error for HistoryError {}
