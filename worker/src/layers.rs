//! The layers around every attempt, outermost first: [`trace`], [`meter`], [`resolve`], [`admit`], [`panic`], [`limit`],
//! [`run`].
//!
//! A reference to each is a `tower` service over the next, so that no attempt pays for a copy of the stack, and always
//! ready, for what limits an attempt depends on its task. The outer three speak of attempts and verdicts, the inner four
//! of a job and what its handler returned. Their futures are plain structs that are boxed once, together, by the executor.
//! All of them are moved on the way there: what few attempts need is boxed by itself.

mod admit;
mod limit;
mod meter;
pub(crate) mod panic;
pub(crate) mod rate;
mod resolve;
pub(crate) mod run;
pub(crate) mod trace;

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use taskport_abstraction::context::StopReason;
use taskport_abstraction::{Failure, FailureKind, Payload, TaskContext, TaskError};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tower::ServiceBuilder;
use tower::layer::layer_fn;

use crate::catalog::{Catalog, Entry, Limits};
use crate::executor::ExecutorOptions;
use crate::isolation::{Child, ChildPool};

/// The whole stack.
pub(crate) type Stack =
    trace::Trace<meter::Meter<resolve::Resolve<admit::Admit<panic::CatchPanic<limit::TimeLimit<run::Run>>>>>>;

/// Puts the layers on each other.
pub(crate) fn stack(
    catalog: Catalog,
    children: Option<Arc<ChildPool>>,
    options: &ExecutorOptions,
    gauges: Arc<Gauges>,
) -> Stack {
    let threads = Arc::new(Semaphore::new(options.blocking_threads_max.min(Semaphore::MAX_PERMITS)));
    let places = admit::Places { threads, gauges, children };
    let catalog = Arc::new(catalog);
    let stop_grace = options.stop_grace;
    let (spans, metrics) = (options.spans.clone(), options.metrics.clone());
    let known = catalog.clone();
    ServiceBuilder::new()
        .layer(layer_fn(move |inner| trace::Trace::new(inner, spans.clone())))
        .layer(layer_fn(move |inner| meter::Meter::new(inner, metrics.clone(), &known)))
        .layer(layer_fn(move |inner| resolve::Resolve::new(inner, catalog.clone())))
        .layer(layer_fn(move |inner| admit::Admit::new(inner, places.clone())))
        .layer(layer_fn(panic::CatchPanic::new))
        .layer(layer_fn(move |inner| limit::TimeLimit::new(inner, stop_grace)))
        .service(run::Run)
}

/// One attempt whose task is known.
#[derive(Debug)]
pub(crate) struct Job {
    pub(crate) entry: Arc<Entry>,
    pub(crate) context: TaskContext,
    pub(crate) arguments: Payload,
    pub(crate) limits: Limits,
    pub(crate) seat: Seat,
}

/// What an attempt holds while it runs. A thread that is left behind takes its seat with it.
#[derive(Debug, Default)]
pub(crate) struct Seat {
    class: Option<OwnedSemaphorePermit>,
    thread: Option<ThreadSeat>,
    child: Option<Box<Child>>,
}

/// A slot of the blocking pool.
#[derive(Debug)]
pub(crate) struct ThreadSeat {
    gauges: Arc<Gauges>,
    _slot: OwnedSemaphorePermit,
}

/// How many attempts run on the blocking pool, and for how many of them somebody still waits.
#[derive(Debug, Default)]
pub(crate) struct Gauges {
    running: AtomicUsize,
    awaited: AtomicUsize,
}

impl Gauges {
    pub(crate) fn detached(&self) -> usize {
        // Read in this order, so that an attempt ending in between is never counted as detached.
        let running = self.running.load(Ordering::SeqCst);
        running.saturating_sub(self.awaited.load(Ordering::SeqCst))
    }
}

/// The error of an attempt that was stopped before it ended.
pub(crate) fn stopped(reason: StopReason) -> TaskError {
    let (kind, message) = match reason {
        StopReason::Cancelled => (FailureKind::Cancelled, "the job was cancelled"),
        StopReason::TimedOut => (FailureKind::TimedOut, "the attempt passed its soft time limit"),
        StopReason::ShuttingDown => (FailureKind::WorkerLost, "the worker is shutting down"),
        StopReason::LeaseLost => (FailureKind::WorkerLost, "the lease has passed to another attempt"),
    };
    TaskError::Error(Failure::new(kind, message))
}
