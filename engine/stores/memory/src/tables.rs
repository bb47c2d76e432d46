//! The rows, their indexes, and how to take changes back.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::hash::Hash;
use std::sync::Arc;

use taskport_abstraction::job::StepRef;
use taskport_abstraction::journal::JournalEntry;
use taskport_abstraction::{BatchId, JobId, JobState, QueueName, RunId, ScheduleName, StepId, Timestamp};
use taskport_engine::record::{
    BatchRecord, GateName, GateRecord, JobRecord, KeyRecord, LinePlace, QueueRecord, RunRecord,
    ScheduleRecord, StepRecord, WorkerRecord,
};

/// Every row. A row is only changed by the `set_` functions, which keep the indexes and the undo log.
#[derive(Debug, Default)]
pub(crate) struct Tables {
    pub(crate) jobs: BTreeMap<i64, JobRecord>,
    pub(crate) job_ids: HashMap<JobId, i64>,
    /// Queued jobs by queue and position.
    pub(crate) ready: BTreeSet<(QueueName, i64, i64)>,
    /// Scheduled, running and retrying jobs by the time they are due.
    pub(crate) timers: BTreeSet<(Timestamp, i64)>,
    /// Jobs that may expire, by when.
    pub(crate) expiring: BTreeSet<(Timestamp, i64)>,
    /// The jobs of runs by step and place; -1 stands for no place in a list.
    pub(crate) step_jobs: BTreeMap<RunId, BTreeMap<(StepId, i64), i64>>,
    /// Jobs that gates hold back, of each gate by queue and position.
    pub(crate) held: HashMap<i64, BTreeSet<(QueueName, i64, i64)>>,
    /// Jobs in the lines of ordering keys, by their places.
    pub(crate) lines: HashMap<Arc<str>, BTreeSet<(i64, i64)>>,
    pub(crate) gates: BTreeMap<i64, GateRecord>,
    pub(crate) gate_ids: HashMap<GateName, i64>,
    pub(crate) batches: BTreeMap<BatchId, BatchRecord>,
    pub(crate) queues: BTreeMap<QueueName, QueueRecord>,
    pub(crate) keys: BTreeMap<Arc<str>, KeyRecord>,
    pub(crate) workers: BTreeMap<Arc<str>, WorkerRecord>,
    pub(crate) schedules: BTreeMap<ScheduleName, ScheduleRecord>,
    pub(crate) runs: BTreeMap<i64, RunRecord>,
    pub(crate) run_ids: HashMap<RunId, i64>,
    pub(crate) run_steps: BTreeMap<(RunId, u32), StepRecord>,
    /// What jobs said, by `seq` and number.
    pub(crate) journal: BTreeMap<(i64, u64), JournalEntry>,
    /// When somebody last walked over what has ended. It is not undone: a walk that came to nothing was one.
    pub(crate) walked_at: Timestamp,
    undo: Vec<Undo>,
}

/// What stood in a place before it was changed.
#[derive(Debug)]
enum Undo {
    Job(i64, Option<Box<JobRecord>>),
    Queue(QueueName, Option<QueueRecord>),
    Gate(i64, Option<Box<GateRecord>>),
    Batch(BatchId, Option<Box<BatchRecord>>),
    Key(Arc<str>, Option<KeyRecord>),
    Worker(Arc<str>, Option<Box<WorkerRecord>>),
    Schedule(ScheduleName, Option<Box<ScheduleRecord>>),
    Run(i64, Option<Box<RunRecord>>),
    Step((RunId, u32), Option<StepRecord>),
    Entry((i64, u64), Option<JournalEntry>),
}

impl Tables {
    pub(crate) fn set_job(&mut self, seq: i64, job: Option<JobRecord>) {
        let before = self.swap_job(seq, job);
        self.undo.push(Undo::Job(seq, before.map(Box::new)));
    }

    pub(crate) fn set_queue(&mut self, name: QueueName, queue: Option<QueueRecord>) {
        let before = swap(&mut self.queues, name.clone(), queue);
        self.undo.push(Undo::Queue(name, before));
    }

    pub(crate) fn set_gate(&mut self, id: i64, gate: Option<GateRecord>) {
        let before = self.swap_gate(id, gate);
        self.undo.push(Undo::Gate(id, before.map(Box::new)));
    }

    pub(crate) fn set_batch(&mut self, id: BatchId, batch: Option<BatchRecord>) {
        let before = swap(&mut self.batches, id.clone(), batch);
        self.undo.push(Undo::Batch(id, before.map(Box::new)));
    }

    pub(crate) fn set_key(&mut self, name: Arc<str>, key: Option<KeyRecord>) {
        let before = swap(&mut self.keys, name.clone(), key);
        self.undo.push(Undo::Key(name, before));
    }

    pub(crate) fn set_worker(&mut self, name: Arc<str>, worker: Option<WorkerRecord>) {
        let before = swap(&mut self.workers, name.clone(), worker);
        self.undo.push(Undo::Worker(name, before.map(Box::new)));
    }

    pub(crate) fn set_schedule(&mut self, name: ScheduleName, schedule: Option<ScheduleRecord>) {
        let before = swap(&mut self.schedules, name.clone(), schedule);
        self.undo.push(Undo::Schedule(name, before.map(Box::new)));
    }

    pub(crate) fn set_run(&mut self, seq: i64, run: Option<RunRecord>) {
        let before = self.swap_run(seq, run);
        self.undo.push(Undo::Run(seq, before.map(Box::new)));
    }

    pub(crate) fn set_step(&mut self, place: (RunId, u32), step: Option<StepRecord>) {
        let before = swap(&mut self.run_steps, place.clone(), step);
        self.undo.push(Undo::Step(place, before));
    }

    pub(crate) fn set_entry(&mut self, place: (i64, u64), entry: Option<JournalEntry>) {
        let before = swap(&mut self.journal, place, entry);
        self.undo.push(Undo::Entry(place, before));
    }

    /// Keeps every change since the last commit.
    pub(crate) fn commit(&mut self) {
        self.undo.clear();
    }

    /// Takes every change since the last commit back, newest first.
    pub(crate) fn rollback(&mut self) {
        while let Some(undo) = self.undo.pop() {
            match undo {
                Undo::Job(seq, job) => drop(self.swap_job(seq, job.map(|job| *job))),
                Undo::Gate(id, gate) => drop(self.swap_gate(id, gate.map(|gate| *gate))),
                Undo::Batch(id, batch) => drop(swap(&mut self.batches, id, batch.map(|batch| *batch))),
                Undo::Queue(name, queue) => drop(swap(&mut self.queues, name, queue)),
                Undo::Key(name, key) => drop(swap(&mut self.keys, name, key)),
                Undo::Worker(name, worker) => {
                    drop(swap(&mut self.workers, name, worker.map(|worker| *worker)));
                }
                Undo::Schedule(name, schedule) => {
                    drop(swap(&mut self.schedules, name, schedule.map(|schedule| *schedule)));
                }
                Undo::Run(seq, run) => drop(self.swap_run(seq, run.map(|run| *run))),
                Undo::Step(place, step) => drop(swap(&mut self.run_steps, place, step)),
                Undo::Entry(place, entry) => drop(swap(&mut self.journal, place, entry)),
            }
        }
    }

    fn swap_job(&mut self, seq: i64, job: Option<JobRecord>) -> Option<JobRecord> {
        if let Some(job) = &job {
            self.index(job);
        }
        let after = job.as_ref().map(Entries::of);
        let before = swap(&mut self.jobs, seq, job);
        if let Some(job) = &before {
            self.unindex(job, after.as_ref());
        }
        before
    }

    fn index(&mut self, job: &JobRecord) {
        let entries = Entries::of(job);
        self.job_ids.insert(job.id.clone(), job.seq);
        self.ready.extend(entries.ready);
        self.timers.extend(entries.timer);
        self.expiring.extend(entries.expiring);
        if let Some((gate, entry)) = entries.held {
            self.held.entry(gate).or_default().insert(entry);
        }
        if let Some(line) = entries.line {
            self.lines.entry(line.key).or_default().insert((line.place, job.seq));
        }
        if let Some(step) = &job.step {
            self.step_jobs.entry(step.run.clone()).or_default().insert(step_place(step), job.seq);
        }
    }

    /// Takes out what the row before had and the row after has not.
    fn unindex(&mut self, before: &JobRecord, after: Option<&Entries>) {
        let entries = Entries::of(before);
        if let Some(entry) =
            entries.ready.filter(|entry| after.is_none_or(|after| after.ready.as_ref() != Some(entry)))
        {
            self.ready.remove(&entry);
        }
        if let Some(entry) =
            entries.timer.filter(|entry| after.is_none_or(|after| after.timer != Some(*entry)))
        {
            self.timers.remove(&entry);
        }
        if let Some(entry) =
            entries.expiring.filter(|entry| after.is_none_or(|after| after.expiring != Some(*entry)))
        {
            self.expiring.remove(&entry);
        }
        if let Some((gate, entry)) =
            entries.held.filter(|entry| after.is_none_or(|after| after.held.as_ref() != Some(entry)))
        {
            take(&mut self.held, &gate, &entry);
        }
        if let Some(entry) =
            entries.line.filter(|entry| after.is_none_or(|after| after.line.as_ref() != Some(entry)))
        {
            take(&mut self.lines, &entry.key, &(entry.place, before.seq));
        }
        if after.is_none() {
            self.job_ids.remove(&before.id);
            if let Some(step) = &before.step
                && let Some(jobs) = self.step_jobs.get_mut(&step.run)
            {
                jobs.remove(&step_place(step));
            }
        }
    }

    fn swap_gate(&mut self, id: i64, gate: Option<GateRecord>) -> Option<GateRecord> {
        let name = gate.as_ref().map(|gate| gate.name.clone());
        let before = swap(&mut self.gates, id, gate);
        if let Some(before) = &before {
            self.gate_ids.remove(&before.name);
        }
        if let Some(name) = name {
            self.gate_ids.insert(name, id);
        }
        before
    }

    fn swap_run(&mut self, seq: i64, run: Option<RunRecord>) -> Option<RunRecord> {
        match &run {
            Some(run) => drop(self.run_ids.insert(run.id.clone(), seq)),
            None => self.run_ids.retain(|_, known| *known != seq),
        }
        swap(&mut self.runs, seq, run)
    }
}

/// Where a job stands in the indexes that depend on its state.
struct Entries {
    ready: Option<(QueueName, i64, i64)>,
    timer: Option<(Timestamp, i64)>,
    expiring: Option<(Timestamp, i64)>,
    held: Option<(i64, (QueueName, i64, i64))>,
    line: Option<LinePlace>,
}

impl Entries {
    fn of(job: &JobRecord) -> Self {
        use JobState::{Blocked, Queued, Retrying, Running, Scheduled};
        let timed = matches!(job.state, Scheduled | Running | Retrying);
        let may_expire = matches!(job.state, Scheduled | Blocked | Queued);
        let at = |moment: Option<Timestamp>| moment.map(|moment| (moment, job.seq));
        Self {
            ready: (job.state == Queued).then(|| (job.queue.clone(), job.position, job.seq)),
            timer: at(job.due_at).filter(|_| timed),
            expiring: at(job.expires_at).filter(|_| may_expire),
            held: job
                .held_by
                .filter(|_| !job.is_in_line())
                .map(|gate| (gate, (job.queue.clone(), job.position, job.seq))),
            line: job.line.clone(),
        }
    }
}

fn step_place(step: &StepRef) -> (StepId, i64) {
    (step.step.clone(), step.index.map_or(-1, i64::from))
}

/// Takes an entry out of one of several sets, and the set where it is the last.
fn take<K: Hash + Eq, E: Ord>(sets: &mut HashMap<K, BTreeSet<E>>, key: &K, entry: &E) {
    if let Some(set) = sets.get_mut(key) {
        set.remove(entry);
        if set.is_empty() {
            sets.remove(key);
        }
    }
}

/// Puts a row in a place, or takes it out, and answers what stood there.
fn swap<K: Ord, V>(rows: &mut BTreeMap<K, V>, key: K, row: Option<V>) -> Option<V> {
    match row {
        Some(row) => rows.insert(key, row),
        None => rows.remove(&key),
    }
}
