//! Batches: how many of their jobs have ended, and the jobs that follow.

use std::collections::HashMap;
use std::mem;

use taskport_abstraction::backend::Submission;
use taskport_abstraction::batch::{BatchRequest, BatchStatus};
use taskport_abstraction::options::OnConflict;
use taskport_abstraction::{BatchId, Error, JobOptions, JobState, Result, codes};

use crate::engine::Engine;
use crate::record::{BatchRecord, CallbackRecord};
use crate::store::Store;
use crate::transaction::{NewJob, Transaction};

/// How many batches the engine remembers.
const BATCHES_MAX: usize = 10_000;
/// The entry of a callback's metadata that names its batch.
const METADATA_KEY: &str = "batch";

/// The batches in use, remembered between transactions and written once in each.
#[derive(Debug, Default)]
pub(crate) struct Batches {
    entries: HashMap<BatchId, Entry>,
    dirty: Vec<BatchId>,
}

#[derive(Debug)]
struct Entry {
    record: BatchRecord,
    dirty: bool,
}

impl Batches {
    /// Forgets every batch, since another connection may have changed them.
    pub(crate) fn forget(&mut self) {
        self.entries.clear();
        self.dirty.clear();
    }
}

impl<S: Store> Engine<S> {
    /// A batch as it will be after the transaction.
    pub(crate) fn batch(&mut self, id: &BatchId) -> Result<Option<&mut BatchRecord>> {
        if !self.batches.entries.contains_key(id) {
            let Some(record) = self.store.batch(id)? else { return Ok(None) };
            self.keep_batch(record);
        }
        Ok(self.batches.entries.get_mut(id).map(|entry| &mut entry.record))
    }

    fn keep_batch(&mut self, record: BatchRecord) {
        let entries = &mut self.batches.entries;
        if entries.len() >= BATCHES_MAX {
            entries.retain(|_, entry| entry.dirty);
        }
        entries.insert(record.id.clone(), Entry { record, dirty: false });
    }

    fn batch_changed(&mut self, id: &BatchId) {
        if let Some(entry) = self.batches.entries.get_mut(id)
            && !mem::replace(&mut entry.dirty, true)
        {
            self.batches.dirty.push(id.clone());
        }
    }

    /// Writes every batch's row that differs.
    pub(crate) fn flush_batches(&mut self) -> Result<()> {
        for id in mem::take(&mut self.batches.dirty) {
            let Some(entry) = self.batches.entries.get_mut(&id) else { continue };
            entry.dirty = false;
            self.store.put_batch(&entry.record)?;
            if entry.record.finished_at.is_some() {
                self.batches.entries.remove(&id);
            }
        }
        Ok(())
    }
}

impl<S: Store> Transaction<'_, S> {
    /// Submits a batch: all of it, or nothing. A repeated submit of one id is the same batch.
    ///
    /// # Errors
    /// What a submit of one of its jobs or callbacks would answer.
    pub fn submit_batch(&mut self, request: BatchRequest) -> Result<BatchId> {
        let BatchRequest { id, jobs, on_success, on_complete } = request;
        if self.batch(&id)?.is_some() {
            return Ok(id);
        }
        let jobs: Vec<NewJob> = jobs.into_iter().map(|job| in_batch(job, &id)).collect::<Result<_>>()?;
        let callback =
            |callback: Option<Submission>| callback.map(|callback| after_batch(callback, &id)).transpose();
        let (on_success, on_complete) = (callback(on_success)?, callback(on_complete)?);
        self.check_jobs(&jobs, &id)?;
        let on_success = on_success.map(|job| self.callback(job)).transpose()?;
        let on_complete = on_complete.map(|job| self.callback(job)).transpose()?;
        let record = BatchRecord {
            id: id.clone(),
            total: 0,
            pending: 0,
            succeeded: 0,
            failed: 0,
            cancelled: 0,
            submitted_at: self.now,
            finished_at: None,
            on_success,
            on_complete,
        };
        self.store(|store| store.insert_batch(&record))?;
        self.engine.keep_batch(record);
        for mut job in jobs {
            job.options.batch = Some(id.clone());
            self.enqueue_one(job)?;
        }
        // A batch without new jobs has ended already.
        self.batches_ended.push(id.clone());
        self.run_hooks()?;
        Ok(id)
    }

    /// Checks every job before the first is taken.
    fn check_jobs(&mut self, jobs: &[NewJob], batch: &BatchId) -> Result<()> {
        let mut keys = HashMap::new();
        for job in jobs {
            self.check(job)?;
            let Some(idempotency) = &job.options.idempotency else { continue };
            let first = keys.entry(idempotency.key.clone()).or_insert(&job.call);
            if *first != &job.call && idempotency.on_conflict == OnConflict::Keep {
                return Err(Error::new(
                    &codes::IDEMPOTENCY,
                    "submit batch",
                    format!("two jobs of batch `{batch}` have one idempotency key"),
                )
                .hint("give each call a key of its own"));
            }
            self.check_key(job, idempotency)?;
        }
        Ok(())
    }

    fn callback(&mut self, job: NewJob) -> Result<CallbackRecord> {
        let options = self.check(&job)?;
        Ok(CallbackRecord { id: job.id, call: job.call, options })
    }

    fn batch(&mut self, id: &BatchId) -> Result<Option<&mut BatchRecord>> {
        if let Some(error) = &self.broken {
            return Err(error.clone());
        }
        match self.engine.batch(id) {
            Ok(batch) => Ok(batch),
            Err(error) => {
                self.broken = Some(error.clone());
                Err(error)
            }
        }
    }

    /// Fails unless jobs may join the batch.
    pub(crate) fn check_batch(&mut self, id: &BatchId) -> Result<()> {
        match self.batch(id)? {
            Some(batch) if batch.finished_at.is_none() => Ok(()),
            Some(_) => Err(Error::new(&codes::BATCH_FINISHED, "submit", format!("batch `{id}` has ended"))
                .hint("submit the job without a batch, or in a new one")),
            None => Err(Error::new(&codes::BATCH_NOT_FOUND, "submit", format!("there is no batch `{id}`"))
                .hint("submit the batch first")),
        }
    }

    /// Enters a move of a job into its batch.
    pub(crate) fn shift_batch(
        &mut self,
        id: &BatchId,
        from: Option<JobState>,
        to: Option<JobState>,
    ) -> Result<()> {
        let is_live = |state: Option<JobState>| state.is_some_and(|state| !state.is_terminal());
        if is_live(from) == is_live(to) {
            return Ok(());
        }
        let Some(batch) = self.batch(id)? else { return Ok(()) };
        if batch.finished_at.is_some() {
            return Ok(());
        }
        match (is_live(from), from) {
            (false, None) => batch.total += 1,
            (false, _) => *ended_as(batch, from) -= 1,
            (true, _) => *ended_as(batch, to) += 1,
        }
        if is_live(to) {
            batch.pending += 1;
        } else {
            batch.pending -= 1;
        }
        let has_ended = batch.pending == 0;
        self.engine.batch_changed(id);
        if has_ended {
            self.batches_ended.push(id.clone());
        }
        Ok(())
    }

    /// Submits what follows the batches whose last job has ended.
    pub(crate) fn end_batches(&mut self) -> Result<()> {
        while let Some(id) = self.batches_ended.pop() {
            let now = self.now;
            let Some(batch) = self.batch(&id)? else { continue };
            if batch.pending > 0 || batch.finished_at.is_some() {
                continue;
            }
            batch.finished_at = Some(now);
            let all_succeeded = batch.succeeded == batch.total;
            let on_success = batch.on_success.clone().filter(|_| all_succeeded);
            let callbacks = [batch.on_complete.clone(), on_success];
            self.engine.batch_changed(&id);
            for callback in callbacks.into_iter().flatten() {
                self.call_back(callback)?;
            }
        }
        Ok(())
    }

    fn call_back(&mut self, callback: CallbackRecord) -> Result<()> {
        let options = self.engine.options.decode(callback.options.as_ref())?;
        let job =
            NewJob { id: callback.id, call: callback.call, options: JobOptions::clone(&options), step: None };
        self.enqueue_one(job).map(drop)
    }
}

/// A job of the batch, which it joins once the batch is there.
fn in_batch(job: Submission, batch: &BatchId) -> Result<NewJob> {
    if job.options.batch.as_ref().is_some_and(|other| other != batch) {
        return Err(bad(format!("a job of batch `{batch}` names another batch")));
    }
    Ok(NewJob { options: JobOptions { batch: None, ..job.options }, id: job.id, call: job.call, step: None })
}

/// A callback tells its batch, and asks for nothing that could be refused once the batch has ended.
fn after_batch(mut job: Submission, batch: &BatchId) -> Result<NewJob> {
    if job.options.idempotency.is_some() || job.options.batch.is_some() {
        return Err(bad(format!(
            "a callback of batch `{batch}` has an idempotency key or a batch of its own"
        )));
    }
    job.options.metadata.insert(METADATA_KEY.into(), batch.as_str().into());
    Ok(job.into())
}

fn bad(message: String) -> Error {
    Error::new(&codes::BAD_OPTION, "submit batch", message)
}

/// The number that a job of the batch is counted in when it has ended like this; one that was replaced was given up.
fn ended_as(batch: &mut BatchRecord, state: Option<JobState>) -> &mut u64 {
    match state {
        Some(JobState::Succeeded) => &mut batch.succeeded,
        Some(JobState::Failed) => &mut batch.failed,
        _ => &mut batch.cancelled,
    }
}

/// What a reader sees of a batch.
pub(crate) fn status(batch: BatchRecord) -> BatchStatus {
    BatchStatus {
        id: batch.id,
        total: batch.total,
        pending: batch.pending,
        succeeded: batch.succeeded,
        failed: batch.failed,
        cancelled: batch.cancelled,
        submitted_at: batch.submitted_at,
        finished_at: batch.finished_at,
        on_success: batch.on_success.map(|callback| callback.id),
        on_complete: batch.on_complete.map(|callback| callback.id),
    }
}
