use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use super::page::Samples;

/// How often values of each size were seen. Two additions for each; no lock.
#[derive(Debug)]
pub struct Histogram {
    scale: &'static Scale,
    /// One more than there are bounds: the last takes what is larger than all of them.
    buckets: Box<[AtomicU64]>,
    sum: AtomicU64,
}

/// The sizes a histogram tells apart, as whole numbers of its smallest unit.
#[derive(Debug)]
pub struct Scale {
    /// The bounds, from the smallest. A value belongs to the first that is not smaller.
    pub bounds: &'static [u64],
    /// How many of the smallest unit make one of the unit on the page.
    pub per_unit: u64,
}

const MS: u64 = 1_000_000;
const S: u64 = 1_000 * MS;

/// Durations from a millisecond to an hour, in seconds.
pub const SECONDS: Scale = Scale {
    bounds: &[
        MS,
        5 * MS,
        10 * MS,
        25 * MS,
        50 * MS,
        100 * MS,
        250 * MS,
        500 * MS,
        S,
        5 * S / 2,
        5 * S,
        10 * S,
        30 * S,
        60 * S,
        300 * S,
        900 * S,
        3_600 * S,
    ],
    per_unit: S,
};

/// Lengths from one to a thousand.
pub const LENGTHS: Scale = Scale { bounds: &[1, 2, 4, 8, 16, 32, 64, 128, 256, 512, 1_024], per_unit: 1 };

impl Histogram {
    /// An empty histogram.
    pub fn new(scale: &'static Scale) -> Self {
        let buckets = (0..=scale.bounds.len()).map(|_| AtomicU64::new(0)).collect();
        Self { scale, buckets, sum: AtomicU64::new(0) }
    }

    /// Counts one duration.
    pub fn observe(&self, value: Duration) {
        self.count(u64::try_from(value.as_nanos()).unwrap_or(u64::MAX));
    }

    /// Counts one value, in the scale's smallest unit.
    pub fn count(&self, value: u64) {
        let bucket = self.scale.bounds.partition_point(|bound| *bound < value);
        self.buckets[bucket].fetch_add(1, Ordering::Relaxed);
        self.sum.fetch_add(value, Ordering::Relaxed);
    }

    /// Adds the samples of these label values.
    pub fn write(&self, samples: &mut Samples<'_>, values: &[&str]) {
        let in_unit = |number: u64| number as f64 / self.scale.per_unit as f64;
        // The count is made of the buckets, so that the two never disagree however much is counted meanwhile.
        let mut count = 0;
        for (index, bucket) in self.buckets.iter().enumerate() {
            count += bucket.load(Ordering::Relaxed);
            match self.scale.bounds.get(index) {
                Some(bound) => {
                    samples.line("_bucket", values, Some(&in_unit(*bound).to_string()), count);
                }
                None => samples.line("_bucket", values, Some("+Inf"), count),
            }
        }
        samples.line("_sum", values, None, in_unit(self.sum.load(Ordering::Relaxed)));
        samples.line("_count", values, None, count);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::metrics::page::{Kind, Metric, Page};

    #[test]
    fn buckets_hold_what_is_at_most_their_bound() {
        const SCALE: Scale = Scale { bounds: &[MS, S], per_unit: S };
        const METRIC: Metric =
            Metric { name: "wait_seconds", kind: Kind::Histogram, labels: &["q"], help: "Waits." };
        let histogram = Histogram::new(&SCALE);
        for millis in [0, 1, 2, 1_000, 1_001] {
            histogram.observe(Duration::from_millis(millis));
        }
        let mut page = Page::default();
        histogram.write(&mut page.metric(&METRIC), &["x"]);
        assert_eq!(
            page.into_text(),
            "# HELP wait_seconds Waits.\n# TYPE wait_seconds histogram\n\
             wait_seconds_bucket{q=\"x\",le=\"0.001\"} 2\n\
             wait_seconds_bucket{q=\"x\",le=\"1\"} 4\n\
             wait_seconds_bucket{q=\"x\",le=\"+Inf\"} 5\n\
             wait_seconds_sum{q=\"x\"} 2.004\nwait_seconds_count{q=\"x\"} 5\n"
        );
    }

    #[test]
    fn bounds_grow() {
        for scale in [&SECONDS, &LENGTHS] {
            assert!(scale.bounds.is_sorted_by(|left, right| left < right));
        }
    }
}
