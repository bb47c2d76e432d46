//! The line between one attempt and whoever runs it.

use std::sync::atomic::{AtomicU8, Ordering};
use std::sync::{Arc, Mutex, PoisonError, Weak};

use taskport_abstraction::AttemptControl;
use taskport_abstraction::context::StopReason;
use taskport_abstraction::job::Progress;
use taskport_abstraction::journal::Note;
use taskport_abstraction::task::BoxFuture;
use tokio::sync::Notify;

/// The control of one attempt: a stop reason that is set once, and the newest progress report.
#[derive(Debug)]
pub struct Control {
    this: Weak<Self>,
    reason: AtomicU8,
    stopped: Notify,
    progress: Mutex<Option<Progress>>,
}

const REASONS: [StopReason; 4] =
    [StopReason::Cancelled, StopReason::TimedOut, StopReason::ShuttingDown, StopReason::LeaseLost];

impl Control {
    /// A control that asks nobody to stop.
    pub fn new() -> Arc<Self> {
        Arc::new_cyclic(|this| Self {
            this: this.clone(),
            reason: AtomicU8::new(0),
            stopped: Notify::new(),
            progress: Mutex::new(None),
        })
    }

    /// The newest progress report.
    pub fn progress(&self) -> Option<Progress> {
        self.progress.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }
}

impl AttemptControl for Control {
    fn stop(&self, reason: StopReason) {
        let code = REASONS.iter().position(|known| *known == reason).map_or(0, |index| index as u8 + 1);
        if self.reason.compare_exchange(0, code, Ordering::AcqRel, Ordering::Acquire).is_ok() {
            self.stopped.notify_waiters();
        }
    }

    fn stop_reason(&self) -> Option<StopReason> {
        let code = self.reason.load(Ordering::Acquire);
        usize::from(code).checked_sub(1).map(|index| REASONS[index])
    }

    fn stopped(&self) -> BoxFuture<'static, StopReason> {
        let this = self.this.upgrade();
        Box::pin(async move {
            // `self` is borrowed from the only `Arc` there is, so the upgrade cannot fail.
            let Some(this) = this else { return std::future::pending().await };
            let mut notified = std::pin::pin!(this.stopped.notified());
            loop {
                notified.as_mut().enable();
                if let Some(reason) = this.stop_reason() {
                    return reason;
                }
                notified.as_mut().await;
                notified.set(this.stopped.notified());
            }
        })
    }

    fn note(&self, _: Note) {}

    fn report(&self, progress: Progress) {
        *self.progress.lock().unwrap_or_else(PoisonError::into_inner) = Some(progress);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn the_first_reason_stands_and_wakes_every_waiter() {
        let control = Control::new();
        assert_eq!(control.stop_reason(), None);
        let (early, other) = (tokio::spawn(control.stopped()), tokio::spawn(control.stopped()));
        tokio::task::yield_now().await;
        control.stop(StopReason::TimedOut);
        control.stop(StopReason::Cancelled);
        assert_eq!(control.stop_reason(), Some(StopReason::TimedOut));
        assert_eq!(early.await.unwrap(), StopReason::TimedOut);
        assert_eq!(other.await.unwrap(), StopReason::TimedOut);
        assert_eq!(control.stopped().await, StopReason::TimedOut);
    }
}
