use std::sync::atomic::{AtomicI64, Ordering};
use std::time::Duration;

use taskport_abstraction::{Clock, Timestamp};

/// A clock that stands still unless it is moved.
#[derive(Debug)]
pub struct TestClock(AtomicI64);

impl TestClock {
    /// A clock that shows `now`.
    pub const fn new(now: Timestamp) -> Self {
        Self(AtomicI64::new(now.as_micros()))
    }

    /// Moves it on. What is due then happens with the next drain.
    pub fn advance(&self, period: Duration) {
        self.set(self.now() + period);
    }

    /// Sets it, backward too.
    pub fn set(&self, now: Timestamp) {
        self.0.store(now.as_micros(), Ordering::SeqCst);
    }
}

impl Clock for TestClock {
    fn now(&self) -> Timestamp {
        Timestamp::from_micros(self.0.load(Ordering::SeqCst))
    }
}
