//! What jobs say.

use taskport_abstraction::journal::JournalEntry;
use taskport_abstraction::{JobId, Result};
use taskport_engine::store::{JournalEnd, KeepJournal, ReadJournal};

use crate::store::{MemoryReader, MemoryStore};
use crate::tables::Tables;

impl ReadJournal for MemoryStore {
    fn entries(&mut self, job: &JobId, after: u64, max: usize) -> Result<Option<Vec<JournalEntry>>> {
        Ok(self.with(|tables| entries(tables, job, after, max)))
    }
}

impl ReadJournal for MemoryReader {
    fn entries(&mut self, job: &JobId, after: u64, max: usize) -> Result<Option<Vec<JournalEntry>>> {
        Ok(self.with(|tables| entries(tables, job, after, max)))
    }
}

impl KeepJournal for MemoryStore {
    fn journal_end(&mut self, seq: i64) -> Result<Option<JournalEnd>> {
        Ok(self.with(|tables| {
            let attempt = tables.jobs.get(&seq)?.attempt;
            let last = tables.journal.range((seq, 0)..=(seq, u64::MAX)).next_back();
            Some(JournalEnd { attempt, number: last.map_or(0, |((_, number), _)| *number) })
        }))
    }

    fn put_entry(&mut self, seq: i64, entry: &JournalEntry) -> Result<()> {
        self.with(|tables| tables.set_entry((seq, entry.number), Some(entry.clone())));
        Ok(())
    }
}

fn entries(tables: &Tables, job: &JobId, after: u64, max: usize) -> Option<Vec<JournalEntry>> {
    let seq = *tables.job_ids.get(job)?;
    let later = (seq, after.saturating_add(1))..=(seq, u64::MAX);
    Some(tables.journal.range(later).map(|(_, entry)| entry.clone()).take(max).collect())
}
