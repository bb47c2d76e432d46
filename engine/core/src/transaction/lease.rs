//! Leases: giving them, extending them, and closing attempts under them.

use std::sync::Arc;
use std::time::Duration;

use taskport_abstraction::backend::{Delivery, Extended, Extension, Lease, Settlement, Verdict};
use taskport_abstraction::{
    Error, Failure, FailureKind, JobOptions, JobState, Outcome, Payload, QueueName, RawCall, Result, codes,
};

use super::Transaction;
use crate::limits::{Standing, is_bound};
use crate::record::JobRecord;
use crate::state::Event;
use crate::store::{Grant, Store};

/// The largest number of jobs of one claim.
const CLAIM_JOBS_MAX: usize = 4_096;

/// Which jobs a worker wants.
#[derive(Debug, Clone, Copy)]
pub struct Claim<'a> {
    /// The worker's name.
    pub worker: &'a str,
    /// The queues, in order of preference.
    pub queues: &'a [QueueName],
    /// How many jobs at most. A claim never gives more than 4,096.
    pub max: usize,
    /// How long the leases last.
    pub lease_for: Duration,
}

impl<S: Store> Transaction<'_, S> {
    /// Leases ready jobs to a worker: at most `max`, from the first queues that have some. A delivery's `upstream` is
    /// left for the caller to fill.
    ///
    /// A job whose options cannot be read ends as a dead letter and is not delivered.
    ///
    /// # Errors
    /// Those of the store.
    pub fn claim(&mut self, claim: &Claim<'_>) -> Result<Vec<Delivery>> {
        let max = claim.max.min(CLAIM_JOBS_MAX);
        let mut deliveries = Vec::new();
        for queue in claim.queues {
            let room = max - deliveries.len();
            let entry = self.queue(queue)?;
            let ready = usize::try_from(entry.record.counts.queued).unwrap_or(usize::MAX);
            if room == 0 || ready == 0 || entry.record.paused {
                continue;
            }
            let gated = entry.record.pace.gated;
            let max = self.queue_room(queue, room.min(ready))?;
            if max == 0 {
                continue;
            }
            let until = self.now + claim.lease_for;
            let grant = Grant { queue, max, worker: claim.worker, now: self.now, until };
            let jobs =
                if gated { self.claim_gated(&grant)? } else { self.store(|store| store.claim(&grant))? };
            if jobs.is_empty() {
                continue;
            }
            self.count_many(queue, Some(JobState::Queued), JobState::Running, jobs.len() as u64)?;
            self.pass_time(queue, &jobs)?;
            self.take_queue_tokens(queue, jobs.len())?;
            self.engine.wake_at(until);
            deliveries.reserve(jobs.len());
            for job in jobs {
                deliveries.extend(self.deliver(job)?);
            }
        }
        self.run_hooks()?;
        Ok(deliveries)
    }

    fn deliver(&mut self, job: JobRecord) -> Result<Option<Delivery>> {
        match self.engine.options.decode(job.options.as_ref()) {
            Ok(options) => {
                let bounds = is_bound(&options).then(|| options.clone());
                self.engine.remember_lease(&job, bounds);
                Ok(Some(delivery(job, options)))
            }
            Err(error) => {
                let failure = Failure::new(FailureKind::Undecodable, error.to_string());
                self.advance(job, Event::Reject(&failure))?;
                Ok(None)
            }
        }
    }

    /// Closes attempts, each with a result in order.
    ///
    /// # Errors
    /// `LeaseLost` (E-010) where the job is no longer under this lease: it was rescued, or settled before. The repeat of
    /// a settle whose reply was lost is refused so too, and does no harm: the first one counts.
    pub fn settle(&mut self, batch: &[Settlement]) -> Vec<Result<()>> {
        let mut answers: Vec<_> = batch.iter().map(|settlement| self.settle_one(settlement)).collect();
        if let Err(error) = self.run_hooks() {
            answers.fill_with(|| Err(error.clone()));
        }
        answers
    }

    fn settle_one(&mut self, settlement: &Settlement) -> Result<()> {
        let lease = &settlement.lease;
        match &settlement.verdict {
            Verdict::Ack(result) if result.len() <= self.engine.config.result_bytes_max => {
                self.ack(lease, result)
            }
            Verdict::Ack(result) => {
                let (given, max) = (result.len(), self.engine.config.result_bytes_max);
                let message = format!("the result has {given} bytes, and the limit is {max}");
                self.close(lease, Event::Reject(&Failure::new(FailureKind::ResultTooLarge, message)))
            }
            Verdict::Retry { failure, after } => self.close(lease, Event::Retry { failure, after: *after }),
            Verdict::Reject(failure) => self.close(lease, Event::Reject(failure)),
            Verdict::Cancelled(failure) => self.close(lease, Event::Yield(failure)),
            Verdict::Release => self.close(lease, Event::Release),
        }
    }

    /// The one verdict that asks nothing of the table but that the job runs under this lease, which the store checks in
    /// the same statement.
    fn ack(&mut self, lease: &Lease, result: &Payload) -> Result<()> {
        let now = self.now;
        if !self.store(|store| store.succeed(lease, result, now))? {
            return Err(lease_lost(lease, "settle"));
        }
        let (queue, step, bounds) = match self.engine.take_lease(lease) {
            Some(facts) => (facts.queue, facts.step, facts.bounds),
            None => {
                let job = self.find(&lease.job, "settle")?;
                let bounds = self.bounds(&job);
                (job.queue, job.step, bounds)
            }
        };
        self.count(&queue, Some(JobState::Running), JobState::Succeeded)?;
        if let Some(options) = bounds {
            let (from, to) = (Standing::free(JobState::Running), Standing::free(JobState::Succeeded));
            self.shift(&options, from, to)?;
        }
        self.ended(lease.job.clone(), JobState::Succeeded, Outcome::Success(result.clone()), step);
        Ok(())
    }

    fn close(&mut self, lease: &Lease, event: Event<'_>) -> Result<()> {
        let job = self.store(|store| store.job(&lease.job))?;
        match job {
            Some(job) if is_under(&job, lease) => {
                self.engine.take_lease(lease);
                self.advance(job, event)?;
                Ok(())
            }
            _ => Err(lease_lost(lease, "settle")),
        }
    }

    /// Extends leases to `lease_for` from now and keeps progress and notes, each with a result in order.
    ///
    /// # Errors
    /// `LeaseLost` (E-010) where the job is no longer under this lease.
    pub fn extend(&mut self, batch: &[Extension], lease_for: Duration) -> Vec<Result<Extended>> {
        let until = self.now + lease_for;
        self.engine.wake_at(until);
        let extend_one = |extension: &Extension| {
            let lease = &extension.lease;
            let answer = self.store(|store| store.extend(lease, until, extension.progress.as_ref()))?;
            match answer {
                Some(cancel_requested) => {
                    self.keep_notes(lease, &extension.notes)?;
                    Ok(Extended { expires_at: until, cancel_requested })
                }
                None => Err(lease_lost(lease, "extend")),
            }
        };
        batch.iter().map(extend_one).collect()
    }
}

fn delivery(job: JobRecord, options: Arc<JobOptions>) -> Delivery {
    Delivery {
        lease: Lease {
            job: job.id,
            token: job.token,
            expires_at: job.due_at.unwrap_or_default(),
            receipt: u64::try_from(job.seq).unwrap_or_default(),
        },
        call: RawCall { task: job.task, arguments: job.arguments },
        queue: job.queue,
        attempt: job.attempt,
        submitted_at: job.submitted_at,
        options,
        step: job.step,
        upstream: None,
    }
}

/// Whether a job runs under this lease. A job that was deleted and submitted again under its id counts its tokens anew,
/// and is told by its receipt.
fn is_under(job: &JobRecord, lease: &Lease) -> bool {
    let receipt = u64::try_from(job.seq);
    job.state == JobState::Running && job.token == lease.token && receipt == Ok(lease.receipt)
}

fn lease_lost(lease: &Lease, operation: &'static str) -> Error {
    Error::new(
        &codes::LEASE_LOST,
        operation,
        format!("job `{}` is no longer under lease {}", lease.job, lease.token.0),
    )
    .hint("the job was rescued or has been settled; what this attempt did no longer counts")
}
