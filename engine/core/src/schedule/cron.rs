//! Cron expressions: which wall-clock times they name.

use jiff::civil::{Date, DateTime};
use taskport_abstraction::{Error, Result};

use super::bad;

/// The longest expression.
const LEN_MAX: usize = 255;

/// The wall-clock times of an expression. Each set has one bit per value.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Cron {
    seconds: u64,
    minutes: u64,
    hours: u64,
    days: u64,
    /// The last day of each month, beside `days`.
    last_day: bool,
    months: u64,
    weekdays: u64,
    /// Both sorts of day are given, and either will do.
    either_day: bool,
}

/// What one field may hold.
struct Field {
    name: &'static str,
    min: u8,
    max: u8,
    names: &'static [&'static str],
}

const SECOND: Field = Field { name: "second", min: 0, max: 59, names: &[] };
const MINUTE: Field = Field { name: "minute", min: 0, max: 59, names: &[] };
const HOUR: Field = Field { name: "hour", min: 0, max: 23, names: &[] };
const DAY: Field = Field { name: "day of month", min: 1, max: 31, names: &[] };
const MONTH: Field = Field {
    name: "month",
    min: 1,
    max: 12,
    names: &["JAN", "FEB", "MAR", "APR", "MAY", "JUN", "JUL", "AUG", "SEP", "OCT", "NOV", "DEC"],
};
/// Sunday is 0, and 7 as the end of a range or alone.
const WEEKDAY: Field =
    Field { name: "day of week", min: 0, max: 7, names: &["SUN", "MON", "TUE", "WED", "THU", "FRI", "SAT"] };

const EVERY_HOUR: u64 = (1 << 24) - 1;
const NICKNAMES: [(&str, &str); 7] = [
    ("@yearly", "0 0 1 1 *"),
    ("@annually", "0 0 1 1 *"),
    ("@monthly", "0 0 1 * *"),
    ("@weekly", "0 0 * * 0"),
    ("@daily", "0 0 * * *"),
    ("@midnight", "0 0 * * *"),
    ("@hourly", "0 * * * *"),
];

impl Cron {
    /// Reads five fields, six with seconds first, or a nickname such as `@daily`.
    pub(super) fn parse(expression: &str) -> Result<Self> {
        let text = expression.trim();
        if text.len() > LEN_MAX {
            return Err(bad(format!("a cron expression has at most {LEN_MAX} bytes")));
        }
        if text.starts_with('@') {
            return Self::nickname(text);
        }
        let fields: Vec<&str> = text.split_ascii_whitespace().collect();
        let (second, rest) = match fields.len() {
            5 => ("0", &fields[..]),
            6 => (fields[0], &fields[1..]),
            count => {
                return Err(bad(format!("the cron expression has {count} fields, and 5 or 6 are expected"))
                    .hint(
                        "write minute, hour, day of month, month and day of week, such as `0 3 * * MON-FRI`",
                    ));
            }
        };
        let weekdays = WEEKDAY.parse(rest[4])?;
        let (days, last_day) = days_of_month(rest[2])?;
        let restricted = |field: &str| !field.starts_with('*');
        Ok(Self {
            seconds: SECOND.parse(second)?,
            minutes: MINUTE.parse(rest[0])?,
            hours: HOUR.parse(rest[1])?,
            days,
            last_day,
            months: MONTH.parse(rest[3])?,
            weekdays: (weekdays | (weekdays >> 7)) & 0x7f,
            either_day: restricted(rest[2]) && restricted(rest[4]),
        })
    }

    fn nickname(text: &str) -> Result<Self> {
        let known = NICKNAMES.iter().find(|(name, _)| text.eq_ignore_ascii_case(name));
        match known {
            Some((_, fields)) => Self::parse(fields),
            None => {
                let names: Vec<_> = NICKNAMES.iter().map(|(name, _)| *name).collect();
                Err(bad(format!("`{}` is no nickname of a cron expression", shown(text)))
                    .hint(format!("one of: {}; or an interval such as every 5m", names.join(", "))))
            }
        }
    }

    /// Whether it names every hour, so that an hour the clocks skip is no loss.
    pub(super) fn ticks_every_hour(&self) -> bool {
        self.hours == EVERY_HOUR
    }

    /// Whether it follows time rather than the clock's face: it names every hour, or several times within one.
    pub(super) fn repeats(&self) -> bool {
        self.ticks_every_hour() || self.minutes.count_ones() * self.seconds.count_ones() > 1
    }

    /// The first wall-clock time at `from` or after it and before `until`. `from` is a whole second.
    pub(super) fn first(&self, from: DateTime, until: DateTime) -> Option<DateTime> {
        let mut date = from.date();
        let mut time = (bit(from.hour()), bit(from.minute()), bit(from.second()));
        while date <= until.date() {
            if self.months >> bit(date.month()) & 1 == 0 {
                date = date.last_of_month().tomorrow().ok()?;
            } else {
                if self.names_day(date)
                    && let Some([hour, minute, second]) = self.time(time)
                {
                    let found = date.at(hour, minute, second, 0);
                    return (found < until).then_some(found);
                }
                date = date.tomorrow().ok()?;
            }
            time = (0, 0, 0);
        }
        None
    }

    fn names_day(&self, date: Date) -> bool {
        let of_month =
            self.days >> bit(date.day()) & 1 == 1 || (self.last_day && date == date.last_of_month());
        let of_week = self.weekdays >> bit(date.weekday().to_sunday_zero_offset()) & 1 == 1;
        if self.either_day { of_month || of_week } else { of_month && of_week }
    }

    /// The first time of day at `hour:minute:second` or after it.
    fn time(&self, (hour, minute, second): (u32, u32, u32)) -> Option<[i8; 3]> {
        let hour_fits = self.hours >> hour & 1 == 1;
        let minute_fits = hour_fits && self.minutes >> minute & 1 == 1;
        if let Some(second) = lowest(self.seconds, second).filter(|_| minute_fits) {
            return Some([value(hour), value(minute), value(second)]);
        }
        let first_second = lowest(self.seconds, 0)?;
        if let Some(minute) = lowest(self.minutes, minute + 1).filter(|_| hour_fits) {
            return Some([value(hour), value(minute), value(first_second)]);
        }
        let hour = lowest(self.hours, hour + 1)?;
        Some([value(hour), value(lowest(self.minutes, 0)?), value(first_second)])
    }
}

impl Field {
    /// The set of a list of values, ranges and steps.
    fn parse(&self, text: &str) -> Result<u64> {
        text.split(',').try_fold(0, |set, part| Ok(set | self.part(part)?))
    }

    fn part(&self, part: &str) -> Result<u64> {
        let (range, step) = match part.split_once('/') {
            Some((range, step)) => (range, Some(self.step(step, part)?)),
            None => (part, None),
        };
        // As the end of an open range, Sunday would count twice.
        let last = if self.max == WEEKDAY.max { 6 } else { self.max };
        let (low, high) = match range.split_once('-') {
            _ if range == "*" => (self.min, last),
            Some((low, high)) => (self.value(low, part)?, self.value(high, part)?),
            None => {
                let low = self.value(range, part)?;
                (low, if step.is_some() { last } else { low })
            }
        };
        let high = if self.max == WEEKDAY.max && high == 0 && low > 0 { 7 } else { high };
        if high < low {
            return Err(self
                .bad(part, "is a range that ends before it begins")
                .hint("write two ranges, such as `22-23,0-4` in place of `22-4`"));
        }
        let step = usize::from(step.unwrap_or(1));
        Ok((low..=high).step_by(step).fold(0, |set, value| set | 1 << value))
    }

    fn step(&self, text: &str, part: &str) -> Result<u8> {
        match number(text) {
            Some(step) if step > 0 && step <= self.max => Ok(step),
            _ => Err(self.bad(part, &format!("has a step that is not within 1 to {}", self.max))),
        }
    }

    fn value(&self, text: &str, part: &str) -> Result<u8> {
        let named = self.names.iter().zip(self.min..).find(|(name, _)| text.eq_ignore_ascii_case(name));
        let value = named.map(|(_, value)| value).or_else(|| number(text));
        value.filter(|value| (self.min..=self.max).contains(value)).ok_or_else(|| {
            let names = match self.names {
                [first, .., last] => format!(", or {first} to {last}"),
                _ => String::new(),
            };
            self.bad(part, &format!("is not within {} to {}{names}", self.min, self.max))
        })
    }

    fn bad(&self, part: &str, what: &str) -> Error {
        bad(format!("`{}` in the {} of the cron expression {what}", shown(part), self.name))
    }
}

/// The days of the month, and whether the last one is among them, which is written `L`.
fn days_of_month(text: &str) -> Result<(u64, bool)> {
    let mut days = (0, false);
    for part in text.split(',') {
        match part {
            "L" | "l" => days.1 = true,
            part => days.0 |= DAY.part(part)?,
        }
    }
    Ok(days)
}

/// At most two digits and nothing else.
fn number(text: &str) -> Option<u8> {
    let digits = (1..=2).contains(&text.len()) && text.bytes().all(|byte| byte.is_ascii_digit());
    text.parse().ok().filter(|_| digits)
}

fn shown(text: &str) -> String {
    text.chars().take(40).flat_map(char::escape_debug).collect()
}

/// The lowest value of a set at `from` or above.
fn lowest(set: u64, from: u32) -> Option<u32> {
    let rest = set & u64::MAX.checked_shl(from)?;
    (rest != 0).then(|| rest.trailing_zeros())
}

/// The place of a part of a date or time, none of which is negative.
fn bit(value: i8) -> u32 {
    u32::from(value.unsigned_abs())
}

/// A part of a time from its place, which is below 60.
fn value(bit: u32) -> i8 {
    i8::try_from(bit).unwrap_or(i8::MAX)
}
