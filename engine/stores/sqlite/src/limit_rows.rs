//! The rows of gates and batches, and the moves of jobs that have to do with them.

use std::sync::Arc;
use std::time::Duration;

use rusqlite::types::ToSql;
use rusqlite::{OptionalExtension, Row, params};
use taskport_abstraction::{
    BatchId, ContentType, JobId, JobState, Payload, QueueName, RawCall, Result, TaskName, Timestamp,
};
use taskport_engine::record::{BatchRecord, CallbackRecord, GateKind, GateName, GateRecord, JobRecord};
use taskport_engine::store::{Grant, LimitRows, ReadBatches};

use crate::error::{InStore, damaged};
use crate::names::{StoredId, id_text};
use crate::rows::{SqliteReader, blob, get, job_columns, moment, unsigned};
use crate::store::{Moment, SqliteStore};

/// The columns of a gate, in the order [`SqliteStore::select_gates`] reads them.
macro_rules! select_gates {
    ($rest:literal) => {
        concat!(
            "SELECT gate, kind, queue, key, inside, held, max, period, mark, wake_at FROM taskport_gates ",
            $rest
        )
    };
}

impl LimitRows for SqliteStore {
    fn gate(&mut self, name: &GateName) -> Result<Option<GateRecord>> {
        let queue = self.gate_queue(name)?;
        let kind = name.kind as i64;
        let sql = select_gates!("WHERE key = ?1 AND kind = ?2 AND queue = ?3");
        Ok(self.select_gates(sql, &[&&*name.key, &kind, &queue])?.pop())
    }

    fn gates(&mut self, after: i64, max: usize) -> Result<Vec<GateRecord>> {
        self.select_gates(select_gates!("WHERE gate > ?1 ORDER BY gate LIMIT ?2"), &[&after, &count(max)])
    }

    fn due_gates(&mut self, now: Timestamp, max: usize) -> Result<Vec<GateRecord>> {
        let sql =
            select_gates!("WHERE wake_at IS NOT NULL AND wake_at <= ?1 ORDER BY wake_at, gate LIMIT ?2");
        self.select_gates(sql, &[&now.as_micros(), &count(max)])
    }

    fn gate_id_max(&mut self) -> Result<i64> {
        let sql = "SELECT coalesce(max(gate), 0) FROM taskport_gates";
        let mut statement = self.connection().prepare_cached(sql).during("read")?;
        statement.query_row([], |row| row.get(0)).during("read")
    }

    fn put_gate(&mut self, gate: &GateRecord) -> Result<()> {
        let period = i64::try_from(gate.period.as_micros()).unwrap_or(i64::MAX);
        let sql = "UPDATE taskport_gates SET inside = ?2, held = ?3, max = ?4, period = ?5, mark = ?6, wake_at = ?7 \
                   WHERE gate = ?1";
        let (inside, held) = (gate.inside as i64, gate.held as i64);
        let updated = self.execute(
            sql,
            params![gate.id, inside, held, gate.max, period, gate.mark, Moment(gate.wake_at)],
        )?;
        if updated == 1 {
            return Ok(());
        }
        let queue = self.gate_queue(&gate.name)?;
        let sql = "INSERT INTO taskport_gates (gate, inside, held, max, period, mark, wake_at, kind, queue, key) \
                   VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10)";
        self.execute(
            sql,
            params![
                gate.id,
                inside,
                held,
                gate.max,
                period,
                gate.mark,
                Moment(gate.wake_at),
                gate.name.kind as i64,
                queue,
                &*gate.name.key,
            ],
        )?;
        Ok(())
    }

    fn delete_gate(&mut self, id: i64) -> Result<()> {
        self.execute("DELETE FROM taskport_gates WHERE gate = ?1", [id])?;
        Ok(())
    }

    fn held(&mut self, gate: i64, max: usize) -> Result<Vec<JobRecord>> {
        let next_queue = "SELECT queue FROM taskport_jobs WHERE held_by = ?1 AND held_by > 0 AND queue > ?2 \
                          ORDER BY queue LIMIT 1";
        let first = concat!(
            "SELECT ",
            job_columns!(),
            " FROM taskport_jobs WHERE held_by = ?1 AND held_by > 0 AND queue = ?2 ORDER BY position, seq LIMIT ?3"
        );
        let (mut queue, mut jobs) = (0_i64, Vec::new());
        loop {
            let next = {
                let mut statement = self.connection().prepare_cached(next_queue).during("read")?;
                statement.query_row([gate, queue], |row| row.get(0)).optional().during("read")?
            };
            let Some(next) = next else { break };
            queue = next;
            jobs.extend(self.rows.select_jobs(first, &[&gate, &queue, &count(max)])?);
        }
        jobs.sort_by_key(|job| (job.position, job.seq));
        Ok(jobs)
    }

    fn line_waits(&mut self, key: &str) -> Result<Option<bool>> {
        let sql = "SELECT held_by IS -1 FROM taskport_jobs WHERE line = ?1 ORDER BY line_place DESC, seq DESC LIMIT 1";
        let mut statement = self.connection().prepare_cached(sql).during("read")?;
        statement.query_row([key], |row| row.get(0)).optional().during("read")
    }

    fn next_in_line(&mut self, key: &str) -> Result<Option<JobRecord>> {
        let sql = concat!(
            "SELECT ",
            job_columns!(),
            " FROM taskport_jobs WHERE line = ?1 AND held_by = -1 ORDER BY line_place, seq LIMIT 1"
        );
        Ok(self.rows.select_jobs(sql, &[&key])?.pop())
    }

    fn ready(&mut self, queue: &QueueName, now: Timestamp, max: usize) -> Result<Vec<JobRecord>> {
        let queue = self.name_key(queue.as_str())?;
        self.rows.select_jobs(READY, &[&queue, &now.as_micros(), &count(max)])
    }

    fn lease(&mut self, jobs: &mut [JobRecord], grant: &Grant<'_>) -> Result<()> {
        let worker = self.name_key(grant.worker)?;
        let (now, until) = (grant.now.as_micros(), grant.until.as_micros());
        let sql = "UPDATE taskport_jobs SET state = 3, attempt = ?2, token = ?3, worker = ?4, started_at = ?5, due_at = ?6, \
                   progress = NULL, progress_message = NULL WHERE seq = ?1";
        let mut lease = self.connection().prepare_cached(sql).during("write")?;
        let name: Arc<str> = grant.worker.into();
        for job in jobs {
            job.state = JobState::Running;
            job.attempt += 1;
            job.token.0 += 1;
            job.worker = Some(name.clone());
            job.started_at = Some(grant.now);
            job.due_at = Some(grant.until);
            job.progress = None;
            lease
                .execute(params![job.seq, job.attempt, job.token.0 as i64, worker, now, until])
                .during("write")?;
        }
        Ok(())
    }

    fn move_job(&mut self, job: &JobRecord) -> Result<()> {
        let sql =
            "UPDATE taskport_jobs SET state = ?2, position = ?3, due_at = ?4, held_by = ?5 WHERE seq = ?1";
        self.execute(sql, params![job.seq, job.state as i64, job.position, Moment(job.due_at), job.held_by])?;
        Ok(())
    }

    fn job_at(&mut self, seq: i64) -> Result<Option<JobRecord>> {
        let sql = concat!("SELECT ", job_columns!(), " FROM taskport_jobs WHERE seq = ?1");
        Ok(self.rows.select_jobs(sql, &[&seq])?.pop())
    }

    fn waiting_after(&mut self, queue: &QueueName, after: i64, max: usize) -> Result<Vec<JobRecord>> {
        let queue = self.name_key(queue.as_str())?;
        let sql = concat!(
            "SELECT ",
            job_columns!(),
            " FROM taskport_jobs NOT INDEXED WHERE seq > ?1 AND queue = ?2 AND state < 5 AND state <> 3 \
             AND (held_by IS NULL OR held_by > 0) ORDER BY seq LIMIT ?3"
        );
        self.rows.select_jobs(sql, &[&after, &queue, &count(max)])
    }

    fn reposition_by_age(&mut self, queue: &QueueName, ageing: Duration) -> Result<()> {
        let ageing = i64::try_from(ageing.as_micros()).unwrap_or(i64::MAX);
        // The formula of `state::aged_position`.
        self.set_positions(queue, &format!("submitted_at + (9 - priority) * {ageing}"))
    }

    fn due_queues(&mut self, now: Timestamp, max: usize) -> Result<Vec<QueueName>> {
        let sql = "SELECT text FROM taskport_queues JOIN taskport_names ON key = name \
                   WHERE wake_at IS NOT NULL AND wake_at <= ?1 ORDER BY text LIMIT ?2";
        let mut statement = self.connection().prepare_cached(sql).during("read")?;
        let rows = statement
            .query_map([now.as_micros(), count(max)], |row| row.get::<_, String>(0))
            .during("read")?;
        rows.map(|name| QueueName::new(name.during("read")?)).collect()
    }

    fn insert_batch(&mut self, batch: &BatchRecord) -> Result<()> {
        let sql = "INSERT INTO taskport_batches (id, total, pending, succeeded, failed, cancelled, submitted_at) \
                   VALUES (?1, 0, 0, 0, 0, 0, ?2)";
        self.execute(sql, params![batch.id.as_str(), batch.submitted_at.as_micros()])?;
        for (on_success, callback) in [(true, &batch.on_success), (false, &batch.on_complete)] {
            let Some(callback) = callback else { continue };
            let arguments = &callback.call.arguments;
            let kind = Some(&arguments.content_type).filter(|kind| **kind != ContentType::Json);
            let sql = "INSERT INTO taskport_batch_callbacks (batch, on_success, id, task, arguments_type, arguments, options) \
                       VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7)";
            self.execute(
                sql,
                params![
                    batch.id.as_str(),
                    on_success,
                    StoredId::new(callback.id.as_str()),
                    callback.call.task.as_str(),
                    kind.map(ContentType::as_str),
                    &*arguments.bytes,
                    callback.options.as_deref(),
                ],
            )?;
        }
        self.put_batch(batch)
    }

    fn put_batch(&mut self, batch: &BatchRecord) -> Result<()> {
        let sql = "UPDATE taskport_batches SET total = ?2, pending = ?3, succeeded = ?4, failed = ?5, cancelled = ?6, \
                   finished_at = ?7 WHERE id = ?1";
        self.execute(
            sql,
            params![
                batch.id.as_str(),
                batch.total as i64,
                batch.pending as i64,
                batch.succeeded as i64,
                batch.failed as i64,
                batch.cancelled as i64,
                Moment(batch.finished_at),
            ],
        )?;
        Ok(())
    }
}

/// What a claim walks.
pub(crate) const READY: &str = concat!(
    "SELECT ",
    job_columns!(),
    " FROM taskport_jobs WHERE state = 2 AND queue = ?1 AND (expires_at IS NULL OR expires_at > ?2) \
     ORDER BY position LIMIT ?3"
);

impl SqliteStore {
    /// Gives every waiting job of a queue but those in a line a position by a formula of its columns.
    pub(crate) fn set_positions(&mut self, queue: &QueueName, formula: &str) -> Result<()> {
        let queue = self.name_key(queue.as_str())?;
        for waiting in ["state = 2", "state < 5 AND state <> 2 AND state <> 1 AND state <> 3", "held_by > 0"]
        {
            let sql = format!("UPDATE taskport_jobs SET position = {formula} WHERE {waiting} AND queue = ?1");
            self.execute(&sql, [queue])?;
        }
        Ok(())
    }

    /// The key of a gate's queue, 0 where it is of all queues.
    fn gate_queue(&mut self, name: &GateName) -> Result<i64> {
        name.queue.as_ref().map_or(Ok(0), |queue| self.name_key(queue.as_str()))
    }

    fn select_gates(&mut self, sql: &str, params: &[&dyn ToSql]) -> Result<Vec<GateRecord>> {
        let SqliteReader { connection, names, .. } = &mut self.rows;
        let mut statement = connection.prepare_cached(sql).during("read")?;
        let mut rows = statement.query(params).during("read")?;
        let mut gates = Vec::new();
        while let Some(row) = rows.next().during("read")? {
            let queue = match get::<i64>(row, 2)? {
                0 => None,
                key => Some(QueueName::new(names.text(connection, key)?)?),
            };
            gates.push(gate(row, queue)?);
        }
        Ok(gates)
    }
}

fn gate(row: &Row<'_>, queue: Option<QueueName>) -> Result<GateRecord> {
    let kind = usize::try_from(get::<i64>(row, 1)?).ok().and_then(|kind| GateKind::ALL.get(kind).copied());
    let kind = kind.ok_or_else(|| damaged("a gate has an unknown kind"))?;
    Ok(GateRecord {
        id: get(row, 0)?,
        name: GateName { kind, queue, key: get(row, 3)? },
        inside: unsigned(row, 4)?,
        held: unsigned(row, 5)?,
        max: get(row, 6)?,
        period: Duration::from_micros(unsigned(row, 7)?),
        mark: get(row, 8)?,
        wake_at: moment(row, 9)?,
    })
}

impl ReadBatches for SqliteStore {
    fn batch(&mut self, id: &BatchId) -> Result<Option<BatchRecord>> {
        self.rows.batch(id)
    }
}

impl ReadBatches for SqliteReader {
    fn batch(&mut self, id: &BatchId) -> Result<Option<BatchRecord>> {
        let sql = "SELECT total, pending, succeeded, failed, cancelled, submitted_at, finished_at \
                   FROM taskport_batches WHERE id = ?1";
        let mut statement = self.connection.prepare_cached(sql).during("read")?;
        let mut rows = statement.query([id.as_str()]).during("read")?;
        let Some(row) = rows.next().during("read")? else { return Ok(None) };
        Ok(Some(BatchRecord {
            id: id.clone(),
            total: unsigned(row, 0)?,
            pending: unsigned(row, 1)?,
            succeeded: unsigned(row, 2)?,
            failed: unsigned(row, 3)?,
            cancelled: unsigned(row, 4)?,
            submitted_at: Timestamp::from_micros(get(row, 5)?),
            finished_at: moment(row, 6)?,
            on_success: self.callback(id, true)?,
            on_complete: self.callback(id, false)?,
        }))
    }
}

impl SqliteReader {
    fn callback(&self, batch: &BatchId, on_success: bool) -> Result<Option<CallbackRecord>> {
        let sql = "SELECT id, task, arguments_type, arguments, options FROM taskport_batch_callbacks \
                   WHERE batch = ?1 AND on_success = ?2";
        let mut statement = self.connection.prepare_cached(sql).during("read")?;
        let mut rows = statement.query(params![batch.as_str(), on_success]).during("read")?;
        let Some(row) = rows.next().during("read")? else { return Ok(None) };
        let kind = get::<Option<String>>(row, 2)?;
        let content_type = kind.map_or(ContentType::Json, |kind| ContentType::from(kind.as_str()));
        let arguments = Payload { content_type, bytes: blob(row, 3)?.unwrap_or_default() };
        Ok(Some(CallbackRecord {
            id: JobId::new(id_text(row.get_ref(0).during("read")?)?)?,
            call: RawCall { task: TaskName::new(get::<String>(row, 1)?)?, arguments },
            options: blob(row, 4)?,
        }))
    }
}

fn count(max: usize) -> i64 {
    i64::try_from(max).unwrap_or(i64::MAX)
}
