//! The closing account: what was submitted has ended, in one way or another, by the store's own count.

use serde::Serialize;

use super::pipeline::QUEUE;
use super::text::Grouped;
use crate::abstraction::backend::{Admin, Counts, JobFilter, PageRequest, RunStatus};
use crate::abstraction::codes;
use crate::{Error, Result};

/// How the jobs of one run ended.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize)]
pub(super) struct Account {
    /// Jobs that were submitted.
    pub(super) submitted: u64,
    /// Ended with a result.
    pub(super) succeeded: u64,
    /// Ended for good without one.
    pub(super) failed: u64,
    /// Ended because somebody asked.
    pub(super) cancelled: u64,
    /// Not started in time.
    pub(super) expired: u64,
}

impl Account {
    /// The account of what came to the queue between two counts of the store.
    pub(super) fn between(before: Counts, after: Counts) -> Self {
        Self {
            submitted: after.submitted.saturating_sub(before.submitted),
            succeeded: after.succeeded.saturating_sub(before.succeeded),
            failed: after.failed.saturating_sub(before.failed),
            cancelled: after.cancelled.saturating_sub(before.cancelled),
            expired: after.expired.saturating_sub(before.expired),
        }
    }

    /// Demands that every submitted job has ended, and that the run had just these jobs.
    pub(super) fn check(&self, jobs: u64) -> Result<()> {
        let ended = self.succeeded + self.failed + self.cancelled + self.expired;
        let problem = if self.submitted != ended {
            format!("{} jobs were submitted and {ended} have ended", self.submitted)
        } else if self.submitted != jobs {
            format!("the run had {jobs} jobs and the store counts {}", self.submitted)
        } else {
            return Ok(());
        };
        Err(Error::new(&codes::INTERNAL, "close the account", problem))
    }
}

impl std::fmt::Display for Account {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let Self { submitted, succeeded, failed, cancelled, expired } = *self;
        write!(
            f,
            "{} submitted = {} succeeded + {} failed + {} cancelled + {} expired",
            Grouped(submitted),
            Grouped(succeeded),
            Grouped(failed),
            Grouped(cancelled),
            Grouped(expired)
        )
    }
}

/// How many jobs the steps of a run had.
pub(super) fn jobs_of(run: &RunStatus) -> u64 {
    run.steps.iter().map(|step| step.total).sum()
}

/// What the store counts in the queue of the pipeline.
pub(super) async fn counts(admin: &dyn Admin) -> Result<Counts> {
    let queues = admin.queues().await?;
    Ok(queues
        .into_iter()
        .find(|queue| queue.name.as_str() == QUEUE)
        .map(|queue| queue.counts)
        .unwrap_or_default())
}

/// How many attempts were made beyond the first of each job, in an engine that has no jobs but those of one run.
pub(super) async fn repeats(admin: &dyn Admin) -> Result<u64> {
    let mut request = PageRequest { after: None, len: 500 };
    let mut repeats = 0;
    loop {
        let page = admin.jobs(JobFilter::default(), request.clone()).await?;
        repeats += page.items.iter().map(|job| u64::from(job.attempt.saturating_sub(1))).sum::<u64>();
        request.after = match page.next {
            Some(next) => Some(next),
            None => return Ok(repeats),
        };
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn counts(submitted: u64, succeeded: u64, failed: u64, running: u64) -> Counts {
        Counts { submitted, succeeded, failed, running, ..Counts::default() }
    }

    #[test]
    fn an_account_holds_only_where_everything_submitted_has_ended() {
        let before = counts(10, 9, 1, 0);
        for (after, jobs, holds) in [
            (counts(13, 12, 1, 0), 3, true),
            (counts(13, 11, 2, 0), 3, true),
            (counts(13, 11, 1, 1), 3, false),
            (counts(13, 12, 1, 0), 4, false),
            (before, 0, true),
        ] {
            let account = Account::between(before, after);
            assert_eq!(account.check(jobs).is_ok(), holds, "{account}");
        }
    }

    #[test]
    fn the_account_is_one_line() {
        let account = Account { submitted: 20_003, succeeded: 20_002, failed: 1, ..Account::default() };
        let line = "20,003 submitted = 20,002 succeeded + 1 failed + 0 cancelled + 0 expired";
        assert_eq!(account.to_string(), line);
    }
}
