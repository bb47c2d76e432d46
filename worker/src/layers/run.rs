//! Runs the handler where its task wants to run: in place, on the blocking pool, or in a child process.

use std::fmt;
use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::task::{Context, Poll, ready};

use taskport_abstraction::context::StopReason;
use taskport_abstraction::task::{BoxFuture, Handler};
use taskport_abstraction::{Payload, TaskContext, TaskError, TaskResult};
use tokio::runtime::Handle;
use tokio::task::JoinHandle;
use tower::Service;
use tracing::Span;

use super::{Gauges, Job, Seat, ThreadSeat, panic, stopped};
use crate::catalog::Place;

/// See the module.
#[derive(Debug, Clone)]
pub(crate) struct Run;

impl Service<Job> for &Run {
    type Response = Payload;
    type Error = TaskError;
    type Future = RunFuture;

    fn poll_ready(&mut self, _cx: &mut Context<'_>) -> Poll<Result<(), TaskError>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, job: Job) -> RunFuture {
        RunFuture::Fresh(Some(job))
    }
}

/// The future of [`Run`]. User code starts at its first poll.
pub(crate) enum RunFuture {
    Fresh(Option<Job>),
    Async { attempt: BoxFuture<'static, TaskResult<Payload>>, _seat: Seat },
    Thread(OnThread),
    Ended(Option<TaskResult<Payload>>),
}

impl Future for RunFuture {
    type Output = TaskResult<Payload>;

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        loop {
            match &mut *self {
                Self::Fresh(job) => {
                    let Some(job) = job.take() else { return Poll::Pending };
                    *self = start(job);
                }
                Self::Ended(result) => return result.take().map_or(Poll::Pending, Poll::Ready),
                Self::Async { attempt, .. } => return attempt.as_mut().poll(cx),
                Self::Thread(thread) => return Pin::new(thread).poll(cx),
            }
        }
    }
}

impl fmt::Debug for RunFuture {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("RunFuture")
    }
}

fn start(mut job: Job) -> RunFuture {
    match job.entry.place {
        Place::Runtime => match &job.entry.handler {
            Handler::Async(handler) => {
                let attempt = handler(job.context, job.arguments);
                RunFuture::Async { attempt, _seat: job.seat }
            }
            Handler::Sync(handler) => RunFuture::Ended(Some(handler(&job.context, &job.arguments))),
        },
        Place::Thread { .. } => match job.seat.thread.take() {
            Some(seat) => RunFuture::Thread(OnThread::start(job, seat)),
            None => RunFuture::Ended(Some(Err(stopped(StopReason::ShuttingDown)))),
        },
        Place::Child => match job.seat.child.take() {
            Some(child) => {
                let attempt = child.run(job.entry.memory_bytes, job.context, job.arguments);
                RunFuture::Async { attempt: Box::pin(attempt), _seat: job.seat }
            }
            None => RunFuture::Ended(Some(Err(stopped(StopReason::ShuttingDown)))),
        },
    }
}

/// An attempt on the blocking pool. When this is dropped, a thread that has started goes on by itself.
pub(crate) struct OnThread {
    thread: JoinHandle<TaskResult<Payload>>,
    _awaited: Counted,
}

impl OnThread {
    fn start(job: Job, seat: ThreadSeat) -> Self {
        // Awaited is counted first and running is counted off first, so that the difference is never too large.
        let awaited = Counted::new(&seat.gauges, |gauges| &gauges.awaited);
        let running = Counted::new(&seat.gauges, |gauges| &gauges.running);
        let span = Span::current();
        let runtime = Handle::current();
        let thread = tokio::task::spawn_blocking(move || {
            let _seats = (seat, job.seat);
            let _running = running;
            let _entered = span.enter();
            panic::catch(|| run_to_end(&job.entry.handler, job.context, job.arguments, &runtime))
                .unwrap_or_else(|failure| Err(TaskError::Error(failure)))
        });
        Self { thread, _awaited: awaited }
    }
}

/// Runs a handler on this thread.
pub(crate) fn run_to_end(
    handler: &Handler,
    context: TaskContext,
    arguments: Payload,
    runtime: &Handle,
) -> TaskResult<Payload> {
    match handler {
        Handler::Sync(handler) => handler(&context, &arguments),
        Handler::Async(handler) => runtime.block_on(handler(context, arguments)),
    }
}

impl Future for OnThread {
    type Output = TaskResult<Payload>;

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        // The thread catches panics by itself; what is left is a runtime that shuts down.
        Poll::Ready(
            ready!(Pin::new(&mut self.thread).poll(cx))
                .unwrap_or_else(|_| Err(stopped(StopReason::ShuttingDown))),
        )
    }
}

impl Drop for OnThread {
    fn drop(&mut self) {
        // Takes back what has not started yet; has no effect on a thread that runs.
        self.thread.abort();
    }
}

/// One more in a gauge, until it is dropped.
struct Counted {
    gauges: Arc<Gauges>,
    gauge: fn(&Gauges) -> &AtomicUsize,
}

impl Counted {
    fn new(gauges: &Arc<Gauges>, gauge: fn(&Gauges) -> &AtomicUsize) -> Self {
        gauge(gauges).fetch_add(1, Ordering::SeqCst);
        Self { gauges: gauges.clone(), gauge }
    }
}

impl Drop for Counted {
    fn drop(&mut self) {
        (self.gauge)(&self.gauges).fetch_sub(1, Ordering::SeqCst);
    }
}
