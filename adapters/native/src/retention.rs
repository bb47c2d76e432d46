//! For how long the engine keeps what has ended.

use std::fmt;
use std::str::FromStr;
use std::time::Duration;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use taskport_abstraction::maintenance::Retention;
use taskport_abstraction::text::{format_duration, parse_duration};

const DAY: Duration = Duration::from_secs(24 * 60 * 60);
const FOREVER: &str = "forever";

/// For how long the engine keeps what has ended before it removes it by itself: times such as `12h` or `7d`, or `forever`.
///
/// A job whose idempotency key is still in force stays, whatever stands here. Removed jobs stay in their queue's account.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct RetentionConfig {
    /// Jobs that succeeded. Default `7d`. Afterwards their results are gone. Since v0.1.
    pub succeeded: Keep,
    /// Jobs that failed for good: dead letters. Default `forever`, until somebody has looked at them. Since v0.1.
    pub failed: Keep,
    /// Jobs that were cancelled. Default `7d`. Since v0.1.
    pub cancelled: Keep,
    /// Jobs that expired. Default `7d`. Since v0.1.
    pub expired: Keep,
    /// Runs of workflows, each with its steps and all their jobs, however those ended. Default `30d`. Since v0.1.
    pub runs: Keep,
}

impl Default for RetentionConfig {
    fn default() -> Self {
        let week = Keep(Some(7 * DAY));
        Self {
            succeeded: week,
            failed: Keep(None),
            cancelled: week,
            expired: week,
            runs: Keep(Some(30 * DAY)),
        }
    }
}

impl From<RetentionConfig> for Retention {
    fn from(config: RetentionConfig) -> Self {
        Self {
            succeeded: config.succeeded.0,
            failed: config.failed.0,
            cancelled: config.cancelled.0,
            expired: config.expired.0,
            runs: config.runs.0,
        }
    }
}

/// A time, or for ever.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(try_from = "String", into = "String")]
#[schemars(with = "String")]
pub struct Keep(pub Option<Duration>);

impl FromStr for Keep {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        if text == FOREVER {
            return Ok(Self(None));
        }
        parse_duration(text).map(|time| Self(Some(time))).map_err(|error| format!("{error}, or `{FOREVER}`"))
    }
}

impl TryFrom<String> for Keep {
    type Error = String;

    fn try_from(text: String) -> Result<Self, String> {
        text.parse()
    }
}

impl fmt::Display for Keep {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.0 {
            Some(time) => f.write_str(&format_duration(time)),
            None => f.write_str(FOREVER),
        }
    }
}

impl From<Keep> for String {
    fn from(keep: Keep) -> Self {
        keep.to_string()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_and_forever_are_read_and_written() {
        let check = |text: &str, expected: Option<Duration>| {
            let keep: Keep = serde_json::from_value(text.into()).unwrap();
            assert_eq!(keep, Keep(expected), "{text}");
            assert_eq!(serde_json::to_value(keep).unwrap(), text);
        };
        check("forever", None);
        check("7d", Some(7 * DAY));
        check("0s", Some(Duration::ZERO));
        for bad in ["", "7", "never", "Forever", "-1d", "7 weeks"] {
            assert!(serde_json::from_value::<Keep>(bad.into()).is_err(), "{bad}");
        }
        assert!(serde_json::from_str::<RetentionConfig>(r#"{"suceeded": "7d"}"#).is_err());
    }

    #[test]
    fn dead_letters_are_kept_unless_told() {
        let config: RetentionConfig = serde_json::from_str(r#"{"succeeded": "1h"}"#).unwrap();
        let retention = Retention::from(config);
        assert_eq!((retention.succeeded, retention.failed), (Some(DAY / 24), None));
        assert_eq!(retention.runs, Some(30 * DAY));
    }
}
