//! What a job may ask for, and what is refused before anything is stored.

use std::time::Duration;

use taskport::abstraction::{Feature, codes};
use taskport::prelude::*;
use taskport::{Call, JobState};

use crate::kit::{PATIENCE, Place, add, start, tasks, where_am_i};

async fn submitted(port: &Taskport) -> u64 {
    let queues = port.admin().unwrap().queues().await.unwrap();
    queues.iter().map(|queue| queue.counts.submitted).sum()
}

#[tokio::test]
async fn what_is_wrong_with_a_call_is_said_before_anything_is_stored() {
    let place = Place::new();
    let port = place.open_with("payload_bytes_max = 64").await;
    let long = "x".repeat(100);
    let second = Duration::from_secs(1);
    for (call, code) in [
        (Call::dynamic::<i64>("addd", &[], &[]), &codes::UNKNOWN_TASK),
        (Call::dynamic("add", &[1], &[]), &codes::BAD_ARGUMENTS),
        (Call::dynamic("add", &[1, 2, 3], &[]), &codes::BAD_ARGUMENTS),
        (Call::dynamic("fail", &[long], &[]), &codes::PAYLOAD_TOO_LARGE),
        (add(1, 1).priority(10).returning(), &codes::BAD_OPTION),
        (add(1, 1).queue("not ok").returning(), &codes::BAD_NAME),
        (add(1, 1).max_attempts(0).returning(), &codes::BAD_OPTION),
        (add(1, 1).timeout(second).soft_timeout(2 * second).returning(), &codes::BAD_OPTION),
        (add(1, 1).delay(2 * second).expires_in(second).returning(), &codes::BAD_OPTION),
        (add(1, 1).delay(Duration::MAX).returning(), &codes::BAD_OPTION),
        (add(1, 1).timeout(Duration::MAX).returning(), &codes::BAD_OPTION),
    ] {
        let error = port.submit(call.clone()).await.unwrap_err();
        assert_eq!(error.code(), code, "{call:?}: {error}");
    }
    assert_eq!(submitted(&port).await, 0);
}

#[tokio::test]
async fn a_call_takes_what_its_task_declares_unless_it_says_otherwise() {
    let place = Place::new();
    let port = place.open().await;
    let declared = port.submit(where_am_i()).await.unwrap();
    let options = declared.status().await.unwrap().options;
    assert_eq!((options.queue.unwrap().as_str(), options.retry.unwrap().attempts_max), ("reports", 2));
    let moved = port.submit(where_am_i().queue("elsewhere")).await.unwrap();

    // A worker that names no queues serves those its tasks declare.
    let worker = start(port.worker());
    assert_eq!(declared.result_timeout(PATIENCE).await.unwrap(), "reports");
    assert_eq!(moved.status().await.unwrap().state, JobState::Queued);
    worker.stop().await;
    let worker = start(port.worker().queues(["elsewhere"]));
    assert_eq!(moved.result_timeout(PATIENCE).await.unwrap(), "elsewhere");
    worker.stop().await;
}

#[tokio::test]
async fn a_configuration_and_a_registry_are_checked_without_a_backend() {
    let place = Place::new();
    let config = place.config_with("");
    let problems = taskport::check(&config.into(), &tasks().build().unwrap());
    assert!(problems.is_empty(), "{problems:?}");
    assert!(!place.path().join("t.db").exists());
}

#[tokio::test]
async fn a_handle_within_an_attempt_names_its_job_as_the_parent() {
    #[task]
    async fn parent(ctx: &TaskContext, config: String) -> TaskResult<String> {
        let port = Taskport::open(config, tasks()).await?;
        let child = port.within(ctx).submit(add(1, 1)).await?;
        let id = child.id().to_string();
        port.close().await?;
        Ok(id)
    }

    let place = Place::new();
    let config = place.config_with("");
    let port =
        Taskport::builder().config(config).registry(tasks().task(parent::definition())).open().await.unwrap();
    let worker = start(port.worker());
    let file = place.path().join("taskport.toml").display().to_string();
    let traceparent = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01";
    let job = port.submit(parent(file).trace(traceparent)).await.unwrap();
    let child = job.result_timeout(PATIENCE).await.unwrap();
    let status = port.job(&format!("main:{child}").parse().unwrap()).unwrap().status().await.unwrap();
    assert_eq!(status.options.parent.as_ref(), Some(job.id()));
    assert_eq!(status.options.trace.unwrap().as_str(), traceparent);
    assert!(port.backend("main").unwrap().capabilities(Default::default()).supports(Feature::Parent));
    worker.stop().await;
}

#[tokio::test]
async fn an_isolated_task_needs_the_child_hook_before_the_worker_takes_anything() {
    #[task(isolated)]
    fn crunch() -> TaskResult<u32> {
        Ok(1)
    }

    let place = Place::new();
    let registry = tasks().task(crunch::definition());
    let port = Taskport::builder().config(place.config_with("")).registry(registry).open().await.unwrap();
    let job = port.submit(add(1, 1)).await.unwrap();
    let controller = taskport::ShutdownController::new();
    let error = port.worker().run_until(controller.handle()).await.unwrap_err();
    assert_eq!(error.code(), &codes::ISOLATION);
    assert!(error.to_string().contains("crunch"), "{error}");
    assert_eq!(job.status().await.unwrap().state, JobState::Queued);
}
