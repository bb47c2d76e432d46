//! How a worker behaves.

use serde_json::json;
use taskport_abstraction::{Call, ContentType, FailureKind, JobState, Payload, WithOptions};

use super::cases;
use crate::fixture::{Fixture, RunningWorker, eventually, spec};
use crate::kit::{echo, failing, gated};

cases! { "worker":
    it_finishes_what_runs_and_takes_no_more needs [Drain],
    a_drain_past_its_grace_hands_the_job_back needs [Drain, Release],
    an_abort_hands_the_job_back_without_using_up_the_attempt needs [Release],
    it_runs_no_more_than_its_slots needs [Lease],
    it_is_listed_with_host_load_and_heartbeat needs [WorkersSeen],
    it_leaves_the_list_when_it_stops needs [WorkersSeen],
    an_unknown_task_becomes_a_dead_letter needs [UndecodableKept, DeadLetters],
    arguments_that_do_not_fit_become_a_dead_letter needs [UndecodableKept, DeadLetters],
    arguments_that_cannot_be_decoded_become_a_dead_letter needs [UndecodableKept, DeadLetters],
    a_foreign_content_type_becomes_a_dead_letter needs [UndecodableKept],
    poison_does_not_stop_its_neighbors needs [UndecodableKept, SubmitBatch],
}

async fn it_finishes_what_runs_and_takes_no_more(f: Fixture) {
    let worker = f.worker(1);
    let running = f.submit(gated("g", 1)).await;
    has_started(&f).await;
    let waiting = f.submit(echo(2)).await;
    worker.begin_drain();
    f.stage().open_gate("g");
    let report = worker.drain().await;
    assert_eq!((report.succeeded, report.released), (1, 0));
    assert_eq!(f.status(&running).await.state, JobState::Succeeded);
    assert_eq!(f.status(&waiting).await.state, JobState::Queued);
}

async fn a_drain_past_its_grace_hands_the_job_back(f: Fixture) {
    let mut hasty = spec("hasty", &["default"], 1);
    hasty.grace = std::time::Duration::from_millis(50);
    let worker = RunningWorker::start(f.backend().worker(hasty).unwrap(), f.stage().executor());
    let id = f.submit(gated("g", 1)).await;
    has_started(&f).await;
    assert_eq!(worker.drain().await.released, 1);
    released(&f, &id).await;
}

async fn an_abort_hands_the_job_back_without_using_up_the_attempt(f: Fixture) {
    let worker = f.worker(1);
    let id = f.submit(gated("g", 1).max_attempts(1)).await;
    has_started(&f).await;
    assert_eq!(worker.abort().await.released, 1);
    released(&f, &id).await;
}

/// The handler runs; a job may be under a lease before its worker has it in hand.
async fn has_started(f: &Fixture) {
    eventually("the handler runs", async || f.stage().starts().pop().ok_or("nothing".to_owned())).await;
}

/// The job waits as if it had not been started, and its next attempt is the first.
async fn released(f: &Fixture, id: &taskport_abstraction::JobId) {
    let status = f.status(id).await;
    assert_eq!((status.state, status.attempt), (JobState::Queued, 0));
    f.stage().open_gate("g");
    let _worker = f.worker(1);
    assert_eq!(f.result::<i64>(id).await, 1);
    assert_eq!(f.status(id).await.attempt, 1);
}

async fn it_runs_no_more_than_its_slots(f: Fixture) {
    let _worker = f.worker(3);
    let receipts = f.submit_all((0..30).map(|key| gated("g", key))).await;
    eventually("three run", async || {
        let starts = f.stage().starts().len();
        if starts == 3 { Ok(()) } else { Err(starts.to_string()) }
    })
    .await;
    f.stage().open_gate("g");
    for receipt in receipts {
        f.outcome(&receipt.unwrap().job.id).await;
    }
    assert_eq!(f.stage().peak(), 3);
}

async fn it_is_listed_with_host_load_and_heartbeat(f: Fixture) {
    let worker = RunningWorker::start(
        f.backend().worker(spec("listed", &["default", "mail"], 3)).unwrap(),
        f.stage().executor(),
    );
    let id = f.submit(gated("g", 1)).await;
    f.until_state(&id, JobState::Running).await;
    let listed = eventually("the worker is listed with its load", async || {
        let workers = f.admin().workers().await.unwrap();
        let listed = workers.iter().find(|worker| worker.name == "listed").cloned();
        listed.filter(|worker| worker.load.running == 1).ok_or_else(|| format!("{workers:?}"))
    })
    .await;
    assert!(listed.alive && !listed.host.is_empty());
    assert_eq!((listed.pid, listed.load.slots), (std::process::id(), 3));
    assert_eq!(listed.queues.iter().map(|queue| queue.as_str()).collect::<Vec<_>>(), ["default", "mail"]);
    assert_eq!(f.status(&id).await.worker.as_deref(), Some("listed"));
    f.stage().open_gate("g");
    worker.drain().await;
}

async fn it_leaves_the_list_when_it_stops(f: Fixture) {
    let worker = f.worker(1);
    eventually("the worker is listed", async || {
        let workers = f.admin().workers().await.unwrap();
        if workers.len() == 1 { Ok(()) } else { Err(format!("{workers:?}")) }
    })
    .await;
    worker.drain().await;
    assert!(f.admin().workers().await.unwrap().is_empty());
}

async fn an_unknown_task_becomes_a_dead_letter(f: Fixture) {
    let _worker = f.worker(1);
    let id = f.submit(Call::dynamic("nobody.knows.this", &[1], &[])).await;
    assert_eq!(f.failure(&id).await.kind, FailureKind::UnknownTask);
    let status = f.status(&id).await;
    assert_eq!((status.state, status.arguments.bytes.as_ref()), (JobState::Failed, &b"[[1],{}]"[..]));
}

async fn arguments_that_do_not_fit_become_a_dead_letter(f: Fixture) {
    let _worker = f.worker(1);
    for (positional, named) in [
        (vec![json!(1)], vec![]),
        (vec![json!(1), json!(2), json!(3)], vec![]),
        (vec![json!(1)], vec![("rihgt".to_owned(), json!(2))]),
        (vec![json!("one"), json!(2)], vec![]),
    ] {
        let id = f.submit(Call::dynamic("suite.add", &positional, &named)).await;
        let failure = f.failure(&id).await;
        assert_eq!(failure.kind, FailureKind::BadArguments, "{failure}");
        assert_eq!(f.status(&id).await.attempt, 1, "no attempt can mend it");
    }
}

async fn arguments_that_cannot_be_decoded_become_a_dead_letter(f: Fixture) {
    let _worker = f.worker(1);
    let deep = format!("[[{}{}],{{}}]", "[".repeat(10_000), "]".repeat(10_000));
    for document in
        [&b""[..], b"\xff\xfe", b"{}", b"[[1]", b"[[NaN],{}]", b"\xef\xbb\xbf[[1],{}]", deep.as_bytes()]
    {
        let mut submission = f.submission(echo(1));
        submission.call.arguments = Payload::json(document.to_vec());
        let id = submission.id.clone();
        f.backend().submit(vec![submission]).await.remove(0).unwrap();
        f.failure(&id).await;
        let status = f.status(&id).await;
        assert_eq!((status.state, status.attempt), (JobState::Failed, 1));
        assert_eq!(status.arguments.bytes, document, "the bytes are kept");
    }
    let next = f.submit(echo(1)).await;
    assert_eq!(f.result::<i64>(&next).await, 1, "the next good input still works");
}

async fn a_foreign_content_type_becomes_a_dead_letter(f: Fixture) {
    let _worker = f.worker(1);
    let mut submission = f.submission(echo(1));
    submission.call.arguments = Payload {
        content_type: ContentType::from("application/x-python-pickle"),
        bytes: b"cos\nsystem".as_slice().into(),
    };
    let id = submission.id.clone();
    f.backend().submit(vec![submission]).await.remove(0).unwrap();
    f.failure(&id).await;
    assert_eq!(f.status(&id).await.arguments.content_type.as_str(), "application/x-python-pickle");
}

async fn poison_does_not_stop_its_neighbors(f: Fixture) {
    let _worker = f.worker(4);
    let good = f.submit_all((0..100).map(echo)).await;
    for how in ["panic", "fatal", "error"] {
        f.submit_all((0..10).map(|n| failing(&n.to_string(), 9, how).max_attempts(1))).await;
    }
    let more = f.submit_all((100..200).map(echo)).await;
    for (value, receipt) in good.into_iter().chain(more).enumerate() {
        assert_eq!(f.result::<usize>(&receipt.unwrap().job.id).await, value);
    }
}
