//! What a submit may ask for besides the call itself.

use std::collections::BTreeMap;
use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::capability::{Capability, Feature};
use crate::codes;
use crate::error::Error;
use crate::id::{BatchId, JobId, QueueName};
use crate::retry::RetryPolicy;
use crate::time::Timestamp;

/// What a job asks for. Every field left out falls back to the task's declaration, then to the backend's default.
///
/// An option the backend cannot honour is refused before any I/O, never dropped.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct JobOptions {
    /// The line to wait in.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub queue: Option<QueueName>,
    /// From 0 to 9, 9 first.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub priority: Option<Priority>,
    /// When the first attempt may start.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub start: Option<Start>,
    /// When a job that has not started is given up.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub expiry: Option<Start>,
    /// How long one attempt may take before it is asked to stop.
    #[serde(with = "optional_duration", skip_serializing_if = "Option::is_none")]
    pub timeout_soft: Option<Duration>,
    /// How long one attempt may take before it is stopped.
    #[serde(with = "optional_duration", skip_serializing_if = "Option::is_none")]
    pub timeout_hard: Option<Duration>,
    /// When a failed attempt is tried again.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub retry: Option<RetryPolicy>,
    /// One job per key.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub idempotency: Option<Idempotency>,
    /// Jobs of one key run in submit order.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub ordering_key: Option<Arc<str>>,
    /// The share of a queue in fair order that the job is taken from.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub fair: Option<FairShare>,
    /// At most so many jobs of one key run at once.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub concurrency: Option<ConcurrencyLimit>,
    /// At most so many jobs of one key start in a period.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub rate_limit: Option<RateLimit>,
    /// The open batch the job belongs to.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub batch: Option<BatchId>,
    /// Words to find jobs by.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub tags: Vec<Arc<str>>,
    /// Facts carried with the job.
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    pub metadata: BTreeMap<Arc<str>, Arc<str>>,
    /// The job that submitted this one.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub parent: Option<JobId>,
    /// The trace this job is part of.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub trace: Option<TraceContext>,
}

/// The largest number of tags of one job.
pub const TAGS_MAX: usize = 64;
/// The largest number of metadata entries of one job.
pub const METADATA_MAX: usize = 64;
/// The largest number of bytes of a key, tag, or metadata value.
pub const TEXT_BYTES_MAX: usize = 1_024;
/// The longest duration, 100 years: what is longer is a slip, or stands for something that is better left out.
pub const DURATION_MAX: Duration = Duration::from_secs(36_525 * 86_400);

impl JobOptions {
    /// Fills every option left out from `defaults`. Lists are replaced, not joined.
    pub fn or(&mut self, defaults: &Self) {
        macro_rules! fill {
            ($($field:ident),+) => { $(if self.$field.is_none() { self.$field.clone_from(&defaults.$field); })+ };
        }
        fill!(queue, priority, start, expiry, timeout_soft, timeout_hard, retry);
        fill!(idempotency, ordering_key, fair, concurrency, rate_limit, batch, parent, trace);
        if self.tags.is_empty() {
            self.tags.clone_from(&defaults.tags);
        }
        if self.metadata.is_empty() {
            self.metadata.clone_from(&defaults.metadata);
        }
    }

    /// Checks the options against each other and against the fixed limits.
    ///
    /// # Errors
    /// `InvalidInput` (E-004) naming the option.
    pub fn validate(&self) -> Result<(), Error> {
        let bad = |message: String| Err(Error::new(&codes::BAD_OPTION, "submit", message));
        if let Some((what, _)) = self.durations().find(|(_, duration)| *duration > DURATION_MAX) {
            return bad(format!("{what} is longer than 100 years"))
                .map_err(|error| error.hint("leave out what is to have no limit"));
        }
        if let (Some(soft), Some(hard)) = (self.timeout_soft, self.timeout_hard)
            && soft > hard
        {
            return bad("the soft timeout is longer than the hard one".into());
        }
        if let (Some(Start::At(start)), Some(Start::At(expiry))) = (self.start, self.expiry)
            && expiry <= start
        {
            return bad("the job expires before it may start".into());
        }
        if let (Some(Start::In(start)), Some(Start::In(expiry))) = (self.start, self.expiry)
            && expiry <= start
        {
            return bad("the job expires before it may start".into());
        }
        if self.retry.as_ref().is_some_and(|retry| retry.attempts_max == 0) {
            return bad("a job needs at least one attempt".into());
        }
        if self.concurrency.as_ref().is_some_and(|limit| limit.max == 0) {
            return bad("a concurrency limit of 0 would never let a job run".into());
        }
        if self.rate_limit.as_ref().is_some_and(|limit| limit.count == 0 || limit.period.is_zero()) {
            return bad("a rate limit of 0 would never let a job run".into());
        }
        if self.fair.as_ref().is_some_and(|share| !(1..=WEIGHT_MAX).contains(&share.weight)) {
            return bad(format!("a weight is within 1 to {WEIGHT_MAX}"));
        }
        if self.tags.len() > TAGS_MAX || self.metadata.len() > METADATA_MAX {
            return bad(format!("a job has at most {TAGS_MAX} tags and {METADATA_MAX} metadata entries"));
        }
        let keys = [
            self.idempotency.as_ref().map(|idempotency| &idempotency.key),
            self.ordering_key.as_ref(),
            self.fair.as_ref().map(|share| &share.key),
            self.concurrency.as_ref().map(|limit| &limit.key),
            self.rate_limit.as_ref().map(|limit| &limit.key),
        ];
        let metadata = self.metadata.iter().flat_map(|(key, value)| [key, value]);
        let mut texts = keys.into_iter().flatten().chain(&self.tags).chain(metadata);
        if texts.any(|text| text.len() > TEXT_BYTES_MAX) {
            return bad(format!("keys, tags and metadata have at most {TEXT_BYTES_MAX} bytes each"));
        }
        if self.idempotency.as_ref().is_some_and(|idempotency| idempotency.key.is_empty()) {
            return bad("an idempotency key has at least one character".into());
        }
        Ok(())
    }

    /// Every duration there is, with its name.
    fn durations(&self) -> impl Iterator<Item = (&'static str, Duration)> + '_ {
        let counted = |moment| match moment {
            Some(Start::In(duration)) => Some(duration),
            Some(Start::At(_)) | None => None,
        };
        let unique = self.idempotency.as_ref().and_then(|idempotency| match idempotency.unique {
            Unique::For(period) => Some(period),
            Unique::WhileLive | Unique::Forever => None,
        });
        let retry = self.retry.as_ref();
        [
            ("the delay", counted(self.start)),
            ("the time to expiry", counted(self.expiry)),
            ("the soft timeout", self.timeout_soft),
            ("the hard timeout", self.timeout_hard),
            ("the backoff", retry.map(|retry| retry.backoff.longest())),
            ("the largest age of a retry", retry.and_then(|retry| retry.age_max)),
            ("the period of the idempotency key", unique),
            ("the period of the rate limit", self.rate_limit.as_ref().map(|limit| limit.period)),
        ]
        .into_iter()
        .filter_map(|(what, duration)| Some((what, duration?)))
    }

    /// The first feature these options need that `capability` does not give.
    pub fn unsupported_by(&self, capability: &Capability) -> Option<Feature> {
        self.needs().find(|feature| !capability.supports(*feature))
    }

    /// Every feature these options need.
    pub fn needs(&self) -> impl Iterator<Item = Feature> + '_ {
        let idempotency = self.idempotency.as_ref();
        let retry = self.retry.as_ref();
        [
            self.priority.map(|_| Feature::Priority),
            self.start.map(|_| Feature::Delay),
            self.expiry.map(|_| Feature::Expiry),
            self.timeout_soft.map(|_| Feature::TimeoutSoft),
            self.timeout_hard.map(|_| Feature::TimeoutHard),
            retry.map(|retry| match retry.backoff {
                _ if retry.attempts_max == 1 => Feature::Submit,
                crate::Backoff::Fixed { .. } => Feature::RetryFixed,
                crate::Backoff::Linear { .. } => Feature::RetryLinear,
                crate::Backoff::Exponential { .. } => Feature::RetryExponential,
            }),
            retry.and_then(|retry| retry.age_max).map(|_| Feature::RetryAgeMax),
            idempotency.map(|idempotency| match idempotency.unique {
                Unique::WhileLive => Feature::UniqueWhileLive,
                Unique::For(_) => Feature::UniqueForPeriod,
                Unique::Forever => Feature::UniqueForever,
            }),
            idempotency.and_then(|idempotency| match idempotency.on_conflict {
                OnConflict::Keep => None,
                OnConflict::Replace => Some(Feature::UniqueReplace),
                OnConflict::Ignore => Some(Feature::UniqueIgnore),
            }),
            self.fair.as_ref().map(|_| Feature::OrderFair),
            self.ordering_key.as_ref().map(|_| Feature::OrderingKey),
            self.concurrency.as_ref().map(|_| Feature::ConcurrencyKey),
            self.rate_limit.as_ref().map(|_| Feature::RateLimit),
            self.batch.as_ref().map(|_| Feature::Batches),
            (!self.tags.is_empty()).then_some(Feature::Tags),
            (!self.metadata.is_empty()).then_some(Feature::Metadata),
            self.parent.as_ref().map(|_| Feature::Parent),
            self.trace.as_ref().map(|_| Feature::TraceContext),
        ]
        .into_iter()
        .flatten()
    }
}

/// A priority from 0 to 9, 9 first. Jobs that name none have 4.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(try_from = "u8", into = "u8")]
pub struct Priority(u8);

impl Priority {
    /// The highest.
    pub const MAX: Self = Self(9);
    /// What a job has that names none.
    pub const DEFAULT: Self = Self(4);

    /// Checks and keeps a priority.
    ///
    /// # Errors
    /// `InvalidInput` (E-004) above 9.
    pub fn new(level: u8) -> Result<Self, Error> {
        if level <= 9 {
            return Ok(Self(level));
        }
        Err(Error::new(&codes::BAD_OPTION, "submit", format!("priority {level} is not within 0 to 9")))
    }

    /// The number.
    pub const fn level(self) -> u8 {
        self.0
    }
}

impl TryFrom<u8> for Priority {
    type Error = Error;

    fn try_from(level: u8) -> Result<Self, Error> {
        Self::new(level)
    }
}

impl From<Priority> for u8 {
    fn from(priority: Priority) -> Self {
        priority.0
    }
}

/// A moment, absolute or counted from the submit.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Start {
    /// So long after the submit, by the backend's clock.
    In(#[serde(with = "duration_micros")] Duration),
    /// At this moment.
    At(Timestamp),
}

impl Start {
    /// The moment, for a submit at `now`.
    pub fn resolve(self, now: Timestamp) -> Timestamp {
        match self {
            Self::In(delay) => now + delay,
            Self::At(moment) => moment,
        }
    }
}

/// The client's name for a request: same key, same job.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Idempotency {
    /// The key, one line for the whole backend.
    pub key: Arc<str>,
    /// For how long the key stands for one job.
    pub unique: Unique,
    /// What happens to a second submit of the key.
    pub on_conflict: OnConflict,
}

/// For how long an idempotency key stands for one job.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Unique {
    /// Until the job has ended.
    WhileLive,
    /// For so long after the submit, even when the job has ended.
    For(#[serde(with = "duration_micros")] Duration),
    /// As long as the backend keeps anything.
    Forever,
}

/// What happens to a second submit of one idempotency key.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum OnConflict {
    /// The first job stays as it is, and the submit returns it. Another call under the key is an
    /// `IdempotencyViolation`.
    Keep,
    /// A job that has not started takes the new call and options. One that runs goes on without the key, and a new
    /// job takes the key, so that the newer request is not lost.
    Replace,
    /// The first job stays as it is, and the submit returns it, whatever the newer call says.
    Ignore,
}

/// At most `max` jobs of `key` run at once.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ConcurrencyLimit {
    /// What is counted together.
    pub key: Arc<str>,
    /// How many may run at once.
    pub max: u32,
}

/// The largest weight of a [`FairShare`].
pub const WEIGHT_MAX: u32 = 1_000;

/// Whose share of a queue a job is taken from. In a queue in fair order, keys that have jobs waiting start jobs in
/// proportion to their weights, however many jobs each has.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct FairShare {
    /// What shares, such as a customer.
    pub key: Arc<str>,
    /// From 1 to 1,000; the weight of the newest submit counts.
    #[serde(default = "weight_one")]
    pub weight: u32,
}

fn weight_one() -> u32 {
    1
}

/// Jobs of `key` start at `count` in `period`: a bucket of `count` tokens refills evenly, and each start takes one.
///
/// After a rest, `count` jobs may start at once.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct RateLimit {
    /// What is counted together.
    pub key: Arc<str>,
    /// How many may start.
    pub count: u32,
    /// In how long.
    #[serde(with = "duration_micros")]
    pub period: Duration,
}

/// A W3C trace context.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct TraceContext(Arc<str>);

impl TraceContext {
    /// Checks and keeps a `traceparent` value such as `00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01`.
    ///
    /// # Errors
    /// `InvalidInput` (E-004) where it is none.
    pub fn new(traceparent: impl Into<Arc<str>>) -> Result<Self, Error> {
        let text = traceparent.into();
        let lengths: Vec<usize> = text.split('-').map(str::len).collect();
        let hex = text.bytes().all(|b| b == b'-' || b.is_ascii_digit() || (b'a'..=b'f').contains(&b));
        if lengths == [2, 32, 16, 2] && hex {
            return Ok(Self(text));
        }
        Err(Error::new(&codes::BAD_OPTION, "submit", "the trace context is no W3C traceparent"))
    }

    /// The `traceparent` text.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Debug for TraceContext {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl TryFrom<String> for TraceContext {
    type Error = Error;

    fn try_from(text: String) -> Result<Self, Error> {
        Self::new(text)
    }
}

impl From<TraceContext> for String {
    fn from(trace: TraceContext) -> Self {
        trace.0.as_ref().to_owned()
    }
}

/// A duration stored as microseconds.
pub mod duration_micros {
    use std::time::Duration;

    use serde::{Deserialize, Deserializer, Serializer};

    /// Writes microseconds.
    ///
    /// # Errors
    /// Those of the serializer.
    pub fn serialize<S: Serializer>(duration: &Duration, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_u64(u64::try_from(duration.as_micros()).unwrap_or(u64::MAX))
    }

    /// Reads microseconds.
    ///
    /// # Errors
    /// Those of the deserializer.
    pub fn deserialize<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Duration, D::Error> {
        u64::deserialize(deserializer).map(Duration::from_micros)
    }
}

/// An optional duration stored as microseconds.
pub mod optional_duration {
    use std::time::Duration;

    use serde::{Deserialize, Deserializer, Serializer};

    /// Writes microseconds, or nothing.
    ///
    /// # Errors
    /// Those of the serializer.
    pub fn serialize<S: Serializer>(duration: &Option<Duration>, serializer: S) -> Result<S::Ok, S::Error> {
        match duration {
            Some(duration) => super::duration_micros::serialize(duration, serializer),
            None => serializer.serialize_none(),
        }
    }

    /// Reads microseconds, or nothing.
    ///
    /// # Errors
    /// Those of the deserializer.
    pub fn deserialize<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<Duration>, D::Error> {
        Ok(Option::<u64>::deserialize(deserializer)?.map(Duration::from_micros))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::retry::Backoff;

    #[test]
    fn options_left_out_take_no_room() {
        assert_eq!(serde_json::to_string(&JobOptions::default()).unwrap(), "{}");
        let options = JobOptions {
            priority: Some(Priority::MAX),
            start: Some(Start::In(Duration::from_secs(1))),
            timeout_hard: Some(Duration::from_millis(5)),
            retry: Some(RetryPolicy::never()),
            ..JobOptions::default()
        };
        let text = serde_json::to_string(&options).unwrap();
        assert_eq!(serde_json::from_str::<JobOptions>(&text).unwrap(), options, "{text}");
    }

    #[test]
    fn contradictions_are_refused() {
        let contradiction = JobOptions {
            timeout_soft: Some(Duration::from_secs(2)),
            timeout_hard: Some(Duration::from_secs(1)),
            ..JobOptions::default()
        };
        assert_eq!(contradiction.validate().unwrap_err().code(), &codes::BAD_OPTION);
        let tags = JobOptions { tags: vec![Arc::from("x"); TAGS_MAX + 1], ..JobOptions::default() };
        assert!(tags.validate().is_err());
        assert!(JobOptions::default().validate().is_ok());
    }

    #[test]
    fn no_duration_is_longer_than_a_hundred_years() {
        let asking = |duration| {
            let none = JobOptions::default;
            let retry = |backoff| Some(RetryPolicy { backoff, ..RetryPolicy::default() });
            let age_max = Some(RetryPolicy { age_max: Some(duration), ..RetryPolicy::default() });
            let fixed = Backoff::Fixed { delay: duration };
            let exponential = Backoff::Exponential { base: duration, max: duration, jitter: true };
            let unique = Unique::For(duration);
            let key = Idempotency { key: "key".into(), unique, on_conflict: OnConflict::Keep };
            let rate = RateLimit { key: "key".into(), count: 1, period: duration };
            [
                ("the delay", JobOptions { start: Some(Start::In(duration)), ..none() }),
                ("the time to expiry", JobOptions { expiry: Some(Start::In(duration)), ..none() }),
                ("the soft timeout", JobOptions { timeout_soft: Some(duration), ..none() }),
                ("the hard timeout", JobOptions { timeout_hard: Some(duration), ..none() }),
                ("the backoff", JobOptions { retry: retry(fixed), ..none() }),
                ("the backoff", JobOptions { retry: retry(exponential), ..none() }),
                ("the largest age of a retry", JobOptions { retry: age_max, ..none() }),
                ("the period of the idempotency key", JobOptions { idempotency: Some(key), ..none() }),
                ("the period of the rate limit", JobOptions { rate_limit: Some(rate), ..none() }),
            ]
        };
        for (what, options) in asking(DURATION_MAX) {
            assert!(options.validate().is_ok(), "{what}");
        }
        for duration in [DURATION_MAX + Duration::from_nanos(1), Duration::MAX] {
            for (what, options) in asking(duration) {
                let error = options.validate().unwrap_err();
                assert_eq!(error.code(), &codes::BAD_OPTION);
                assert_eq!(error.message(), format!("{what} is longer than 100 years"));
            }
        }
        let far = JobOptions { start: Some(Start::At(Timestamp::MAX)), ..JobOptions::default() };
        assert!(far.validate().is_ok(), "a moment is what it says");
    }

    #[test]
    fn trace_contexts_are_checked() {
        assert!(TraceContext::new("00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01").is_ok());
        for bad in ["", "00-4BF92F3577B34DA6A3CE929D0E0E4736-00f067aa0ba902b7-01", "00-1-2-3"] {
            assert!(TraceContext::new(bad).is_err(), "{bad}");
        }
    }
}
