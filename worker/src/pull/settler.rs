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
            if batch.iter().any(|outcome| outcome.has_notes) {
                hand_over_last_words(&in_hand, consumer.as_ref(), &batch, limit).await;
            }
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

/// Hands over what attempts said before they ended. Should that fail, their outcomes count for more.
async fn hand_over_last_words(in_hand: &InHand, consumer: &dyn Consumer, batch: &[Outcome], limit: Duration) {
    // Waits for what is on its way, too.
    let _talking = in_hand.talk().await;
    let speakers = batch.iter().filter(|outcome| outcome.has_notes);
    let mut keys: Vec<u64> = speakers.map(|outcome| outcome.key).collect();
    // One call may not have room for all of it.
    while !keys.is_empty() {
        let mut words = in_hand.extensions(&keys, true);
        words.retain(|(_, extension)| !extension.notes.is_empty());
        if words.is_empty() {
            return;
        }
        keys.retain(|key| words.iter().all(|(spoken, _)| spoken != key));
        let extensions = words.iter().map(|(_, extension)| extension.clone()).collect();
        let answer = timeout(limit / 3, consumer.extend(extensions)).await;
        if let Err(error) = answer.unwrap_or_else(|_| Err(late("extend"))) {
            tracing::warn!(%error, jobs = words.len(), "what attempts said last is not kept yet");
            in_hand.unsaid(words);
            return;
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
