//! Batches and what follows them.

use taskport_abstraction::backend::Submission;
use taskport_abstraction::batch::{BatchRequest, BatchStatus, Batches};
use taskport_abstraction::{BatchId, Call, JobOptions, codes};

use super::cases;
use crate::fixture::{Fixture, eventually};
use crate::kit::{echo, failing, gated};

cases! { "batches":
    a_batch_tells_how_many_of_its_jobs_have_ended needs [Batches],
    a_batch_is_taken_as_a_whole_or_not_at_all needs [Batches],
    a_repeated_submit_is_the_same_batch needs [Batches],
    an_open_batch_is_joined_and_an_ended_one_is_not needs [Batches],
    both_callbacks_follow_success needs [BatchCallbacks],
    only_the_end_follows_a_failure needs [BatchCallbacks],
    a_cancelled_job_ends_a_batch needs [BatchCallbacks, CancelWaiting],
    a_batch_without_jobs_has_ended needs [BatchCallbacks],
    a_batch_outlives_a_restart needs [BatchCallbacks, Durable],
    a_callback_knows_its_batch needs [BatchCallbacks, Metadata],
}

fn batches(f: &Fixture) -> &dyn Batches {
    f.backend().batches().expect("a backend with batches offers them")
}

fn batch() -> BatchId {
    "nightly".parse().unwrap()
}

/// A batch of these calls, with callbacks that say which one they are.
fn request(f: &Fixture, calls: Vec<Call>) -> BatchRequest {
    let callback = |name: &str| Some(f.submission(echo(name)));
    BatchRequest {
        id: batch(),
        jobs: calls.into_iter().map(|call| f.submission(call)).collect(),
        on_success: callback("success"),
        on_complete: callback("complete"),
    }
}

fn without_callbacks(f: &Fixture, calls: Vec<Call>) -> BatchRequest {
    BatchRequest { on_success: None, on_complete: None, ..request(f, calls) }
}

async fn status(f: &Fixture) -> BatchStatus {
    batches(f).get(&batch()).await.unwrap().unwrap_or_else(|| panic!("there is no batch"))
}

async fn until_ended(f: &Fixture) -> BatchStatus {
    eventually("the end of the batch", async || {
        let status = status(f).await;
        if status.finished_at.is_some() { Ok(status) } else { Err(format!("{status:?}")) }
    })
    .await
}

async fn until_started(f: &Fixture, starts: usize) -> Vec<serde_json::Value> {
    eventually("the starts", async || {
        let started = f.stage().started();
        if started.len() >= starts { Ok(started) } else { Err(format!("{started:?}")) }
    })
    .await
}

async fn a_batch_tells_how_many_of_its_jobs_have_ended(f: Fixture) {
    assert!(batches(&f).get(&batch()).await.unwrap().is_none());
    let request = without_callbacks(&f, vec![echo(1), failing("bad", 9, "fatal"), gated("g", 3)]);
    let last = request.jobs[2].id.clone();
    assert_eq!(batches(&f).submit(request).await.unwrap(), batch());
    let _worker = f.worker(4);
    eventually("two ends", async || {
        let status = status(&f).await;
        let counts = (status.total, status.pending, status.succeeded, status.failed);
        if counts == (3, 1, 1, 1) { Ok(()) } else { Err(format!("{status:?}")) }
    })
    .await;
    assert!(status(&f).await.finished_at.is_none());
    f.stage().open_gate("g");
    f.outcome(&last).await;
    let ended = until_ended(&f).await;
    assert_eq!((ended.pending, ended.succeeded, ended.failed, ended.cancelled), (0, 2, 1, 0));
}

async fn a_batch_is_taken_as_a_whole_or_not_at_all(f: Fixture) {
    let mut bad = request(&f, vec![echo(1), echo(2)]);
    bad.jobs[1].options.tags = vec!["t".into(); taskport_abstraction::options::TAGS_MAX + 1];
    let first = bad.jobs[0].id.clone();
    let error = batches(&f).submit(bad).await.unwrap_err();
    assert_eq!(error.code(), &codes::BAD_OPTION, "{error}");
    assert!(f.find(&first).await.is_none());
    assert!(batches(&f).get(&batch()).await.unwrap().is_none());
}

async fn a_repeated_submit_is_the_same_batch(f: Fixture) {
    let request = request(&f, vec![echo(1), echo(2)]);
    for _ in 0..2 {
        batches(&f).submit(request.clone()).await.unwrap();
    }
    assert_eq!(status(&f).await.total, 2);
    let worker = f.worker(1);
    until_started(&f, 4).await;
    worker.drain().await;
    assert_eq!(f.stage().started().len(), 4);
}

async fn an_open_batch_is_joined_and_an_ended_one_is_not(f: Fixture) {
    let member = |call: Call| {
        let Submission { id, call, options } = f.submission(call);
        Submission { id, call, options: JobOptions { batch: Some(batch()), ..options } }
    };
    let submit = async |job: Submission| f.backend().submit(vec![job]).await.remove(0);
    assert_eq!(submit(member(echo(0))).await.unwrap_err().code(), &codes::BATCH_NOT_FOUND);
    batches(&f).submit(without_callbacks(&f, vec![echo(1)])).await.unwrap();
    submit(member(echo(2))).await.unwrap();
    assert_eq!((status(&f).await.total, status(&f).await.pending), (2, 2));
    let _worker = f.worker(2);
    assert_eq!(until_ended(&f).await.succeeded, 2);
    assert_eq!(submit(member(echo(3))).await.unwrap_err().code(), &codes::BATCH_FINISHED);
}

async fn both_callbacks_follow_success(f: Fixture) {
    let request = request(&f, vec![echo(1), echo(2)]);
    let ids = [&request.on_complete, &request.on_success].map(|job| job.as_ref().unwrap().id.clone());
    batches(&f).submit(request).await.unwrap();
    for id in &ids {
        assert!(f.find(id).await.is_none(), "a callback before the end");
    }
    let _worker = f.worker(1);
    let ended = until_ended(&f).await;
    assert_eq!([ended.on_complete, ended.on_success], ids.clone().map(Some));
    for id in &ids {
        f.outcome(id).await;
    }
    assert_eq!(f.stage().started().len(), 4);
}

async fn only_the_end_follows_a_failure(f: Fixture) {
    batches(&f).submit(request(&f, vec![failing("bad", 9, "fatal"), echo(2)])).await.unwrap();
    let worker = f.worker(1);
    let started = until_started(&f, 3).await;
    assert_eq!(started[2], "complete");
    worker.drain().await;
    assert_eq!(f.stage().started().len(), 3);
}

async fn a_cancelled_job_ends_a_batch(f: Fixture) {
    let request = request(&f, vec![echo(1)]);
    let only = request.jobs[0].id.clone();
    batches(&f).submit(request).await.unwrap();
    f.backend().cancel(&[only]).await.remove(0).unwrap();
    assert_eq!(until_ended(&f).await.cancelled, 1);
    let _worker = f.worker(1);
    assert_eq!(until_started(&f, 1).await, ["complete"]);
}

async fn a_batch_without_jobs_has_ended(f: Fixture) {
    batches(&f).submit(request(&f, Vec::new())).await.unwrap();
    assert!(status(&f).await.finished_at.is_some());
    let _worker = f.worker(1);
    until_started(&f, 2).await;
}

async fn a_batch_outlives_a_restart(mut f: Fixture) {
    batches(&f).submit(request(&f, vec![echo(1), echo(2)])).await.unwrap();
    f.restart().await;
    assert_eq!(status(&f).await.pending, 2);
    let _worker = f.worker(1);
    until_started(&f, 4).await;
}

async fn a_callback_knows_its_batch(f: Fixture) {
    let request = request(&f, vec![echo(1)]);
    let last = request.on_success.as_ref().unwrap().id.clone();
    batches(&f).submit(request).await.unwrap();
    let _worker = f.worker(1);
    until_started(&f, 3).await;
    f.outcome(&last).await;
    assert_eq!(f.status(&last).await.options.metadata["batch"].as_ref(), batch().as_str());
}
