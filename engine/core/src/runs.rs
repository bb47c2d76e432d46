//! Runs of workflows: what a transaction does when jobs of steps have ended or a run is out of time.

use taskport_abstraction::Result;

use crate::store::Store;
use crate::transaction::{StepEnded, Transaction};

/// What the engine remembers of runs between transactions. Emptied whenever a transaction is rolled back or another
/// process has committed.
#[derive(Debug, Default)]
pub(crate) struct RunCache {}

/// Takes the ends of jobs of steps into their runs, in the transaction in which they ended and in that order.
///
/// What it makes end is handed to the next call, never to this one.
///
/// # Errors
/// Those of the store only; whatever is wrong with a run ends that run.
pub(crate) fn on_steps_ended<S: Store>(_tx: &mut Transaction<'_, S>, _ended: Vec<StepEnded>) -> Result<()> {
    Ok(())
}

/// Ends runs that passed their deadline, at most `max`, and says whether there may be more.
///
/// # Errors
/// Those of the store only.
pub(crate) fn tick<S: Store>(_tx: &mut Transaction<'_, S>, _max: usize) -> Result<bool> {
    Ok(false)
}
