//! Taking one job through the state machine and writing what comes of it.

use taskport_abstraction::{JobState, Outcome, Result};

use super::Transaction;
use crate::limits::Standing;
use crate::record::JobRecord;
use crate::state::{self, Effect, Event, JobFacts, Next};
use crate::store::Store;
use crate::stored;

impl<S: Store> Transaction<'_, S> {
    /// What the table says of an event, or `None` where it refuses.
    pub(crate) fn next(&mut self, job: &JobRecord, event: Event<'_>) -> Option<Next> {
        let may_retry = matches!(event, Event::Retry { .. } | Event::Lapse);
        let options = may_retry.then(|| self.engine.options.decode(job.options.as_ref()).ok()).flatten();
        let retry = options.as_ref().and_then(|options| options.retry.as_ref());
        let random = self.engine.random();
        let facts = JobFacts {
            state: job.state,
            attempt: job.attempt,
            submitted_at: job.submitted_at,
            due_at: job.due_at,
            expires_at: job.expires_at,
            cancel_requested: job.cancel_requested,
            retry: retry.unwrap_or(&self.engine.config.retry),
        };
        state::transition(&facts, event, self.now, random).ok()
    }

    /// Takes a job through an event and writes it. Answers its new state, or `None` where the table refuses.
    pub(crate) fn advance(&mut self, mut job: JobRecord, event: Event<'_>) -> Result<Option<JobState>> {
        let Some(next) = self.next(&job, event) else { return Ok(None) };
        let (from, standing, bounds) = (job.state, Standing::of(&job), self.bounds(&job));
        let renews = next.effect == Effect::Renew;
        let outcome = self.apply(&mut job, next)?;
        if renews && let Some(options) = &bounds {
            self.arrive(&mut job, options)?;
        }
        self.store(|store| store.put_job(&job))?;
        if job.state != from {
            self.count(&job.queue, Some(from), job.state)?;
        }
        if let Some(options) = &bounds {
            self.shift(options, standing, Standing::of(&job))?;
        }
        let state = job.state;
        if let Some(outcome) = outcome {
            self.ended(job.id, state, outcome, job.step);
        } else if job.cancel_requested {
            self.changes.cancel_requested.push((job.worker.unwrap_or_default(), job.id));
        }
        Ok(Some(state))
    }

    /// Changes the record as the table says, and answers the outcome of one that ends.
    pub(crate) fn apply(&mut self, job: &mut JobRecord, next: Next) -> Result<Option<Outcome>> {
        job.state = next.state;
        job.held_by = None;
        let is_new = matches!(next.effect, Effect::Ready | Effect::Renew);
        let mut outcome = None;
        match next.effect {
            Effect::Wait(moment) => job.due_at = Some(moment),
            Effect::Ready => job.due_at = Some(self.now),
            Effect::Backoff(moment, failure) => {
                job.due_at = Some(moment);
                job.failure = Some(stored::encode(&failure)?);
                // An attempt has counted, so the job has started in time.
                job.expires_at = None;
            }
            Effect::Rescue(failure) => {
                job.due_at = Some(self.now);
                job.failure = Some(stored::encode(&failure)?);
                job.expires_at = None;
            }
            Effect::HandBack => {
                job.attempt -= 1;
                job.due_at = Some(self.now);
            }
            Effect::End(failure) => {
                job.due_at = None;
                job.finished_at = Some(self.now);
                job.cancel_requested = false;
                job.line = None;
                job.failure = Some(stored::encode(&failure)?);
                outcome = Some(Outcome::Failure(failure));
            }
            Effect::AskToStop => job.cancel_requested = true,
            Effect::Renew => {
                job.attempt = 0;
                job.due_at = Some(self.now);
                job.finished_at = None;
                job.expires_at = None;
                job.failure = None;
            }
            Effect::Lease | Effect::Succeed | Effect::Hold => {
                unreachable!("the store's bulk verbs make these moves")
            }
        }
        if job.state.is_waiting() {
            // The queue's order may have changed while the job was not in line.
            job.position = if is_new { self.place(job)? } else { self.place_again(job)? };
            // One that is handed back may have expired in the meantime.
            for moment in [job.due_at, job.expires_at].into_iter().flatten() {
                self.engine.wake_at(moment);
            }
        }
        Ok(outcome)
    }
}
