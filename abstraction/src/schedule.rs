//! Schedules: rules that submit a job again and again.

use std::time::Duration;

use async_trait::async_trait;
use serde::{Deserialize, Serialize};

use crate::backend::{Page, PageRequest};
use crate::call::RawCall;
use crate::error::Result;
use crate::id::{JobId, ScheduleName};
use crate::options::{JobOptions, duration_micros};
use crate::time::Timestamp;

/// A rule that submits a job at each of its ticks.
#[derive(Debug, Clone, PartialEq)]
pub struct ScheduleDefinition {
    /// Its name, unique in the backend.
    pub name: ScheduleName,
    /// When it ticks.
    pub rule: ScheduleRule,
    /// What each tick submits.
    pub call: RawCall,
    /// What each job asks for.
    pub options: JobOptions,
    /// What becomes of ticks that could not fire in time.
    pub catch_up: CatchUp,
    /// Each job may start up to so long after its tick; the delay of a tick never changes.
    pub jitter: Duration,
    /// No tick is before this moment.
    pub starts_at: Option<Timestamp>,
    /// No tick is at or after this moment.
    pub ends_at: Option<Timestamp>,
}

/// When a schedule ticks.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum ScheduleRule {
    /// At the wall-clock times a cron expression names.
    ///
    /// A time that a change of the clocks skips ticks at the first moment after the gap, unless the rule names every
    /// hour; one that happens twice ticks the first time only, unless the rule names every hour or several times within
    /// one.
    Cron {
        /// Five fields (minute, hour, day of month, month, day of week), or six with seconds first.
        expression: String,
        /// An IANA time zone such as `Europe/Berlin`; UTC where none is given.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        time_zone: Option<String>,
    },
    /// At `anchor` and every `period` before and after it.
    Every {
        /// The time between two ticks.
        #[serde(with = "duration_micros")]
        period: Duration,
        /// A moment that is a tick; the epoch where none is given.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        anchor: Option<Timestamp>,
    },
}

/// What becomes of ticks that could not fire in time, because nothing ran that could fire them.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum CatchUp {
    /// The newest of them fires, the others are counted as missed.
    #[default]
    Latest,
    /// All of them are counted as missed.
    Skip,
    /// The newest `max` of them fire, in order; those before are counted as missed.
    All {
        /// How many.
        max: u32,
    },
}

/// A schedule as others see it.
#[derive(Debug, Clone, PartialEq)]
pub struct ScheduleStatus {
    /// The rule.
    pub definition: ScheduleDefinition,
    /// Whether it fires.
    pub paused: bool,
    /// Why it does not.
    pub paused_reason: Option<String>,
    /// Its next tick, where it has one and is not paused.
    pub next_at: Option<Timestamp>,
    /// The tick that fired last.
    pub last_at: Option<Timestamp>,
    /// The job of that tick.
    pub last_job: Option<JobId>,
    /// How many ticks have fired.
    pub fired: u64,
    /// How many ticks came to nothing, by [`CatchUp`] or because the submit was refused.
    pub missed: u64,
    /// Why the last tick submitted nothing, where it did not.
    pub problem: Option<String>,
    /// When it was first put.
    pub created_at: Timestamp,
    /// When its definition last changed.
    pub updated_at: Timestamp,
}

/// What became of a [`Schedules::put`].
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Put {
    /// There was none of this name.
    Created,
    /// It differs from the one that was there. Ticks that have fired stay fired.
    Updated,
    /// It is the one that was there.
    Unchanged,
}

/// Schedules a backend fires by itself, as long as one process has it open.
#[async_trait]
pub trait Schedules: Send + Sync {
    /// Creates a schedule, or changes the one of its name.
    ///
    /// # Errors
    /// `InvalidInput` for a rule that cannot be read or never ticks; what a submit of its job would answer.
    async fn put(&self, definition: ScheduleDefinition) -> Result<Put>;
    /// Removes a schedule. Jobs it has submitted stay.
    ///
    /// # Errors
    /// `NotFound`.
    async fn remove(&self, name: &ScheduleName) -> Result<()>;
    /// One schedule.
    async fn get(&self, name: &ScheduleName) -> Result<Option<ScheduleStatus>>;
    /// One page of schedules, by name.
    async fn list(&self, page: PageRequest) -> Result<Page<ScheduleStatus>>;
    /// Stops a schedule from firing. Ticks that pass meanwhile are neither caught up nor counted.
    async fn pause(&self, name: &ScheduleName, reason: Option<&str>) -> Result<()>;
    /// Lets a schedule fire again.
    async fn resume(&self, name: &ScheduleName) -> Result<()>;
    /// Submits the schedule's job now, paused or not, beside its ticks.
    async fn trigger(&self, name: &ScheduleName) -> Result<JobId>;
    /// Submits a job for each tick from `from` up to but not including `until`, unless it has fired; returns the jobs in
    /// order.
    ///
    /// # Errors
    /// `InvalidInput` where there are more than `max` ticks; then nothing was submitted.
    async fn backfill(
        &self,
        name: &ScheduleName,
        from: Timestamp,
        until: Timestamp,
        max: usize,
    ) -> Result<Vec<JobId>>;
}
