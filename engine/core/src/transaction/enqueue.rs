//! Taking jobs.

use taskport_abstraction::backend::{QueueOrder, Submission};
use taskport_abstraction::job::StepRef;
use taskport_abstraction::options::{Idempotency, OnConflict, Priority, Unique};
use taskport_abstraction::{
    Error, JobId, JobOptions, JobState, LeaseToken, QueueName, RawCall, Result, Timestamp, codes,
};

use super::Transaction;
use crate::limits::{Standing, is_gated};
use crate::record::{JobRecord, KeyRecord, tags_text};
use crate::state::{self, Effect, Event};
use crate::store::Store;

/// A job to take.
#[derive(Debug, Clone)]
pub struct NewJob {
    /// The id it is to have.
    pub id: JobId,
    /// The task and its arguments.
    pub call: RawCall,
    /// What it asks for.
    pub options: JobOptions,
    /// The step of a run it executes.
    pub step: Option<StepRef>,
}

impl From<Submission> for NewJob {
    fn from(submission: Submission) -> Self {
        Self { id: submission.id, call: submission.call, options: submission.options, step: None }
    }
}

/// What became of a [`NewJob`].
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Enqueued {
    /// The job. Under an idempotency key it may be an earlier one.
    pub id: JobId,
    /// Whether it was there before.
    pub existing: bool,
}

impl<S: Store> Transaction<'_, S> {
    /// Takes jobs, each with a result in order.
    ///
    /// A repeated id is the same job, whatever became of it. Of idempotency keys, see [`Unique`] and [`OnConflict`].
    ///
    /// # Errors
    /// `InvalidInput` (E-004), `Unsupported` (E-005) and `PayloadTooLarge` (E-006) for what no job may ask;
    /// `IdempotencyViolation` (E-009) where a key that is kept stands for another call; those of the store.
    pub fn enqueue(&mut self, jobs: Vec<NewJob>) -> Vec<Result<Enqueued>> {
        jobs.into_iter().map(|job| self.enqueue_one(job)).collect()
    }

    /// Takes one job. See [`enqueue`](Self::enqueue).
    ///
    /// # Errors
    /// As there.
    pub fn enqueue_one(&mut self, job: NewJob) -> Result<Enqueued> {
        self.enqueue_at(job, self.now)
    }

    /// Takes a job that was submitted at `submitted_at`, which may be a while ago.
    pub(super) fn enqueue_at(&mut self, job: NewJob, submitted_at: Timestamp) -> Result<Enqueued> {
        let stored = self.check(&job)?;
        let (record, idempotency) = self.record(job, stored, submitted_at)?;
        match idempotency {
            None => self.insert(&record),
            Some(idempotency) => self.insert_keyed(record, &idempotency),
        }
    }

    /// Checks what no job may ask, and answers the stored form of the options.
    pub(crate) fn check(&mut self, job: &NewJob) -> Result<Option<bytes::Bytes>> {
        job.options.validate()?;
        if let Some(batch) = &job.options.batch
            && let Err(error) = self.check_batch(batch)
            && self.store(|store| store.job(&job.id))?.is_none()
        {
            return Err(error);
        }
        let (given, max) = (job.call.arguments.len(), self.engine.config.payload_bytes_max);
        if given > max {
            return Err(too_large("arguments", given, max));
        }
        let stored = self.engine.options.encode(&job.options)?;
        let (given, max) =
            (stored.as_ref().map_or(0, bytes::Bytes::len), self.engine.config.options_bytes_max);
        if given > max {
            return Err(too_large("options", given, max));
        }
        Ok(stored)
    }

    /// Fails where a key that is kept stands for another call.
    pub(crate) fn check_key(&mut self, job: &NewJob, idempotency: &Idempotency) -> Result<()> {
        if idempotency.on_conflict != OnConflict::Keep || self.store(|store| store.job(&job.id))?.is_some() {
            return Ok(());
        }
        match self.key_holder(&idempotency.key)? {
            Some(holder) if holder.task != job.call.task || holder.arguments != job.call.arguments => {
                Err(another_call(&idempotency.key, &holder.id))
            }
            _ => Ok(()),
        }
    }

    /// The row of a new job, with its idempotency key.
    pub(super) fn record(
        &mut self,
        job: NewJob,
        stored: Option<bytes::Bytes>,
        submitted_at: Timestamp,
    ) -> Result<(JobRecord, Option<Idempotency>)> {
        let now = self.now;
        let options = job.options;
        let next = state::admit(options.start.map(|start| start.resolve(now)), now);
        let queue = options.queue.unwrap_or_else(QueueName::default_queue);
        let priority = options.priority.unwrap_or(Priority::DEFAULT);
        let seq = self.seq()?;
        let mut record = JobRecord {
            seq,
            id: job.id,
            task: job.call.task,
            queue,
            state: next.state,
            priority,
            position: 0,
            due_at: Some(if let Effect::Wait(moment) = next.effect { moment } else { now }),
            held_by: None,
            line: None,
            expires_at: options.expiry.map(|expiry| expiry.resolve(now)),
            attempt: 0,
            token: LeaseToken(0),
            worker: None,
            cancel_requested: false,
            submitted_at,
            started_at: None,
            finished_at: None,
            arguments: job.call.arguments,
            options: stored,
            tags: tags_text(&options.tags),
            result: None,
            failure: None,
            progress: None,
            step: job.step,
        };
        record.position = self.place_again(&record)?;
        Ok((record, options.idempotency))
    }

    pub(crate) fn seq(&mut self) -> Result<i64> {
        if let Some(error) = &self.broken {
            return Err(error.clone());
        }
        let seq = self.engine.seq_next();
        self.keep_failure(seq)
    }

    pub(super) fn insert(&mut self, job: &JobRecord) -> Result<Enqueued> {
        let bounds = self.bounds(job);
        if bounds.is_some() || self.queue(&job.queue)?.record.order == QueueOrder::Fair {
            return self.insert_bound(job.clone(), bounds.as_deref());
        }
        let inserted = self.insert_free(job)?;
        Ok(Enqueued { id: job.id.clone(), existing: !inserted })
    }

    fn insert_free(&mut self, job: &JobRecord) -> Result<bool> {
        let inserted = self.store(|store| store.insert_job(job))?;
        if inserted {
            self.engine.seq_used(job.seq);
            self.count(&job.queue, None, job.state)?;
            self.watch_times(job);
        }
        Ok(inserted)
    }

    /// Inserts a job that has to pass gates or to be given a share.
    fn insert_bound(&mut self, mut job: JobRecord, bounds: Option<&JobOptions>) -> Result<Enqueued> {
        if let Some(options) = bounds {
            self.arrive(&mut job, options)?;
        }
        if !job.is_in_line() {
            job.position = self.place(&job)?;
        }
        let inserted = self.insert_free(&job)?;
        match bounds {
            _ if !inserted => self.give_share_back(&job)?,
            Some(options) => {
                self.learn(options)?;
                self.enter(&job, options)?;
            }
            None => {}
        }
        Ok(Enqueued { id: job.id, existing: !inserted })
    }

    /// Lets a job's gates know of it, and its queue that claims have to look at gates.
    fn enter(&mut self, job: &JobRecord, options: &JobOptions) -> Result<()> {
        if is_gated(options) {
            self.queue(&job.queue)?.record.pace.gated = true;
        }
        self.shift(options, Standing::NONE, Standing::of(job))
    }

    pub(crate) fn watch_times(&mut self, job: &JobRecord) {
        if job.state == JobState::Scheduled
            && let Some(moment) = job.due_at
        {
            self.engine.wake_at(moment);
        }
        if let Some(moment) = job.expires_at {
            self.engine.wake_at(moment);
        }
    }

    fn insert_keyed(&mut self, job: JobRecord, idempotency: &Idempotency) -> Result<Enqueued> {
        if self.store(|store| store.job(&job.id))?.is_some() {
            return Ok(Enqueued { id: job.id, existing: true });
        }
        let Some(holder) = self.key_holder(&idempotency.key)? else {
            return self.insert_with_key(&job, idempotency);
        };
        match idempotency.on_conflict {
            OnConflict::Ignore => Ok(Enqueued { id: holder.id, existing: true }),
            OnConflict::Keep if holder.task == job.task && holder.arguments == job.arguments => {
                Ok(Enqueued { id: holder.id, existing: true })
            }
            OnConflict::Keep => Err(another_call(&idempotency.key, &holder.id)),
            OnConflict::Replace => match self.next(&holder, Event::Replace { not_before: start_of(&job) }) {
                Some(_) => self.replace(holder, job, idempotency),
                None => self.insert_with_key(&job, idempotency),
            },
        }
    }

    /// The job a key stands for now.
    pub(super) fn key_holder(&mut self, key: &str) -> Result<Option<JobRecord>> {
        let Some(record) = self.store(|store| store.key(key))? else { return Ok(None) };
        if record.until.is_some_and(|until| until <= self.now) {
            return Ok(None);
        }
        let holder = self.store(|store| store.job(&record.job))?;
        Ok(holder.filter(|job| record.until.is_some() || !job.state.is_terminal()))
    }

    fn insert_with_key(&mut self, job: &JobRecord, idempotency: &Idempotency) -> Result<Enqueued> {
        let enqueued = self.insert(job)?;
        self.give_key(idempotency, &enqueued.id)?;
        Ok(enqueued)
    }

    pub(super) fn give_key(&mut self, idempotency: &Idempotency, job: &JobId) -> Result<()> {
        let until = match idempotency.unique {
            Unique::WhileLive => None,
            Unique::For(period) => Some(self.now + period),
            Unique::Forever => Some(Timestamp::MAX),
        };
        let record = KeyRecord { key: idempotency.key.clone(), job: job.clone(), until };
        self.store(|store| store.put_key(&record))
    }

    /// Gives a job that has not started the newer call and options. It keeps its id, its place and its age.
    fn replace(
        &mut self,
        holder: JobRecord,
        newer: JobRecord,
        idempotency: &Idempotency,
    ) -> Result<Enqueued> {
        let (from, was) = (Standing::of(&holder), self.bounds(&holder));
        let mut job = JobRecord {
            seq: holder.seq,
            id: holder.id,
            token: holder.token,
            submitted_at: holder.submitted_at,
            ..newer
        };
        let will_be = self.bounds(&job);
        // A job that stays in its line keeps its place there.
        let line = was.as_ref().and_then(|options| options.ordering_key.clone());
        let stays =
            line.is_some() && line == will_be.as_ref().and_then(|options| options.ordering_key.clone());
        if stays {
            job.line = holder.line;
        } else if let Some(options) = &will_be {
            self.arrive(&mut job, options)?;
        }
        if stays && from.is_in_line() {
            (job.state, job.held_by) = (holder.state, holder.held_by);
        }
        if !job.is_in_line() {
            job.position = self.place(&job)?;
        }
        self.store(|store| store.put_job(&job))?;
        if job.queue == holder.queue {
            self.count(&job.queue, Some(holder.state), job.state)?;
        } else {
            self.uncount(&holder.queue, holder.state)?;
            self.count(&job.queue, None, job.state)?;
        }
        self.watch_times(&job);
        self.give_key(idempotency, &job.id)?;
        if let Some(options) = &will_be {
            self.learn(options)?;
        }
        match (was, will_be) {
            (Some(was), Some(will_be)) if stays => {
                let [was, will_be] = [was, will_be]
                    .map(|options| JobOptions { ordering_key: None, ..JobOptions::clone(&options) });
                self.enter(&job, &will_be)?;
                self.shift(&was, from, Standing::NONE)?;
            }
            (was, will_be) => {
                if let Some(options) = will_be {
                    self.enter(&job, &options)?;
                }
                if let Some(options) = was {
                    self.shift(&options, from, Standing::NONE)?;
                }
            }
        }
        Ok(Enqueued { id: job.id, existing: true })
    }
}

fn start_of(job: &JobRecord) -> Option<Timestamp> {
    (job.state == JobState::Scheduled).then_some(job.due_at).flatten()
}

fn too_large(what: &str, given: usize, max: usize) -> Error {
    Error::new(
        &codes::PAYLOAD_TOO_LARGE,
        "submit",
        format!("the {what} have {given} bytes, and the limit is {max}"),
    )
    .hint("pass a reference to large data, such as a path, instead of the data")
}

fn another_call(key: &str, holder: &JobId) -> Error {
    let shown: String = key.chars().take(64).flat_map(char::escape_debug).collect();
    Error::new(
        &codes::IDEMPOTENCY,
        "submit",
        format!("the key `{shown}` stands for job `{holder}`, which is another call"),
    )
    .hint("use another key, or let the newer call replace the older")
}
