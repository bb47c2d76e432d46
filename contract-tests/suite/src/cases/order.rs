//! In which order jobs start.

use serde_json::{Value, json};
use taskport_abstraction::backend::QueueOrder;
use taskport_abstraction::{Call, JobId, QueueName, WithOptions};

use super::cases;
use crate::fixture::Fixture;
use crate::kit::echo;

cases! { "order":
    equal_priorities_start_oldest_first needs [OrderFifo, Submit],
    higher_priorities_start_first needs [Priority],
    every_priority_level_is_told_apart needs [Priority, SubmitBatch],
    a_fifo_queue_ignores_priorities needs [OrderFifo, QueueOrder, Priority],
    a_lifo_queue_starts_the_newest_first needs [OrderLifo, QueueOrder],
    a_change_of_order_holds_for_those_that_wait needs [QueueOrder, OrderLifo, Priority],
    queues_are_kept_apart needs [Queues],
    one_worker_serves_several_queues needs [Queues],
    a_promoted_job_keeps_its_place_by_submit needs [OrderFifo, Delay],
}

/// Submits the calls one by one, runs them with one slot, and returns the keys in order of start.
async fn started_in(f: &Fixture, calls: Vec<Call>) -> Vec<Value> {
    let mut ids: Vec<JobId> = Vec::new();
    for call in calls {
        ids.push(f.submit(call).await);
    }
    let worker = f.worker(1);
    for id in &ids {
        f.outcome(id).await;
    }
    worker.drain().await;
    f.stage().started()
}

async fn equal_priorities_start_oldest_first(f: Fixture) {
    let started = started_in(&f, (0..20).map(echo).collect()).await;
    assert_eq!(started, (0..20).map(Value::from).collect::<Vec<_>>());
}

async fn higher_priorities_start_first(f: Fixture) {
    let calls =
        vec![echo("low").priority(1), echo("middle"), echo("high").priority(9), echo("high too").priority(9)];
    assert_eq!(
        started_in(&f, calls).await,
        [json!("high"), json!("high too"), json!("middle"), json!("low")]
    );
}

async fn every_priority_level_is_told_apart(f: Fixture) {
    assert_eq!(f.capability().priority_levels, Some(10));
    let started = started_in(&f, (0..10).map(|level| echo(level).priority(level)).collect()).await;
    assert_eq!(started, (0..10).rev().map(Value::from).collect::<Vec<_>>());
}

async fn a_fifo_queue_ignores_priorities(f: Fixture) {
    f.admin().set_order(&QueueName::default_queue(), QueueOrder::Fifo).await.unwrap();
    let started = started_in(&f, (0..10).map(|level| echo(level).priority(level)).collect()).await;
    assert_eq!(started, (0..10).map(Value::from).collect::<Vec<_>>());
}

async fn a_lifo_queue_starts_the_newest_first(f: Fixture) {
    f.admin().set_order(&QueueName::default_queue(), QueueOrder::Lifo).await.unwrap();
    let started = started_in(&f, (0..10).map(echo).collect()).await;
    assert_eq!(started, (0..10).rev().map(Value::from).collect::<Vec<_>>());
}

async fn a_change_of_order_holds_for_those_that_wait(f: Fixture) {
    for level in 0..4 {
        f.submit(echo(level).priority(level)).await;
    }
    f.admin().set_order(&QueueName::default_queue(), QueueOrder::Lifo).await.unwrap();
    f.admin().set_order(&QueueName::default_queue(), QueueOrder::Priority).await.unwrap();
    let started = started_in(&f, vec![echo(9).priority(9)]).await;
    assert_eq!(started[0], 9);
    let rest = f.submit(echo("last").priority(0)).await;
    let _worker = f.worker(1);
    f.outcome(&rest).await;
    assert_eq!(f.stage().started(), [json!(9), json!(3), json!(2), json!(1), json!(0), json!("last")]);
}

async fn queues_are_kept_apart(f: Fixture) {
    let here = f.submit(echo("here").queue("reports")).await;
    let there = f.submit(echo("there").queue("mail")).await;
    let worker = f.worker_of(f.backend(), &["reports"], 1);
    f.outcome(&here).await;
    worker.drain().await;
    assert_eq!(f.stage().started(), [json!("here")]);
    assert!(!f.status(&there).await.state.is_terminal());
}

async fn one_worker_serves_several_queues(f: Fixture) {
    let ids = [f.submit(echo(1).queue("reports")).await, f.submit(echo(2).queue("mail")).await];
    let _worker = f.worker_of(f.backend(), &["reports", "mail"], 1);
    for id in &ids {
        f.outcome(id).await;
    }
}

async fn a_promoted_job_keeps_its_place_by_submit(f: Fixture) {
    let first = f.submit(echo("first").delay(std::time::Duration::from_millis(150))).await;
    let second = f.submit(echo("second")).await;
    f.until_state(&first, taskport_abstraction::JobState::Queued).await;
    let _worker = f.worker(1);
    f.outcome(&second).await;
    assert_eq!(f.stage().started(), [json!("first"), json!("second")]);
}
