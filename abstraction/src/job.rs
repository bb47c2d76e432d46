//! One submitted call: its states, how it ended, and what a reader sees of it.

use std::fmt;
use std::sync::Arc;

use serde::{Deserialize, Serialize};

use crate::id::{JobId, QueueName, RunId, StepId, TaskName};
use crate::options::JobOptions;
use crate::payload::Payload;
use crate::time::Timestamp;

/// Where a job stands. Legal moves are the table in `specs/job-states.md`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum JobState {
    /// Waits for its time.
    Scheduled,
    /// Waits for something other than time, such as a key's turn.
    Blocked,
    /// Waits for a worker.
    Queued,
    /// A worker holds its lease.
    Running,
    /// Waits for the time of its next attempt.
    Retrying,
    /// Ended with a result.
    Succeeded,
    /// Ended for good without one; kept as a dead letter.
    Failed,
    /// Ended because somebody asked.
    Cancelled,
    /// Given up because it had not started in time.
    Expired,
    /// The backend cannot tell.
    Unknown,
}

impl JobState {
    /// Every state.
    pub const ALL: [Self; 10] = [
        Self::Scheduled,
        Self::Blocked,
        Self::Queued,
        Self::Running,
        Self::Retrying,
        Self::Succeeded,
        Self::Failed,
        Self::Cancelled,
        Self::Expired,
        Self::Unknown,
    ];

    /// Whether the job has ended.
    pub const fn is_terminal(self) -> bool {
        matches!(self, Self::Succeeded | Self::Failed | Self::Cancelled | Self::Expired)
    }

    /// Whether the job waits to start.
    pub const fn is_waiting(self) -> bool {
        matches!(self, Self::Scheduled | Self::Blocked | Self::Queued | Self::Retrying)
    }

    /// Whether the table allows the move. A dead letter may be requeued; nothing else leaves an end.
    pub const fn can_become(self, next: Self) -> bool {
        use JobState::*;
        match self {
            Scheduled | Blocked | Retrying => {
                matches!(next, Blocked | Queued | Scheduled | Cancelled | Expired)
            }
            Queued => matches!(next, Running | Blocked | Scheduled | Cancelled | Expired),
            Running => matches!(next, Succeeded | Failed | Retrying | Queued | Cancelled | Scheduled),
            Failed | Cancelled | Expired => matches!(next, Queued | Blocked),
            Succeeded => false,
            Unknown => true,
        }
    }

    /// The name used in the command line, in JSON and in the tables.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Scheduled => "scheduled",
            Self::Blocked => "blocked",
            Self::Queued => "queued",
            Self::Running => "running",
            Self::Retrying => "retrying",
            Self::Succeeded => "succeeded",
            Self::Failed => "failed",
            Self::Cancelled => "cancelled",
            Self::Expired => "expired",
            Self::Unknown => "unknown",
        }
    }
}

impl fmt::Display for JobState {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.as_str())
    }
}

impl std::str::FromStr for JobState {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        Self::ALL.into_iter().find(|state| state.as_str() == text).ok_or_else(|| {
            let names = Self::ALL.map(Self::as_str).join(", ");
            format!("`{text}` is not a job state: {names}")
        })
    }
}

/// How a job ended.
#[derive(Debug, Clone, PartialEq)]
pub enum Outcome {
    /// With a result.
    Success(Payload),
    /// Without one.
    Failure(Failure),
}

/// Why an attempt, a job or a run ended without success. The stored form carries no payload of the call.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Failure {
    /// What sort of end it was.
    pub kind: FailureKind,
    /// The error's type as its language names it, such as `std::io::Error` or `builtins.ValueError`.
    #[serde(rename = "type")]
    pub type_name: String,
    /// The error's message, cut at [`Failure::MESSAGE_BYTES_MAX`].
    pub message: String,
    /// Where it happened, where the language says so, cut at [`Failure::TRACEBACK_BYTES_MAX`].
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub traceback: Option<String>,
    /// The attempt, from 1; 0 where none had started.
    pub attempt: u32,
    /// Whether another attempt may help.
    pub retryable: bool,
}

impl Failure {
    /// The largest number of bytes of a message.
    pub const MESSAGE_BYTES_MAX: usize = 16 << 10;
    /// The largest number of bytes of a traceback.
    pub const TRACEBACK_BYTES_MAX: usize = 64 << 10;

    /// A failure of `kind` with a message, of no particular type.
    pub fn new(kind: FailureKind, message: impl Into<String>) -> Self {
        let mut message = message.into();
        truncate(&mut message, Self::MESSAGE_BYTES_MAX);
        Self {
            kind,
            type_name: kind.as_str().to_owned(),
            message,
            traceback: None,
            attempt: 0,
            retryable: kind.is_retryable(),
        }
    }

    /// Names the error's type.
    #[must_use]
    pub fn of_type(mut self, type_name: impl Into<String>) -> Self {
        self.type_name = type_name.into();
        self
    }

    /// Adds where it happened.
    #[must_use]
    pub fn with_traceback(mut self, traceback: impl Into<String>) -> Self {
        let mut traceback = traceback.into();
        truncate(&mut traceback, Self::TRACEBACK_BYTES_MAX);
        self.traceback = Some(traceback);
        self
    }

    /// Names the attempt.
    #[must_use]
    pub fn at_attempt(mut self, attempt: u32) -> Self {
        self.attempt = attempt;
        self
    }
}

fn truncate(text: &mut String, bytes_max: usize) {
    if text.len() > bytes_max {
        let mut end = bytes_max;
        while !text.is_char_boundary(end) {
            end -= 1;
        }
        text.truncate(end);
    }
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.type_name == self.kind.as_str() {
            write!(f, "{}: {}", self.kind.as_str(), self.message)
        } else {
            write!(f, "{}: {}: {}", self.kind.as_str(), self.type_name, self.message)
        }
    }
}

/// What sort of end an attempt, a job or a run came to.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
#[non_exhaustive]
pub enum FailureKind {
    /// The handler returned an error.
    Error,
    /// The handler returned an error that no attempt can mend.
    Fatal,
    /// The handler panicked.
    Panicked,
    /// The attempt passed its time limit.
    TimedOut,
    /// The attempt passed its memory limit.
    OutOfMemory,
    /// The worker or child process died or lost its lease.
    WorkerLost,
    /// Somebody asked for it to end.
    Cancelled,
    /// It had not started in time.
    Expired,
    /// The arguments do not fit the task.
    BadArguments,
    /// No worker knows the task.
    UnknownTask,
    /// The message or payload cannot be decoded.
    Undecodable,
    /// The result is larger than the backend can store.
    ResultTooLarge,
    /// Every attempt failed; the message is the last attempt's.
    MaxAttemptsExceeded,
    /// A step that a run depends on failed.
    StepFailed,
    /// The run passed its time limit.
    RunTimedOut,
}

impl FailureKind {
    /// The name used in JSON.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Error => "error",
            Self::Fatal => "fatal",
            Self::Panicked => "panicked",
            Self::TimedOut => "timed_out",
            Self::OutOfMemory => "out_of_memory",
            Self::WorkerLost => "worker_lost",
            Self::Cancelled => "cancelled",
            Self::Expired => "expired",
            Self::BadArguments => "bad_arguments",
            Self::UnknownTask => "unknown_task",
            Self::Undecodable => "undecodable",
            Self::ResultTooLarge => "result_too_large",
            Self::MaxAttemptsExceeded => "max_attempts_exceeded",
            Self::StepFailed => "step_failed",
            Self::RunTimedOut => "run_timed_out",
        }
    }

    /// Whether another attempt may end better.
    pub const fn is_retryable(self) -> bool {
        matches!(self, Self::Error | Self::Panicked | Self::TimedOut | Self::OutOfMemory | Self::WorkerLost)
    }
}

/// What a reader sees of a job.
#[derive(Debug, Clone, PartialEq)]
pub struct JobStatus {
    /// The job.
    pub id: JobId,
    /// The task it calls.
    pub task: TaskName,
    /// The line it waits in.
    pub queue: QueueName,
    /// Where it stands.
    pub state: JobState,
    /// The attempts so far, the running one included.
    pub attempt: u32,
    /// What the submit asked for.
    pub options: JobOptions,
    /// The arguments document; empty where the backend does not keep it.
    pub arguments: Payload,
    /// When it was submitted.
    pub submitted_at: Option<Timestamp>,
    /// When the next attempt may start, while it is scheduled or retrying.
    pub not_before: Option<Timestamp>,
    /// When the present or last attempt started.
    pub started_at: Option<Timestamp>,
    /// When it ended.
    pub finished_at: Option<Timestamp>,
    /// How it ended, or why its last attempt failed.
    pub outcome: Option<Outcome>,
    /// The last progress report of the running attempt.
    pub progress: Option<Progress>,
    /// The worker that holds it.
    pub worker: Option<Arc<str>>,
    /// Whether a cancel was asked for and has not yet taken effect.
    pub cancel_requested: bool,
    /// The step of a run this job executes.
    pub step: Option<StepRef>,
}

/// Which step of which run a job executes.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct StepRef {
    /// The run.
    pub run: RunId,
    /// The step.
    pub step: StepId,
    /// The place in the step's list, where it is a fan-out.
    pub index: Option<u32>,
}

/// How far an attempt says it has come.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Progress {
    /// From 0.0 to 1.0.
    pub fraction: f64,
    /// What it is doing, at most 1,024 bytes.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub message: Option<String>,
}

impl Progress {
    /// The largest number of bytes of a message.
    pub const MESSAGE_BYTES_MAX: usize = 1_024;

    /// A report, with the fraction kept within 0.0 to 1.0 and the message cut at its limit.
    pub fn new(fraction: f64, message: Option<&str>) -> Self {
        let message = message.map(|message| {
            let mut message = message.to_owned();
            truncate(&mut message, Self::MESSAGE_BYTES_MAX);
            message
        });
        let fraction = if fraction.is_finite() { fraction.clamp(0.0, 1.0) } else { 0.0 };
        Self { fraction, message }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nothing_leaves_success_and_only_a_requeue_leaves_another_end() {
        for next in JobState::ALL {
            assert!(!JobState::Succeeded.can_become(next));
            for end in [JobState::Failed, JobState::Cancelled, JobState::Expired] {
                let again = matches!(next, JobState::Queued | JobState::Blocked);
                assert_eq!(end.can_become(next), again, "{end} {next}");
            }
        }
    }

    #[test]
    fn long_messages_are_cut_at_a_character() {
        let failure = Failure::new(FailureKind::Error, "é".repeat(Failure::MESSAGE_BYTES_MAX));
        assert!(failure.message.len() <= Failure::MESSAGE_BYTES_MAX);
        assert!(failure.message.chars().all(|c| c == 'é'));
    }

    #[test]
    fn state_names_round_trip() {
        for state in JobState::ALL {
            assert_eq!(state.as_str().parse::<JobState>().unwrap(), state);
            assert_eq!(serde_json::to_value(state).unwrap(), state.as_str());
        }
        assert!("done".parse::<JobState>().is_err());
    }
}
