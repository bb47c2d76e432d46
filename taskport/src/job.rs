//! One submitted job, and waiting for many.

mod journal;

use std::collections::HashMap;
use std::fmt;
use std::future::Future;
use std::marker::PhantomData;
use std::sync::Arc;
use std::time::Duration;

use futures_util::StreamExt;
use futures_util::stream::select_all;
use serde::de::DeserializeOwned;
use serde_json::Value;
use taskport_abstraction::backend::Cancellation;
use taskport_abstraction::text::format_duration;
use taskport_abstraction::{
    Backend, Error, Failure, FailureKind, JobId, JobRef, JobStatus, Outcome, Result, codes,
};

use crate::port::no_admin;

/// A job whose result is a `T`. Dropping the handle leaves the job alone.
pub struct Job<T = Value> {
    backend: Arc<dyn Backend>,
    id: JobId,
    existing: bool,
    output: PhantomData<fn() -> T>,
}

impl<T> Job<T> {
    pub(crate) fn submitted(backend: Arc<dyn Backend>, id: JobId, existing: bool) -> Self {
        Self { backend, id, existing, output: PhantomData }
    }

    /// Its id.
    pub fn id(&self) -> &JobId {
        &self.id
    }

    /// Where it lives, as text that outlives this program: `backend:id`.
    pub fn job_ref(&self) -> JobRef {
        JobRef { backend: self.backend.name().clone(), id: self.id.clone() }
    }

    /// Whether the submit found the job already there, by its id or idempotency key.
    pub fn existing(&self) -> bool {
        self.existing
    }

    /// The same job with a result read as another type.
    pub fn returning<U>(self) -> Job<U> {
        Job { backend: self.backend, id: self.id, existing: self.existing, output: PhantomData }
    }

    /// What is known of it now.
    ///
    /// # Errors
    /// `NotFound` (E-007) where the backend does not know it; `Unavailable`.
    pub async fn status(&self) -> Result<JobStatus> {
        let found =
            self.backend.get(std::slice::from_ref(&self.id)).await.map_err(|error| self.named(error))?;
        found.into_iter().next().flatten().ok_or_else(|| self.not_found("read"))
    }

    /// Asks for it to end without a result. A running attempt is asked to stop, and ends by itself.
    ///
    /// # Errors
    /// `NotFound` (E-007); `Unsupported` (E-005) where the backend cannot; `Unavailable`.
    pub async fn cancel(&self) -> Result<Cancellation> {
        let answers = self.backend.cancel(std::slice::from_ref(&self.id)).await;
        let answer = answers.into_iter().next().unwrap_or_else(|| Err(self.not_found("cancel")));
        answer.map_err(|error| self.named(error))
    }

    /// Runs it again after it has ended without a result, under the same id and with fresh attempts.
    ///
    /// # Errors
    /// `Conflict` (E-008) where it has not ended or has succeeded; `NotFound` (E-007); `Unsupported` (E-005).
    pub async fn retry(&self) -> Result<()> {
        let admin = self.backend.admin().ok_or_else(|| no_admin(self.backend.name()))?;
        let answers = admin.requeue(std::slice::from_ref(&self.id)).await;
        let answer = answers.into_iter().next().unwrap_or_else(|| Err(self.not_found("retry")));
        answer.map_err(|error| self.named(error))
    }

    fn named(&self, error: Error) -> Error {
        error.in_backend(self.backend.name())
    }

    fn not_found(&self, operation: &'static str) -> Error {
        self.named(Error::new(&codes::JOB_NOT_FOUND, operation, format!("there is no job `{}`", self.id)))
    }
}

impl Job {
    pub(crate) fn of(backend: Arc<dyn Backend>, id: JobId) -> Self {
        Self::submitted(backend, id, true)
    }
}

impl<T: DeserializeOwned> Job<T> {
    /// Its result, once it has ended.
    ///
    /// # Errors
    /// `JobFailed` with the [`Failure`] attached: E-041 where it was cancelled, E-042 where it expired, else E-011;
    /// `InvalidInput` (E-013) where the result is no `T`; `NotFound` (E-007); `Unavailable`.
    ///
    /// # Cancel safety
    /// May be dropped and called again at any time, in this or another process.
    pub async fn result(&self) -> Result<T> {
        let mut outcomes = self.backend.wait(vec![self.id.clone()]);
        match outcomes.next().await {
            Some((id, outcome)) => read(&id, outcome.as_ref()).map_err(|error| self.named(error)),
            None => Err(self.named(wait_ended(&self.id))),
        }
    }

    /// Its result, where it ends within `limit`. The job itself goes on.
    ///
    /// # Errors
    /// As [`result`](Self::result), and `Timeout` (E-012).
    ///
    /// # Cancel safety
    /// As [`result`](Self::result).
    pub async fn result_timeout(&self, limit: Duration) -> Result<T> {
        within(limit, self.result()).await.unwrap_or_else(|| Err(self.named(wait_timed_out(&self.id, limit))))
    }
}

/// Waits for every job and returns the results in the order of `jobs`.
///
/// Each backend is asked once for all of its jobs.
///
/// # Errors
/// As [`Job::result`], for each job.
///
/// # Cancel safety
/// May be dropped and called again at any time.
pub async fn wait_all<T: DeserializeOwned>(jobs: &[Job<T>]) -> Vec<Result<T>> {
    let mut results = unanswered(jobs);
    collect_outcomes(jobs, &mut results).await;
    finish(jobs, results, wait_ended)
}

/// As [`wait_all`], for at most `limit`; a job that has not ended by then yields `Timeout` (E-012) and goes on.
///
/// # Errors
/// As [`Job::result_timeout`], for each job.
///
/// # Cancel safety
/// May be dropped and called again at any time.
pub async fn wait_all_timeout<T: DeserializeOwned>(jobs: &[Job<T>], limit: Duration) -> Vec<Result<T>> {
    let mut results = unanswered(jobs);
    let in_time = within(limit, collect_outcomes(jobs, &mut results)).await.is_some();
    finish(jobs, results, |id| if in_time { wait_ended(id) } else { wait_timed_out(id, limit) })
}

fn unanswered<T>(jobs: &[Job<T>]) -> Vec<Option<Result<T>>> {
    jobs.iter().map(|_| None).collect()
}

/// Fills in results as jobs end, so that what has come stays when the wait is given up.
async fn collect_outcomes<T: DeserializeOwned>(jobs: &[Job<T>], results: &mut [Option<Result<T>>]) {
    // One job may be there several times, since a repeated idempotency key yields the same job.
    let mut places: HashMap<(&str, &JobId), Vec<usize>> = HashMap::new();
    let mut backends: HashMap<&str, (&Arc<dyn Backend>, Vec<JobId>)> = HashMap::new();
    for (place, job) in jobs.iter().enumerate() {
        let backend = job.backend.name().as_str();
        let same = places.entry((backend, &job.id)).or_default();
        if same.is_empty() {
            backends.entry(backend).or_insert((&job.backend, Vec::new())).1.push(job.id.clone());
        }
        same.push(place);
    }
    let waits = backends
        .into_iter()
        .map(|(name, (backend, ids))| backend.wait(ids).map(move |answer| (name, answer)));
    let mut answers = select_all(waits);
    while let Some((backend, (id, outcome))) = answers.next().await {
        for place in places.get(&(backend, &id)).into_iter().flatten() {
            results[*place] = Some(read(&id, outcome.as_ref()));
        }
    }
}

fn finish<T>(
    jobs: &[Job<T>],
    results: Vec<Option<Result<T>>>,
    missing: impl Fn(&JobId) -> Error,
) -> Vec<Result<T>> {
    let filled = results.into_iter().zip(jobs);
    filled
        .map(|(result, job)| {
            result
                .unwrap_or_else(|| Err(missing(&job.id)))
                .map_err(|error| error.in_backend(job.backend.name()))
        })
        .collect()
}

/// The value of a job that succeeded, or the error that says how it ended.
pub(crate) fn read<T: DeserializeOwned>(id: &JobId, outcome: Result<&Outcome, &Error>) -> Result<T> {
    match outcome {
        Ok(Outcome::Success(value)) => value.decode(),
        Ok(Outcome::Failure(failure)) => Err(ended(id, failure)),
        Err(error) => Err(error.clone()),
    }
}

fn ended(id: &JobId, failure: &Failure) -> Error {
    let how = match failure.kind {
        FailureKind::Cancelled => "was cancelled".to_owned(),
        FailureKind::Expired => "expired before it started".to_owned(),
        _ => format!("failed at attempt {}: {failure}", failure.attempt),
    };
    Error::new(code_of(failure.kind), "wait", format!("job `{id}` {how}")).with_failure(failure.clone())
}

/// The code of a job that ended so.
pub(crate) fn code_of(kind: FailureKind) -> &'static codes::Code {
    match kind {
        FailureKind::Cancelled => &codes::CANCELLED,
        FailureKind::Expired => &codes::EXPIRED,
        _ => &codes::JOB_FAILED,
    }
}

fn wait_ended(id: &JobId) -> Error {
    Error::new(&codes::CLOSED, "wait", format!("the backend closed before job `{id}` ended"))
}

fn wait_timed_out(id: &JobId, limit: Duration) -> Error {
    let message = format!("job `{id}` has not ended within {}", format_duration(limit));
    Error::new(&codes::WAIT_TIMEOUT, "wait", message).hint("it goes on; wait again, or cancel it")
}

/// What `future` yields, where it does so within `limit`.
pub(crate) async fn within<F: Future>(limit: Duration, future: F) -> Option<F::Output> {
    tokio::time::timeout(limit, future).await.ok()
}

impl<T> Clone for Job<T> {
    fn clone(&self) -> Self {
        Self {
            backend: self.backend.clone(),
            id: self.id.clone(),
            existing: self.existing,
            output: PhantomData,
        }
    }
}

impl<T> fmt::Debug for Job<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Job").field(&self.job_ref().to_string()).finish()
    }
}
