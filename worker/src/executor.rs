//! The one executor, for every backend.

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use futures_util::TryFutureExt;
use taskport_abstraction::backend::{Attempt, Verdict, WorkerEvent};
use taskport_abstraction::task::BoxFuture;
use taskport_abstraction::{Error, Executor, Result, TaskName, codes};
use taskport_registry::Registry;
use tower::Service;

use crate::catalog::Catalog;
use crate::isolation::ChildPool;
use crate::layers::trace::AttemptSpans;
use crate::layers::{self, Stack};
use crate::metrics::WorkerMetrics;
use crate::profile::Profile;

/// Runs attempts of a registry's tasks, each under its limits. Clones share the limits.
///
/// # Limits
/// Every attempt that waits for a limit holds one of the worker's slots, so that what a worker has taken stays bounded.
/// A no-op attempt costs four allocations (control, facts, the executor's future, the handler's future) and three where
/// the handler is a plain function.
#[derive(Clone)]
pub struct TaskExecutor {
    stack: Stack,
    gauges: Arc<layers::Gauges>,
    metrics: Option<Arc<WorkerMetrics>>,
}

/// How an executor runs attempts.
#[derive(Debug, Clone)]
pub struct ExecutorOptions {
    /// What classes of tasks may use; the first that names a task is its profile.
    pub profiles: Vec<Profile>,
    /// How many attempts run on the blocking pool at once, those left behind at their hard limit included.
    pub blocking_threads_max: usize,
    /// How many child processes serve isolated tasks at once.
    pub children_max: usize,
    /// How long an attempt that was asked to stop may go on before it is dropped, or killed where it is isolated. A
    /// plain function cannot be dropped and is waited for.
    pub stop_grace: Duration,
    /// Where attempts are counted. Left out, nothing is.
    pub metrics: Option<Arc<WorkerMetrics>>,
    /// What adds to the spans of attempts.
    pub spans: Option<Arc<dyn AttemptSpans>>,
}

impl Default for ExecutorOptions {
    fn default() -> Self {
        let processors = std::thread::available_parallelism().map_or(1, usize::from);
        Self {
            profiles: Vec::new(),
            blocking_threads_max: 64,
            children_max: processors,
            stop_grace: Duration::from_secs(5),
            metrics: None,
            spans: None,
        }
    }
}

impl TaskExecutor {
    /// An executor of every task in `registry` that has a handler.
    ///
    /// # Errors
    /// `InvalidInput` (E-015) where a task has a limit that cannot be kept, `InvalidConfig` (E-020) for a profile that
    /// lets nothing run, and `InvalidConfig` (E-034) where a task is isolated and [`child_hook`](crate::child_hook) was
    /// not called.
    pub fn new(registry: &Registry, options: ExecutorOptions) -> Result<Self> {
        let catalog = Catalog::new(registry.tasks(), &options.profiles)?;
        let children = match catalog.isolated() {
            Some(task) => Some(ChildPool::new(task, options.children_max)?),
            None => None,
        };
        if options.blocking_threads_max == 0 {
            return Err(Error::new(
                &codes::CONFIG_VALUE,
                "start worker",
                "a blocking pool of 0 threads would never let an attempt run",
            ));
        }
        let names: Vec<TaskName> = registry.tasks().map(|task| task.name.clone()).collect();
        for (profile, glob) in crate::profile::unmatched_globs(&options.profiles, &names) {
            tracing::warn!(profile, glob, "no task matches this glob of a resource profile");
        }
        let gauges = options.metrics.as_ref().map(|metrics| metrics.threads.clone()).unwrap_or_default();
        let stack = layers::stack(catalog, children, &options, gauges.clone());
        Ok(Self { stack, gauges, metrics: options.metrics })
    }

    /// How many attempts run on threads that were left behind at their hard limit. Their slots stay taken. Executors
    /// that share their metrics count together.
    pub fn detached(&self) -> usize {
        self.gauges.detached()
    }
}

impl Executor for TaskExecutor {
    fn execute(&self, attempt: Attempt) -> BoxFuture<'static, Verdict> {
        // The stack is always ready: what limits an attempt depends on its task, so it waits inside the call.
        Box::pin((&self.stack).call(attempt).unwrap_or_else(|never| match never {}))
    }

    fn observe(&self, event: WorkerEvent) {
        if let Some(metrics) = &self.metrics {
            metrics.observe(event);
        }
    }
}

impl fmt::Debug for TaskExecutor {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("TaskExecutor").field("detached", &self.detached()).finish_non_exhaustive()
    }
}
