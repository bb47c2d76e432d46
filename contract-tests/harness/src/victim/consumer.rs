//! A consumer that writes down every settle before it is asked for, and its answer.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use async_trait::async_trait;
use futures_util::stream::BoxStream;
use taskport_abstraction::backend::{Delivery, Extended, Extension, Lease, Settlement, Verdict, WorkerLoad};
use taskport_abstraction::{Certainty, Clock, Consumer, Error, ErrorKind, JobId, Payload, Result, Timestamp};
use taskport_checker::{Event, Line, Operation, Outcome};

use super::Victim;
use super::ledger::Ledger;

/// Passes everything on and writes down what the history needs.
#[derive(Debug)]
pub(crate) struct RecordingConsumer {
    inner: Arc<dyn Consumer>,
    victim: Arc<Victim>,
    ledger: Arc<Ledger>,
    /// The leases this worker holds: the key of the job, and until when the lease was promised.
    held: Mutex<HashMap<(JobId, u64), Held>>,
}

#[derive(Debug)]
struct Held {
    key: String,
    attempt: u32,
    until: Timestamp,
}

impl RecordingConsumer {
    pub(crate) fn new(inner: Arc<dyn Consumer>, victim: Arc<Victim>, ledger: Arc<Ledger>) -> Self {
        Self { inner, victim, ledger, held: Mutex::default() }
    }

    fn held(&self) -> MutexGuard<'_, HashMap<(JobId, u64), Held>> {
        self.held.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn line(&self, lease: &Lease, held: &Held, event: Event, outcome: Outcome) -> Line {
        let mut line = self.victim.history.about(Operation::Settle, event, &held.key);
        line.attempt = Some(held.attempt);
        line.token = Some(lease.token.0);
        line.outcome = Some(outcome);
        line
    }

    /// A lease that was refused after the time it was promised for: the worker was too slow, and the attempt is over
    /// without a settle. One that is refused before its time is left unsaid, and so has no excuse.
    fn refused(&self, lease: &Lease) {
        let now = self.victim.clock.now();
        let mut held = self.held();
        let Some(lapsed) = held.get(&id(lease)).filter(|held| held.until <= now) else { return };
        let line = self.line(lease, lapsed, Event::Fail, Outcome::Release);
        self.victim.history.write(&[line]);
        held.remove(&id(lease));
    }
}

fn id(lease: &Lease) -> (JobId, u64) {
    (lease.job.clone(), lease.token.0)
}

#[async_trait]
impl Consumer for RecordingConsumer {
    async fn fetch(&self, max: usize) -> Result<Vec<Delivery>> {
        let deliveries = self.inner.fetch(max).await?;
        let mut held = self.held();
        for delivery in &deliveries {
            let lease = &delivery.lease;
            self.ledger.leased(lease.job.clone(), delivery.attempt, lease.token.0);
            let key = key_of(&delivery.call.arguments).unwrap_or_else(|| lease.job.as_str().to_owned());
            held.insert(id(lease), Held { key, attempt: delivery.attempt, until: lease.expires_at });
        }
        drop(held);
        Ok(deliveries)
    }

    async fn settle(&self, batch: Vec<Settlement>) -> Vec<Result<()>> {
        let record = |answers: Option<&[Result<()>]>| {
            let held = self.held();
            let lines = batch.iter().enumerate().filter_map(|(index, settlement)| {
                let event =
                    answers.map_or(Some(Event::Invoke), |answers| answers.get(index).map(event_of))?;
                let held = held.get(&id(&settlement.lease))?;
                Some(self.line(&settlement.lease, held, event, outcome_of(&settlement.verdict)))
            });
            self.victim.history.write(&lines.collect::<Vec<_>>());
        };
        record(None);
        let answers = self.inner.settle(batch.clone()).await;
        record(Some(&answers));
        let mut held = self.held();
        for (settlement, answer) in batch.iter().zip(&answers) {
            if answer.as_ref().err().is_none_or(|error| error.kind() == ErrorKind::LeaseLost) {
                held.remove(&id(&settlement.lease));
            }
        }
        drop(held);
        answers
    }

    async fn extend(&self, batch: Vec<Extension>) -> Result<Vec<Result<Extended>>> {
        let answers = self.inner.extend(batch.clone()).await?;
        for (extension, answer) in batch.iter().zip(&answers) {
            match answer {
                Ok(extended) => {
                    if let Some(held) = self.held().get_mut(&id(&extension.lease)) {
                        held.until = extended.expires_at;
                    }
                }
                Err(error) if error.kind() == ErrorKind::LeaseLost => self.refused(&extension.lease),
                Err(_) => {}
            }
        }
        Ok(answers)
    }

    fn cancellations(&self) -> BoxStream<'static, JobId> {
        self.inner.cancellations()
    }

    async fn heartbeat(&self, load: WorkerLoad) -> Result<()> {
        self.inner.heartbeat(load).await
    }

    async fn close(&self) -> Result<()> {
        self.inner.close().await
    }
}

/// What an answer says: it happened, it did not, or nobody knows.
pub(crate) fn event_of<T>(answer: &Result<T, Error>) -> Event {
    match answer {
        Ok(_) => Event::Ok,
        Err(error) if error.certainty() == Certainty::MaybeApplied => Event::Info,
        Err(_) => Event::Fail,
    }
}

fn outcome_of(verdict: &Verdict) -> Outcome {
    match verdict {
        Verdict::Ack(_) => Outcome::Succeeded,
        Verdict::Retry { .. } => Outcome::Retry,
        Verdict::Reject(_) => Outcome::Failed,
        Verdict::Cancelled(_) => Outcome::Cancelled,
        Verdict::Release => Outcome::Release,
    }
}

/// The key that every job of a victim carries as its argument.
pub(crate) fn key_of(arguments: &Payload) -> Option<String> {
    #[derive(serde::Deserialize)]
    struct Named {
        key: String,
    }
    let (_, named): (Vec<serde::de::IgnoredAny>, Named) = serde_json::from_slice(&arguments.bytes).ok()?;
    Some(named.key)
}
