//! Reading, and the forms of rows.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use rusqlite::types::{ToSql, ValueRef};
use rusqlite::{Connection, OptionalExtension, Row, params};
use taskport_abstraction::backend::{
    Counts, JobFilter, QueueLimits, QueueOrder, Rate, RunFilter, WorkerLoad,
};
use taskport_abstraction::job::{Progress, StepRef};
use taskport_abstraction::options::Priority;
use taskport_abstraction::{
    ContentType, JobId, JobState, LeaseToken, Payload, QueueName, Result, RunId, StepId, TaskName, Timestamp,
};
use taskport_engine::record::{
    JobRecord, LinePlace, Pace, QueueRecord, RunRecord, StepJob, StepRecord, WorkerRecord, tag_needle,
};
use taskport_engine::{Read, state};

use crate::error::{InStore, damaged};
use crate::names::{Names, RunKeys, StoredId, id_text};
use crate::store::data_version;
use crate::upkeep_rows::Generation;
use crate::{run_rows, salvage, step_rows};

/// Reads one file, beside its writer.
#[derive(Debug)]
pub struct SqliteReader {
    pub(crate) connection: Connection,
    pub(crate) names: Names,
    pub(crate) run_keys: RunKeys,
    /// What it has seen of the file, where it reads beside a writer.
    seen: Option<Seen>,
}

/// What tells a reader whether keys it remembers may have been given up.
#[derive(Debug, PartialEq, Eq)]
struct Seen {
    data_version: i64,
    generation: Generation,
}

/// The columns of a job, in the order [`job`] reads them.
macro_rules! job_columns {
    () => {
        "seq, id, task, queue, state, priority, position, due_at, expires_at, attempt, token, worker, \
         cancel_requested, submitted_at, started_at, finished_at, run, step, step_index, progress, \
         progress_message, tags, options, failure, result_type, result, arguments_type, arguments, held_by, \
         line, line_place"
    };
}
pub(crate) use job_columns;

/// The columns of a queue, in the order [`queue`] reads them.
macro_rules! queue_columns {
    () => {
        "name, job_order, paused, paused_reason, submitted, scheduled, blocked, queued, running, retrying, \
         succeeded, failed, cancelled, expired, concurrency_max, rate_count, rate_period, ageing, gated, \
         virtual_time, bucket, wake_at"
    };
}

/// The columns of a worker, in the order [`worker`] reads them.
macro_rules! worker_columns {
    () => {
        "name, host, pid, queues, tasks, lease_for, running, slots, started_at, seen_at, forget_at"
    };
}

impl SqliteReader {
    pub(crate) fn new(connection: Connection) -> Self {
        Self { connection, names: Names::default(), run_keys: RunKeys::default(), seen: None }
    }

    /// A reader beside a writer, which sees to it that what it remembers holds.
    pub(crate) fn beside(connection: Connection) -> Result<Self> {
        let data_version = data_version(&connection)?;
        let mut reader = Self::new(connection);
        reader.seen = Some(Seen { data_version, generation: reader.generation()? });
        Ok(reader)
    }

    /// Forgets every key it remembers where others may have been put in their place.
    fn refresh(&mut self) -> Result<()> {
        let Some(Seen { data_version: before, generation }) = &self.seen else { return Ok(()) };
        let data_version = data_version(&self.connection)?;
        if data_version == *before {
            return Ok(());
        }
        let present = self.generation()?;
        if present != *generation {
            self.forget_keys();
        }
        self.seen = Some(Seen { data_version, generation: present });
        Ok(())
    }

    /// Forgets every key it remembers.
    pub(crate) fn forget_keys(&mut self) {
        self.names.forget();
        self.run_keys.forget();
    }

    /// Every job a statement finds.
    pub(crate) fn select_jobs(&mut self, sql: &str, params: &[&dyn ToSql]) -> Result<Vec<JobRecord>> {
        let mut statement = self.connection.prepare_cached(sql).during("read")?;
        let mut rows = statement.query(params).during("read")?;
        let mut jobs = Vec::new();
        while let Some(row) = rows.next().during("read")? {
            let read = job(row, &self.connection, &mut self.names, &mut self.run_keys);
            jobs.push(read.or_else(|error| {
                if !salvage::is_malformed(&error) {
                    return Err(error);
                }
                tracing::error!(%error, "the row of a job is malformed");
                salvage::job(row, &self.connection, &mut self.names).map_err(|_| error)
            })?);
        }
        Ok(jobs)
    }

    pub(crate) fn worker(&mut self, name: &str) -> Result<Option<WorkerRecord>> {
        let sql = concat!("SELECT ", worker_columns!(), " FROM taskport_workers WHERE name = ?1");
        let mut statement = self.connection.prepare_cached(sql).during("read")?;
        let mut rows = statement.query([name]).during("read")?;
        rows.next().during("read")?.map(worker).transpose()
    }
}

impl Read for SqliteReader {
    fn job(&mut self, id: &JobId) -> Result<Option<JobRecord>> {
        self.refresh()?;
        let sql = concat!("SELECT ", job_columns!(), " FROM taskport_jobs WHERE id = ?1");
        Ok(self.select_jobs(sql, &[&StoredId::new(id.as_str())])?.pop())
    }

    fn jobs(&mut self, filter: &JobFilter, before: Option<i64>, max: usize) -> Result<Vec<JobRecord>> {
        self.refresh()?;
        let Some(conditions) = self.conditions(filter)? else { return Ok(Vec::new()) };
        // Dead letters and the jobs of a run have an index; everything else is found by walking from the newest.
        let indexed = filter.run.is_some() || filter.state.is_some_and(is_dead);
        let mut sql = concat!("SELECT ", job_columns!(), " FROM taskport_jobs").to_owned();
        sql.push_str(if indexed { " WHERE seq < ?1" } else { " NOT INDEXED WHERE seq < ?1" });
        let mut params: Vec<Box<dyn ToSql>> =
            vec![Box::new(before.unwrap_or(i64::MAX)), Box::new(i64::try_from(max).unwrap_or(i64::MAX))];
        for (condition, value) in conditions {
            params.push(value);
            sql.push_str(" AND ");
            sql.push_str(&condition.replace('?', &format!("?{}", params.len())));
        }
        if filter.state.is_some_and(is_dead) {
            sql.push_str(" AND state > 5");
        }
        sql.push_str(" ORDER BY seq DESC LIMIT ?2");
        let params: Vec<&dyn ToSql> = params.iter().map(AsRef::as_ref).collect();
        self.select_jobs(&sql, &params)
    }

    fn queue(&mut self, name: &QueueName) -> Result<Option<QueueRecord>> {
        self.refresh()?;
        let Some(key) = self.names.key(&self.connection, name.as_str())? else { return Ok(None) };
        let sql = concat!("SELECT ", queue_columns!(), " FROM taskport_queues WHERE name = ?1");
        let mut statement = self.connection.prepare_cached(sql).during("read")?;
        let mut rows = statement.query([key]).during("read")?;
        match rows.next().during("read")? {
            Some(row) => queue(row, &self.connection, &mut self.names).map(Some),
            None => Ok(None),
        }
    }

    fn queues(&mut self) -> Result<Vec<QueueRecord>> {
        self.refresh()?;
        let sql = concat!("SELECT ", queue_columns!(), " FROM taskport_queues");
        let mut statement = self.connection.prepare_cached(sql).during("read")?;
        let mut rows = statement.query([]).during("read")?;
        let mut queues = Vec::new();
        while let Some(row) = rows.next().during("read")? {
            queues.push(queue(row, &self.connection, &mut self.names)?);
        }
        queues.sort_by(|left, right| left.name.cmp(&right.name));
        Ok(queues)
    }

    fn oldest_ready(&mut self, queue: &QueueName) -> Result<Option<Timestamp>> {
        self.refresh()?;
        let Some(key) = self.names.key(&self.connection, queue.as_str())? else { return Ok(None) };
        let by_level = "SELECT job_order IN (1, 2) OR (job_order = 0 AND ageing IS NULL) FROM taskport_queues WHERE name = ?1";
        let mut statement = self.connection.prepare_cached(by_level).during("read")?;
        if statement.query_row([key], |row| row.get(0)).optional().during("read")? == Some(false) {
            // Shares and ages leave no order by `seq`, so that every waiting job is looked at.
            let sql = "SELECT due_at FROM taskport_jobs WHERE seq = ( \
                       SELECT min(seq) FROM taskport_jobs WHERE state = 2 AND queue = ?1)";
            let mut statement = self.connection.prepare_cached(sql).during("read")?;
            let oldest: Option<Option<i64>> =
                statement.query_row([key], |row| row.get(0)).optional().during("read")?;
            return Ok(oldest.flatten().map(Timestamp::from_micros));
        }
        // The oldest of each level stands first in it, so eleven looks into the index are enough.
        let sql = "SELECT seq, due_at FROM taskport_jobs \
                   WHERE state = 2 AND queue = ?1 AND position >= ?2 AND position < ?3 ORDER BY position LIMIT 1";
        let newest_first = "SELECT seq, due_at FROM taskport_jobs \
                            WHERE state = 2 AND queue = ?1 AND position < 0 ORDER BY position DESC LIMIT 1";
        let read = |row: &Row<'_>| Ok((row.get::<_, i64>(0)?, row.get::<_, Option<i64>>(1)?));
        let mut oldest: Option<(i64, Option<i64>)> = None;
        let mut consider = |found: Option<(i64, Option<i64>)>| {
            oldest = [oldest, found].into_iter().flatten().min_by_key(|(seq, _)| *seq);
        };
        let mut statement = self.connection.prepare_cached(newest_first).during("read")?;
        consider(statement.query_row([key], read).optional().during("read")?);
        let mut statement = self.connection.prepare_cached(sql).during("read")?;
        let mut above = i64::MAX;
        for level in 0..=Priority::MAX.level() {
            let from = state::position(QueueOrder::Priority, Priority::new(level)?, 0);
            consider(statement.query_row([key, from, above], read).optional().during("read")?);
            above = from;
        }
        Ok(oldest.and_then(|(_, due_at)| due_at).map(Timestamp::from_micros))
    }

    fn workers(&mut self) -> Result<Vec<WorkerRecord>> {
        let sql = concat!("SELECT ", worker_columns!(), " FROM taskport_workers ORDER BY name");
        let mut statement = self.connection.prepare_cached(sql).during("read")?;
        let mut rows = statement.query([]).during("read")?;
        let mut workers = Vec::new();
        while let Some(row) = rows.next().during("read")? {
            workers.push(worker(row)?);
        }
        Ok(workers)
    }

    fn run(&mut self, id: &RunId) -> Result<Option<RunRecord>> {
        run_rows::run(&self.connection, id)
    }

    fn runs(&mut self, filter: &RunFilter, before: Option<i64>, max: usize) -> Result<Vec<RunRecord>> {
        run_rows::runs(&self.connection, filter, before, max)
    }

    fn run_version(&mut self, id: &RunId) -> Result<Option<i64>> {
        run_rows::version(&self.connection, id)
    }

    fn steps(&mut self, run: &RunId, since: i64) -> Result<Vec<StepRecord>> {
        self.refresh()?;
        match self.run_keys.find(&self.connection, run)? {
            Some(run) => step_rows::since(&self.connection, run, since),
            None => Ok(Vec::new()),
        }
    }

    fn step_jobs(&mut self, run: &RunId, step: &StepId, from: u32, max: usize) -> Result<Vec<StepJob>> {
        self.refresh()?;
        let Some(run) = self.run_keys.find(&self.connection, run)? else { return Ok(Vec::new()) };
        let sql = "SELECT id, step_index, state, result_type, result FROM taskport_jobs \
                   WHERE run = ?1 AND step = ?2 AND step_index >= ?3 ORDER BY step_index LIMIT ?4";
        let mut statement = self.connection.prepare_cached(sql).during("read")?;
        // A job without a place in a list has -1 and stands at 0.
        let from = if from == 0 { -1 } else { i64::from(from) };
        let max = i64::try_from(max).unwrap_or(i64::MAX);
        let mut rows = statement.query(params![run, step.as_str(), from, max]).during("read")?;
        let mut jobs = Vec::new();
        while let Some(row) = rows.next().during("read")? {
            jobs.push(StepJob {
                id: JobId::new(id_text(row.get_ref(0).during("read")?)?)?,
                step: step.clone(),
                index: u32::try_from(get::<i64>(row, 1)?).ok(),
                state: job_state(get(row, 2)?)?,
                result: payload(row, 3, 4, &self.connection, &mut self.names)?,
            });
        }
        Ok(jobs)
    }

    fn live_jobs_of_run(&mut self, run: &RunId, max: usize) -> Result<Vec<JobRecord>> {
        self.refresh()?;
        let Some(key) = self.run_keys.find(&self.connection, run)? else { return Ok(Vec::new()) };
        let sql = concat!(
            "SELECT ",
            job_columns!(),
            " FROM taskport_jobs WHERE run = ?1 AND state < 5 AND cancel_requested = 0 ORDER BY seq LIMIT ?2"
        );
        self.select_jobs(sql, &[&key, &i64::try_from(max).unwrap_or(i64::MAX)])
    }
}

/// A condition with a place for a value, and the value.
type Condition = (&'static str, Box<dyn ToSql>);

impl SqliteReader {
    /// The conditions of a filter, or `None` where it names what the file has never seen.
    fn conditions(&mut self, filter: &JobFilter) -> Result<Option<Vec<Condition>>> {
        let mut conditions: Vec<Condition> = Vec::new();
        if let Some(state) = filter.state {
            conditions.push(("state = ?", Box::new(state as i64)));
        }
        let queue = filter.queue.as_ref().map(|queue| ("queue = ?", queue.as_str()));
        let task = filter.task.as_ref().map(|task| ("task = ?", task.as_str()));
        for (condition, name) in [queue, task].into_iter().flatten() {
            let Some(key) = self.names.key(&self.connection, name)? else { return Ok(None) };
            conditions.push((condition, Box::new(key)));
        }
        if let Some(run) = &filter.run {
            let Some(key) = self.run_keys.find(&self.connection, run)? else { return Ok(None) };
            conditions.push(("run = ?", Box::new(key)));
        }
        if let Some(tag) = &filter.tag {
            conditions.push(("instr(tags, ?) > 0", Box::new(tag_needle(tag))));
        }
        Ok(Some(conditions))
    }
}

const fn is_dead(state: JobState) -> bool {
    matches!(state, JobState::Failed | JobState::Cancelled | JobState::Expired)
}

/// The job of a row with [`job_columns`].
pub(crate) fn job(
    row: &Row<'_>,
    connection: &Connection,
    names: &mut Names,
    run_keys: &mut RunKeys,
) -> Result<JobRecord> {
    let step = match get::<Option<i64>>(row, 16)? {
        Some(run) => Some(StepRef {
            run: run_keys.id(connection, run)?,
            step: StepId::new(get::<String>(row, 17)?)?,
            index: u32::try_from(get::<i64>(row, 18)?).ok(),
        }),
        None => None,
    };
    let worker: Option<i64> = get(row, 11)?;
    Ok(JobRecord {
        seq: get(row, 0)?,
        id: JobId::new(id_text(row.get_ref(1).during("read")?)?)?,
        task: TaskName::new(names.text(connection, get(row, 2)?)?)?,
        queue: QueueName::new(names.text(connection, get(row, 3)?)?)?,
        state: job_state(get(row, 4)?)?,
        priority: Priority::new(get(row, 5)?)?,
        position: get(row, 6)?,
        due_at: moment(row, 7)?,
        held_by: get(row, 28)?,
        line: line_place(row)?,
        expires_at: moment(row, 8)?,
        attempt: get(row, 9)?,
        token: LeaseToken(unsigned(row, 10)?),
        worker: worker.map(|worker| names.text(connection, worker)).transpose()?,
        cancel_requested: get(row, 12)?,
        submitted_at: Timestamp::from_micros(get(row, 13)?),
        started_at: moment(row, 14)?,
        finished_at: moment(row, 15)?,
        progress: get::<Option<f64>>(row, 19)?
            .map(|fraction| {
                Ok::<_, taskport_abstraction::Error>(Progress { fraction, message: get(row, 20)? })
            })
            .transpose()?,
        tags: get::<Option<Arc<str>>>(row, 21)?,
        options: blob(row, 22)?,
        failure: blob(row, 23)?,
        result: payload(row, 24, 25, connection, names)?,
        arguments: payload(row, 26, 27, connection, names)?.unwrap_or_default(),
        step,
    })
}

fn queue(row: &Row<'_>, connection: &Connection, names: &mut Names) -> Result<QueueRecord> {
    Ok(QueueRecord {
        name: QueueName::new(names.text(connection, get(row, 0)?)?)?,
        order: match get::<i64>(row, 1)? {
            0 => QueueOrder::Priority,
            1 => QueueOrder::Fifo,
            2 => QueueOrder::Lifo,
            3 => QueueOrder::Fair,
            other => return Err(damaged(format!("a queue has the order {other}"))),
        },
        limits: QueueLimits {
            concurrency_max: get(row, 14)?,
            rate: match (get::<Option<u32>>(row, 15)?, duration(row, 16)?) {
                (Some(count), Some(period)) => Some(Rate { count, period }),
                _ => None,
            },
            ageing: duration(row, 17)?,
        },
        pace: Pace {
            gated: get(row, 18)?,
            virtual_time: get(row, 19)?,
            bucket: get(row, 20)?,
            wake_at: moment(row, 21)?,
        },
        paused: get(row, 2)?,
        paused_reason: get(row, 3)?,
        counts: Counts {
            submitted: unsigned(row, 4)?,
            scheduled: unsigned(row, 5)?,
            blocked: unsigned(row, 6)?,
            queued: unsigned(row, 7)?,
            running: unsigned(row, 8)?,
            retrying: unsigned(row, 9)?,
            succeeded: unsigned(row, 10)?,
            failed: unsigned(row, 11)?,
            cancelled: unsigned(row, 12)?,
            expired: unsigned(row, 13)?,
        },
    })
}

fn worker(row: &Row<'_>) -> Result<WorkerRecord> {
    let list = |index| {
        let text: String = get(row, index)?;
        serde_json::from_str(&text).map_err(|_| damaged("a worker's list of names is none"))
    };
    let queues: Vec<String> = list(3)?;
    let tasks: Vec<String> = list(4)?;
    Ok(WorkerRecord {
        name: get(row, 0)?,
        host: get(row, 1)?,
        pid: get(row, 2)?,
        queues: queues.into_iter().map(QueueName::new).collect::<Result<_>>()?,
        tasks: tasks.into_iter().map(TaskName::new).collect::<Result<_>>()?,
        lease_for: Duration::from_micros(unsigned(row, 5)?),
        load: WorkerLoad { running: get(row, 6)?, slots: get(row, 7)? },
        started_at: Timestamp::from_micros(get(row, 8)?),
        seen_at: Timestamp::from_micros(get(row, 9)?),
        forget_at: Timestamp::from_micros(get(row, 10)?),
    })
}

/// One column.
pub(crate) fn get<T: rusqlite::types::FromSql>(row: &Row<'_>, index: usize) -> Result<T> {
    row.get(index).during("read")
}

/// A column with a number that is never negative.
pub(crate) fn unsigned(row: &Row<'_>, index: usize) -> Result<u64> {
    u64::try_from(get::<i64>(row, index)?).map_err(|_| damaged("a number is negative"))
}

/// A column with a point in time.
pub(crate) fn moment(row: &Row<'_>, index: usize) -> Result<Option<Timestamp>> {
    Ok(get::<Option<i64>>(row, index)?.map(Timestamp::from_micros))
}

/// A column with a length of time in microseconds.
fn duration(row: &Row<'_>, index: usize) -> Result<Option<Duration>> {
    let micros = get::<Option<i64>>(row, index)?;
    Ok(micros.map(|micros| Duration::from_micros(u64::try_from(micros).unwrap_or(0))))
}

/// The place in a line of a row with [`job_columns`].
pub(crate) fn line_place(row: &Row<'_>) -> Result<Option<LinePlace>> {
    let key = get::<Option<Arc<str>>>(row, 29)?;
    key.map(|key| Ok(LinePlace { key, place: get(row, 30)? })).transpose()
}

/// A column with bytes.
pub(crate) fn blob(row: &Row<'_>, index: usize) -> Result<Option<Bytes>> {
    match row.get_ref(index).during("read")? {
        ValueRef::Null => Ok(None),
        ValueRef::Blob(bytes) | ValueRef::Text(bytes) => Ok(Some(Bytes::copy_from_slice(bytes))),
        _ => Err(damaged("a number stands where bytes should")),
    }
}

/// The payload of two columns, its type and its bytes.
pub(crate) fn payload(
    row: &Row<'_>,
    type_index: usize,
    index: usize,
    connection: &Connection,
    names: &mut Names,
) -> Result<Option<Payload>> {
    let Some(bytes) = blob(row, index)? else { return Ok(None) };
    let content_type = match get::<Option<i64>>(row, type_index)? {
        None => ContentType::Json,
        Some(key) => ContentType::from(names.text(connection, key)?.as_ref()),
    };
    Ok(Some(Payload { content_type, bytes }))
}

/// A state by its number in the tables, which is its place in [`JobState::ALL`].
pub(crate) fn job_state(number: i64) -> Result<JobState> {
    let index = usize::try_from(number).unwrap_or(usize::MAX);
    let known = JobState::ALL.get(index).copied().filter(|state| *state != JobState::Unknown);
    known.ok_or_else(|| damaged(format!("a job has the state {number}")))
}
