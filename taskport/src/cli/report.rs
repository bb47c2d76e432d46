//! What a command has to say, and the exit code that goes with it.

use std::fmt::Display;
use std::io::{self, Write};
use std::process::ExitCode;

use serde::Serialize;

use super::terminal::Terminal;
use super::wire;
use crate::abstraction::codes;
use crate::{Error, ErrorKind, Result};

/// A command's answer: the same facts for people and for programs.
#[derive(Debug)]
pub(crate) struct Report {
    text: String,
    document: String,
    failures: Vec<Error>,
    done: Option<String>,
}

impl Report {
    /// An answer of `text` for people and `document` for programs.
    pub(crate) fn new(text: impl Display, document: &impl Serialize) -> Result<Self> {
        let document = serde_json::to_string(document).map_err(|source| {
            Error::new(&codes::INTERNAL, "print", "the answer has no JSON form").caused_by(source)
        })?;
        Ok(Self { text: text.to_string(), document, failures: Vec::new(), done: None })
    }

    /// No answer, since all of it was printed as it came.
    pub(crate) fn printed() -> Self {
        Self { text: String::new(), document: String::new(), failures: Vec::new(), done: None }
    }

    /// The answer for programs.
    pub(crate) fn into_document(self) -> String {
        self.document
    }

    /// Says that the command was carried out and fell short: the answer is printed, and then the errors.
    pub(crate) fn failed(mut self, failures: impl IntoIterator<Item = Error>) -> Self {
        self.failures.extend(failures);
        self
    }

    /// Names what was done, such as "job `main:x` was submitted", for those who cannot be given the answer itself.
    pub(crate) fn having(mut self, done: impl Into<String>) -> Self {
        self.done = Some(done.into());
        self
    }
}

/// How results are to be printed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Format {
    /// For people.
    Text,
    /// One JSON document on one line.
    Json,
}

/// Prints the answer to standard output and the error to standard error.
pub(crate) fn conclude(answer: Result<Report>, format: Format, terminal: Terminal) -> ExitCode {
    let (printed, failures, done) = match answer {
        Ok(report) => {
            let text = if format == Format::Json { report.document } else { report.text };
            (print(&text), report.failures, report.done)
        }
        Err(error) => {
            let printed = match format {
                Format::Json => serde_json::to_string(&wire::Problem::new(&error))
                    .map_err(io::Error::from)
                    .and_then(|text| print(&text)),
                Format::Text => Ok(()),
            };
            (printed, vec![error], None)
        }
    };
    terminal.errors(&failures);
    let unprinted = printed.err().map(|source| {
        let unwritable = "standard output cannot be written";
        let message = done.map_or_else(|| unwritable.to_owned(), |done| format!("{done}, but {unwritable}"));
        Error::new(&codes::FILE_IO, "print", message).caused_by(source)
    });
    terminal.errors(unprinted.as_slice());
    failures.into_iter().next().or(unprinted).map_or(ExitCode::SUCCESS, |error| exit_code(&error))
}

/// Prints one line of an answer that comes bit by bit. `false` where the reader has closed its end.
pub(crate) fn print_line(text: &str) -> Result<bool> {
    let mut out = io::stdout().lock();
    match writeln!(out, "{text}").and_then(|()| out.flush()) {
        Ok(()) => Ok(true),
        Err(error) if error.kind() == io::ErrorKind::BrokenPipe => Ok(false),
        Err(error) => {
            Err(Error::new(&codes::FILE_IO, "print", "standard output cannot be written").caused_by(error))
        }
    }
}

/// Writes all of a result. A reader that has closed its end has had enough, which is no failure.
fn print(text: &str) -> io::Result<()> {
    if text.is_empty() {
        return Ok(());
    }
    let mut out = io::stdout().lock();
    let end = if text.ends_with('\n') { "" } else { "\n" };
    match write!(out, "{text}{end}").and_then(|()| out.flush()) {
        Err(error) if error.kind() == io::ErrorKind::BrokenPipe => Ok(()),
        other => other,
    }
}

/// 2 where the command as given can't work until somebody changes it or what it loads; 1 where it was carried out and
/// fell short.
fn exit_code(error: &Error) -> ExitCode {
    let code = error.code();
    let unloadable = [
        &codes::UNKNOWN_TASK,
        &codes::UNKNOWN_WORKFLOW,
        &codes::STORE_OPEN,
        &codes::STORE_FOREIGN,
        &codes::STORE_NEWER,
    ];
    let fell_short = [&codes::CHECK_FAILED, &codes::RESULT_TYPE];
    // A file that was to be read is part of what is loaded; one that was to be written is what fell short.
    let unread = *code == codes::FILE_IO && ["load configuration", "read file"].contains(&error.operation());
    let misused =
        matches!(code.kind, ErrorKind::InvalidInput | ErrorKind::InvalidConfig | ErrorKind::Unsupported);
    ExitCode::from(if unread || unloadable.contains(&code) || (misused && !fell_short.contains(&code)) {
        2
    } else {
        1
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn misuse_and_what_cannot_be_loaded_exit_with_two_and_failures_with_one() {
        let check = |code: &'static codes::Code, expected: u8| {
            let exit = exit_code(&Error::new(code, "test", "x"));
            assert_eq!(format!("{exit:?}"), format!("{:?}", ExitCode::from(expected)), "{code}");
        };
        for code in [
            &codes::USAGE,
            &codes::CONFIG_KEY,
            &codes::UNKNOWN_TASK,
            &codes::STORE_NEWER,
            &codes::UNSUPPORTED,
        ] {
            check(code, 2);
        }
        for code in [&codes::JOB_FAILED, &codes::CHECK_FAILED, &codes::STORE_FULL, &codes::JOB_NOT_FOUND] {
            check(code, 1);
        }
    }
}
