//! What a reader sees of runs.

use std::sync::Arc;

use taskport_abstraction::backend::{Cursor, Page, PageRequest, RunFilter, RunStatus, StepState, StepStatus};
use taskport_abstraction::{
    JobState, Outcome, Payload, Result, RunId, StepDefinition, StepId, WorkflowDefinition,
};

use super::live::{definition, step_failure};
use crate::reader::{Reader, seq_of};
use crate::record::{RunRecord, StepRecord};
use crate::store::Read;
use crate::stored;

impl<R: Read> Reader<R> {
    /// What is known of a run.
    ///
    /// # Errors
    /// Those of the store.
    pub fn run(&mut self, id: &RunId) -> Result<Option<RunStatus>> {
        let Some(record) = self.rows().run(id)? else { return Ok(None) };
        self.run_status(record).map(Some)
    }

    /// One page of runs, newest first.
    ///
    /// # Errors
    /// `InvalidInput` (E-004) where the cursor is none of ours; those of the store.
    pub fn runs(&mut self, filter: &RunFilter, page: &PageRequest) -> Result<Page<RunStatus>> {
        let before = page.after.as_ref().map(seq_of).transpose()?;
        let len = self.page_len(page);
        let mut records = self.rows().runs(filter, before, len + 1)?;
        let more = records.len() > len;
        records.truncate(len);
        let next = records.last().filter(|_| more).map(|run| Cursor(run.seq.to_string()));
        let items = records.into_iter().map(|record| self.run_status(record)).collect::<Result<_>>()?;
        Ok(Page { items, next })
    }

    /// The results `from .. from + count` of a step of a run, in the order of its list; `None` for each that has none.
    ///
    /// # Errors
    /// Those of the store.
    pub fn results(
        &mut self,
        run: &RunId,
        step: &StepId,
        from: u32,
        count: u32,
    ) -> Result<Vec<Option<Payload>>> {
        results(self.rows(), run, step, from, count)
    }

    fn run_status(&mut self, record: RunRecord) -> Result<RunStatus> {
        // A run whose definition cannot be read ends with the reason; until then it is shown without steps.
        let without_steps = |_| WorkflowDefinition::new(record.workflow.as_ref());
        let definition = Arc::new(definition(&record.definition).unwrap_or_else(without_steps));
        let mut begun = self.rows().steps(&record.id, -1)?.into_iter().peekable();
        let ended = record.state.is_terminal();
        let status = |(place, step): (u32, &StepDefinition)| {
            let record = begun.next_if(|record| record.index == place);
            step_status(step, record, ended)
        };
        let steps = (0..).zip(&definition.steps).map(status).collect();
        let outcome = match (record.output, record.failure) {
            (Some(output), _) => Some(Outcome::Success(output)),
            (None, failure) => failure.map(|failure| Outcome::Failure(stored::failure(&failure))),
        };
        Ok(RunStatus {
            id: record.id,
            workflow: record.workflow.as_ref().to_owned(),
            state: record.state,
            started_at: record.started_at,
            finished_at: record.finished_at,
            outcome: outcome.filter(|_| record.state != JobState::Running),
            steps,
            definition,
        })
    }
}

/// A step that has not ended when its run ends never will.
fn step_status(step: &StepDefinition, record: Option<StepRecord>, run_ended: bool) -> StepStatus {
    let state = record.as_ref().map_or(StepState::Waiting, |record| record.state);
    let failure = record.as_ref().and_then(step_failure).map(|known| known.failure);
    let number = |count: fn(&StepRecord) -> u64| record.as_ref().map_or(0, count);
    StepStatus {
        id: step.id.clone(),
        state: if run_ended && !state.is_terminal() { StepState::Cancelled } else { state },
        total: number(|record| record.total).max(u64::from(step.map.is_none())),
        succeeded: number(|record| record.succeeded),
        failed: number(|record| record.failed),
        started_at: record.as_ref().and_then(|record| record.started_at),
        finished_at: record.as_ref().and_then(|record| record.finished_at),
        failure,
    }
}

/// The results of a step by place. A place without a job or a result is empty.
pub(super) fn results<R: Read + ?Sized>(
    read: &mut R,
    run: &RunId,
    step: &StepId,
    from: u32,
    count: u32,
) -> Result<Vec<Option<Payload>>> {
    let mut page = vec![None; count as usize];
    for job in read.step_jobs(run, step, from, count as usize)? {
        let place = job.index.unwrap_or(0);
        if let Some(slot) = place.checked_sub(from).and_then(|at| page.get_mut(at as usize)) {
            *slot = job.result;
        }
    }
    Ok(page)
}
