//! Time limits, and the end of attempts that do not stop when asked.
//!
//! A soft limit asks. A hard limit drops the attempt's future: an async handler ends there, a child process is killed,
//! a thread is left behind where its task allows it. Nothing is set up for a handler that ends at its first poll.

use std::fmt;
use std::future::{Future, pending};
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use taskport_abstraction::context::StopReason;
use taskport_abstraction::task::BoxFuture;
use taskport_abstraction::text::format_duration;
use taskport_abstraction::{AttemptControl, Failure, FailureKind, Payload, TaskError, TaskResult};
use tokio::time::{Instant, sleep, sleep_until};
use tower::Service;

use super::{Job, stopped};
use crate::catalog::Limits;

/// See the module.
#[derive(Debug, Clone)]
pub(crate) struct TimeLimit<S> {
    inner: S,
    stop_grace: Duration,
}

impl<S> TimeLimit<S> {
    pub(crate) fn new(inner: S, stop_grace: Duration) -> Self {
        Self { inner, stop_grace }
    }
}

impl<'s, S> Service<Job> for &'s TimeLimit<S>
where
    &'s S: Service<Job, Response = Payload, Error = TaskError, Future: Unpin>,
{
    type Response = Payload;
    type Error = TaskError;
    type Future = TimeLimitFuture<<&'s S as Service<Job>>::Future>;

    fn poll_ready(&mut self, _cx: &mut Context<'_>) -> Poll<Result<(), TaskError>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, job: Job) -> Self::Future {
        let limited = job.limits != Limits::default();
        let state = State::Fresh(Watch {
            control: job.context.control().clone(),
            started: limited.then(Instant::now),
            limits: job.limits,
            stop_grace: job.entry.is_droppable().then_some(self.stop_grace),
        });
        TimeLimitFuture { inner: (&self.inner).call(job), state }
    }
}

/// The future of [`TimeLimit`]. The layer around it drops it as soon as it is ready, and the attempt with it.
pub(crate) struct TimeLimitFuture<F> {
    inner: F,
    state: State,
}

enum State {
    Fresh(Watch),
    Watched(BoxFuture<'static, TaskError>),
}

impl<F: Future<Output = TaskResult<Payload>> + Unpin> Future for TimeLimitFuture<F> {
    type Output = TaskResult<Payload>;

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        let this = &mut *self;
        if let Poll::Ready(result) = Pin::new(&mut this.inner).poll(cx) {
            return Poll::Ready(result);
        }
        if let State::Fresh(watch) = &this.state {
            this.state = State::Watched(Box::pin(watch.clone().run()));
        }
        let State::Watched(watch) = &mut this.state else { return Poll::Pending };
        Poll::Ready(Err(ready!(watch.as_mut().poll(cx))))
    }
}

impl<F> fmt::Debug for TimeLimitFuture<F> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("TimeLimitFuture").finish_non_exhaustive()
    }
}

/// What can end an attempt from outside.
#[derive(Debug, Clone)]
struct Watch {
    control: Arc<dyn AttemptControl>,
    /// When the attempt started, where it has a limit.
    started: Option<Instant>,
    limits: Limits,
    /// How long it may go on once it was asked to stop, where it can be dropped.
    stop_grace: Option<Duration>,
}

impl Watch {
    /// Resolves when the attempt is to be dropped, with the reason.
    async fn run(self) -> TaskError {
        let stop = async {
            tokio::select! {
                reason = self.control.stopped() => reason,
                () = self.passed(self.limits.soft) => {
                    self.control.stop(StopReason::TimedOut);
                    StopReason::TimedOut
                }
            }
        };
        let grace_over = async {
            match (stop.await, self.stop_grace) {
                // Only the hard limit ends what has passed the soft one.
                (StopReason::TimedOut, _) | (_, None) => pending().await,
                (reason, Some(grace)) => {
                    sleep(grace).await;
                    stopped(reason)
                }
            }
        };
        tokio::select! {
            error = grace_over => error,
            () = self.passed(self.limits.hard) => {
                self.control.stop(StopReason::TimedOut);
                timed_out(self.limits.hard.unwrap_or_default())
            }
        }
    }

    async fn passed(&self, limit: Option<Duration>) {
        match (self.started, limit) {
            (Some(started), Some(limit)) => sleep_until(started + limit).await,
            _ => pending().await,
        }
    }
}

fn timed_out(limit: Duration) -> TaskError {
    let message = format!("the attempt passed its hard time limit of {}", format_duration(limit));
    TaskError::Error(Failure::new(FailureKind::TimedOut, message))
}
