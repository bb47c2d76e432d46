//! Taking the jobs that other programs' transactions have left, and handing those on that are for other backends.

use std::time::Duration;

use taskport_abstraction::outbox::{Handover, HandoverEnd, Outgoing};
use taskport_abstraction::{
    Error, ErrorKind, Failure, FailureKind, JobId, JobState, Outcome, Result, Timestamp, codes,
};

use super::{NewJob, Transaction};
use crate::inbox::InboxRecord;
use crate::record::JobRecord;
use crate::store::Store;
use crate::stored;

/// How many bytes of arguments are taken or handed out together, the last job's not counted.
const BYTES_MAX: usize = 16 << 20;

impl<S: Store> Transaction<'_, S> {
    /// Takes what other programs' transactions have left in the inbox, by the ordinary way of a submit. A job that
    /// cannot be taken becomes a dead letter with the reason. Costs nothing unless another connection has committed.
    ///
    /// At most [`tick_jobs_max`](crate::EngineConfig::tick_jobs_max) jobs are taken; `true` says that there may be more.
    ///
    /// # Errors
    /// Those of the store.
    pub fn absorb(&mut self) -> Result<bool> {
        if !self.engine.inbox_may_wait {
            return Ok(false);
        }
        let len_max = self.engine.config.tick_jobs_max;
        let jobs = self.store(|store| store.inbox(len_max, BYTES_MAX))?;
        let bytes: usize = jobs.iter().map(|job| job.arguments.len()).sum();
        let more = jobs.len() >= len_max || bytes >= BYTES_MAX;
        for job in jobs {
            self.absorb_one(job)?;
        }
        self.engine.inbox_may_wait = more;
        Ok(more)
    }

    /// Takes the job with this id from the inbox, where it is there.
    pub(super) fn absorb_named(&mut self, id: &JobId) -> Result<bool> {
        match self.store(|store| store.inbox_job(id))? {
            Some(job) => self.absorb_one(job).map(|()| true),
            None => Ok(false),
        }
    }

    fn absorb_one(&mut self, job: InboxRecord) -> Result<()> {
        let seq = job.seq;
        if let Err(why) = self.take(&job) {
            if self.broken.is_some() {
                return Err(why);
            }
            self.keep_dead(job, &why)?;
        }
        self.store(|store| store.delete_inbox_job(seq))
    }

    fn take(&mut self, job: &InboxRecord) -> Result<()> {
        self.enqueue_at(NewJob::from(job.submission()?), job.submitted_at).map(drop)
    }

    /// Keeps a job that nobody can take. Its transaction has committed, so it is too late to refuse it.
    fn keep_dead(&mut self, job: InboxRecord, why: &Error) -> Result<()> {
        let kind = match why.kind() {
            ErrorKind::Corrupt => FailureKind::Undecodable,
            _ => FailureKind::Fatal,
        };
        let failure = Failure::new(kind, why.to_string());
        let submission = match job.submission() {
            Ok(submission) => submission,
            Err(_) => InboxRecord { options: None, ..job.clone() }.submission()?,
        };
        let (record, _) = self.record(NewJob::from(submission), job.options, job.submitted_at)?;
        let record = JobRecord {
            state: JobState::Failed,
            due_at: None,
            expires_at: None,
            finished_at: Some(self.now),
            failure: Some(stored::encode(&failure)?),
            ..record
        };
        if !self.insert(&record)?.existing {
            self.ended(record.id, JobState::Failed, Outcome::Failure(failure), None);
        }
        Ok(())
    }

    /// Leases jobs for other backends: at most `max` that are due, oldest first.
    ///
    /// # Errors
    /// Those of the store.
    pub fn fetch_outgoing(&mut self, max: usize, lease_for: Duration) -> Result<Vec<Outgoing>> {
        let (now, until) = (self.now, self.now + lease_for);
        let jobs = self.store(|store| store.lease_outgoing(now, until, max, BYTES_MAX))?;
        let mut outgoing = Vec::with_capacity(jobs.len());
        for job in jobs {
            match job.job.submission() {
                Ok(submission) => outgoing.push(Outgoing {
                    target: job.target,
                    submission,
                    attempt: job.attempt,
                    receipt: job.job.seq.unsigned_abs(),
                }),
                Err(why) => {
                    let (seq, reason) = (job.job.seq, why.to_string());
                    self.store(|store| store.put_outgoing(seq, None, Some(&reason)))?;
                }
            }
        }
        Ok(outgoing)
    }

    /// Notes what came of handing jobs on, each with a result in order. A repeat does no harm.
    ///
    /// # Errors
    /// Those of the store.
    pub fn settle_outgoing(&mut self, batch: &[Handover]) -> Vec<Result<()>> {
        let now = self.now;
        let settle = |handover: &Handover| {
            let seq = i64::try_from(handover.receipt).unwrap_or(i64::MAX);
            let put = |tx: &mut Self, due_at: Option<Timestamp>, why: &Error| {
                let reason = why.to_string();
                tx.store(|store| store.put_outgoing(seq, due_at, Some(&reason))).map(drop)
            };
            match &handover.end {
                HandoverEnd::Taken => self.store(|store| store.delete_outgoing(seq)).map(drop),
                HandoverEnd::Again(delay, why) => put(self, Some(now + *delay), why),
                HandoverEnd::Refused(why) => put(self, None, why),
            }
        };
        batch.iter().map(settle).collect()
    }

    /// Has jobs for other backends tried again at once, refused ones too, each with a result in order.
    ///
    /// # Errors
    /// `NotFound` (E-007); those of the store.
    pub fn retry_outgoing(&mut self, ids: &[JobId]) -> Vec<Result<()>> {
        let now = self.now;
        let retry = |seq, tx: &mut Self| tx.store(|store| store.put_outgoing(seq, Some(now), None));
        ids.iter().map(|id| self.each_outgoing(id, "retry", retry)).collect()
    }

    /// Deletes jobs for other backends, each with a result in order.
    ///
    /// # Errors
    /// `NotFound` (E-007); those of the store.
    pub fn delete_outgoing(&mut self, ids: &[JobId]) -> Vec<Result<()>> {
        let delete = |seq, tx: &mut Self| tx.store(|store| store.delete_outgoing(seq));
        ids.iter().map(|id| self.each_outgoing(id, "delete", delete)).collect()
    }

    fn each_outgoing(
        &mut self,
        id: &JobId,
        operation: &'static str,
        change: impl Fn(i64, &mut Self) -> Result<bool>,
    ) -> Result<()> {
        let seqs = self.store(|store| store.outgoing_seqs(id))?;
        if seqs.is_empty() {
            let message = format!("no job `{id}` waits in the outbox");
            return Err(Error::new(&codes::JOB_NOT_FOUND, operation, message)
                .hint("`taskport outbox list` shows those that do"));
        }
        seqs.into_iter().try_for_each(|seq| change(seq, self).map(drop))
    }
}
