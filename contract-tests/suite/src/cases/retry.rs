//! Trying again, and giving up.

use std::time::Duration;

use taskport_abstraction::backend::JobFilter;
use taskport_abstraction::{Backoff, Call, FailureKind, JobState, RetryPolicy, WithOptions};

use super::cases;
use crate::fixture::Fixture;
use crate::kit::{echo, failing};

cases! { "retry":
    a_failed_attempt_is_tried_again_until_it_succeeds needs [RetryFixed],
    fixed_delays_are_kept needs [RetryFixed],
    linear_delays_grow needs [RetryLinear],
    exponential_delays_grow_with_jitter needs [RetryExponential],
    the_handler_may_say_when needs [RetryAfter],
    no_attempt_starts_past_the_largest_age needs [RetryAgeMax, RetryFixed],
    the_last_failure_becomes_a_dead_letter needs [DeadLetters, RetryFixed],
    a_fatal_failure_is_not_retried needs [DeadLetters],
    a_panic_ends_one_attempt_not_the_worker needs [RetryFixed],
    one_attempt_means_no_retry needs [DeadLetters],
    a_failure_keeps_kind_type_message_and_attempt needs [FailureDetails],
    a_waiting_retry_shows_when_and_why needs [RetryFixed, Status],
}

fn fixed(delay_ms: u64, attempts: u32) -> RetryPolicy {
    let backoff = Backoff::Fixed { delay: Duration::from_millis(delay_ms) };
    RetryPolicy { attempts_max: attempts, backoff, age_max: None }
}

/// Runs the call to its end and returns the delays between its starts, in milliseconds.
async fn delays(f: &Fixture, call: Call) -> Vec<u128> {
    let _worker = f.worker(1);
    let id = f.submit(call).await;
    f.outcome(&id).await;
    let starts = f.stage().starts();
    starts.windows(2).map(|pair| pair[1].at.since(pair[0].at).as_millis()).collect()
}

fn at_least(delays: &[u128], floors: &[u128]) {
    assert_eq!(delays.len(), floors.len(), "{delays:?}");
    assert!(delays.iter().zip(floors).all(|(delay, floor)| delay >= floor), "{delays:?} below {floors:?}");
}

async fn a_failed_attempt_is_tried_again_until_it_succeeds(f: Fixture) {
    let _worker = f.worker(1);
    let id = f.submit(failing("k", 2, "error").retry(fixed(10, 5))).await;
    assert_eq!(f.result::<String>(&id).await, "k");
    let attempts: Vec<u32> = f.stage().starts().iter().map(|start| start.attempt).collect();
    assert_eq!(attempts, [1, 2, 3]);
    assert_eq!(f.status(&id).await.attempt, 3);
}

async fn fixed_delays_are_kept(f: Fixture) {
    at_least(&delays(&f, failing("k", 2, "error").retry(fixed(150, 5))).await, &[150, 150]);
}

async fn linear_delays_grow(f: Fixture) {
    let policy = RetryPolicy { backoff: "linear(60ms, max 100ms)".parse().unwrap(), ..fixed(0, 5) };
    at_least(&delays(&f, failing("k", 3, "error").retry(policy)).await, &[60, 100, 100]);
}

async fn exponential_delays_grow_with_jitter(f: Fixture) {
    let policy = RetryPolicy { backoff: "exponential(80ms, max 1s, jitter)".parse().unwrap(), ..fixed(0, 5) };
    at_least(&delays(&f, failing("k", 3, "error").retry(policy)).await, &[40, 80, 160]);
}

async fn the_handler_may_say_when(f: Fixture) {
    at_least(&delays(&f, failing("k", 1, "after").retry(fixed(1, 5))).await, &[300]);
}

async fn no_attempt_starts_past_the_largest_age(f: Fixture) {
    let _worker = f.worker(1);
    let policy = RetryPolicy { age_max: Some(Duration::from_millis(250)), ..fixed(100, 100) };
    let id = f.submit(failing("k", 100, "error").retry(policy)).await;
    f.failure(&id).await;
    let starts = f.stage().starts();
    assert!((1..=3).contains(&starts.len()), "{} attempts within the age", starts.len());
}

async fn the_last_failure_becomes_a_dead_letter(f: Fixture) {
    let _worker = f.worker(1);
    let id = f.submit(failing("k", 9, "error").retry(fixed(10, 3))).await;
    let failure = f.failure(&id).await;
    assert_eq!((failure.kind, failure.attempt), (FailureKind::MaxAttemptsExceeded, 3));
    assert_eq!(f.stage().starts().len(), 3);
    let dead = f.list(JobFilter { state: Some(JobState::Failed), ..JobFilter::default() }).await;
    assert_eq!(dead.iter().map(|job| &job.id).collect::<Vec<_>>(), [&id]);
}

async fn a_fatal_failure_is_not_retried(f: Fixture) {
    let _worker = f.worker(1);
    let id = f.submit(failing("k", 9, "fatal").retry(fixed(10, 5))).await;
    f.failure(&id).await;
    assert_eq!(f.stage().starts().len(), 1);
    assert_eq!(f.status(&id).await.state, JobState::Failed);
}

async fn a_panic_ends_one_attempt_not_the_worker(f: Fixture) {
    let _worker = f.worker(1);
    let id = f.submit(failing("k", 1, "panic").retry(fixed(10, 3))).await;
    assert_eq!(f.result::<String>(&id).await, "k");
    let doomed = f.submit(failing("k", 9, "panic").max_attempts(1)).await;
    assert_eq!(f.failure(&doomed).await.kind, FailureKind::Panicked);
    let next = f.submit(echo(1)).await;
    assert_eq!(f.result::<i64>(&next).await, 1);
}

async fn one_attempt_means_no_retry(f: Fixture) {
    let _worker = f.worker(1);
    let id = f.submit(failing("k", 1, "error").max_attempts(1)).await;
    assert_eq!(f.failure(&id).await.attempt, 1);
    assert_eq!(f.stage().starts().len(), 1);
}

async fn a_failure_keeps_kind_type_message_and_attempt(f: Fixture) {
    let _worker = f.worker(1);
    let id = f.submit(failing("k", 9, "fatal")).await;
    let failure = f.failure(&id).await;
    assert_eq!(failure.type_name, "suite.Asked");
    assert_eq!(failure.message, "asked to fail");
    assert_eq!(failure.attempt, 1);
}

async fn a_waiting_retry_shows_when_and_why(f: Fixture) {
    let _worker = f.worker(1);
    let id = f.submit(failing("k", 1, "error").retry(fixed(60_000, 2))).await;
    let status = f.until_state(&id, JobState::Retrying).await;
    assert!(status.not_before.is_some());
    assert!(
        matches!(&status.outcome, Some(taskport_abstraction::Outcome::Failure(failure)) if failure.message == "asked to fail"),
        "{:?}",
        status.outcome
    );
}
