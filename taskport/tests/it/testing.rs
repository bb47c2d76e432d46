//! The kit for tests.

use std::time::Duration;

use taskport::abstraction::journal::{LogLevel, Note};
use taskport::prelude::*;
use taskport::testing::{START, TestPort};
use taskport::{Clock, Error, ErrorKind, JobState, StepDefinition, TaskContext};

const MINUTE: Duration = Duration::from_secs(60);

#[task(max_attempts = 4, backoff = "fixed(1h)")]
async fn charge(customer: String, cents: i64) -> TaskResult<String> {
    Ok(format!("{customer} paid {cents}"))
}

#[task(queue = "mail")]
async fn mail(to: String) -> TaskResult<String> {
    Ok(to)
}

#[task]
async fn double(value: i64) -> TaskResult<i64> {
    Ok(2 * value)
}

#[task]
async fn attempts(ctx: &TaskContext) -> TaskResult<u32> {
    ctx.log(LogLevel::Info, format!("attempt {}", ctx.attempt()));
    Ok(ctx.attempt())
}

async fn kit() -> TestPort {
    TestPort::new(registry![charge, mail, double, attempts]).await.unwrap()
}

#[tokio::test]
async fn nothing_runs_until_it_is_drained_and_nothing_before_its_time() {
    let test = kit().await;
    let now = test.submit(mail("ada".into())).await.unwrap();
    let later = test.submit(mail("bob".into()).delay(MINUTE)).await.unwrap();
    assert_eq!(now.status().await.unwrap().state, JobState::Queued);
    assert_eq!(test.drain().await.unwrap().succeeded, 1);
    assert_eq!(now.result().await.unwrap(), "ada");
    assert_eq!(later.status().await.unwrap().state, JobState::Scheduled);
    test.clock().advance(MINUTE);
    assert_eq!(test.drain().await.unwrap().succeeded, 1);
    assert_eq!(later.status().await.unwrap().finished_at, Some(START + MINUTE));
}

#[tokio::test]
async fn failed_attempts_are_tried_again_as_the_clock_moves() {
    let test = kit().await;
    test.faults().fail_attempts("charge", 2, TaskError::from("the bank is closed"));
    let job = test.submit(charge("ada".into(), 5)).await.unwrap();
    assert_eq!(test.drain().await.unwrap().failed, 1);
    assert_eq!(job.status().await.unwrap().state, JobState::Retrying);
    let drained = test.drain_all().await.unwrap();
    assert_eq!((drained.failed, drained.succeeded), (1, 1));
    assert_eq!(test.clock().now(), START + 120 * MINUTE);
    assert_eq!(job.result().await.unwrap(), "ada paid 5");

    test.faults().fail_attempts("charge", 1, TaskError::fatal("no such customer"));
    let error = test.run(charge("eve".into(), 5)).await.unwrap_err();
    assert!(error.to_string().contains("no such customer"), "{error}");
}

#[tokio::test]
async fn a_lost_worker_runs_the_job_again() {
    let test = kit().await;
    test.faults().lose_workers("attempts", 1);
    assert_eq!(test.run(attempts()).await.unwrap(), 2);
    let jobs = test.jobs().await.unwrap();
    let [job] = jobs.of_task("attempts")[..] else { panic!("{jobs}") };
    let journal = test.backend("test").unwrap().journal().unwrap();
    let said = journal.entries(&job.id, 0, 10).await.unwrap();
    let said: Vec<&Note> = said.iter().map(|entry| &entry.note).collect();
    let line = |text: &str| Note::Log { level: LogLevel::Info, message: text.to_owned() };
    assert_eq!(said, [&line("attempt 1"), &line("attempt 2")]);
}

#[tokio::test]
async fn a_refused_submit_is_not_there_and_one_with_a_lost_reply_is() {
    let test = kit().await;
    let refused = || Error::new(&taskport::abstraction::codes::OVERLOADED, "submit", "the line is full");
    test.faults().fail_submit(refused());
    test.faults().fail_submit(refused().maybe_applied());
    for _ in 0..2 {
        assert_eq!(test.submit(double(1)).await.unwrap_err().kind(), ErrorKind::Backpressure);
    }
    test.submit(double(2)).await.unwrap();
    let jobs = test.jobs().await.unwrap();
    assert_eq!(jobs.of_task("double").len(), 2);
    jobs.assert_enqueued(double(1));
}

#[tokio::test]
async fn assertions_look_at_arguments_and_at_the_options_the_call_sets() {
    let test = kit().await;
    test.submit(mail("ada".into()).priority(7).tag("vip")).await.unwrap();
    let jobs = test.jobs().await.unwrap();
    jobs.assert_enqueued(mail("ada".into()));
    jobs.assert_enqueued(mail("ada".into()).priority(7).queue("mail"));
    jobs.assert_not_enqueued(mail("ada".into()).priority(6));
    jobs.assert_not_enqueued(mail("bob".into()));
    let panic = std::panic::catch_unwind(|| jobs.assert_enqueued(mail("bob".into()))).unwrap_err();
    let message = panic.downcast_ref::<String>().unwrap();
    assert!(message.contains("queued mail in `mail`") && message.contains("ada"), "{message}");
    test.drain().await.unwrap();
    test.jobs().await.unwrap().assert_not_enqueued(mail("ada".into()));
}

#[tokio::test]
async fn inline_a_result_is_there_when_the_submit_returns() {
    let test = TestPort::inline(registry![double, charge]).await.unwrap();
    let job = test.port().submit(double(21).delay(MINUTE)).await.unwrap();
    assert_eq!(job.result().await.unwrap(), 42);
    test.faults().fail_attempts("charge", 3, TaskError::from("closed"));
    let job = test.submit(charge("ada".into(), 1)).await.unwrap();
    assert_eq!(job.status().await.unwrap().attempt, 4);
}

#[tokio::test]
async fn a_workflow_drains_to_its_end() {
    let step = |id: &str| StepDefinition::new(id.parse().unwrap(), "double".parse().unwrap());
    let workflow = WorkflowDefinition::new("twice")
        .step(step("once").arg("value", "$input"))
        .step(step("again").arg("value", "$steps.once.output"));
    let test = kit().await;
    let run = test.port().run(&workflow, &10).await.unwrap();
    assert_eq!(test.drain_all().await.unwrap().succeeded, 2);
    assert_eq!(run.wait::<i64>().await.unwrap(), 40);
}
