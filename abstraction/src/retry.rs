//! When a failed attempt is tried again.

use std::fmt;
use std::str::FromStr;
use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::text::{format_duration, parse_duration};
use crate::time::Timestamp;

/// How often, how late and for how long a job is tried again.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct RetryPolicy {
    /// The largest number of attempts, the first included. At least 1.
    pub attempts_max: u32,
    /// How long to wait before the next attempt.
    pub backoff: Backoff,
    /// No attempt starts later than this after the submit.
    #[serde(with = "crate::options::optional_duration", skip_serializing_if = "Option::is_none")]
    pub age_max: Option<Duration>,
}

impl Default for RetryPolicy {
    /// Five attempts, exponential from one second to ten minutes, with jitter.
    fn default() -> Self {
        Self {
            attempts_max: 5,
            backoff: Backoff::Exponential {
                base: Duration::from_secs(1),
                max: Duration::from_secs(600),
                jitter: true,
            },
            age_max: None,
        }
    }
}

impl RetryPolicy {
    /// One attempt and no retry.
    pub fn never() -> Self {
        Self { attempts_max: 1, ..Self::default() }
    }

    /// When the attempt after `attempt` may start, or `None` where the job is to end.
    ///
    /// `asked` is the delay the handler asked for, which goes before the policy's own. `random` is uniform in
    /// `0.0..1.0` and only used for jitter.
    pub fn next(
        &self,
        attempt: u32,
        submitted_at: Timestamp,
        now: Timestamp,
        asked: Option<Duration>,
        random: f64,
    ) -> Option<Timestamp> {
        if attempt >= self.attempts_max {
            return None;
        }
        let next = now + asked.unwrap_or_else(|| self.backoff.delay(attempt, random));
        match self.age_max {
            Some(age_max) if next > submitted_at + age_max => None,
            _ => Some(next),
        }
    }
}

/// How long to wait before the next attempt.
///
/// Its text form is `fixed(5s)`, `linear(5s, max 1m)` or `exponential(1s, max 5m, jitter)`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub enum Backoff {
    /// Always the same delay.
    Fixed {
        /// The delay.
        delay: Duration,
    },
    /// The base times the number of attempts so far.
    Linear {
        /// The first delay, and the growth.
        base: Duration,
        /// The largest delay.
        max: Duration,
    },
    /// The base doubled with each attempt so far.
    Exponential {
        /// The first delay.
        base: Duration,
        /// The largest delay.
        max: Duration,
        /// Whether each delay is drawn from its upper half, so that failed jobs do not come back together.
        jitter: bool,
    },
}

const DELAY_MAX: Duration = Duration::from_secs(24 * 3_600);

impl Backoff {
    /// The delay after `attempt` attempts, with `random` uniform in `0.0..1.0`.
    pub fn delay(&self, attempt: u32, random: f64) -> Duration {
        let attempt = attempt.max(1);
        match *self {
            Self::Fixed { delay } => delay,
            Self::Linear { base, max } => base.saturating_mul(attempt).min(max),
            Self::Exponential { base, max, jitter } => {
                let full = base.saturating_mul(2_u32.saturating_pow(attempt - 1)).min(max);
                if jitter { full.mul_f64(0.5 + random.clamp(0.0, 1.0) / 2.0) } else { full }
            }
        }
    }

    /// The delay that no other one exceeds.
    pub(crate) const fn longest(&self) -> Duration {
        match *self {
            Self::Fixed { delay } => delay,
            Self::Linear { max, .. } | Self::Exponential { max, .. } => max,
        }
    }
}

impl fmt::Display for Backoff {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match *self {
            Self::Fixed { delay } => write!(f, "fixed({})", format_duration(delay)),
            Self::Linear { base, max } => {
                write!(f, "linear({}, max {})", format_duration(base), format_duration(max))
            }
            Self::Exponential { base, max, jitter } => write!(
                f,
                "exponential({}, max {}{})",
                format_duration(base),
                format_duration(max),
                if jitter { ", jitter" } else { "" }
            ),
        }
    }
}

impl FromStr for Backoff {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let malformed = || {
            format!(
                "`{text}` is not a backoff such as fixed(5s), linear(5s, max 1m) or exponential(1s, max 5m, jitter)"
            )
        };
        let (kind, rest) = text.trim().split_once('(').ok_or_else(malformed)?;
        let mut parts = rest.strip_suffix(')').ok_or_else(malformed)?.split(',').map(str::trim);
        let base = parse_duration(parts.next().ok_or_else(malformed)?)?;
        let (mut max, mut jitter) = (None, false);
        for part in parts {
            match part.strip_prefix("max ") {
                Some(limit) if max.is_none() => max = Some(parse_duration(limit)?),
                None if part == "jitter" && !jitter => jitter = true,
                _ => return Err(malformed()),
            }
        }
        match (kind.trim(), max, jitter) {
            ("fixed", None, false) => Ok(Self::Fixed { delay: base }),
            ("linear", max, false) => Ok(Self::Linear { base, max: max.unwrap_or(DELAY_MAX) }),
            ("exponential", max, jitter) => {
                Ok(Self::Exponential { base, max: max.unwrap_or(DELAY_MAX), jitter })
            }
            _ => Err(malformed()),
        }
    }
}

impl TryFrom<String> for Backoff {
    type Error = String;

    fn try_from(text: String) -> Result<Self, String> {
        text.parse()
    }
}

impl From<Backoff> for String {
    fn from(backoff: Backoff) -> Self {
        backoff.to_string()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SECOND: Duration = Duration::from_secs(1);

    #[test]
    fn text_forms_round_trip() {
        for text in [
            "fixed(5s)",
            "linear(5s, max 1m)",
            "exponential(1s, max 5m, jitter)",
            "exponential(250ms, max 1d)",
        ] {
            assert_eq!(text.parse::<Backoff>().unwrap().to_string(), text);
        }
        for bad in
            ["", "fixed", "fixed()", "fixed(5)", "fixed(5s, jitter)", "exponential(1s, 5m)", "cubic(1s)"]
        {
            assert!(bad.parse::<Backoff>().is_err(), "{bad}");
        }
    }

    #[test]
    fn delays_grow_to_their_limit() {
        let check = |text: &str, expected: [u64; 4]| {
            let backoff: Backoff = text.parse().unwrap();
            let delays = [1, 2, 3, 40].map(|attempt| backoff.delay(attempt, 0.0).as_millis());
            assert_eq!(delays, expected.map(u128::from), "{text}");
        };
        check("fixed(5s)", [5_000, 5_000, 5_000, 5_000]);
        check("linear(5s, max 12s)", [5_000, 10_000, 12_000, 12_000]);
        check("exponential(1s, max 5s)", [1_000, 2_000, 4_000, 5_000]);
        check("exponential(1s, max 5s, jitter)", [500, 1_000, 2_000, 2_500]);
    }

    #[test]
    fn the_policy_ends_by_attempts_and_by_age() {
        let start = Timestamp::from_micros(0);
        let policy = RetryPolicy {
            attempts_max: 3,
            backoff: Backoff::Fixed { delay: SECOND },
            age_max: Some(10 * SECOND),
        };
        assert_eq!(policy.next(1, start, start, None, 0.5), Some(start + SECOND));
        assert_eq!(policy.next(2, start, start, Some(5 * SECOND), 0.5), Some(start + 5 * SECOND));
        assert_eq!(policy.next(3, start, start, None, 0.5), None);
        assert_eq!(policy.next(1, start, start + 10 * SECOND, None, 0.5), None);
    }
}
