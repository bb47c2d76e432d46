//! At most so many starts in any period.

use std::collections::VecDeque;
use std::sync::{Mutex, PoisonError};

use tokio::time::Instant;

use crate::profile::StartRate;

/// Remembers the last starts, so that no window of a period holds more than the rate allows.
#[derive(Debug)]
pub(crate) struct RateGate {
    rate: StartRate,
    starts: Mutex<VecDeque<Instant>>,
}

impl RateGate {
    pub(crate) fn new(rate: StartRate) -> Self {
        Self { rate, starts: Mutex::new(VecDeque::new()) }
    }

    /// Takes the next start and says when it is. A start that is not used is not given back.
    pub(crate) fn reserve(&self, now: Instant) -> Instant {
        let mut starts = self.starts.lock().unwrap_or_else(PoisonError::into_inner);
        let full = starts.len() >= self.rate.count as usize;
        let start = match full.then(|| starts.pop_front()).flatten() {
            Some(oldest) => now.max(oldest + self.rate.period),
            None => now,
        };
        starts.push_back(start);
        start
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    #[test]
    fn no_window_holds_more_starts_than_the_rate() {
        let period = Duration::from_secs(1);
        let gate = RateGate::new(StartRate { count: 3, period });
        let begin = Instant::now();
        let starts: Vec<Instant> =
            (0..40).map(|index| gate.reserve(begin + Duration::from_millis(index * 100))).collect();
        for window in starts.windows(4) {
            assert!(window[3] - window[0] >= period);
        }
        assert_eq!(starts[2], begin + Duration::from_millis(200));
        assert_eq!(starts[3], begin + period);
    }
}
