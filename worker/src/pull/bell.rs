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
    pub(super) fn leave<'a>(&'a self, mut rung: Pin<&mut Notified<'a>>) {
        let is_rung = rung.as_mut().enable();
        if !is_rung {
            self.listening.fetch_sub(1, Ordering::Relaxed);
        }
        // While it lived, the next ring could be for it still, and whoever that was meant for would be counted twice.
        rung.set(self.rung());
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

#[cfg(test)]
mod tests {
    use std::pin::pin;

    use super::*;

    #[test]
    fn a_ring_is_for_one_who_has_not_left() {
        let bell = Bell::default();
        let (mut first, mut second) = (pin!(bell.rung()), pin!(bell.rung()));
        bell.listen(first.as_mut());
        bell.listen(second.as_mut());
        bell.leave(first.as_mut());
        assert!(bell.ring());
        assert!(second.as_mut().enable());
        bell.leave(second.as_mut());
        assert!(!bell.ring(), "nobody listens");
    }

    #[test]
    fn one_who_leaves_after_the_ring_was_rung_for() {
        let bell = Bell::default();
        let (mut first, mut second) = (pin!(bell.rung()), pin!(bell.rung()));
        bell.listen(first.as_mut());
        bell.listen(second.as_mut());
        assert!(bell.ring());
        bell.leave(first.as_mut());
        assert!(bell.ring(), "the second listens");
        assert!(second.as_mut().enable());
        assert!(!bell.ring());
    }
}
