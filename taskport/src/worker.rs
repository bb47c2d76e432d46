//! Workers of this program.

use std::sync::Arc;
use std::time::Duration;

use taskport_abstraction::backend::{Shutdown, WorkerReport, WorkerSpec};
use taskport_abstraction::{BackendName, Executor, QueueName, Result};
use taskport_worker::profile::{Isolation, StartRate};
use taskport_worker::{ExecutorOptions, Profile, TaskExecutor, shutdown};

use crate::config::{self, ProfileConfig, WorkerConfig};
use crate::outbox;
use crate::port::{Taskport, random_seed};
use crate::telemetry::spans;
#[cfg(feature = "metrics")]
use crate::telemetry::{MetricsOptions, MetricsServer};

/// Makes a worker that runs the tasks of this program. What is not set comes from `[worker]` in the configuration.
#[derive(Debug, Clone)]
#[must_use = "a worker does nothing until it is run"]
pub struct WorkerBuilder {
    port: Taskport,
    backend: Option<String>,
    queues: Result<Option<Vec<QueueName>>>,
    config: WorkerConfig,
}

impl Taskport {
    /// A worker for the queues and with the limits of the configuration, to be changed and run.
    pub fn worker(&self) -> WorkerBuilder {
        let config = self.configuration().config.worker.clone();
        WorkerBuilder { port: self.clone(), backend: None, queues: Ok(config.queues.clone()), config }
    }

    /// Runs a worker until SIGTERM or SIGINT. See [`WorkerBuilder::run`].
    ///
    /// # Errors
    /// As there.
    pub async fn run_worker(&self) -> Result<WorkerReport> {
        self.worker().run().await
    }
}

impl WorkerBuilder {
    /// Takes jobs from the backend called `name` in place of the default one.
    pub fn backend(mut self, name: impl Into<String>) -> Self {
        self.backend = Some(name.into());
        self
    }

    /// Sets the queues, in order of preference. A malformed name is returned by the run.
    pub fn queues<Q: AsRef<str>>(mut self, queues: impl IntoIterator<Item = Q>) -> Self {
        self.queues =
            queues.into_iter().map(|name| QueueName::new(name.as_ref())).collect::<Result<_>>().map(Some);
        self
    }

    /// Sets how many attempts run at once. At least 1.
    pub fn concurrency(mut self, attempts: usize) -> Self {
        self.config.concurrency = attempts.max(1);
        self
    }

    /// Sets how many jobs may wait in the worker beyond those that run.
    pub fn prefetch(mut self, jobs: usize) -> Self {
        self.config.prefetch = jobs;
        self
    }

    /// Sets how long a job stays with a worker that gives no sign of life.
    pub fn lease(mut self, period: Duration) -> Self {
        self.config.lease = period;
        self
    }

    /// Sets how long running attempts may go on after the worker is told to stop.
    pub fn grace(mut self, period: Duration) -> Self {
        self.config.grace = period;
        self
    }

    /// Sets its name, unique among live workers.
    pub fn name(mut self, name: impl Into<String>) -> Self {
        self.config.name = Some(name.into());
        self
    }

    /// Serves metrics at `address` while it runs, or nowhere, in place of what the configuration says. An address that
    /// other machines reach needs `metrics_public` in the configuration.
    #[cfg(feature = "metrics")]
    pub fn metrics(mut self, address: Option<std::net::SocketAddr>) -> Self {
        self.config.metrics = address;
        self
    }

    /// Works until the first SIGTERM or SIGINT, then finishes what runs within the grace period and hands back the
    /// rest; a second signal hands it back at once. Meanwhile it hands on the jobs that wait in the outboxes of this
    /// program's backends.
    ///
    /// # Delivery
    /// A job is settled only after its outcome is stored; one that is handed back uses up no attempt.
    ///
    /// # Errors
    /// `InvalidConfig` (E-034) where a task is isolated and [`child_hook`](crate::child_hook) did not run;
    /// `InvalidInput` where a task's limit cannot be kept; `InvalidConfig` (E-049) where metrics cannot be served; those
    /// of the backend that no reconnect can mend.
    ///
    /// # Cancel safety
    /// Dropping the future abandons what runs: its jobs run again once their leases lapse.
    pub async fn run(self) -> Result<WorkerReport> {
        let controller = shutdown::signals()?;
        self.run_until(controller.handle()).await
    }

    /// Works until `shutdown` says drain. See [`run`](Self::run).
    ///
    /// # Errors
    /// As there.
    ///
    /// # Cancel safety
    /// As there.
    pub async fn run_until(self, shutdown: Arc<dyn Shutdown>) -> Result<WorkerReport> {
        let spec = self.spec()?;
        let target = match &self.backend {
            Some(name) => self.port.open_backend(name)?,
            None => self.port.default_backend(),
        };
        let backend = target.backend.clone();
        let executor: Arc<dyn Executor> = Arc::new(self.executor(backend.name())?);
        #[cfg(feature = "metrics")]
        let _metrics = self.serve_metrics(&shutdown).await?;
        let _serving = self.port.inner().telemetry.workers.serve(spec.concurrency);
        if backend.name() == self.port.default_name() {
            self.port.put_configured_schedules().await?;
        }
        let worker = backend.worker(spec).map_err(|error| error.in_backend(backend.name()))?;
        let report = tokio::select! {
            report = worker.run(executor, shutdown) => report,
            // What was on its way when the worker ends is handed on again, under the same id.
            never = outbox::pump_for_ever(&self.port) => match never {},
        };
        report.map_err(|error| error.in_backend(backend.name()))
    }

    #[cfg(feature = "metrics")]
    async fn serve_metrics(&self, shutdown: &Arc<dyn Shutdown>) -> Result<Option<MetricsServer>> {
        let WorkerConfig { metrics: Some(address), metrics_public: public, .. } = self.config else {
            return Ok(None);
        };
        let options = MetricsOptions { address, public, shutdown: Some(shutdown.clone()) };
        self.port.serve_metrics(options).await.map(Some)
    }

    fn spec(&self) -> Result<WorkerSpec> {
        let config = &self.config;
        let queues = match self.queues.clone()? {
            Some(queues) => queues,
            None => self.known_queues(),
        };
        let registry = self.port.registry();
        let runnable = registry.tasks().filter(|task| task.handler.is_some());
        Ok(WorkerSpec {
            name: self.name_or_default(),
            queues,
            tasks: runnable.map(|task| task.name.clone()).collect(),
            concurrency: config.concurrency,
            prefetch: config.prefetch,
            lease_for: config.lease,
            grace: config.grace,
        })
    }

    /// `default`, and every queue that a task or step of this program names, so that no job of ours waits for nobody.
    fn known_queues(&self) -> Vec<QueueName> {
        let registry = self.port.registry();
        let tasks = registry.tasks().filter_map(|task| task.options.queue.clone());
        let steps = registry.workflows().flat_map(|workflow| workflow.definition.steps.iter());
        let mut named: Vec<QueueName> = tasks.chain(steps.filter_map(|step| step.queue.clone())).collect();
        named.sort();
        named.dedup();
        named.retain(|queue| *queue != QueueName::default_queue());
        named.insert(0, QueueName::default_queue());
        named
    }

    fn name_or_default(&self) -> Arc<str> {
        match &self.config.name {
            Some(name) => name.as_str().into(),
            None => {
                let (host, process) = (&self.port.inner().host, std::process::id());
                format!("{host}:{process}:{:08x}", random_seed() >> 32).into()
            }
        }
    }

    pub(crate) fn executor(&self, backend: &BackendName) -> Result<TaskExecutor> {
        let profiles =
            self.config.profiles.iter().map(|(name, profile)| worker_profile(name, profile)).collect();
        let defaults = ExecutorOptions::default();
        // Every slot may be taken by a blocking task.
        let blocking_threads_max = defaults.blocking_threads_max.max(self.config.concurrency);
        let metrics = Some(self.port.inner().telemetry.workers.clone());
        let spans = spans::attempt_spans(backend);
        let options = ExecutorOptions { profiles, blocking_threads_max, metrics, spans, ..defaults };
        TaskExecutor::new(self.port.registry(), options)
    }
}

fn worker_profile(name: &str, config: &ProfileConfig) -> Profile {
    Profile {
        concurrency: config.concurrency,
        isolation: match config.isolation {
            config::Isolation::None => Isolation::None,
            config::Isolation::Process => Isolation::Process,
        },
        memory_bytes: config.memory,
        time_limit: config.time_limit,
        rate_limit: config.rate_limit.map(|rate| StartRate { count: rate.count, period: rate.period }),
        ..Profile::new(name, config.tasks.iter().cloned())
    }
}
