//! What bounds and orders jobs besides their queue.

use std::time::Duration;

use serde_json::Value;
use taskport_abstraction::backend::{QueueLimits, QueueOrder, Rate};
use taskport_abstraction::{Call, JobId, JobState, QueueName, WithOptions, codes};

use super::cases;
use crate::fixture::{Fixture, eventually};
use crate::kit::{echo, failing, gated};

cases! { "limits":
    jobs_of_one_ordering_key_run_one_after_the_other needs [OrderingKey],
    a_job_that_will_be_tried_again_holds_its_line needs [OrderingKey, RetryFixed],
    a_cancelled_job_lets_its_line_go_on needs [OrderingKey, CancelWaiting],
    a_requeued_job_goes_to_the_end_of_its_line needs [OrderingKey, Requeue],
    no_more_jobs_of_a_key_run_at_once_than_allowed needs [ConcurrencyKey],
    keys_do_not_wait_for_each_other needs [ConcurrencyKey],
    slots_of_a_key_are_counted_over_all_processes needs [ConcurrencyKey, MultiProcess],
    a_key_starts_a_burst_and_then_at_its_rate needs [RateLimit],
    a_job_held_back_by_its_rate_is_cancelled needs [RateLimit, CancelWaiting],
    limits_outlive_a_restart needs [ConcurrencyKey, OrderingKey, Durable],
    a_fair_queue_does_not_let_a_backlog_delay_others needs [OrderFair, QueueOrder],
    weights_are_shares_of_a_fair_queue needs [OrderFair, QueueOrder],
    a_level_of_priority_makes_up_for_waiting needs [OrderAgeing, Priority],
    a_queue_runs_no_more_jobs_than_allowed needs [QueueConcurrency],
    a_queue_starts_a_burst_and_then_at_its_rate needs [QueueRateLimit],
    limits_of_a_queue_are_shown_and_lifted needs [QueueConcurrency, QueueRateLimit, QueueList],
    only_the_newest_of_a_quick_series_runs needs [UniqueReplace, Delay],
    calls_within_a_period_are_the_first_one needs [UniqueIgnore, UniqueForPeriod],
}

/// How long the cases of rates wait for a token.
const PERIOD: Duration = Duration::from_millis(400);

fn queue() -> QueueName {
    QueueName::default_queue()
}

async fn run_all(f: &Fixture, calls: impl IntoIterator<Item = Call>, slots: usize) -> Vec<Value> {
    let mut ids: Vec<JobId> = Vec::new();
    for call in calls {
        ids.push(f.submit(call).await);
    }
    let worker = f.worker(slots);
    for id in &ids {
        f.outcome(id).await;
    }
    worker.drain().await;
    f.stage().started()
}

/// Submits gated jobs, waits until `bound` of them run, lets them go, and fails where there ever were more.
async fn never_more_than(f: &Fixture, bound: usize, calls: impl IntoIterator<Item = Call>) {
    let receipts = f.submit_all(calls).await;
    eventually("as many as allowed", async || match f.stage().peak() {
        peak if peak == bound => Ok(()),
        peak => Err(format!("{peak} ran at once")),
    })
    .await;
    f.stage().open_gate("g");
    for receipt in receipts {
        f.outcome(&receipt.unwrap().job.id).await;
    }
    assert_eq!(f.stage().peak(), bound);
}

/// Runs calls that start at two in a period: two at once, then one in each half of it.
async fn starts_in_turn(f: &Fixture, calls: impl IntoIterator<Item = Call>) {
    let receipts = f.submit_all(calls).await;
    let _worker = f.worker(8);
    let mut starts = Vec::new();
    for receipt in receipts {
        let id = receipt.unwrap().job.id;
        f.outcome(&id).await;
        starts.push(f.status(&id).await.started_at.unwrap());
    }
    starts.sort();
    for (number, moment) in starts.iter().enumerate().skip(2) {
        let waited = moment.since(starts[0]);
        assert!(waited >= PERIOD / 2 * (number as u32 - 1), "start {number} came after {waited:?}");
    }
}

async fn jobs_of_one_ordering_key_run_one_after_the_other(f: Fixture) {
    let started = run_all(&f, (0..20).map(|n| echo(n).ordering_key("k").priority((n % 10) as u8)), 8).await;
    assert_eq!(started, (0..20).map(Value::from).collect::<Vec<_>>());
}

async fn a_job_that_will_be_tried_again_holds_its_line(f: Fixture) {
    let backoff = "fixed(50ms)".parse().unwrap();
    let first = failing("first", 2, "error").backoff(backoff).ordering_key("k");
    let started = run_all(&f, [first, echo("second").ordering_key("k")], 4).await;
    assert_eq!(started, ["first", "first", "first", "second"]);
}

async fn a_cancelled_job_lets_its_line_go_on(f: Fixture) {
    let first = f.submit(echo(1).ordering_key("k")).await;
    let second = f.submit(echo(2).ordering_key("k")).await;
    assert_eq!(f.status(&second).await.state, JobState::Blocked);
    f.backend().cancel(std::slice::from_ref(&first)).await.remove(0).unwrap();
    let _worker = f.worker(1);
    assert_eq!(f.result::<i64>(&second).await, 2);
}

async fn a_requeued_job_goes_to_the_end_of_its_line(f: Fixture) {
    let dead = f.submit(failing("dead", 1, "fatal").ordering_key("k")).await;
    let worker = f.worker(4);
    f.failure(&dead).await;
    worker.drain().await;
    let next = f.submit(echo("next").ordering_key("k")).await;
    f.admin().requeue(std::slice::from_ref(&dead)).await.remove(0).unwrap();
    let _worker = f.worker(4);
    f.outcome(&next).await;
    eventually("the requeued job", async || match f.stage().started().len() {
        3 => Ok(()),
        len => Err(format!("{len} starts")),
    })
    .await;
    assert_eq!(f.stage().started(), ["dead", "next", "dead"]);
}

async fn no_more_jobs_of_a_key_run_at_once_than_allowed(f: Fixture) {
    let _worker = f.worker(12);
    never_more_than(&f, 3, (0..24).map(|n| gated("g", n).concurrency_key("k", 3))).await;
}

async fn keys_do_not_wait_for_each_other(f: Fixture) {
    let _worker = f.worker(4);
    let held = f.submit(gated("g", 1).concurrency_key("busy", 1)).await;
    f.until_state(&held, JobState::Running).await;
    let waits = f.submit(echo(2).concurrency_key("busy", 1)).await;
    let free = f.submit(echo(3).concurrency_key("free", 1)).await;
    let unbound = f.submit(echo(4)).await;
    assert_eq!((f.result::<i64>(&free).await, f.result::<i64>(&unbound).await), (3, 4));
    assert_eq!(f.status(&waits).await.state, JobState::Blocked);
    f.stage().open_gate("g");
    assert_eq!(f.result::<i64>(&waits).await, 2);
}

async fn slots_of_a_key_are_counted_over_all_processes(f: Fixture) {
    let other = f.second_handle().await;
    let workers = [f.worker(8), f.worker_of(&other, &["default"], 8)];
    never_more_than(&f, 2, (0..40).map(|n| gated("g", n).concurrency_key("k", 2))).await;
    for worker in workers {
        worker.drain().await;
    }
    assert_eq!(f.stage().started().len(), 40);
}

async fn a_key_starts_a_burst_and_then_at_its_rate(f: Fixture) {
    starts_in_turn(&f, (0..5).map(|n| echo(n).rate_limit("k", 2, PERIOD))).await;
}

async fn a_job_held_back_by_its_rate_is_cancelled(f: Fixture) {
    let hour = Duration::from_secs(3_600);
    let first = f.submit(echo(1).rate_limit("k", 1, hour)).await;
    let second = f.submit(echo(2).rate_limit("k", 1, hour)).await;
    let worker = f.worker(2);
    f.outcome(&first).await;
    f.until_state(&second, JobState::Blocked).await;
    f.backend().cancel(std::slice::from_ref(&second)).await.remove(0).unwrap();
    f.failure(&second).await;
    worker.drain().await;
    assert_eq!(f.stage().started(), [1]);
}

async fn limits_outlive_a_restart(mut f: Fixture) {
    for n in 0..4 {
        f.submit(echo(n).ordering_key("k").concurrency_key("k", 1)).await;
    }
    f.restart().await;
    let last = f.submit(echo(4).ordering_key("k").concurrency_key("k", 1)).await;
    let _worker = f.worker(8);
    f.outcome(&last).await;
    assert_eq!(f.stage().started(), (0..5).map(Value::from).collect::<Vec<_>>());
}

async fn a_fair_queue_does_not_let_a_backlog_delay_others(f: Fixture) {
    f.admin().set_order(&queue(), QueueOrder::Fair).await.unwrap();
    let big = (0..30).map(|_| echo("big").fair_key("big", 1));
    let small = (0..3).map(|_| echo("small").fair_key("small", 1));
    let started = run_all(&f, big.chain(small), 1).await;
    let last = started.iter().rposition(|key| key == "small").unwrap();
    assert!(last < 10, "the last of the newcomer's three jobs was number {last}");
}

async fn weights_are_shares_of_a_fair_queue(f: Fixture) {
    f.admin().set_order(&queue(), QueueOrder::Fair).await.unwrap();
    let light = (0..40).map(|_| echo("light").fair_key("light", 1));
    let heavy = (0..40).map(|_| echo("heavy").fair_key("heavy", 3));
    let started = run_all(&f, light.chain(heavy), 1).await;
    let heavy = started[..40].iter().filter(|key| *key == "heavy").count();
    assert!((28..=32).contains(&heavy), "{heavy} of the first 40 starts");
}

async fn a_level_of_priority_makes_up_for_waiting(f: Fixture) {
    let ageing = |ageing| QueueLimits { ageing: Some(ageing), ..QueueLimits::default() };
    f.admin().set_limits(&queue(), ageing(Duration::from_micros(1))).await.unwrap();
    let calls = [echo("old").priority(0), echo("new").priority(9)];
    assert_eq!(run_all(&f, calls, 1).await, ["old", "new"]);
    f.admin().set_limits(&queue(), ageing(Duration::from_secs(3_600))).await.unwrap();
    let calls = [echo("low").priority(0), echo("high").priority(9)];
    assert_eq!(run_all(&f, calls, 1).await[2..], ["high", "low"]);
}

async fn a_queue_runs_no_more_jobs_than_allowed(f: Fixture) {
    let limits = QueueLimits { concurrency_max: Some(2), ..QueueLimits::default() };
    f.admin().set_limits(&queue(), limits).await.unwrap();
    let _worker = f.worker(10);
    never_more_than(&f, 2, (0..20).map(|n| gated("g", n))).await;
    let none = QueueLimits { concurrency_max: Some(0), ..QueueLimits::default() };
    let error = f.admin().set_limits(&queue(), none).await.unwrap_err();
    assert_eq!(error.code(), &codes::BAD_OPTION, "{error}");
}

async fn a_queue_starts_a_burst_and_then_at_its_rate(f: Fixture) {
    let limits = QueueLimits { rate: Some(Rate { count: 2, period: PERIOD }), ..QueueLimits::default() };
    f.admin().set_limits(&queue(), limits).await.unwrap();
    starts_in_turn(&f, (0..5).map(echo)).await;
}

async fn limits_of_a_queue_are_shown_and_lifted(f: Fixture) {
    let limits = QueueLimits {
        concurrency_max: Some(1),
        rate: Some(Rate { count: 1, period: Duration::from_secs(3_600) }),
        ageing: None,
    };
    f.admin().set_limits(&queue(), limits).await.unwrap();
    let shown = async || f.admin().queues().await.unwrap().into_iter().find(|stats| stats.name == queue());
    assert_eq!(shown().await.unwrap().limits, limits);
    let ids = [f.submit(echo(1)).await, f.submit(echo(2)).await];
    let _worker = f.worker(2);
    f.outcome(&ids[0]).await;
    f.admin().set_limits(&queue(), QueueLimits::default()).await.unwrap();
    f.outcome(&ids[1]).await;
    assert_eq!(shown().await.unwrap().limits, QueueLimits::default());
}

async fn only_the_newest_of_a_quick_series_runs(f: Fixture) {
    let mut ids = Vec::new();
    for n in 0..5 {
        ids.push(f.submit(echo(n).debounce("k", PERIOD)).await);
    }
    assert!(ids.iter().all(|id| *id == ids[0]));
    let worker = f.worker(2);
    assert_eq!(f.result::<i64>(&ids[0]).await, 4);
    worker.drain().await;
    assert_eq!(f.stage().started(), [4]);
}

async fn calls_within_a_period_are_the_first_one(f: Fixture) {
    let hour = Duration::from_secs(3_600);
    let first = f.submit(echo(1).throttle("k", hour)).await;
    let second = f.try_submit(echo(2).throttle("k", hour)).await.unwrap();
    assert_eq!((&second.job.id, second.existing), (&first, true));
    let _worker = f.worker(1);
    assert_eq!(f.result::<i64>(&first).await, 1);
    assert_eq!(f.submit(echo(3).throttle("k", hour)).await, first, "its end does not end the period");
}
