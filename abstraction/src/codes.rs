//! The error codes: each has a page of remedies under `docs/errors/` (`cargo xtask tidy` checks the pair).

use std::fmt;

use crate::error::ErrorKind;

/// A stable number for one situation a user can meet, and the kind of error it is.
#[derive(Debug, PartialEq, Eq)]
pub struct Code {
    /// The number in `E-NNN`.
    pub number: u16,
    /// What sort of error it is.
    pub kind: ErrorKind,
    /// The heading of its page.
    pub title: &'static str,
}

impl fmt::Display for Code {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "E-{:03}", self.number)
    }
}

macro_rules! codes {
    ($($name:ident = $number:literal, $kind:ident, $title:literal;)+) => {
        $(#[doc = $title] pub const $name: Code = Code { number: $number, kind: ErrorKind::$kind, title: $title };)+
        /// Every code, in order of number.
        pub const ALL: &[&Code] = &[$(&$name),+];
    };
}

codes! {
    UNKNOWN_TASK = 1, NotFound, "Unknown task";
    BAD_ARGUMENTS = 2, InvalidInput, "Arguments do not fit the task";
    BAD_NAME = 3, InvalidInput, "Malformed name or id";
    BAD_OPTION = 4, InvalidInput, "Malformed or contradictory job option";
    UNSUPPORTED = 5, Unsupported, "The backend does not support this";
    PAYLOAD_TOO_LARGE = 6, PayloadTooLarge, "Payload over the limit";
    JOB_NOT_FOUND = 7, NotFound, "No such job";
    JOB_CONFLICT = 8, Conflict, "The job is in another state";
    IDEMPOTENCY = 9, IdempotencyViolation, "One idempotency key, two different calls";
    LEASE_LOST = 10, LeaseLost, "The lease has passed on";
    JOB_FAILED = 11, JobFailed, "The job ended without success";
    WAIT_TIMEOUT = 12, Timeout, "No outcome within the time limit";
    RESULT_TYPE = 13, InvalidInput, "The result has another type";
    DUPLICATE_DEFINITION = 14, InvalidInput, "Two definitions of one name";
    BAD_DEFINITION = 15, InvalidInput, "Malformed task definition";
    BAD_WORKFLOW = 16, InvalidInput, "Malformed workflow";
    RUN_NOT_FOUND = 17, NotFound, "No such run";
    CONFIG_SYNTAX = 18, InvalidConfig, "The configuration cannot be parsed";
    CONFIG_KEY = 19, InvalidConfig, "Unknown key in the configuration";
    CONFIG_VALUE = 20, InvalidConfig, "Wrong value in the configuration";
    CONFIG_SECRET = 21, InvalidConfig, "A secret cannot be read";
    UNKNOWN_BACKEND = 22, InvalidConfig, "Unknown backend or kind";
    STORE_OPEN = 23, Unavailable, "The database cannot be opened";
    STORE_FOREIGN = 24, Corrupt, "The file is not a Taskport database";
    STORE_NEWER = 25, Unavailable, "The database is newer than this program";
    STORE_CORRUPT = 26, Corrupt, "The database is damaged";
    STORE_FULL = 27, Unavailable, "The disk is full";
    STORE_IO = 28, Unavailable, "The database cannot be read or written";
    STORE_BUSY = 29, Backpressure, "Another process holds the database";
    CLOSED = 30, Unavailable, "The backend is closed";
    OVERLOADED = 31, Backpressure, "A bounded queue is full";
    BAD_VERSION = 32, Corrupt, "A stored form has an unknown version";
    UNDECODABLE = 33, Corrupt, "A payload cannot be decoded";
    ISOLATION = 34, InvalidConfig, "Isolated tasks need the child hook";
    QUEUE_NOT_FOUND = 35, NotFound, "No such queue";
    USAGE = 36, InvalidInput, "The command line is misused";
    FILE_IO = 37, Unavailable, "A file cannot be read or written";
    CHECK_FAILED = 38, InvalidConfig, "The check found problems";
    INTERNAL = 39, Internal, "A defect in Taskport";
    DENIED = 40, Denied, "Access is refused";
    CANCELLED = 41, JobFailed, "The job was cancelled";
    EXPIRED = 42, JobFailed, "The job expired before it started";
    RUN_FAILED = 43, JobFailed, "The run ended without success";
    NO_RESULT = 44, NotFound, "The result is no longer kept";
    TASK_BUSY = 45, Backpressure, "The task is at its limit";
    UNKNOWN_WORKFLOW = 46, NotFound, "Unknown workflow";
    BLOCKING_IN_ASYNC = 47, InvalidInput, "The blocking API inside an async runtime";
    RUN_CONFLICT = 48, Conflict, "One run id, two different starts";
    LISTEN = 49, InvalidConfig, "An address cannot be listened at";
    BAD_SCHEDULE = 50, InvalidInput, "Malformed schedule";
    SCHEDULE_NOT_FOUND = 51, NotFound, "No such schedule";
    BATCH_NOT_FOUND = 52, NotFound, "No such batch";
    BATCH_FINISHED = 53, Conflict, "The batch has ended";
    STORE_IN_USE = 54, Conflict, "The database is in use";
}
