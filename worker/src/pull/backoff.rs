//! Growing, jittered delays between tries to reach a backend.

use std::time::Duration;

use taskport_abstraction::Timestamp;

const FIRST: Duration = Duration::from_millis(50);
/// Short enough that a worker is back within two seconds of its broker.
const LONGEST: Duration = Duration::from_secs(2);

/// The delays of one loop. Each loop has its own seed, so that they do not come back together.
#[derive(Debug)]
pub(super) struct Backoff {
    next: Duration,
    random: u64,
}

impl Backoff {
    pub(super) fn new(now: Timestamp, salt: u64) -> Self {
        let seed = (now.as_micros() as u64).wrapping_mul(0x9E37_79B9_7F4A_7C15).wrapping_add(salt);
        Self { next: FIRST, random: seed | 1 }
    }

    /// The next delay: between half of the present step and all of it.
    pub(super) fn next(&mut self) -> Duration {
        let step = self.next;
        self.next = (step * 2).min(LONGEST);
        // Xorshift: good enough to spread workers.
        self.random ^= self.random << 13;
        self.random ^= self.random >> 7;
        self.random ^= self.random << 17;
        step / 2 + (step / 2).mul_f64((self.random % 1_024) as f64 / 1_024.0)
    }

    pub(super) fn reset(&mut self) {
        self.next = FIRST;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn delays_grow_within_their_bounds_and_start_again() {
        let mut backoff = Backoff::new(Timestamp::from_micros(7), 1);
        let mut step = FIRST;
        for _ in 0..10 {
            let delay = backoff.next();
            assert!(delay >= step / 2 && delay <= step, "{delay:?} of {step:?}");
            step = (step * 2).min(LONGEST);
        }
        backoff.reset();
        assert!(backoff.next() <= FIRST);
    }
}
