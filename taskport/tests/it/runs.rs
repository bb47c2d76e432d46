//! Runs of workflows from code.

use std::time::Duration;

use serde_json::json;
use taskport::abstraction::backend::StepState;
use taskport::abstraction::{StepId, codes};
use taskport::prelude::*;
use taskport::{JobState, RunId};

use crate::kit::{PATIENCE, Place, add, fail, start, until_stopped, where_am_i};

fn step(id: &str, task: &str) -> StepDefinition {
    StepDefinition::new(StepId::new(id).unwrap(), task.parse().unwrap())
}

fn doubled() -> WorkflowDefinition {
    WorkflowDefinition::new("doubled")
        .step(step("each", add::NAME).map("$input").arg("left", "$item").arg("right", "$item").concurrency(2))
        .step(step("place", where_am_i::NAME).after(StepId::new("each").unwrap()))
        .output(json!({"each": "$steps.each.output", "queue": "$steps.place.output"}))
}

#[tokio::test]
async fn a_run_yields_its_output_and_the_state_of_every_step() {
    let place = Place::new();
    let port = place.open().await;
    let worker = start(port.worker());
    let run = port.run(&doubled(), &[1, 2, 3]).await.unwrap();
    let mut seen = 0;
    let last = tokio::time::timeout(PATIENCE, run.progress(|_| seen += 1)).await.unwrap().unwrap();
    assert!(seen > 0);
    assert_eq!(last.state, JobState::Succeeded);
    let steps: Vec<_> =
        last.steps.iter().map(|step| (step.id.as_str(), step.state, step.succeeded)).collect();
    assert_eq!(steps, [("each", StepState::Succeeded, 3), ("place", StepState::Succeeded, 1)]);
    assert!(last.steps.iter().all(|step| step.finished_at >= step.started_at && step.started_at.is_some()));

    // The queue is the one the task declares, since the step names none.
    let output: serde_json::Value = run.wait_timeout(PATIENCE).await.unwrap();
    assert_eq!(output, json!({"each": [2, 4, 6], "queue": "reports"}));
    let again = port.existing_run(run.id().clone());
    assert_eq!(again.status().await.unwrap().workflow, "doubled");
    worker.stop().await;
}

#[tokio::test]
async fn a_run_whose_step_fails_says_which() {
    let place = Place::new();
    let port = place.open().await;
    let worker = start(port.worker());
    let workflow = WorkflowDefinition::new("w").step(step("broken", fail::NAME).arg("message", "no ink"));
    let error = port.run(&workflow, &()).await.unwrap().wait_timeout::<()>(PATIENCE).await.unwrap_err();
    assert_eq!(error.code(), &codes::RUN_FAILED);
    assert!(error.failure().unwrap().message.contains("broken"), "{error}");
    worker.stop().await;
}

#[tokio::test]
async fn a_run_ends_at_its_time_limit_and_when_it_is_cancelled() {
    let place = Place::new();
    let port = place.open().await;
    let worker = start(port.worker());
    let endless = WorkflowDefinition::new("endless").step(step("wait", until_stopped::NAME));
    let limited = port.run(&endless.clone().timeout(Duration::from_millis(50)), &()).await.unwrap();
    assert_eq!(limited.wait_timeout::<()>(PATIENCE).await.unwrap_err().code(), &codes::RUN_FAILED);

    let run = port.run(&endless, &()).await.unwrap();
    let waited = run.wait_timeout::<()>(Duration::from_millis(5)).await.unwrap_err();
    assert_eq!(waited.code(), &codes::WAIT_TIMEOUT);
    run.cancel().await.unwrap();
    assert_eq!(run.wait_timeout::<()>(PATIENCE).await.unwrap_err().code(), &codes::CANCELLED);
    worker.stop().await;
}

#[tokio::test]
async fn what_is_wrong_with_a_run_is_said_before_it_starts() {
    let place = Place::new();
    let port = place.open().await;
    let unknown = port.run("nightly", &()).await.unwrap_err();
    assert_eq!(unknown.code(), &codes::UNKNOWN_WORKFLOW);
    let cyclic = WorkflowDefinition::new("w")
        .step(step("a", add::NAME).after(StepId::new("b").unwrap()))
        .step(step("b", add::NAME).after(StepId::new("a").unwrap()));
    assert_eq!(port.run(&cyclic, &()).await.unwrap_err().code(), &codes::BAD_WORKFLOW);
    let stranger = port.existing_run(RunId::new("nobody").unwrap());
    assert_eq!(stranger.status().await.unwrap_err().code(), &codes::RUN_NOT_FOUND);
}
