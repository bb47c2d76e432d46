//! Waits until an attempt may start: its class has a slot, its rate allows it, and the place it runs in is free.
//!
//! The limits that hold for an attempt start after this layer, so that waiting costs it nothing. A stop ends the wait.

use std::fmt;
use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};

use taskport_abstraction::context::StopReason;
use taskport_abstraction::task::BoxFuture;
use taskport_abstraction::{Failure, FailureKind, Payload, TaskError, TaskResult};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio::time::{Instant, sleep_until};
use tower::Service;

use super::{Gauges, Job, ThreadSeat, stopped};
use crate::catalog::Place;
use crate::isolation::ChildPool;

/// See the module.
#[derive(Debug, Clone)]
pub(crate) struct Admit<S> {
    inner: S,
    places: Places,
}

/// Where attempts run besides in place.
#[derive(Debug, Clone)]
pub(crate) struct Places {
    pub(crate) threads: Arc<Semaphore>,
    pub(crate) gauges: Arc<Gauges>,
    pub(crate) children: Option<Arc<ChildPool>>,
}

impl<S> Admit<S> {
    pub(crate) fn new(inner: S, places: Places) -> Self {
        Self { inner, places }
    }
}

impl<S, F> Service<Job> for &Admit<S>
where
    for<'s> &'s S: Service<Job, Response = Payload, Error = TaskError, Future = F>,
    S: Clone + Unpin,
    F: Future<Output = TaskResult<Payload>> + Unpin,
{
    type Response = Payload;
    type Error = TaskError;
    type Future = AdmitFuture<S, F>;

    fn poll_ready(&mut self, _cx: &mut Context<'_>) -> Poll<Result<(), TaskError>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, job: Job) -> Self::Future {
        if job.entry.class.is_none() && job.entry.place == Place::Runtime {
            return AdmitFuture::Running((&self.inner).call(job));
        }
        let wait = seat(job, self.places.clone());
        AdmitFuture::Waiting(Box::pin(wait), self.inner.clone())
    }
}

/// Gives the job its seat, or says why it was stopped while it waited.
async fn seat(mut job: Job, places: Places) -> Result<Job, TaskError> {
    let stop = job.context.cancelled();
    let wait = async {
        if let Some(class) = &job.entry.class {
            if let Some(slots) = &class.slots {
                job.seat.class = Some(slot(slots).await?);
            }
            if let Some(rate) = &class.rate {
                sleep_until(rate.reserve(Instant::now())).await;
            }
        }
        match job.entry.place {
            Place::Runtime => {}
            Place::Thread { .. } => {
                let slot = slot(&places.threads).await?;
                job.seat.thread = Some(ThreadSeat { gauges: places.gauges.clone(), _slot: slot });
            }
            Place::Child => {
                let Some(children) = &places.children else {
                    return Err(no_child("there is no pool for one"));
                };
                let child = children.take().await.map_err(|error| no_child(&error.to_string()))?;
                job.seat.child = Some(Box::new(child));
            }
        }
        Ok(())
    };
    tokio::select! {
        biased;
        reason = stop => return Err(stopped(reason)),
        seated = wait => seated?,
    }
    Ok(job)
}

async fn slot(slots: &Arc<Semaphore>) -> Result<OwnedSemaphorePermit, TaskError> {
    slots.clone().acquire_owned().await.map_err(|_| stopped(StopReason::ShuttingDown))
}

fn no_child(reason: &str) -> TaskError {
    TaskError::Error(Failure::new(FailureKind::WorkerLost, format!("no child process can be had: {reason}")))
}

/// The future of [`Admit`].
pub(crate) enum AdmitFuture<S, F> {
    Waiting(BoxFuture<'static, Result<Job, TaskError>>, S),
    Running(F),
}

impl<S: Unpin, F> Future for AdmitFuture<S, F>
where
    for<'s> &'s S: Service<Job, Future = F>,
    F: Future<Output = TaskResult<Payload>> + Unpin,
{
    type Output = TaskResult<Payload>;

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        loop {
            match &mut *self {
                Self::Waiting(seat, inner) => {
                    let job = ready!(seat.as_mut().poll(cx))?;
                    *self = Self::Running((&*inner).call(job));
                }
                Self::Running(inner) => return Pin::new(inner).poll(cx),
            }
        }
    }
}

impl<S, F> fmt::Debug for AdmitFuture<S, F> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Waiting(..) => "AdmitFuture::Waiting",
            Self::Running(_) => "AdmitFuture::Running",
        })
    }
}
