//! SQLite's errors in our terms.

use rusqlite::ErrorCode;
use rusqlite::ffi;
use taskport_abstraction::codes::{self, Code};
use taskport_abstraction::{Error, Result};

/// An error of SQLite in `operation`.
pub(crate) fn store_error(operation: &'static str, source: rusqlite::Error) -> Error {
    let (code, message, hint) = describe(&source);
    let error = Error::new(code, operation, message).caused_by(source);
    if hint.is_empty() { error } else { error.hint(hint) }
}

/// Whether another process holds the file for now.
pub(crate) fn is_busy(source: &rusqlite::Error) -> bool {
    matches!(source.sqlite_error_code(), Some(ErrorCode::DatabaseBusy | ErrorCode::DatabaseLocked))
}

/// A commit that failed. Where a write to the disk failed, SQLite cannot tell whether recovery will find it whole.
pub(crate) fn commit_error(source: rusqlite::Error) -> Error {
    let unclear = source.sqlite_error_code() == Some(ErrorCode::SystemIoFailure);
    let error = store_error("commit", source);
    if unclear { error.maybe_applied() } else { error }
}

/// What a file holds that no version of the store writes.
pub(crate) fn damaged(message: impl Into<std::borrow::Cow<'static, str>>) -> Error {
    Error::new(&codes::STORE_CORRUPT, "read", message).hint(RESTORE)
}

/// Shortens `map_err` at every statement.
pub(crate) trait InStore<T> {
    /// Says in which operation a statement failed.
    fn during(self, operation: &'static str) -> Result<T>;
}

impl<T> InStore<T> for rusqlite::Result<T> {
    fn during(self, operation: &'static str) -> Result<T> {
        self.map_err(|source| store_error(operation, source))
    }
}

/// What to do about damage that no repair can mend.
pub(crate) const RESTORE: &str =
    "stop every process that uses the file, copy it aside, then restore a backup or use sqlite3's .recover";

fn describe(source: &rusqlite::Error) -> (&'static Code, &'static str, &'static str) {
    match source.sqlite_error_code() {
        _ if is_foreign_value(source) => {
            (&codes::STORE_CORRUPT, "the database holds a value that no release writes", RESTORE)
        }
        // Every statement fits the schema that its migrations make.
        _ if matches!(source, rusqlite::Error::SqlInputError { .. }) => {
            (&codes::STORE_CORRUPT, "the database's schema is not the one its migrations made", RESTORE)
        }
        Some(ErrorCode::DatabaseBusy | ErrorCode::DatabaseLocked) => (
            &codes::STORE_BUSY,
            "another process holds the database",
            "try again; if it lasts, look for a process that keeps a transaction open on the file",
        ),
        Some(ErrorCode::DiskFull) => (
            &codes::STORE_FULL,
            "the disk is full",
            "free some space and try again; what was committed before is safe",
        ),
        Some(ErrorCode::NotADatabase) => (
            &codes::STORE_FOREIGN,
            "the file is no SQLite database",
            "give a new path, or the path of a Taskport database; the file was left as it is",
        ),
        Some(ErrorCode::DatabaseCorrupt) => (&codes::STORE_CORRUPT, "the database is damaged", RESTORE),
        Some(ErrorCode::CannotOpen) => (
            &codes::STORE_OPEN,
            "the database cannot be opened",
            "check that its directory exists and that this user may write there",
        ),
        Some(
            ErrorCode::ReadOnly | ErrorCode::PermissionDenied | ErrorCode::AuthorizationForStatementDenied,
        ) => (
            &codes::STORE_OPEN,
            "the database cannot be written",
            "check that this user may write the file and its directory",
        ),
        Some(ErrorCode::SystemIoFailure) if is_shared_memory(source) => (
            &codes::STORE_IO,
            "the database cannot be shared on this file system",
            "keep the file on a local disk; network file systems do not carry SQLite's locks",
        ),
        Some(ErrorCode::SystemIoFailure | ErrorCode::FileLockingProtocolFailed) => (
            &codes::STORE_IO,
            "the database cannot be read or written",
            "check the disk, quotas, `ulimit -f` and the system's log; what was committed before is safe",
        ),
        Some(ErrorCode::OutOfMemory) => {
            (&codes::STORE_IO, "there is not enough memory", "free some memory and try again")
        }
        _ => (&codes::INTERNAL, "a statement of the store failed", ""),
    }
}

/// Whether a column holds what its type and `NOT NULL` rule out.
fn is_foreign_value(source: &rusqlite::Error) -> bool {
    matches!(
        source,
        rusqlite::Error::InvalidColumnType(..)
            | rusqlite::Error::FromSqlConversionFailure(..)
            | rusqlite::Error::IntegralValueOutOfRange(..)
            | rusqlite::Error::Utf8Error(..)
    )
}

fn is_shared_memory(source: &rusqlite::Error) -> bool {
    source.sqlite_error().is_some_and(|error| {
        matches!(
            error.extended_code,
            ffi::SQLITE_IOERR_SHMOPEN | ffi::SQLITE_IOERR_SHMMAP | ffi::SQLITE_IOERR_SHMLOCK
        )
    })
}
