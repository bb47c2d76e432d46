//! The rows of the inbox and of the outbox, and the statements that other programs put them there with.

use bytes::Bytes;
use rusqlite::{Connection, OptionalExtension, Row, params};
use taskport_abstraction::id::uuid_bytes;
use taskport_abstraction::outbox::{EnqueueStatement, SqlValue};
use taskport_abstraction::{BackendName, ContentType, JobId, Payload, Result, TaskName, Timestamp};
use taskport_engine::inbox::{InboxRecord, OutgoingRecord};
use taskport_engine::store::{ReadInbox, TakeInbox};

use crate::error::InStore;
use crate::names::{StoredId, id_text};
use crate::rows::{SqliteReader, blob, get, moment};
use crate::store::SqliteStore;

const INTO_INBOX: &str = "INSERT INTO taskport_inbox (id, task, options, arguments_type, arguments, submitted_at) \
                          VALUES (?1, ?2, ?3, ?4, ?5, ?6) ON CONFLICT (id) DO NOTHING";
const INTO_OUTBOX: &str = "INSERT INTO taskport_outbox \
                           (id, task, options, arguments_type, arguments, submitted_at, due_at, target) \
                           VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?6, ?7) ON CONFLICT (id, target) DO NOTHING";

/// The statement that leaves a job in the inbox, or in the outbox where it is for another backend.
pub fn enqueue_statement(job: &InboxRecord, target: Option<&BackendName>) -> EnqueueStatement {
    let id = match uuid_bytes(job.id.as_str()) {
        Some(bytes) => SqlValue::Blob(Bytes::copy_from_slice(&bytes)),
        None => SqlValue::Text(job.id.as_str().to_owned()),
    };
    let arguments_type = match &job.arguments.content_type {
        ContentType::Json => SqlValue::Null,
        other => SqlValue::Text(other.as_str().to_owned()),
    };
    let mut parameters = vec![
        id,
        SqlValue::Text(job.task.as_str().to_owned()),
        job.options.clone().map_or(SqlValue::Null, SqlValue::Blob),
        arguments_type,
        SqlValue::Blob(job.arguments.bytes.clone()),
        SqlValue::Integer(job.submitted_at.as_micros()),
    ];
    parameters.extend(target.map(|target| SqlValue::Text(target.as_str().to_owned())));
    EnqueueStatement { sql: if target.is_some() { INTO_OUTBOX } else { INTO_INBOX }, parameters }
}

/// The columns of a job, in the order [`inbox_record`] reads them.
macro_rules! inbox_columns {
    () => {
        "seq, id, task, options, arguments_type, arguments, submitted_at"
    };
}

/// The columns of a job for another backend, in the order [`outgoing_record`] reads them.
macro_rules! outbox_columns {
    () => {
        concat!(inbox_columns!(), ", target, attempt, due_at, reason")
    };
}

impl ReadInbox for SqliteReader {
    fn inbox_job(&mut self, id: &JobId) -> Result<Option<InboxRecord>> {
        let sql = concat!("SELECT ", inbox_columns!(), " FROM taskport_inbox WHERE id = ?1");
        let mut statement = self.connection.prepare_cached(sql).during("read")?;
        let mut rows = statement.query([StoredId::new(id.as_str())]).during("read")?;
        rows.next().during("read")?.map(inbox_record).transpose()
    }

    fn outgoing(&mut self, after: i64, max: usize) -> Result<Vec<OutgoingRecord>> {
        let sql = concat!(
            "SELECT ",
            outbox_columns!(),
            " FROM taskport_outbox WHERE seq > ?1 ORDER BY seq LIMIT ?2"
        );
        let mut statement = self.connection.prepare_cached(sql).during("read")?;
        let mut rows = statement.query([after, len(max)]).during("read")?;
        let mut found = Vec::new();
        while let Some(row) = rows.next().during("read")? {
            found.push(outgoing_record(row)?);
        }
        Ok(found)
    }

    fn outgoing_due(&mut self, now: Timestamp) -> Result<bool> {
        exists(
            &self.connection,
            "SELECT 1 FROM taskport_outbox WHERE due_at <= ?1 LIMIT 1",
            [now.as_micros()],
        )
    }

    fn outgoing_counts(&mut self) -> Result<(u64, u64)> {
        let sql = "SELECT count(due_at), count(*) - count(due_at) FROM taskport_outbox";
        let mut statement = self.connection.prepare_cached(sql).during("read")?;
        statement.query_row([], |row| Ok((row.get(0)?, row.get(1)?))).during("read")
    }
}

/// The writer reads what it has written, by the reader's own statements.
impl ReadInbox for SqliteStore {
    fn inbox_job(&mut self, id: &JobId) -> Result<Option<InboxRecord>> {
        self.rows.inbox_job(id)
    }

    fn outgoing(&mut self, after: i64, max: usize) -> Result<Vec<OutgoingRecord>> {
        self.rows.outgoing(after, max)
    }

    fn outgoing_due(&mut self, now: Timestamp) -> Result<bool> {
        self.rows.outgoing_due(now)
    }

    fn outgoing_counts(&mut self) -> Result<(u64, u64)> {
        self.rows.outgoing_counts()
    }
}

impl TakeInbox for SqliteStore {
    fn inbox_waits(&mut self) -> Result<bool> {
        exists(self.connection(), "SELECT 1 FROM taskport_inbox LIMIT 1", [])
    }

    fn inbox(&mut self, max: usize, bytes_max: usize) -> Result<Vec<InboxRecord>> {
        let sql = concat!("SELECT ", inbox_columns!(), " FROM taskport_inbox ORDER BY seq LIMIT ?1");
        let mut statement = self.connection().prepare_cached(sql).during("read")?;
        let mut rows = statement.query([len(max)]).during("read")?;
        let (mut jobs, mut bytes) = (Vec::new(), 0);
        while bytes < bytes_max
            && let Some(row) = rows.next().during("read")?
        {
            let job = inbox_record(row)?;
            bytes += job.arguments.len();
            jobs.push(job);
        }
        Ok(jobs)
    }

    fn delete_inbox_job(&mut self, seq: i64) -> Result<()> {
        self.execute("DELETE FROM taskport_inbox WHERE seq = ?1", [seq]).map(drop)
    }

    fn lease_outgoing(
        &mut self,
        now: Timestamp,
        until: Timestamp,
        max: usize,
        bytes_max: usize,
    ) -> Result<Vec<OutgoingRecord>> {
        let mut jobs = Vec::new();
        {
            let sql = concat!(
                "SELECT ",
                outbox_columns!(),
                " FROM taskport_outbox WHERE due_at <= ?1 ORDER BY due_at, seq LIMIT ?2"
            );
            let mut statement = self.connection().prepare_cached(sql).during("read")?;
            let mut rows = statement.query([now.as_micros(), len(max)]).during("read")?;
            let mut bytes = 0;
            while bytes < bytes_max
                && let Some(row) = rows.next().during("read")?
            {
                let job = outgoing_record(row)?;
                bytes += job.job.arguments.len();
                jobs.push(job);
            }
        }
        for job in &mut jobs {
            job.attempt = job.attempt.saturating_add(1);
            job.due_at = Some(until);
            let sql = "UPDATE taskport_outbox SET attempt = ?2, due_at = ?3 WHERE seq = ?1";
            self.execute(sql, params![job.job.seq, job.attempt, until.as_micros()])?;
        }
        Ok(jobs)
    }

    fn put_outgoing(&mut self, seq: i64, due_at: Option<Timestamp>, reason: Option<&str>) -> Result<bool> {
        let sql = "UPDATE taskport_outbox SET due_at = ?2, reason = ?3 WHERE seq = ?1";
        let due_at = due_at.map(Timestamp::as_micros);
        self.execute(sql, params![seq, due_at, reason]).map(|updated| updated == 1)
    }

    fn delete_outgoing(&mut self, seq: i64) -> Result<bool> {
        self.execute("DELETE FROM taskport_outbox WHERE seq = ?1", [seq]).map(|deleted| deleted == 1)
    }

    fn outgoing_seqs(&mut self, id: &JobId) -> Result<Vec<i64>> {
        let sql = "SELECT seq FROM taskport_outbox WHERE id = ?1 ORDER BY seq";
        let mut statement = self.connection().prepare_cached(sql).during("read")?;
        let rows = statement.query_map([StoredId::new(id.as_str())], |row| row.get(0));
        rows.and_then(Iterator::collect).during("read")
    }
}

fn exists(connection: &Connection, sql: &str, params: impl rusqlite::Params) -> Result<bool> {
    let mut statement = connection.prepare_cached(sql).during("read")?;
    let found = statement.query_row(params, |_| Ok(())).optional().during("read")?;
    Ok(found.is_some())
}

fn inbox_record(row: &Row<'_>) -> Result<InboxRecord> {
    let content_type = get::<Option<String>>(row, 4)?;
    Ok(InboxRecord {
        seq: get(row, 0)?,
        id: JobId::new(id_text(row.get_ref(1).during("read")?)?)?,
        task: TaskName::new(get::<String>(row, 2)?)?,
        options: blob(row, 3)?,
        arguments: Payload {
            content_type: content_type.map_or(ContentType::Json, |name| ContentType::from(name.as_str())),
            bytes: blob(row, 5)?.unwrap_or_default(),
        },
        submitted_at: Timestamp::from_micros(get(row, 6)?),
    })
}

fn outgoing_record(row: &Row<'_>) -> Result<OutgoingRecord> {
    Ok(OutgoingRecord {
        job: inbox_record(row)?,
        target: BackendName::new(get::<String>(row, 7)?)?,
        attempt: get(row, 8)?,
        due_at: moment(row, 9)?,
        reason: get(row, 10)?,
    })
}

fn len(max: usize) -> i64 {
    i64::try_from(max).unwrap_or(i64::MAX)
}
