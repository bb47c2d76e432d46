//! What the owner of an engine decides.

use std::time::Duration;

use taskport_abstraction::RetryPolicy;
use taskport_abstraction::maintenance::Retention;

/// The engine's limits and defaults.
#[derive(Debug, Clone)]
pub struct EngineConfig {
    /// Where jitter comes from. Take it from the operating system.
    pub seed: u64,
    /// The largest number of bytes of a job's arguments.
    pub payload_bytes_max: usize,
    /// The largest number of bytes of a job's result. A larger one ends the job as failed.
    pub result_bytes_max: usize,
    /// The largest number of bytes of a job's options in their stored form.
    pub options_bytes_max: usize,
    /// How many jobs one [`tick`](crate::Transaction::tick) moves at most, of each sort.
    pub tick_jobs_max: usize,
    /// The longest page of a listing.
    pub page_len_max: usize,
    /// When a failed attempt is tried again, where the job does not say.
    pub retry: RetryPolicy,
    /// How long a worker without heartbeats stays on the list after its leases have lapsed.
    pub forget_workers_after: Duration,
    /// For how long the engine keeps what has ended before it removes it by itself. For ever, unless told.
    pub retention: Retention,
}

impl Default for EngineConfig {
    fn default() -> Self {
        Self {
            seed: 0,
            payload_bytes_max: 16 << 20,
            result_bytes_max: 16 << 20,
            options_bytes_max: 128 << 10,
            tick_jobs_max: 1_000,
            page_len_max: 1_000,
            retry: RetryPolicy::default(),
            forget_workers_after: Duration::from_secs(600),
            retention: Retention::default(),
        }
    }
}
