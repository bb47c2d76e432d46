//! Failures that pass and failures for good: retry policies, dead letters, idempotency keys.
//!
//! `cargo run --package taskport-examples --example retries`
#![expect(clippy::print_stdout, reason = "an example shows what it does")]

use std::path::PathBuf;
use std::time::Duration;

use taskport::config::Config;
use taskport::prelude::*;
use taskport::{ErrorKind, FailureKind, JobState, ShutdownController};

/// Answers at its third attempt, as a service does that is restarting.
#[task(max_attempts = 5, backoff = "exponential(5ms, max 100ms, jitter)")]
async fn flaky(ctx: &TaskContext) -> TaskResult<u32> {
    if ctx.attempt() < 3 {
        return Err("connection refused".into()); // Any error is retried by the policy.
    }
    Ok(ctx.attempt())
}

/// Is asked to come back later, and then answers.
#[task(max_attempts = 2)]
async fn throttled(ctx: &TaskContext) -> TaskResult<String> {
    match ctx.attempt() {
        1 => Err(TaskError::retry_after(Duration::from_millis(20), "429 too many requests")),
        _ => Ok("let in".into()),
    }
}

/// Refuses what no attempt can mend.
#[task(max_attempts = 5)]
async fn pay(cents: i64) -> TaskResult<i64> {
    if cents <= 0 {
        return Err(TaskError::fatal(format!("{cents} cents cannot be paid")));
    }
    Ok(cents)
}

/// Reads a file.
#[task(blocking, max_attempts = 2, backoff = "fixed(1ms)")]
fn read(path: PathBuf) -> std::io::Result<String> {
    std::fs::read_to_string(path)
}

#[tokio::main]
async fn main() -> anyhow::Result<()> {
    let folder = tempfile::tempdir()?;
    let url = format!("sqlite://{}", folder.path().join("taskport.db").display());
    let config = Config::from_toml(&format!("[backends.main]\nkind = \"native\"\nurl = \"{url}\""))?;
    let registry = registry![flaky, throttled, pay, read];
    let port = Taskport::builder().config(config).registry(registry).open().await?;
    let stop = ShutdownController::new();
    let worker = tokio::spawn(port.worker().run_until(stop.handle()));

    assert_eq!(port.submit(flaky()).await?.result().await?, 3);
    assert_eq!(port.submit(throttled()).await?.result().await?, "let in");
    println!("two tasks failed at first and then succeeded");

    // A fatal failure uses one attempt of five.
    let error = port.submit(pay(-5)).await?.result().await.expect_err("nobody pays -5 cents");
    assert_eq!(error.kind(), ErrorKind::JobFailed);
    let failure = error.failure().expect("a job that failed says how");
    assert_eq!((failure.kind, failure.attempt), (FailureKind::Fatal, 1));
    println!("refused for good: {failure}");

    // A job whose attempts are used up is kept as a dead letter, to be run again once its cause is gone.
    let path = folder.path().join("late.txt");
    let job = port.submit(read(path.clone())).await?;
    assert!(job.result().await.is_err());
    let status = job.status().await?;
    assert_eq!((status.state, status.attempt), (JobState::Failed, 2));
    std::fs::write(path, "here it is")?;
    job.retry().await?;
    assert_eq!(job.result().await?, "here it is");
    println!("a dead letter was run again, and ended well");

    // One job per key, however often the request is repeated, until the job has ended.
    let order = || pay(500).idempotency_key("order-17").delay(Duration::from_millis(50));
    let (first, again) = (port.submit(order()).await?, port.submit(order()).await?);
    assert!(!first.existing() && again.existing());
    assert_eq!(first.id(), again.id());
    let other = port.submit(pay(900).idempotency_key("order-17")).await.expect_err("the key is taken");
    assert_eq!(other.kind(), ErrorKind::IdempotencyViolation);
    assert_eq!(again.result().await?, 500);
    println!("a repeated request was one job");

    stop.drain();
    worker.await??;
    Ok(port.close().await?)
}
