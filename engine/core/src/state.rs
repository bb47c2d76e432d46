//! The job state machine: a pure function of a job's facts, an event and the time.
//!
//! `specs/job-states.md` draws the same table; a test compares the two row by row.

#[cfg(test)]
mod tests;

use std::time::Duration;

use taskport_abstraction::backend::QueueOrder;
use taskport_abstraction::options::Priority;
use taskport_abstraction::{Failure, FailureKind, JobState, RetryPolicy, Timestamp};

/// What the state machine looks at.
#[derive(Debug, Clone, Copy)]
pub struct JobFacts<'a> {
    /// Where the job stands.
    pub state: JobState,
    /// The attempts so far, the running one included.
    pub attempt: u32,
    /// When it was submitted.
    pub submitted_at: Timestamp,
    /// When it may start or, while it runs, when its lease lapses.
    pub due_at: Option<Timestamp>,
    /// When it is given up unless an attempt has started.
    pub expires_at: Option<Timestamp>,
    /// Whether its running attempt is to stop.
    pub cancel_requested: bool,
    /// When it is tried again.
    pub retry: &'a RetryPolicy,
}

/// What happens to a job.
#[derive(Debug, Clone, Copy)]
pub enum Event<'a> {
    /// A newer submit under its idempotency key takes its place, to start at the given time.
    Replace {
        /// When the newer submit may start.
        not_before: Option<Timestamp>,
    },
    /// Its time has come.
    Due,
    /// A gate holds it back.
    Hold,
    /// The gate lets it go on.
    Free,
    /// A worker takes it.
    Claim,
    /// The attempt succeeded.
    Ack,
    /// The attempt failed and may be tried again.
    Retry {
        /// Why it failed.
        failure: &'a Failure,
        /// The delay the handler asked for.
        after: Option<Duration>,
    },
    /// The attempt failed for good.
    Reject(&'a Failure),
    /// The attempt stopped because a cancel was asked for.
    Yield(&'a Failure),
    /// The worker hands it back without having used the attempt.
    Release,
    /// Its lease is over.
    Lapse,
    /// Somebody asks for it to end.
    Cancel,
    /// It is given up.
    Expire,
    /// Somebody asks for it to run again.
    Requeue,
}

/// Where a job goes, and what goes with it.
#[derive(Debug, Clone, PartialEq)]
pub struct Next {
    /// Its next state.
    pub state: JobState,
    /// What else is to be done.
    pub effect: Effect,
}

/// What a move does besides changing the state.
#[derive(Debug, Clone, PartialEq)]
pub enum Effect {
    /// It may start from this moment on.
    Wait(Timestamp),
    /// It is ready from now on.
    Ready,
    /// It waits for its gate.
    Hold,
    /// Attempt and token grow by one.
    Lease,
    /// The result is kept.
    Succeed,
    /// The failure is kept, and the next attempt may start from this moment on.
    Backoff(Timestamp, Failure),
    /// The failure is kept, and the job is ready from now on.
    Rescue(Failure),
    /// The attempt is taken back, and the job is ready from now on.
    HandBack,
    /// The failure is the job's outcome.
    End(Failure),
    /// The running attempt is to stop.
    AskToStop,
    /// The outcome is forgotten, attempts count from 0, and the job is ready from now on. The token keeps growing.
    Renew,
}

/// The table has no such move.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Refused;

/// Where a new job starts.
pub fn admit(not_before: Option<Timestamp>, now: Timestamp) -> Next {
    match not_before {
        Some(moment) if moment > now => Next { state: JobState::Scheduled, effect: Effect::Wait(moment) },
        _ => Next { state: JobState::Queued, effect: Effect::Ready },
    }
}

/// What an event does to a job. `random` is uniform in `0.0..1.0` and only used for jitter.
///
/// # Errors
/// [`Refused`] where the table has no such move.
pub fn transition(
    job: &JobFacts<'_>,
    event: Event<'_>,
    now: Timestamp,
    random: f64,
) -> Result<Next, Refused> {
    use JobState::{Blocked, Queued, Retrying, Running, Scheduled};
    let next = match (job.state, event) {
        (Scheduled | Blocked | Queued, Event::Replace { not_before }) if job.attempt == 0 => {
            admit(not_before, now)
        }
        (Scheduled | Retrying, Event::Due) if has_come(job.due_at, now) => ready(),
        (Scheduled | Queued, Event::Hold) => Next { state: Blocked, effect: Effect::Hold },
        (Blocked, Event::Free) => admit(job.due_at, now),
        (Queued, Event::Claim) => Next { state: Running, effect: Effect::Lease },
        (Running, _) => leave_running(job, event, now, random)?,
        (state, Event::Cancel) if state.is_waiting() => {
            end(JobState::Cancelled, Failure::new(FailureKind::Cancelled, "cancelled before it started"))
        }
        (Scheduled | Blocked | Queued, Event::Expire)
            if job.attempt == 0 && has_come(job.expires_at, now) =>
        {
            end(JobState::Expired, Failure::new(FailureKind::Expired, "not started in time"))
        }
        (JobState::Failed | JobState::Cancelled | JobState::Expired, Event::Requeue) => {
            Next { state: Queued, effect: Effect::Renew }
        }
        _ => return Err(Refused),
    };
    debug_assert!(next.state == job.state || job.state.can_become(next.state), "{job:?} {event:?} {next:?}");
    Ok(next)
}

fn leave_running(job: &JobFacts<'_>, event: Event<'_>, now: Timestamp, random: f64) -> Result<Next, Refused> {
    let next = match event {
        Event::Ack => Next { state: JobState::Succeeded, effect: Effect::Succeed },
        Event::Reject(failure) => end(JobState::Failed, failure.clone().at_attempt(job.attempt)),
        Event::Yield(failure) => end(JobState::Cancelled, failure.clone().at_attempt(job.attempt)),
        Event::Cancel => Next { state: JobState::Running, effect: Effect::AskToStop },
        Event::Retry { .. } | Event::Release if job.cancel_requested => stopped(job),
        Event::Lapse if job.cancel_requested && has_come(job.due_at, now) => stopped(job),
        Event::Release => Next { state: JobState::Queued, effect: Effect::HandBack },
        Event::Retry { failure, after } => {
            let failure = failure.clone().at_attempt(job.attempt);
            match job.retry.next(job.attempt, job.submitted_at, now, after, random) {
                Some(moment) => Next { state: JobState::Retrying, effect: Effect::Backoff(moment, failure) },
                None => end(JobState::Failed, used_up(job, failure)),
            }
        }
        Event::Lapse if has_come(job.due_at, now) => {
            let failure = Failure::new(FailureKind::WorkerLost, "the worker died or lost its lease")
                .at_attempt(job.attempt);
            // The worker is to blame more often than the job, so a rescued job does not wait for its backoff.
            match job.retry.next(job.attempt, job.submitted_at, now, Some(Duration::ZERO), random) {
                Some(_) => Next { state: JobState::Queued, effect: Effect::Rescue(failure) },
                None => end(JobState::Failed, used_up(job, failure)),
            }
        }
        _ => return Err(Refused),
    };
    Ok(next)
}

fn has_come(moment: Option<Timestamp>, now: Timestamp) -> bool {
    moment.is_some_and(|moment| moment <= now)
}

fn ready() -> Next {
    Next { state: JobState::Queued, effect: Effect::Ready }
}

fn end(state: JobState, failure: Failure) -> Next {
    Next { state, effect: Effect::End(failure) }
}

fn stopped(job: &JobFacts<'_>) -> Next {
    let failure = Failure::new(FailureKind::Cancelled, "cancelled while it ran").at_attempt(job.attempt);
    end(JobState::Cancelled, failure)
}

/// The outcome of a job whose last allowed attempt failed: the attempt's own failure where there was but one, or where
/// the job grew too old; else one that says so and keeps the last attempt's type and message.
fn used_up(job: &JobFacts<'_>, failure: Failure) -> Failure {
    if job.retry.attempts_max > 1 && job.attempt >= job.retry.attempts_max {
        Failure { kind: FailureKind::MaxAttemptsExceeded, retryable: false, ..failure }
    } else {
        failure
    }
}

/// The place in line of the job `seq`: the smallest goes first.
pub fn position(order: QueueOrder, priority: Priority, seq: i64) -> i64 {
    match order {
        QueueOrder::Priority => (i64::from(Priority::MAX.level() - priority.level()) << 56) | seq,
        QueueOrder::Fifo | QueueOrder::Fair => seq,
        QueueOrder::Lifo => -seq,
    }
}

/// The place in line by priority and age: each level of priority makes up for `ageing` of waiting.
pub fn aged_position(submitted_at: Timestamp, priority: Priority, ageing: Duration) -> i64 {
    let ageing = i64::try_from(ageing.as_micros()).unwrap_or(i64::MAX);
    let levels = i64::from(Priority::MAX.level() - priority.level());
    submitted_at.as_micros().saturating_add(levels.saturating_mul(ageing))
}
