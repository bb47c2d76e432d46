//! A store that kills its own process at a chosen step.

use std::collections::BTreeMap;
use std::fs;
use std::path::PathBuf;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use rustix::process::{Signal, getpid, kill_process};
use serde::{Deserialize, Serialize};
use taskport_abstraction::backend::{JobFilter, Lease, QueueOrder, RunFilter};
use taskport_abstraction::job::Progress;
use taskport_abstraction::journal::JournalEntry;
use taskport_abstraction::{
    BatchId, JobId, Payload, QueueName, Result, RunId, ScheduleName, StepId, Timestamp,
};
use taskport_checker::{Event, Operation};
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

use crate::history::History;

/// A step of the engine at which its process can be killed: a side of a call of a verb of the store.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct Point {
    /// The verb, as the trait names it.
    pub verb: String,
    /// Before the call, or after it and before anybody hears of it.
    pub side: Side,
    /// Which call of the verb, from 1.
    pub nth: u64,
}

/// A side of a call.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Side {
    /// Nothing of it has happened.
    Before,
    /// All of it has happened in the store, and nobody has been told.
    After,
}

/// Counts the calls of every verb and kills the process at one of them.
#[derive(Debug)]
pub(crate) struct Points {
    point: Option<Point>,
    history: Arc<History>,
    calls: Mutex<BTreeMap<&'static str, u64>>,
}

impl Points {
    pub(crate) fn new(point: Option<Point>, history: Arc<History>) -> Self {
        Self { point, history, calls: Mutex::default() }
    }

    /// Writes down how often each verb was called.
    pub(crate) fn save(&self, path: PathBuf) -> std::io::Result<()> {
        let calls = self.calls.lock().unwrap_or_else(PoisonError::into_inner);
        fs::write(path, serde_json::to_vec(&*calls)?)
    }

    fn before(&self, verb: &'static str) -> u64 {
        let nth = {
            let mut calls = self.calls.lock().unwrap_or_else(PoisonError::into_inner);
            let calls = calls.entry(verb).or_default();
            *calls += 1;
            *calls
        };
        self.pass(verb, Side::Before, nth);
        nth
    }

    fn pass(&self, verb: &'static str, side: Side, nth: u64) {
        let here = |point: &Point| point.verb == verb && point.side == side && point.nth == nth;
        if self.point.as_ref().is_some_and(here) {
            let mut line = self.history.line(Operation::Fault, Event::Ok);
            line.target = Some(self.history.process().to_owned());
            self.history.write(&[line]);
            kill_process(getpid(), Signal::KILL).expect("a process may kill itself");
            // The signal is pending on this thread at the latest when the call returns.
            std::thread::park();
        }
    }
}

/// A store that passes everything on, and kills the process at its point.
#[derive(Debug)]
pub(crate) struct AbortingStore<S> {
    inner: S,
    points: Arc<Points>,
}

impl<S> AbortingStore<S> {
    pub(crate) fn new(inner: S, points: Arc<Points>) -> Self {
        Self { inner, points }
    }
}

/// Passes verbs on, with a point on either side of each.
macro_rules! pass_on {
    ($($verb:ident($($argument:ident: $type:ty),*) -> $answer:ty;)+) => {
        $(fn $verb(&mut self, $($argument: $type),*) -> $answer {
            let nth = self.points.before(stringify!($verb));
            let answer = self.inner.$verb($($argument),*);
            self.points.pass(stringify!($verb), Side::After, nth);
            answer
        })+
    };
}

impl<S: Store> Read for AbortingStore<S> {
    pass_on! {
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

impl<S: Store> ReadSchedules for AbortingStore<S> {
    pass_on! {
        schedule(name: &ScheduleName) -> Result<Option<ScheduleRecord>>;
        schedules(after: Option<&ScheduleName>, max: usize) -> Result<Vec<ScheduleRecord>>;
    }
}

impl<S: Store> WriteSchedules for AbortingStore<S> {
    pass_on! {
        put_schedule(schedule: &ScheduleRecord) -> Result<()>;
        delete_schedule(name: &ScheduleName) -> Result<()>;
        due_schedules(now: Timestamp, max: usize) -> Result<Vec<ScheduleRecord>>;
    }
}

impl<S: Store> ReadInbox for AbortingStore<S> {
    pass_on! {
        inbox_job(id: &JobId) -> Result<Option<InboxRecord>>;
        outgoing(after: i64, max: usize) -> Result<Vec<OutgoingRecord>>;
        outgoing_due(now: Timestamp) -> Result<bool>;
        outgoing_counts() -> Result<(u64, u64)>;
    }
}

impl<S: Store> TakeInbox for AbortingStore<S> {
    pass_on! {
        inbox_waits() -> Result<bool>;
        inbox(max: usize, bytes_max: usize) -> Result<Vec<InboxRecord>>;
        delete_inbox_job(seq: i64) -> Result<()>;
        lease_outgoing(now: Timestamp, until: Timestamp, max: usize, bytes_max: usize) -> Result<Vec<OutgoingRecord>>;
        put_outgoing(seq: i64, due_at: Option<Timestamp>, reason: Option<&str>) -> Result<bool>;
        delete_outgoing(seq: i64) -> Result<bool>;
        outgoing_seqs(id: &JobId) -> Result<Vec<i64>>;
    }
}

impl<S: Store> ReadJournal for AbortingStore<S> {
    pass_on! {
        entries(job: &JobId, after: u64, max: usize) -> Result<Option<Vec<JournalEntry>>>;
    }
}

impl<S: Store> KeepJournal for AbortingStore<S> {
    pass_on! {
        journal_end(seq: i64) -> Result<Option<JournalEnd>>;
        put_entry(seq: i64, entry: &JournalEntry) -> Result<()>;
    }
}

impl<S: Store> ReadBatches for AbortingStore<S> {
    pass_on! {
        batch(id: &BatchId) -> Result<Option<BatchRecord>>;
    }
}

impl<S: Store> LimitRows for AbortingStore<S> {
    pass_on! {
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

impl<S: Store> Upkeep for AbortingStore<S> {
    fn keeper(&self) -> Arc<dyn Keeper> {
        self.inner.keeper()
    }

    pass_on! {
        walked_at() -> Result<Timestamp>;
        put_walked_at(moment: Timestamp) -> Result<()>;
        outlines(after: i64, slice: Slice) -> Result<Vec<JobOutline>>;
        outlines_of_run(run: &RunId, slice: Slice) -> Result<Vec<JobOutline>>;
        delete_outlined(jobs: &[JobOutline]) -> Result<()>;
        run_outlines(after: i64, max: usize) -> Result<Vec<RunOutline>>;
        delete_run(run: &RunId) -> Result<()>;
        batch_outlines(after: Option<&BatchId>, max: usize) -> Result<Vec<BatchOutline>>;
        delete_batch(batch: &BatchId) -> Result<()>;
        replaced() -> bool;
    }
}

impl<S: Store> Store for AbortingStore<S> {
    type Reader = S::Reader;

    fn reader(&self) -> Result<S::Reader> {
        self.inner.reader()
    }

    fn watch(&self, changed: Box<dyn Fn() + Send + Sync>) -> Result<Option<Watch>> {
        self.inner.watch(changed)
    }

    fn rollback(&mut self) {
        let nth = self.points.before("rollback");
        self.inner.rollback();
        self.points.pass("rollback", Side::After, nth);
    }

    pass_on! {
        begin() -> Result<bool>;
        commit(announce: bool) -> Result<()>;
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
