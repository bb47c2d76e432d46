//! Schedules of the engine.

use async_trait::async_trait;
use taskport_abstraction::backend::{Page, PageRequest, Submission};
use taskport_abstraction::schedule::{Put, ScheduleDefinition, ScheduleStatus, Schedules};
use taskport_abstraction::{JobId, Result, ScheduleName, Timestamp};

use crate::admin::check_page;
use crate::client::NativeBackend;

#[async_trait]
impl Schedules for NativeBackend {
    async fn put(&self, definition: ScheduleDefinition) -> Result<Put> {
        // Refused now, and not at the first tick.
        self.here(self.check(&Submission {
            id: self.new_id(),
            call: definition.call.clone(),
            options: definition.options.clone(),
        }))?;
        self.here(self.engine.put_schedule(definition).await)
    }

    async fn remove(&self, name: &ScheduleName) -> Result<()> {
        self.here(self.engine.remove_schedule(name.clone()).await)
    }

    async fn get(&self, name: &ScheduleName) -> Result<Option<ScheduleStatus>> {
        self.here(self.engine.schedule(name.clone()).await)
    }

    async fn list(&self, page: PageRequest) -> Result<Page<ScheduleStatus>> {
        self.here(check_page(&page))?;
        self.here(self.engine.schedules(page).await)
    }

    async fn pause(&self, name: &ScheduleName, reason: Option<&str>) -> Result<()> {
        self.here(self.engine.pause_schedule(name.clone(), reason.map(str::to_owned)).await)
    }

    async fn resume(&self, name: &ScheduleName) -> Result<()> {
        self.here(self.engine.resume_schedule(name.clone()).await)
    }

    async fn trigger(&self, name: &ScheduleName) -> Result<JobId> {
        self.here(self.engine.trigger_schedule(name.clone(), self.new_id()).await)
    }

    async fn backfill(
        &self,
        name: &ScheduleName,
        from: Timestamp,
        until: Timestamp,
        max: usize,
    ) -> Result<Vec<JobId>> {
        self.here(self.engine.backfill_schedule(name.clone(), from, until, max).await)
    }
}
