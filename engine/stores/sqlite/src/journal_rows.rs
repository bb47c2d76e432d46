//! The rows of journals.

use rusqlite::{OptionalExtension, Row, params};
use taskport_abstraction::journal::{JournalEntry, LogLevel, Note};
use taskport_abstraction::{ContentType, JobId, Payload, Result, Timestamp};
use taskport_engine::store::{JournalEnd, KeepJournal, ReadJournal};

use crate::error::{InStore, damaged};
use crate::names::StoredId;
use crate::rows::{SqliteReader, blob, get, unsigned};
use crate::store::SqliteStore;

/// The levels by their number in the table.
const LEVELS: [LogLevel; 4] = [LogLevel::Debug, LogLevel::Info, LogLevel::Warn, LogLevel::Error];

impl ReadJournal for SqliteReader {
    fn entries(&mut self, job: &JobId, after: u64, max: usize) -> Result<Option<Vec<JournalEntry>>> {
        let mut find =
            self.connection.prepare_cached("SELECT seq FROM taskport_jobs WHERE id = ?1").during("read")?;
        let seq = find.query_row([StoredId::new(job.as_str())], |row| row.get::<_, i64>(0)).optional();
        let Some(seq) = seq.during("read")? else { return Ok(None) };
        let sql = "SELECT number, attempt, said_at, level, body_type, body FROM taskport_journal \
                   WHERE job = ?1 AND number > ?2 ORDER BY number LIMIT ?3";
        let mut statement = self.connection.prepare_cached(sql).during("read")?;
        let max = i64::try_from(max).unwrap_or(i64::MAX);
        let mut rows =
            statement.query([seq, i64::try_from(after).unwrap_or(i64::MAX), max]).during("read")?;
        let mut entries = Vec::new();
        while let Some(row) = rows.next().during("read")? {
            entries.push(entry(row)?);
        }
        Ok(Some(entries))
    }
}

/// The writer reads what it has written, by the reader's own statements.
impl ReadJournal for SqliteStore {
    fn entries(&mut self, job: &JobId, after: u64, max: usize) -> Result<Option<Vec<JournalEntry>>> {
        self.rows.entries(job, after, max)
    }
}

impl KeepJournal for SqliteStore {
    fn journal_end(&mut self, seq: i64) -> Result<Option<JournalEnd>> {
        let sql = "SELECT attempt, coalesce((SELECT max(number) FROM taskport_journal WHERE job = ?1), 0) \
                   FROM taskport_jobs WHERE seq = ?1";
        let mut statement = self.connection().prepare_cached(sql).during("read")?;
        let read = |row: &Row<'_>| Ok(JournalEnd { attempt: row.get(0)?, number: row.get(1)? });
        statement.query_row([seq], read).optional().during("read")
    }

    fn put_entry(&mut self, seq: i64, entry: &JournalEntry) -> Result<()> {
        let (level, body_type, body) = match &entry.note {
            Note::Log { level, message } => (Some(*level as i64), None, message.as_bytes()),
            Note::Partial(Payload { content_type: ContentType::Json, bytes }) => (None, None, bytes.as_ref()),
            Note::Partial(Payload { content_type, bytes }) => {
                (None, Some(content_type.as_str()), bytes.as_ref())
            }
        };
        let sql = "INSERT INTO taskport_journal (job, number, attempt, said_at, level, body_type, body) \
                   VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7)";
        let (number, said_at) = (entry.number as i64, entry.at.as_micros());
        self.execute(sql, params![seq, number, entry.attempt, said_at, level, body_type, body])?;
        Ok(())
    }
}

fn entry(row: &Row<'_>) -> Result<JournalEntry> {
    let bytes = blob(row, 5)?.unwrap_or_default();
    let note = match get::<Option<usize>>(row, 3)? {
        Some(level) => Note::Log {
            level: *LEVELS
                .get(level)
                .ok_or_else(|| damaged(format!("a line of a log has the level {level}")))?,
            message: String::from_utf8_lossy(&bytes).into_owned(),
        },
        None => {
            let content_type = get::<Option<String>>(row, 4)?;
            let content_type =
                content_type.map_or(ContentType::Json, |name| ContentType::from(name.as_str()));
            Note::Partial(Payload { content_type, bytes })
        }
    };
    Ok(JournalEntry {
        number: unsigned(row, 0)?,
        attempt: get(row, 1)?,
        at: Timestamp::from_micros(get(row, 2)?),
        note,
    })
}
