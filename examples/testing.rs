//! Tests of a program that submits jobs: what it submits, what happens tomorrow, what goes wrong.
//!
//! `cargo run --package taskport-examples --example testing`
#![expect(clippy::print_stdout, reason = "an example shows what it does")]

use std::collections::BTreeSet;
use std::sync::{LazyLock, Mutex, PoisonError};
use std::time::Duration;

use taskport::prelude::*;
use taskport::testing::TestPort;
use taskport::{Certainty, Error, JobState, abstraction::codes};

const DAY: Duration = Duration::from_secs(24 * 60 * 60);

/// What was charged so far, by order.
static CHARGED: LazyLock<Mutex<BTreeSet<String>>> = LazyLock::new(Mutex::default);

/// Charges an order once, however often it is called.
#[task(max_attempts = 3, backoff = "fixed(10m)")]
async fn charge(order: String) -> TaskResult<bool> {
    Ok(CHARGED.lock().unwrap_or_else(PoisonError::into_inner).insert(order))
}

/// Asks how it was.
#[task(queue = "mail")]
async fn survey(order: String) -> TaskResult<String> {
    Ok(format!("how was order {order}?"))
}

/// The code under test: takes an order, and tries the submit again where the reply was lost.
async fn checkout(port: &Taskport, order: &str) -> taskport::Result<()> {
    let charge = || charge(order.into()).idempotency_key(format!("charge-{order}"));
    match port.submit(charge()).await {
        Err(error) if error.certainty() == Certainty::MaybeApplied => port.submit(charge()).await?,
        taken => taken?,
    };
    port.submit(survey(order.into()).delay(DAY)).await?;
    Ok(())
}

#[tokio::main(flavor = "current_thread")]
async fn main() -> anyhow::Result<()> {
    let test = TestPort::new(registry![charge, survey]).await?;

    // The first reply is lost, and there is still one charge.
    test.faults().fail_submit(Error::new(&codes::STORE_IO, "submit", "the reply was lost").maybe_applied());
    checkout(&test, "A-1").await?;
    let jobs = test.jobs().await?;
    assert_eq!(jobs.of_task("charge").len(), 1);
    jobs.assert_enqueued(survey("A-1".into()).queue("mail").delay(DAY));
    println!("one charge waits although it was submitted twice");

    // Its worker dies after the charge: the second attempt finds it done.
    test.faults().lose_workers("charge", 1);
    let drained = test.drain_all().await?;
    assert_eq!((drained.lost, drained.succeeded), (1, 2));
    let charge = test.jobs().await?.of_task("charge").first().map(|job| (job.attempt, job.state));
    assert_eq!(charge, Some((2, JobState::Succeeded)));
    println!("the charge ran twice and charged once; the survey went out a day later");
    Ok(())
}
