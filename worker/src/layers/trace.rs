//! A span around each attempt, and a log line at its start and end. Payloads never appear in either (I7).

use std::convert::Infallible;
use std::fmt;
use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};

use taskport_abstraction::backend::{Attempt, Delivery, Verdict};
use taskport_abstraction::options::TraceContext;
use taskport_abstraction::{Failure, FailureKind};
use tokio::time::Instant;
use tower::Service;
use tracing::{Level, Span};

/// The target of the lines, so that a filter can choose them.
const TARGET: &str = "taskport::attempt";

/// Adds to the spans of attempts what whoever follows a job across processes needs.
pub trait AttemptSpans: Send + Sync + fmt::Debug {
    /// Called before a span is first entered. Its fields `otel.name` and `otel.kind` are empty.
    fn start(&self, span: &Span, delivery: &Delivery);
    /// Called when it is known how the attempt is to be settled.
    fn end(&self, span: &Span, verdict: &Verdict);
}

/// See the module.
#[derive(Debug, Clone)]
pub(crate) struct Trace<S> {
    inner: S,
    spans: Option<Arc<dyn AttemptSpans>>,
}

impl<S> Trace<S> {
    pub(crate) fn new(inner: S, spans: Option<Arc<dyn AttemptSpans>>) -> Self {
        Self { inner, spans }
    }
}

impl<'s, S> Service<Attempt> for &'s Trace<S>
where
    &'s S: Service<Attempt, Response = Verdict, Error = Infallible, Future: Unpin>,
{
    type Response = Verdict;
    type Error = Infallible;
    type Future = TraceFuture<<&'s S as Service<Attempt>>::Future>;

    fn poll_ready(&mut self, _cx: &mut Context<'_>) -> Poll<Result<(), Infallible>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, attempt: Attempt) -> Self::Future {
        let delivery = &attempt.delivery;
        let span = tracing::info_span!(
            target: TARGET,
            "attempt",
            job = %delivery.lease.job,
            attempt = delivery.attempt,
            queue = %delivery.queue,
            task = %delivery.call.task,
            traceparent = delivery.options.trace.as_ref().map(TraceContext::as_str),
            run = delivery.step.as_ref().map(|step| tracing::field::display(&step.run)),
            step = delivery.step.as_ref().map(|step| tracing::field::display(&step.step)),
            otel.name = tracing::field::Empty,
            otel.kind = tracing::field::Empty,
        );
        if let Some(spans) = &self.spans {
            spans.start(&span, delivery);
        }
        let started = span.in_scope(|| {
            tracing::debug!(target: TARGET, "attempt started");
            tracing::enabled!(target: TARGET, Level::ERROR).then(Instant::now)
        });
        TraceFuture { inner: (&self.inner).call(attempt), spans: self.spans.clone(), span, started }
    }
}

/// The future of [`Trace`].
#[derive(Debug)]
pub(crate) struct TraceFuture<F> {
    inner: F,
    spans: Option<Arc<dyn AttemptSpans>>,
    span: Span,
    started: Option<Instant>,
}

impl<F: Future<Output = Result<Verdict, Infallible>> + Unpin> Future for TraceFuture<F> {
    type Output = F::Output;

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<F::Output> {
        let this = &mut *self;
        let _entered = this.span.enter();
        let Ok(verdict) = ready!(Pin::new(&mut this.inner).poll(cx));
        if let Some(started) = this.started {
            log_end(&verdict, started.elapsed().as_secs_f64() * 1e3);
        }
        if let Some(spans) = &this.spans {
            spans.end(&this.span, &verdict);
        }
        Poll::Ready(Ok(verdict))
    }
}

fn log_end(verdict: &Verdict, elapsed_ms: f64) {
    match verdict {
        Verdict::Ack(_) => tracing::debug!(target: TARGET, elapsed_ms, "attempt succeeded"),
        Verdict::Release => tracing::info!(target: TARGET, elapsed_ms, "attempt handed back"),
        Verdict::Cancelled(_) => tracing::info!(target: TARGET, elapsed_ms, "attempt cancelled"),
        Verdict::Retry { failure, .. } => tracing::warn!(
            target: TARGET,
            elapsed_ms,
            kind = failure.kind.as_str(),
            error_type = failure.type_name,
            error = loggable(failure),
            "attempt failed"
        ),
        Verdict::Reject(failure) => tracing::error!(
            target: TARGET,
            elapsed_ms,
            kind = failure.kind.as_str(),
            error_type = failure.type_name,
            error = loggable(failure),
            "attempt failed for good"
        ),
    }
}

/// The message, unless it may quote an argument (I7).
fn loggable(failure: &Failure) -> Option<&str> {
    let quotes = matches!(failure.kind, FailureKind::BadArguments | FailureKind::Undecodable);
    (!quotes).then_some(failure.message.as_str())
}
