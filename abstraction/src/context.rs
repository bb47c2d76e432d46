//! What a handler sees of its attempt.

use std::fmt;
use std::sync::Arc;

use serde::Serialize;
use serde::de::DeserializeOwned;

use crate::codes;
use crate::error::{Error, Result};
use crate::id::{JobId, QueueName, RunId, StepId, TaskName};
use crate::job::{Progress, StepRef};
use crate::journal::{ENTRY_BYTES_MAX, LogLevel, Note};
use crate::options::JobOptions;
use crate::payload::Payload;
use crate::task::BoxFuture;
use crate::time::Timestamp;

/// The attempt a handler runs in. Clones are cheap and see the same attempt.
#[derive(Clone)]
pub struct TaskContext {
    attempt: Arc<AttemptInfo>,
    control: Arc<dyn AttemptControl>,
}

/// The facts of one attempt.
#[derive(Debug, Clone)]
pub struct AttemptInfo {
    /// The job.
    pub job: JobId,
    /// The task.
    pub task: TaskName,
    /// The queue it came from.
    pub queue: QueueName,
    /// From 1.
    pub attempt: u32,
    /// When the job was submitted.
    pub submitted_at: Timestamp,
    /// What the submit asked for.
    pub options: Arc<JobOptions>,
    /// The step of a run it executes.
    pub step: Option<StepRef>,
    /// The results of the run's earlier steps.
    pub upstream: Option<Arc<dyn Upstream>>,
}

/// Why an attempt is asked to stop.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum StopReason {
    /// Somebody cancelled the job.
    Cancelled,
    /// The soft time limit has passed.
    TimedOut,
    /// The worker ends and its grace period is over.
    ShuttingDown,
    /// The lease has passed to another attempt: whatever this one does no longer counts.
    LeaseLost,
}

/// The line between an attempt and whoever runs it.
pub trait AttemptControl: Send + Sync + fmt::Debug {
    /// Asks the attempt to stop. The first reason stands.
    fn stop(&self, reason: StopReason);
    /// Why the attempt is to stop, where it is.
    fn stop_reason(&self) -> Option<StopReason>;
    /// Resolves when the attempt is asked to stop.
    fn stopped(&self) -> BoxFuture<'static, StopReason>;
    /// Keeps the newest progress report for the next heartbeat.
    fn report(&self, progress: Progress);
    /// Keeps a note for the next heartbeat.
    fn note(&self, note: Note);
}

/// The results of the steps a step depends on.
pub trait Upstream: Send + Sync + fmt::Debug {
    /// How many results step `step` has: 0 where it was skipped or failed, 1 for a single step, or the length of its
    /// fan-out. `None` where the running step does not depend on it.
    fn len(&self, step: &str) -> Option<u64>;

    /// The results `from .. from + count` of `step`, in the order of its list. An element whose job failed, where the
    /// definition goes on, is `None`.
    fn page(&self, step: &str, from: u64, count: usize) -> BoxFuture<'static, Result<Vec<Option<Payload>>>>;
}

/// How many results of a fan-out are held in memory at once.
pub const UPSTREAM_PAGE_LEN: usize = 256;

impl TaskContext {
    /// The context of one attempt.
    pub fn new(attempt: Arc<AttemptInfo>, control: Arc<dyn AttemptControl>) -> Self {
        Self { attempt, control }
    }

    /// The facts of the attempt.
    pub fn info(&self) -> &AttemptInfo {
        &self.attempt
    }

    /// The job.
    pub fn job(&self) -> &JobId {
        &self.attempt.job
    }

    /// The number of the attempt, from 1.
    pub fn attempt(&self) -> u32 {
        self.attempt.attempt
    }

    /// The run this attempt is a step of.
    pub fn run(&self) -> Option<&RunId> {
        self.attempt.step.as_ref().map(|step| &step.run)
    }

    /// The step of the run.
    pub fn step(&self) -> Option<&StepId> {
        self.attempt.step.as_ref().map(|step| &step.step)
    }

    /// The place in the step's list, where it is a fan-out.
    pub fn index(&self) -> Option<u32> {
        self.attempt.step.as_ref().and_then(|step| step.index)
    }

    /// Whether the attempt is asked to stop. Long loops look here.
    pub fn is_cancelled(&self) -> bool {
        self.control.stop_reason().is_some()
    }

    /// Why the attempt is asked to stop.
    pub fn stop_reason(&self) -> Option<StopReason> {
        self.control.stop_reason()
    }

    /// Resolves when the attempt is asked to stop.
    ///
    /// # Cancel safety
    /// May be dropped and called again at any time.
    pub fn cancelled(&self) -> BoxFuture<'static, StopReason> {
        self.control.stopped()
    }

    /// Says how far the attempt has come, from 0.0 to 1.0. Others see it after the next heartbeat.
    pub fn progress(&self, fraction: f64, message: Option<&str>) {
        self.control.report(Progress::new(fraction, message));
    }

    /// Writes a line to the job's log. Others see it after the next heartbeat, and when the attempt has ended.
    pub fn log(&self, level: LogLevel, message: impl Into<String>) {
        self.control.note(Note::Log { level, message: message.into() });
    }

    /// Shows a partial result to others after the next heartbeat.
    ///
    /// # Errors
    /// `InvalidInput` where the value is no JSON; `PayloadTooLarge` above [`ENTRY_BYTES_MAX`].
    pub fn partial<T: Serialize>(&self, value: &T) -> Result<()> {
        let payload = Payload::encode(value)?;
        if payload.len() > ENTRY_BYTES_MAX {
            let message =
                format!("the partial result has {} bytes, and the limit is {ENTRY_BYTES_MAX}", payload.len());
            return Err(Error::new(&codes::PAYLOAD_TOO_LARGE, "show a partial result", message)
                .hint("show a reference to large data, such as a path, instead of the data"));
        }
        self.control.note(Note::Partial(payload));
        Ok(())
    }

    /// The line to whoever runs the attempt.
    pub fn control(&self) -> &Arc<dyn AttemptControl> {
        &self.control
    }

    /// The result of the step `step`, which this step depends on.
    ///
    /// # Errors
    /// `NotFound` where the step has no result or is no dependency; `InvalidInput` where it is no `T`.
    pub async fn upstream<T: DeserializeOwned>(&self, step: &str) -> Result<T> {
        let page = self.upstream_source(step)?.page(step, 0, 1).await?;
        match page.into_iter().next().flatten() {
            Some(payload) => payload.decode(),
            None => Err(no_result(step)),
        }
    }

    /// The result of `step`, or `default` where it was skipped, failed or is no dependency.
    ///
    /// # Errors
    /// `InvalidInput` where the result is no `T`; those of reading it.
    pub async fn upstream_or<T: DeserializeOwned>(&self, step: &str, default: T) -> Result<T> {
        if self.has_upstream_any(&[step]) { self.upstream(step).await } else { Ok(default) }
    }

    /// Every result of the fan-out `step`, in the order of its list; elements that failed are left out.
    ///
    /// # Errors
    /// As [`upstream`](Self::upstream).
    pub async fn upstream_all<T: DeserializeOwned>(&self, step: &str) -> Result<Vec<T>> {
        let mut all = Vec::new();
        self.upstream_each(step, |_, value| all.push(value)).await?;
        Ok(all)
    }

    /// Hands every result of the fan-out `step` to `visit` with its place, in order, holding one page at a time.
    ///
    /// # Errors
    /// As [`upstream`](Self::upstream).
    pub async fn upstream_each<T: DeserializeOwned>(
        &self,
        step: &str,
        mut visit: impl FnMut(u64, T),
    ) -> Result<()> {
        let source = self.upstream_source(step)?;
        let len = source.len(step).ok_or_else(|| no_result(step))?;
        let mut from = 0;
        while from < len {
            let page = source.page(step, from, UPSTREAM_PAGE_LEN).await?;
            if page.is_empty() {
                break;
            }
            for payload in page {
                if let Some(payload) = payload {
                    visit(from, payload.decode()?);
                }
                from += 1;
            }
        }
        Ok(())
    }

    /// Whether any of the named steps has a result.
    pub fn has_upstream_any(&self, steps: &[&str]) -> bool {
        let source = self.attempt.upstream.as_ref();
        source.is_some_and(|source| steps.iter().any(|step| source.len(step).is_some_and(|len| len > 0)))
    }

    /// The same readers for a plain function on the blocking pool.
    pub fn blocking(&self) -> BlockingContext<'_> {
        BlockingContext(self)
    }

    fn upstream_source(&self, step: &str) -> Result<&Arc<dyn Upstream>> {
        self.attempt.upstream.as_ref().ok_or_else(|| no_result(step))
    }
}

fn no_result(step: &str) -> Error {
    Error::new(&codes::NO_RESULT, "read upstream", format!("step `{step}` has no result here"))
        .hint("a step reads only the steps it depends on; use upstream_or for one that may be skipped")
}

impl fmt::Debug for TaskContext {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("TaskContext")
            .field("job", &self.attempt.job)
            .field("task", &self.attempt.task)
            .field("attempt", &self.attempt.attempt)
            .field("step", &self.attempt.step)
            .finish_non_exhaustive()
    }
}

/// The readers of [`TaskContext`] for a plain function. They hold the calling thread until the value is there.
#[derive(Debug, Clone, Copy)]
pub struct BlockingContext<'a>(&'a TaskContext);

impl BlockingContext<'_> {
    /// See [`TaskContext::upstream`].
    ///
    /// # Errors
    /// As there.
    pub fn upstream<T: DeserializeOwned>(&self, step: &str) -> Result<T> {
        wait_for(self.0.upstream(step))
    }

    /// See [`TaskContext::upstream_or`].
    ///
    /// # Errors
    /// As there.
    pub fn upstream_or<T: DeserializeOwned>(&self, step: &str, default: T) -> Result<T> {
        wait_for(self.0.upstream_or(step, default))
    }

    /// See [`TaskContext::upstream_all`].
    ///
    /// # Errors
    /// As there.
    pub fn upstream_all<T: DeserializeOwned>(&self, step: &str) -> Result<Vec<T>> {
        wait_for(self.0.upstream_all(step))
    }

    /// See [`TaskContext::upstream_each`].
    ///
    /// # Errors
    /// As there.
    pub fn upstream_each<T: DeserializeOwned>(&self, step: &str, visit: impl FnMut(u64, T)) -> Result<()> {
        wait_for(self.0.upstream_each(step, visit))
    }
}

/// Polls a future on this thread, parking in between.
fn wait_for<T>(future: impl Future<Output = T>) -> T {
    struct Unpark(std::thread::Thread);
    impl std::task::Wake for Unpark {
        fn wake(self: Arc<Self>) {
            self.0.unpark();
        }
    }
    let waker = Arc::new(Unpark(std::thread::current())).into();
    let mut context = std::task::Context::from_waker(&waker);
    let mut future = std::pin::pin!(future);
    loop {
        match future.as_mut().poll(&mut context) {
            std::task::Poll::Ready(value) => return value,
            std::task::Poll::Pending => std::thread::park(),
        }
    }
}
