//! Token buckets, each kept as one number: the moment at which the bucket is full again, in nanoseconds.

use std::time::Duration;

use taskport_abstraction::Timestamp;

/// A bucket's size and speed.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Bucket {
    /// How long one token takes.
    step: i64,
    /// How long an empty bucket takes to be full.
    depth: i64,
}

/// The longest time an empty bucket takes, so that sums stay in range: about 36 years.
const DEPTH_MAX: i64 = i64::MAX / 8;

impl Bucket {
    /// A bucket of `count` tokens that refills evenly in `period`. What does not divide is rounded to the slower side.
    pub(crate) fn new(count: u32, period: Duration) -> Self {
        let count = i64::from(count.max(1));
        let period = i64::try_from(period.as_nanos()).unwrap_or(DEPTH_MAX).min(DEPTH_MAX);
        let step = (period / count + i64::from(period % count != 0)).max(1);
        Self { step, depth: step.saturating_mul(count) }
    }

    /// How many tokens there are.
    pub(crate) fn tokens(&self, mark: i64, now: Timestamp) -> usize {
        usize::try_from((self.depth - self.debt(mark, now)) / self.step).unwrap_or(0)
    }

    /// The bucket with `count` tokens less.
    pub(crate) fn take(&self, mark: i64, now: Timestamp, count: usize) -> i64 {
        let taken = self.step.saturating_mul(i64::try_from(count).unwrap_or(i64::MAX));
        nanos(now).saturating_add(self.debt(mark, now)).saturating_add(taken)
    }

    /// The bucket as of now: no emptier than empty, which a clock that was put back would have it be.
    pub(crate) fn settled(&self, mark: i64, now: Timestamp) -> i64 {
        mark.min(nanos(now).saturating_add(self.depth))
    }

    /// When there is a token in a bucket that is [`settled`](Self::settled): for one that is empty, not before a few more have gathered where they come quickly.
    pub(crate) fn next(&self, mark: i64, now: Timestamp) -> Timestamp {
        let wait = self.debt(mark, now) - (self.depth - self.step);
        if wait <= 0 {
            return now;
        }
        let wait = wait.max(GATHER.min(self.depth / 2));
        now + Duration::from_micros(u64::try_from(wait).unwrap_or(0).div_ceil(1_000))
    }

    /// How long it is until the bucket is full.
    fn debt(&self, mark: i64, now: Timestamp) -> i64 {
        mark.saturating_sub(nanos(now)).clamp(0, self.depth)
    }
}

/// A full bucket owes nothing after this moment.
pub(crate) fn is_full(mark: i64, now: Timestamp) -> bool {
    mark <= nanos(now)
}

/// How long tokens that come quickly gather before anybody is woken, in nanoseconds.
const GATHER: i64 = 10_000_000;

fn nanos(moment: Timestamp) -> i64 {
    moment.as_micros().saturating_mul(1_000)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        // proves R-435
        #[test]
        fn no_window_sees_more_starts_than_the_bucket_and_what_flows_in(
            count in 1_u32..20, period_us in 1_u64..2_000_000,
            pauses in proptest::collection::vec((0_u64..300_000, 1_usize..30), 1..200),
        ) {
            let bucket = Bucket::new(count, Duration::from_micros(period_us));
            let (mut mark, mut now) = (0, Timestamp::from_micros(1_000_000_000));
            let mut starts: Vec<(i64, usize)> = Vec::new();
            for (pause, wanted) in pauses {
                now = now + Duration::from_micros(pause);
                let taken = wanted.min(bucket.tokens(mark, now));
                mark = bucket.take(mark, now, taken);
                starts.push((now.as_micros(), taken));
            }
            for (first, (from, _)) in starts.iter().enumerate() {
                let mut sum = 0;
                for (until, taken) in &starts[first..] {
                    sum += taken;
                    let flow = (until - from) as f64 / period_us as f64 * f64::from(count);
                    prop_assert!(sum as f64 <= f64::from(count) + flow + 1e-6);
                }
            }
        }

        #[test]
        fn a_bucket_has_a_token_when_it_says_so(
            count in 1_u32..2_000, period_us in 1_u64..10_000_000, mark in 0_i64..4_000_000_000_000,
        ) {
            let bucket = Bucket::new(count, Duration::from_micros(period_us));
            let now = Timestamp::from_micros(1_000_000_000);
            let mark = bucket.settled(mark, now);
            let next = bucket.next(mark, now);
            prop_assert!(bucket.tokens(mark, next) >= 1);
            prop_assert!(next.since(now) <= Duration::from_micros(period_us + u64::from(count) + 2));
        }
    }

    #[test]
    fn a_clock_put_back_stops_nobody_for_longer_than_the_period() {
        let bucket = Bucket::new(2, Duration::from_secs(2));
        let late = Timestamp::from_micros(10_000_000_000);
        let mark = bucket.take(0, late, 2);
        let early = Timestamp::from_micros(6_400_000_000);
        assert_eq!(bucket.tokens(mark, early), 0);
        let mark = bucket.settled(mark, early);
        assert_eq!(bucket.tokens(mark, early + Duration::from_secs(2)), 2);
    }
}
