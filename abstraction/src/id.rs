//! Names and ids. Each is checked when it is made, so that whoever holds one need not check again.

use std::fmt;
use std::str::FromStr;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use serde::{Deserialize, Serialize};

use crate::codes;
use crate::error::Error;
use crate::time::Timestamp;

macro_rules! text_id {
    ($(#[$meta:meta])* $name:ident, $what:literal, $check:expr, $rule:literal) => {
        $(#[$meta])*
        #[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
        #[serde(try_from = "String", into = "String")]
        pub struct $name(Arc<str>);

        impl $name {
            #[doc = concat!("Checks and keeps a ", $what, ": ", $rule, ".")]
            ///
            /// # Errors
            /// `InvalidInput` (E-003) where the text breaks the rule.
            pub fn new(text: impl Into<Arc<str>>) -> Result<Self, Error> {
                let text = text.into();
                let check: fn(&str) -> bool = $check;
                if check(&text) {
                    return Ok(Self(text));
                }
                let shown: String = text.chars().take(40).flat_map(char::escape_debug).collect();
                Err(Error::new(&codes::BAD_NAME, "check name", format!(concat!("`{}` is not a ", $what), shown))
                    .hint(concat!("a ", $what, " is ", $rule)))
            }

            /// The text.
            pub fn as_str(&self) -> &str {
                &self.0
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str(&self.0)
            }
        }

        impl fmt::Debug for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                fmt::Debug::fmt(&self.0, f)
            }
        }

        impl FromStr for $name {
            type Err = Error;

            fn from_str(text: &str) -> Result<Self, Error> {
                Self::new(text)
            }
        }

        impl TryFrom<String> for $name {
            type Error = Error;

            fn try_from(text: String) -> Result<Self, Error> {
                Self::new(text)
            }
        }

        impl From<$name> for String {
            fn from(id: $name) -> Self {
                id.0.as_ref().to_owned()
            }
        }

        impl AsRef<str> for $name {
            fn as_ref(&self) -> &str {
                &self.0
            }
        }

        impl std::borrow::Borrow<str> for $name {
            fn borrow(&self) -> &str {
                &self.0
            }
        }
    };
}

text_id!(
    /// The identity of one submitted call. Ours are UUIDv7 made by the client; foreign ids are kept verbatim.
    JobId, "job id", printable, "1 to 255 printable ASCII characters without spaces"
);
text_id!(
    /// The identity of one execution of a workflow.
    RunId, "run id", printable, "1 to 255 printable ASCII characters without spaces"
);
text_id!(
    /// The name of a registered task, such as `billing.tasks.charge`.
    TaskName, "task name", printable, "1 to 255 printable ASCII characters without spaces"
);
text_id!(
    /// A named line of jobs.
    QueueName, "queue name", printable, "1 to 255 printable ASCII characters without spaces"
);
text_id!(
    /// The identity of jobs that were submitted together.
    BatchId, "batch id", printable, "1 to 255 printable ASCII characters without spaces"
);
text_id!(
    /// The name of a schedule.
    ScheduleName, "schedule name", printable, "1 to 255 printable ASCII characters without spaces"
);
text_id!(
    /// The name of one node of a workflow.
    StepId, "step id", identifier, "a lower-case letter, then up to 63 lower-case letters, digits or underscores"
);
text_id!(
    /// The name of a configured backend.
    BackendName, "backend name", backend_name, "lower-case words joined by single underscores, such as `legacy_eu`"
);

fn printable(text: &str) -> bool {
    (1..=255).contains(&text.len()) && text.bytes().all(|b| b.is_ascii_graphic())
}

fn identifier(text: &str) -> bool {
    text.len() <= 64
        && text.starts_with(|c: char| c.is_ascii_lowercase())
        && text.bytes().all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'_')
}

fn backend_name(text: &str) -> bool {
    identifier(text)
        && !text.ends_with('_')
        && !text.contains("__")
        && text.split('_').all(|word| !word.is_empty())
}

impl QueueName {
    /// The queue of a job that names none.
    pub fn default_queue() -> Self {
        static DEFAULT: std::sync::LazyLock<QueueName> =
            std::sync::LazyLock::new(|| QueueName(Arc::from("default")));
        DEFAULT.clone()
    }
}

/// Where a job lives: `backend:id`.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct JobRef {
    /// The backend that holds the job.
    pub backend: BackendName,
    /// The job's id there.
    pub id: JobId,
}

impl fmt::Display for JobRef {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}", self.backend, self.id)
    }
}

impl FromStr for JobRef {
    type Err = Error;

    /// Splits at the first colon, since ids may hold colons and backend names may not.
    fn from_str(text: &str) -> Result<Self, Error> {
        let (backend, id) = text.split_once(':').ok_or_else(|| {
            Error::new(&codes::BAD_NAME, "check name", "a job reference has the form `backend:id`")
        })?;
        Ok(Self { backend: backend.parse()?, id: id.parse()? })
    }
}

impl TryFrom<String> for JobRef {
    type Error = Error;

    fn try_from(text: String) -> Result<Self, Error> {
        text.parse()
    }
}

impl From<JobRef> for String {
    fn from(job: JobRef) -> Self {
        job.to_string()
    }
}

/// A number that grows with every lease of a job; a settle with an older one is refused (I3).
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct LeaseToken(pub u64);

/// Makes UUIDv7 texts that sort by creation within one generator. Give it a seed from the operating system.
#[derive(Debug)]
pub struct IdGenerator {
    // Milliseconds in the high 42 bits, a counter in the low 22: one atomic keeps the order across threads.
    last: AtomicU64,
    random: AtomicU64,
}

impl IdGenerator {
    /// A generator whose random bits come from `seed`.
    pub fn new(seed: u64) -> Self {
        Self { last: AtomicU64::new(0), random: AtomicU64::new(seed) }
    }

    /// A job id that sorts after every earlier one of this generator.
    pub fn job_id(&self, now: Timestamp) -> JobId {
        JobId(self.uuid_v7(now))
    }

    /// A run id that sorts after every earlier one of this generator.
    pub fn run_id(&self, now: Timestamp) -> RunId {
        RunId(self.uuid_v7(now))
    }

    fn uuid_v7(&self, now: Timestamp) -> Arc<str> {
        const COUNTER_BITS: u32 = 22;
        let millis = u64::try_from(now.as_micros() / 1_000).unwrap_or(0);
        let floor = millis << COUNTER_BITS;
        let advance = |last: u64| Some(if last < floor { floor } else { last + 1 });
        let previous = self.last.fetch_update(Ordering::AcqRel, Ordering::Acquire, advance).unwrap_or(floor);
        let stamp = if previous < floor { floor } else { previous + 1 };
        let (millis, counter) = (stamp >> COUNTER_BITS, stamp & ((1 << COUNTER_BITS) - 1));
        // The counter fills rand_a (12 bits) and the top 10 bits of rand_b; the rest is random.
        let high = (millis << 16) | 0x7000 | (counter >> 10);
        let low = 0x8000_0000_0000_0000 | ((counter & 0x3ff) << 52) | (self.next_random() >> 12);
        let mut text = [0_u8; 36];
        write_hyphenated((u128::from(high) << 64) | u128::from(low), &mut text);
        Arc::from(std::str::from_utf8(&text).unwrap_or_default())
    }

    /// SplitMix64: every draw is a bijection of a counter, so no two draws of one generator agree.
    fn next_random(&self) -> u64 {
        let mut z = self.random.fetch_add(0x9e37_79b9_7f4a_7c15, Ordering::Relaxed);
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }
}

fn write_hyphenated(value: u128, text: &mut [u8; 36]) {
    const HEX: &[u8; 16] = b"0123456789abcdef";
    let mut nibble = 0;
    for (at, byte) in text.iter_mut().enumerate() {
        *byte = if matches!(at, 8 | 13 | 18 | 23) {
            b'-'
        } else {
            nibble += 1;
            HEX[(value >> (128 - 4 * nibble)) as usize & 0xf]
        };
    }
}

/// The 16 bytes of a text that is a lower-case hyphenated UUID, so that stores can keep it short.
pub fn uuid_bytes(text: &str) -> Option<[u8; 16]> {
    let bytes = text.as_bytes();
    if bytes.len() != 36 {
        return None;
    }
    let mut value = 0_u128;
    for (at, byte) in bytes.iter().enumerate() {
        let digit = match (at, byte) {
            (8 | 13 | 18 | 23, b'-') => continue,
            (8 | 13 | 18 | 23, _) => return None,
            (_, b'0'..=b'9') => byte - b'0',
            (_, b'a'..=b'f') => byte - b'a' + 10,
            _ => return None,
        };
        value = (value << 4) | u128::from(digit);
    }
    Some(value.to_be_bytes())
}

/// The text of a UUID given as 16 bytes: the inverse of [`uuid_bytes`].
pub fn uuid_text(bytes: [u8; 16]) -> Arc<str> {
    let mut text = [0_u8; 36];
    write_hyphenated(u128::from_be_bytes(bytes), &mut text);
    Arc::from(std::str::from_utf8(&text).unwrap_or_default())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn generated_ids_are_uuid_v7_and_sort_by_creation() {
        let ids = IdGenerator::new(7);
        let moments =
            [1_790_000_000_000_000, 1_790_000_000_000_000, 1_790_000_000_005_000, 1_780_000_000_000_000];
        let made: Vec<_> = moments.iter().map(|m| ids.job_id(Timestamp::from_micros(*m))).collect();
        assert!(made.windows(2).all(|pair| pair[0] < pair[1]), "{made:?}");
        for id in &made {
            assert_eq!(id.as_str().as_bytes()[14], b'7');
            assert!(matches!(id.as_str().as_bytes()[19], b'8' | b'9' | b'a' | b'b'));
        }
        let millis = u128::from_be_bytes(uuid_bytes(made[0].as_str()).unwrap()) >> 80;
        assert_eq!(millis, 1_790_000_000_000);
    }

    #[test]
    fn uuid_bytes_round_trip_and_refuse_other_texts() {
        let text = "0192f0c1-2345-7abc-8def-0123456789ab";
        assert_eq!(uuid_text(uuid_bytes(text).unwrap()).as_ref(), text);
        for other in
            ["", "0192F0C1-2345-7abc-8def-0123456789ab", "0192f0c1x2345-7abc-8def-0123456789ab", "job-1"]
        {
            assert!(uuid_bytes(other).is_none(), "{other}");
        }
    }

    #[test]
    fn names_are_checked() {
        let long = "x".repeat(256);
        for bad in ["", "a b", "a\nb", "tab\t", "é", long.as_str(), "nul\0"] {
            assert!(JobId::new(bad).is_err(), "{bad:?}");
        }
        for bad in ["", "Main", "a__b", "a_", "_a", "1a", "a-b", "a:b"] {
            assert!(BackendName::new(bad).is_err(), "{bad:?}");
        }
        assert!(BackendName::new("legacy_eu2").is_ok());
    }

    #[test]
    fn job_refs_split_at_the_first_colon() {
        let job: JobRef = "legacy:a:b".parse().unwrap();
        assert_eq!((job.backend.as_str(), job.id.as_str()), ("legacy", "a:b"));
        assert_eq!(job.to_string(), "legacy:a:b");
        assert!("nocolon".parse::<JobRef>().is_err());
    }
}
