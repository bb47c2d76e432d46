//! The store and its reader.

use std::ops::Bound;
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};

use taskport_abstraction::backend::{JobFilter, Lease, QueueOrder, RunFilter};
use taskport_abstraction::job::Progress;
use taskport_abstraction::{
    JobId, JobState, LeaseToken, Payload, QueueName, Result, RunId, StepId, Timestamp,
};
use taskport_engine::record::{
    JobRecord, KeyRecord, QueueRecord, RunRecord, StepJob, StepRecord, WorkerRecord, tag_needle,
};
use taskport_engine::store::{Grant, Promoted, Watch};
use taskport_engine::{Read, Store, state};

use crate::limit_rows::{self, has_place};
use crate::tables::Tables;

/// The writing side.
#[derive(Debug, Default)]
pub struct MemoryStore {
    shared: Arc<Shared>,
}

/// Reads what is committed.
#[derive(Debug, Clone)]
pub struct MemoryReader {
    shared: Arc<Shared>,
}

#[derive(Debug, Default)]
struct Shared {
    state: Mutex<State>,
    /// Notified when no transaction is under way.
    idle: Condvar,
}

#[derive(Debug, Default)]
struct State {
    tables: Tables,
    writing: bool,
}

impl MemoryStore {
    /// An empty store.
    pub fn new() -> Self {
        Self::default()
    }

    /// Runs one verb. A panic in another one cannot leave a table half changed that the undo log does not know.
    pub(crate) fn with<T>(&self, verb: impl FnOnce(&mut Tables) -> T) -> T {
        verb(&mut self.lock().tables)
    }

    /// A reader beside this writer.
    pub(crate) fn beside(&self) -> MemoryReader {
        MemoryReader { shared: self.shared.clone() }
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.shared.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn end(&self, how: impl FnOnce(&mut Tables)) {
        let mut state = self.lock();
        how(&mut state.tables);
        state.writing = false;
        drop(state);
        self.shared.idle.notify_all();
    }
}

impl MemoryReader {
    pub(crate) fn with<T>(&self, verb: impl FnOnce(&Tables) -> T) -> T {
        let state = self.shared.state.lock().unwrap_or_else(PoisonError::into_inner);
        let state =
            self.shared.idle.wait_while(state, |state| state.writing).unwrap_or_else(PoisonError::into_inner);
        verb(&state.tables)
    }
}

impl Store for MemoryStore {
    type Reader = MemoryReader;

    fn reader(&self) -> Result<MemoryReader> {
        Ok(self.beside())
    }

    fn watch(&self, _changed: Box<dyn Fn() + Send + Sync>) -> Result<Option<Watch>> {
        Ok(None)
    }

    fn begin(&mut self) -> Result<bool> {
        self.lock().writing = true;
        Ok(false)
    }

    fn commit(&mut self, _announce: bool) -> Result<()> {
        self.end(Tables::commit);
        Ok(())
    }

    fn rollback(&mut self) {
        self.end(Tables::rollback);
    }

    fn changed_elsewhere(&mut self) -> Result<bool> {
        Ok(false)
    }

    fn next_due(&mut self) -> Result<Option<Timestamp>> {
        Ok(self.with(|tables| {
            let job = tables.timers.first().map(|(moment, _)| *moment);
            let expiry = tables.expiring.first().map(|(moment, _)| *moment);
            let run = tables.runs.values().filter(|run| run.state == JobState::Running);
            let run = run.filter_map(|run| run.due_at).min();
            let worker = tables.workers.values().map(|worker| worker.forget_at).min();
            let schedule = tables.schedules.values().filter_map(|schedule| schedule.next_at).min();
            [job, expiry, run, worker, schedule, limit_rows::next_due(tables)].into_iter().flatten().min()
        }))
    }

    fn seq_max(&mut self) -> Result<i64> {
        Ok(self.with(|tables| tables.jobs.last_key_value().map_or(0, |(seq, _)| *seq)))
    }

    fn insert_job(&mut self, job: &JobRecord) -> Result<bool> {
        Ok(self.with(|tables| {
            let new = !tables.job_ids.contains_key(&job.id);
            if new {
                tables.set_job(job.seq, Some(job.clone()));
            }
            new
        }))
    }

    fn put_job(&mut self, job: &JobRecord) -> Result<()> {
        self.with(|tables| tables.set_job(job.seq, Some(job.clone())));
        Ok(())
    }

    fn delete_job(&mut self, job: &JobRecord) -> Result<()> {
        self.with(|tables| {
            tables.set_job(job.seq, None);
            let said = tables.journal.range((job.seq, 0)..=(job.seq, u64::MAX));
            let places: Vec<_> = said.map(|(place, _)| *place).collect();
            places.into_iter().for_each(|place| tables.set_entry(place, None));
        });
        Ok(())
    }

    fn claim(&mut self, grant: &Grant<'_>) -> Result<Vec<JobRecord>> {
        Ok(self.with(|tables| {
            let in_time = |job: &&JobRecord| job.expires_at.is_none_or(|moment| moment > grant.now);
            let seqs = ready(tables, grant.queue);
            let jobs = seqs.filter_map(|seq| tables.jobs.get(&seq)).filter(in_time).take(grant.max);
            let worker: Arc<str> = grant.worker.into();
            let leased = jobs.map(|job| JobRecord {
                state: JobState::Running,
                attempt: job.attempt + 1,
                token: LeaseToken(job.token.0 + 1),
                worker: Some(worker.clone()),
                started_at: Some(grant.now),
                due_at: Some(grant.until),
                progress: None,
                ..job.clone()
            });
            let leased: Vec<JobRecord> = leased.collect();
            for job in &leased {
                tables.set_job(job.seq, Some(job.clone()));
            }
            leased
        }))
    }

    fn succeed(&mut self, lease: &Lease, result: &Payload, now: Timestamp) -> Result<bool> {
        Ok(self.with(|tables| {
            let Some(job) = leased(tables, lease) else { return false };
            let job = JobRecord {
                state: JobState::Succeeded,
                due_at: None,
                finished_at: Some(now),
                cancel_requested: false,
                failure: None,
                line: None,
                result: Some(result.clone()),
                ..job.clone()
            };
            tables.set_job(job.seq, Some(job));
            true
        }))
    }

    fn extend(
        &mut self,
        lease: &Lease,
        until: Timestamp,
        progress: Option<&Progress>,
    ) -> Result<Option<bool>> {
        Ok(self.with(|tables| {
            let mut job = leased(tables, lease)?.clone();
            job.due_at = Some(until);
            if let Some(progress) = progress {
                job.progress = Some(progress.clone());
            }
            let cancel_requested = job.cancel_requested;
            tables.set_job(job.seq, Some(job));
            Some(cancel_requested)
        }))
    }

    fn promote(&mut self, now: Timestamp, max: usize) -> Result<Vec<Promoted>> {
        Ok(self.with(|tables| {
            let due = due(tables, now, |state| state != JobState::Running, max);
            let mut promoted: Vec<Promoted> = Vec::new();
            for job in due {
                match promoted.iter_mut().find(|some| some.queue == job.queue && some.from == job.state) {
                    Some(some) => {
                        some.count += 1;
                        some.seqs.push(job.seq);
                    }
                    None => promoted.push(Promoted {
                        queue: job.queue.clone(),
                        from: job.state,
                        count: 1,
                        seqs: vec![job.seq],
                    }),
                }
                tables.set_job(job.seq, Some(JobRecord { state: JobState::Queued, ..job }));
            }
            promoted
        }))
    }

    fn lapsed(&mut self, now: Timestamp, max: usize) -> Result<Vec<JobRecord>> {
        Ok(self.with(|tables| due(tables, now, |state| state == JobState::Running, max)))
    }

    fn expired(&mut self, now: Timestamp, max: usize) -> Result<Vec<JobRecord>> {
        Ok(self.with(|tables| {
            let over = tables.expiring.iter().take_while(|(moment, _)| *moment <= now);
            over.filter_map(|(_, seq)| tables.jobs.get(seq)).take(max).cloned().collect()
        }))
    }

    fn waiting(&mut self, queue: &QueueName, max: usize) -> Result<Vec<JobRecord>> {
        Ok(self.with(|tables| {
            let queued = ready(tables, queue).filter_map(|seq| tables.jobs.get(&seq));
            let queued: Vec<JobRecord> = queued.take(max).cloned().collect();
            if !queued.is_empty() {
                return queued;
            }
            let timed = tables.timers.iter().filter_map(|(_, seq)| tables.jobs.get(seq));
            let waiting = timed.filter(|job| job.queue == *queue && job.state.is_waiting());
            let waiting: Vec<JobRecord> = waiting.take(max).cloned().collect();
            if !waiting.is_empty() {
                return waiting;
            }
            let held = tables.jobs.values().filter(|job| job.queue == *queue && job.held_by.is_some());
            held.take(max).cloned().collect()
        }))
    }

    fn reposition(&mut self, queue: &QueueName, order: QueueOrder) -> Result<()> {
        self.with(|tables| {
            let waiting = tables.jobs.values().filter(|job| has_place(job, queue));
            let moved = waiting.map(|job| JobRecord {
                position: state::position(order, job.priority, job.seq),
                ..job.clone()
            });
            let moved: Vec<JobRecord> = moved.collect();
            for job in moved {
                tables.set_job(job.seq, Some(job));
            }
        });
        Ok(())
    }

    fn key(&mut self, key: &str) -> Result<Option<KeyRecord>> {
        Ok(self.with(|tables| tables.keys.get(key).cloned()))
    }

    fn put_key(&mut self, key: &KeyRecord) -> Result<()> {
        self.with(|tables| tables.set_key(key.key.clone(), Some(key.clone())));
        Ok(())
    }

    fn delete_key(&mut self, key: &str, job: &JobId) -> Result<()> {
        self.with(|tables| {
            if tables.keys.get(key).is_some_and(|known| known.job == *job) {
                tables.set_key(key.into(), None);
            }
        });
        Ok(())
    }

    fn delete_keys_until(&mut self, now: Timestamp, max: usize) -> Result<()> {
        self.with(|tables| {
            let over = tables.keys.values().filter(|key| key.until.is_some_and(|until| until <= now));
            let mut over: Vec<_> = over.map(|key| (key.until, key.key.clone())).collect();
            over.sort();
            for (_, key) in over.into_iter().take(max) {
                tables.set_key(key, None);
            }
        });
        Ok(())
    }

    fn put_queue(&mut self, queue: &QueueRecord) -> Result<()> {
        self.with(|tables| tables.set_queue(queue.name.clone(), Some(queue.clone())));
        Ok(())
    }

    fn put_worker(&mut self, worker: &WorkerRecord) -> Result<()> {
        self.with(|tables| tables.set_worker(worker.name.clone(), Some(worker.clone())));
        Ok(())
    }

    fn worker(&mut self, name: &str) -> Result<Option<WorkerRecord>> {
        Ok(self.with(|tables| tables.workers.get(name).cloned()))
    }

    fn delete_worker(&mut self, name: &str) -> Result<()> {
        self.with(|tables| tables.set_worker(name.into(), None));
        Ok(())
    }

    fn forget_workers(&mut self, now: Timestamp) -> Result<()> {
        self.with(|tables| {
            let gone = tables.workers.values().filter(|worker| worker.forget_at <= now);
            let gone: Vec<_> = gone.map(|worker| worker.name.clone()).collect();
            for name in gone {
                tables.set_worker(name, None);
            }
        });
        Ok(())
    }

    fn insert_run(&mut self, run: &RunRecord) -> Result<bool> {
        Ok(self.with(|tables| {
            if tables.run_ids.contains_key(&run.id) {
                return false;
            }
            let last = tables.runs.last_key_value().map_or(0, |(seq, _)| *seq);
            let seq = if run.seq == 0 { last + 1 } else { run.seq };
            tables.set_run(seq, Some(RunRecord { seq, ..run.clone() }));
            true
        }))
    }

    fn put_run(&mut self, run: &RunRecord) -> Result<()> {
        self.with(|tables| {
            if let Some(seq) = tables.run_ids.get(&run.id).copied()
                && let Some(known) = tables.runs.get(&seq)
            {
                let (definition, input) = (known.definition.clone(), known.input.clone());
                tables.set_run(seq, Some(RunRecord { seq, definition, input, ..run.clone() }));
            }
        });
        Ok(())
    }

    fn put_steps(&mut self, run: &RunId, steps: &[StepRecord]) -> Result<()> {
        self.with(|tables| {
            for step in steps {
                tables.set_step((run.clone(), step.index), Some(step.clone()));
            }
        });
        Ok(())
    }

    fn due_runs(&mut self, now: Timestamp, max: usize) -> Result<Vec<RunId>> {
        Ok(self.with(|tables| {
            let running = tables.runs.values().filter(|run| run.state == JobState::Running);
            let due = running.filter(|run| run.due_at.is_some_and(|moment| moment <= now));
            let mut due: Vec<&RunRecord> = due.collect();
            due.sort_by_key(|run| (run.due_at, run.seq));
            due.into_iter().take(max).map(|run| run.id.clone()).collect()
        }))
    }
}

/// The queued jobs of a queue in order of position.
pub(crate) fn ready<'a>(tables: &'a Tables, queue: &QueueName) -> impl Iterator<Item = i64> + use<'a> {
    let from = (queue.clone(), i64::MIN, i64::MIN);
    let until = (queue.clone(), i64::MAX, i64::MAX);
    tables.ready.range(from..=until).map(|(_, _, seq)| *seq)
}

/// The running job of a lease, where its token is current.
fn leased<'a>(tables: &'a Tables, lease: &Lease) -> Option<&'a JobRecord> {
    let job = tables.jobs.get(tables.job_ids.get(&lease.job)?)?;
    let receipt = u64::try_from(job.seq).ok()?;
    (job.state == JobState::Running && job.token == lease.token && receipt == lease.receipt).then_some(job)
}

/// The jobs whose time has come and whose state fits, earliest first.
fn due(tables: &Tables, now: Timestamp, fits: impl Fn(JobState) -> bool, max: usize) -> Vec<JobRecord> {
    let over = tables.timers.iter().take_while(|(moment, _)| *moment <= now);
    let jobs = over.filter_map(|(_, seq)| tables.jobs.get(seq)).filter(|job| fits(job.state));
    jobs.take(max).cloned().collect()
}

/// Writes the same reading functions for the writer and the reader.
macro_rules! read_by {
    ($store:ty) => {
        impl Read for $store {
            fn job(&mut self, id: &JobId) -> Result<Option<JobRecord>> {
                Ok(self.with(|tables| tables.jobs.get(tables.job_ids.get(id)?).cloned()))
            }

            fn jobs(
                &mut self,
                filter: &JobFilter,
                before: Option<i64>,
                max: usize,
            ) -> Result<Vec<JobRecord>> {
                Ok(self.with(|tables| jobs(tables, filter, before, max)))
            }

            fn queue(&mut self, name: &QueueName) -> Result<Option<QueueRecord>> {
                Ok(self.with(|tables| tables.queues.get(name).cloned()))
            }

            fn queues(&mut self) -> Result<Vec<QueueRecord>> {
                Ok(self.with(|tables| tables.queues.values().cloned().collect()))
            }

            fn oldest_ready(&mut self, queue: &QueueName) -> Result<Option<Timestamp>> {
                Ok(self.with(|tables| tables.jobs.get(&ready(tables, queue).min()?)?.due_at))
            }

            fn workers(&mut self) -> Result<Vec<WorkerRecord>> {
                Ok(self.with(|tables| tables.workers.values().cloned().collect()))
            }

            fn run(&mut self, id: &RunId) -> Result<Option<RunRecord>> {
                Ok(self.with(|tables| tables.runs.get(tables.run_ids.get(id)?).cloned()))
            }

            fn runs(
                &mut self,
                filter: &RunFilter,
                before: Option<i64>,
                max: usize,
            ) -> Result<Vec<RunRecord>> {
                Ok(self.with(|tables| runs(tables, filter, before, max)))
            }

            fn run_version(&mut self, id: &RunId) -> Result<Option<i64>> {
                Ok(self.with(|tables| Some(tables.runs.get(tables.run_ids.get(id)?)?.version)))
            }

            fn steps(&mut self, run: &RunId, since: i64) -> Result<Vec<StepRecord>> {
                Ok(self.with(|tables| {
                    let steps = tables.run_steps.range((run.clone(), 0)..=(run.clone(), u32::MAX));
                    steps.map(|(_, step)| step).filter(|step| step.version > since).cloned().collect()
                }))
            }

            fn step_jobs(
                &mut self,
                run: &RunId,
                step: &StepId,
                from: u32,
                max: usize,
            ) -> Result<Vec<StepJob>> {
                Ok(self.with(|tables| step_jobs(tables, run, step, from, max)))
            }

            fn live_jobs_of_run(&mut self, run: &RunId, max: usize) -> Result<Vec<JobRecord>> {
                Ok(self.with(|tables| live_jobs_of_run(tables, run, max)))
            }
        }
    };
}

read_by!(MemoryStore);
read_by!(MemoryReader);

fn jobs(tables: &Tables, filter: &JobFilter, before: Option<i64>, max: usize) -> Vec<JobRecord> {
    let needle = filter.tag.as_deref().map(tag_needle);
    let fits = |job: &&JobRecord| {
        let has_tag = |needle: &String| job.tags.as_ref().is_some_and(|tags| tags.contains(needle));
        let of_run = |run: &RunId| job.step.as_ref().is_some_and(|step| step.run == *run);
        filter.state.is_none_or(|state| job.state == state)
            && filter.queue.as_ref().is_none_or(|queue| job.queue == *queue)
            && filter.task.as_ref().is_none_or(|task| job.task == *task)
            && needle.as_ref().is_none_or(has_tag)
            && filter.run.as_ref().is_none_or(of_run)
    };
    let below = (Bound::Unbounded, before.map_or(Bound::Unbounded, Bound::Excluded));
    tables.jobs.range(below).rev().map(|(_, job)| job).filter(fits).take(max).cloned().collect()
}

fn runs(tables: &Tables, filter: &RunFilter, before: Option<i64>, max: usize) -> Vec<RunRecord> {
    let fits = |run: &&RunRecord| {
        filter.state.is_none_or(|state| run.state == state)
            && filter.workflow.as_ref().is_none_or(|workflow| *run.workflow == **workflow)
    };
    let below = (Bound::Unbounded, before.map_or(Bound::Unbounded, Bound::Excluded));
    tables.runs.range(below).rev().map(|(_, run)| run).filter(fits).take(max).cloned().collect()
}

fn step_jobs(tables: &Tables, run: &RunId, step: &StepId, from: u32, max: usize) -> Vec<StepJob> {
    // A job without a place in a list has -1 and stands at 0.
    let from = if from == 0 { -1 } else { i64::from(from) };
    let places = (step.clone(), from)..=(step.clone(), i64::MAX);
    let jobs = tables.step_jobs.get(run).into_iter().flat_map(|jobs| jobs.range(places.clone()));
    let jobs = jobs.filter_map(|(_, seq)| tables.jobs.get(seq));
    let read = |job: &JobRecord| StepJob {
        id: job.id.clone(),
        step: step.clone(),
        index: job.step.as_ref().and_then(|step| step.index),
        state: job.state,
        result: job.result.clone(),
    };
    jobs.take(max).map(read).collect()
}

fn live_jobs_of_run(tables: &Tables, run: &RunId, max: usize) -> Vec<JobRecord> {
    let jobs = tables.step_jobs.get(run).into_iter().flat_map(|jobs| jobs.values());
    let jobs = jobs.filter_map(|seq| tables.jobs.get(seq));
    let live = jobs.filter(|job| !job.state.is_terminal() && !job.cancel_requested);
    let mut live: Vec<JobRecord> = live.cloned().collect();
    live.sort_by_key(|job| job.seq);
    live.truncate(max);
    live
}
