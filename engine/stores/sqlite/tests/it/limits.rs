//! Limits, shares and batches, on both stores.

use std::collections::{BTreeMap, HashMap};
use std::time::Duration;

use proptest::prelude::*;
use taskport_abstraction::backend::{
    Delivery, Extension, QueueLimits, QueueOrder, Rate, Settlement, Submission, Verdict,
};
use taskport_abstraction::batch::BatchRequest;
use taskport_abstraction::options::{
    ConcurrencyLimit, FairShare, Idempotency, OnConflict, Priority, RateLimit, Start, Unique,
};
use taskport_abstraction::{BatchId, JobOptions, JobState, Payload, QueueName, RawCall, codes};
use taskport_engine::{Claim, Engine, Store};
use taskport_store_sqlite::{SqliteOptions, SqliteStore};

use crate::harness::{
    Harness, LEASE, ack, assert_account, config, failure, job_id, memory, new_job, retry, sqlite,
};

fn line(key: &str) -> JobOptions {
    JobOptions { ordering_key: Some(key.into()), ..JobOptions::default() }
}

fn slots(key: &str, max: u32) -> JobOptions {
    JobOptions { concurrency: Some(ConcurrencyLimit { key: key.into(), max }), ..JobOptions::default() }
}

fn rate(key: &str, count: u32, seconds: u64) -> JobOptions {
    let period = Duration::from_secs(seconds);
    JobOptions { rate_limit: Some(RateLimit { key: key.into(), count, period }), ..JobOptions::default() }
}

fn fair(key: &str, weight: u32) -> JobOptions {
    JobOptions { fair: Some(FairShare { key: key.into(), weight }), ..JobOptions::default() }
}

fn names(deliveries: &[Delivery]) -> Vec<&str> {
    deliveries.iter().map(|delivery| delivery.lease.job.as_str()).collect()
}

fn queue() -> QueueName {
    QueueName::default_queue()
}

/// Writes the same tests for each store.
macro_rules! on_both {
    ($($name:ident)+) => {
        mod on_memory { $(#[test] fn $name() { super::$name(super::memory()); })+ }
        mod on_sqlite { $(#[test] fn $name() { super::$name(super::sqlite()); })+ }
    };
}

on_both! {
    jobs_of_one_ordering_key_run_one_at_a_time_in_submit_order
    a_job_that_waits_for_its_time_holds_its_line
    a_requeued_job_goes_to_the_end_of_its_line
    a_line_goes_on_after_each_kind_of_end
    a_purge_leaves_no_line_behind
    slots_are_shared_by_every_queue_of_a_key
    the_newest_submit_says_how_many_slots_there_are
    a_paused_queue_keeps_no_slot_from_another
    a_rate_lets_a_burst_go_and_then_one_by_one
    a_retry_takes_a_token_of_its_own
    a_queue_starts_no_more_than_its_limits_allow
    many_held_jobs_are_walked_over_once
    a_newcomer_does_not_wait_for_the_backlog_of_others
    a_delayed_burst_takes_no_more_than_its_share
    jobs_that_wait_are_shared_out_when_the_order_becomes_fair
    age_makes_up_for_priority
    a_batch_calls_back_once_when_its_last_job_has_ended
    a_failed_job_keeps_a_batch_from_success
    an_empty_batch_ends_at_once
    a_batch_is_taken_as_a_whole_or_not_at_all
    a_repeated_batch_is_the_same_batch
    an_open_batch_is_joined_and_an_ended_one_is_not
    a_requeued_job_of_an_ended_batch_calls_nobody
}

// proves R-434
fn jobs_of_one_ordering_key_run_one_at_a_time_in_submit_order<S: Store>(mut h: Harness<S>) {
    for n in 0..4 {
        h.submit(&format!("job-{n}"), line("a")).unwrap();
    }
    h.submit("other", line("b")).unwrap();
    assert_eq!(h.state("job-1"), JobState::Blocked);
    let first = h.claim(10);
    assert_eq!(names(&first), ["job-0", "other"]);
    assert!(h.claim(10).is_empty());
    h.settle(&first[0], retry("once more")).unwrap();
    assert!(h.claim(10).is_empty(), "a job that will be tried again holds its line");
    h.pass(10);
    let again = h.claim(10);
    assert_eq!(names(&again), ["job-0"]);
    h.settle(&again[0], ack("1")).unwrap();
    for n in 1..4 {
        let next = h.claim(10);
        assert_eq!(names(&next), [format!("job-{n}")]);
        h.settle(&next[0], ack("1")).unwrap();
    }
    assert_account(&h.queues());
}

fn a_job_that_waits_for_its_time_holds_its_line<S: Store>(mut h: Harness<S>) {
    let later = JobOptions { start: Some(Start::In(Duration::from_secs(60))), ..line("a") };
    h.submit("later", later.clone()).unwrap();
    h.submit("next", line("a")).unwrap();
    h.submit("last", later).unwrap();
    assert!(h.claim(10).is_empty());
    h.pass(30);
    h.tx(|tx| tx.cancel(&[job_id("later")]).remove(0)).0.unwrap();
    let next = h.claim(10);
    assert_eq!(names(&next), ["next"]);
    h.settle(&next[0], ack("1")).unwrap();
    assert_eq!(h.state("last"), JobState::Scheduled, "its own time has not come");
    h.pass(30);
    assert_eq!(names(&h.claim(10)), ["last"]);
}

fn a_requeued_job_goes_to_the_end_of_its_line<S: Store>(mut h: Harness<S>) {
    for n in 0..3 {
        h.submit(&format!("job-{n}"), line("a")).unwrap();
    }
    let first = h.claim(1);
    h.settle(&first[0], Verdict::Reject(failure("no"))).unwrap();
    h.tx(|tx| tx.requeue(&[job_id("job-0")]).remove(0)).0.unwrap();
    assert_eq!(h.state("job-0"), JobState::Blocked);
    h.submit("job-3", line("a")).unwrap();
    for expected in ["job-1", "job-2", "job-0", "job-3"] {
        let next = h.claim(10);
        assert_eq!(names(&next), [expected]);
        h.settle(&next[0], ack("1")).unwrap();
    }
}

fn a_line_goes_on_after_each_kind_of_end<S: Store>(mut h: Harness<S>) {
    let never = JobOptions { retry: Some(taskport_abstraction::RetryPolicy::never()), ..line("a") };
    let expiring = JobOptions { expiry: Some(Start::In(Duration::from_secs(5))), ..line("a") };
    h.submit("cancelled", line("a")).unwrap();
    h.submit("expired", expiring).unwrap();
    h.submit("lapsed", never).unwrap();
    h.submit("rejected", line("a")).unwrap();
    h.submit("last", line("a")).unwrap();
    h.tx(|tx| tx.cancel(&[job_id("cancelled")]).remove(0)).0.unwrap();
    assert_eq!(h.state("expired"), JobState::Queued);
    h.pass(5);
    assert_eq!(names(&h.claim(10)), ["lapsed"]);
    h.pass(LEASE.as_secs());
    let next = h.claim(10);
    assert_eq!(names(&next), ["rejected"]);
    h.settle(&next[0], Verdict::Reject(failure("no"))).unwrap();
    assert_eq!(names(&h.claim(10)), ["last"]);
}

fn a_purge_leaves_no_line_behind<S: Store>(mut h: Harness<S>) {
    for n in 0..20 {
        h.submit(&format!("job-{n}"), if n % 2 == 0 { line("a") } else { slots("s", 1) }).unwrap();
    }
    let running = h.claim(2);
    assert_eq!(running.len(), 2);
    assert_eq!(h.tx(|tx| tx.purge(&queue())).0.unwrap(), 18);
    for delivery in &running {
        h.settle(delivery, ack("1")).unwrap();
    }
    h.submit("next", line("a")).unwrap();
    h.submit("slot", slots("s", 1)).unwrap();
    assert_eq!(names(&h.claim(10)), ["next", "slot"]);
    assert_account(&h.queues());
}

fn claim_of<S: Store>(h: &mut Harness<S>, line: &str, max: usize) -> Vec<Delivery> {
    let queues = [line.parse().unwrap()];
    let claim = Claim { worker: "w", queues: &queues, max, lease_for: LEASE };
    h.tx(|tx| tx.claim(&claim).unwrap()).0
}

fn in_queue(queue: &str, options: JobOptions) -> JobOptions {
    JobOptions { queue: Some(queue.parse().unwrap()), ..options }
}

// proves R-436
fn slots_are_shared_by_every_queue_of_a_key<S: Store>(mut h: Harness<S>) {
    for n in 0..6 {
        h.submit(&format!("job-{n}"), in_queue(["here", "there"][n % 2], slots("s", 2))).unwrap();
    }
    h.submit("free", in_queue("here", JobOptions::default())).unwrap();
    let here = claim_of(&mut h, "here", 10);
    assert_eq!(names(&here), ["job-0", "job-2", "free"]);
    assert!(claim_of(&mut h, "there", 10).is_empty());
    assert_eq!(h.state("job-1"), JobState::Blocked);
    h.settle(&here[0], Verdict::Release).unwrap();
    assert_eq!(names(&claim_of(&mut h, "here", 10)), ["job-0"], "what was handed back goes first");
    h.settle(&here[1], retry("later")).unwrap();
    let there = claim_of(&mut h, "there", 10);
    assert_eq!(names(&there), ["job-1"]);
    h.pass(10);
    assert!(claim_of(&mut h, "here", 10).is_empty());
    h.settle(&there[0], ack("1")).unwrap();
    assert_eq!(claim_of(&mut h, "here", 10).len(), 1);
}

fn the_newest_submit_says_how_many_slots_there_are<S: Store>(mut h: Harness<S>) {
    for n in 0..5 {
        h.submit(&format!("job-{n}"), slots("s", 1)).unwrap();
    }
    assert_eq!(h.claim(10).len(), 1);
    h.submit("job-5", slots("s", 4)).unwrap();
    assert_eq!(h.claim(10).len(), 3);
    assert!(h.claim(10).is_empty());
}

// proves R-437
fn a_paused_queue_keeps_no_slot_from_another<S: Store>(mut h: Harness<S>) {
    for n in 0..6 {
        h.submit(&format!("job-{n}"), in_queue(["a", "b"][n % 2], slots("s", 1))).unwrap();
    }
    let first = claim_of(&mut h, "a", 10);
    assert!(claim_of(&mut h, "b", 10).is_empty());
    h.tx(|tx| tx.pause(&"a".parse().unwrap(), None)).0.unwrap();
    h.settle(&first[0], ack("1")).unwrap();
    for expected in ["job-1", "job-3", "job-5"] {
        let next = claim_of(&mut h, "b", 10);
        assert_eq!(names(&next), [expected]);
        h.settle(&next[0], ack("1")).unwrap();
    }
    h.tx(|tx| tx.resume(&"a".parse().unwrap())).0.unwrap();
    assert_eq!(names(&claim_of(&mut h, "a", 10)), ["job-2"]);
}

// proves R-435
fn a_rate_lets_a_burst_go_and_then_one_by_one<S: Store>(mut h: Harness<S>) {
    for n in 0..8 {
        h.submit(&format!("job-{n}"), rate("r", 2, 10)).unwrap();
    }
    let burst = h.claim(10);
    assert_eq!(names(&burst), ["job-0", "job-1"]);
    for delivery in &burst {
        h.settle(delivery, ack("1")).unwrap();
    }
    assert!(h.claim(10).is_empty());
    let due = h.engine.next_due().unwrap().unwrap();
    assert!(due.since(h.now) <= Duration::from_secs(6), "nobody comes back for the next token");
    h.pass(5);
    assert_eq!(names(&h.claim(10)), ["job-2"]);
    h.pass(4);
    assert!(h.claim(10).is_empty());
    h.pass(61);
    assert_eq!(h.claim(10).len(), 2, "a full bucket, and no more");
}

fn a_retry_takes_a_token_of_its_own<S: Store>(mut h: Harness<S>) {
    h.submit("job", rate("r", 1, 60)).unwrap();
    let first = h.claim(1);
    h.settle(&first[0], retry("again")).unwrap();
    h.pass(10);
    assert!(h.claim(1).is_empty());
    assert_eq!(h.state("job"), JobState::Blocked);
    h.pass(51);
    assert_eq!(h.claim(1)[0].attempt, 2);
}

// proves R-441
fn a_queue_starts_no_more_than_its_limits_allow<S: Store>(mut h: Harness<S>) {
    let limits = QueueLimits {
        concurrency_max: Some(3),
        rate: Some(Rate { count: 4, period: Duration::from_secs(40) }),
        ageing: None,
    };
    h.tx(|tx| tx.set_limits(&queue(), limits)).0.unwrap();
    for n in 0..20 {
        h.submit(&format!("job-{n}"), JobOptions::default()).unwrap();
    }
    assert_eq!(h.queues()[0].limits, limits);
    let running = h.claim(10);
    assert_eq!(running.len(), 3);
    assert!(!h.engine.has_ready(&[queue()]).unwrap());
    let settled = h.tx(|tx| tx.settle(&[Settlement { lease: running[0].lease.clone(), verdict: ack("1") }]));
    assert!(settled.1.made_ready, "whoever waits hears of the free slot");
    assert_eq!(h.claim(10).len(), 1);
    h.settle(&running[1], ack("1")).unwrap();
    assert!(h.claim(10).is_empty(), "the bucket is empty");
    let due = h.engine.next_due().unwrap().unwrap();
    assert!(due.since(h.now) <= Duration::from_secs(11));
    h.pass(11);
    let (_, committed) = h.tx(|_| ());
    assert!(committed.made_ready, "whoever waits hears of the token");
    assert_eq!(h.claim(10).len(), 1);
    let none = QueueLimits { concurrency_max: Some(0), ..QueueLimits::default() };
    assert_eq!(h.tx(|tx| tx.set_limits(&queue(), none)).0.unwrap_err().code(), &codes::BAD_OPTION);
    h.tx(|tx| tx.set_limits(&queue(), QueueLimits::default())).0.unwrap();
    assert_eq!(h.claim(100).len(), 15);
}

fn many_held_jobs_are_walked_over_once<S: Store>(mut h: Harness<S>) {
    let many = (0..3_000).map(|n| new_job(&format!("held-{n}"), slots("s", 1))).collect();
    assert!(h.tx(|tx| tx.enqueue(many)).0.iter().all(Result::is_ok));
    h.submit("free", JobOptions::default()).unwrap();
    let mut found = Vec::new();
    for _ in 0..4 {
        found.extend(h.claim(2));
        if found.len() < 2 {
            assert!(h.engine.next_due().unwrap().unwrap() <= h.now, "the claim does not go on");
        }
    }
    assert_eq!(names(&found), ["held-0", "free"]);
    assert_eq!(h.queues()[0].counts.blocked, 2_999);
    h.settle(&found[0], ack("1")).unwrap();
    assert_eq!(names(&h.claim(10)), ["held-1"]);
}

fn set_order<S: Store>(h: &mut Harness<S>, order: QueueOrder) {
    h.tx(|tx| tx.set_order(&queue(), order)).0.unwrap();
}

// proves R-440
fn a_newcomer_does_not_wait_for_the_backlog_of_others<S: Store>(mut h: Harness<S>) {
    set_order(&mut h, QueueOrder::Fair);
    let many = (0..2_000).map(|n| new_job(&format!("big-{n}"), fair("big", 1))).collect();
    h.tx(|tx| tx.enqueue(many));
    assert_eq!(h.claim(100).len(), 100);
    for n in 0..5 {
        h.submit(&format!("small-{n}"), fair("small", 1)).unwrap();
    }
    let next = h.claim(12);
    let small = names(&next).iter().filter(|name| name.starts_with("small")).count();
    assert_eq!(small, 5, "{:?}", names(&next));
}

fn a_delayed_burst_takes_no_more_than_its_share<S: Store>(mut h: Harness<S>) {
    set_order(&mut h, QueueOrder::Fair);
    for n in 0..50 {
        let later = JobOptions { start: Some(Start::In(Duration::from_secs(10))), ..fair("late", 1) };
        h.submit(&format!("late-{n}"), later).unwrap();
        h.submit(&format!("steady-{n}"), fair("steady", 1)).unwrap();
    }
    h.claim(10);
    h.pass(10);
    let next = h.claim(20);
    let late = names(&next).iter().filter(|name| name.starts_with("late")).count();
    assert!((9..=11).contains(&late), "{:?}", names(&next));
}

fn jobs_that_wait_are_shared_out_when_the_order_becomes_fair<S: Store>(mut h: Harness<S>) {
    for n in 0..30 {
        h.submit(&format!("a-{n}"), fair("a", 1)).unwrap();
    }
    for n in 0..10 {
        h.submit(&format!("b-{n}"), fair("b", 2)).unwrap();
    }
    set_order(&mut h, QueueOrder::Fair);
    let next = h.claim(12);
    let b = names(&next).iter().filter(|name| name.starts_with('b')).count();
    assert!((7..=9).contains(&b), "{:?}", names(&next));
    set_order(&mut h, QueueOrder::Fifo);
    assert!(names(&h.claim(10)).iter().all(|name| name.starts_with('a')));
}

// proves R-439
fn age_makes_up_for_priority<S: Store>(mut h: Harness<S>) {
    let with = |level| JobOptions { priority: Some(Priority::new(level).unwrap()), ..JobOptions::default() };
    h.submit("old-low", with(1)).unwrap();
    h.submit("old-low-too", with(1)).unwrap();
    h.pass(100);
    h.submit("new-high", with(9)).unwrap();
    h.submit("new-middle", with(5)).unwrap();
    let limits = QueueLimits { ageing: Some(Duration::from_secs(20)), ..QueueLimits::default() };
    h.tx(|tx| tx.set_limits(&queue(), limits)).0.unwrap();
    h.submit("newest", with(5)).unwrap();
    assert_eq!(names(&h.claim(10)), ["new-high", "old-low", "old-low-too", "new-middle", "newest"]);
}

// proves R-434
#[test]
fn a_line_is_found_again_by_whoever_opens_the_file() {
    let mut h = sqlite();
    for n in 0..30 {
        h.submit(&format!("job-{n}"), line("a")).unwrap();
    }
    let mut running = h.claim(10);
    for n in 1..30 {
        let reopened = SqliteStore::open(h.path(), SqliteOptions::default()).unwrap();
        h.engine = Engine::open(reopened, config(), h.now).unwrap();
        let job = format!("job-{n}");
        if n % 2 == 0 {
            h.submit(&format!("late-{n}"), line("a")).unwrap();
            assert_eq!(h.state(&format!("late-{n}")), JobState::Blocked);
        }
        h.settle(&running[0], ack("1")).unwrap();
        running = h.claim(10);
        assert_eq!(names(&running), [job]);
    }
}

#[test]
fn gates_at_rest_are_deleted() {
    let mut h = sqlite();
    for n in 0..600 {
        let options = match n % 3 {
            0 => line(&format!("line-{n}")),
            1 => slots(&format!("slots-{n}"), 1),
            _ => rate(&format!("rate-{n}"), 1, 1),
        };
        h.submit(&format!("job-{n}"), options).unwrap();
    }
    let running = h.claim(1_000);
    let rows = rusqlite::Connection::open(h.path()).unwrap();
    let gates =
        || rows.query_row("SELECT count(*) FROM taskport_gates", [], |row| row.get::<_, i64>(0)).unwrap();
    assert_eq!(gates(), 400, "a line leaves none");
    let in_use = &running[1];
    for delivery in running.iter().filter(|delivery| delivery.lease != in_use.lease) {
        h.settle(delivery, ack("1")).unwrap();
    }
    for _ in 0..8 {
        h.pass(20);
        h.tx(|tx| {
            tx.extend(&[Extension { lease: in_use.lease.clone(), progress: None, notes: Vec::new() }], LEASE)
        });
    }
    assert_eq!(gates(), 1, "what is in use stays");
}

fn submission(id: &str, options: JobOptions) -> Submission {
    let call = RawCall { task: "t".parse().unwrap(), arguments: Payload::json("[[],{}]") };
    Submission { id: job_id(id), call, options }
}

fn batch(id: &str, jobs: &[&str]) -> BatchRequest {
    BatchRequest {
        id: id.parse().unwrap(),
        jobs: jobs.iter().map(|job| submission(job, JobOptions::default())).collect(),
        on_success: Some(submission("on-success", JobOptions::default())),
        on_complete: Some(submission("on-complete", JobOptions::default())),
    }
}

fn status<S: Store>(h: &mut Harness<S>, id: &str) -> taskport_abstraction::batch::BatchStatus {
    let id: BatchId = id.parse().unwrap();
    h.engine.reader().unwrap().batch(&id).unwrap().unwrap()
}

fn exists<S: Store>(h: &mut Harness<S>, id: &str) -> bool {
    h.engine.reader().unwrap().get(&[job_id(id)]).unwrap().remove(0).is_some()
}

// proves R-443
fn a_batch_calls_back_once_when_its_last_job_has_ended<S: Store>(mut h: Harness<S>) {
    h.tx(|tx| tx.submit_batch(batch("b", &["one", "two"]))).0.unwrap();
    let running = h.claim(10);
    h.settle(&running[0], ack("1")).unwrap();
    let open = status(&mut h, "b");
    assert_eq!((open.total, open.pending, open.succeeded, open.finished_at), (2, 1, 1, None));
    assert!(!exists(&mut h, "on-complete"));
    h.settle(&running[1], ack("1")).unwrap();
    let ended = status(&mut h, "b");
    assert_eq!((ended.pending, ended.succeeded, ended.finished_at), (0, 2, Some(h.now)));
    let callbacks = h.claim(10);
    assert_eq!(names(&callbacks), ["on-complete", "on-success"]);
    assert_eq!(callbacks[0].options.metadata["batch"].as_ref(), "b");
    assert!(h.claim(10).is_empty());
}

fn a_failed_job_keeps_a_batch_from_success<S: Store>(mut h: Harness<S>) {
    h.tx(|tx| tx.submit_batch(batch("b", &["one", "two", "three"]))).0.unwrap();
    let running = h.claim(2);
    h.settle(&running[0], Verdict::Reject(failure("no"))).unwrap();
    h.settle(&running[1], ack("1")).unwrap();
    h.tx(|tx| tx.cancel(&[job_id("three")]).remove(0)).0.unwrap();
    let ended = status(&mut h, "b");
    assert_eq!((ended.succeeded, ended.failed, ended.cancelled, ended.pending), (1, 1, 1, 0));
    assert_eq!(names(&h.claim(10)), ["on-complete"]);
    assert!(!exists(&mut h, "on-success"));
}

fn an_empty_batch_ends_at_once<S: Store>(mut h: Harness<S>) {
    h.tx(|tx| tx.submit_batch(batch("b", &[]))).0.unwrap();
    assert!(status(&mut h, "b").finished_at.is_some());
    assert_eq!(names(&h.claim(10)), ["on-complete", "on-success"]);
}

// proves R-442
fn a_batch_is_taken_as_a_whole_or_not_at_all<S: Store>(mut h: Harness<S>) {
    let key =
        |key: &str| Idempotency { key: key.into(), unique: Unique::WhileLive, on_conflict: OnConflict::Keep };
    let keyed = JobOptions { idempotency: Some(key("k")), ..JobOptions::default() };
    h.submit("holder", keyed.clone()).unwrap();
    let mut bad = [batch("b", &["one"]), batch("b", &["one"]), batch("b", &["one"]), batch("b", &["one"])];
    bad[0].jobs.push(submission("two", slots("s", 0)));
    bad[1].jobs.push(submission("two", keyed));
    bad[1].jobs[1].call.task = "another".parse().unwrap();
    bad[2].on_success.as_mut().unwrap().call.arguments = Payload::json(vec![b' '; 2_000]);
    bad[3]
        .jobs
        .push(submission("two", JobOptions { batch: Some("c".parse().unwrap()), ..JobOptions::default() }));
    for request in bad {
        h.tx(|tx| tx.submit_batch(request)).0.unwrap_err();
    }
    assert_eq!(h.queues()[0].counts.submitted, 1);
    assert!(h.engine.reader().unwrap().batch(&"b".parse().unwrap()).unwrap().is_none());
}

fn a_repeated_batch_is_the_same_batch<S: Store>(mut h: Harness<S>) {
    for _ in 0..2 {
        h.tx(|tx| tx.submit_batch(batch("b", &["one", "two"]))).0.unwrap();
    }
    assert_eq!(status(&mut h, "b").total, 2);
    assert_eq!(h.queues()[0].counts.submitted, 2);
}

// proves R-444
fn an_open_batch_is_joined_and_an_ended_one_is_not<S: Store>(mut h: Harness<S>) {
    let member = || JobOptions { batch: Some("b".parse().unwrap()), ..JobOptions::default() };
    let error = h.submit("early", member()).unwrap_err();
    assert_eq!(error.code(), &codes::BATCH_NOT_FOUND);
    h.tx(|tx| tx.submit_batch(batch("b", &["one"]))).0.unwrap();
    h.submit("joined", member()).unwrap();
    let running = h.claim(10);
    h.settle(&running[0], ack("1")).unwrap();
    assert_eq!(status(&mut h, "b").pending, 1);
    h.settle(&running[1], ack("1")).unwrap();
    assert_eq!(status(&mut h, "b").total, 2);
    assert_eq!(h.submit("late", member()).unwrap_err().code(), &codes::BATCH_FINISHED);
    assert!(h.submit("joined", member()).unwrap().existing, "a repeated submit is the same job");
}

fn a_requeued_job_of_an_ended_batch_calls_nobody<S: Store>(mut h: Harness<S>) {
    h.tx(|tx| tx.submit_batch(batch("b", &["one"]))).0.unwrap();
    let running = h.claim(1);
    h.settle(&running[0], Verdict::Reject(failure("no"))).unwrap();
    let callback = h.claim(10);
    h.settle(&callback[0], ack("1")).unwrap();
    h.tx(|tx| tx.requeue(&[job_id("one")]).remove(0)).0.unwrap();
    let again = h.claim(1);
    h.settle(&again[0], ack("1")).unwrap();
    assert!(h.claim(10).is_empty());
    assert_eq!((status(&mut h, "b").failed, status(&mut h, "b").succeeded), (1, 0));
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 48, ..ProptestConfig::default() })]

    // proves R-440
    #[test]
    fn keys_that_wait_start_jobs_by_their_weights(
        weights in proptest::collection::vec(1_u32..10, 2..5), claims in proptest::collection::vec(1_usize..20, 1..30),
    ) {
        let mut h = memory();
        set_order(&mut h, QueueOrder::Fair);
        let total: usize = claims.iter().sum();
        for (key, weight) in weights.iter().enumerate() {
            let jobs = (0..=total).map(|n| new_job(&format!("{key}-{n}"), fair(&key.to_string(), *weight)));
            h.tx(|tx| tx.enqueue(jobs.collect()));
        }
        let mut starts = vec![0_u32; weights.len()];
        for max in claims {
            for delivery in h.claim(max) {
                let key: usize = delivery.lease.job.as_str().split('-').next().unwrap().parse().unwrap();
                starts[key] += 1;
            }
            for (a, left) in weights.iter().enumerate() {
                for (b, right) in weights.iter().enumerate() {
                    let share = |key: usize, weight: u32| f64::from(starts[key]) / f64::from(weight);
                    let bound = 1.0 / f64::from(*left) + 1.0 / f64::from(*right) + 0.01;
                    prop_assert!((share(a, *left) - share(b, *right)).abs() <= bound, "{starts:?} for {weights:?}");
                }
            }
        }
    }

    // proves R-434, R-435, R-436
    #[test]
    fn random_work_keeps_order_slots_and_rates(
        steps in proptest::collection::vec((0_u8..6, 0_usize..3, 0_usize..50, 0_u64..4), 1..150),
    ) {
        let mut h = memory();
        let mut running: Vec<Delivery> = Vec::new();
        let mut line_order: HashMap<usize, Vec<String>> = HashMap::new();
        let mut starts: BTreeMap<String, Vec<i64>> = BTreeMap::new();
        for (number, (what, key, pick, seconds)) in steps.into_iter().enumerate() {
            h.pass(seconds);
            match what {
                0..=2 => {
                    let id = format!("{what}{key}-{number}");
                    let options = match what {
                        0 => line(&format!("l{key}")),
                        1 => slots(&format!("s{key}"), key as u32 + 1),
                        _ => rate(&format!("r{key}"), key as u32 + 1, 5),
                    };
                    h.submit(&id, options).unwrap();
                }
                3 => {
                    let claimed = h.claim(pick % 7 + 1);
                    for delivery in &claimed {
                        let id = delivery.lease.job.as_str().to_owned();
                        match &id[..1] {
                            "0" => line_order.entry(id[1..2].parse().unwrap()).or_default().push(id),
                            "2" => starts.entry(id[..2].to_owned()).or_default().push(h.now.as_micros()),
                            _ => {}
                        }
                    }
                    running.extend(claimed);
                }
                _ if !running.is_empty() => {
                    let delivery = running.swap_remove(pick % running.len());
                    let verdict = if what == 4 { ack("1") } else { Verdict::Release };
                    // A lease may have lapsed by now.
                    drop(h.settle(&delivery, verdict));
                }
                _ => {}
            }
            let all = h.all();
            for key in 0..3 {
                let runs = |kind: u8| {
                    let prefix = format!("{kind}{key}-");
                    all.iter().filter(|job| job.state == JobState::Running && job.id.as_str().starts_with(&prefix)).count()
                };
                prop_assert!(runs(0) <= 1);
                prop_assert!(runs(1) <= key + 1);
            }
        }
        for order in line_order.values() {
            let numbers: Vec<usize> = order.iter().map(|id| id[3..].parse().unwrap()).collect();
            prop_assert!(numbers.is_sorted(), "{numbers:?}");
        }
        for (key, moments) in &starts {
            let count = key[1..].parse::<i64>().unwrap() + 1;
            for (first, from) in moments.iter().enumerate() {
                for (last, until) in moments.iter().enumerate().skip(first) {
                    let flow = (until - from) * count / 5_000_000;
                    prop_assert!(((last - first) as i64) < count + flow, "{moments:?}");
                }
            }
        }
    }
}
