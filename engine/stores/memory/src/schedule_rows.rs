//! The rows of schedules.

use std::ops::Bound;

use taskport_abstraction::{Result, ScheduleName, Timestamp};
use taskport_engine::record::ScheduleRecord;
use taskport_engine::store::{ReadSchedules, WriteSchedules};

use crate::store::{MemoryReader, MemoryStore};
use crate::tables::Tables;

impl ReadSchedules for MemoryStore {
    fn schedule(&mut self, name: &ScheduleName) -> Result<Option<ScheduleRecord>> {
        Ok(self.with(|tables| tables.schedules.get(name).cloned()))
    }

    fn schedules(&mut self, after: Option<&ScheduleName>, max: usize) -> Result<Vec<ScheduleRecord>> {
        Ok(self.with(|tables| page(tables, after, max)))
    }
}

impl ReadSchedules for MemoryReader {
    fn schedule(&mut self, name: &ScheduleName) -> Result<Option<ScheduleRecord>> {
        Ok(self.with(|tables| tables.schedules.get(name).cloned()))
    }

    fn schedules(&mut self, after: Option<&ScheduleName>, max: usize) -> Result<Vec<ScheduleRecord>> {
        Ok(self.with(|tables| page(tables, after, max)))
    }
}

impl WriteSchedules for MemoryStore {
    fn put_schedule(&mut self, schedule: &ScheduleRecord) -> Result<()> {
        self.with(|tables| tables.set_schedule(schedule.name.clone(), Some(schedule.clone())));
        Ok(())
    }

    fn delete_schedule(&mut self, name: &ScheduleName) -> Result<()> {
        self.with(|tables| tables.set_schedule(name.clone(), None));
        Ok(())
    }

    fn due_schedules(&mut self, now: Timestamp, max: usize) -> Result<Vec<ScheduleRecord>> {
        Ok(self.with(|tables| {
            let over = |schedule: &&ScheduleRecord| schedule.next_at.is_some_and(|next| next <= now);
            let mut due: Vec<&ScheduleRecord> = tables.schedules.values().filter(over).collect();
            due.sort_by_key(|schedule| schedule.next_at);
            due.into_iter().take(max).cloned().collect()
        }))
    }
}

fn page(tables: &Tables, after: Option<&ScheduleName>, max: usize) -> Vec<ScheduleRecord> {
    let above = (after.map_or(Bound::Unbounded, Bound::Excluded), Bound::Unbounded);
    let schedules = tables.schedules.range::<ScheduleName, _>(above);
    schedules.map(|(_, schedule)| schedule.clone()).take(max).collect()
}
