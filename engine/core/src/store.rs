//! What a store must do: small verbs on rows, and one transaction at a time. No verb decides anything about a job.

mod inbox;
mod journal;
mod limits;
mod upkeep;

mod schedules;

use std::any::Any;
use std::fmt;

use taskport_abstraction::backend::{JobFilter, Lease, QueueOrder, RunFilter};
use taskport_abstraction::job::Progress;
use taskport_abstraction::{JobId, JobState, Payload, QueueName, Result, RunId, StepId, Timestamp};

pub use self::inbox::{ReadInbox, TakeInbox};
pub use self::journal::{JournalEnd, KeepJournal, ReadJournal};
pub use self::limits::{LimitRows, ReadBatches};
pub use self::schedules::{ReadSchedules, WriteSchedules};
pub use self::upkeep::{BatchOutline, JobOutline, Keeper, RunOutline, Slice, Upkeep};
use crate::record::{JobRecord, KeyRecord, QueueRecord, RunRecord, StepJob, StepRecord, WorkerRecord};

/// Reading. The writing side reads what it has written; a separate reader reads what is committed.
pub trait Read: ReadBatches + ReadSchedules + ReadInbox + ReadJournal {
    /// The job with this id.
    fn job(&mut self, id: &JobId) -> Result<Option<JobRecord>>;

    /// At most `max` jobs that fit the filter, by falling `seq`, those below `before` where one is given.
    fn jobs(&mut self, filter: &JobFilter, before: Option<i64>, max: usize) -> Result<Vec<JobRecord>>;

    /// The queue with this name, where it ever held a job or was set up.
    fn queue(&mut self, name: &QueueName) -> Result<Option<QueueRecord>>;

    /// Every queue, by name.
    fn queues(&mut self) -> Result<Vec<QueueRecord>>;

    /// The `due_at` of the queued job of `queue` with the smallest `seq`.
    fn oldest_ready(&mut self, queue: &QueueName) -> Result<Option<Timestamp>>;

    /// Every worker, by name.
    fn workers(&mut self) -> Result<Vec<WorkerRecord>>;

    /// The run with this id.
    fn run(&mut self, id: &RunId) -> Result<Option<RunRecord>>;

    /// At most `max` runs that fit the filter, by falling `seq`, those below `before` where one is given.
    fn runs(&mut self, filter: &RunFilter, before: Option<i64>, max: usize) -> Result<Vec<RunRecord>>;

    /// The version of the run with this id. Cheap: it does not read the run.
    fn run_version(&mut self, id: &RunId) -> Result<Option<i64>>;

    /// The steps of a run whose version is above `since`, by `index`; those that have not begun have no record.
    fn steps(&mut self, run: &RunId, since: i64) -> Result<Vec<StepRecord>>;

    /// At most `max` jobs of one step of a run, by rising list place, those at `from` or after it. A job without a place
    /// stands at 0.
    fn step_jobs(&mut self, run: &RunId, step: &StepId, from: u32, max: usize) -> Result<Vec<StepJob>>;

    /// At most `max` jobs of a run that have not ended and that nobody asked to end, by rising `seq`.
    fn live_jobs_of_run(&mut self, run: &RunId, max: usize) -> Result<Vec<JobRecord>>;
}

/// Writing, in one transaction at a time.
///
/// After a verb has failed the transaction can only be rolled back; the engine sees to that.
pub trait Store:
    Read + LimitRows + WriteSchedules + TakeInbox + KeepJournal + Upkeep + Send + fmt::Debug + 'static
{
    /// What reads beside the writer, on another thread.
    type Reader: Read + Send + fmt::Debug + 'static;

    /// Opens a reader.
    fn reader(&self) -> Result<Self::Reader>;

    /// Calls `changed`, from a thread of the store's own, soon after another process may have committed, until the
    /// answer is dropped. `None` where no other process can. False alarms are allowed, and so are missed calls: the
    /// owner also asks [`changed_elsewhere`](Self::changed_elsewhere) now and then.
    fn watch(&self, changed: Box<dyn Fn() + Send + Sync>) -> Result<Option<Watch>>;

    /// Begins a transaction and says whether another connection has committed since the last time anybody asked.
    fn begin(&mut self) -> Result<bool>;

    /// Makes the transaction durable. With `announce`, lets other processes know at once.
    ///
    /// # Errors
    /// After an error the transaction is rolled back or, where the error says so, may have been applied.
    fn commit(&mut self, announce: bool) -> Result<()>;

    /// Forgets the transaction.
    fn rollback(&mut self);

    /// Whether another connection has committed since the last time anybody asked.
    fn changed_elsewhere(&mut self) -> Result<bool>;

    /// The earliest moment at which a job is due, lapses or expires, a run is due, a schedule ticks, or a worker is
    /// forgotten.
    fn next_due(&mut self) -> Result<Option<Timestamp>>;

    /// The largest `seq` of any job, or 0.
    fn seq_max(&mut self) -> Result<i64>;

    /// Inserts a job, or answers `false` and changes nothing where the id exists.
    fn insert_job(&mut self, job: &JobRecord) -> Result<bool>;

    /// Writes everything of a job that may change, which is all but `seq`, `id`, `submitted_at` and `step`.
    fn put_job(&mut self, job: &JobRecord) -> Result<()>;

    /// Deletes a job and what it said.
    fn delete_job(&mut self, job: &JobRecord) -> Result<()>;

    /// Leases the first `max` queued jobs of a queue that have not expired: the state becomes running, token and
    /// attempt grow by one, progress is cleared. Returns them in order of position, with their new values.
    fn claim(&mut self, grant: &Grant<'_>) -> Result<Vec<JobRecord>>;

    /// Ends the running job as succeeded, where its token is that of the lease; else answers `false`.
    fn succeed(&mut self, lease: &Lease, result: &Payload, now: Timestamp) -> Result<bool>;

    /// Moves the end of a lease and keeps the progress, where the token is current: then answers whether the job is
    /// to be cancelled, else `None`. No progress leaves the last one.
    fn extend(
        &mut self,
        lease: &Lease,
        until: Timestamp,
        progress: Option<&Progress>,
    ) -> Result<Option<bool>>;

    /// Makes at most `max` scheduled or retrying jobs whose time has come queued, and says how many of which queue left
    /// which state.
    fn promote(&mut self, now: Timestamp, max: usize) -> Result<Vec<Promoted>>;

    /// At most `max` running jobs whose lease has lapsed, earliest first.
    fn lapsed(&mut self, now: Timestamp, max: usize) -> Result<Vec<JobRecord>>;

    /// At most `max` waiting jobs whose `expires_at` has come, earliest first.
    fn expired(&mut self, now: Timestamp, max: usize) -> Result<Vec<JobRecord>>;

    /// At most `max` waiting jobs of a queue.
    fn waiting(&mut self, queue: &QueueName, max: usize) -> Result<Vec<JobRecord>>;

    /// Gives every waiting job of a queue the position it has under `order`, as by
    /// [`position`](crate::state::position).
    fn reposition(&mut self, queue: &QueueName, order: QueueOrder) -> Result<()>;

    /// For which job a key stands.
    fn key(&mut self, key: &str) -> Result<Option<KeyRecord>>;

    /// Lets a key stand for a job.
    fn put_key(&mut self, key: &KeyRecord) -> Result<()>;

    /// Deletes the key where it stands for this job.
    fn delete_key(&mut self, key: &str, job: &JobId) -> Result<()>;

    /// Deletes at most `max` keys whose time is over.
    fn delete_keys_until(&mut self, now: Timestamp, max: usize) -> Result<()>;

    /// Writes a queue's order, pause and account.
    fn put_queue(&mut self, queue: &QueueRecord) -> Result<()>;

    /// Writes a worker.
    fn put_worker(&mut self, worker: &WorkerRecord) -> Result<()>;

    /// The worker with this name.
    fn worker(&mut self, name: &str) -> Result<Option<WorkerRecord>>;

    /// Deletes a worker.
    fn delete_worker(&mut self, name: &str) -> Result<()>;

    /// Deletes every worker whose `forget_at` has come.
    fn forget_workers(&mut self, now: Timestamp) -> Result<()>;

    /// Inserts a run, or answers `false` and changes nothing where the id exists.
    fn insert_run(&mut self, run: &RunRecord) -> Result<bool>;

    /// Writes everything of a run that may change: state, cancel, due time, version, end, output and failure. What
    /// else the record holds is not looked at: it may lack definition and input.
    fn put_run(&mut self, run: &RunRecord) -> Result<()>;

    /// Inserts or replaces steps of a run.
    fn put_steps(&mut self, run: &RunId, steps: &[StepRecord]) -> Result<()>;

    /// At most `max` runs that run and whose `due_at` has come, earliest first.
    fn due_runs(&mut self, now: Timestamp, max: usize) -> Result<Vec<RunId>>;
}

/// Ends a [`Store::watch`] when dropped.
pub type Watch = Box<dyn Any + Send>;

/// Which jobs to lease, to whom, until when.
#[derive(Debug, Clone, Copy)]
pub struct Grant<'a> {
    /// The queue.
    pub queue: &'a QueueName,
    /// How many jobs at most.
    pub max: usize,
    /// The worker.
    pub worker: &'a str,
    /// The present time.
    pub now: Timestamp,
    /// When the leases lapse.
    pub until: Timestamp,
}

/// Jobs of one queue that became queued.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Promoted {
    /// The queue.
    pub queue: QueueName,
    /// The state they left.
    pub from: JobState,
    /// How many.
    pub count: u64,
    /// Which, by `seq`.
    pub seqs: Vec<i64>,
}
