//! The handle a program holds: it submits calls, reads jobs and starts workers and runs.

mod batch;
mod builder;
mod prepare;
mod schedules;
mod start_check;
#[cfg(test)]
mod tests;
mod transactional;

use std::collections::BTreeMap;
use std::fmt;
use std::path::PathBuf;
use std::sync::Arc;

use taskport_abstraction::backend::{Admin, Receipt, Submission};
use taskport_abstraction::id::IdGenerator;
use taskport_abstraction::maintenance::Maintenance;
use taskport_abstraction::options::TraceContext;
use taskport_abstraction::{
    Backend, BackendName, Certainty, Clock, Error, IntoCall, JobId, JobRef, Result, TaskContext, codes,
};
use taskport_registry::{Registry, RegistryBuilder};
use tokio::time::Instant;
use tracing::{Instrument, Span};

pub use self::batch::Batch;
pub use self::builder::Builder;
pub(crate) use self::builder::random_seed;
pub use self::schedules::Schedule;
#[cfg(feature = "cli")]
pub(crate) use self::schedules::{next_ticks, of as schedules_of};
pub use self::start_check::check;
pub(crate) use self::start_check::check_workflow;
pub use self::transactional::TransactionalSubmit;
use crate::config::{Loaded, OnUnsupported};
use crate::job::Job;
use crate::telemetry::{SubmitMetrics, Submitted, Telemetry, spans};

/// A connected set of backends with the tasks of this program. Clones are cheap and share everything.
///
/// # Examples
/// ```
/// # #[tokio::main(flavor = "current_thread")]
/// # async fn main() -> taskport::Result<()> {
/// use taskport::config::Config;
/// use taskport::prelude::*;
///
/// #[task]
/// async fn add(left: i64, right: i64) -> TaskResult<i64> {
///     Ok(left + right)
/// }
///
/// let config = Config::from_toml("[backends.main]\nkind = \"native\"\nurl = \"memory:\"")?;
/// let port = Taskport::builder().config(config).registry(registry![add]).open().await?;
/// let job = port.submit(add(19, 23)).await?;
///
/// let worker = port.worker();
/// let sum = tokio::select! {
///     sum = job.result() => sum?,
///     stopped = worker.run() => unreachable!("the worker stopped: {stopped:?}"),
/// };
/// assert_eq!(sum, 42);
/// # Ok(())
/// # }
/// ```
#[derive(Clone)]
pub struct Taskport {
    inner: Arc<Inner>,
    parentage: Option<Arc<Parentage>>,
}

/// What clones share.
pub(crate) struct Inner {
    pub(crate) registry: Registry,
    pub(crate) loaded: Loaded,
    pub(crate) backends: BTreeMap<BackendName, OpenBackend>,
    pub(crate) default: BackendName,
    pub(crate) ids: IdGenerator,
    pub(crate) clock: Arc<dyn Clock>,
    pub(crate) host: Arc<str>,
    pub(crate) telemetry: Telemetry,
}

/// A connected backend, and what is done with what it cannot do.
pub(crate) struct OpenBackend {
    pub(crate) backend: Arc<dyn Backend>,
    pub(crate) on_unsupported: OnUnsupported,
    pub(crate) warned: prepare::Warned,
}

/// The attempt that submits, for the jobs it submits.
struct Parentage {
    job: JobId,
    trace: Option<TraceContext>,
}

impl Taskport {
    /// Connects the backends of the configuration file at `path`, with the environment's overrides, for the tasks of
    /// `registry` and those of the file.
    ///
    /// # Errors
    /// `InvalidConfig` that names file, line and key; `InvalidInput` for a registry that does not pass its checks;
    /// `Unsupported` where a task asks for what its backend cannot give; `Unavailable` where a backend cannot be
    /// reached.
    pub async fn open(path: impl Into<PathBuf>, registry: impl Into<RegistryBuilder>) -> Result<Self> {
        Self::builder().path(path).registry(registry).open().await
    }

    /// A builder that reads `taskport.toml`, where there is one, and the environment.
    pub fn builder() -> Builder {
        Builder::default()
    }

    /// The same handle for use inside an attempt: jobs it submits name the attempt's job as their parent and go on its
    /// trace, where the backend records that.
    #[must_use]
    pub fn within(&self, ctx: &TaskContext) -> Self {
        let trace = spans::current_trace().or_else(|| ctx.info().options.trace.clone());
        let parentage = Parentage { job: ctx.job().clone(), trace };
        Self { inner: self.inner.clone(), parentage: Some(Arc::new(parentage)) }
    }

    /// Submits a call to the default backend and returns once the backend has taken responsibility for it.
    ///
    /// # Delivery
    /// After `Ok`, the job runs at least once, or is kept as a dead letter. Repeating a submit with the same
    /// [`id`](taskport_abstraction::WithOptions::id) yields the same job.
    ///
    /// # Errors
    /// Before any I/O: `NotFound` (E-001) for a task that is not registered, `InvalidInput` for an argument or option,
    /// `Unsupported` (E-005) for an option the backend cannot honour, `PayloadTooLarge`. After it: `Unavailable`, whose
    /// certainty says whether the job may have been taken.
    ///
    /// # Cancel safety
    /// Dropping the future leaves the outcome unknown, exactly as a time-out does.
    pub async fn submit<C: IntoCall>(&self, call: C) -> Result<Job<C::Output>> {
        self.submit_on(self.default_backend(), call).await
    }

    /// Submits a call to the backend called `backend`. See [`submit`](Self::submit).
    ///
    /// # Errors
    /// As there, and `InvalidConfig` (E-022) for a backend that is not configured.
    pub async fn submit_to<C: IntoCall>(&self, backend: &str, call: C) -> Result<Job<C::Output>> {
        self.submit_on(self.open_backend(backend)?, call).await
    }

    /// Submits many calls to the default backend in as few requests as its limit allows, with a result for each, in
    /// order. A call that is refused does not hold up the others.
    ///
    /// More calls than fit into memory are submitted batch by batch. A caller who awaits each before it makes the next
    /// lets the backend idle in between; two under way at once keep it busy, as in the example. Calls of one batch are
    /// taken in order, batches that are under way together in any order.
    ///
    /// # Errors
    /// As [`submit`](Self::submit), for each call.
    ///
    /// # Cancel safety
    /// Dropping the future leaves the outcome of every call unknown.
    ///
    /// # Examples
    /// ```
    /// # #[tokio::main(flavor = "current_thread")]
    /// # async fn main() -> taskport::Result<()> {
    /// use futures_util::{StreamExt, stream};
    /// use taskport::config::Config;
    /// use taskport::prelude::*;
    ///
    /// #[task]
    /// async fn index(page: u32) -> TaskResult<u32> {
    ///     Ok(page)
    /// }
    ///
    /// # let config = Config::from_toml("[backends.main]\nkind = \"native\"\nurl = \"memory:\"")?;
    /// let port = Taskport::builder().config(config).registry(registry![index]).open().await?;
    /// let batches = (0..100_u32).map(|batch| port.submit_many((0..100).map(move |page| index(batch * 100 + page))));
    /// let mut submitted = stream::iter(batches).buffered(2);
    /// while let Some(jobs) = submitted.next().await {
    ///     for job in jobs {
    ///         job?;
    ///     }
    /// }
    /// # Ok(())
    /// # }
    /// ```
    pub async fn submit_many<C: IntoCall>(
        &self,
        calls: impl IntoIterator<Item = C>,
    ) -> Vec<Result<Job<C::Output>>> {
        let target = self.default_backend();
        let span = spans::submit_span(target.backend.name(), None);
        let mut scopes = prepare::Scopes::new(target);
        let prepared: Vec<Result<Submission>> = span
            .in_scope(|| calls.into_iter().map(|call| self.prepare(&mut scopes, call.into_call())).collect());
        self.send_within(span, target, prepared).await
    }

    /// The job that `job` names, whoever submitted it. Nothing is asked of the backend yet.
    ///
    /// # Errors
    /// `InvalidConfig` (E-022) for a backend that is not configured.
    pub fn job(&self, job: &JobRef) -> Result<Job> {
        Ok(Job::of(self.backend(job.backend.as_str())?.clone(), job.id.clone()))
    }

    /// The backend called `name`.
    ///
    /// # Errors
    /// `InvalidConfig` (E-022) with the nearest name.
    pub fn backend(&self, name: &str) -> Result<&Arc<dyn Backend>> {
        self.open_backend(name).map(|open| &open.backend)
    }

    /// Every connected backend, by name.
    pub fn backends(&self) -> impl Iterator<Item = &Arc<dyn Backend>> {
        self.inner.backends.values().map(|open| &open.backend)
    }

    /// The backend of every job that names none.
    pub fn default_name(&self) -> &BackendName {
        &self.inner.default
    }

    /// Administration of the default backend.
    ///
    /// # Errors
    /// `Unsupported` (E-005) where the backend has none.
    pub fn admin(&self) -> Result<&dyn Admin> {
        let backend = &self.default_backend().backend;
        backend.admin().ok_or_else(|| no_admin(backend.name()))
    }

    /// Upkeep of the default backend: backup, restore, pruning and the like.
    ///
    /// # Errors
    /// `Unsupported` (E-005) where the backend keeps no data of its own.
    pub fn maintenance(&self) -> Result<&dyn Maintenance> {
        let backend = &self.default_backend().backend;
        backend.maintenance().ok_or_else(|| no_maintenance(backend.name()))
    }

    /// The tasks and workflows of this program and its configuration.
    pub fn registry(&self) -> &Registry {
        &self.inner.registry
    }

    /// The configuration, and where its values come from.
    pub fn configuration(&self) -> &Loaded {
        &self.inner.loaded
    }

    /// Finishes what was accepted and lets go of every backend, for all clones. Later calls answer `Unavailable`
    /// (E-030).
    ///
    /// # Errors
    /// The first of the backends' errors; every backend is closed nevertheless.
    pub async fn close(&self) -> Result<()> {
        let mut outcome = Ok(());
        for open in self.inner.backends.values() {
            let closed = open.backend.close().await.map_err(|error| error.in_backend(open.backend.name()));
            outcome = outcome.and(closed);
        }
        outcome
    }

    pub(crate) fn inner(&self) -> &Inner {
        &self.inner
    }

    pub(crate) fn open_backend(&self, name: &str) -> Result<&OpenBackend> {
        self.inner.backends.get(name).ok_or_else(|| self.inner.loaded.config.unknown_backend(name))
    }

    pub(crate) fn default_backend(&self) -> &OpenBackend {
        // The builder opens every backend of the configuration, and the default is one of them.
        &self.inner.backends[&self.inner.default]
    }

    async fn submit_on<C: IntoCall>(&self, target: &OpenBackend, call: C) -> Result<Job<C::Output>> {
        let call = call.into_call();
        let span = spans::submit_span(target.backend.name(), Some(call.task()));
        let prepared = span.in_scope(|| self.prepare(&mut prepare::Scopes::new(target), call));
        let mut jobs = self.send_within(span, target, vec![prepared]).await;
        jobs.pop().unwrap_or_else(|| Err(short_answer(target)))
    }

    /// Sends what was prepared, and says in the span what came of it.
    async fn send_within<T>(
        &self,
        span: Span,
        target: &OpenBackend,
        prepared: Vec<Result<Submission>>,
    ) -> Vec<Result<Job<T>>> {
        if !span.is_disabled() {
            spans::note_sent(&span, &prepared.iter().flatten().collect::<Vec<_>>());
        }
        let jobs = self.send(target, prepared).instrument(span.clone()).await;
        if let Some(Err(error)) = jobs.iter().find(|job| job.is_err()) {
            spans::note_failed(&span, error);
        }
        jobs
    }

    /// Sends what was prepared well, in requests within the backend's limit, and puts each answer in its place.
    async fn send<T>(&self, target: &OpenBackend, prepared: Vec<Result<Submission>>) -> Vec<Result<Job<T>>> {
        let backend = &target.backend;
        let submits = &self.inner.telemetry.submits;
        let batch_max = prepare::batch_max(target);
        let mut jobs: Vec<Option<Result<Job<T>>>> = Vec::with_capacity(prepared.len());
        let requested = prepared.len().min(batch_max);
        let (mut places, mut batch) = (Vec::with_capacity(requested), Vec::with_capacity(requested));
        for (place, submission) in prepared.into_iter().enumerate() {
            match submission {
                Ok(submission) => {
                    jobs.push(None);
                    let counted = submits.submitted(backend.name(), &submission);
                    places.push(Place { index: place, id: submission.id.clone(), counted });
                    batch.push(submission);
                }
                Err(error) => {
                    submits.failed(backend.name(), &error);
                    jobs.push(Some(Err(error.in_backend(backend.name()))));
                }
            }
            if batch.len() == batch_max {
                let (batch, places) = (std::mem::take(&mut batch), std::mem::take(&mut places));
                send_batch(backend, submits, batch, places, &mut jobs).await;
            }
        }
        if !batch.is_empty() {
            send_batch(backend, submits, batch, places, &mut jobs).await;
        }
        jobs.into_iter().map(|job| job.unwrap_or_else(|| Err(short_answer(target)))).collect()
    }
}

/// Where the answer to one submission goes.
struct Place {
    index: usize,
    id: JobId,
    counted: Arc<Submitted>,
}

async fn send_batch<T>(
    backend: &Arc<dyn Backend>,
    submits: &SubmitMetrics,
    batch: Vec<Submission>,
    places: Vec<Place>,
    jobs: &mut [Option<Result<Job<T>>>],
) {
    let begun = Instant::now();
    let receipts = backend.submit(batch).await;
    submits.requested(backend.name(), begun.elapsed());
    debug_assert_eq!(receipts.len(), places.len(), "a backend answers each job of a batch");
    for (Place { index, id, counted }, receipt) in places.into_iter().zip(receipts) {
        jobs[index] = Some(match receipt {
            Ok(Receipt { job, existing }) => {
                counted.count(existing);
                Ok(Job::submitted(backend.clone(), job.id, existing))
            }
            Err(error) => {
                submits.failed(backend.name(), &error);
                Err(repeatable(error, &id).in_backend(backend.name()))
            }
        });
    }
}

/// Says by which id a submit that may have been applied can be repeated, since the caller may not have chosen it.
fn repeatable(error: Error, id: &JobId) -> Error {
    if error.certainty() == Certainty::MaybeApplied && error.remedy().is_none() {
        return error.hint(format!("repeat it with the id `{id}`, and it stays one job"));
    }
    error
}

/// A backend that answers fewer jobs than it was given breaks its contract; the job may be there.
fn short_answer(target: &OpenBackend) -> Error {
    Error::new(&codes::INTERNAL, "submit", "the backend gave no answer for the job")
        .maybe_applied()
        .in_backend(target.backend.name())
}

pub(crate) fn no_admin(backend: &BackendName) -> Error {
    Error::new(&codes::UNSUPPORTED, "administer", "the backend allows no administration").in_backend(backend)
}

pub(crate) fn no_maintenance(backend: &BackendName) -> Error {
    Error::new(&codes::UNSUPPORTED, "maintain", "the backend keeps no data of its own")
        .in_backend(backend)
        .hint("use the means of the server behind it")
}

impl fmt::Debug for Taskport {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Taskport")
            .field("backends", &self.inner.backends.keys().collect::<Vec<_>>())
            .field("default", &self.inner.default)
            .finish_non_exhaustive()
    }
}
