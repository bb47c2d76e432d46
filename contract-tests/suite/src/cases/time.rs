//! Delays, expiry and time limits.

use std::time::Duration;

use taskport_abstraction::context::StopReason;
use taskport_abstraction::{Clock, FailureKind, JobState, SystemClock, WithOptions, codes};

use super::cases;
use crate::fixture::{DEADLINE, Fixture, refused};
use crate::kit::{echo, gated};

cases! { "time":
    a_delayed_job_never_starts_early needs [Delay, Status],
    a_job_for_a_moment_starts_at_it needs [Delay],
    a_moment_in_the_past_means_now needs [Delay],
    a_delay_is_woken_without_other_traffic needs [Delay],
    a_job_that_has_not_started_in_time_expires needs [Expiry],
    a_delayed_job_can_expire needs [Expiry, Delay],
    a_started_job_does_not_expire needs [Expiry],
    expiry_before_the_start_is_refused needs [Expiry, Delay],
    the_soft_limit_asks_the_handler_to_stop needs [TimeoutSoft],
    the_hard_limit_ends_the_attempt needs [TimeoutHard],
    an_attempt_past_its_limit_is_retried_by_policy needs [TimeoutHard, RetryFixed],
}

const SHORT: Duration = Duration::from_millis(200);

async fn a_delayed_job_never_starts_early(f: Fixture) {
    let _worker = f.worker(4);
    let submitted = SystemClock.now();
    let id = f.submit(echo(1).delay(SHORT)).await;
    let status = f.status(&id).await;
    assert_eq!(status.state, JobState::Scheduled);
    assert!(status.not_before.unwrap() >= submitted + SHORT);
    f.outcome(&id).await;
    let started = f.stage().starts()[0].at;
    assert!(started >= submitted + SHORT, "{:?} early", (submitted + SHORT).since(started));
}

async fn a_job_for_a_moment_starts_at_it(f: Fixture) {
    let _worker = f.worker(1);
    let moment = SystemClock.now() + SHORT;
    let id = f.submit(echo(1).not_before(moment)).await;
    f.outcome(&id).await;
    let started = f.stage().starts()[0].at;
    assert!(started >= moment && started.since(moment) < DEADLINE);
}

async fn a_moment_in_the_past_means_now(f: Fixture) {
    let id = f.submit(echo(1).not_before(taskport_abstraction::Timestamp::default())).await;
    let _worker = f.worker(1);
    f.outcome(&id).await;
}

async fn a_delay_is_woken_without_other_traffic(f: Fixture) {
    let _worker = f.worker(1);
    let ids = [f.submit(echo(1).delay(SHORT * 2)).await, f.submit(echo(2).delay(SHORT)).await];
    for id in &ids {
        f.outcome(id).await;
    }
    assert_eq!(f.stage().started(), [2, 1]);
}

async fn a_job_that_has_not_started_in_time_expires(f: Fixture) {
    let id = f.submit(echo(1).expires_in(SHORT)).await;
    assert_eq!(f.failure(&id).await.kind, FailureKind::Expired);
    assert_eq!(f.status(&id).await.state, JobState::Expired);
    let worker = f.worker(1);
    let next = f.submit(echo(2)).await;
    f.outcome(&next).await;
    worker.drain().await;
    assert_eq!(f.stage().started(), [2]);
}

async fn a_delayed_job_can_expire(f: Fixture) {
    let id = f.submit(echo(1).delay(SHORT).expires_in(SHORT * 2)).await;
    assert_eq!(f.failure(&id).await.kind, FailureKind::Expired);
}

async fn a_started_job_does_not_expire(f: Fixture) {
    let _worker = f.worker(1);
    let id = f.submit(gated("g", 1).expires_in(SHORT * 3)).await;
    f.until_state(&id, JobState::Running).await;
    let after_expiry = f.submit(echo(2).queue("other").delay(SHORT * 4)).await;
    let _other = f.worker_of(f.backend(), &["other"], 1);
    f.outcome(&after_expiry).await;
    assert_eq!(f.status(&id).await.state, JobState::Running);
    f.stage().open_gate("g");
    assert_eq!(f.result::<i64>(&id).await, 1);
}

async fn expiry_before_the_start_is_refused(f: Fixture) {
    let error = refused(f.try_submit(echo(1).delay(SHORT * 2).expires_in(SHORT)).await);
    assert_eq!(error.code(), &codes::BAD_OPTION);
}

async fn the_soft_limit_asks_the_handler_to_stop(f: Fixture) {
    let _worker = f.worker(1);
    let id = f.submit(gated("never", 1).soft_timeout(SHORT).max_attempts(1)).await;
    let failure = f.failure(&id).await;
    assert_eq!(f.stage().stops(), [StopReason::TimedOut]);
    assert_eq!(failure.kind, FailureKind::TimedOut);
}

async fn the_hard_limit_ends_the_attempt(f: Fixture) {
    let _worker = f.worker(1);
    let id = f.submit(gated("never", 1).timeout(SHORT).max_attempts(1)).await;
    assert_eq!(f.failure(&id).await.kind, FailureKind::TimedOut);
    let next = f.submit(echo(2)).await;
    assert_eq!(f.result::<i64>(&next).await, 2, "the slot is free again");
}

async fn an_attempt_past_its_limit_is_retried_by_policy(f: Fixture) {
    let _worker = f.worker(1);
    let id = f
        .submit(gated("later", 1).timeout(SHORT).max_attempts(2).backoff("fixed(50ms)".parse().unwrap()))
        .await;
    f.until_state(&id, JobState::Retrying).await;
    f.stage().open_gate("later");
    assert_eq!(f.result::<i64>(&id).await, 1);
    assert_eq!(f.stage().starts().last().unwrap().attempt, 2);
}
