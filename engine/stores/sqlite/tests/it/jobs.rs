//! What every job may count on, on both stores.

use std::time::Duration;

use taskport_abstraction::backend::{
    Cancellation, Cursor, Extension, JobFilter, PageRequest, QueueOrder, Settlement, Verdict, WorkerLoad,
};
use taskport_abstraction::codes;
use taskport_abstraction::job::Progress;
use taskport_abstraction::options::{Idempotency, OnConflict, Priority, Start, Unique};
use taskport_abstraction::{
    Failure, FailureKind, JobOptions, JobState, Outcome, Payload, QueueName, RetryPolicy,
};
use taskport_engine::{NewWorker, Store};

use crate::harness::{
    Harness, LEASE, WORKER, ack, assert_account, failure, job_id, memory, new_job, retry, sqlite,
};

macro_rules! on_both_stores {
    ($($name:ident)+) => {
        mod on_memory {
            $(#[test] fn $name() { super::$name(&mut super::memory()); })+
        }
        mod on_sqlite {
            $(#[test] fn $name() { super::$name(&mut super::sqlite()); })+
        }
    };
}

on_both_stores! {
    a_job_runs_once_and_keeps_its_result
    a_repeated_id_is_the_same_job
    a_dropped_transaction_leaves_nothing
    scheduled_jobs_start_when_due_and_not_before
    expired_jobs_never_start
    failed_attempts_back_off_and_end_as_dead_letters
    too_old_jobs_are_not_tried_again
    a_lapsed_lease_is_rescued_and_its_late_outcome_refused
    the_last_lost_attempt_ends_the_job
    extending_keeps_the_lease_and_the_progress
    released_jobs_lose_no_attempt
    cancel_ends_waiting_jobs_and_asks_running_ones
    a_cancelled_attempt_that_fails_is_not_tried_again
    requeued_jobs_start_afresh_and_refuse_old_leases
    queues_start_jobs_in_their_order
    paused_queues_hand_out_nothing
    purged_jobs_count_as_cancelled
    deleted_jobs_stay_in_the_account
    a_kept_key_stands_for_one_job
    a_key_is_free_when_its_time_is_over
    a_replaced_job_takes_the_newer_call
    limits_are_errors_with_both_numbers
    an_oversize_result_is_a_dead_letter
    contradictory_options_are_refused
    pages_list_newest_first_by_every_filter
    workers_are_listed_until_they_are_forgotten
    a_tick_is_bounded_and_says_that_there_is_more
    the_oldest_waiting_job_is_known_in_every_order
}

fn options() -> JobOptions {
    JobOptions::default()
}

fn in_seconds(seconds: u64) -> Start {
    Start::In(Duration::from_secs(seconds))
}

fn keyed(key: &str, unique: Unique, on_conflict: OnConflict) -> JobOptions {
    JobOptions { idempotency: Some(Idempotency { key: key.into(), unique, on_conflict }), ..options() }
}

fn a_job_runs_once_and_keeps_its_result<S: Store>(h: &mut Harness<S>) {
    let (answers, committed) = h.tx(|tx| tx.enqueue(vec![new_job("a", options())]));
    assert!(!answers[0].as_ref().unwrap().existing && committed.made_ready);
    let delivery = h.claim(10).remove(0);
    assert_eq!((delivery.attempt, delivery.lease.token.0), (1, 1));
    assert_eq!(delivery.call.arguments.bytes, "[[],{}]");
    assert!(h.claim(10).is_empty());
    h.settle(&delivery, ack("42")).unwrap();
    let status = h.status("a");
    assert_eq!(status.outcome, Some(Outcome::Success(Payload::json("42"))));
    assert_eq!((status.state, status.finished_at, status.worker), (JobState::Succeeded, Some(h.now), None));
    // proves R-040
    assert_eq!(h.settle(&delivery, ack("43")).unwrap_err().code(), &codes::LEASE_LOST);
    assert_eq!(h.status("a").outcome, Some(Outcome::Success(Payload::json("42"))));
}

// proves R-050
fn a_repeated_id_is_the_same_job<S: Store>(h: &mut Harness<S>) {
    let uuid = "0192f0c1-2345-7abc-8def-0123456789ab";
    for id in [uuid, "job-1"] {
        assert!(!h.submit(id, options()).unwrap().existing);
        let other = JobOptions { priority: Some(Priority::MAX), ..options() };
        assert!(h.submit(id, other).unwrap().existing);
        assert_eq!(h.status(id).options, options());
    }
    assert_eq!(h.queues()[0].counts.submitted, 2);
}

fn a_dropped_transaction_leaves_nothing<S: Store>(h: &mut Harness<S>) {
    let mut tx = h.engine.begin(h.now).unwrap();
    tx.enqueue(vec![new_job("a", JobOptions { queue: Some("other".parse().unwrap()), ..options() })]);
    drop(tx);
    assert!(h.all().is_empty() && h.queues().is_empty());
    h.submit("b", options()).unwrap();
    let delivery = h.claim(1).remove(0);
    let mut tx = h.engine.begin(h.now).unwrap();
    let settlement = Settlement { lease: delivery.lease.clone(), verdict: ack("1") };
    tx.settle(&[settlement]).remove(0).unwrap();
    drop(tx);
    assert_eq!(h.state("b"), JobState::Running);
    h.settle(&delivery, ack("2")).unwrap();
    assert_account(&h.queues());
}

fn scheduled_jobs_start_when_due_and_not_before<S: Store>(h: &mut Harness<S>) {
    h.submit("a", JobOptions { start: Some(in_seconds(10)), ..options() }).unwrap();
    let status = h.status("a");
    assert_eq!(
        (status.state, status.not_before),
        (JobState::Scheduled, Some(h.now + Duration::from_secs(10)))
    );
    h.pass(9);
    assert!(h.claim(1).is_empty());
    assert_eq!(h.engine.next_due().unwrap(), Some(h.now + Duration::from_secs(1)));
    h.pass(1);
    assert_eq!(h.claim(1).len(), 1);
    h.submit("past", JobOptions { start: Some(Start::At(h.now)), ..options() }).unwrap();
    assert_eq!(h.state("past"), JobState::Queued);
}

// proves R-044
fn expired_jobs_never_start<S: Store>(h: &mut Harness<S>) {
    h.submit("a", JobOptions { expiry: Some(in_seconds(5)), ..options() }).unwrap();
    h.submit("b", JobOptions { expiry: Some(in_seconds(5)), ..options() }).unwrap();
    let started = h.claim(1).remove(0);
    h.pass(5);
    // Even where nobody has looked at the time.
    let queues = [QueueName::default_queue()];
    let claim = taskport_engine::Claim { worker: WORKER, queues: &queues, max: 5, lease_for: LEASE };
    let mut tx = h.engine.begin(h.now).unwrap();
    assert!(tx.claim(&claim).unwrap().is_empty());
    tx.commit().unwrap();
    assert_eq!(h.state("b"), JobState::Expired);
    // An attempt had started in time, so its failure is tried again as ever.
    h.settle(&started, retry("no")).unwrap();
    h.pass(10);
    assert_eq!(h.claim(1).remove(0).lease.job, job_id("a"));
    assert_account(&h.queues());
}

fn failed_attempts_back_off_and_end_as_dead_letters<S: Store>(h: &mut Harness<S>) {
    h.submit("a", options()).unwrap();
    for attempt in 1..=2 {
        let delivery = h.claim(1).remove(0);
        h.settle(&delivery, retry("no")).unwrap();
        let status = h.status("a");
        assert_eq!((status.state, status.attempt), (JobState::Retrying, attempt));
        assert_eq!(status.not_before, Some(h.now + Duration::from_secs(10)));
        assert!(h.claim(1).is_empty());
        h.pass(10);
    }
    let delivery = h.claim(1).remove(0);
    assert_eq!(delivery.attempt, 3);
    h.settle(&delivery, Verdict::Retry { failure: failure("last").of_type("E"), after: None }).unwrap();
    let Some(Outcome::Failure(outcome)) = h.status("a").outcome else { panic!("no failure") };
    assert_eq!((outcome.kind, outcome.attempt), (FailureKind::MaxAttemptsExceeded, 3));
    assert_eq!((outcome.type_name.as_str(), outcome.message.as_str()), ("E", "last"));

    h.submit("b", options()).unwrap();
    let delivery = h.claim(1).remove(0);
    h.settle(&delivery, Verdict::Reject(Failure::new(FailureKind::Fatal, "never"))).unwrap();
    assert_eq!(h.state("b"), JobState::Failed);

    h.submit("c", options()).unwrap();
    let delivery = h.claim(1).remove(0);
    h.settle(&delivery, Verdict::Retry { failure: failure("wait"), after: Some(Duration::from_secs(3)) })
        .unwrap();
    assert_eq!(h.status("c").not_before, Some(h.now + Duration::from_secs(3)));
}

fn too_old_jobs_are_not_tried_again<S: Store>(h: &mut Harness<S>) {
    let policy = RetryPolicy { age_max: Some(Duration::from_secs(5)), ..RetryPolicy::default() };
    h.submit("a", JobOptions { retry: Some(policy), ..options() }).unwrap();
    let delivery = h.claim(1).remove(0);
    h.pass(5);
    h.settle(&delivery, retry("no")).unwrap();
    let Some(Outcome::Failure(outcome)) = h.status("a").outcome else { panic!("no failure") };
    assert_eq!((h.state("a"), outcome.kind), (JobState::Failed, FailureKind::Error));
}

// proves
fn a_lapsed_lease_is_rescued_and_its_late_outcome_refused<S: Store>(h: &mut Harness<S>) {
    h.submit("a", options()).unwrap();
    let first = h.claim(1).remove(0);
    assert_eq!(h.engine.next_due().unwrap(), Some(first.lease.expires_at));
    h.pass(29);
    assert!(h.claim(1).is_empty());
    h.pass(1);
    let second = h.claim(1).remove(0);
    assert_eq!((second.attempt, second.lease.token.0), (2, 2));
    assert_eq!(h.settle(&first, ack("1")).unwrap_err().code(), &codes::LEASE_LOST);
    let late = Extension { lease: first.lease.clone(), progress: None, notes: Vec::new() };
    let answer = h.tx(|tx| tx.extend(&[late], LEASE).remove(0)).0;
    assert_eq!(answer.unwrap_err().code(), &codes::LEASE_LOST);
    h.settle(&second, ack("2")).unwrap();
    assert_eq!(h.status("a").outcome, Some(Outcome::Success(Payload::json("2"))));

    // A lease that is over, but not rescued, still settles.
    h.submit("b", options()).unwrap();
    let delivery = h.claim(1).remove(0);
    h.pass(31);
    let mut tx = h.engine.begin(h.now).unwrap();
    let settlement = Settlement { lease: delivery.lease, verdict: ack("3") };
    tx.settle(&[settlement]).remove(0).unwrap();
    tx.commit().unwrap();
    assert_eq!(h.state("b"), JobState::Succeeded);
}

fn the_last_lost_attempt_ends_the_job<S: Store>(h: &mut Harness<S>) {
    h.submit("once", JobOptions { retry: Some(RetryPolicy::never()), ..options() }).unwrap();
    h.submit("often", options()).unwrap();
    for _ in 0..3 {
        h.claim(2);
        h.pass(30);
    }
    let kind = |h: &mut Harness<S>, id| match h.status(id).outcome {
        Some(Outcome::Failure(failure)) => failure.kind,
        other => panic!("{other:?}"),
    };
    assert_eq!(kind(h, "once"), FailureKind::WorkerLost);
    assert_eq!(kind(h, "often"), FailureKind::MaxAttemptsExceeded);
    assert_account(&h.queues());
}

fn extending_keeps_the_lease_and_the_progress<S: Store>(h: &mut Harness<S>) {
    h.submit("a", options()).unwrap();
    let delivery = h.claim(1).remove(0);
    for (fraction, message) in [(0.25, Some("read")), (0.5, None)] {
        h.pass(20);
        let progress = Some(Progress::new(fraction, message));
        let extension =
            Extension { lease: delivery.lease.clone(), progress: progress.clone(), notes: Vec::new() };
        let extended = h.tx(|tx| tx.extend(&[extension], LEASE).remove(0)).0.unwrap();
        assert_eq!((extended.expires_at, extended.cancel_requested), (h.now + LEASE, false));
        assert_eq!(h.status("a").progress, progress);
    }
    h.tx(|tx| tx.cancel(&[job_id("a")]));
    let extension = Extension { lease: delivery.lease.clone(), progress: None, notes: Vec::new() };
    assert!(h.tx(|tx| tx.extend(&[extension], LEASE).remove(0)).0.unwrap().cancel_requested);
    assert_eq!(h.status("a").progress, Some(Progress::new(0.5, None)));
    h.settle(&delivery, ack("1")).unwrap();
    assert_eq!(h.status("a").progress, None);
}

fn released_jobs_lose_no_attempt<S: Store>(h: &mut Harness<S>) {
    h.submit("a", options()).unwrap();
    h.submit("b", options()).unwrap();
    let delivery = h.claim(1).remove(0);
    h.settle(&delivery, Verdict::Release).unwrap();
    let again = h.claim(1).remove(0);
    assert_eq!(again.lease.job, job_id("a"));
    assert_eq!((again.attempt, again.lease.token.0), (1, 2));
}

fn cancel_ends_waiting_jobs_and_asks_running_ones<S: Store>(h: &mut Harness<S>) {
    h.submit("a", options()).unwrap();
    h.submit("b", JobOptions { start: Some(in_seconds(60)), ..options() }).unwrap();
    let delivery = h.claim(1).remove(0);
    let ids = ["a", "b", "missing"].map(job_id);
    let (answers, committed) = h.tx(|tx| tx.cancel(&ids));
    assert_eq!(answers[0].as_ref().unwrap(), &Cancellation::Requested);
    assert_eq!(answers[1].as_ref().unwrap(), &Cancellation::Cancelled);
    assert_eq!(answers[2].as_ref().unwrap_err().code(), &codes::JOB_NOT_FOUND);
    assert_eq!(committed.cancel_requested, [(WORKER.into(), job_id("a"))]);
    assert_eq!(committed.ended.len(), 1);
    assert!(h.status("a").cancel_requested);
    h.settle(&delivery, Verdict::Cancelled(Failure::new(FailureKind::Cancelled, "stopped"))).unwrap();
    let status = h.status("a");
    assert_eq!((status.state, status.cancel_requested), (JobState::Cancelled, false));
    let again = h.tx(|tx| tx.cancel(&[job_id("a")]).remove(0)).0.unwrap();
    assert_eq!(again, Cancellation::AlreadyEnded(JobState::Cancelled));
    assert_account(&h.queues());
}

fn a_cancelled_attempt_that_fails_is_not_tried_again<S: Store>(h: &mut Harness<S>) {
    for (id, verdict) in [("a", Some(retry("no"))), ("b", Some(Verdict::Release)), ("c", None)] {
        h.submit(id, options()).unwrap();
        let delivery = h.claim(1).remove(0);
        h.tx(|tx| tx.cancel(&[job_id(id)]));
        match verdict {
            Some(verdict) => h.settle(&delivery, verdict).unwrap(),
            None => h.pass(30),
        }
        assert_eq!(h.state(id), JobState::Cancelled, "{id}");
    }
}

// proves R-042
fn requeued_jobs_start_afresh_and_refuse_old_leases<S: Store>(h: &mut Harness<S>) {
    h.submit("a", JobOptions { expiry: Some(in_seconds(100)), ..options() }).unwrap();
    let old = h.claim(1).remove(0);
    h.settle(&old, Verdict::Reject(failure("no"))).unwrap();
    h.pass(200);
    h.tx(|tx| tx.requeue(&[job_id("a")]).remove(0)).0.unwrap();
    let status = h.status("a");
    assert_eq!((status.state, status.attempt, status.outcome), (JobState::Queued, 0, None));
    let new = h.claim(1).remove(0);
    assert_eq!((new.attempt, new.lease.token.0), (1, 2));
    assert_eq!(h.settle(&old, ack("1")).unwrap_err().code(), &codes::LEASE_LOST);
    let running = h.tx(|tx| tx.requeue(&[job_id("a")]).remove(0)).0;
    assert_eq!(running.unwrap_err().code(), &codes::JOB_CONFLICT);
    h.settle(&new, ack("2")).unwrap();
    let succeeded = h.tx(|tx| tx.requeue(&[job_id("a")]).remove(0)).0;
    assert_eq!(succeeded.unwrap_err().code(), &codes::JOB_CONFLICT);
    assert_account(&h.queues());
}

fn queues_start_jobs_in_their_order<S: Store>(h: &mut Harness<S>) {
    let queue = QueueName::default_queue();
    for (id, level) in [("a", 1), ("b", 9), ("c", 4), ("d", 9)] {
        h.submit(id, JobOptions { priority: Some(Priority::new(level).unwrap()), ..options() }).unwrap();
    }
    let mut check = |order, expected: [&str; 4]| {
        h.tx(|tx| tx.set_order(&queue, order).unwrap());
        let deliveries = h.claim(4);
        let ids: Vec<_> = deliveries.iter().map(|delivery| delivery.lease.job.as_str()).collect();
        assert_eq!(ids, expected, "{order:?}");
        assert_eq!(h.queues()[0].order, order);
        for delivery in &deliveries {
            h.settle(delivery, Verdict::Release).unwrap();
        }
    };
    check(QueueOrder::Priority, ["b", "d", "c", "a"]);
    check(QueueOrder::Fifo, ["a", "b", "c", "d"]);
    check(QueueOrder::Lifo, ["d", "c", "b", "a"]);
    check(QueueOrder::Priority, ["b", "d", "c", "a"]);
}

fn paused_queues_hand_out_nothing<S: Store>(h: &mut Harness<S>) {
    let queue = QueueName::default_queue();
    h.tx(|tx| tx.pause(&queue, Some("maintenance")).unwrap());
    h.submit("a", options()).unwrap();
    assert!(h.claim(1).is_empty());
    let stats = h.queues().remove(0);
    assert_eq!((stats.paused, stats.paused_reason.as_deref()), (true, Some("maintenance")));
    let (_, committed) = h.tx(|tx| tx.resume(&queue).unwrap());
    assert!(committed.made_ready);
    assert_eq!(h.claim(1).len(), 1);
    let unknown = h.tx(|tx| tx.resume(&"unknown".parse().unwrap())).0;
    assert_eq!(unknown.unwrap_err().code(), &codes::QUEUE_NOT_FOUND);
}

fn purged_jobs_count_as_cancelled<S: Store>(h: &mut Harness<S>) {
    let queue = QueueName::default_queue();
    for id in ["a", "b", "c"] {
        h.submit(id, options()).unwrap();
    }
    h.submit("later", JobOptions { start: Some(in_seconds(60)), ..options() }).unwrap();
    h.claim(1);
    let (purged, committed) = h.tx(|tx| tx.purge(&queue).unwrap());
    assert_eq!((purged, committed.ended.len()), (3, 3));
    let counts = h.queues()[0].counts;
    assert_eq!((counts.submitted, counts.cancelled, counts.running), (4, 3, 1));
    assert_eq!(h.all().len(), 1);
    assert_account(&h.queues());
    let unknown = h.tx(|tx| tx.purge(&"unknown".parse().unwrap())).0;
    assert_eq!(unknown.unwrap_err().code(), &codes::QUEUE_NOT_FOUND);
}

// proves R-047
fn deleted_jobs_stay_in_the_account<S: Store>(h: &mut Harness<S>) {
    h.submit("a", options()).unwrap();
    let waiting = h.tx(|tx| tx.delete(&[job_id("a")]).remove(0)).0;
    assert_eq!(waiting.unwrap_err().code(), &codes::JOB_CONFLICT);
    let delivery = h.claim(1).remove(0);
    h.settle(&delivery, ack("1")).unwrap();
    h.tx(|tx| tx.delete(&[job_id("a")]).remove(0)).0.unwrap();
    assert!(h.all().is_empty());
    assert_eq!(h.queues()[0].counts.succeeded, 1);
    // A place in the order of submits may be used again, and still no old lease fits.
    h.submit("b", options()).unwrap();
    h.claim(1);
    assert_eq!(h.settle(&delivery, ack("2")).unwrap_err().code(), &codes::LEASE_LOST);
    assert_account(&h.queues());
}

fn a_kept_key_stands_for_one_job<S: Store>(h: &mut Harness<S>) {
    let keep = || keyed("k", Unique::WhileLive, OnConflict::Keep);
    h.submit("a", keep()).unwrap();
    let second = h.submit("b", keep()).unwrap();
    assert_eq!((second.id, second.existing), (job_id("a"), true));
    let mut other = new_job("c", keep());
    other.call.arguments = Payload::json("[[1],{}]");
    let refused = h.tx(|tx| tx.enqueue(vec![other]).remove(0)).0;
    assert_eq!(refused.unwrap_err().code(), &codes::IDEMPOTENCY);
    let delivery = h.claim(1).remove(0);
    h.settle(&delivery, Verdict::Reject(failure("no"))).unwrap();
    assert!(!h.submit("d", keep()).unwrap().existing, "the first has ended");
    let requeued = h.tx(|tx| tx.requeue(&[job_id("a")]).remove(0)).0;
    assert_eq!(requeued.unwrap_err().code(), &codes::IDEMPOTENCY);
}

fn a_key_is_free_when_its_time_is_over<S: Store>(h: &mut Harness<S>) {
    let period = || keyed("p", Unique::For(Duration::from_secs(60)), OnConflict::Keep);
    let forever = || keyed("f", Unique::Forever, OnConflict::Keep);
    h.submit("a", period()).unwrap();
    h.submit("b", forever()).unwrap();
    for delivery in h.claim(2) {
        h.settle(&delivery, ack("1")).unwrap();
    }
    h.pass(59);
    assert!(h.submit("c", period()).unwrap().existing);
    h.pass(1);
    assert!(!h.submit("d", period()).unwrap().existing);
    h.pass(1_000_000);
    assert!(h.submit("e", forever()).unwrap().existing);
    h.tx(|tx| tx.delete(&[job_id("b")]).remove(0)).0.unwrap();
    assert!(!h.submit("g", forever()).unwrap().existing, "nothing of the first is kept");
}

fn a_replaced_job_takes_the_newer_call<S: Store>(h: &mut Harness<S>) {
    let replace = || keyed("k", Unique::WhileLive, OnConflict::Replace);
    h.submit("a", replace()).unwrap();
    let mut newer = new_job(
        "b",
        JobOptions { queue: Some("other".parse().unwrap()), start: Some(in_seconds(5)), ..replace() },
    );
    newer.call.arguments = Payload::json("[[2],{}]");
    let answer = h.tx(|tx| tx.enqueue(vec![newer]).remove(0)).0.unwrap();
    assert_eq!((answer.id, answer.existing), (job_id("a"), true));
    let status = h.status("a");
    assert_eq!((status.state, status.queue.as_str()), (JobState::Scheduled, "other"));
    assert_eq!(status.arguments.bytes, "[[2],{}]");
    assert_account(&h.queues());
    let third = JobOptions { queue: None, ..replace() };
    assert!(h.submit("c", third.clone()).unwrap().existing);
    assert_eq!(h.claim(1).remove(0).lease.job, job_id("a"));
    // It runs, so the newer request becomes a job of its own and takes the key.
    assert!(!h.submit("d", third.clone()).unwrap().existing);
    assert_eq!(h.submit("e", third).unwrap().id, job_id("d"));
    assert_account(&h.queues());
}

fn limits_are_errors_with_both_numbers<S: Store>(h: &mut Harness<S>) {
    let mut at_limit = new_job("a", options());
    at_limit.call.arguments = Payload::json(vec![b' '; 1_000]);
    let mut over = new_job("b", options());
    over.call.arguments = Payload::json(vec![b' '; 1_001]);
    let answers = h.tx(|tx| tx.enqueue(vec![at_limit, over, new_job("c", options())])).0;
    assert!(answers[0].is_ok() && answers[2].is_ok());
    let error = answers[1].as_ref().unwrap_err();
    assert_eq!(error.code(), &codes::PAYLOAD_TOO_LARGE);
    assert!(error.message().contains("1001") && error.message().contains("1000"), "{error}");
    assert_eq!(h.all().len(), 2);
}

// proves R-045
fn an_oversize_result_is_a_dead_letter<S: Store>(h: &mut Harness<S>) {
    h.submit("a", options()).unwrap();
    h.submit("b", options()).unwrap();
    let deliveries = h.claim(2);
    h.settle(&deliveries[0], Verdict::Ack(Payload::json(vec![b'1'; 100]))).unwrap();
    h.settle(&deliveries[1], Verdict::Ack(Payload::json(vec![b'1'; 101]))).unwrap();
    assert_eq!(h.state("a"), JobState::Succeeded);
    let Some(Outcome::Failure(outcome)) = h.status("b").outcome else { panic!("no failure") };
    assert_eq!((h.state("b"), outcome.kind), (JobState::Failed, FailureKind::ResultTooLarge));
}

fn contradictory_options_are_refused<S: Store>(h: &mut Harness<S>) {
    let contradiction = JobOptions { start: Some(in_seconds(5)), expiry: Some(in_seconds(5)), ..options() };
    assert_eq!(h.submit("a", contradiction).unwrap_err().code(), &codes::BAD_OPTION);
}

fn pages_list_newest_first_by_every_filter<S: Store>(h: &mut Harness<S>) {
    for id in ["a", "b", "c", "d", "e"] {
        let tags =
            if matches!(id, "b" | "d") { vec!["odd \"one\"".into(), "x".into()] } else { vec!["od".into()] };
        let queue = if id < "d" { "left" } else { "right" };
        h.submit(id, JobOptions { tags, queue: Some(queue.parse().unwrap()), ..options() }).unwrap();
    }
    h.tx(|tx| tx.cancel(&[job_id("c"), job_id("a")]));
    let check = |filter: JobFilter, len: usize, expected: &[&str]| {
        let mut found = Vec::new();
        let mut after = None;
        loop {
            let mut reader = h.engine.reader().unwrap();
            let page = reader.jobs(&filter, &PageRequest { after, len }).unwrap();
            assert!(page.items.len() <= len);
            found.extend(page.items.into_iter().map(|job| job.id.as_str().to_owned()));
            after = page.next;
            if after.is_none() {
                break;
            }
        }
        assert_eq!(found, expected, "{filter:?}");
    };
    let any = JobFilter::default;
    check(any(), 2, &["e", "d", "c", "b", "a"]);
    check(any(), 5, &["e", "d", "c", "b", "a"]);
    check(JobFilter { state: Some(JobState::Cancelled), ..any() }, 1, &["c", "a"]);
    check(JobFilter { state: Some(JobState::Queued), ..any() }, 1, &["e", "d", "b"]);
    check(JobFilter { queue: Some("left".parse().unwrap()), ..any() }, 2, &["c", "b", "a"]);
    check(JobFilter { tag: Some("odd \"one\"".into()), ..any() }, 2, &["d", "b"]);
    check(JobFilter { tag: Some("od".into()), queue: Some("right".parse().unwrap()), ..any() }, 2, &["e"]);
    check(JobFilter { task: Some("unknown".parse().unwrap()), ..any() }, 2, &[]);
    check(JobFilter { task: Some("t".parse().unwrap()), ..any() }, 9, &["e", "d", "c", "b", "a"]);
    check(JobFilter { run: Some("unknown".parse().unwrap()), ..any() }, 9, &[]);
    let cursor = Cursor("x".into());
    let bad = h.engine.reader().unwrap().jobs(&any(), &PageRequest { after: Some(cursor), len: 1 });
    assert_eq!(bad.unwrap_err().code(), &codes::BAD_OPTION);
}

fn workers_are_listed_until_they_are_forgotten<S: Store>(h: &mut Harness<S>) {
    let worker = NewWorker {
        name: WORKER.into(),
        host: "here".into(),
        pid: 7,
        queues: vec![QueueName::default_queue()],
        tasks: vec!["t".parse().unwrap()],
        slots: 2,
        lease_for: LEASE,
    };
    h.tx(|tx| tx.register_worker(worker.clone()).unwrap());
    h.pass(20);
    assert!(h.tx(|tx| tx.heartbeat(WORKER, WorkerLoad { running: 1, slots: 2 }).unwrap()).0);
    h.pass(29);
    let listed = |h: &mut Harness<S>| {
        h.tx(|_| ());
        h.engine.reader().unwrap().workers(h.now).unwrap()
    };
    let found = listed(h).remove(0);
    assert!(found.alive && found.load.running == 1 && found.tasks == worker.tasks, "{found:?}");
    h.pass(1);
    assert!(!listed(h).remove(0).alive);
    h.pass(600);
    assert!(listed(h).is_empty());
    assert!(!h.tx(|tx| tx.heartbeat(WORKER, WorkerLoad::default()).unwrap()).0);
    h.tx(|tx| tx.register_worker(worker).unwrap());
    h.tx(|tx| tx.remove_worker(WORKER).unwrap());
    assert!(listed(h).is_empty());
}

fn a_tick_is_bounded_and_says_that_there_is_more<S: Store>(h: &mut Harness<S>) {
    let later = JobOptions { start: Some(in_seconds(1)), ..options() };
    let jobs = (0..2_500).map(|n| new_job(&format!("job-{n}"), later.clone())).collect();
    h.tx(|tx| assert!(tx.enqueue(jobs).iter().all(Result::is_ok)));
    h.pass(1);
    let mut tx = h.engine.begin(h.now).unwrap();
    assert_eq!([tx.tick().unwrap(), tx.tick().unwrap(), tx.tick().unwrap()], [true, true, false]);
    tx.commit().unwrap();
    let counts = h.queues()[0].counts;
    assert_eq!((counts.scheduled, counts.queued), (0, 2_500));
}

fn the_oldest_waiting_job_is_known_in_every_order<S: Store>(h: &mut Harness<S>) {
    let first = h.now;
    for level in [3, 9, 0] {
        h.submit(
            &format!("job-{level}"),
            JobOptions { priority: Some(Priority::new(level).unwrap()), ..options() },
        )
        .unwrap();
        h.pass(1);
    }
    for order in [QueueOrder::Priority, QueueOrder::Fifo, QueueOrder::Lifo] {
        h.tx(|tx| tx.set_order(&QueueName::default_queue(), order).unwrap());
        assert_eq!(h.queues()[0].oldest_queued_at, Some(first), "{order:?}");
    }
    h.tx(|tx| tx.cancel(&[job_id("job-3"), job_id("job-9"), job_id("job-0")]));
    assert_eq!(h.queues()[0].oldest_queued_at, None);
}
