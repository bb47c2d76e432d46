//! Stores outcomes: everything that finished since the last call goes in one.

use std::sync::Arc;
use std::time::Duration;

use taskport_abstraction::backend::{Verdict, WorkerEvent};
use taskport_abstraction::{Consumer, Error, ErrorKind, Executor, Failure, FailureKind, codes};
use tokio::time::{sleep, timeout};

use super::backoff::Backoff;
use super::in_hand::{InHand, Outcome, Settled};
use super::late;

/// Settles outcomes until there are no more.
///
/// A call that takes longer than `limit` may have been applied; it is repeated, and the backend refuses what it has.
pub(super) async fn run(
    in_hand: Arc<InHand>,
    consumer: Arc<dyn Consumer>,
    executor: Arc<dyn Executor>,
    limit: Duration,
    mut backoff: Backoff,
) {
    while let Some(mut batch) = in_hand.outcomes().await {
        while !batch.is_empty() {
            let settlements = batch.iter().map(|outcome| outcome.settlement.clone()).collect();
            let answers = timeout(limit, consumer.settle(settlements)).await;
            let (mut results, missing) = match answers {
                Ok(results) => (results, unanswered()),
                Err(_) => (Vec::new(), late("settle").maybe_applied()),
            };
            results.resize(batch.len(), Err(missing));
            let mut again = Vec::new();
            let mut settled = Vec::with_capacity(batch.len());
            for (outcome, result) in batch.into_iter().zip(results) {
                match answer(&in_hand, outcome, result) {
                    Answer::Settled(outcome, how) => settled.push((outcome, how)),
                    Answer::Again(outcome, error) => again.push((outcome, error)),
                }
            }
            in_hand.settled(&settled);
            let refused = settled.iter().filter(|(_, how)| *how == Settled::Refused).count();
            executor.observe(WorkerEvent::Stored(settled.len() - refused));
            executor.observe(WorkerEvent::Refused(refused));
            executor.observe(WorkerEvent::StoreFailed(again.len()));
            match again.first() {
                None => backoff.reset(),
                Some((_, error)) => {
                    let delay = backoff.next();
                    tracing::warn!(
                        %error,
                        outcomes = again.len(),
                        delay_ms = delay.as_millis(),
                        "outcomes are not stored yet; trying again"
                    );
                    sleep(delay).await;
                }
            }
            batch = again.into_iter().map(|(outcome, _)| outcome).collect();
        }
    }
}

enum Answer {
    Settled(Outcome, Settled),
    Again(Outcome, Error),
}

fn answer(in_hand: &InHand, mut outcome: Outcome, result: Result<(), Error>) -> Answer {
    let Err(error) = result else { return Answer::Settled(outcome, Settled::Stored) };
    let job = &outcome.settlement.lease.job;
    match error.kind() {
        ErrorKind::PayloadTooLarge if matches!(outcome.settlement.verdict, Verdict::Ack(_)) => {
            tracing::error!(%job, %error, "the result cannot be stored; the job fails for good");
            let failure = Failure::new(FailureKind::ResultTooLarge, error.message());
            outcome.settlement.verdict = Verdict::Reject(failure);
            Answer::Again(outcome, error)
        }
        ErrorKind::Unavailable | ErrorKind::Timeout | ErrorKind::Backpressure
            if error.code() != &codes::CLOSED && !in_hand.has_lapsed(outcome.key) =>
        {
            Answer::Again(outcome, error)
        }
        _ => {
            tracing::warn!(%job, %error, "the outcome is refused");
            Answer::Settled(outcome, Settled::Refused)
        }
    }
}

fn unanswered() -> Error {
    Error::new(&codes::INTERNAL, "settle", "the backend gave fewer answers than it was given outcomes")
}
