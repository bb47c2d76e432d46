//! When schedules tick: pure functions of a rule and a moment. `specs/schedules.md` has the rules in full.

mod cron;
mod jobs;
#[cfg(test)]
mod tests;
mod zone;

use std::time::Duration;

use sha2::{Digest, Sha256};
use taskport_abstraction::id::uuid_text;
use taskport_abstraction::schedule::{CatchUp, ScheduleDefinition, ScheduleRule};
use taskport_abstraction::{Error, JobId, Result, ScheduleName, Timestamp, codes};

use self::cron::Cron;
pub use self::jobs::{SCHEDULE, TICK};
pub(crate) use self::jobs::{job_of_tick, job_of_trigger};
use self::zone::Zone;
/// The shortest period of an interval.
pub const PERIOD_MIN: Duration = Duration::from_millis(100);
/// The largest number of ticks that [`CatchUp::All`] catches up.
pub const CATCH_UP_MAX: u32 = 1_000;
/// How late a tick may be and still be in time under [`CatchUp::Skip`].
pub const LATE_MAX: Duration = Duration::from_secs(10);
/// How long a cron expression may go without a tick before it counts as one that has none any more.
const YEARS_MAX: i16 = 40;

/// The ticks of one schedule.
#[derive(Debug, Clone)]
pub struct Ticks {
    rule: Rule,
    starts_at: Option<Timestamp>,
    ends_at: Option<Timestamp>,
}

#[derive(Debug, Clone)]
enum Rule {
    Cron { cron: Cron, zone: Zone },
    Every { period_micros: i64, anchor_micros: i64 },
}

impl Ticks {
    /// Reads the rule of a schedule.
    ///
    /// # Errors
    /// `InvalidInput` (E-050) for a rule that cannot be read or never ticks.
    pub fn of(definition: &ScheduleDefinition) -> Result<Self> {
        Self::new(&definition.rule, definition.starts_at, definition.ends_at)
    }

    /// The ticks of `rule` from `starts_at` up to but not including `ends_at`.
    ///
    /// # Errors
    /// As [`of`](Self::of).
    pub fn new(
        rule: &ScheduleRule,
        starts_at: Option<Timestamp>,
        ends_at: Option<Timestamp>,
    ) -> Result<Self> {
        let rule = match rule {
            ScheduleRule::Cron { expression, time_zone } => {
                Rule::Cron { cron: Cron::parse(expression)?, zone: Zone::named(time_zone.as_deref())? }
            }
            ScheduleRule::Every { period, anchor } => Rule::every(*period, *anchor)?,
        };
        if let (Some(start), Some(end)) = (starts_at, ends_at)
            && end <= start
        {
            return Err(bad(format!("the schedule ends at {end}, which is not after its start at {start}")));
        }
        let ticks = Self { rule, starts_at, ends_at };
        if ticks.next(Timestamp::default()).is_none() {
            return Err(bad("the schedule never ticks")
                .hint("look for a day that does not exist, or an end before the first tick"));
        }
        Ok(ticks)
    }

    /// The first tick after a moment, where there is one.
    pub fn next(&self, after: Timestamp) -> Option<Timestamp> {
        // No tick is before 1970, and none is at a moment that has no text form.
        let start = self.starts_at.unwrap_or_default().as_micros().max(0);
        let after = Timestamp::from_micros(after.as_micros().max(start.saturating_sub(1)));
        let tick = match &self.rule {
            Rule::Cron { cron, zone } => zone.next(cron, after)?,
            Rule::Every { period_micros, anchor_micros } => {
                next_multiple(*period_micros, *anchor_micros, after)?
            }
        };
        let in_time = tick < Timestamp::MAX && self.ends_at.is_none_or(|end| tick < end);
        in_time.then_some(tick)
    }

    /// The ticks after a moment, in order.
    pub fn after(&self, moment: Timestamp) -> impl Iterator<Item = Timestamp> + '_ {
        std::iter::successors(self.next(moment), |tick| self.next(*tick))
    }
}

impl Rule {
    fn every(period: Duration, anchor: Option<Timestamp>) -> Result<Self> {
        if period < PERIOD_MIN {
            return Err(bad(format!("a period of {period:?} is shorter than {PERIOD_MIN:?}")));
        }
        let micros = i64::try_from(period.as_micros())
            .ok()
            .filter(|micros| *micros < Timestamp::MAX.as_micros())
            .ok_or_else(|| bad("the period is longer than any schedule lasts"))?;
        Ok(Self::Every { period_micros: micros, anchor_micros: anchor.unwrap_or_default().as_micros() })
    }
}

fn next_multiple(period: i64, anchor: i64, after: Timestamp) -> Option<Timestamp> {
    let periods = after.as_micros().checked_sub(anchor)?.div_euclid(period);
    let next = periods.checked_add(1)?.checked_mul(period)?.checked_add(anchor)?;
    Some(Timestamp::from_micros(next))
}

/// Refuses what no schedule can be.
///
/// # Errors
/// `InvalidInput`: E-050 for its rule, E-004 for its jobs' options.
pub fn check(definition: &ScheduleDefinition) -> Result<Ticks> {
    let ticks = Ticks::of(definition)?;
    if let CatchUp::All { max } = definition.catch_up
        && !(1..=CATCH_UP_MAX).contains(&max)
    {
        return Err(bad(format!("{max} ticks to catch up are not within 1 to {CATCH_UP_MAX}")));
    }
    jobs::check(definition)?;
    Ok(ticks)
}

/// The id of the job of one tick, so that a tick fires once whatever the clock does: a UUIDv8 of the first bytes of
/// SHA-256 over `schedule`, the length of the name as four bytes, the name and the tick's microseconds as eight bytes,
/// all big-endian.
///
/// # Errors
/// None in fact: the text of a UUID is a job id.
pub fn job_id(name: &ScheduleName, tick: Timestamp) -> Result<JobId> {
    let mut bytes = [0; 16];
    bytes.copy_from_slice(&digest("schedule", name, tick)[..16]);
    bytes[6] = 0x80 | (bytes[6] & 0x0f);
    bytes[8] = 0x80 | (bytes[8] & 0x3f);
    JobId::new(uuid_text(bytes))
}

/// How much later than its tick a job may start: the first eight bytes of SHA-256 over `jitter` and what
/// [`job_id`] hashes, as a number, modulo `jitter` in microseconds.
pub fn delay(name: &ScheduleName, tick: Timestamp, jitter: Duration) -> Duration {
    let span = u64::try_from(jitter.as_micros()).unwrap_or(u64::MAX);
    let mut bytes = [0; 8];
    bytes.copy_from_slice(&digest("jitter", name, tick)[..8]);
    Duration::from_micros(u64::from_be_bytes(bytes).checked_rem(span).unwrap_or(0))
}

fn digest(purpose: &str, name: &ScheduleName, tick: Timestamp) -> [u8; 32] {
    let mut hash = Sha256::new();
    hash.update(purpose);
    // A name has at most 255 bytes.
    hash.update(u32::try_from(name.as_str().len()).unwrap_or(u32::MAX).to_be_bytes());
    hash.update(name.as_str());
    hash.update(tick.as_micros().to_be_bytes());
    hash.finalize().into()
}

fn bad(message: impl Into<std::borrow::Cow<'static, str>>) -> Error {
    Error::new(&codes::BAD_SCHEDULE, "read schedule", message)
}
