//! Schedules as others see them.

use taskport_abstraction::backend::{Cursor, Page, PageRequest};
use taskport_abstraction::schedule::ScheduleStatus;
use taskport_abstraction::{Result, ScheduleName};

use super::Reader;
use crate::store::Read;
use crate::transaction::schedule_status as status;

impl<R: Read> Reader<R> {
    /// One schedule.
    ///
    /// # Errors
    /// `Corrupt` where its definition cannot be decoded; those of the store.
    pub fn schedule(&mut self, name: &ScheduleName) -> Result<Option<ScheduleStatus>> {
        self.rows().schedule(name)?.map(status).transpose()
    }

    /// One page of schedules, by name.
    ///
    /// # Errors
    /// `InvalidInput` (E-003) where the cursor is none of ours; as [`schedule`](Self::schedule).
    pub fn schedules(&mut self, page: &PageRequest) -> Result<Page<ScheduleStatus>> {
        let after = page.after.as_ref().map(|cursor| ScheduleName::new(cursor.0.as_str())).transpose()?;
        let len = self.page_len(page);
        let mut found = self.rows().schedules(after.as_ref(), len + 1)?;
        let more = found.len() > len;
        found.truncate(len);
        let next = found.last().filter(|_| more).map(|last| Cursor(last.name.to_string()));
        Ok(Page { items: found.into_iter().map(status).collect::<Result<_>>()?, next })
    }
}
