//! Who may run a job, and whose outcome counts.

use taskport_abstraction::{Call, JobId, JobState, Outcome, WithOptions};

use super::cases;
use crate::fixture::{Fixture, LEASE, eventually};
use crate::kit::{echo, gated};
use crate::process::WorkerProcess;

cases! { "lease":
    a_job_is_given_to_one_worker_at_a_time needs [Lease],
    a_thousand_jobs_and_four_workers_run_each_job_once needs [Lease, SubmitBatch],
    a_long_attempt_keeps_its_lease needs [LeaseExtend],
    a_killed_worker_s_job_runs_again needs [Rescue, MultiProcess],
    a_worker_killed_in_its_last_attempt_leaves_a_dead_letter needs [Rescue, MultiProcess, DeadLetters],
    a_paused_worker_s_late_outcome_is_refused needs [Fencing, MultiProcess],
    a_worker_process_drains_on_sigterm needs [Drain, MultiProcess],
}

/// A call that notes its start in a ledger and holds until the file `release` is there.
fn held(f: &Fixture, key: &str) -> Call {
    let arguments =
        [f.path("ledger"), key.into(), f.path("release")].map(|path| path.to_string_lossy().into_owned());
    Call::dynamic("suite.hold", &arguments, &[])
}

fn ledger(f: &Fixture) -> Vec<String> {
    let text = std::fs::read_to_string(f.path("ledger")).unwrap_or_default();
    text.lines().map(str::to_owned).collect()
}

async fn until_ledger(f: &Fixture, lines: usize) {
    eventually(&format!("{lines} starts"), async || {
        let ledger = ledger(f);
        if ledger.len() >= lines { Ok(()) } else { Err(format!("{ledger:?}")) }
    })
    .await;
}

fn release(f: &Fixture) {
    std::fs::write(f.path("release"), "").unwrap();
}

/// A process that is stopped inside a write of its own may hold the backend's lock; then it goes on and is stopped again.
async fn pause_between_commits(f: &Fixture, process: &WorkerProcess) {
    eventually("the backend takes a job beside the stopped process", async || {
        process.pause();
        match f.try_submit(echo("probe").queue("probe")).await {
            Ok(_) => Ok(()),
            Err(error) => {
                process.resume();
                Err(error.to_string())
            }
        }
    })
    .await;
}

async fn a_job_is_given_to_one_worker_at_a_time(f: Fixture) {
    let workers = [f.worker(2), f.worker(2), f.worker(2)];
    let id = f.submit(gated("g", 1)).await;
    let other = f.submit(gated("g", 2)).await;
    f.until_state(&id, JobState::Running).await;
    f.until_state(&other, JobState::Running).await;
    f.stage().open_gate("g");
    f.outcome(&id).await;
    f.outcome(&other).await;
    for worker in workers {
        worker.drain().await;
    }
    assert_eq!(f.stage().starts().len(), 2);
}

async fn a_thousand_jobs_and_four_workers_run_each_job_once(f: Fixture) {
    let workers = [f.worker(8), f.worker(8), f.worker(8), f.worker(8)];
    let receipts = f.submit_all((0..1_000).map(echo)).await;
    for receipt in receipts {
        f.outcome(&receipt.unwrap().job.id).await;
    }
    let mut succeeded = 0;
    for worker in workers {
        succeeded += worker.drain().await.succeeded;
    }
    assert_eq!(succeeded, 1_000);
    let mut started: Vec<_> = f.stage().started().iter().map(|key| key.as_u64().unwrap()).collect();
    started.sort_unstable();
    assert_eq!(started, (0..1_000).collect::<Vec<_>>());
}

async fn a_long_attempt_keeps_its_lease(f: Fixture) {
    let _workers = [f.worker(1), f.worker(1)];
    let id = f.submit(gated("g", 1)).await;
    f.until_state(&id, JobState::Running).await;
    let later = f.submit(echo(2).delay(LEASE * 2)).await;
    f.outcome(&later).await;
    assert_eq!(f.status(&id).await.attempt, 1);
    f.stage().open_gate("g");
    assert_eq!(f.result::<i64>(&id).await, 1);
    assert_eq!(f.stage().starts().len(), 2, "the long job started once");
}

async fn a_killed_worker_s_job_runs_again(f: Fixture) {
    let id = f.submit(held(&f, "k")).await;
    let mut first = WorkerProcess::start(&f);
    until_ledger(&f, 1).await;
    first.kill();
    let second = WorkerProcess::start(&f);
    until_ledger(&f, 2).await;
    release(&f);
    assert_eq!(f.result::<String>(&id).await, "attempt 2");
    assert_eq!(ledger(&f), ["k 1", "k 2"]);
    assert!(second.terminate().await.success());
}

async fn a_worker_killed_in_its_last_attempt_leaves_a_dead_letter(f: Fixture) {
    let id = f.submit(held(&f, "k").max_attempts(1)).await;
    let mut worker = WorkerProcess::start(&f);
    until_ledger(&f, 1).await;
    worker.kill();
    let failure = f.failure(&id).await;
    assert_eq!(failure.kind, taskport_abstraction::FailureKind::WorkerLost);
    assert_eq!(f.status(&id).await.state, JobState::Failed);
}

async fn a_paused_worker_s_late_outcome_is_refused(f: Fixture) {
    let id = f.submit(held(&f, "k")).await;
    let sleeper = WorkerProcess::start(&f);
    until_ledger(&f, 1).await;
    pause_between_commits(&f, &sleeper).await;
    let _second = WorkerProcess::start(&f);
    until_ledger(&f, 2).await;
    release(&f);
    assert_eq!(f.result::<String>(&id).await, "attempt 2");
    let settled = f.status(&id).await;
    sleeper.resume();
    assert!(sleeper.terminate().await.success(), "the sleeper goes on and ends by itself");
    assert_eq!(f.status(&id).await, settled, "the late outcome changed nothing");
}

async fn a_worker_process_drains_on_sigterm(f: Fixture) {
    let running = f.submit(held(&f, "k")).await;
    let worker = WorkerProcess::start(&f);
    until_ledger(&f, 1).await;
    release(&f);
    assert!(worker.terminate().await.success());
    let status = f.status(&running).await;
    assert!(matches!(status.outcome, Some(Outcome::Success(_))), "{status:?}");
    let left: JobId = f.submit(echo(1)).await;
    assert_eq!(f.status(&left).await.state, JobState::Queued, "nobody is left to take it");
}
