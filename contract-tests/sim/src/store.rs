//! One process's handle on the shared store: passes every verb on, and does wrong what it is told to.

mod rest;

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use taskport_abstraction::backend::{JobFilter, Lease, QueueOrder, RunFilter};
use taskport_abstraction::job::Progress;
use taskport_abstraction::{
    JobId, JobState, LeaseToken, Payload, QueueName, Result, RunId, StepId, Timestamp,
};
use taskport_engine::record::{
    JobRecord, KeyRecord, QueueRecord, RunRecord, StepJob, StepRecord, WorkerRecord,
};
use taskport_engine::store::{Grant, Promoted, Watch};
use taskport_engine::{Read, Store};

use crate::bug::Bug;
use crate::faults::{Course, Faults, broken};

/// How far ahead [`Bug::Early`] looks.
const EARLY: Duration = Duration::from_secs(5);
/// Every how many verbs a defect that strikes now and then does.
const NOW_AND_THEN: u32 = 7;

/// A store below, which processes share or open each for itself.
#[derive(Debug)]
pub(crate) struct Shared<S> {
    store: Arc<Mutex<S>>,
    /// Counts commits, so that a process knows of those of others. A store that several open tells by itself.
    commits: Arc<AtomicU64>,
}

impl<S> Clone for Shared<S> {
    fn clone(&self) -> Self {
        Self { store: self.store.clone(), commits: self.commits.clone() }
    }
}

impl<S: Store> Shared<S> {
    pub(crate) fn new(store: S) -> Self {
        Self { store: Arc::new(Mutex::new(store)), commits: Arc::default() }
    }

    /// Looks at rows past the engine, and sees what its open transaction has written. Nothing goes wrong here.
    pub(crate) fn peek<T>(&self, read: impl FnOnce(&mut S) -> Result<T>) -> T {
        match read(&mut self.lock()) {
            Ok(rows) => rows,
            Err(error) => panic!("the store below the simulation failed: {error}"),
        }
    }

    fn lock(&self) -> MutexGuard<'_, S> {
        self.store.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// A process's handle.
#[derive(Debug)]
pub(crate) struct SimStore<S> {
    below: Shared<S>,
    seen: u64,
    faults: Arc<Mutex<Faults>>,
    bug: Option<Bug>,
    turns: u32,
}

impl<S: Store> SimStore<S> {
    pub(crate) fn new(below: Shared<S>, faults: Arc<Mutex<Faults>>, bug: Option<Bug>) -> Self {
        let seen = below.commits.load(Ordering::Relaxed);
        Self { below, seen, faults, bug, turns: 0 }
    }

    fn faults(&self) -> MutexGuard<'_, Faults> {
        self.faults.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn verb<T>(&mut self, run: impl FnOnce(&mut S) -> Result<T>) -> Result<T> {
        let course = self.faults().next_verb();
        if course == Course::FailFirst {
            return Err(broken("verb"));
        }
        let answer = run(&mut self.below.lock())?;
        if course == Course::FailAfter { Err(broken("verb")) } else { Ok(answer) }
    }

    fn has(&self, bug: Bug) -> bool {
        self.bug == Some(bug)
    }

    /// Whether a defect that strikes now and then does this time.
    fn strikes(&mut self, bug: Bug) -> bool {
        self.turns += 1;
        self.bug == Some(bug) && self.turns.is_multiple_of(NOW_AND_THEN)
    }

    /// Whether another process has committed since the last time anybody asked.
    fn others_committed(&mut self, told: bool) -> bool {
        let commits = self.below.commits.load(Ordering::Relaxed);
        let changed = std::mem::replace(&mut self.seen, commits) != commits;
        (changed || told) && !self.has(Bug::Unheard)
    }
}

/// Passes verbs on as they are.
macro_rules! pass_on {
    ($($verb:ident($($argument:ident: $of:ty),*) -> $answer:ty;)+) => {
        $(fn $verb(&mut self, $($argument: $of),*) -> Result<$answer> {
            self.verb(|store| store.$verb($($argument),*))
        })+
    };
}
use pass_on;

impl<S: Store> Read for SimStore<S> {
    pass_on! {
        job(id: &JobId) -> Option<JobRecord>;
        jobs(filter: &JobFilter, before: Option<i64>, max: usize) -> Vec<JobRecord>;
        queue(name: &QueueName) -> Option<QueueRecord>;
        queues() -> Vec<QueueRecord>;
        oldest_ready(queue: &QueueName) -> Option<Timestamp>;
        workers() -> Vec<WorkerRecord>;
        run(id: &RunId) -> Option<RunRecord>;
        runs(filter: &RunFilter, before: Option<i64>, max: usize) -> Vec<RunRecord>;
        run_version(id: &RunId) -> Option<i64>;
        steps(run: &RunId, since: i64) -> Vec<StepRecord>;
        step_jobs(run: &RunId, step: &StepId, from: u32, max: usize) -> Vec<StepJob>;
        live_jobs_of_run(run: &RunId, max: usize) -> Vec<JobRecord>;
    }
}

impl<S: Store> Store for SimStore<S> {
    type Reader = S::Reader;

    fn reader(&self) -> Result<S::Reader> {
        self.below.lock().reader()
    }

    fn watch(&self, _changed: Box<dyn Fn() + Send + Sync>) -> Result<Option<Watch>> {
        Ok(None)
    }

    fn begin(&mut self) -> Result<bool> {
        if let Some(error) = self.faults().begins() {
            return Err(error);
        }
        let told = self.below.lock().begin()?;
        Ok(self.others_committed(told))
    }

    fn commit(&mut self, announce: bool) -> Result<()> {
        if self.strikes(Bug::CommitLost) {
            self.below.lock().rollback();
            self.faults().commits();
            return Ok(());
        }
        let (applied, error) = self.faults().commits();
        if applied {
            self.below.lock().commit(announce)?;
            self.below.commits.fetch_add(1, Ordering::Relaxed);
            self.seen += 1;
        }
        error.map_or(Ok(()), Err)
    }

    fn rollback(&mut self) {
        if self.has(Bug::RollbackForgotten) {
            // What cannot be committed has nothing to keep.
            drop(self.below.lock().commit(false));
        } else {
            self.below.lock().rollback();
        }
    }

    fn changed_elsewhere(&mut self) -> Result<bool> {
        let told = self.verb(Store::changed_elsewhere)?;
        Ok(self.others_committed(told))
    }

    fn insert_job(&mut self, job: &JobRecord) -> Result<bool> {
        let lost = self.strikes(Bug::InsertLost);
        self.verb(|store| if lost { Ok(true) } else { store.insert_job(job) })
    }

    fn put_job(&mut self, job: &JobRecord) -> Result<()> {
        let lost = self.has(Bug::CancelLost) && job.state == JobState::Running && job.cancel_requested;
        self.verb(|store| if lost { Ok(()) } else { store.put_job(job) })
    }

    fn delete_job(&mut self, job: &JobRecord) -> Result<()> {
        let lost = self.has(Bug::DeleteLost);
        self.verb(|store| if lost { Ok(()) } else { store.delete_job(job) })
    }

    fn claim(&mut self, grant: &Grant<'_>) -> Result<Vec<JobRecord>> {
        let again = usize::from(self.strikes(Bug::LeasedTwice));
        self.verb(|store| {
            let mut jobs = store.claim(&Grant { max: grant.max - again, ..*grant })?;
            if again > 0 {
                jobs.extend(lease_again(store, grant, &jobs)?);
            }
            Ok(jobs)
        })
    }

    fn succeed(&mut self, lease: &Lease, result: &Payload, now: Timestamp) -> Result<bool> {
        let (unchecked, twice) = (self.has(Bug::TokenNotChecked), self.has(Bug::SucceedsTwice));
        self.verb(|store| {
            if unchecked && let Some(job) = store.job(&lease.job)? {
                return store.succeed(&Lease { token: job.token, ..lease.clone() }, result, now);
            }
            let done = store.succeed(lease, result, now)?;
            if twice && !done {
                return Ok(store.job(&lease.job)?.is_some_and(|job| job.state == JobState::Succeeded));
            }
            Ok(done)
        })
    }

    fn extend(
        &mut self,
        lease: &Lease,
        until: Timestamp,
        progress: Option<&Progress>,
    ) -> Result<Option<bool>> {
        let until = if self.has(Bug::ExtensionLost) { lease.expires_at } else { until };
        self.verb(|store| store.extend(lease, until, progress))
    }

    fn promote(&mut self, now: Timestamp, max: usize) -> Result<Vec<Promoted>> {
        let now = if self.has(Bug::Early) { now + EARLY } else { now };
        self.verb(|store| store.promote(now, max))
    }

    fn lapsed(&mut self, now: Timestamp, max: usize) -> Result<Vec<JobRecord>> {
        let missed = self.has(Bug::LapseMissed);
        self.verb(|store| if missed { Ok(Vec::new()) } else { store.lapsed(now, max) })
    }

    fn reposition(&mut self, queue: &QueueName, order: QueueOrder) -> Result<()> {
        let kept = self.has(Bug::OrderKept);
        self.verb(|store| if kept { Ok(()) } else { store.reposition(queue, order) })
    }

    fn put_key(&mut self, key: &KeyRecord) -> Result<()> {
        let lost = self.has(Bug::KeyLost);
        self.verb(|store| if lost { Ok(()) } else { store.put_key(key) })
    }

    fn put_queue(&mut self, queue: &QueueRecord) -> Result<()> {
        let mut queue = queue.clone();
        if self.strikes(Bug::Miscounted) {
            queue.counts.queued += 1;
        }
        self.verb(|store| store.put_queue(&queue))
    }

    fn put_steps(&mut self, run: &RunId, steps: &[StepRecord]) -> Result<()> {
        let lost = usize::from(self.has(Bug::StepLost) && steps.len() > 1);
        self.verb(|store| store.put_steps(run, &steps[..steps.len() - lost]))
    }

    pass_on! {
        next_due() -> Option<Timestamp>;
        seq_max() -> i64;
        expired(now: Timestamp, max: usize) -> Vec<JobRecord>;
        waiting(queue: &QueueName, max: usize) -> Vec<JobRecord>;
        key(key: &str) -> Option<KeyRecord>;
        delete_key(key: &str, job: &JobId) -> ();
        delete_keys_until(now: Timestamp, max: usize) -> ();
        put_worker(worker: &WorkerRecord) -> ();
        worker(name: &str) -> Option<WorkerRecord>;
        delete_worker(name: &str) -> ();
        forget_workers(now: Timestamp) -> ();
        insert_run(run: &RunRecord) -> bool;
        put_run(run: &RunRecord) -> ();
        due_runs(now: Timestamp, max: usize) -> Vec<RunId>;
    }
}

/// Leases a running job that another worker holds.
fn lease_again<S: Store>(store: &mut S, grant: &Grant<'_>, given: &[JobRecord]) -> Result<Option<JobRecord>> {
    let running = JobFilter {
        state: Some(JobState::Running),
        queue: Some(grant.queue.clone()),
        ..JobFilter::default()
    };
    let held = store.jobs(&running, None, grant.max + given.len() + 1)?;
    let Some(job) = held.into_iter().find(|job| given.iter().all(|given| given.id != job.id)) else {
        return Ok(None);
    };
    let job = JobRecord {
        attempt: job.attempt + 1,
        token: LeaseToken(job.token.0 + 1),
        due_at: Some(grant.until),
        worker: Some(grant.worker.into()),
        ..job
    };
    store.put_job(&job)?;
    Ok(Some(job))
}
