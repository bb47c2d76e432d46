//! Removing what has ended long ago.

use taskport_abstraction::Result;
use taskport_abstraction::maintenance::Retention;

use super::Transaction;
use crate::store::{JobOutline, RunOutline, Slice, Store};
use crate::upkeep::{
    SLICE, SLICE_REST, Stage, Sweep, SweepMode, is_over, kept_for, shortest_of_jobs, walk_rest,
};

/// How many runs are looked at in one slice of a walk.
const RUNS_MAX: usize = 64;
/// How many batches are looked at in one slice of a walk.
const BATCHES_MAX: usize = 256;

impl<S: Store> Transaction<'_, S> {
    /// Goes on with a walk over what has ended, by one slice.
    ///
    /// A job goes where it ended longer ago than `retention` says, unless it belongs to a run or to an open batch, or its
    /// idempotency key is still in force. A run goes with all its jobs, which takes several slices where they are many. A
    /// batch is kept as long as a job that succeeded. Accounts stay as they are.
    ///
    /// # Errors
    /// Those of the store.
    pub fn prune(&mut self, retention: &Retention, sweep: &mut Sweep) -> Result<()> {
        match sweep.stage {
            Stage::Jobs => self.prune_jobs(retention, sweep),
            Stage::Runs => self.prune_runs(retention, sweep),
            Stage::Batches => self.prune_batches(retention, sweep),
            Stage::Done => Ok(()),
        }
    }

    fn prune_jobs(&mut self, retention: &Retention, sweep: &mut Sweep) -> Result<()> {
        let now = self.now;
        let Some(shortest) = shortest_of_jobs(retention) else {
            sweep.enter(Stage::Runs);
            return Ok(());
        };
        let after = sweep.after;
        let jobs = self.store(|store| store.outlines(after, SLICE))?;
        let looked_at = jobs.len() as u32;
        let last = jobs.last().map(|job| (job.seq, job.submitted_at));
        let mut over = Vec::with_capacity(jobs.len());
        for job in jobs {
            let may_go = !job.of_run && is_over(job.finished_at, kept_for(retention, job.state), now);
            if may_go && !self.is_still_needed(&job, sweep.mode)? {
                over.push(job);
            }
        }
        sweep.kept += looked_at - over.len() as u32;
        sweep.report.jobs += over.len() as u64;
        if sweep.mode == SweepMode::Remove && !over.is_empty() {
            self.store(|store| store.delete_outlined(&over))?;
        }
        match last {
            Some((seq, submitted_at)) if submitted_at + shortest <= now => sweep.after = seq,
            // Whatever was submitted later cannot have ended early enough.
            _ => sweep.enter(Stage::Runs),
        }
        Ok(())
    }

    /// Whether a job's batch is open or its idempotency key holds. A key that does not is deleted with the job.
    fn is_still_needed(&mut self, job: &JobOutline, mode: SweepMode) -> Result<bool> {
        if job.options.is_none() {
            return Ok(false);
        }
        let Ok(options) = self.engine.options.decode(job.options.as_ref()) else { return Ok(false) };
        if let Some(batch) = &options.batch {
            let found = self.engine.batch(batch).map(|found| found.is_some_and(|batch| batch.pending > 0));
            if self.keep_failure(found)? {
                return Ok(true);
            }
        }
        let Some(idempotency) = &options.idempotency else { return Ok(false) };
        let key = self.store(|store| store.key(&idempotency.key))?.filter(|key| key.job == job.id);
        let Some(key) = key else { return Ok(false) };
        if key.until.is_some_and(|until| until > self.now) {
            return Ok(true);
        }
        if mode == SweepMode::Remove {
            self.store(|store| store.delete_key(&key.key, &key.job))?;
        }
        Ok(false)
    }

    fn prune_runs(&mut self, retention: &Retention, sweep: &mut Sweep) -> Result<()> {
        let (now, after) = (self.now, sweep.after);
        let Some(keep) = retention.runs else {
            sweep.enter(Stage::Batches);
            return Ok(());
        };
        let runs = self.store(|store| store.run_outlines(after, RUNS_MAX))?;
        if runs.last().is_none_or(|last| last.started_at + keep > now) {
            // Runs that start later cannot have ended early enough, so that this slice is the last.
            sweep.enter(Stage::Batches);
        }
        let mut room = SLICE.rows_max;
        for run in runs {
            if !(run.state.is_terminal() && is_over(run.finished_at, Some(keep), now)) {
                sweep.kept += 1;
            } else if sweep.mode == SweepMode::Count {
                sweep.report.runs += 1;
            } else {
                match self.prune_run(&run, room)? {
                    Pruned::Whole(jobs) => {
                        sweep.report.runs += 1;
                        room = room.saturating_sub(jobs + 1);
                    }
                    Pruned::LiveJobs => sweep.kept += 1,
                    Pruned::Part => room = 0,
                }
                if room == 0 {
                    // The rest of the run, or the one after it, is the beginning of the next slice.
                    (sweep.stage, sweep.after) = (Stage::Runs, run.seq - 1);
                    return Ok(());
                }
            }
            if sweep.stage == Stage::Runs {
                sweep.after = run.seq;
            }
        }
        Ok(())
    }

    /// Removes a run, or as many of its jobs as there is room for.
    fn prune_run(&mut self, run: &RunOutline, room: usize) -> Result<Pruned> {
        let slice = Slice { rows_max: room, ..SLICE };
        let mut jobs = self.store(|store| store.outlines_of_run(&run.id, slice))?;
        if jobs.iter().any(|job| !job.state.is_terminal()) {
            // A run that was cancelled or failed may leave attempts that have not stopped yet.
            return Ok(Pruned::LiveJobs);
        }
        jobs.sort_unstable_by_key(|job| job.seq);
        for job in &jobs {
            if let Some(options) = self.engine.options.decode(job.options.as_ref()).ok()
                && let Some(idempotency) = &options.idempotency
            {
                self.store(|store| store.delete_key(&idempotency.key, &job.id))?;
            }
        }
        if !jobs.is_empty() {
            self.store(|store| store.delete_outlined(&jobs))?;
            let one = Slice { rows_max: 1, ..SLICE };
            let rest = self.store(|store| store.outlines_of_run(&run.id, one))?;
            if !rest.is_empty() {
                return Ok(Pruned::Part);
            }
        }
        self.store(|store| store.delete_run(&run.id))?;
        Ok(Pruned::Whole(jobs.len()))
    }

    fn prune_batches(&mut self, retention: &Retention, sweep: &mut Sweep) -> Result<()> {
        let (now, after) = (self.now, sweep.after_batch.take());
        if retention.succeeded.is_none() {
            sweep.enter(Stage::Done);
            return Ok(());
        }
        let batches = self.store(|store| store.batch_outlines(after.as_ref(), BATCHES_MAX))?;
        if batches.len() < BATCHES_MAX {
            sweep.enter(Stage::Done);
        }
        for batch in batches {
            if is_over(batch.finished_at, retention.succeeded, now) {
                sweep.report.batches += 1;
                if sweep.mode == SweepMode::Remove {
                    self.store(|store| store.delete_batch(&batch.id))?;
                }
            } else {
                sweep.kept += 1;
            }
            sweep.after_batch = Some(batch.id);
        }
        Ok(())
    }

    /// Goes on with the engine's own walk where that is due.
    pub(super) fn upkeep(&mut self) -> Result<()> {
        let now = self.now;
        let due = self.engine.upkeep_due();
        if self.keep_failure(due)?.is_none_or(|moment| moment > now) {
            return Ok(());
        }
        let retention = self.engine.config.retention;
        let mut sweep = match self.engine.walking.sweep.take() {
            Some(sweep) => sweep,
            None => match self.begin_walk(&retention)? {
                Some(sweep) => sweep,
                None => return Ok(()),
            },
        };
        let before = sweep.rows();
        while !sweep.is_done() && sweep.rows() - before < SLICE.rows_max as u64 / 2 {
            self.prune(&retention, &mut sweep)?;
        }
        if sweep.is_done() {
            let rest = walk_rest(&retention, sweep.kept).unwrap_or_default();
            self.engine.walking.due = Some(now + rest);
            self.store(|store| store.put_walked_at(now))
        } else {
            self.engine.walking.due = Some(now + SLICE_REST);
            self.engine.walking.sweep = Some(sweep);
            Ok(())
        }
    }

    /// Takes the walk upon this process, unless another was faster.
    fn begin_walk(&mut self, retention: &Retention) -> Result<Option<Sweep>> {
        let now = self.now;
        let due = self.store(|store| store.walked_at())? + walk_rest(retention, 0).unwrap_or_default();
        if due > now {
            self.engine.walking.due = Some(due);
            return Ok(None);
        }
        self.store(|store| store.put_walked_at(now))?;
        Ok(Some(Sweep::new(SweepMode::Remove)))
    }
}

/// What became of a run that was to go.
enum Pruned {
    /// It went, with so many jobs.
    Whole(usize),
    /// Some of its jobs went.
    Part,
    /// A job of it still runs, so that it stays.
    LiveJobs,
}
