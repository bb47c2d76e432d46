//! Upkeep in memory: pruning, and whether the accounts agree with the jobs.

use std::ops::Bound;
use std::path::Path;
use std::sync::Arc;

use taskport_abstraction::maintenance::{
    BackupReport, IntegrityProblem, IntegrityReport, Repair, SizeReport,
};
use taskport_abstraction::{BatchId, Error, Result, RunId, Timestamp, codes};
use taskport_engine::Store;
use taskport_engine::record::JobRecord;
use taskport_engine::store::{BatchOutline, JobOutline, Keeper, RunOutline, Slice, Upkeep};

use crate::store::{MemoryReader, MemoryStore};

impl Upkeep for MemoryStore {
    fn walked_at(&mut self) -> Result<Timestamp> {
        Ok(self.with(|tables| tables.walked_at))
    }

    fn put_walked_at(&mut self, moment: Timestamp) -> Result<()> {
        self.with(|tables| tables.walked_at = moment);
        Ok(())
    }

    fn outlines(&mut self, after: i64, slice: Slice) -> Result<Vec<JobOutline>> {
        let above = (Bound::Excluded(after), Bound::Unbounded);
        Ok(self.with(|tables| outlines(tables.jobs.range(above).map(|(_, job)| job), slice)))
    }

    fn outlines_of_run(&mut self, run: &RunId, slice: Slice) -> Result<Vec<JobOutline>> {
        Ok(self.with(|tables| {
            let jobs = tables.step_jobs.get(run).into_iter().flat_map(|jobs| jobs.values());
            outlines(jobs.filter_map(|seq| tables.jobs.get(seq)), slice)
        }))
    }

    fn delete_outlined(&mut self, jobs: &[JobOutline]) -> Result<()> {
        for outline in jobs {
            if let Some(job) = self.with(|tables| tables.jobs.get(&outline.seq).cloned()) {
                self.delete_job(&job)?;
            }
        }
        Ok(())
    }

    fn run_outlines(&mut self, after: i64, max: usize) -> Result<Vec<RunOutline>> {
        Ok(self.with(|tables| {
            let runs = tables.runs.range((Bound::Excluded(after), Bound::Unbounded)).take(max);
            runs.map(|(_, run)| RunOutline {
                seq: run.seq,
                id: run.id.clone(),
                state: run.state,
                started_at: run.started_at,
                finished_at: run.finished_at,
            })
            .collect()
        }))
    }

    fn delete_run(&mut self, run: &RunId) -> Result<()> {
        self.with(|tables| {
            let Some(seq) = tables.run_ids.get(run).copied() else { return };
            tables.set_run(seq, None);
            let steps = tables.run_steps.range((run.clone(), 0)..=(run.clone(), u32::MAX));
            let places: Vec<_> = steps.map(|(place, _)| place.clone()).collect();
            places.into_iter().for_each(|place| tables.set_step(place, None));
        });
        Ok(())
    }

    fn batch_outlines(&mut self, after: Option<&BatchId>, max: usize) -> Result<Vec<BatchOutline>> {
        Ok(self.with(|tables| {
            let above = after.map_or(Bound::Unbounded, Bound::Excluded);
            let batches = tables.batches.range::<BatchId, _>((above, Bound::Unbounded)).take(max);
            let outline = |batch: &taskport_engine::record::BatchRecord| BatchOutline {
                id: batch.id.clone(),
                finished_at: batch.finished_at,
            };
            batches.map(|(_, batch)| outline(batch)).collect()
        }))
    }

    fn delete_batch(&mut self, batch: &BatchId) -> Result<()> {
        self.with(|tables| tables.set_batch(batch.clone(), None));
        Ok(())
    }

    fn replaced(&mut self) -> bool {
        false
    }

    fn keeper(&self) -> Arc<dyn Keeper> {
        Arc::new(MemoryKeeper(self.beside()))
    }
}

fn outlines<'a>(jobs: impl Iterator<Item = &'a JobRecord>, slice: Slice) -> Vec<JobOutline> {
    let mut outlines = Vec::new();
    let mut bytes = 0;
    for job in jobs.take(slice.rows_max) {
        bytes += (job.arguments.len() + job.result.as_ref().map_or(0, |result| result.len())) as u64;
        outlines.push(JobOutline {
            seq: job.seq,
            id: job.id.clone(),
            state: job.state,
            of_run: job.step.is_some(),
            submitted_at: job.submitted_at,
            finished_at: job.finished_at,
            options: job.options.clone(),
        });
        if bytes > slice.bytes_max {
            break;
        }
    }
    outlines
}

/// Looks after what is in memory.
#[derive(Debug)]
struct MemoryKeeper(MemoryReader);

impl Keeper for MemoryKeeper {
    fn backup(&self, _: &Path) -> Result<BackupReport> {
        Err(no_file("backup"))
    }

    fn restore(&self, _: &Path, _: Timestamp) -> Result<BackupReport> {
        Err(no_file("restore"))
    }

    fn integrity(&self) -> Result<IntegrityReport> {
        Ok(self.0.with(|tables| {
            let mut report = IntegrityReport { rows: tables.jobs.len() as u64, ..IntegrityReport::default() };
            for queue in tables.queues.values() {
                let accounts = queue.counts.by_state();
                let count = |state| {
                    let of_queue = tables.jobs.values().filter(|job| job.queue == queue.name);
                    of_queue.filter(|job| job.state == state).count() as u64
                };
                let sum: u64 = accounts.iter().map(|(_, jobs)| jobs).sum();
                // Those of ended jobs hold deleted ones too.
                let agrees =
                    accounts.iter().all(|(state, jobs)| state.is_terminal() || *jobs == count(*state));
                if !agrees || queue.counts.submitted != sum {
                    report.problems.push(IntegrityProblem {
                        problem: format!("the account of queue `{}` is wrong", queue.name),
                        advice: "restart the process".to_owned(),
                        repair: Repair::Impossible,
                    });
                }
            }
            report
        }))
    }

    fn repair(&self) -> Result<IntegrityReport> {
        self.integrity()
    }

    fn checkpoint(&self) -> Result<SizeReport> {
        Err(no_file("checkpoint"))
    }

    fn vacuum(&self) -> Result<SizeReport> {
        Err(no_file("vacuum"))
    }

    fn rebuild(&self, _: Timestamp) -> Result<SizeReport> {
        Err(no_file("rebuild"))
    }
}

fn no_file(operation: &'static str) -> Error {
    Error::new(
        &codes::UNSUPPORTED,
        operation,
        format!("the backend cannot {operation}: everything is in the memory of one process"),
    )
    .hint("instead: a file: sqlite://FILE")
}
