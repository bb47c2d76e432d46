//! What a store keeps of the limits on jobs.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use taskport_abstraction::{BatchId, JobId, QueueName, RawCall, Timestamp};

/// Stands in a job's `held_by` for those before it in its line, where other gates have their id.
pub const IN_LINE: i64 = -1;

/// A place in the line of an ordering key. A line is the jobs that have one and nothing else.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LinePlace {
    /// The ordering key.
    pub key: Arc<str>,
    /// Where in the line: the smallest heads it, and of equal ones the job with the smallest `seq`.
    pub place: i64,
}

/// What jobs of one key have to pass.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum GateKind {
    /// The share of a key in a queue in fair order.
    Share,
    /// The slots of a concurrency key.
    Slots,
    /// The tokens of a rate key.
    Tokens,
}

impl GateKind {
    /// Every kind, by its number in the tables.
    pub const ALL: [Self; 3] = [Self::Share, Self::Slots, Self::Tokens];
}

/// What tells a gate from others.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct GateName {
    /// Its kind.
    pub kind: GateKind,
    /// The queue, where it is of one queue only.
    pub queue: Option<QueueName>,
    /// The key.
    pub key: Arc<str>,
}

impl GateName {
    /// The gate of a key over all queues.
    pub fn new(kind: GateKind, key: &Arc<str>) -> Self {
        Self { kind, queue: None, key: key.clone() }
    }
}

/// A gate.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct GateRecord {
    /// The store's key of the gate, above 0.
    pub id: i64,
    /// Its name.
    pub name: GateName,
    /// Of slots: how many jobs run.
    pub inside: u64,
    /// How many jobs it holds back.
    pub held: u64,
    /// How many slots or tokens there are.
    pub max: u32,
    /// In how long its tokens refill.
    pub period: Duration,
    /// Of a share: where its next job stands. Of tokens: the bucket.
    pub mark: i64,
    /// When it is to be looked at again.
    pub wake_at: Option<Timestamp>,
}

impl GateRecord {
    /// A gate nothing has passed.
    pub fn new(id: i64, name: GateName) -> Self {
        Self { id, name, inside: 0, held: 0, max: 0, period: Duration::ZERO, mark: 0, wake_at: None }
    }
}

/// How far a queue with an order or limits of its own has come.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Pace {
    /// Whether it ever held a job with a concurrency or rate limit.
    pub gated: bool,
    /// In fair order: the position of what was claimed last.
    pub virtual_time: i64,
    /// The bucket of its rate.
    pub bucket: i64,
    /// When it has a token again.
    pub wake_at: Option<Timestamp>,
}

/// A batch.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct BatchRecord {
    /// Its id.
    pub id: BatchId,
    /// How many jobs it has.
    pub total: u64,
    /// How many have not ended.
    pub pending: u64,
    /// How many have succeeded.
    pub succeeded: u64,
    /// How many have failed for good.
    pub failed: u64,
    /// How many were cancelled or expired.
    pub cancelled: u64,
    /// When it was submitted.
    pub submitted_at: Timestamp,
    /// When its last job ended.
    pub finished_at: Option<Timestamp>,
    /// The job to submit once every job has succeeded.
    pub on_success: Option<CallbackRecord>,
    /// The job to submit once every job has ended.
    pub on_complete: Option<CallbackRecord>,
}

/// A job that a batch submits at its end.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CallbackRecord {
    /// The id it is to have.
    pub id: JobId,
    /// The task and its arguments.
    pub call: RawCall,
    /// Its options in their stored form, where they are not the default.
    pub options: Option<Bytes>,
}
