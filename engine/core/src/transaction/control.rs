//! What somebody may ask of a job by its id: cancel, requeue, delete.

use taskport_abstraction::backend::Cancellation;
use taskport_abstraction::options::{Idempotency, Unique};
use taskport_abstraction::{Error, JobId, JobState, Result, codes};

use super::Transaction;
use crate::record::JobRecord;
use crate::state::Event;
use crate::store::Store;

impl<S: Store> Transaction<'_, S> {
    /// Asks for jobs to end without a result, each with a result in order.
    ///
    /// # Errors
    /// `NotFound` (E-007); those of the store.
    pub fn cancel(&mut self, ids: &[JobId]) -> Vec<Result<Cancellation>> {
        let mut answers: Vec<_> = ids.iter().map(|id| self.cancel_one(id)).collect();
        if let Err(error) = self.run_hooks() {
            answers.fill_with(|| Err(error.clone()));
        }
        answers
    }

    /// Cancels one job; a run hears of it at the end of the operation that asked.
    pub(crate) fn cancel_one(&mut self, id: &JobId) -> Result<Cancellation> {
        let job = self.find(id, "cancel")?;
        let state = job.state;
        Ok(match self.advance(job, Event::Cancel)? {
            None => Cancellation::AlreadyEnded(state),
            Some(JobState::Cancelled) => Cancellation::Cancelled,
            Some(_) => Cancellation::Requested,
        })
    }

    /// Runs failed, cancelled and expired jobs again under their ids with fresh attempts, each with a result in order.
    ///
    /// # Errors
    /// `NotFound` (E-007); `Conflict` (E-008) where the job has not ended, succeeded, or is a step of a run;
    /// `IdempotencyViolation` (E-009) where its key stands for another job by now; those of the store.
    pub fn requeue(&mut self, ids: &[JobId]) -> Vec<Result<()>> {
        ids.iter().map(|id| self.requeue_one(id)).collect()
    }

    fn requeue_one(&mut self, id: &JobId) -> Result<()> {
        let job = self.find(id, "requeue")?;
        if let Some(step) = &job.step {
            return Err(conflict("requeue", format!("job `{id}` is a step of run `{}`", step.run))
                .hint("the run has gone on without it; start a new run"));
        }
        let key = self.key_of(&job).filter(|key| key.unique == Unique::WhileLive);
        if let Some(key) = &key
            && let Some(holder) = self.key_holder(&key.key)?
        {
            let message = format!("the key of job `{id}` stands for job `{}` by now", holder.id);
            return Err(Error::new(&codes::IDEMPOTENCY, "requeue", message)
                .hint("wait for the other job to end, or cancel it"));
        }
        let state = job.state;
        if self.advance(job, Event::Requeue)?.is_none() {
            return Err(conflict("requeue", format!("job `{id}` is {state}"))
                .hint("only failed, cancelled and expired jobs can be requeued"));
        }
        match key {
            Some(key) => self.give_key(&key, id),
            None => Ok(()),
        }
    }

    /// Deletes ended jobs, each with a result in order. They stay in their queue's account.
    ///
    /// # Errors
    /// `NotFound` (E-007); `Conflict` (E-008) where the job has not ended, or its run has not; those of the store.
    pub fn delete(&mut self, ids: &[JobId]) -> Vec<Result<()>> {
        ids.iter().map(|id| self.delete_one(id)).collect()
    }

    fn delete_one(&mut self, id: &JobId) -> Result<()> {
        let job = self.find(id, "delete")?;
        if !job.state.is_terminal() {
            return Err(conflict("delete", format!("job `{id}` is {}", job.state)).hint("cancel it first"));
        }
        if let Some(step) = &job.step {
            let run = self.store(|store| store.run(&step.run))?;
            if run.is_some_and(|run| !run.state.is_terminal()) {
                return Err(conflict("delete", format!("job `{id}` is a step of run `{}`", step.run))
                    .hint("the run still needs its result; cancel the run first"));
            }
        }
        self.erase(&job)
    }

    /// Deletes a job and its hold on a key.
    pub(super) fn erase(&mut self, job: &JobRecord) -> Result<()> {
        if let Some(key) = self.key_of(job) {
            self.store(|store| store.delete_key(&key.key, &job.id))?;
        }
        self.store(|store| store.delete_job(job))
    }

    fn key_of(&mut self, job: &JobRecord) -> Option<Idempotency> {
        self.engine.options.decode(job.options.as_ref()).ok().and_then(|options| options.idempotency.clone())
    }
}

fn conflict(operation: &'static str, message: String) -> Error {
    Error::new(&codes::JOB_CONFLICT, operation, message)
}
