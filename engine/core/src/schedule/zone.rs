//! Time zones: which moment a wall-clock time is, also where the clocks change.

use std::sync::LazyLock;

use jiff::civil::DateTime;
use jiff::tz::{Offset, TimeZone, TimeZoneDatabase};
use jiff::{SignedDuration, Timestamp as Moment, ToSpan};
use taskport_abstraction::text::nearest;
use taskport_abstraction::{Result, Timestamp};

use super::cron::Cron;
use super::{YEARS_MAX, bad};

/// The rules that come with the program: the same on every machine, and no file is read (I4).
static ZONES: LazyLock<TimeZoneDatabase> = LazyLock::new(TimeZoneDatabase::bundled);

/// A time zone by its IANA name.
#[derive(Debug, Clone)]
pub(super) struct Zone(TimeZone);

/// The clocks are set from one offset to another.
struct Change {
    at: Moment,
    before: Offset,
    after: Offset,
}

impl Zone {
    /// The zone of a name; UTC where none is given.
    pub(super) fn named(name: Option<&str>) -> Result<Self> {
        let Some(name) = name else { return Ok(Self(TimeZone::UTC)) };
        ZONES.get(name).map(Self).map_err(|_| {
            let shown: String = name.chars().take(64).flat_map(char::escape_debug).collect();
            let error = bad(format!("the time zone `{shown}` is not known"));
            let known: Vec<String> = ZONES.available().map(|name| name.to_string()).collect();
            match nearest(name, known.iter().map(String::as_str)) {
                Some(near) => error.hint(format!("did you mean `{near}`?")),
                None => error.hint("give an IANA name such as `Europe/Berlin`, or none for UTC"),
            }
        })
    }

    /// The first tick of an expression after a moment.
    ///
    /// Between two changes of the clocks, wall-clock times rise with time, so that each stretch is searched by itself.
    pub(super) fn next(&self, cron: &Cron, after: Timestamp) -> Option<Timestamp> {
        let next_second = after.as_micros().div_euclid(1_000_000) + 1;
        let mut at = Moment::from_second(next_second).ok()?;
        let end = at.to_zoned(TimeZone::UTC).checked_add(YEARS_MAX.years()).ok()?.timestamp();
        let mut change = self.change_until(at);
        while at < end {
            if let Some(change) = change.as_ref().filter(|change| change.at == at)
                && change.skips(cron)
            {
                return moment(at);
            }
            let offset = self.0.to_offset(at);
            let next = self.0.following(at).next().map(|next| next.timestamp());
            let mut from = offset.to_datetime(at);
            if let Some(change) = change.as_ref().filter(|_| !cron.repeats()) {
                // What the clocks have shown before the change is not shown for the first time now.
                from = from.max(change.before.to_datetime(change.at));
            }
            let until = offset.to_datetime(next.unwrap_or(end).min(end));
            if let Some(found) = cron.first(from, until) {
                return moment(offset.to_timestamp(found).ok()?);
            }
            at = next?;
            change = self.change_until(at);
        }
        None
    }

    /// The last change of the clocks at a moment or before it.
    fn change_until(&self, moment: Moment) -> Option<Change> {
        let just_after = moment.checked_add(SignedDuration::from_nanos(1)).ok()?;
        let at = self.0.preceding(just_after).next()?.timestamp();
        let just_before = at.checked_sub(SignedDuration::from_nanos(1)).ok()?;
        Some(Change { at, before: self.0.to_offset(just_before), after: self.0.to_offset(at) })
    }
}

impl Change {
    /// Whether it skips a wall-clock time of an expression, so that it is a tick itself.
    fn skips(&self, cron: &Cron) -> bool {
        let gap: [DateTime; 2] = [self.before, self.after].map(|offset| offset.to_datetime(self.at));
        !cron.ticks_every_hour() && cron.first(gap[0], gap[1]).is_some()
    }
}

fn moment(moment: Moment) -> Option<Timestamp> {
    Some(Timestamp::from_micros(moment.as_microsecond()))
}
