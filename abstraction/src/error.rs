//! The one error type of the library.

use std::borrow::Cow;
use std::error::Error as StdError;
use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use crate::codes::Code;
use crate::id::BackendName;

/// A `Result` whose error is [`Error`].
pub type Result<T, E = Error> = std::result::Result<T, E>;

/// What sort of thing went wrong. Few, stable, and never named after a backend.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum ErrorKind {
    /// The backend cannot do this, and says what to use instead.
    Unsupported,
    /// The job, queue, run or task does not exist.
    NotFound,
    /// The request contradicts the present state, such as cancelling a finished job.
    Conflict,
    /// An argument, result or batch is larger than the backend's limit.
    PayloadTooLarge,
    /// The request is malformed: a wrong argument, name, option or definition.
    InvalidInput,
    /// Configuration is malformed or contradicts itself.
    InvalidConfig,
    /// The backend cannot be reached or cannot work now.
    Unavailable,
    /// No answer came within the caller's limit.
    Timeout,
    /// The backend refuses the caller.
    Denied,
    /// Stored data cannot be read.
    Corrupt,
    /// The backend or a bounded queue is full; slow down.
    Backpressure,
    /// One idempotency key was used for two different calls.
    IdempotencyViolation,
    /// The lease has passed to another attempt or has ended.
    LeaseLost,
    /// The job ended without success; the [`Failure`](crate::Failure) is attached.
    JobFailed,
    /// A defect in Taskport or in an adapter.
    Internal,
}

/// Whether the backend may have applied the request. It is not the question whether to try again.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Certainty {
    /// The backend did not take it.
    NotApplied,
    /// The backend may have taken it; repeat with the same job id or idempotency key.
    MaybeApplied,
}

/// Whether trying again is of use.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Retry {
    /// The same request fails again.
    Never,
    /// The same request may succeed at once.
    Now,
    /// The same request may succeed after a while.
    After(Duration),
}

/// What failed, with what, whether it may have happened, and what to do about it.
///
/// `Display` is one line that ends in the code of a page under `docs/errors/`. It shows no payload and no secret.
#[derive(Clone)]
pub struct Error(Box<Inner>);

#[derive(Clone)]
struct Inner {
    code: &'static Code,
    certainty: Certainty,
    retry: Retry,
    backend: Option<BackendName>,
    operation: &'static str,
    message: Cow<'static, str>,
    hint: Option<Cow<'static, str>>,
    failure: Option<Box<crate::Failure>>,
    source: Option<Arc<dyn StdError + Send + Sync>>,
}

impl Error {
    /// An error of `code` in `operation` (a verb such as `submit`) that was not applied and is not worth repeating.
    ///
    /// `message` is lower case, names what failed and with what, and has no full stop.
    pub fn new(code: &'static Code, operation: &'static str, message: impl Into<Cow<'static, str>>) -> Self {
        let retry = match code.kind {
            ErrorKind::Unavailable | ErrorKind::Timeout => Retry::After(Duration::from_secs(1)),
            ErrorKind::Backpressure => Retry::After(Duration::from_millis(50)),
            _ => Retry::Never,
        };
        Self(Box::new(Inner {
            code,
            certainty: Certainty::NotApplied,
            retry,
            backend: None,
            operation,
            message: message.into(),
            hint: None,
            failure: None,
            source: None,
        }))
    }

    /// Says that the backend may have applied the request.
    #[must_use]
    pub fn maybe_applied(mut self) -> Self {
        self.0.certainty = Certainty::MaybeApplied;
        self
    }

    /// Says whether trying again is of use.
    #[must_use]
    pub fn retry_hint(mut self, retry: Retry) -> Self {
        self.0.retry = retry;
        self
    }

    /// Names the backend it happened in.
    #[must_use]
    pub fn in_backend(mut self, backend: &BackendName) -> Self {
        self.0.backend.get_or_insert_with(|| backend.clone());
        self
    }

    /// Adds a remedy, shown on its own line.
    #[must_use]
    pub fn hint(mut self, hint: impl Into<Cow<'static, str>>) -> Self {
        self.0.hint = Some(hint.into());
        self
    }

    /// Keeps the error below this one.
    #[must_use]
    pub fn caused_by(mut self, source: impl StdError + Send + Sync + 'static) -> Self {
        self.0.source = Some(Arc::new(source));
        self
    }

    /// Attaches how the job ended.
    #[must_use]
    pub fn with_failure(mut self, failure: crate::Failure) -> Self {
        self.0.failure = Some(Box::new(failure));
        self
    }

    /// What sort of thing went wrong.
    pub fn kind(&self) -> ErrorKind {
        self.0.code.kind
    }

    /// The code of the page under `docs/errors/`.
    pub fn code(&self) -> &'static Code {
        self.0.code
    }

    /// Whether the backend may have applied the request.
    pub fn certainty(&self) -> Certainty {
        self.0.certainty
    }

    /// Whether trying again is of use.
    pub fn retry(&self) -> Retry {
        self.0.retry
    }

    /// The backend it happened in, where one was involved.
    pub fn backend(&self) -> Option<&BackendName> {
        self.0.backend.as_ref()
    }

    /// The verb that failed.
    pub fn operation(&self) -> &'static str {
        self.0.operation
    }

    /// The message without operation, backend and code.
    pub fn message(&self) -> &str {
        &self.0.message
    }

    /// The remedy, where one is known.
    pub fn remedy(&self) -> Option<&str> {
        self.0.hint.as_deref()
    }

    /// How the job ended, where the error says that a job ended without success.
    pub fn failure(&self) -> Option<&crate::Failure> {
        self.0.failure.as_deref()
    }
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.0.operation)?;
        if let Some(backend) = &self.0.backend {
            write!(f, " on `{backend}`")?;
        }
        write!(f, ": {}", self.0.message)?;
        if let Some(source) = &self.0.source {
            write!(f, ": {source}")?;
        }
        if self.0.certainty == Certainty::MaybeApplied {
            write!(f, " (it may have been applied)")?;
        }
        write!(f, " [{}]", self.0.code)
    }
}

impl fmt::Debug for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Error")
            .field("code", &format_args!("{}", self.0.code))
            .field("kind", &self.kind())
            .field("certainty", &self.0.certainty)
            .field("retry", &self.0.retry)
            .field("backend", &self.0.backend)
            .field("operation", &self.0.operation)
            .field("message", &self.0.message)
            .field("hint", &self.0.hint)
            .field("failure", &self.0.failure)
            .field("source", &self.0.source)
            .finish()
    }
}

impl StdError for Error {
    fn source(&self) -> Option<&(dyn StdError + 'static)> {
        self.0.source.as_ref().map(|source| source.as_ref() as &(dyn StdError + 'static))
    }
}
