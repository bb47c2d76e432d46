//! Wakes tasks that wait, and knows whether any does.

use std::pin::Pin;
use std::sync::atomic::{AtomicUsize, Ordering};

use tokio::sync::Notify;
use tokio::sync::futures::Notified;

/// Tasks that wait for one thing. They listen, and the bell is rung, under the lock of what they wait for: so no ring is
/// missed, and none is for nobody.
#[derive(Debug, Default)]
pub(super) struct Bell {
    notify: Notify,
    /// How many listen and have not been rung for.
    listening: AtomicUsize,
}

impl Bell {
    /// Resolves when the bell is rung for whoever [listens](Self::listen) with it.
    pub(super) fn rung(&self) -> Notified<'_> {
        self.notify.notified()
    }

    /// Has one of the next rings be for `rung`.
    pub(super) fn listen(&self, rung: Pin<&mut Notified<'_>>) {
        rung.enable();
        self.listening.fetch_add(1, Ordering::Relaxed);
    }

    /// Takes back that one of the next rings is for `rung`.
    pub(super) fn leave(&self, rung: Pin<&mut Notified<'_>>) {
        let is_rung = rung.enable();
        if !is_rung {
            self.listening.fetch_sub(1, Ordering::Relaxed);
        }
    }

    /// Wakes the task that has listened longest. Whether there is one.
    pub(super) fn ring(&self) -> bool {
        if self.listening.load(Ordering::Relaxed) == 0 {
            return false;
        }
        self.listening.fetch_sub(1, Ordering::Relaxed);
        self.notify.notify_one();
        true
    }
}
