//! Comparing every row with what is remembered.

use std::collections::BTreeMap;

use taskport_abstraction::backend::{JobFilter, RunFilter};
use taskport_abstraction::{JobId, JobState, Result as Answer, RunId};
use taskport_engine::Store;
use taskport_engine::record::{JobRecord, QueueRecord, RunRecord, StepRecord};

use super::leases::ROWS_MAX;
use super::{End, Model, Run};
use crate::broken::{Broken, hold};
use crate::graph;

/// Every row that is compared.
#[derive(Debug)]
pub(crate) struct Rows {
    pub(crate) jobs: BTreeMap<JobId, JobRecord>,
    pub(crate) queues: Vec<QueueRecord>,
    pub(crate) runs: Vec<(RunRecord, Vec<StepRecord>)>,
}

impl Rows {
    pub(crate) fn read<S: Store>(rows: &mut S) -> Answer<Self> {
        let jobs = rows.jobs(&JobFilter::default(), None, ROWS_MAX)?;
        let mut runs = Vec::new();
        for run in rows.runs(&RunFilter::default(), None, ROWS_MAX)? {
            let steps = rows.steps(&run.id, -1)?;
            runs.push((run, steps));
        }
        Ok(Self {
            jobs: jobs.into_iter().map(|job| (job.id.clone(), job)).collect(),
            queues: rows.queues()?,
            runs,
        })
    }
}

impl Model {
    /// Compares every row with what is remembered. No transaction is open.
    pub(crate) fn audit(&mut self, rows: &Rows) -> Result<(), Broken> {
        for row in rows.jobs.values() {
            self.audit_job(row)?;
        }
        for (id, _) in self.jobs.iter() {
            hold!(rows.jobs.contains_key(id), "lost", "{id} was taken and has no row");
        }
        self.audit_queues(rows)?;
        self.audit_runs(rows)?;
        self.commit();
        Ok(())
    }

    fn audit_job(&mut self, row: &JobRecord) -> Result<(), Broken> {
        let id = &row.id;
        let known = self.jobs.get(id).is_some() || row.step.is_some();
        hold!(known, "ghost", "{id} has a row, and nobody submitted it: {row:?}");
        let mut job = self.known(row);
        hold!(row.token.0 == job.token, "token", "{id} has token {}, {} was given", row.token.0, job.token);
        hold!(u64::from(row.attempt) <= job.token, "attempts", "{id} has {} attempts", row.attempt);
        match job.lease {
            None => hold!(row.state != JobState::Running, "lease-held", "{id} runs, and nobody holds it"),
            Some(lease) if !lease.lapsed => {
                let held = row.state == JobState::Running && row.due_at == Some(lease.until);
                hold!(held, "lease-lost", "{id} is held until {}: {row:?}", lease.until);
            }
            Some(_) => job.lease = job.lease.filter(|_| row.state == JobState::Running),
        }
        let ended = row.state.is_terminal().then(|| End { state: row.state, result: row.result.clone() });
        match (&job.end, ended) {
            (Some(end), ended) => {
                hold!(ended.as_ref() == Some(end), "ended", "{id} has ended {end:?}: {row:?}");
            }
            (None, Some(ended)) => {
                let explained = match row.state {
                    JobState::Failed => job.token > 0,
                    JobState::Cancelled => job.cancel_asked || row.step.is_some(),
                    JobState::Expired => row.attempt == 0,
                    _ => false,
                };
                hold!(explained, "ended", "{id} is {}, and nothing says why: {row:?}", row.state);
                (job.end, job.cancel_asked) = (Some(ended), false);
            }
            (None, None) => {}
        }
        let timed = row.due_at.is_some() != row.state.is_terminal() || row.state == JobState::Blocked;
        let finished = row.finished_at.is_some() == row.state.is_terminal();
        hold!(timed && finished, "times", "{id}: {row:?}");
        self.jobs.put(id.clone(), job);
        Ok(())
    }

    fn audit_queues(&self, rows: &Rows) -> Result<(), Broken> {
        for queue in &rows.queues {
            let known = self.queues.get(&queue.name).cloned().unwrap_or_default();
            let mut counts = known.erased;
            for row in rows.jobs.values().filter(|row| row.queue == queue.name) {
                *counts.of_mut(row.state) += 1;
                counts.submitted += 1;
            }
            hold!(
                counts == queue.counts,
                "account",
                "{} holds {counts:?}, and its account says {:?}",
                queue.name,
                queue.counts
            );
            let same =
                known.paused == queue.paused && known.order == queue.order && known.limits == queue.limits;
            hold!(same, "queue", "{known:?} was asked of {queue:?}");
        }
        Ok(())
    }

    fn audit_runs(&mut self, rows: &Rows) -> Result<(), Broken> {
        let mut by_run: BTreeMap<RunId, Vec<JobRecord>> = BTreeMap::new();
        for row in rows.jobs.values() {
            if let Some(step) = &row.step {
                by_run.entry(step.run.clone()).or_default().push(row.clone());
            }
        }
        for (run, steps) in &rows.runs {
            let jobs = by_run.get(&run.id).map_or(&[][..], Vec::as_slice);
            let known = self.runs.get(&run.id).cloned().unwrap_or_default();
            if let Some(end) = known.end {
                hold!(run.state == end, "run", "{} was {end}, and is {}", run.id, run.state);
            }
            if run.state.is_terminal() {
                self.runs.put(run.id.clone(), Run { end: Some(run.state), ..known });
            } else {
                audit_steps(run, steps, jobs)?;
            }
            if !known.erased {
                graph::judge(run, jobs)?;
            }
        }
        Ok(())
    }
}

/// The counts of a run that goes on are those of its jobs.
fn audit_steps(run: &RunRecord, steps: &[StepRecord], jobs: &[JobRecord]) -> Result<(), Broken> {
    let definition: taskport_abstraction::WorkflowDefinition =
        serde_json::from_slice(&run.definition).map_err(|error| Broken::new("run", error.to_string()))?;
    let begun: BTreeMap<u32, &StepRecord> = steps.iter().map(|step| (step.index, step)).collect();
    for (place, step) in (0..).zip(&definition.steps) {
        let of_step = jobs.iter().filter(|job| job.step.as_ref().is_some_and(|known| known.step == step.id));
        let mut counted = (0, 0, 0);
        for job in of_step {
            counted.0 += 1;
            counted.1 += u64::from(job.state == JobState::Succeeded);
            counted.2 += u64::from(job.state.is_terminal() && job.state != JobState::Succeeded);
        }
        let written =
            begun.get(&place).map_or((0, 0, 0), |step| (step.submitted, step.succeeded, step.failed));
        hold!(
            counted == written,
            "step-once",
            "{}: step {} has (submitted, succeeded, failed) {counted:?}, and its row says {written:?}",
            run.id,
            step.id
        );
    }
    Ok(())
}
