//! What a victim is told: one JSON document on its command line.

use std::path::PathBuf;
use std::time::Duration;

use serde::{Deserialize, Serialize};

use super::points::Point;

/// One process of a round.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Settings {
    /// A name that no other process of the round ever has.
    pub name: String,
    /// The file the engine works on.
    pub database: PathBuf,
    /// Where histories go.
    pub records: PathBuf,
    /// The file its clock follows.
    pub clock: Option<PathBuf>,
    /// Whether a commit waits for the operating system only.
    pub normal: bool,
    /// From which length the log is checkpointed. Small, so that a short round has many checkpoints.
    pub wal_bytes: u64,
    /// The size at which the file counts as full.
    pub file_bytes_max: Option<u64>,
    /// The largest arguments and results.
    pub payload_bytes_max: u64,
    /// Where to die.
    pub point: Option<Point>,
    /// Submits jobs.
    pub produce: Option<Produce>,
    /// Runs jobs.
    pub work: Option<Work>,
    /// Ends once it has submitted all of its jobs and nothing on the file waits or runs.
    pub leave_when_done: bool,
}

impl Settings {
    /// A process that does nothing yet.
    pub fn new(database: PathBuf, records: PathBuf) -> Self {
        Self {
            name: String::new(),
            database,
            records,
            clock: None,
            normal: false,
            wal_bytes: 1 << 20,
            file_bytes_max: None,
            payload_bytes_max: 16 << 20,
            point: None,
            produce: None,
            work: None,
            leave_when_done: false,
        }
    }
}

/// What a producer submits.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Produce {
    /// What the jobs are drawn from.
    pub seed: u64,
    /// How many jobs; left out, until it is told to stop.
    pub jobs: Option<u64>,
    /// How many in one submit, at most.
    pub batch: usize,
    /// How many jobs may wait before it pauses.
    pub backlog: u64,
    /// Which kinds of jobs, by weight.
    pub mix: Vec<(Kind, u32)>,
}

/// What a job does.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Kind {
    /// Nothing but its effect.
    Plain,
    /// Takes some tens of milliseconds.
    Slow,
    /// Takes two seconds.
    Long,
    /// May not start before a later moment.
    Later,
    /// Fails once or twice, and then succeeds.
    Flaky,
    /// Fails for good; some are run again.
    Doomed,
    /// Is submitted twice under its id.
    Twice,
    /// Has an idempotency key and is submitted twice under it, the second time with another id.
    Unique,
    /// Runs after those of its producer that were acknowledged before it.
    Ordered,
    /// Runs beside few others of its producer.
    Bounded,
    /// Is cancelled soon after.
    Cancelled,
    /// Waits for its time, and gives up before that.
    Expiring,
    /// Panics at every attempt.
    Panics,
    /// Ends the whole worker at every attempt.
    Aborts,
    /// Ends its child process at every attempt.
    AbortsChild,
    /// Never ends, in a child process.
    Loops,
    /// Takes memory without end, in a child process.
    Hogs,
}

/// How a worker works.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Work {
    /// How many attempts at once.
    pub concurrency: usize,
    /// How many jobs wait in it.
    pub prefetch: usize,
    /// How long a lease lasts.
    pub lease: Duration,
    /// How long a drain may take.
    pub grace: Duration,
    /// Whether it can run isolated tasks.
    pub isolated: bool,
}

impl Default for Work {
    fn default() -> Self {
        Self {
            concurrency: 32,
            prefetch: 224,
            lease: Duration::from_millis(1_000),
            grace: Duration::from_secs(5),
            isolated: false,
        }
    }
}
