//! The rows of schedules.

use taskport_abstraction::{Result, ScheduleName, Timestamp};

use crate::record::ScheduleRecord;

/// Reading schedules.
pub trait ReadSchedules {
    /// The schedule with this name.
    fn schedule(&mut self, name: &ScheduleName) -> Result<Option<ScheduleRecord>>;

    /// At most `max` schedules by name, those after `after` where one is given.
    fn schedules(&mut self, after: Option<&ScheduleName>, max: usize) -> Result<Vec<ScheduleRecord>>;
}

/// Writing schedules. [`next_due`](super::Store::next_due) covers every `next_at`.
pub trait WriteSchedules {
    /// Inserts a schedule, or replaces the one of its name.
    fn put_schedule(&mut self, schedule: &ScheduleRecord) -> Result<()>;

    /// Deletes a schedule.
    fn delete_schedule(&mut self, name: &ScheduleName) -> Result<()>;

    /// At most `max` schedules whose `next_at` has come, earliest first.
    fn due_schedules(&mut self, now: Timestamp, max: usize) -> Result<Vec<ScheduleRecord>>;
}
