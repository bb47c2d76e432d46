//! What is made of measured times.

use std::time::Duration;

/// So many per second.
pub(crate) fn rate(count: usize, time: Duration) -> f64 {
    count as f64 / time.as_secs_f64()
}

/// The median of several turns of so many jobs, in microseconds a job.
pub(crate) fn median_us_per_job(mut turns: Vec<Duration>, jobs: usize) -> f64 {
    turns.sort_unstable();
    turns.get(turns.len() / 2).map_or(f64::NAN, |turn| turn.as_secs_f64() * 1e6 / jobs as f64)
}

/// The value below which `share` of the samples lie, in milliseconds. Sorts them.
pub(crate) fn percentile_ms(samples: &mut [Duration], share: f64) -> f64 {
    samples.sort_unstable();
    let last = samples.len().saturating_sub(1);
    samples.get((last as f64 * share).round() as usize).map_or(f64::NAN, |sample| sample.as_secs_f64() * 1e3)
}
