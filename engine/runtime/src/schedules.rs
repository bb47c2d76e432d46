//! Schedules, as the engine's callers see them.

use taskport_abstraction::backend::{Page, PageRequest};
use taskport_abstraction::schedule::{Put, ScheduleDefinition, ScheduleStatus};
use taskport_abstraction::{JobId, Result, ScheduleName, Timestamp};

use crate::handle::EngineHandle;
use crate::mailbox::weigh;

impl EngineHandle {
    /// Creates a schedule, or changes the one of its name.
    ///
    /// # Errors
    /// `InvalidInput`: E-050 for a rule that cannot be read or never ticks, E-004 for an option; `PayloadTooLarge`
    /// (E-006).
    pub async fn put_schedule(&self, definition: ScheduleDefinition) -> Result<Put> {
        self.write("put schedule", move |write| write.put_schedule(&definition)).await
    }

    /// Removes a schedule. Jobs it has submitted stay.
    ///
    /// # Errors
    /// `NotFound` (E-051).
    pub async fn remove_schedule(&self, name: ScheduleName) -> Result<()> {
        self.write("remove schedule", move |write| write.remove_schedule(&name)).await
    }

    /// Stops a schedule from firing.
    ///
    /// # Errors
    /// `NotFound` (E-051); `InvalidInput` (E-004) where the reason is too long.
    pub async fn pause_schedule(&self, name: ScheduleName, reason: Option<String>) -> Result<()> {
        self.write("pause schedule", move |write| write.pause_schedule(&name, reason.as_deref())).await
    }

    /// Lets a schedule fire again.
    ///
    /// # Errors
    /// `NotFound` (E-051).
    pub async fn resume_schedule(&self, name: ScheduleName) -> Result<()> {
        self.write("resume schedule", move |write| write.resume_schedule(&name)).await
    }

    /// Submits the schedule's job now under `id`, beside its ticks.
    ///
    /// # Errors
    /// `NotFound` (E-051); those of a submit.
    pub async fn trigger_schedule(&self, name: ScheduleName, id: JobId) -> Result<JobId> {
        self.write("trigger schedule", move |write| write.trigger_schedule(&name, id)).await
    }

    /// Submits a job for each tick from `from` up to but not including `until`, unless it has fired; returns the jobs in
    /// order.
    ///
    /// # Errors
    /// `NotFound` (E-051); `InvalidInput` (E-004) where the span ends after now or has more than `max` ticks; those of a
    /// submit.
    pub async fn backfill_schedule(
        &self,
        name: ScheduleName,
        from: Timestamp,
        until: Timestamp,
        max: usize,
    ) -> Result<Vec<JobId>> {
        self.write("backfill schedule", move |write| write.backfill_schedule(&name, from, until, max)).await
    }

    /// One schedule.
    ///
    /// # Errors
    /// `Corrupt` where its definition cannot be decoded; those of the store.
    pub async fn schedule(&self, name: ScheduleName) -> Result<Option<ScheduleStatus>> {
        self.ask("get schedule", weigh(1, 0), move |look| look.schedule(&name)).await
    }

    /// One page of schedules, by name.
    ///
    /// # Errors
    /// As [`schedule`](Self::schedule); `InvalidInput` (E-003) where the cursor is none of ours.
    pub async fn schedules(&self, page: PageRequest) -> Result<Page<ScheduleStatus>> {
        self.ask("list schedules", weigh(page.len, 0), move |look| look.schedules(&page)).await
    }
}
