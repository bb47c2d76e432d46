//! How long what has ended is kept, and where a walk that removes the rest stands.
//!
//! A walk goes by `seq` from the oldest and needs no index: a job cannot have ended before it was submitted, so that the
//! first job submitted too late to be over ends the walk.

use std::time::Duration;

use taskport_abstraction::maintenance::{PruneReport, Retention};
use taskport_abstraction::{BatchId, Failure, JobOptions, JobState, Result, Timestamp};

use crate::record::JobRecord;
use crate::store::Slice;
use crate::stored;

/// How much is looked at in one transaction.
pub(crate) const SLICE: Slice = Slice { rows_max: 1_000, bytes_max: 8 << 20 };
/// The rest between two slices of one walk, so that whoever works is not held up.
pub(crate) const SLICE_REST: Duration = Duration::from_millis(10);
/// The rest between two walks is this part of the shortest retention, within limits.
const WALK_REST_PART: u32 = 16;
const WALK_REST_MIN: Duration = Duration::from_secs(1);
const WALK_REST_MAX: Duration = Duration::from_secs(600);
/// The rest a walk owes for each row it looked at in vain, a few times what that took.
const WALK_REST_PER_ROW: Duration = Duration::from_micros(20);

/// What a walk does with what it finds.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum SweepMode {
    /// Removes it.
    Remove,
    /// Counts it.
    Count,
}

/// Where a walk over what has ended stands.
#[derive(Debug, Clone)]
pub struct Sweep {
    pub(crate) mode: SweepMode,
    pub(crate) stage: Stage,
    /// The `seq` of the last job or run that was looked at.
    pub(crate) after: i64,
    /// The last batch that was looked at.
    pub(crate) after_batch: Option<BatchId>,
    pub(crate) report: PruneReport,
    /// How many rows were looked at and left.
    pub(crate) kept: u32,
}

/// What a walk looks at.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Stage {
    Jobs,
    Runs,
    Batches,
    Done,
}

impl Sweep {
    /// A walk that has not begun.
    pub fn new(mode: SweepMode) -> Self {
        Self {
            mode,
            stage: Stage::Jobs,
            after: 0,
            after_batch: None,
            report: PruneReport::default(),
            kept: 0,
        }
    }

    /// Whether it has come to its end.
    pub fn is_done(&self) -> bool {
        self.stage == Stage::Done
    }

    /// What it has found so far.
    pub fn report(&self) -> PruneReport {
        self.report
    }

    /// How many rows it has dealt with.
    pub(crate) fn rows(&self) -> u64 {
        self.report.jobs + self.report.runs + self.report.batches + u64::from(self.kept)
    }

    pub(crate) fn enter(&mut self, stage: Stage) {
        (self.stage, self.after) = (stage, 0);
    }
}

/// Reads what a job carries as the engine will when it needs it.
///
/// # Errors
/// `Corrupt`: E-032 for a version we do not know, E-033 for what is no stored form.
pub fn check_job(job: &JobRecord) -> Result<()> {
    if let Some(options) = &job.options {
        stored::decode::<JobOptions>(options, "options")?;
    }
    match &job.failure {
        Some(failure) => stored::decode::<Failure>(failure, "failure").map(drop),
        None => Ok(()),
    }
}

/// For how long a job that ended so is kept; `None` for ever.
pub(crate) fn kept_for(retention: &Retention, state: JobState) -> Option<Duration> {
    match state {
        JobState::Succeeded => retention.succeeded,
        JobState::Failed => retention.failed,
        JobState::Cancelled => retention.cancelled,
        JobState::Expired => retention.expired,
        _ => None,
    }
}

/// Whether what ended then and was to be kept for so long may go.
pub(crate) fn is_over(finished_at: Option<Timestamp>, keep: Option<Duration>, now: Timestamp) -> bool {
    finished_at.zip(keep).is_some_and(|(end, keep)| end + keep <= now)
}

/// The shortest time any job is kept; `None` where none ever goes.
pub(crate) fn shortest_of_jobs(retention: &Retention) -> Option<Duration> {
    let Retention { succeeded, failed, cancelled, expired, runs: _ } = *retention;
    [succeeded, failed, cancelled, expired].into_iter().flatten().min()
}

/// When the next walk begins, after one that left `kept` rows; `None` where nothing ever goes.
pub(crate) fn walk_rest(retention: &Retention, kept: u32) -> Option<Duration> {
    let shortest = shortest_of_jobs(retention).into_iter().chain(retention.runs).min()?;
    let rest = (shortest / WALK_REST_PART).clamp(WALK_REST_MIN, WALK_REST_MAX);
    Some(rest.max(WALK_REST_PER_ROW.saturating_mul(kept)))
}

/// What the engine remembers between the slices of its own walks.
#[derive(Debug, Default)]
pub(crate) struct Walking {
    /// When the next slice is due, once the store was asked.
    pub(crate) due: Option<Timestamp>,
    /// The walk under way.
    pub(crate) sweep: Option<Sweep>,
}

impl Walking {
    /// Forgets what another process may have changed. A walk under way goes on.
    pub(crate) fn doubt(&mut self) {
        if self.sweep.is_none() {
            self.due = None;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const HOUR: Duration = Duration::from_secs(3_600);

    fn moment() -> Timestamp {
        "2026-01-31T09:30:00Z".parse().unwrap()
    }

    #[test]
    fn only_what_ended_and_was_kept_for_long_enough_is_over() {
        let check = |finished_at, keep, expected| {
            assert_eq!(is_over(finished_at, keep, moment() + HOUR), expected, "{finished_at:?} {keep:?}");
        };
        check(Some(moment()), Some(HOUR), true);
        check(Some(moment()), Some(HOUR + Duration::from_micros(1)), false);
        check(Some(moment()), None, false);
        check(None, Some(HOUR), false);
        // A retention beyond the end of time keeps for ever.
        check(Some(moment()), Some(Duration::MAX), false);
    }

    #[test]
    fn walks_come_often_enough_and_never_too_often() {
        let rest = |succeeded, kept| {
            walk_rest(&Retention { succeeded: Some(succeeded), ..Retention::default() }, kept).unwrap()
        };
        assert_eq!(rest(Duration::ZERO, 0), WALK_REST_MIN);
        assert_eq!(rest(HOUR, 0), HOUR / WALK_REST_PART);
        assert_eq!(rest(24 * 7 * HOUR, 0), WALK_REST_MAX);
        assert_eq!(rest(Duration::ZERO, 1_000_000), Duration::from_secs(20));
        assert_eq!(walk_rest(&Retention::default(), 9), None);
        let of_runs = Retention { runs: Some(HOUR), ..Retention::default() };
        assert!(walk_rest(&of_runs, 0).is_some() && shortest_of_jobs(&of_runs).is_none());
    }
}
