//! What becomes of old jobs, and of everything at once.

use std::time::Duration;

use taskport_abstraction::backend::JobFilter;
use taskport_abstraction::maintenance::{Maintenance, Retention};
use taskport_abstraction::{JobId, JobState, WithOptions, codes};

use super::cases;
use crate::fixture::Fixture;
use crate::kit::{echo, failing, gated};

cases! { "upkeep":
    ended_jobs_are_pruned_by_state_and_age needs [Prune, CancelWaiting],
    pruned_jobs_stay_in_the_account needs [Prune, Totals],
    a_prune_leaves_live_jobs_alone needs [Prune],
    counting_ahead_removes_nothing needs [Prune],
    retention_keeps_what_is_young needs [Retention],
    a_backup_is_made_beside_a_running_job needs [Backup],
    a_backup_overwrites_nothing needs [Backup],
    a_restore_brings_back_what_was_there needs [Restore, Backup, JobDelete],
    nothing_is_restored_under_a_worker needs [Restore, Backup],
    what_is_no_backup_is_refused needs [Restore],
    a_sound_backend_has_no_problems needs [IntegrityCheck],
    a_vacuum_loses_nothing needs [Vacuum, Prune],
}

fn maintenance(f: &Fixture) -> &dyn Maintenance {
    f.backend().maintenance().unwrap()
}

fn at_once() -> Option<Duration> {
    Some(Duration::ZERO)
}

fn everything() -> Retention {
    let zero = at_once();
    Retention { succeeded: zero, failed: zero, cancelled: zero, expired: zero, runs: zero }
}

/// Runs jobs to their end: one that succeeded, one that failed, one that was cancelled.
async fn three_ends(f: &Fixture) -> [JobId; 3] {
    let cancelled = f.submit(echo(3).queue("other")).await;
    f.backend().cancel(std::slice::from_ref(&cancelled)).await.remove(0).unwrap();
    let succeeded = f.submit(echo(1)).await;
    let failed = f.submit(failing("k", 9, "fatal")).await;
    let worker = f.worker(1);
    f.outcome(&succeeded).await;
    f.outcome(&failed).await;
    worker.drain().await;
    [succeeded, failed, cancelled]
}

async fn ended_jobs_are_pruned_by_state_and_age(f: Fixture) {
    let [succeeded, failed, cancelled] = three_ends(&f).await;
    let hour = Some(Duration::from_secs(3_600));
    let young = Retention { succeeded: hour, failed: hour, cancelled: hour, ..Retention::default() };
    assert_eq!(maintenance(&f).prune(&young).await.unwrap().jobs, 0);
    let some = Retention { succeeded: at_once(), ..Retention::default() };
    assert_eq!(maintenance(&f).prune(&some).await.unwrap().jobs, 1);
    assert!(f.find(&succeeded).await.is_none());
    assert_eq!(f.status(&failed).await.state, JobState::Failed);
    assert_eq!(maintenance(&f).prune(&everything()).await.unwrap().jobs, 2);
    assert!(f.find(&failed).await.is_none() && f.find(&cancelled).await.is_none());
}

async fn pruned_jobs_stay_in_the_account(f: Fixture) {
    three_ends(&f).await;
    let counts = async || {
        let queues = f.admin().queues().await.unwrap();
        queues.into_iter().map(|queue| (queue.name, queue.counts)).collect::<Vec<_>>()
    };
    let before = counts().await;
    assert_eq!(maintenance(&f).prune(&everything()).await.unwrap().jobs, 3);
    assert_eq!(counts().await, before);
}

async fn a_prune_leaves_live_jobs_alone(f: Fixture) {
    let worker = f.worker(1);
    let running = f.submit(gated("g", 1)).await;
    f.until_state(&running, JobState::Running).await;
    let waiting = f.submit(echo(2).queue("other")).await;
    let later = f.submit(echo(3).delay(Duration::from_secs(600))).await;
    assert_eq!(maintenance(&f).prune(&everything()).await.unwrap().jobs, 0);
    f.stage().open_gate("g");
    assert_eq!(f.result::<i64>(&running).await, 1);
    worker.drain().await;
    assert_eq!(f.status(&waiting).await.state, JobState::Queued);
    assert_eq!(f.status(&later).await.state, JobState::Scheduled);
}

async fn counting_ahead_removes_nothing(f: Fixture) {
    let [succeeded, ..] = three_ends(&f).await;
    let counted = maintenance(&f).prunable(&everything()).await.unwrap();
    assert_eq!(counted.jobs, 3);
    assert_eq!(f.status(&succeeded).await.state, JobState::Succeeded);
    assert_eq!(maintenance(&f).prune(&everything()).await.unwrap(), counted);
}

async fn retention_keeps_what_is_young(mut f: Fixture) {
    let ids = three_ends(&f).await;
    // A backend that looks for what is over looks when it is opened, at the latest.
    if f.capability().durable.is_supported() {
        f.restart().await;
    }
    for id in &ids {
        assert!(f.status(id).await.state.is_terminal());
    }
}

async fn a_backup_is_made_beside_a_running_job(f: Fixture) {
    let worker = f.worker(1);
    let running = f.submit(gated("g", 1)).await;
    f.until_state(&running, JobState::Running).await;
    f.submit(echo(2).queue("other")).await;
    let copy = f.path("copy");
    let report = maintenance(&f).backup(&copy).await.unwrap();
    assert_eq!(report.jobs, 2);
    assert_eq!(report.bytes, std::fs::metadata(&copy).unwrap().len());
    f.stage().open_gate("g");
    assert_eq!(f.result::<i64>(&running).await, 1);
    worker.drain().await;
}

async fn a_backup_overwrites_nothing(f: Fixture) {
    let copy = f.path("copy");
    std::fs::write(&copy, "a letter").unwrap();
    assert_eq!(maintenance(&f).backup(&copy).await.unwrap_err().code(), &codes::FILE_IO);
    assert_eq!(std::fs::read(&copy).unwrap(), b"a letter");
    let nowhere = f.path("no").join("such").join("file");
    assert_eq!(maintenance(&f).backup(&nowhere).await.unwrap_err().code(), &codes::FILE_IO);
}

async fn a_restore_brings_back_what_was_there(f: Fixture) {
    let [succeeded, failed, _] = three_ends(&f).await;
    let waiting = f.submit(echo(7).tag("blue")).await;
    let before = f.list(JobFilter::default()).await;
    let copy = f.path("copy");
    let made = maintenance(&f).backup(&copy).await.unwrap();
    f.admin().delete(std::slice::from_ref(&succeeded)).await.remove(0).unwrap();
    f.admin().requeue(std::slice::from_ref(&failed)).await.remove(0).unwrap();
    let after = f.submit(echo(8)).await;
    let back = maintenance(&f).restore(&copy).await.unwrap();
    assert_eq!(back.jobs, made.jobs);
    assert_eq!(f.list(JobFilter::default()).await, before);
    assert!(f.find(&after).await.is_none());
    // What waited when the copy was made runs again, or for the first time.
    let worker = f.worker(1);
    assert_eq!(f.result::<i64>(&waiting).await, 7);
    worker.drain().await;
}

async fn nothing_is_restored_under_a_worker(f: Fixture) {
    let copy = f.path("copy");
    maintenance(&f).backup(&copy).await.unwrap();
    let worker = f.worker(1);
    let running = f.submit(gated("g", 1)).await;
    f.until_state(&running, JobState::Running).await;
    assert_eq!(maintenance(&f).restore(&copy).await.unwrap_err().code(), &codes::STORE_IN_USE);
    f.stage().open_gate("g");
    assert_eq!(f.result::<i64>(&running).await, 1);
    worker.drain().await;
    maintenance(&f).restore(&copy).await.unwrap();
    assert!(f.find(&running).await.is_none());
}

async fn what_is_no_backup_is_refused(f: Fixture) {
    let waiting = f.submit(echo(1)).await;
    let letter = f.path("letter");
    std::fs::write(&letter, "a letter to a friend ".repeat(300)).unwrap();
    assert_eq!(maintenance(&f).restore(&letter).await.unwrap_err().code(), &codes::STORE_FOREIGN);
    assert!(maintenance(&f).restore(&f.path("missing")).await.is_err());
    assert_eq!(f.status(&waiting).await.state, JobState::Queued);
}

async fn a_sound_backend_has_no_problems(f: Fixture) {
    three_ends(&f).await;
    f.submit(echo(1).delay(Duration::from_secs(60)).idempotency_key("k").tag("blue")).await;
    let report = maintenance(&f).integrity().await.unwrap();
    assert_eq!(report.problems, []);
    assert!(report.rows > 0);
    assert_eq!(maintenance(&f).repair().await.unwrap().problems, []);
}

async fn a_vacuum_loses_nothing(f: Fixture) {
    three_ends(&f).await;
    let kept = f.submit(echo("kept")).await;
    maintenance(&f).prune(&everything()).await.unwrap();
    let sizes = maintenance(&f).vacuum().await.unwrap();
    assert!(sizes.bytes_after <= sizes.bytes_before);
    maintenance(&f).checkpoint().await.unwrap();
    maintenance(&f).rebuild().await.unwrap();
    let worker = f.worker(1);
    assert_eq!(f.result::<String>(&kept).await, "kept");
    worker.drain().await;
}
