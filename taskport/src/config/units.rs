//! Durations, sizes and rates as a configuration writes them: always with their unit.

use std::fmt;
use std::str::FromStr;
use std::time::Duration;

use serde::de::{Deserializer, Error as _, Visitor};
use serde::{Deserialize, Serialize, Serializer};
use taskport_abstraction::text::{format_duration, parse_bytes, parse_duration};

/// So many starts in each period, written as `100/s`, `20/m` or `5/10m`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Rate {
    /// How many may start. At least 1.
    pub count: u32,
    /// In how long. More than zero.
    pub period: Duration,
}

impl FromStr for Rate {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let malformed = || format!("`{text}` is not a rate such as 100/s, 20/m or 5/10m");
        let (count, period) = text.split_once('/').ok_or_else(malformed)?;
        let count = count.trim().parse().map_err(|_| malformed())?;
        let period = period.trim();
        let bare_unit = period.starts_with(|c: char| !c.is_ascii_digit());
        let period = if bare_unit { parse_duration(&format!("1{period}")) } else { parse_duration(period) };
        let period = period.map_err(|_| malformed())?;
        if count == 0 || period.is_zero() {
            return Err(format!("`{text}` would never let anything start"));
        }
        Ok(Self { count, period })
    }
}

impl fmt::Display for Rate {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let period = format_duration(self.period);
        write!(
            f,
            "{}/{}",
            self.count,
            period.strip_prefix('1').filter(|unit| is_unit(unit)).unwrap_or(&period)
        )
    }
}

fn is_unit(text: &str) -> bool {
    text.bytes().all(|b| b.is_ascii_alphabetic())
}

/// Text read and written by functions; what is wrong with it is said in its own words.
fn parsed<'de, T, D: Deserializer<'de>>(
    deserializer: D,
    expected: &'static str,
    parse: fn(&str) -> Result<T, String>,
) -> Result<T, D::Error> {
    struct Text<T>(&'static str, fn(&str) -> Result<T, String>);
    impl<T> Visitor<'_> for Text<T> {
        type Value = T;

        fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
            f.write_str(self.0)
        }
        fn visit_str<E: serde::de::Error>(self, text: &str) -> Result<T, E> {
            (self.1)(text).map_err(E::custom)
        }
    }
    deserializer.deserialize_str(Text(expected, parse))
}

const DURATION: &str = "a duration such as 250ms, 30s or 5m";
const SIZE: &str = "a size such as 64KiB, 512MiB or 2GB";
const RATE: &str = "a rate such as 100/s";

pub(super) mod duration {
    use super::*;

    pub(in crate::config) fn serialize<S: Serializer>(
        value: &Duration,
        serializer: S,
    ) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(&format_duration(*value))
    }

    pub(in crate::config) fn deserialize<'de, D: Deserializer<'de>>(
        deserializer: D,
    ) -> Result<Duration, D::Error> {
        parsed(deserializer, DURATION, parse_duration)
    }
}

pub(super) mod optional_duration {
    use super::*;

    pub(in crate::config) fn serialize<S: Serializer>(
        value: &Option<Duration>,
        serializer: S,
    ) -> Result<S::Ok, S::Error> {
        value.map(format_duration).serialize(serializer)
    }

    pub(in crate::config) fn deserialize<'de, D: Deserializer<'de>>(
        deserializer: D,
    ) -> Result<Option<Duration>, D::Error> {
        duration::deserialize(deserializer).map(Some)
    }
}

pub(super) mod size {
    use super::*;

    pub(in crate::config) fn serialize<S: Serializer>(value: &u64, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(&format_bytes(*value))
    }

    pub(in crate::config) fn deserialize<'de, D: Deserializer<'de>>(
        deserializer: D,
    ) -> Result<u64, D::Error> {
        parsed(deserializer, SIZE, parse_bytes)
    }
}

pub(super) mod optional_size {
    use super::*;

    pub(in crate::config) fn serialize<S: Serializer>(
        value: &Option<u64>,
        serializer: S,
    ) -> Result<S::Ok, S::Error> {
        value.map(format_bytes).serialize(serializer)
    }

    pub(in crate::config) fn deserialize<'de, D: Deserializer<'de>>(
        deserializer: D,
    ) -> Result<Option<u64>, D::Error> {
        size::deserialize(deserializer).map(Some)
    }
}

impl Serialize for Rate {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for Rate {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        parsed(deserializer, RATE, str::parse)
    }
}

/// Text that is read by `FromStr`, such as a backoff.
pub(super) fn from_text<'de, T, D>(deserializer: D) -> Result<Option<T>, D::Error>
where
    T: FromStr,
    T::Err: fmt::Display,
    D: Deserializer<'de>,
{
    let text = String::deserialize(deserializer)?;
    text.parse().map(Some).map_err(D::Error::custom)
}

fn format_bytes(bytes: u64) -> String {
    match bytes {
        b if b > 0 && b % (1 << 30) == 0 => format!("{}GiB", b >> 30),
        b if b > 0 && b % (1 << 20) == 0 => format!("{}MiB", b >> 20),
        b if b > 0 && b % (1 << 10) == 0 => format!("{}KiB", b >> 10),
        b => format!("{b}B"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rates_round_trip_and_refuse_zero() {
        for text in ["100/s", "20/m", "5/10m", "1/1500ms"] {
            assert_eq!(text.parse::<Rate>().unwrap().to_string(), text);
        }
        for bad in ["", "100", "0/s", "5/0s", "x/s", "5/parsec", "-1/s"] {
            assert!(bad.parse::<Rate>().is_err(), "{bad}");
        }
    }

    #[test]
    fn sizes_are_written_as_they_are_read() {
        for text in ["512MiB", "1GiB", "3KiB", "1000B"] {
            assert_eq!(format_bytes(parse_bytes(text).unwrap()), text);
        }
    }
}
