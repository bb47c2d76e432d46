//! What a store must do for limits, orders of their own, and batches.

use std::time::Duration;

use taskport_abstraction::{BatchId, QueueName, Result, Timestamp};

use super::Grant;
use crate::record::{BatchRecord, GateName, GateRecord, JobRecord};

/// The rows of gates and batches, and the moves of jobs that have to do with them.
pub trait LimitRows {
    /// The gate with this name.
    fn gate(&mut self, name: &GateName) -> Result<Option<GateRecord>>;

    /// At most `max` gates by rising id, those above `after`.
    fn gates(&mut self, after: i64, max: usize) -> Result<Vec<GateRecord>>;

    /// At most `max` gates whose `wake_at` has come, earliest first.
    fn due_gates(&mut self, now: Timestamp, max: usize) -> Result<Vec<GateRecord>>;

    /// The greatest id of a gate, 0 where there is none.
    fn gate_id_max(&mut self) -> Result<i64>;

    /// Inserts or replaces a gate.
    fn put_gate(&mut self, gate: &GateRecord) -> Result<()>;

    /// Deletes a gate.
    fn delete_gate(&mut self, id: i64) -> Result<()>;

    /// The first `max` jobs of each queue that a gate holds back, by position.
    fn held(&mut self, gate: i64, max: usize) -> Result<Vec<JobRecord>>;

    /// Whether the last job in the line of an ordering key waits for others, where the line has jobs.
    fn line_waits(&mut self, key: &str) -> Result<Option<bool>>;

    /// The first job that waits in the line of an ordering key.
    fn next_in_line(&mut self, key: &str) -> Result<Option<JobRecord>>;

    /// The first `max` queued jobs of a queue that have not expired, by position.
    fn ready(&mut self, queue: &QueueName, now: Timestamp, max: usize) -> Result<Vec<JobRecord>>;

    /// Leases jobs that are queued, and gives them their new values, as [`claim`](super::Store::claim) does.
    fn lease(&mut self, jobs: &mut [JobRecord], grant: &Grant<'_>) -> Result<()>;

    /// Writes a waiting job's state, position, due time, and the gate that holds it back.
    fn move_job(&mut self, job: &JobRecord) -> Result<()>;

    /// The job with this `seq`.
    fn job_at(&mut self, seq: i64) -> Result<Option<JobRecord>>;

    /// At most `max` waiting jobs of a queue by rising `seq`, those above `after`, without those in a line.
    fn waiting_after(&mut self, queue: &QueueName, after: i64, max: usize) -> Result<Vec<JobRecord>>;

    /// Gives every waiting job of a queue the position it has by priority and age, as by
    /// [`aged_position`](crate::state::aged_position).
    fn reposition_by_age(&mut self, queue: &QueueName, ageing: Duration) -> Result<()>;

    /// At most `max` queues whose `wake_at` has come.
    fn due_queues(&mut self, now: Timestamp, max: usize) -> Result<Vec<QueueName>>;

    /// Inserts a batch with its callbacks.
    fn insert_batch(&mut self, batch: &BatchRecord) -> Result<()>;

    /// Writes a batch's counts and end.
    fn put_batch(&mut self, batch: &BatchRecord) -> Result<()>;
}

/// Reading batches.
pub trait ReadBatches {
    /// The batch with this id.
    fn batch(&mut self, id: &BatchId) -> Result<Option<BatchRecord>>;
}
