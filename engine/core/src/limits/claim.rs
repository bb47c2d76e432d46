//! Claims from a queue with jobs that have to pass gates.

use taskport_abstraction::{JobState, Result};

use super::{Standing, is_gated};
use crate::record::JobRecord;
use crate::store::{Grant, Store};
use crate::transaction::Transaction;

/// How many jobs one claim looks at, beyond those it gives out.
const PARKED_MAX: usize = 1_024;

impl<S: Store> Transaction<'_, S> {
    /// Leases the first jobs whose gates are open. Those before them whose gates are closed are held back, so that no
    /// later claim walks over them again.
    pub(crate) fn claim_gated(&mut self, grant: &Grant<'_>) -> Result<Vec<JobRecord>> {
        let freed_before = self.freed;
        let (mut started, mut parked) = (Vec::new(), 0);
        while started.len() < grant.max && parked < PARKED_MAX {
            let wanted = grant.max - started.len();
            let jobs = self.store(|store| store.ready(grant.queue, grant.now, wanted))?;
            let found = jobs.len();
            let mut passed = self.pass_gates(jobs)?;
            parked += found - passed.len();
            self.store(|store| store.lease(&mut passed, grant))?;
            started.append(&mut passed);
            if found < wanted {
                break;
            }
        }
        if started.len() < grant.max && (parked >= PARKED_MAX || self.freed > freed_before) {
            // There may be more for whoever waits.
            self.engine.look_again();
        }
        Ok(started)
    }

    /// Those of the jobs whose gates are open.
    fn pass_gates(&mut self, jobs: Vec<JobRecord>) -> Result<Vec<JobRecord>> {
        let mut passed = Vec::with_capacity(jobs.len());
        for job in jobs {
            // What cannot be read passes: it ends as a dead letter.
            match self.bounds(&job).filter(|options| is_gated(options)) {
                None => passed.push(job),
                Some(options) => match self.closed_gate(&options)? {
                    Some(gate) => self.park(job, &options, gate)?,
                    None => {
                        let (from, to) =
                            (Standing::free(JobState::Queued), Standing::free(JobState::Running));
                        self.shift_gates(&options, from, to)?;
                        passed.push(job);
                    }
                },
            }
        }
        Ok(passed)
    }
}
