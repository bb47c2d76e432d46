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

use super::{Job, stopped};
use crate::catalog::Place;
use crate::isolation::ChildPool;

/// See the module.
#[derive(Debug, Clone)]
pub(crate) struct Admit<S> {
    inner: S,
    threads: Arc<Semaphore>,
    children: Option<Arc<ChildPool>>,
}

impl<S> Admit<S> {
    pub(crate) fn new(inner: S, threads: Arc<Semaphore>, children: Option<Arc<ChildPool>>) -> Self {
        Self { inner, threads, children }
    }
}

impl<S> Service<Job> for Admit<S>
where
    S: Service<Job, Response = Payload, Error = TaskError, Future: Unpin> + Clone + Unpin,
{
    type Response = Payload;
    type Error = TaskError;
    type Future = AdmitFuture<S>;

    fn poll_ready(&mut self, _cx: &mut Context<'_>) -> Poll<Result<(), TaskError>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, job: Job) -> Self::Future {
        if job.entry.class.is_none() && job.entry.place == Place::Runtime {
            return AdmitFuture::Running(self.inner.call(job));
        }
        let wait = seat(job, self.threads.clone(), self.children.clone());
        AdmitFuture::Waiting(Box::pin(wait), self.inner.clone())
    }
}

/// Gives the job its seat, or says why it was stopped while it waited.
async fn seat(
    mut job: Job,
    threads: Arc<Semaphore>,
    children: Option<Arc<ChildPool>>,
) -> Result<Job, TaskError> {
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
            Place::Thread { .. } => job.seat.thread = Some(slot(&threads).await?),
            Place::Child => {
                let Some(children) = &children else { return Err(no_child("there is no pool for one")) };
                let child = children.take().await.map_err(|error| no_child(&error.to_string()))?;
                job.seat.child = Some(child);
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
pub(crate) enum AdmitFuture<S: Service<Job>> {
    Waiting(BoxFuture<'static, Result<Job, TaskError>>, S),
    Running(S::Future),
}

impl<S> Future for AdmitFuture<S>
where
    S: Service<Job, Response = Payload, Error = TaskError, Future: Unpin> + Unpin,
{
    type Output = TaskResult<Payload>;

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        loop {
            match &mut *self {
                Self::Waiting(seat, inner) => {
                    let job = ready!(seat.as_mut().poll(cx))?;
                    *self = Self::Running(inner.call(job));
                }
                Self::Running(inner) => return Pin::new(inner).poll(cx),
            }
        }
    }
}

impl<S: Service<Job>> fmt::Debug for AdmitFuture<S> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Waiting(..) => "AdmitFuture::Waiting",
            Self::Running(_) => "AdmitFuture::Running",
        })
    }
}
