//! A store that does what the store inside it does, and lets a test count, hold up and break its transactions.

use std::sync::{Arc, Condvar, Mutex};
use std::time::Duration;

use taskport_abstraction::backend::{JobFilter, Lease, QueueOrder, RunFilter};
use taskport_abstraction::job::Progress;
use taskport_abstraction::journal::JournalEntry;
use taskport_abstraction::{
    BatchId, Error, JobId, Payload, QueueName, Result, RunId, ScheduleName, StepId, Timestamp, codes,
};
use taskport_engine::inbox::{InboxRecord, OutgoingRecord};
use taskport_engine::record::{
    BatchRecord, GateName, GateRecord, JobRecord, KeyRecord, QueueRecord, RunRecord, ScheduleRecord, StepJob,
    StepRecord, WorkerRecord,
};
use taskport_engine::store::{
    BatchOutline, Grant, JobOutline, JournalEnd, KeepJournal, Keeper, LimitRows, Promoted, ReadBatches,
    ReadInbox, ReadJournal, ReadSchedules, RunOutline, Slice, TakeInbox, Upkeep, Watch, WriteSchedules,
};
use taskport_engine::{Read, Store};

/// The store under the test's thumb.
#[derive(Debug)]
pub(crate) struct Probe<S> {
    inner: S,
    thumb: Arc<Thumb>,
}

/// The test's side of a [`Probe`].
#[derive(Debug, Default)]
pub(crate) struct Thumb {
    state: Mutex<State>,
    moved: Condvar,
}

#[derive(Debug, Default)]
struct State {
    begins: usize,
    commits: usize,
    down: bool,
    held: bool,
    waiting: bool,
    next: Option<Trouble>,
}

/// What is to go wrong once.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) enum Trouble {
    /// The transaction cannot begin.
    Begin,
    /// It cannot be made durable, and is not.
    Commit,
    /// It is made durable, but nobody can tell.
    Reply,
    /// A defect.
    Panic,
}

impl Thumb {
    pub(crate) fn on<S>(self: &Arc<Self>, inner: S) -> Probe<S> {
        Probe { inner, thumb: self.clone() }
    }

    pub(crate) fn commits(&self) -> usize {
        self.state.lock().unwrap().commits
    }

    /// Lets the next transaction run into `trouble`.
    pub(crate) fn cause(&self, trouble: Trouble) {
        self.state.lock().unwrap().next = Some(trouble);
    }

    /// Lets no transaction begin any more.
    pub(crate) fn take_down(&self) {
        let mut state = self.state.lock().unwrap();
        state.down = true;
        state.begins = 0;
    }

    /// Blocks until so many transactions were to begin since the store was taken down.
    pub(crate) fn await_begins(&self, begins: usize) {
        let state = self.state.lock().unwrap();
        drop(self.moved.wait_while(state, |state| state.begins < begins).unwrap());
    }

    /// Keeps the next commit from returning until [`let_go`](Self::let_go).
    pub(crate) fn hold(&self) {
        self.state.lock().unwrap().held = true;
    }

    /// Blocks until a commit is held up.
    pub(crate) fn await_held(&self) {
        let state = self.state.lock().unwrap();
        drop(self.moved.wait_while(state, |state| !state.waiting).unwrap());
    }

    pub(crate) fn let_go(&self) {
        self.state.lock().unwrap().held = false;
        self.moved.notify_all();
    }

    fn meets(&self, trouble: Trouble) -> bool {
        let mut state = self.state.lock().unwrap();
        let meets = state.next == Some(trouble);
        if meets {
            state.next = None;
        }
        meets
    }

    fn is_down(&self) -> bool {
        let mut state = self.state.lock().unwrap();
        state.begins += 1;
        self.moved.notify_all();
        state.down
    }

    fn committing(&self) {
        let mut state = self.state.lock().unwrap();
        state.commits += 1;
        state.waiting = true;
        self.moved.notify_all();
        let mut state = self.moved.wait_while(state, |state| state.held).unwrap();
        state.waiting = false;
    }
}

fn failure() -> Error {
    Error::new(&codes::STORE_IO, "commit", "the disk is sulking")
}

impl<S: Store> Probe<S> {
    fn inner(&mut self) -> &mut S {
        &mut self.inner
    }
}

macro_rules! forward {
    ($($verb:ident($($name:ident: $type:ty),*) -> $answer:ty;)+) => {
        $(fn $verb(&mut self, $($name: $type),*) -> $answer {
            self.inner().$verb($($name),*)
        })+
    };
}

impl<S: Store> Read for Probe<S> {
    forward! {
        job(id: &JobId) -> Result<Option<JobRecord>>;
        jobs(filter: &JobFilter, before: Option<i64>, max: usize) -> Result<Vec<JobRecord>>;
        queue(name: &QueueName) -> Result<Option<QueueRecord>>;
        queues() -> Result<Vec<QueueRecord>>;
        oldest_ready(queue: &QueueName) -> Result<Option<Timestamp>>;
        workers() -> Result<Vec<WorkerRecord>>;
        run(id: &RunId) -> Result<Option<RunRecord>>;
        runs(filter: &RunFilter, before: Option<i64>, max: usize) -> Result<Vec<RunRecord>>;
        run_version(id: &RunId) -> Result<Option<i64>>;
        steps(run: &RunId, since: i64) -> Result<Vec<StepRecord>>;
        step_jobs(run: &RunId, step: &StepId, from: u32, max: usize) -> Result<Vec<StepJob>>;
        live_jobs_of_run(run: &RunId, max: usize) -> Result<Vec<JobRecord>>;
    }
}

impl<S: Store> ReadBatches for Probe<S> {
    forward! {
        batch(id: &BatchId) -> Result<Option<BatchRecord>>;
    }
}

impl<S: Store> LimitRows for Probe<S> {
    forward! {
        gate(name: &GateName) -> Result<Option<GateRecord>>;
        gates(after: i64, max: usize) -> Result<Vec<GateRecord>>;
        due_gates(now: Timestamp, max: usize) -> Result<Vec<GateRecord>>;
        gate_id_max() -> Result<i64>;
        put_gate(gate: &GateRecord) -> Result<()>;
        delete_gate(id: i64) -> Result<()>;
        held(gate: i64, max: usize) -> Result<Vec<JobRecord>>;
        line_waits(key: &str) -> Result<Option<bool>>;
        next_in_line(key: &str) -> Result<Option<JobRecord>>;
        ready(queue: &QueueName, now: Timestamp, max: usize) -> Result<Vec<JobRecord>>;
        lease(jobs: &mut [JobRecord], grant: &Grant<'_>) -> Result<()>;
        move_job(job: &JobRecord) -> Result<()>;
        job_at(seq: i64) -> Result<Option<JobRecord>>;
        waiting_after(queue: &QueueName, after: i64, max: usize) -> Result<Vec<JobRecord>>;
        reposition_by_age(queue: &QueueName, ageing: Duration) -> Result<()>;
        due_queues(now: Timestamp, max: usize) -> Result<Vec<QueueName>>;
        insert_batch(batch: &BatchRecord) -> Result<()>;
        put_batch(batch: &BatchRecord) -> Result<()>;
    }
}

impl<S: Store> ReadSchedules for Probe<S> {
    forward! {
        schedule(name: &ScheduleName) -> Result<Option<ScheduleRecord>>;
        schedules(after: Option<&ScheduleName>, max: usize) -> Result<Vec<ScheduleRecord>>;
    }
}

impl<S: Store> WriteSchedules for Probe<S> {
    forward! {
        put_schedule(schedule: &ScheduleRecord) -> Result<()>;
        delete_schedule(name: &ScheduleName) -> Result<()>;
        due_schedules(now: Timestamp, max: usize) -> Result<Vec<ScheduleRecord>>;
    }
}

impl<S: Store> ReadInbox for Probe<S> {
    forward! {
        inbox_job(id: &JobId) -> Result<Option<InboxRecord>>;
        outgoing(after: i64, max: usize) -> Result<Vec<OutgoingRecord>>;
        outgoing_due(now: Timestamp) -> Result<bool>;
        outgoing_counts() -> Result<(u64, u64)>;
    }
}

impl<S: Store> TakeInbox for Probe<S> {
    forward! {
        inbox_waits() -> Result<bool>;
        inbox(max: usize, bytes_max: usize) -> Result<Vec<InboxRecord>>;
        delete_inbox_job(seq: i64) -> Result<()>;
        lease_outgoing(now: Timestamp, until: Timestamp, max: usize, bytes_max: usize) -> Result<Vec<OutgoingRecord>>;
        put_outgoing(seq: i64, due_at: Option<Timestamp>, reason: Option<&str>) -> Result<bool>;
        delete_outgoing(seq: i64) -> Result<bool>;
        outgoing_seqs(id: &JobId) -> Result<Vec<i64>>;
    }
}

impl<S: Store> ReadJournal for Probe<S> {
    forward! {
        entries(job: &JobId, after: u64, max: usize) -> Result<Option<Vec<JournalEntry>>>;
    }
}

impl<S: Store> KeepJournal for Probe<S> {
    forward! {
        journal_end(seq: i64) -> Result<Option<JournalEnd>>;
        put_entry(seq: i64, entry: &JournalEntry) -> Result<()>;
    }
}

impl<S: Store> Upkeep for Probe<S> {
    forward! {
        walked_at() -> Result<Timestamp>;
        put_walked_at(moment: Timestamp) -> Result<()>;
        outlines(after: i64, slice: Slice) -> Result<Vec<JobOutline>>;
        outlines_of_run(run: &RunId, slice: Slice) -> Result<Vec<JobOutline>>;
        delete_outlined(jobs: &[JobOutline]) -> Result<()>;
        run_outlines(after: i64, max: usize) -> Result<Vec<RunOutline>>;
        delete_run(run: &RunId) -> Result<()>;
        batch_outlines(after: Option<&BatchId>, max: usize) -> Result<Vec<BatchOutline>>;
        delete_batch(batch: &BatchId) -> Result<()>;
    }

    fn replaced(&mut self) -> bool {
        self.inner.replaced()
    }

    fn keeper(&self) -> Arc<dyn Keeper> {
        self.inner.keeper()
    }
}

impl<S: Store> Store for Probe<S> {
    type Reader = S::Reader;

    fn reader(&self) -> Result<S::Reader> {
        self.inner.reader()
    }

    fn watch(&self, changed: Box<dyn Fn() + Send + Sync>) -> Result<Option<Watch>> {
        self.inner.watch(changed)
    }

    fn begin(&mut self) -> Result<bool> {
        if self.thumb.is_down() || self.thumb.meets(Trouble::Begin) {
            return Err(failure());
        }
        self.inner.begin()
    }

    fn commit(&mut self, announce: bool) -> Result<()> {
        self.thumb.committing();
        assert!(!self.thumb.meets(Trouble::Panic), "a defect, as the test asked for");
        if self.thumb.meets(Trouble::Commit) {
            return Err(failure());
        }
        self.inner.commit(announce)?;
        if self.thumb.meets(Trouble::Reply) { Err(failure().maybe_applied()) } else { Ok(()) }
    }

    fn rollback(&mut self) {
        self.inner.rollback();
    }

    forward! {
        changed_elsewhere() -> Result<bool>;
        next_due() -> Result<Option<Timestamp>>;
        seq_max() -> Result<i64>;
        insert_job(job: &JobRecord) -> Result<bool>;
        put_job(job: &JobRecord) -> Result<()>;
        delete_job(job: &JobRecord) -> Result<()>;
        claim(grant: &Grant<'_>) -> Result<Vec<JobRecord>>;
        succeed(lease: &Lease, result: &Payload, now: Timestamp) -> Result<bool>;
        extend(lease: &Lease, until: Timestamp, progress: Option<&Progress>) -> Result<Option<bool>>;
        promote(now: Timestamp, max: usize) -> Result<Vec<Promoted>>;
        lapsed(now: Timestamp, max: usize) -> Result<Vec<JobRecord>>;
        expired(now: Timestamp, max: usize) -> Result<Vec<JobRecord>>;
        waiting(queue: &QueueName, max: usize) -> Result<Vec<JobRecord>>;
        reposition(queue: &QueueName, order: QueueOrder) -> Result<()>;
        key(key: &str) -> Result<Option<KeyRecord>>;
        put_key(key: &KeyRecord) -> Result<()>;
        delete_key(key: &str, job: &JobId) -> Result<()>;
        delete_keys_until(now: Timestamp, max: usize) -> Result<()>;
        put_queue(queue: &QueueRecord) -> Result<()>;
        put_worker(worker: &WorkerRecord) -> Result<()>;
        worker(name: &str) -> Result<Option<WorkerRecord>>;
        delete_worker(name: &str) -> Result<()>;
        forget_workers(now: Timestamp) -> Result<()>;
        insert_run(run: &RunRecord) -> Result<bool>;
        put_run(run: &RunRecord) -> Result<()>;
        put_steps(run: &RunId, steps: &[StepRecord]) -> Result<()>;
        due_runs(now: Timestamp, max: usize) -> Result<Vec<RunId>>;
    }
}
