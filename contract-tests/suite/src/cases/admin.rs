//! What an operator does.

use std::time::Duration;

use taskport_abstraction::backend::{Counts, JobFilter, PageRequest, QueueOrder, QueueStats};
use taskport_abstraction::{FailureKind, JobId, JobState, QueueName, TaskName, WithOptions, codes};

use super::cases;
use crate::fixture::Fixture;
use crate::kit::{echo, failing, gated};

cases! { "admin":
    queues_are_listed_with_their_depth needs [QueueList],
    the_oldest_waiting_job_tells_the_age needs [QueueAge, QueueList],
    a_paused_queue_hands_out_nothing needs [QueuePause],
    a_pause_gives_its_reason_and_outlives_a_restart needs [QueuePause, Durable],
    a_running_job_ends_in_a_paused_queue needs [QueuePause],
    a_purge_deletes_what_waits_and_nothing_else needs [QueuePurge],
    a_queue_can_be_paused_ahead needs [QueuePause],
    an_unknown_queue_cannot_be_resumed_or_purged_by_mistake needs [QueuePurge, QueuePause],
    jobs_are_listed_newest_first_page_by_page needs [JobList],
    jobs_are_found_by_state_queue_and_task needs [JobList],
    ended_jobs_are_deleted_and_others_are_not needs [JobDelete],
    the_account_holds_at_every_moment needs [Totals, CancelWaiting, Expiry],
    deleted_jobs_stay_in_the_account needs [Totals, JobDelete],
    a_dead_letter_runs_again needs [Requeue, DeadLetters],
    a_cancelled_job_runs_again needs [Requeue, CancelWaiting],
    only_ended_jobs_are_requeued needs [Requeue],
    the_order_is_shown needs [QueueOrder, QueueList],
}

async fn queue(f: &Fixture, name: &str) -> QueueStats {
    let queues = f.admin().queues().await.unwrap();
    queues.into_iter().find(|queue| queue.name.as_str() == name).unwrap()
}

fn default_queue() -> QueueName {
    QueueName::default_queue()
}

/// `submitted` is the sum of all the others.
fn holds(counts: &Counts) {
    let sum: u64 = counts.by_state().iter().map(|(_, jobs)| jobs).sum();
    assert_eq!(counts.submitted, sum, "{counts:?}");
}

async fn queues_are_listed_with_their_depth(f: Fixture) {
    assert!(f.admin().queues().await.unwrap().iter().all(|queue| queue.counts.submitted == 0));
    f.submit_all((0..3).map(echo)).await;
    f.submit(echo(4).queue("mail").delay(Duration::from_secs(60))).await;
    assert_eq!(queue(&f, "default").await.counts.queued, 3);
    let mail = queue(&f, "mail").await.counts;
    assert_eq!((mail.submitted, mail.scheduled, mail.queued), (1, 1, 0));
}

async fn the_oldest_waiting_job_tells_the_age(f: Fixture) {
    let first = f.submit(echo(1)).await;
    f.submit(echo(2)).await;
    let oldest = queue(&f, "default").await.oldest_queued_at;
    assert_eq!(oldest, f.status(&first).await.submitted_at);
    let worker = f.worker(1);
    f.outcome(&first).await;
    worker.drain().await;
    assert!(
        queue(&f, "default").await.oldest_queued_at > oldest || queue(&f, "default").await.counts.queued == 0
    );
}

async fn a_paused_queue_hands_out_nothing(f: Fixture) {
    let other = f.submit(echo("other").queue("other")).await;
    let id = f.submit(echo("paused")).await;
    f.admin().pause(&default_queue(), None).await.unwrap();
    let _worker = f.worker_of(f.backend(), &["default", "other"], 1);
    f.outcome(&other).await;
    assert_eq!(f.status(&id).await.state, JobState::Queued);
    assert!(queue(&f, "default").await.paused);
    f.admin().resume(&default_queue()).await.unwrap();
    assert_eq!(f.result::<String>(&id).await, "paused");
}

async fn a_pause_gives_its_reason_and_outlives_a_restart(mut f: Fixture) {
    f.submit(echo(1)).await;
    f.admin().pause(&default_queue(), Some("the printer burns")).await.unwrap();
    f.restart().await;
    let paused = queue(&f, "default").await;
    assert_eq!((paused.paused, paused.paused_reason.as_deref()), (true, Some("the printer burns")));
    f.admin().resume(&default_queue()).await.unwrap();
    let resumed = queue(&f, "default").await;
    assert_eq!((resumed.paused, resumed.paused_reason), (false, None));
}

async fn a_running_job_ends_in_a_paused_queue(f: Fixture) {
    let _worker = f.worker(1);
    let id = f.submit(gated("g", 1)).await;
    f.until_state(&id, JobState::Running).await;
    f.admin().pause(&default_queue(), None).await.unwrap();
    f.stage().open_gate("g");
    assert_eq!(f.result::<i64>(&id).await, 1);
}

async fn a_purge_deletes_what_waits_and_nothing_else(f: Fixture) {
    let worker = f.worker(1);
    let running = f.submit(gated("g", 1)).await;
    f.until_state(&running, JobState::Running).await;
    let waiting = f.submit(echo(2)).await;
    f.submit(echo(3).delay(Duration::from_secs(60))).await;
    let elsewhere = f.submit(echo(4).queue("other")).await;
    assert_eq!(f.admin().purge(&default_queue()).await.unwrap(), 2);
    assert!(f.find(&waiting).await.is_none_or(|status| status.state == JobState::Cancelled));
    assert_eq!(f.status(&elsewhere).await.state, JobState::Queued);
    f.stage().open_gate("g");
    assert_eq!(f.result::<i64>(&running).await, 1);
    worker.drain().await;
    let counts = queue(&f, "default").await.counts;
    assert_eq!((counts.cancelled, counts.succeeded, counts.queued), (2, 1, 0));
    holds(&counts);
}

async fn a_queue_can_be_paused_ahead(f: Fixture) {
    f.admin().pause(&default_queue(), None).await.unwrap();
    let id = f.submit(echo(1)).await;
    let other = f.submit(echo(2).queue("other")).await;
    let _worker = f.worker_of(f.backend(), &["default", "other"], 1);
    f.outcome(&other).await;
    assert_eq!(f.status(&id).await.state, JobState::Queued);
}

async fn an_unknown_queue_cannot_be_resumed_or_purged_by_mistake(f: Fixture) {
    let unknown = QueueName::new("defalt").unwrap();
    assert_eq!(f.admin().purge(&unknown).await.unwrap_err().code(), &codes::QUEUE_NOT_FOUND);
    assert_eq!(f.admin().resume(&unknown).await.unwrap_err().code(), &codes::QUEUE_NOT_FOUND);
}

async fn jobs_are_listed_newest_first_page_by_page(f: Fixture) {
    let mut ids: Vec<JobId> = Vec::new();
    for value in 0..25 {
        ids.push(f.submit(echo(value)).await);
    }
    ids.reverse();
    let mut listed = Vec::new();
    let mut after = None;
    loop {
        let page = f.admin().jobs(JobFilter::default(), PageRequest { after, len: 10 }).await.unwrap();
        assert!(page.items.len() <= 10);
        listed.extend(page.items.into_iter().map(|job| job.id));
        match page.next {
            Some(next) => after = Some(next),
            None => break,
        }
    }
    assert_eq!(listed, ids);
    let limit = f.capability().page_len_max.unwrap();
    let over = PageRequest { after: None, len: usize::try_from(limit).unwrap() + 1 };
    assert_eq!(f.admin().jobs(JobFilter::default(), over).await.unwrap_err().code(), &codes::BAD_OPTION);
}

async fn jobs_are_found_by_state_queue_and_task(f: Fixture) {
    let failed = f.submit(failing("k", 9, "fatal")).await;
    let worker = f.worker(1);
    f.outcome(&failed).await;
    worker.drain().await;
    let elsewhere = f.submit(echo(1).queue("other")).await;
    let delayed = f.submit(echo(2).delay(Duration::from_secs(60))).await;
    let check = async |filter: JobFilter, expected: &[&JobId]| {
        let found = f.list(filter.clone()).await;
        assert_eq!(found.iter().map(|job| &job.id).collect::<Vec<_>>(), expected, "{filter:?}");
    };
    let state = |state| JobFilter { state: Some(state), ..JobFilter::default() };
    check(state(JobState::Failed), &[&failed]).await;
    check(state(JobState::Scheduled), &[&delayed]).await;
    check(state(JobState::Queued), &[&elsewhere]).await;
    check(JobFilter { queue: Some(QueueName::new("other").unwrap()), ..JobFilter::default() }, &[&elsewhere])
        .await;
    let of_task = JobFilter { task: Some(TaskName::new("suite.echo").unwrap()), ..JobFilter::default() };
    check(of_task, &[&delayed, &elsewhere]).await;
    check(JobFilter { queue: Some(QueueName::new("none").unwrap()), ..JobFilter::default() }, &[]).await;
}

async fn ended_jobs_are_deleted_and_others_are_not(f: Fixture) {
    let ended = f.submit(echo(1)).await;
    let worker = f.worker(1);
    f.outcome(&ended).await;
    worker.drain().await;
    let waiting = f.submit(echo(2)).await;
    let answers = f.admin().delete(&[ended.clone(), waiting.clone(), f.new_id()]).await;
    assert!(answers[0].is_ok());
    assert_eq!(answers[1].as_ref().unwrap_err().code(), &codes::JOB_CONFLICT);
    assert_eq!(answers[2].as_ref().unwrap_err().code(), &codes::JOB_NOT_FOUND);
    assert!(f.find(&ended).await.is_none());
    assert_eq!(f.status(&waiting).await.state, JobState::Queued);
}

async fn the_account_holds_at_every_moment(f: Fixture) {
    let _worker = f.worker(2);
    let cancelled = f.submit(echo(1).delay(Duration::from_secs(60))).await;
    let expired = f.submit(echo(2).delay(Duration::from_secs(60)).expires_in(Duration::from_secs(61))).await;
    let mut ids = Vec::new();
    for round in 0..20 {
        let batch = f.submit_all([echo(round), failing("k", 9, "fatal"), failing("k", 1, "after")]).await;
        ids.extend(batch.into_iter().map(|receipt| receipt.unwrap().job.id));
        holds(&queue(&f, "default").await.counts);
    }
    f.backend().cancel(&[cancelled, expired]).await;
    for id in &ids {
        f.outcome(id).await;
    }
    let short = f.submit(echo(3).queue("other").expires_in(Duration::from_millis(20))).await;
    assert_eq!(f.failure(&short).await.kind, FailureKind::Expired);
    let counts = queue(&f, "default").await.counts;
    holds(&counts);
    assert_eq!((counts.submitted, counts.succeeded, counts.failed, counts.cancelled), (62, 40, 20, 2));
    assert_eq!(queue(&f, "other").await.counts.expired, 1);
}

async fn deleted_jobs_stay_in_the_account(f: Fixture) {
    let id = f.submit(echo(1)).await;
    let worker = f.worker(1);
    f.outcome(&id).await;
    worker.drain().await;
    f.admin().delete(&[id]).await.remove(0).unwrap();
    let counts = queue(&f, "default").await.counts;
    assert_eq!((counts.submitted, counts.succeeded), (1, 1));
}

async fn a_dead_letter_runs_again(f: Fixture) {
    let _worker = f.worker(1);
    let id = f.submit(gated("later", 1).timeout(Duration::from_millis(50)).max_attempts(1)).await;
    f.failure(&id).await;
    f.stage().open_gate("later");
    f.admin().requeue(std::slice::from_ref(&id)).await.remove(0).unwrap();
    let status = f.until_state(&id, JobState::Succeeded).await;
    assert_eq!(status.attempt, 1, "a requeue brings fresh attempts");
    assert_eq!(f.result::<i64>(&id).await, 1);
    holds(&queue(&f, "default").await.counts);
}

async fn a_cancelled_job_runs_again(f: Fixture) {
    let id = f.submit(echo(1)).await;
    f.backend().cancel(std::slice::from_ref(&id)).await.remove(0).unwrap();
    f.admin().requeue(std::slice::from_ref(&id)).await.remove(0).unwrap();
    let _worker = f.worker(1);
    f.until_state(&id, JobState::Succeeded).await;
    holds(&queue(&f, "default").await.counts);
}

async fn only_ended_jobs_are_requeued(f: Fixture) {
    let waiting = f.submit(echo(1)).await;
    let succeeded = f.submit(echo(2).queue("other")).await;
    let _worker = f.worker_of(f.backend(), &["other"], 1);
    f.outcome(&succeeded).await;
    let answers = f.admin().requeue(&[waiting, succeeded, f.new_id()]).await;
    assert_eq!(answers[0].as_ref().unwrap_err().code(), &codes::JOB_CONFLICT);
    assert_eq!(answers[1].as_ref().unwrap_err().code(), &codes::JOB_CONFLICT);
    assert_eq!(answers[2].as_ref().unwrap_err().code(), &codes::JOB_NOT_FOUND);
}

async fn the_order_is_shown(f: Fixture) {
    f.submit(echo(1)).await;
    assert_eq!(queue(&f, "default").await.order, QueueOrder::Priority);
    for order in [QueueOrder::Lifo, QueueOrder::Fifo, QueueOrder::Priority] {
        f.admin().set_order(&default_queue(), order).await.unwrap();
        assert_eq!(queue(&f, "default").await.order, order);
    }
}
