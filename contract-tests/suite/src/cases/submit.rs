//! Taking jobs.

use serde_json::json;
use taskport_abstraction::{
    Certainty, ErrorKind, JobId, JobState, Payload, RawCall, TaskName, WithOptions, codes,
};

use super::cases;
use crate::fixture::{Fixture, eventually, refused};
use crate::kit::echo;

cases! { "submit":
    a_job_runs_and_returns_its_result needs [Submit, Results],
    values_of_every_json_type_come_back_as_they_went needs [Results, Submit],
    a_batch_answers_for_each_job_in_order needs [SubmitBatch],
    a_bad_job_does_not_spoil_its_batch needs [SubmitBatch, Priority],
    the_good_jobs_of_a_batch_appear_at_once needs [SubmitBatchAtomic, QueueList],
    an_empty_batch_is_fine needs [SubmitBatch],
    a_repeated_id_is_the_same_job needs [SubmitSameId],
    a_repeated_id_after_the_end_is_still_the_same_job needs [SubmitSameId, Results],
    one_id_twice_in_a_batch_is_one_job needs [SubmitSameId, SubmitBatch],
    foreign_ids_are_kept_verbatim needs [Submit, Status],
    the_largest_payload_passes_and_one_byte_more_is_refused needs [Submit, ArgumentsKept],
    a_batch_over_the_limit_is_refused_whole needs [SubmitBatch],
    jobs_and_results_outlive_a_restart needs [Durable, Results],
    a_second_handle_sees_and_runs_the_jobs needs [MultiProcess],
    after_close_every_call_says_so needs [Submit],
}

async fn a_job_runs_and_returns_its_result(f: Fixture) {
    let id = f.submit(echo("hello")).await;
    let worker = f.worker(1);
    assert_eq!(f.result::<String>(&id).await, "hello");
    assert_eq!(worker.drain().await.succeeded, 1);
}

async fn values_of_every_json_type_come_back_as_they_went(f: Fixture) {
    let values = [
        json!(null),
        json!(true),
        json!(-1),
        json!(u64::MAX),
        json!(1.5e300),
        json!(""),
        json!("é ☃ \u{1F980} \\ \" \n \u{0}"),
        json!([]),
        json!({"nested": [{"deep": [1, [2, [3]]]}]}),
    ];
    let _worker = f.worker(4);
    for value in values {
        let id = f.submit(echo(value.clone())).await;
        assert_eq!(f.result::<serde_json::Value>(&id).await, value);
    }
}

async fn a_batch_answers_for_each_job_in_order(f: Fixture) {
    let ids: Vec<JobId> = (0..100).map(|_| f.new_id()).collect();
    let receipts = f.submit_all(ids.iter().enumerate().map(|(n, id)| echo(n).id(id.clone()))).await;
    for (id, receipt) in ids.iter().zip(receipts) {
        let receipt = receipt.unwrap();
        assert_eq!((&receipt.job.id, receipt.existing), (id, false));
        assert_eq!(&receipt.job.backend, f.backend().name());
    }
    let _worker = f.worker(4);
    for (n, id) in ids.iter().enumerate() {
        assert_eq!(f.result::<usize>(id).await, n);
    }
}

async fn a_bad_job_does_not_spoil_its_batch(f: Fixture) {
    let contradictory = echo(2).soft_timeout(crate::fixture::DEADLINE * 2).timeout(crate::fixture::DEADLINE);
    let results = f.submit_all([echo(1), contradictory, echo(3)]).await;
    let error = refused(results[1].clone());
    assert_eq!((error.code(), error.certainty()), (&codes::BAD_OPTION, Certainty::NotApplied));
    let _worker = f.worker(1);
    for (place, value) in [(0, 1), (2, 3)] {
        let id = &results[place].as_ref().unwrap().job.id;
        assert_eq!(f.result::<i64>(id).await, value);
    }
}

async fn the_good_jobs_of_a_batch_appear_at_once(f: Fixture) {
    const LEN: u64 = 2_000;
    let backend = f.backend().clone();
    let (done, mut is_done) = tokio::sync::oneshot::channel::<()>();
    let watcher = tokio::spawn(async move {
        let mut seen = std::collections::BTreeSet::new();
        loop {
            let queues = backend.admin().unwrap().queues().await.unwrap();
            seen.insert(queues.iter().map(|queue| queue.counts.queued).sum::<u64>());
            if is_done.try_recv().is_ok() {
                return seen;
            }
        }
    });
    let results = f.submit_all((0..LEN).map(echo)).await;
    assert!(results.iter().all(Result::is_ok));
    done.send(()).unwrap();
    let mut seen = watcher.await.unwrap();
    seen.remove(&0);
    seen.remove(&LEN);
    assert!(seen.is_empty(), "a part of the batch was seen: {seen:?}");
}

async fn an_empty_batch_is_fine(f: Fixture) {
    assert!(f.backend().submit(Vec::new()).await.is_empty());
    assert!(f.backend().get(&[]).await.unwrap().is_empty());
    assert!(f.backend().cancel(&[]).await.is_empty());
}

async fn a_repeated_id_is_the_same_job(f: Fixture) {
    let id = f.new_id();
    assert!(!f.try_submit(echo(1).id(id.clone())).await.unwrap().existing);
    assert!(f.try_submit(echo(1).id(id.clone())).await.unwrap().existing);
    let worker = f.worker(1);
    assert_eq!(f.result::<i64>(&id).await, 1);
    assert_eq!(worker.drain().await.succeeded, 1);
    assert_eq!(f.stage().started(), [json!(1)]);
}

async fn a_repeated_id_after_the_end_is_still_the_same_job(f: Fixture) {
    let id = f.new_id();
    f.submit(echo(1).id(id.clone())).await;
    let worker = f.worker(1);
    assert_eq!(f.result::<i64>(&id).await, 1);
    assert!(f.try_submit(echo(1).id(id.clone())).await.unwrap().existing);
    assert_eq!(f.result::<i64>(&id).await, 1);
    assert_eq!(worker.drain().await.succeeded, 1);
}

async fn one_id_twice_in_a_batch_is_one_job(f: Fixture) {
    let id = f.new_id();
    let results = f.submit_all([echo(1).id(id.clone()), echo(1).id(id.clone())]).await;
    let existing: Vec<bool> = results.into_iter().map(|receipt| receipt.unwrap().existing).collect();
    assert_eq!(existing, [false, true]);
}

async fn foreign_ids_are_kept_verbatim(f: Fixture) {
    let longest = "x".repeat(255);
    for text in
        ["a", "celery:42/b%c?d=e&f", "0192F0C1-2345-7ABC-8DEF-0123456789AB", "--", "{}'\";--", &longest]
    {
        let id = JobId::new(text).unwrap();
        assert_eq!(f.submit(echo(1).id(id.clone())).await, id);
        assert_eq!(f.status(&id).await.id, id);
    }
}

async fn the_largest_payload_passes_and_one_byte_more_is_refused(f: Fixture) {
    let Some(limit) = f.capability().payload_bytes_max else { return };
    let document = |bytes: u64| {
        let filler = "x".repeat(usize::try_from(bytes).unwrap() - r#"[[""],{}]"#.len());
        RawCall {
            task: TaskName::new("suite.echo").unwrap(),
            arguments: Payload::json(format!(r#"[["{filler}"],{{}}]"#)),
        }
    };
    let mut fits = f.submission(echo(1));
    fits.call = document(limit);
    let mut too_large = f.submission(echo(1));
    too_large.call = document(limit + 1);
    let id = fits.id.clone();
    let results = f.backend().submit(vec![fits, too_large]).await;
    assert!(results[0].is_ok(), "{:?}", results[0]);
    let error = refused(results[1].clone());
    assert_eq!((error.kind(), error.certainty()), (ErrorKind::PayloadTooLarge, Certainty::NotApplied));
    assert!(error.to_string().contains(&limit.to_string()), "the limit is named: {error}");
    assert_eq!(f.status(&id).await.arguments.len() as u64, limit);
}

async fn a_batch_over_the_limit_is_refused_whole(f: Fixture) {
    let Some(limit) = f.capability().submit_batch_max else { return };
    let results = f.submit_all((0..=limit).map(echo)).await;
    for result in &results {
        assert_eq!(result.as_ref().unwrap_err().certainty(), Certainty::NotApplied);
    }
    assert_eq!(f.admin().queues().await.unwrap().iter().map(|queue| queue.counts.submitted).sum::<u64>(), 0);
}

async fn jobs_and_results_outlive_a_restart(mut f: Fixture) {
    let ended = f.submit(echo("ended")).await;
    let worker = f.worker(1);
    f.result::<String>(&ended).await;
    worker.drain().await;
    let waiting = f.submit(echo("waiting")).await;
    f.restart().await;
    assert_eq!(f.result::<String>(&ended).await, "ended");
    assert_eq!(f.status(&waiting).await.state, JobState::Queued);
    let _worker = f.worker(1);
    assert_eq!(f.result::<String>(&waiting).await, "waiting");
}

async fn a_second_handle_sees_and_runs_the_jobs(f: Fixture) {
    let other = f.second_handle().await;
    let id = f.submit(echo("shared")).await;
    let worker = f.worker_of(&other, &["default"], 1);
    assert_eq!(f.result::<String>(&id).await, "shared");
    worker.drain().await;
    let late = f.submit(echo("late")).await;
    eventually("the other handle sees the job", async || {
        let found = other.get(std::slice::from_ref(&late)).await.unwrap().remove(0);
        found.map(drop).ok_or_else(|| "nothing".to_owned())
    })
    .await;
    other.close().await.unwrap();
}

async fn after_close_every_call_says_so(f: Fixture) {
    let id = f.submit(echo(1)).await;
    f.backend().close().await.unwrap();
    assert_eq!(refused(f.try_submit(echo(2)).await).code(), &codes::CLOSED);
    assert_eq!(refused(f.backend().get(std::slice::from_ref(&id)).await).code(), &codes::CLOSED);
    assert_eq!(refused(f.try_outcome(&id).await).code(), &codes::CLOSED);
    f.backend().close().await.unwrap();
}
