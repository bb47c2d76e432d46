//! The same API for programs without async. It runs on a runtime of its own.
//!
//! # Examples
//! ```
//! use taskport::blocking::Taskport;
//! use taskport::config::Config;
//! use taskport::prelude::*;
//!
//! #[task(remote)]
//! async fn charge(customer: String, cents: i64) -> String;
//!
//! # fn main() -> taskport::Result<()> {
//! let config = Config::from_toml("[backends.main]\nkind = \"native\"\nurl = \"memory:\"")?;
//! let port = Taskport::build(taskport::Taskport::builder().config(config).registry(registry![charge]))?;
//! let job = port.submit(charge("c-17".into(), 1_250))?;
//! println!("taken as {}", job.job_ref());
//! # port.close()
//! # }
//! ```

use std::fmt;
use std::future::Future;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use serde::Serialize;
use serde::de::DeserializeOwned;
use serde_json::Value;
use taskport_abstraction::backend::{Cancellation, WorkerReport};
use taskport_abstraction::{Error, IntoCall, JobId, JobRef, JobStatus, Result, codes};
use taskport_registry::RegistryBuilder;
use tokio::runtime::{Builder as RuntimeBuilder, Handle, Runtime};

use crate::port::Builder;
use crate::run::WorkflowSource;

/// [`taskport::Taskport`](crate::Taskport) for programs without async. Clones share everything.
#[derive(Clone)]
pub struct Taskport {
    port: crate::Taskport,
    runtime: Arc<OwnRuntime>,
}

impl Taskport {
    /// Connects the backends of the configuration file at `path`. See [`Taskport::open`](crate::Taskport::open).
    ///
    /// # Errors
    /// As there, and `InvalidInput` (E-047) inside an async runtime.
    pub fn open(path: impl Into<PathBuf>, registry: impl Into<RegistryBuilder>) -> Result<Self> {
        Self::build(crate::Taskport::builder().path(path).registry(registry))
    }

    /// Connects what `builder` describes. See [`Builder::open`].
    ///
    /// # Errors
    /// As there, and `InvalidInput` (E-047) inside an async runtime.
    pub fn build(builder: Builder) -> Result<Self> {
        let runtime = Arc::new(OwnRuntime::start()?);
        let port = runtime.wait_for(builder.open())??;
        Ok(Self { port, runtime })
    }

    /// See [`Taskport::submit`](crate::Taskport::submit).
    ///
    /// # Errors
    /// As there, and `InvalidInput` (E-047) inside an async runtime.
    pub fn submit<C: IntoCall>(&self, call: C) -> Result<Job<C::Output>> {
        let job = self.runtime.wait_for(self.port.submit(call))??;
        Ok(self.job_of(job))
    }

    /// See [`Taskport::submit_to`](crate::Taskport::submit_to).
    ///
    /// # Errors
    /// As there, and `InvalidInput` (E-047) inside an async runtime.
    pub fn submit_to<C: IntoCall>(&self, backend: &str, call: C) -> Result<Job<C::Output>> {
        let job = self.runtime.wait_for(self.port.submit_to(backend, call))??;
        Ok(self.job_of(job))
    }

    /// See [`Taskport::submit_many`](crate::Taskport::submit_many).
    ///
    /// # Errors
    /// `InvalidInput` (E-047) inside an async runtime; as there, for each call.
    pub fn submit_many<C: IntoCall>(
        &self,
        calls: impl IntoIterator<Item = C>,
    ) -> Result<Vec<Result<Job<C::Output>>>> {
        let jobs = self.runtime.wait_for(self.port.submit_many(calls))?;
        Ok(jobs.into_iter().map(|job| job.map(|job| self.job_of(job))).collect())
    }

    /// See [`wait_all`](crate::wait_all).
    ///
    /// # Errors
    /// `InvalidInput` (E-047) inside an async runtime; as there, for each job.
    pub fn wait_all<T: DeserializeOwned>(&self, jobs: &[Job<T>]) -> Result<Vec<Result<T>>> {
        let jobs: Vec<crate::Job<T>> = jobs.iter().map(|job| job.job.clone()).collect();
        self.runtime.wait_for(crate::wait_all(&jobs))
    }

    /// See [`Taskport::job`](crate::Taskport::job).
    ///
    /// # Errors
    /// As there.
    pub fn job(&self, job: &JobRef) -> Result<Job> {
        self.port.job(job).map(|job| self.job_of(job))
    }

    /// Runs a workflow to its end and returns its output. See [`Taskport::run`](crate::Taskport::run) and
    /// [`Run::wait`](crate::Run::wait).
    ///
    /// # Errors
    /// As there, and `InvalidInput` (E-047) inside an async runtime.
    pub fn run<T: DeserializeOwned>(
        &self,
        workflow: impl WorkflowSource,
        input: &(impl Serialize + ?Sized),
    ) -> Result<T> {
        self.runtime.wait_for(async { self.port.run(workflow, input).await?.wait().await })?
    }

    /// Runs a worker until SIGTERM or SIGINT. See [`WorkerBuilder::run`](crate::WorkerBuilder::run).
    ///
    /// # Errors
    /// As there, and `InvalidInput` (E-047) inside an async runtime.
    pub fn run_worker(&self) -> Result<WorkerReport> {
        self.runtime.wait_for(self.port.run_worker())?
    }

    /// The same handle for async code.
    pub fn asynchronous(&self) -> &crate::Taskport {
        &self.port
    }

    /// See [`Taskport::close`](crate::Taskport::close).
    ///
    /// # Errors
    /// As there, and `InvalidInput` (E-047) inside an async runtime.
    pub fn close(&self) -> Result<()> {
        self.runtime.wait_for(self.port.close())?
    }

    fn job_of<T>(&self, job: crate::Job<T>) -> Job<T> {
        Job { job, runtime: self.runtime.clone() }
    }
}

impl fmt::Debug for Taskport {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.port.fmt(f)
    }
}

/// [`taskport::Job`](crate::Job) for programs without async.
pub struct Job<T = Value> {
    job: crate::Job<T>,
    runtime: Arc<OwnRuntime>,
}

impl<T> Job<T> {
    /// Its id.
    pub fn id(&self) -> &JobId {
        self.job.id()
    }

    /// Where it lives, as text that outlives this program: `backend:id`.
    pub fn job_ref(&self) -> JobRef {
        self.job.job_ref()
    }

    /// Whether the submit found the job already there, by its id or idempotency key.
    pub fn existing(&self) -> bool {
        self.job.existing()
    }

    /// See [`Job::status`](crate::Job::status).
    ///
    /// # Errors
    /// As there, and `InvalidInput` (E-047) inside an async runtime.
    pub fn status(&self) -> Result<JobStatus> {
        self.runtime.wait_for(self.job.status())?
    }

    /// See [`Job::cancel`](crate::Job::cancel).
    ///
    /// # Errors
    /// As there, and `InvalidInput` (E-047) inside an async runtime.
    pub fn cancel(&self) -> Result<Cancellation> {
        self.runtime.wait_for(self.job.cancel())?
    }

    /// See [`Job::retry`](crate::Job::retry).
    ///
    /// # Errors
    /// As there, and `InvalidInput` (E-047) inside an async runtime.
    pub fn retry(&self) -> Result<()> {
        self.runtime.wait_for(self.job.retry())?
    }
}

impl<T: DeserializeOwned> Job<T> {
    /// Its result, once it has ended. See [`Job::result`](crate::Job::result).
    ///
    /// # Errors
    /// As there, and `InvalidInput` (E-047) inside an async runtime.
    pub fn result(&self) -> Result<T> {
        self.runtime.wait_for(self.job.result())?
    }

    /// Its result, where it ends within `limit`. See [`Job::result_timeout`](crate::Job::result_timeout).
    ///
    /// # Errors
    /// As there, and `InvalidInput` (E-047) inside an async runtime.
    pub fn result_timeout(&self, limit: Duration) -> Result<T> {
        self.runtime.wait_for(self.job.result_timeout(limit))?
    }
}

impl<T> Clone for Job<T> {
    fn clone(&self) -> Self {
        Self { job: self.job.clone(), runtime: self.runtime.clone() }
    }
}

impl<T> fmt::Debug for Job<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.job.fmt(f)
    }
}

/// A runtime that ends without waiting, so that it may be dropped anywhere.
struct OwnRuntime(Option<Runtime>);

impl OwnRuntime {
    fn start() -> Result<Self> {
        let runtime = RuntimeBuilder::new_multi_thread().enable_all().thread_name("taskport").build();
        let fail = |source| {
            Error::new(&codes::INTERNAL, "start", "the runtime of the blocking API cannot be started")
                .caused_by(source)
        };
        runtime.map(|runtime| Self(Some(runtime))).map_err(fail)
    }

    /// Holds the calling thread until `future` is done, unless that thread serves other futures.
    fn wait_for<F: Future>(&self, future: F) -> Result<F::Output> {
        match &self.0 {
            Some(runtime) if Handle::try_current().is_err() => Ok(runtime.block_on(future)),
            _ => Err(Error::new(
                &codes::BLOCKING_IN_ASYNC,
                "wait",
                "the blocking API was called inside an async runtime, whose thread it would hold",
            )
            .hint("use taskport::Taskport there")),
        }
    }
}

impl Drop for OwnRuntime {
    fn drop(&mut self) {
        if let Some(runtime) = self.0.take() {
            runtime.shutdown_background();
        }
    }
}
