//! The rows of schedules.

use rusqlite::types::ToSql;
use rusqlite::{Connection, Row, params};
use taskport_abstraction::{ContentType, JobId, Payload, Result, ScheduleName, Timestamp};
use taskport_engine::record::ScheduleRecord;
use taskport_engine::store::{ReadSchedules, WriteSchedules};

use crate::error::InStore;
use crate::names::{StoredId, id_text};
use crate::rows::{SqliteReader, blob, get, moment, unsigned};
use crate::store::SqliteStore;

/// The columns of a schedule, in the order [`read`] reads them.
macro_rules! columns {
    () => {
        "name, definition, arguments_type, arguments, paused, paused_reason, next_at, settled_until, last_at, \
         last_job, fired, missed, problem, created_at, updated_at"
    };
}

macro_rules! select {
    ($rest:literal) => {
        concat!("SELECT ", columns!(), " FROM taskport_schedules ", $rest)
    };
}

impl ReadSchedules for SqliteReader {
    fn schedule(&mut self, name: &ScheduleName) -> Result<Option<ScheduleRecord>> {
        Ok(rows(&self.connection, select!("WHERE name = ?1"), &[&name.as_str()])?.pop())
    }

    fn schedules(&mut self, after: Option<&ScheduleName>, max: usize) -> Result<Vec<ScheduleRecord>> {
        let after = after.map_or("", ScheduleName::as_str);
        let max = i64::try_from(max).unwrap_or(i64::MAX);
        rows(&self.connection, select!("WHERE name > ?1 ORDER BY name LIMIT ?2"), &[&after, &max])
    }
}

impl ReadSchedules for SqliteStore {
    fn schedule(&mut self, name: &ScheduleName) -> Result<Option<ScheduleRecord>> {
        self.rows.schedule(name)
    }

    fn schedules(&mut self, after: Option<&ScheduleName>, max: usize) -> Result<Vec<ScheduleRecord>> {
        self.rows.schedules(after, max)
    }
}

impl WriteSchedules for SqliteStore {
    fn put_schedule(&mut self, schedule: &ScheduleRecord) -> Result<()> {
        let sql = concat!(
            "INSERT OR REPLACE INTO taskport_schedules (",
            columns!(),
            ") VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10, ?11, ?12, ?13, ?14, ?15)"
        );
        let micros = |moment: Option<Timestamp>| moment.map(Timestamp::as_micros);
        let arguments = &schedule.arguments;
        let arguments_type =
            Some(&arguments.content_type).filter(|kind| **kind != ContentType::Json).map(ContentType::as_str);
        self.execute(
            sql,
            params![
                schedule.name.as_str(),
                &*schedule.definition,
                arguments_type,
                &*arguments.bytes,
                schedule.paused,
                schedule.paused_reason,
                micros(schedule.next_at),
                micros(schedule.settled_until),
                micros(schedule.last_at),
                schedule.last_job.as_ref().map(|job| StoredId::new(job.as_str())),
                number(schedule.fired),
                number(schedule.missed),
                schedule.problem,
                schedule.created_at.as_micros(),
                schedule.updated_at.as_micros(),
            ],
        )?;
        Ok(())
    }

    fn delete_schedule(&mut self, name: &ScheduleName) -> Result<()> {
        self.execute("DELETE FROM taskport_schedules WHERE name = ?1", [name.as_str()])?;
        Ok(())
    }

    fn due_schedules(&mut self, now: Timestamp, max: usize) -> Result<Vec<ScheduleRecord>> {
        let max = i64::try_from(max).unwrap_or(i64::MAX);
        let sql = select!("WHERE next_at IS NOT NULL AND next_at <= ?1 ORDER BY next_at LIMIT ?2");
        rows(&self.rows.connection, sql, &[&now.as_micros(), &max])
    }
}

fn rows(connection: &Connection, sql: &str, params: &[&dyn ToSql]) -> Result<Vec<ScheduleRecord>> {
    let mut statement = connection.prepare_cached(sql).during("read")?;
    let mut rows = statement.query(params).during("read")?;
    let mut found = Vec::new();
    while let Some(row) = rows.next().during("read")? {
        found.push(read(row)?);
    }
    Ok(found)
}

fn read(row: &Row<'_>) -> Result<ScheduleRecord> {
    let content_type = get::<Option<String>>(row, 2)?.map(|kind| ContentType::from(kind.as_str()));
    let last_job = match get::<Option<i64>>(row, 8)? {
        Some(_) => Some(JobId::new(id_text(row.get_ref(9).during("read")?)?)?),
        None => None,
    };
    Ok(ScheduleRecord {
        name: ScheduleName::new(get::<String>(row, 0)?)?,
        definition: blob(row, 1)?.unwrap_or_default(),
        arguments: Payload {
            content_type: content_type.unwrap_or(ContentType::Json),
            bytes: blob(row, 3)?.unwrap_or_default(),
        },
        paused: get(row, 4)?,
        paused_reason: get(row, 5)?,
        next_at: moment(row, 6)?,
        settled_until: moment(row, 7)?,
        last_at: moment(row, 8)?,
        last_job,
        fired: unsigned(row, 10)?,
        missed: unsigned(row, 11)?,
        problem: get(row, 12)?,
        created_at: Timestamp::from_micros(get(row, 13)?),
        updated_at: Timestamp::from_micros(get(row, 14)?),
    })
}

/// A count in the form of SQLite's numbers.
fn number(count: u64) -> i64 {
    i64::try_from(count).unwrap_or(i64::MAX)
}
