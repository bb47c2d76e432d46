//! Counts the attempt, where somebody wants to know.

use std::convert::Infallible;
use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};

use taskport_abstraction::backend::{Attempt, Verdict};
use tower::Service;

use crate::catalog::Catalog;
use crate::metrics::{RunningAttempt, WorkerMetrics};

/// See the module.
#[derive(Debug, Clone)]
pub(crate) struct Meter<S> {
    inner: S,
    counted: Option<(Arc<WorkerMetrics>, Arc<Catalog>)>,
}

impl<S> Meter<S> {
    pub(crate) fn new(inner: S, metrics: Option<Arc<WorkerMetrics>>, catalog: &Arc<Catalog>) -> Self {
        Self { inner, counted: metrics.map(|metrics| (metrics, catalog.clone())) }
    }
}

impl<'s, S> Service<Attempt> for &'s Meter<S>
where
    &'s S: Service<Attempt, Response = Verdict, Error = Infallible, Future: Unpin>,
{
    type Response = Verdict;
    type Error = Infallible;
    type Future = MeterFuture<<&'s S as Service<Attempt>>::Future>;

    fn poll_ready(&mut self, _cx: &mut Context<'_>) -> Poll<Result<(), Infallible>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, attempt: Attempt) -> Self::Future {
        let running = self.counted.as_ref().map(|(metrics, catalog)| {
            metrics.start(&attempt.delivery, || catalog.get(&attempt.delivery.call.task).is_some())
        });
        MeterFuture { inner: (&self.inner).call(attempt), running }
    }
}

/// The future of [`Meter`].
#[derive(Debug)]
pub(crate) struct MeterFuture<F> {
    inner: F,
    running: Option<RunningAttempt>,
}

impl<F: Future<Output = Result<Verdict, Infallible>> + Unpin> Future for MeterFuture<F> {
    type Output = F::Output;

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<F::Output> {
        let Ok(verdict) = ready!(Pin::new(&mut self.inner).poll(cx));
        if let Some(running) = &mut self.running {
            running.end(&verdict);
        }
        Poll::Ready(Ok(verdict))
    }
}
