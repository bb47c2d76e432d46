//! Reading beside the writer.

mod schedules;

use taskport_abstraction::backend::{Cursor, JobFilter, Page, PageRequest, QueueStats, WorkerStatus};
use taskport_abstraction::batch::BatchStatus;
use taskport_abstraction::journal::JournalEntry;
use taskport_abstraction::outbox::{OutboxEntry, OutboxStats};
use taskport_abstraction::{
    BatchId, Error, JobId, JobOptions, JobState, JobStatus, Outcome, Result, Timestamp, codes,
};

use crate::inbox::OutgoingRecord;
use crate::limits::batch_status;
use crate::record::{JobRecord, QueueRecord, WorkerRecord};
use crate::store::Read;
use crate::stored;

/// Reads what is committed, on any thread.
#[derive(Debug)]
pub struct Reader<R: Read> {
    read: R,
    page_len_max: usize,
}

impl<R: Read> Reader<R> {
    pub(crate) fn new(read: R, page_len_max: usize) -> Self {
        Self { read, page_len_max }
    }

    /// The rows below.
    pub(crate) fn rows(&mut self) -> &mut R {
        &mut self.read
    }

    /// How many rows a page has.
    pub(crate) fn page_len(&self, page: &PageRequest) -> usize {
        page.len.clamp(1, self.page_len_max)
    }

    /// What is known of each job, in order.
    ///
    /// # Errors
    /// Those of the store.
    pub fn get(&mut self, ids: &[JobId]) -> Result<Vec<Option<JobStatus>>> {
        ids.iter().map(|id| self.get_one(id)).collect()
    }

    fn get_one(&mut self, id: &JobId) -> Result<Option<JobStatus>> {
        if let Some(job) = self.read.job(id)? {
            return Ok(Some(status(job)));
        }
        if let Some(job) = self.read.inbox_job(id)? {
            return Ok(Some(job.status()));
        }
        // Between the two looks the engine may have taken it from the inbox.
        Ok(self.read.job(id)?.map(status))
    }

    /// At most `len` entries of a job's journal after number `after`, in order.
    ///
    /// # Errors
    /// `NotFound` (E-007); those of the store.
    pub fn journal(&mut self, job: &JobId, after: u64, len: usize) -> Result<Vec<JournalEntry>> {
        match self.read.entries(job, after, len.min(self.page_len_max))? {
            Some(entries) => Ok(entries),
            // What waits in the inbox has said nothing yet.
            None if self.get_one(job)?.is_some() => Ok(Vec::new()),
            None => {
                Err(Error::new(&codes::JOB_NOT_FOUND, "read journal", format!("there is no job `{job}`")))
            }
        }
    }

    /// At most `len` jobs for other backends after the receipt `after`, oldest first.
    ///
    /// # Errors
    /// Those of the store.
    pub fn outbox(&mut self, after: u64, len: usize) -> Result<Vec<OutboxEntry>> {
        let after = i64::try_from(after).unwrap_or(i64::MAX);
        let outgoing = self.read.outgoing(after, len.min(self.page_len_max))?;
        Ok(outgoing.into_iter().map(outbox_entry).collect())
    }

    /// Whether a job for another backend is to be handed on.
    ///
    /// # Errors
    /// Those of the store.
    pub fn outbox_due(&mut self, now: Timestamp) -> Result<bool> {
        self.read.outgoing_due(now)
    }

    /// How many jobs for other backends there are.
    ///
    /// # Errors
    /// Those of the store.
    pub fn outbox_stats(&mut self) -> Result<OutboxStats> {
        let (waiting, refused) = self.read.outgoing_counts()?;
        Ok(OutboxStats { waiting, refused })
    }

    /// One page of jobs, newest first.
    ///
    /// # Errors
    /// `InvalidInput` (E-004) where the cursor is none of ours; those of the store.
    pub fn jobs(&mut self, filter: &JobFilter, page: &PageRequest) -> Result<Page<JobStatus>> {
        let before = page.after.as_ref().map(seq_of).transpose()?;
        let len = self.page_len(page);
        let mut jobs = self.read.jobs(filter, before, len + 1)?;
        let more = jobs.len() > len;
        jobs.truncate(len);
        let last = jobs.last().filter(|_| more);
        let next = last.map(|job| Cursor(job.seq.to_string()));
        Ok(Page { items: jobs.into_iter().map(status).collect(), next })
    }

    /// Every queue, by name.
    ///
    /// # Errors
    /// Those of the store.
    pub fn queues(&mut self) -> Result<Vec<QueueStats>> {
        let queues = self.read.queues()?;
        queues.into_iter().map(|queue| self.stats(queue)).collect()
    }

    fn stats(&mut self, queue: QueueRecord) -> Result<QueueStats> {
        let oldest_queued_at =
            if queue.counts.queued > 0 { self.read.oldest_ready(&queue.name)? } else { None };
        Ok(QueueStats {
            name: queue.name,
            order: queue.order,
            limits: queue.limits,
            paused: queue.paused,
            paused_reason: queue.paused_reason,
            counts: queue.counts,
            oldest_queued_at,
        })
    }

    /// What is known of a batch.
    ///
    /// # Errors
    /// Those of the store.
    pub fn batch(&mut self, id: &BatchId) -> Result<Option<BatchStatus>> {
        Ok(self.read.batch(id)?.map(batch_status))
    }

    /// Every worker that has not gone or been forgotten, by name.
    ///
    /// # Errors
    /// Those of the store.
    pub fn workers(&mut self, now: Timestamp) -> Result<Vec<WorkerStatus>> {
        Ok(self.read.workers()?.into_iter().map(|worker| worker_status(worker, now)).collect())
    }
}

/// The cursor's place in the order of submits or starts.
pub(crate) fn seq_of(cursor: &Cursor) -> Result<i64> {
    cursor.0.parse().map_err(|_| {
        Error::new(&codes::BAD_OPTION, "list", "the cursor is not one this backend made")
            .hint("pass the `next` of the page before, or none for the first page")
    })
}

/// What a reader sees of a job.
pub(crate) fn status(job: JobRecord) -> JobStatus {
    let running = job.state == JobState::Running;
    let outcome = match (job.state, job.result, job.failure) {
        (JobState::Succeeded, Some(result), _) => Some(Outcome::Success(result)),
        (_, _, failure) => failure.map(|failure| Outcome::Failure(stored::failure(&failure))),
    };
    JobStatus {
        id: job.id,
        task: job.task,
        queue: job.queue,
        state: job.state,
        attempt: job.attempt,
        options: job.options.map_or_else(JobOptions::default, |options| {
            // What cannot be read makes a dead letter that says so; until then it is shown without options.
            stored::decode(&options, "options").unwrap_or_default()
        }),
        arguments: job.arguments,
        submitted_at: Some(job.submitted_at),
        not_before: job.due_at.filter(|_| matches!(job.state, JobState::Scheduled | JobState::Retrying)),
        started_at: job.started_at,
        finished_at: job.finished_at,
        outcome,
        progress: job.progress.filter(|_| running),
        worker: job.worker.filter(|_| running),
        cancel_requested: job.cancel_requested,
        step: job.step,
    }
}

fn worker_status(worker: WorkerRecord, now: Timestamp) -> WorkerStatus {
    WorkerStatus {
        alive: worker.seen_at + worker.lease_for > now,
        name: worker.name.as_ref().to_owned(),
        host: worker.host,
        pid: worker.pid,
        queues: worker.queues,
        tasks: worker.tasks,
        load: worker.load,
        started_at: worker.started_at,
        seen_at: worker.seen_at,
    }
}

fn outbox_entry(outgoing: OutgoingRecord) -> OutboxEntry {
    OutboxEntry {
        receipt: outgoing.job.seq.unsigned_abs(),
        target: outgoing.target,
        job: outgoing.job.id,
        task: outgoing.job.task,
        attempt: outgoing.attempt,
        submitted_at: outgoing.job.submitted_at,
        due_at: outgoing.due_at,
        reason: outgoing.reason,
    }
}
