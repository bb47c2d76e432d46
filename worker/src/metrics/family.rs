use std::fmt;
use std::hash::BuildHasher;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, OnceLock};

use crate::hash::BuildQuick;

/// What stands for every label value beyond the limit of a [`Family`].
pub const OTHER: &str = "other";

/// The series of one metric, told apart by `N` label values. Finding one takes no lock, and none is ever taken out.
///
/// # Limits
/// What comes after the largest number of series shares one, whose labels all say [`OTHER`] (I5).
pub struct Family<const N: usize, S> {
    /// Open addressing, at most half full: a series stands at the first free slot after its hash.
    slots: Box<[OnceLock<Series<N, S>>]>,
    taken: AtomicUsize,
    series_max: usize,
    other: Series<N, S>,
    other_used: AtomicBool,
    make: fn() -> S,
}

struct Series<const N: usize, S> {
    values: [Box<str>; N],
    state: Arc<S>,
}

impl<const N: usize, S> Series<N, S> {
    fn new(values: [&str; N], make: fn() -> S) -> Self {
        Self { values: values.map(Box::from), state: Arc::new(make()) }
    }

    fn has(&self, values: [&str; N]) -> bool {
        self.values.iter().map(AsRef::as_ref).eq(values)
    }
}

impl<const N: usize, S> Family<N, S> {
    /// A family of at most `series_max` series, each of which begins as `make` says.
    pub fn new(series_max: usize, make: fn() -> S) -> Self {
        let slots = (0..series_max.max(1) * 2).map(|_| OnceLock::new()).collect();
        let other = Series::new([OTHER; N], make);
        Self {
            slots,
            taken: AtomicUsize::new(0),
            series_max,
            other,
            other_used: AtomicBool::new(false),
            make,
        }
    }

    /// The series of these values, where there is one.
    pub fn find(&self, values: [&str; N]) -> Option<&Arc<S>> {
        self.probe(values).find_map(|slot| match slot.get() {
            Some(series) if series.has(values) => Some(Some(&series.state)),
            Some(_) => None,
            None => Some(None),
        })?
    }

    /// The series of these values, or the one for all others once there are too many.
    pub fn get(&self, values: [&str; N]) -> &Arc<S> {
        if values == [OTHER; N] {
            return self.other();
        }
        for slot in self.probe(values) {
            if slot.get().is_none() {
                let free = |taken: usize| (taken < self.series_max).then_some(taken + 1);
                if self.taken.fetch_update(Ordering::Relaxed, Ordering::Relaxed, free).is_err() {
                    return self.other();
                }
                if slot.set(Series::new(values, self.make)).is_err() {
                    // Another thread was faster, perhaps with the same values.
                    self.taken.fetch_sub(1, Ordering::Relaxed);
                }
            }
            if let Some(series) = slot.get().filter(|series| series.has(values)) {
                return &series.state;
            }
        }
        self.other()
    }

    /// Every series with its label values, in their order.
    pub fn series(&self) -> Vec<([&str; N], &S)> {
        let used = self.other_used.load(Ordering::Relaxed).then_some(&self.other);
        let all = self.slots.iter().filter_map(OnceLock::get).chain(used);
        let mut series: Vec<_> =
            all.map(|series| (series.values.each_ref().map(AsRef::as_ref), series.state.as_ref())).collect();
        series.sort_by_key(|(values, _)| *values);
        series
    }

    fn other(&self) -> &Arc<S> {
        self.other_used.store(true, Ordering::Relaxed);
        &self.other.state
    }

    /// The slots in which these values may stand, in order.
    fn probe(&self, values: [&str; N]) -> impl Iterator<Item = &OnceLock<Series<N, S>>> {
        let hash = BuildQuick::default().hash_one(values);
        let start = (hash % self.slots.len() as u64) as usize;
        self.slots[start..].iter().chain(&self.slots[..start])
    }
}

impl<const N: usize, S> fmt::Debug for Family<N, S> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Family").field("series", &self.taken).finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::AtomicU64;
    use std::thread;

    use super::*;

    fn counts<const N: usize>(family: &Family<N, AtomicU64>) -> Vec<(String, u64)> {
        let series = family.series().into_iter();
        series.map(|(values, count)| (values.join("/"), count.load(Ordering::Relaxed))).collect()
    }

    // proves R-403
    #[test]
    fn series_beyond_the_limit_share_one() {
        let family = Family::new(3, AtomicU64::default);
        for round in 0..2 {
            for number in 0..100 {
                let name = format!("task-{number}");
                family.get([&name, "q"]).fetch_add(1, Ordering::Relaxed);
                assert_eq!(family.find([&name, "q"]).is_some(), number < 3, "{round} {name}");
            }
        }
        let expected = [("other/other", 194), ("task-0/q", 2), ("task-1/q", 2), ("task-2/q", 2)];
        assert_eq!(counts(&family), expected.map(|(name, count)| (name.to_owned(), count)));
    }

    #[test]
    fn a_task_called_other_makes_no_second_series_of_that_name() {
        let family = Family::new(1, AtomicU64::default);
        for name in ["other", "a", "b", "other"] {
            family.get([name]).fetch_add(1, Ordering::Relaxed);
        }
        assert_eq!(counts(&family), [("a".to_owned(), 1), ("other".to_owned(), 3)]);
    }

    #[test]
    fn threads_that_race_for_a_series_share_it() {
        let family = Family::new(64, AtomicU64::default);
        thread::scope(|scope| {
            for _ in 0..4 {
                scope.spawn(|| {
                    for number in 0..6_400_u32 {
                        family.get([&(number % 64).to_string()]).fetch_add(1, Ordering::Relaxed);
                    }
                });
            }
        });
        let counts = counts(&family);
        assert_eq!(counts.len(), 64, "{counts:?}");
        assert!(counts.iter().all(|(_, count)| *count == 400), "{counts:?}");
    }
}
