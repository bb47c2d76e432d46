//! Runs of workflows: what a transaction does when a step's job has ended or a run is out of time.

use taskport_abstraction::Result;

use crate::store::Store;
use crate::transaction::{StepEnded, Transaction};

/// Takes the end of one job of a step into its run, in the transaction in which the job ended.
///
/// # Errors
/// Those of the store only; whatever is wrong with a run ends that run.
pub(crate) fn on_step_ended<S: Store>(_tx: &mut Transaction<'_, S>, _ended: StepEnded) -> Result<()> {
    Ok(())
}

/// Ends runs that passed their deadline, at most `max`, and says whether there may be more.
///
/// # Errors
/// Those of the store only.
pub(crate) fn tick<S: Store>(_tx: &mut Transaction<'_, S>, _max: usize) -> Result<bool> {
    Ok(false)
}
