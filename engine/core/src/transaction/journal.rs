//! Keeping what a running attempt says.

use taskport_abstraction::Result;
use taskport_abstraction::backend::Lease;
use taskport_abstraction::journal::{ENTRIES_MAX, JournalEntry, LogLevel, Note, TimedNote};

use super::Transaction;
use crate::store::Store;

impl<S: Store> Transaction<'_, S> {
    /// Adds what the attempt under `lease`, which is current, has said to its job's journal.
    pub(super) fn keep_notes(&mut self, lease: &Lease, notes: &[TimedNote]) -> Result<()> {
        let seq = i64::try_from(lease.receipt).unwrap_or_default();
        if notes.is_empty() {
            return Ok(());
        }
        let Some(end) = self.store(|store| store.journal_end(seq))? else { return Ok(()) };
        for (number, note) in (end.number + 1..=ENTRIES_MAX as u64).zip(notes) {
            let said = if number == ENTRIES_MAX as u64 { full() } else { note.note.clone().fitting() };
            let entry = JournalEntry { number, attempt: end.attempt, at: note.at, note: said };
            self.store(|store| store.put_entry(seq, &entry))?;
        }
        Ok(())
    }
}

fn full() -> Note {
    let message =
        format!("the journal is full: a job has at most {ENTRIES_MAX} entries, and no later one is kept");
    Note::Log { level: LogLevel::Warn, message }
}
