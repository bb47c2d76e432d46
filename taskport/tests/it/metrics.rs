//! What a program's own page says.

use taskport::JobId;
use taskport::prelude::*;

use crate::kit::{Place, add, fail, start};

/// The number of one sample.
#[track_caller]
fn number(page: &str, sample: &str) -> f64 {
    let found = page.lines().find_map(|line| line.strip_prefix(sample)?.strip_prefix(' ')?.parse().ok());
    found.unwrap_or_else(|| panic!("no {sample} in {page}"))
}

// proves R-402
#[tokio::test]
async fn submits_and_attempts_of_one_process_are_on_its_page() {
    let port = Place::new().open().await;
    for _ in 0..2 {
        port.submit(add(1, 2).id(JobId::new("once").unwrap())).await.unwrap();
    }
    for job in port.submit_many((0..3).map(|n| add(n, n))).await {
        job.unwrap();
    }
    let failing = port.submit(fail("x".into()).queue("apart")).await.unwrap();
    port.submit(Call::dynamic::<i64>("nobody", &[], &[])).await.unwrap_err();

    let page = port.metrics().await;
    let submitted = |task: &str, queue: &str, result: &str| {
        let labels = format!("backend=\"main\",task=\"{task}\",queue=\"{queue}\",result=\"{result}\"");
        number(&page, &format!("taskport_jobs_submitted_total{{{labels}}}"))
    };
    assert_eq!((submitted("add", "default", "taken"), submitted("add", "default", "existing")), (4.0, 1.0));
    assert_eq!(submitted("fail", "apart", "taken"), 1.0);
    assert_eq!(number(&page, "taskport_submit_failures_total{backend=\"main\",code=\"E-001\"}"), 1.0);
    assert_eq!(number(&page, "taskport_submit_duration_seconds_count{backend=\"main\"}"), 4.0);
    assert_eq!(number(&page, "taskport_worker_slots"), 0.0);

    let worker = start(port.worker().queues(["default", "apart"]).concurrency(5));
    failing.result().await.unwrap_err();
    let report = worker.stop().await;
    let page = port.metrics().await;
    let ended = |task: &str, queue: &str, outcome: &str| {
        let labels = format!("task=\"{task}\",queue=\"{queue}\",outcome=\"{outcome}\"");
        number(&page, &format!("taskport_attempts_ended_total{{{labels}}}"))
    };
    assert_eq!(ended("add", "default", "succeeded"), report.succeeded as f64);
    assert_eq!(ended("fail", "apart", "failed"), 1.0);
    assert_eq!(number(&page, "taskport_outcomes_stored_total"), (report.succeeded + report.failed) as f64);
    assert_eq!(number(&page, "taskport_worker_slots"), 0.0, "the worker has stopped");
    port.close().await.unwrap();
}

// proves
#[tokio::test]
async fn a_backend_that_is_closed_is_down() {
    let port = Place::new().open().await;
    port.close().await.unwrap();
    let page = port.metrics().await;
    assert_eq!(number(&page, "taskport_backend_up{backend=\"main\"}"), 0.0);
    assert!(!page.contains("taskport_queue_jobs{"), "{page}");
}
