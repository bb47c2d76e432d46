//! From an attempt to its task, and from what the handler returned to a verdict.

use std::convert::Infallible;
use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};

use taskport_abstraction::backend::{Attempt, Verdict};
use taskport_abstraction::context::{AttemptInfo, StopReason};
use taskport_abstraction::{
    AttemptControl, Failure, FailureKind, Payload, TaskContext, TaskError, TaskResult,
};
use tower::Service;

use super::{Job, Seat, stopped};
use crate::catalog::{Catalog, Entry, Limits, NO_HARD_LIMIT, shorter};

/// See the module.
#[derive(Debug, Clone)]
pub(crate) struct Resolve<S> {
    inner: S,
    catalog: Arc<Catalog>,
}

impl<S> Resolve<S> {
    pub(crate) fn new(inner: S, catalog: Arc<Catalog>) -> Self {
        Self { inner, catalog }
    }

    fn job(&self, attempt: Attempt) -> Result<Job, TaskError> {
        if let Some(reason) = attempt.control.stop_reason() {
            return Err(stopped(reason));
        }
        let delivery = attempt.delivery;
        let Some(entry) = self.catalog.get(&delivery.call.task) else {
            return Err(TaskError::Fatal(self.catalog.unknown(&delivery.call.task)));
        };
        let limits = Limits {
            soft: delivery.options.timeout_soft.or(entry.limits.soft),
            hard: hard_limit(entry, delivery.options.timeout_hard),
        };
        if limits.hard.is_some() && !entry.is_droppable() {
            return Err(TaskError::fatal(NO_HARD_LIMIT));
        }
        let info = AttemptInfo {
            job: delivery.lease.job,
            task: delivery.call.task,
            queue: delivery.queue,
            attempt: delivery.attempt,
            submitted_at: delivery.submitted_at,
            options: delivery.options,
            step: delivery.step,
            upstream: delivery.upstream,
        };
        let context = TaskContext::new(Arc::new(info), attempt.control);
        Ok(Job {
            entry: entry.clone(),
            context,
            arguments: delivery.call.arguments,
            limits,
            seat: Seat::default(),
        })
    }
}

/// What the submit asks for goes before the declaration, but never beyond the profile.
fn hard_limit(entry: &Entry, asked: Option<std::time::Duration>) -> Option<std::time::Duration> {
    match asked {
        Some(asked) => shorter(Some(asked), entry.time_limit),
        None => entry.limits.hard,
    }
}

impl<'s, S> Service<Attempt> for &'s Resolve<S>
where
    &'s S: Service<Job, Response = Payload, Error = TaskError, Future: Unpin>,
{
    type Response = Verdict;
    type Error = Infallible;
    type Future = ResolveFuture<<&'s S as Service<Job>>::Future>;

    fn poll_ready(&mut self, _cx: &mut Context<'_>) -> Poll<Result<(), Infallible>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, attempt: Attempt) -> Self::Future {
        let control = attempt.control.clone();
        let number = attempt.delivery.attempt;
        let state = match self.job(attempt) {
            Ok(job) => State::Running((&self.inner).call(job)),
            Err(error) => State::Refused(Some(error)),
        };
        ResolveFuture { control, number, state }
    }
}

/// The future of [`Resolve`].
#[derive(Debug)]
pub(crate) struct ResolveFuture<F> {
    control: Arc<dyn AttemptControl>,
    number: u32,
    state: State<F>,
}

#[derive(Debug)]
enum State<F> {
    Running(F),
    Refused(Option<TaskError>),
}

impl<F: Future<Output = TaskResult<Payload>> + Unpin> Future for ResolveFuture<F> {
    type Output = Result<Verdict, Infallible>;

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        let result = match &mut self.state {
            State::Running(inner) => ready!(Pin::new(inner).poll(cx)),
            State::Refused(error) => Err(error.take().unwrap_or_else(|| stopped(StopReason::LeaseLost))),
        };
        Poll::Ready(Ok(match result {
            Ok(payload) => Verdict::Ack(payload),
            Err(error) => verdict(error, self.control.stop_reason(), self.number),
        }))
    }
}

/// How an attempt that failed is settled, given why it had been asked to stop.
///
/// A handler that ends well counts, whatever it was asked. One that gives up when asked has not failed by itself; one
/// that crashes, or says that no attempt can mend it, has.
fn verdict(error: TaskError, stop: Option<StopReason>, attempt: u32) -> Verdict {
    let crashed = matches!(error.failure().kind, FailureKind::Panicked | FailureKind::OutOfMemory);
    match (stop, error) {
        (Some(StopReason::Cancelled), error) => {
            let failure = Failure { kind: FailureKind::Cancelled, ..into_failure(error) };
            Verdict::Cancelled(failure.at_attempt(attempt))
        }
        (_, TaskError::Fatal(failure)) => {
            Verdict::Reject(Failure { retryable: false, ..failure.at_attempt(attempt) })
        }
        (Some(StopReason::ShuttingDown | StopReason::LeaseLost), _) if !crashed => Verdict::Release,
        (Some(StopReason::TimedOut), TaskError::Error(failure)) if failure.kind == FailureKind::Error => {
            let failure = Failure { kind: FailureKind::TimedOut, ..failure };
            Verdict::Retry { failure: failure.at_attempt(attempt), after: None }
        }
        (_, TaskError::Retry { after, failure }) => {
            Verdict::Retry { failure: failure.at_attempt(attempt), after }
        }
        (_, TaskError::Error(failure)) if failure.retryable => {
            Verdict::Retry { failure: failure.at_attempt(attempt), after: None }
        }
        (_, TaskError::Error(failure)) => Verdict::Reject(failure.at_attempt(attempt)),
    }
}

fn into_failure(error: TaskError) -> Failure {
    match error {
        TaskError::Retry { failure, .. } | TaskError::Fatal(failure) | TaskError::Error(failure) => failure,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_a_failure_means_depends_on_why_it_was_stopped() {
        use StopReason::{Cancelled, LeaseLost, ShuttingDown, TimedOut};
        let error = || TaskError::Error(Failure::new(FailureKind::Error, "x"));
        let panicked = || TaskError::Error(Failure::new(FailureKind::Panicked, "x"));
        let check = |stop, error, expected: &str| {
            let verdict = match verdict(error, stop, 3) {
                Verdict::Ack(_) => "ack".to_owned(),
                Verdict::Release => "release".to_owned(),
                Verdict::Retry { failure, .. } => {
                    format!("retry {} {}", failure.kind.as_str(), failure.attempt)
                }
                Verdict::Reject(failure) => format!("reject {} {}", failure.kind.as_str(), failure.attempt),
                Verdict::Cancelled(failure) => format!("cancelled {}", failure.kind.as_str()),
            };
            assert_eq!(verdict, expected, "{stop:?}");
        };
        check(None, error(), "retry error 3");
        check(None, panicked(), "retry panicked 3");
        check(None, TaskError::fatal("x"), "reject fatal 3");
        check(None, TaskError::retry_after(std::time::Duration::ZERO, "x"), "retry error 3");
        check(Some(Cancelled), error(), "cancelled cancelled");
        check(Some(Cancelled), TaskError::fatal("x"), "cancelled cancelled");
        check(Some(ShuttingDown), error(), "release");
        check(Some(ShuttingDown), TaskError::fatal("x"), "reject fatal 3");
        check(Some(ShuttingDown), panicked(), "retry panicked 3");
        check(Some(LeaseLost), error(), "release");
        check(Some(TimedOut), error(), "retry timed_out 3");
        check(Some(TimedOut), panicked(), "retry panicked 3");
    }
}
