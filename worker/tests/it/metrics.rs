//! What executors and workers count.

use std::sync::Arc;

use taskport_abstraction::backend::{Attempt, Worker, WorkerEvent, WorkerSpec};
use taskport_abstraction::context::StopReason;
use taskport_abstraction::options::Start;
use taskport_abstraction::task::Execution;
use taskport_abstraction::{
    AttemptControl, Executor, JobOptions, RetryPolicy, SystemClock, TaskDefinition, TaskError, Timestamp,
};
use taskport_worker::metrics::{Page, WorkerMetrics};
use taskport_worker::{Control, ExecutorOptions, PullWorker, ShutdownController, TaskExecutor};

use crate::support::{
    FakeConsumer, SECOND, async_task, attempt, delivery, executor_with, null, spec, sync_task,
};

fn counting(tasks: impl IntoIterator<Item = TaskDefinition>) -> (TaskExecutor, Arc<WorkerMetrics>) {
    let metrics = Arc::new(WorkerMetrics::new(Arc::new(SystemClock)));
    let options = ExecutorOptions { metrics: Some(metrics.clone()), ..ExecutorOptions::default() };
    (executor_with(tasks, options).unwrap(), metrics)
}

fn page(metrics: &WorkerMetrics) -> String {
    let mut page = Page::default();
    metrics.write(&mut page);
    page.into_text()
}

/// The samples whose name starts like this and that are not zero.
fn samples(metrics: &WorkerMetrics, start: &str) -> Vec<String> {
    let page = page(metrics);
    let lines = page.lines().filter(|line| line.starts_with(start) && !line.ends_with(" 0"));
    lines.map(|line| line[start.len()..].to_owned()).collect()
}

// proves R-402
#[tokio::test]
async fn each_attempt_is_counted_once_under_how_it_ended() {
    let (executor, metrics) = counting([
        sync_task("fine", Execution::Inline, |_, _| Ok(null())),
        async_task("broken", |_, _| async { Err("x".into()) }),
        async_task("fatal", |_, _| async { Err(TaskError::fatal("x")) }),
        async_task("panics", |_, _| async { panic!("x") }),
        async_task("stops", |context, _| async move {
            let reason = context.cancelled().await;
            Err(format!("{reason:?}").into())
        }),
    ]);
    for task in ["fine", "fine", "broken", "fatal", "panics"] {
        executor.execute(attempt(task).0).await;
    }
    let mut last = attempt("broken").0;
    last.delivery.attempt = 3;
    let options = JobOptions {
        retry: Some(RetryPolicy { attempts_max: 3, ..RetryPolicy::default() }),
        ..JobOptions::default()
    };
    last.delivery.options = Arc::new(options);
    executor.execute(last).await;
    for reason in [StopReason::Cancelled, StopReason::ShuttingDown] {
        let (stopping, control) = attempt("stops");
        control.stop(reason);
        executor.execute(stopping).await;
    }
    let mut dropped = executor.execute(attempt("stops").0);
    assert!(futures_util::poll!(&mut dropped).is_pending());
    assert_eq!(samples(&metrics, "taskport_attempts_running"), ["{task=\"stops\",queue=\"default\"} 1"]);
    drop(dropped);

    let of =
        |task: &str, more: &str, count: u32| format!("{{task=\"{task}\",queue=\"default\"{more}}} {count}");
    let outcome = |task, outcome, count| of(task, &format!(",outcome=\"{outcome}\""), count);
    assert_eq!(
        samples(&metrics, "taskport_attempts_ended_total"),
        [
            outcome("broken", "retried", 1),
            outcome("broken", "failed", 1),
            outcome("fatal", "failed", 1),
            outcome("fine", "succeeded", 2),
            outcome("panics", "retried", 1),
            outcome("stops", "cancelled", 1),
            outcome("stops", "released", 1),
            outcome("stops", "abandoned", 1),
        ]
    );
    assert_eq!(
        samples(&metrics, "taskport_attempt_failures_total"),
        [
            of("broken", ",kind=\"error\"", 2),
            of("fatal", ",kind=\"fatal\"", 1),
            of("panics", ",kind=\"panicked\"", 1)
        ]
    );
    assert_eq!(
        samples(&metrics, "taskport_attempts_started_total"),
        [of("broken", "", 2), of("fatal", "", 1), of("fine", "", 2), of("panics", "", 1), of("stops", "", 3)]
    );
    assert!(samples(&metrics, "taskport_attempts_running").is_empty());
}

// proves R-403
#[tokio::test]
async fn strangers_names_make_no_series() {
    let (executor, metrics) = counting([sync_task("ours", Execution::Inline, |_, _| Ok(null()))]);
    for number in 0..50 {
        executor.execute(attempt(&format!("theirs-{number}")).0).await;
    }
    executor.execute(attempt("ours").0).await;
    assert_eq!(
        samples(&metrics, "taskport_attempts_started_total"),
        ["{task=\"other\",queue=\"other\"} 50", "{task=\"ours\",queue=\"default\"} 1"]
    );
}

#[tokio::test]
async fn a_wait_begins_when_the_job_could_start_and_counts_for_the_first_attempt() {
    /// Always the same moment.
    #[derive(Debug)]
    struct Stopped;
    impl taskport_abstraction::Clock for Stopped {
        fn now(&self) -> Timestamp {
            Timestamp::from_micros(100_000_000)
        }
    }
    let metrics = Arc::new(WorkerMetrics::new(Arc::new(Stopped)));
    let options = ExecutorOptions { metrics: Some(metrics.clone()), ..ExecutorOptions::default() };
    let executor = executor_with([sync_task("t", Execution::Inline, |_, _| Ok(null()))], options).unwrap();
    let moment = Timestamp::from_micros(97_000_000);
    for (number, start) in
        [(1, None), (1, Some(Start::In(20 * SECOND))), (1, Some(Start::At(moment))), (2, None)]
    {
        let mut delivery = delivery(1, "t");
        delivery.submitted_at = Timestamp::from_micros(60_000_000);
        delivery.attempt = number;
        delivery.options = Arc::new(JobOptions { start, ..JobOptions::default() });
        executor.execute(Attempt { delivery, control: Control::new() }).await;
    }
    let labels = "{task=\"t\",queue=\"default\"}";
    assert_eq!(samples(&metrics, "taskport_job_wait_seconds_sum"), [format!("{labels} 63")], "40 + 20 + 3");
    assert_eq!(samples(&metrics, "taskport_job_wait_seconds_count"), [format!("{labels} 3")]);
}

#[tokio::test]
async fn what_a_worker_does_between_attempts_is_counted() {
    let (executor, metrics) = counting([]);
    for event in [
        WorkerEvent::Claimed(3),
        WorkerEvent::Claimed(5),
        WorkerEvent::ClaimFailed,
        WorkerEvent::Extended(7),
        WorkerEvent::ExtendFailed,
        WorkerEvent::LeasesLost(2),
        WorkerEvent::Stored(6),
        WorkerEvent::Refused(1),
        WorkerEvent::StoreFailed(4),
    ] {
        executor.observe(event);
    }
    for (sample, count) in [
        ("claim_jobs_count", 2),
        ("claim_jobs_sum", 8),
        ("claim_failures_total", 1),
        ("leases_extended_total", 7),
        ("lease_extend_failures_total", 1),
        ("leases_lost_total", 2),
        ("outcomes_stored_total", 6),
        ("outcomes_refused_total", 1),
        ("outcome_store_failures_total", 4),
    ] {
        assert_eq!(samples(&metrics, &format!("taskport_{sample}")), [format!(" {count}")], "{sample}");
    }
    let serving = metrics.serve(4);
    assert_eq!(samples(&metrics, "taskport_worker_slots"), [" 4"]);
    drop(serving);
    assert!(samples(&metrics, "taskport_worker_slots").is_empty());
}

#[tokio::test]
async fn a_worker_tells_of_its_claims_leases_and_outcomes() {
    let (executor, metrics) = counting([
        sync_task("t", Execution::Inline, |_, _| Ok(null())),
        async_task("patient", |context, _| async move {
            context.cancelled().await;
            Ok(null())
        }),
    ]);
    let consumer = FakeConsumer::with_jobs(20, "t");
    consumer.change(|state| {
        state.ready.push_back(delivery(20, "patient"));
        state.lost.insert(20);
    });
    let spec = WorkerSpec { lease_for: SECOND / 20, ..spec(4, 4) };
    let controller = ShutdownController::new();
    let worker = Box::new(PullWorker::new(consumer.clone(), spec, Arc::new(SystemClock)));
    let worker = tokio::spawn(worker.run(Arc::new(executor), controller.handle()));
    consumer.until(|state| state.settled.len() == 20 && state.ready.is_empty()).await;
    while samples(&metrics, "taskport_leases_lost_total").is_empty() {
        tokio::task::yield_now().await;
    }
    controller.drain();
    worker.await.unwrap().unwrap();
    assert_eq!(samples(&metrics, "taskport_claim_jobs_sum"), [" 21"]);
    assert_eq!(samples(&metrics, "taskport_outcomes_stored_total"), [" 20"]);
    assert_eq!(samples(&metrics, "taskport_leases_lost_total"), [" 1"]);
}
