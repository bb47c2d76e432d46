//! A panic ends one attempt, and only that (I9).

use std::any::Any;
use std::backtrace::{Backtrace, BacktraceStatus};
use std::cell::{Cell, RefCell};
use std::future::Future;
use std::panic::{AssertUnwindSafe, PanicHookInfo, catch_unwind};
use std::pin::Pin;
use std::sync::Once;
use std::task::{Context, Poll};

use taskport_abstraction::{Failure, FailureKind, Payload, TaskError, TaskResult};
use tower::Service;

use super::Job;

/// Catches what the inner layers panic with, when they are called, polled or dropped.
#[derive(Debug, Clone)]
pub(crate) struct CatchPanic<S> {
    inner: S,
}

impl<S> CatchPanic<S> {
    pub(crate) fn new(inner: S) -> Self {
        Self { inner }
    }
}

impl<'s, S> Service<Job> for &'s CatchPanic<S>
where
    &'s S: Service<Job, Response = Payload, Error = TaskError, Future: Unpin>,
{
    type Response = Payload;
    type Error = TaskError;
    type Future = CatchPanicFuture<<&'s S as Service<Job>>::Future>;

    fn poll_ready(&mut self, _cx: &mut Context<'_>) -> Poll<Result<(), TaskError>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, job: Job) -> Self::Future {
        CatchPanicFuture { inner: Some((&self.inner).call(job)) }
    }
}

/// The future of [`CatchPanic`].
#[derive(Debug)]
pub(crate) struct CatchPanicFuture<F> {
    inner: Option<F>,
}

impl<F: Future<Output = TaskResult<Payload>> + Unpin> Future for CatchPanicFuture<F> {
    type Output = TaskResult<Payload>;

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        let inner = &mut self.inner;
        let polled = catch(|| {
            let Some(future) = inner else { return Poll::Pending };
            let polled = Pin::new(future).poll(cx);
            if polled.is_ready() {
                *inner = None;
            }
            polled
        });
        polled.unwrap_or_else(|failure| {
            // What is left of the future may panic again.
            let _dropped = catch(|| *inner = None);
            Poll::Ready(Err(TaskError::Error(failure)))
        })
    }
}

thread_local! {
    static WATCHED: Cell<bool> = const { Cell::new(false) };
    static PLACE: RefCell<Option<String>> = const { RefCell::new(None) };
}

/// Runs `code`; a panic in it becomes a failure that says what and where, and is not printed.
pub(crate) fn catch<T>(code: impl FnOnce() -> T) -> Result<T, Failure> {
    watch_panics();
    let outer = WATCHED.replace(true);
    let result = catch_unwind(AssertUnwindSafe(code));
    WATCHED.set(outer);
    result.map_err(|payload| {
        let failure = Failure::new(FailureKind::Panicked, message(payload)).of_type("panic");
        match PLACE.take() {
            Some(place) => failure.with_traceback(place),
            None => failure,
        }
    })
}

/// The place of a panic is only told to the process-wide hook. Ours notes it for attempts and leaves every other panic
/// to the hook before it.
fn watch_panics() {
    static ONCE: Once = Once::new();
    ONCE.call_once(|| {
        let before = std::panic::take_hook();
        std::panic::set_hook(Box::new(move |panic| {
            if WATCHED.get() {
                PLACE.set(Some(place(panic)));
            } else {
                before(panic);
            }
        }));
    });
}

fn place(panic: &PanicHookInfo<'_>) -> String {
    let location = panic.location().map_or_else(|| "an unknown place".to_owned(), ToString::to_string);
    let backtrace = Backtrace::capture();
    match backtrace.status() {
        BacktraceStatus::Captured => format!("panicked at {location}\n{backtrace}"),
        _ => format!("panicked at {location}"),
    }
}

fn message(payload: Box<dyn Any + Send>) -> String {
    if let Some(text) = payload.downcast_ref::<&str>() {
        return (*text).to_owned();
    }
    match payload.downcast::<String>() {
        Ok(text) => *text,
        Err(other) => {
            // A foreign value may panic when it is dropped.
            std::mem::forget(other);
            "a value that is no text".to_owned()
        }
    }
}
