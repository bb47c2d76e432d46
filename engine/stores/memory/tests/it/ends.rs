//! How runs end without success, and what is refused afterwards.

use std::time::Duration;

use serde_json::json;
use taskport_abstraction::backend::{Cancellation, Verdict};
use taskport_abstraction::{Failure, FailureKind, JobState, Payload, RunId, codes};
use taskport_engine::Store;

use crate::world::*;

fn five() -> std::sync::Arc<taskport_abstraction::WorkflowDefinition> {
    definition(json!({"timeout": "10s", "steps": [
        {"id": "each", "task": "echo", "map": [0, 1, 2, 3, 4], "args": ["$item"], "concurrency": 3},
        {"id": "after", "task": "echo", "args": ["$steps.each.output"]},
    ]}))
}

fn cancels<S: Store>(mut world: World<S>) {
    let run = world.start("r", &five(), json!(null)).unwrap();
    let running = world.claim(2);
    let (answer, committed) = world.commit(|tx| tx.cancel_run(&run));
    assert_eq!(answer.unwrap(), Cancellation::Requested);
    assert_eq!(committed.cancel_requested.len(), 2, "both attempts are asked to stop");
    assert_eq!(world.summary("r"), "running each:running:0/1/5 after:waiting:0/0/1");
    assert_eq!(world.claim(10).len(), 0, "nothing else starts");
    let stopped = Failure::new(FailureKind::Cancelled, "stopped");
    let batch = [
        settlement(&running[0], Verdict::Ack(Payload::json("1"))),
        settlement(&running[1], Verdict::Cancelled(stopped)),
    ];
    assert!(world.commit(|tx| tx.settle(&batch)).0.iter().all(Result::is_ok));
    assert_eq!(world.summary("r"), "cancelled each:cancelled:1/2/5 after:cancelled:0/0/1");
    assert_eq!(world.output("r"), Err("cancelled: the run was cancelled".to_owned()));
    let again = world.commit(|tx| tx.cancel_run(&run)).0;
    assert_eq!(again.unwrap(), Cancellation::AlreadyEnded(JobState::Cancelled));
    let none = RunId::new("none").unwrap();
    assert_eq!(world.commit(|tx| tx.cancel_run(&none)).0.unwrap_err().code(), &codes::RUN_NOT_FOUND);
}

// proves R-150
#[test]
fn a_cancelled_run_ends_when_its_attempts_have() {
    cancels(memory());
    let (_directory, world) = sqlite();
    cancels(world);
}

#[test]
fn a_run_without_attempts_is_cancelled_at_once() {
    let mut world = memory();
    let run = world.start("r", &five(), json!(null)).unwrap();
    assert_eq!(world.commit(|tx| tx.cancel_run(&run)).0.unwrap(), Cancellation::Cancelled);
    assert_eq!(world.summary("r"), "cancelled each:cancelled:0/3/5 after:cancelled:0/0/1");
}

fn times_out<S: Store>(mut world: World<S>) {
    world.start("r", &five(), json!(null)).unwrap();
    let running = world.claim(1);
    assert_eq!(world.engine.next_due().unwrap(), Some(world.now + Duration::from_secs(10)));
    world.pass(Duration::from_secs(10));
    let (_, committed) = world.commit(|_| ());
    assert_eq!(committed.cancel_requested.len(), 1);
    assert_eq!(world.output("r"), Err("run_timed_out: the run passed its time limit".to_owned()));
    let before = world.summary("r");
    world.settle(running).remove(0).unwrap();
    assert_eq!(world.summary("r"), before, "a late end no longer counts");
    assert_eq!(world.claim(10).len(), 0);
}

// proves R-151
#[test]
fn a_run_ends_at_its_time_limit() {
    times_out(memory());
    let (_directory, world) = sqlite();
    times_out(world);
}

fn fails<S: Store>(mut world: World<S>) {
    let steps = json!([
        {"id": "odd", "task": "odd", "map": [0, 1, 2], "args": ["$item"]},
        {"id": "side", "task": "echo"},
        {"id": "after", "task": "echo", "after": ["odd"]},
    ]);
    world.start("r", &definition(steps), json!(null)).unwrap();
    let jobs = world.claim(2);
    let failed = jobs[1].lease.job.clone();
    world.settle(jobs);
    assert_eq!(world.summary("r"), "failed odd:failed:1/2/3 side:cancelled:0/1/1 after:cancelled:0/0/1");
    assert_eq!(world.output("r"), Err("step_failed: step `odd`, element 1: error: odd".to_owned()));
    let (refused, _) = world.commit(|tx| tx.requeue(std::slice::from_ref(&failed)));
    assert_eq!(refused[0].as_ref().unwrap_err().code(), &codes::JOB_CONFLICT);
    assert!(world.commit(|tx| tx.delete(&[failed])).0[0].is_ok(), "an ended run needs its jobs no longer");
}

// proves R-132 R-133 R-134
#[test]
fn a_failed_step_ends_the_run_and_is_not_requeued() {
    fails(memory());
    let (_directory, world) = sqlite();
    fails(world);
}

fn keeps_what_it_needs<S: Store>(mut world: World<S>) {
    let steps = json!([
        {"id": "a", "task": "echo", "args": [1]},
        {"id": "b", "task": "echo", "map": [1, 2], "args": ["$steps.a.output"], "on_failure": "continue"},
        {"id": "c", "task": "echo", "args": ["$steps.b.output"]},
    ]);
    world.start("r", &definition(steps), json!(null)).unwrap();
    let a = world.claim(1);
    let id = a[0].lease.job.clone();
    world.settle(a);
    let (refused, _) = world.commit(|tx| tx.delete(std::slice::from_ref(&id)));
    assert_eq!(refused[0].as_ref().unwrap_err().code(), &codes::JOB_CONFLICT);
    let queue = taskport_abstraction::QueueName::default_queue();
    assert_eq!(world.commit(|tx| tx.purge(&queue)).0.unwrap(), 2);
    assert_eq!(world.summary("r"), "running a:succeeded:1/0/1 b:failed:0/2/2 c:running:0/0/1");
    world.drain(10);
    assert_eq!(world.output("r"), Ok(json!([null, null])));
}

// proves R-134 R-152
#[test]
fn a_purge_cancels_the_jobs_of_a_run_and_their_steps_go_on() {
    keeps_what_it_needs(memory());
    let (_directory, world) = sqlite();
    keeps_what_it_needs(world);
}

fn expires_and_lapses<S: Store>(mut world: World<S>) {
    let steps = json!([
        {"id": "a", "task": "echo", "args": [1], "retry": {"attempts_max": 2}},
        {"id": "b", "task": "echo", "after": ["a"]},
    ]);
    world.start("r", &definition(steps), json!(null)).unwrap();
    let lost = world.claim(1);
    world.pass(LEASE);
    let second = world.claim(1);
    assert_eq!(second[0].attempt, 2);
    assert_eq!(world.settle(lost).remove(0).unwrap_err().code(), &codes::LEASE_LOST);
    assert_eq!(world.summary("r"), "running a:running:0/0/1 b:waiting:0/0/1");
    world.pass(LEASE);
    world.commit(|_| ());
    assert_eq!(world.state("r"), JobState::Failed, "the last attempt was lost");
}

// proves R-130 R-162
#[test]
fn only_the_end_under_the_current_lease_counts() {
    expires_and_lapses(memory());
    let (_directory, world) = sqlite();
    expires_and_lapses(world);
}
