//! Submits, and the idempotency keys that make two of them one.

use taskport_abstraction::options::{OnConflict, Unique};
use taskport_abstraction::{JobId, JobState, Result as Answer, Timestamp, codes};
use taskport_engine::{Enqueued, NewJob, Store};

use super::{Bounds, Job, Key, Model, refused};
use crate::broken::{Broken, hold};

/// What a submit has to come to.
#[derive(Debug)]
pub(crate) enum Expected {
    /// A new job.
    New,
    /// This job, which stays as it is.
    Existing(JobId),
    /// This job, with the newer call and options.
    Replaced(JobId),
    /// An `IdempotencyViolation`.
    Refused,
}

impl Model {
    /// What a submit has to come to, by the promise of its options.
    pub(crate) fn expect_submit<S: Store>(
        &self,
        rows: &mut S,
        new: &NewJob,
        now: Timestamp,
    ) -> Answer<Expected> {
        if rows.job(&new.id)?.is_some() {
            return Ok(Expected::Existing(new.id.clone()));
        }
        let Some(asked) = &new.options.idempotency else { return Ok(Expected::New) };
        let Some(holder) = self.holder(rows, &asked.key, now)? else { return Ok(Expected::New) };
        let Some(row) = rows.job(&holder)? else { return Ok(Expected::New) };
        let waits = matches!(row.state, JobState::Scheduled | JobState::Blocked | JobState::Queued);
        Ok(match asked.on_conflict {
            OnConflict::Ignore => Expected::Existing(holder),
            OnConflict::Keep if row.task == new.call.task && row.arguments == new.call.arguments => {
                Expected::Existing(holder)
            }
            OnConflict::Keep => Expected::Refused,
            OnConflict::Replace if waits && row.attempt == 0 => Expected::Replaced(holder),
            OnConflict::Replace => Expected::New,
        })
    }

    /// The job that a key stands for.
    fn holder<S: Store>(&self, rows: &mut S, key: &str, now: Timestamp) -> Answer<Option<JobId>> {
        let Some(known) = self.keys.get(&key.into()) else { return Ok(None) };
        if known.forgotten && rows.key(key)?.is_none() {
            return Ok(None);
        }
        let Some(row) = rows.job(&known.job)? else { return Ok(None) };
        let holds = known.until.map_or(!row.state.is_terminal(), |until| until > now);
        Ok(holds.then(|| known.job.clone()))
    }

    /// Whether the key of a job stands for a job that has not ended, which is why a requeue is refused.
    pub(crate) fn key_taken<S: Store>(&self, rows: &mut S, id: &JobId, now: Timestamp) -> Answer<bool> {
        let Some(key) = self.jobs.get(id).and_then(|job| job.key.as_ref()) else { return Ok(false) };
        Ok(self.holder(rows, &key.key, now)?.is_some())
    }

    /// What a submit has come to.
    pub(crate) fn submitted(
        &mut self,
        new: &NewJob,
        expected: &Expected,
        answer: &Answer<Enqueued>,
        now: Timestamp,
    ) -> Result<(), Broken> {
        let (id, existing) = match expected {
            Expected::Refused => return refused("submit", &new.id, answer, &codes::IDEMPOTENCY),
            Expected::New => (&new.id, false),
            Expected::Existing(id) | Expected::Replaced(id) => (id, true),
        };
        let right = Enqueued { id: id.clone(), existing };
        hold!(
            answer.as_ref().ok() == Some(&right),
            "submit",
            "{}: {expected:?} expected: {answer:?}",
            new.id
        );
        let bounds = Bounds::from(&new.options);
        let asked = new.options.idempotency.clone();
        match expected {
            Expected::New => {
                self.jobs.put(id.clone(), Job { key: asked.clone(), bounds, ..Job::default() });
            }
            Expected::Replaced(_) => {
                self.jobs.change(id, |job| {
                    (job.key, job.bounds, job.displaced) = (asked.clone(), bounds, true);
                });
            }
            Expected::Existing(_) | Expected::Refused => return Ok(()),
        }
        if let Some(asked) = asked {
            let until = match asked.unique {
                Unique::WhileLive => None,
                Unique::For(period) => Some(now + period),
                Unique::Forever => Some(Timestamp::MAX),
            };
            self.keys.put(asked.key, Key { job: id.clone(), until, forgotten: false });
        }
        Ok(())
    }
}
