//! Handing on the jobs that wait in outboxes.

use std::collections::BTreeMap;
use std::convert::Infallible;
use std::time::Duration;

use taskport_abstraction::backend::{Receipt, Scope};
use taskport_abstraction::outbox::{Handover, HandoverEnd, Outbox, Outgoing};
use taskport_abstraction::{Backend, BackendName, Certainty, Error, ErrorKind, Result, codes};
use tokio::time::sleep;

use crate::Taskport;

/// How many jobs are handed on together at most.
const FETCH_LEN: usize = 256;
/// How long a hand-over may take before another worker tries too.
const LEASE: Duration = Duration::from_secs(60);
/// How often an outbox is looked into, and how often after a failure.
const EVERY: Duration = Duration::from_millis(200);
const EVERY_AFTER_FAILURE: Duration = Duration::from_secs(5);
/// How long a job waits for its second try, and at most.
const BACKOFF: Duration = Duration::from_secs(1);
const BACKOFF_MAX: Duration = Duration::from_secs(300);

/// Hands on whatever comes, for as long as it is polled.
pub(crate) async fn pump_for_ever(port: &Taskport) -> Infallible {
    if port.backends().count() < 2 {
        // There is nowhere to hand anything on to.
        std::future::pending::<()>().await;
    }
    loop {
        let rest = match pump(port).await {
            Ok(_) => EVERY,
            Err(error) => {
                tracing::warn!(%error, "an outbox cannot be read; trying again");
                EVERY_AFTER_FAILURE
            }
        };
        sleep(rest).await;
    }
}

/// Hands on every job that is due, and says how many.
pub(crate) async fn pump(port: &Taskport) -> Result<u64> {
    let mut taken = 0;
    for source in port.backends() {
        let Some(transactional) = source.transactional() else { continue };
        let outbox = transactional.outbox();
        loop {
            let batch = outbox.fetch(FETCH_LEN, LEASE).await?;
            if batch.is_empty() {
                break;
            }
            taken += hand_on(port, outbox, batch).await?;
        }
    }
    Ok(taken)
}

async fn hand_on(port: &Taskport, outbox: &dyn Outbox, batch: Vec<Outgoing>) -> Result<u64> {
    let mut targets: BTreeMap<BackendName, Vec<Outgoing>> = BTreeMap::new();
    for outgoing in batch {
        targets.entry(outgoing.target.clone()).or_default().push(outgoing);
    }
    let mut taken = 0;
    for (name, jobs) in targets {
        let handovers = match port.backend(name.as_str()) {
            Ok(target) => submit(target.as_ref(), jobs).await,
            Err(unknown) => jobs.iter().map(|job| handover(job, Err(&unknown))).collect(),
        };
        taken += handovers.iter().filter(|done| matches!(done.end, HandoverEnd::Taken)).count() as u64;
        for settled in outbox.settle(handovers).await {
            settled?;
        }
    }
    Ok(taken)
}

async fn submit(target: &dyn Backend, jobs: Vec<Outgoing>) -> Vec<Handover> {
    let len_max = target.capabilities(Scope::default()).submit_batch_max;
    let len_max = len_max.map_or(FETCH_LEN, |max| usize::try_from(max).unwrap_or(FETCH_LEN).max(1));
    let mut handovers = Vec::with_capacity(jobs.len());
    for jobs in jobs.chunks(len_max) {
        let batch = jobs.iter().map(|job| job.submission.clone()).collect();
        let mut receipts = target.submit(batch).await.into_iter();
        handovers.extend(jobs.iter().map(|job| {
            let receipt = receipts.next().unwrap_or_else(|| Err(unanswered(target.name())));
            handover(job, receipt.as_ref())
        }));
    }
    handovers
}

fn handover(job: &Outgoing, receipt: Result<&Receipt, &Error>) -> Handover {
    let end = match receipt {
        Ok(_) => HandoverEnd::Taken,
        Err(error) if is_final(error) => {
            tracing::warn!(job = %job.submission.id, target_backend = %job.target, %error, "an outgoing job is refused");
            HandoverEnd::Refused(error.clone())
        }
        Err(error) => HandoverEnd::Again(backoff(job.attempt), error.clone()),
    };
    Handover { receipt: job.receipt, end }
}

/// Whether the target will say the same next time.
fn is_final(error: &Error) -> bool {
    error.certainty() == Certainty::NotApplied
        && matches!(
            error.kind(),
            ErrorKind::Unsupported
                | ErrorKind::InvalidInput
                | ErrorKind::NotFound
                | ErrorKind::Conflict
                | ErrorKind::PayloadTooLarge
                | ErrorKind::IdempotencyViolation
        )
}

fn backoff(attempt: u32) -> Duration {
    (BACKOFF * 2_u32.saturating_pow(attempt.saturating_sub(1).min(16))).min(BACKOFF_MAX)
}

fn unanswered(target: &BackendName) -> Error {
    Error::new(&codes::INTERNAL, "submit", "the backend gave no answer for the job")
        .maybe_applied()
        .in_backend(target)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_a_clear_refusal_is_final() {
        let error = |code| Error::new(code, "submit", "no");
        for code in [&codes::UNSUPPORTED, &codes::PAYLOAD_TOO_LARGE, &codes::IDEMPOTENCY, &codes::BAD_OPTION]
        {
            assert!(is_final(&error(code)), "{code}");
            assert!(!is_final(&error(code).maybe_applied()), "{code}");
        }
        for code in
            [&codes::STORE_IO, &codes::OVERLOADED, &codes::UNKNOWN_BACKEND, &codes::DENIED, &codes::INTERNAL]
        {
            assert!(!is_final(&error(code)), "{code}");
        }
    }

    #[test]
    fn tries_grow_rarer_up_to_a_limit() {
        let waits: Vec<u64> = [1, 2, 3, 9, 10, 4_000_000].map(|attempt| backoff(attempt).as_secs()).into();
        assert_eq!(waits, [1, 2, 4, 256, 300, 300]);
    }
}
