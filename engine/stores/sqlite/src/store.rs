//! Writing.

use std::fs::OpenOptions;
use std::path::{Path, PathBuf};
use std::time::Duration;

use rusqlite::config::DbConfig;
use rusqlite::types::{Null, ToSql, ToSqlOutput};
use rusqlite::{Connection, OpenFlags, OptionalExtension, params};
use taskport_abstraction::backend::{JobFilter, Lease, QueueOrder, RunFilter};
use taskport_abstraction::job::Progress;
use taskport_abstraction::{
    ContentType, Error, JobId, Payload, QueueName, Result, RunId, StepId, Timestamp, codes,
};
use taskport_engine::record::{
    JobRecord, KeyRecord, QueueRecord, RunRecord, StepJob, StepRecord, WorkerRecord,
};
use taskport_engine::store::{Grant, LimitRows as _, Promoted, Watch};
use taskport_engine::{Read, Store};

use crate::checkpoint::Checkpoints;
use crate::error::{InStore, commit_error, is_busy, store_error};
use crate::limit_rows::READY;
use crate::names::{StoredId, id_text};
use crate::options::SqliteOptions;
use crate::rows::{SqliteReader, job_columns, job_state, moment};
use crate::upkeep_rows::Generation;
use crate::wake::{Wake, private};
use crate::{run_rows, schema, step_rows};

/// How long to wait before asking again for a file that another process holds.
const BUSY_PAUSE: Duration = Duration::from_micros(500);

/// The writing side of one file.
#[derive(Debug)]
pub struct SqliteStore {
    pub(crate) rows: SqliteReader,
    path: PathBuf,
    options: SqliteOptions,
    data_version: i64,
    generation: Generation,
    /// Everything was replaced since the engine asked.
    pub(crate) replaced: bool,
    wake: Wake,
    checkpoints: Checkpoints,
}

impl SqliteStore {
    /// Opens the file, making it where there is none, and brings its schema up to date. A new file can be read and
    /// written by this user only.
    ///
    /// # Errors
    /// `STORE_FOREIGN` (E-024) where the file is something else, which is then left as it is; `STORE_NEWER` (E-025)
    /// where a newer program wrote it; `STORE_OPEN`, `STORE_CORRUPT`, `STORE_BUSY`, `STORE_FULL`, `STORE_IO`.
    pub fn open(path: impl Into<PathBuf>, options: SqliteOptions) -> Result<Self> {
        let path = path.into();
        create_private(&path)?;
        let mut connection = connect(&path, &options, WRITER_CACHE_KIB)?;
        // Where several processes make one file at once, SQLite does not always wait by itself.
        let mut waited = Duration::ZERO;
        while let Err(error) = prepare(&mut connection, options.shared_file) {
            if *error.code() != codes::STORE_BUSY || waited >= options.busy_timeout {
                return Err(error);
            }
            std::thread::sleep(BUSY_PAUSE);
            waited += BUSY_PAUSE;
        }
        let wake = Wake::open(&path)?;
        let checkpoints = Checkpoints::start(&connection, &path, &options)?;
        // From here on `begin` does the waiting.
        connection.busy_timeout(Duration::ZERO).during("open")?;
        let data_version = data_version(&connection)?;
        let rows = SqliteReader::new(connection);
        let generation = rows.generation()?;
        Ok(Self { rows, path, options, data_version, generation, replaced: false, wake, checkpoints })
    }

    /// The file.
    pub fn path(&self) -> &Path {
        &self.path
    }

    pub(crate) fn options(&self) -> &SqliteOptions {
        &self.options
    }

    /// The version of SQLite that is built in.
    pub fn sqlite_version() -> &'static str {
        rusqlite::version()
    }

    pub(crate) fn connection(&self) -> &Connection {
        &self.rows.connection
    }

    /// Runs one statement that is used often.
    pub(crate) fn execute(&self, sql: &str, params: impl rusqlite::Params) -> Result<usize> {
        self.connection()
            .prepare_cached(sql)
            .and_then(|mut statement| statement.execute(params))
            .during("write")
    }

    pub(crate) fn name_key(&mut self, text: &str) -> Result<i64> {
        let SqliteReader { connection, names, .. } = &mut self.rows;
        names.key_or_insert(connection, text)
    }

    /// The key of a content type, or nothing for JSON.
    fn type_key(&mut self, payload: &Payload) -> Result<Option<i64>> {
        match &payload.content_type {
            ContentType::Json => Ok(None),
            other => self.name_key(other.as_str()).map(Some),
        }
    }
}

/// Makes an empty file that only this user can read: SQLite gives its log the same mode.
pub(crate) fn create_private_new(path: &Path) -> std::io::Result<()> {
    private(OpenOptions::new().write(true).create_new(true)).open(path).map(drop)
}

fn create_private(path: &Path) -> Result<()> {
    match create_private_new(path) {
        Ok(()) => Ok(()),
        Err(error) if error.kind() == std::io::ErrorKind::AlreadyExists => Ok(()),
        Err(source) => Err(Error::new(
            &codes::STORE_OPEN,
            "open",
            format!("the database `{}` cannot be made", path.display()),
        )
        .caused_by(source)
        .hint("check that its directory exists and that this user may write there")),
    }
}

/// The pages a connection keeps in memory, in KiB. Only the writer comes back to its pages again and again.
const WRITER_CACHE_KIB: u32 = 16 << 10;
pub(crate) const READER_CACHE_KIB: u32 = 2 << 10;

/// A connection to an existing file, with everything set that a connection has to set for itself.
pub(crate) fn connect(path: &Path, options: &SqliteOptions, cache_kib: u32) -> Result<Connection> {
    let flags = OpenFlags::SQLITE_OPEN_READ_WRITE | OpenFlags::SQLITE_OPEN_NO_MUTEX;
    let connection = Connection::open_with_flags(path, flags).during("open")?;
    connection.busy_timeout(options.busy_timeout).during("open")?;
    connection.set_prepared_statement_cache_capacity(128);
    // Else every statement with `LIMIT ?` is planned again each time it is used.
    connection.set_db_config(DbConfig::SQLITE_DBCONFIG_ENABLE_QPSG, true).during("open")?;
    let settings = format!(
        "PRAGMA synchronous = {}; PRAGMA wal_autocheckpoint = 0; PRAGMA journal_size_limit = {}; \
         PRAGMA temp_store = MEMORY; PRAGMA cache_size = -{cache_kib}; PRAGMA trusted_schema = OFF;",
        options.synchronous.as_str(),
        options.wal_bytes_max,
    );
    connection.execute_batch(&settings).during("open")?;
    if let Some(bytes) = options.file_bytes_max {
        let page_len: u64 =
            connection.pragma_query_value(None, "page_size", |row| row.get(0)).during("open")?;
        let pages = (bytes / page_len).max(1);
        connection.pragma_update_and_check(None, "max_page_count", pages, |_| Ok(())).during("open")?;
    }
    Ok(connection)
}

/// Makes sure that the file is ours, in WAL mode and of this program's schema.
fn prepare(connection: &mut Connection, shared_file: bool) -> Result<()> {
    let identity = schema::identify(connection, shared_file)?;
    if identity.version == 0 && identity.owned {
        // Only before the first page is written; without it, a file never shrinks but as a whole.
        connection.execute_batch("PRAGMA auto_vacuum = INCREMENTAL").during("open")?;
    }
    enter_wal_mode(connection)?;
    schema::migrate(connection, shared_file)
}

fn enter_wal_mode(connection: &Connection) -> Result<()> {
    let mode: String =
        connection.pragma_update_and_check(None, "journal_mode", "WAL", |row| row.get(0)).during("open")?;
    if mode == "wal" {
        return Ok(());
    }
    Err(Error::new(&codes::STORE_IO, "open", "the database cannot be shared on this file system")
        .hint("keep the file on a local disk; network file systems do not carry SQLite's locks"))
}

pub(crate) fn data_version(connection: &Connection) -> Result<i64> {
    connection
        .prepare_cached("PRAGMA data_version")
        .and_then(|mut statement| statement.query_row([], |row| row.get(0)))
        .during("read")
}

impl Store for SqliteStore {
    type Reader = SqliteReader;

    fn reader(&self) -> Result<SqliteReader> {
        let connection = connect(&self.path, &self.options, READER_CACHE_KIB)?;
        connection.execute_batch("PRAGMA query_only = ON").during("open")?;
        SqliteReader::beside(connection)
    }

    fn watch(&self, changed: Box<dyn Fn() + Send + Sync>) -> Result<Option<Watch>> {
        self.wake.watch(changed).map(Some)
    }

    fn begin(&mut self) -> Result<bool> {
        // SQLite's own waiting backs off to 100 ms, in which other processes could go first many times over.
        let mut waited = Duration::ZERO;
        loop {
            match self.connection().prepare_cached("BEGIN IMMEDIATE").and_then(|mut begin| begin.execute([]))
            {
                Ok(_) => return self.changed_elsewhere(),
                Err(error) if is_busy(&error) && waited < self.options.busy_timeout => {
                    std::thread::sleep(BUSY_PAUSE);
                    waited += BUSY_PAUSE;
                }
                Err(error) => return Err(store_error("begin", error)),
            }
        }
    }

    fn commit(&mut self, announce: bool) -> Result<()> {
        let committed = self.connection().prepare_cached("COMMIT").and_then(|mut commit| commit.execute([]));
        committed.map_err(commit_error)?;
        self.checkpoints.after_commit(&self.rows.connection);
        if announce {
            self.wake.touch();
        }
        Ok(())
    }

    fn rollback(&mut self) {
        // SQLite has rolled back by itself after some errors.
        if !self.connection().is_autocommit()
            && let Err(error) = self.connection().execute_batch("ROLLBACK")
        {
            tracing::warn!(%error, "a transaction could not be rolled back");
        }
        self.rows.names.forget();
        self.rows.run_keys.forget();
    }

    fn changed_elsewhere(&mut self) -> Result<bool> {
        let version = data_version(self.connection())?;
        if std::mem::replace(&mut self.data_version, version) == version {
            return Ok(false);
        }
        let generation = self.rows.generation()?;
        if generation != self.generation {
            self.rows.forget_keys();
            self.replaced |= generation.was_restored_since(self.generation);
            self.generation = generation;
        }
        Ok(true)
    }

    fn next_due(&mut self) -> Result<Option<Timestamp>> {
        let sql = "SELECT min(moment) FROM ( \
                   SELECT * FROM (SELECT due_at AS moment FROM taskport_jobs WHERE state < 5 AND state <> 2 AND state <> 1 AND due_at IS NOT NULL \
                                  ORDER BY due_at LIMIT 1) \
                   UNION ALL SELECT * FROM (SELECT expires_at FROM taskport_jobs WHERE expires_at IS NOT NULL \
                                            AND state < 3 ORDER BY expires_at LIMIT 1) \
                   UNION ALL SELECT * FROM (SELECT due_at FROM taskport_runs WHERE state = 3 AND due_at IS NOT NULL \
                                            ORDER BY due_at LIMIT 1) \
                   UNION ALL SELECT * FROM (SELECT next_at FROM taskport_schedules WHERE next_at IS NOT NULL \
                                            ORDER BY next_at LIMIT 1) \
                   UNION ALL SELECT * FROM (SELECT wake_at FROM taskport_gates WHERE wake_at IS NOT NULL \
                                            ORDER BY wake_at LIMIT 1) \
                   UNION ALL SELECT * FROM (SELECT wake_at FROM taskport_queues WHERE wake_at IS NOT NULL \
                                            ORDER BY wake_at LIMIT 1) \
                   UNION ALL SELECT min(forget_at) FROM taskport_workers)";
        let mut statement = self.connection().prepare_cached(sql).during("read")?;
        // Text sorts behind every number: where it is the least, nothing is due by the clock.
        let earliest = statement.query_row([], |row| Ok(row.get_ref(0)?.as_i64().ok())).during("read")?;
        Ok(earliest.map(Timestamp::from_micros))
    }

    fn seq_max(&mut self) -> Result<i64> {
        let mut statement =
            self.connection().prepare_cached("SELECT max(seq) FROM taskport_jobs").during("read")?;
        let max: Option<i64> = statement.query_row([], |row| row.get(0)).during("read")?;
        Ok(max.unwrap_or(0))
    }

    fn insert_job(&mut self, job: &JobRecord) -> Result<bool> {
        let (task, queue) = (self.name_key(job.task.as_str())?, self.name_key(job.queue.as_str())?);
        let arguments_type = self.type_key(&job.arguments)?;
        let (mut run, mut step, mut step_index) = (None, None, None);
        if let Some(place) = &job.step {
            let SqliteReader { connection, run_keys, .. } = &mut self.rows;
            run = Some(run_keys.key(connection, &place.run)?);
            step = Some(place.step.as_str());
            step_index = Some(place.index.map_or(-1, i64::from));
        }
        let sql = "INSERT INTO taskport_jobs (seq, id, task, queue, state, priority, position, due_at, expires_at, \
                   submitted_at, run, step, step_index, tags, options, arguments_type, arguments, held_by, line, line_place) \
                   VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10, ?11, ?12, ?13, ?14, ?15, ?16, ?17, ?18, ?19, \
                   ?20) \
                   ON CONFLICT (id) DO NOTHING";
        let inserted = self.execute(
            sql,
            params![
                job.seq,
                StoredId::new(job.id.as_str()),
                task,
                queue,
                job.state as i64,
                job.priority.level(),
                job.position,
                Moment(job.due_at),
                Moment(job.expires_at),
                job.submitted_at.as_micros(),
                run,
                step,
                step_index,
                job.tags.as_deref(),
                job.options.as_deref(),
                arguments_type,
                &*job.arguments.bytes,
                job.held_by,
                job.line.as_ref().map(|line| &*line.key),
                job.line.as_ref().map(|line| line.place),
            ],
        )?;
        Ok(inserted == 1)
    }

    fn put_job(&mut self, job: &JobRecord) -> Result<()> {
        let (task, queue) = (self.name_key(job.task.as_str())?, self.name_key(job.queue.as_str())?);
        let arguments_type = self.type_key(&job.arguments)?;
        let worker = job.worker.as_deref().map(|worker| self.name_key(worker)).transpose()?;
        let result_type = job.result.as_ref().map(|result| self.type_key(result)).transpose()?.flatten();
        let sql = "UPDATE taskport_jobs SET task = ?2, queue = ?3, state = ?4, priority = ?5, position = ?6, due_at = ?7, \
                   expires_at = ?8, attempt = ?9, token = ?10, worker = ?11, cancel_requested = ?12, started_at = ?13, \
                   finished_at = ?14, progress = ?15, progress_message = ?16, tags = ?17, options = ?18, failure = ?19, \
                   result_type = ?20, result = ?21, arguments_type = ?22, arguments = ?23, held_by = ?24, line = ?25, \
                   line_place = ?26 WHERE seq = ?1";
        self.execute(
            sql,
            params![
                job.seq,
                task,
                queue,
                job.state as i64,
                job.priority.level(),
                job.position,
                Moment(job.due_at),
                Moment(job.expires_at),
                job.attempt,
                job.token.0 as i64,
                worker,
                job.cancel_requested,
                Moment(job.started_at),
                Moment(job.finished_at),
                job.progress.as_ref().map(|progress| progress.fraction),
                job.progress.as_ref().and_then(|progress| progress.message.as_deref()),
                job.tags.as_deref(),
                job.options.as_deref(),
                job.failure.as_deref(),
                result_type,
                job.result.as_ref().map(|result| &*result.bytes),
                arguments_type,
                &*job.arguments.bytes,
                job.held_by,
                job.line.as_ref().map(|line| &*line.key),
                job.line.as_ref().map(|line| line.place),
            ],
        )?;
        Ok(())
    }

    fn delete_job(&mut self, job: &JobRecord) -> Result<()> {
        self.execute("DELETE FROM taskport_jobs WHERE seq = ?1", [job.seq])?;
        Ok(())
    }

    fn claim(&mut self, grant: &Grant<'_>) -> Result<Vec<JobRecord>> {
        let queue = self.name_key(grant.queue.as_str())?;
        let now = grant.now.as_micros();
        let max = i64::try_from(grant.max).unwrap_or(i64::MAX);
        // A select and an update for each row cost less than one update that returns the rows, which SQLite collects in
        // a table of its own first.
        let mut jobs = self.rows.select_jobs(READY, &[&queue, &now, &max])?;
        self.lease(&mut jobs, grant)?;
        Ok(jobs)
    }

    fn succeed(&mut self, lease: &Lease, result: &Payload, now: Timestamp) -> Result<bool> {
        let result_type = self.type_key(result)?;
        let sql = "UPDATE taskport_jobs SET state = 5, due_at = NULL, finished_at = ?4, cancel_requested = 0, failure = NULL, \
                   line = NULL, result_type = ?5, result = ?6 WHERE seq = ?1 AND token = ?2 AND id = ?3 AND state = 3";
        let updated = self.execute(
            sql,
            params![
                lease.receipt as i64,
                lease.token.0 as i64,
                StoredId::new(lease.job.as_str()),
                now.as_micros(),
                result_type,
                &*result.bytes,
            ],
        )?;
        Ok(updated == 1)
    }

    fn extend(
        &mut self,
        lease: &Lease,
        until: Timestamp,
        progress: Option<&Progress>,
    ) -> Result<Option<bool>> {
        let sql = "UPDATE taskport_jobs SET due_at = ?4, \
                   progress_message = CASE WHEN ?5 IS NULL THEN progress_message ELSE ?6 END, \
                   progress = coalesce(?5, progress) \
                   WHERE seq = ?1 AND token = ?2 AND id = ?3 AND state = 3 RETURNING cancel_requested";
        let mut statement = self.connection().prepare_cached(sql).during("write")?;
        statement
            .query_row(
                params![
                    lease.receipt as i64,
                    lease.token.0 as i64,
                    StoredId::new(lease.job.as_str()),
                    until.as_micros(),
                    progress.map(|progress| progress.fraction),
                    progress.and_then(|progress| progress.message.as_deref()),
                ],
                |row| row.get(0),
            )
            .optional()
            .during("write")
    }

    fn promote(&mut self, now: Timestamp, max: usize) -> Result<Vec<Promoted>> {
        let due: Vec<(i64, i64, i64)> = {
            let sql = "SELECT seq, queue, state FROM taskport_jobs \
                       WHERE state < 5 AND state <> 2 AND state <> 1 AND state <> 3 AND due_at <= ?1 ORDER BY due_at LIMIT ?2";
            let mut statement = self.connection().prepare_cached(sql).during("read")?;
            let params = [now.as_micros(), i64::try_from(max).unwrap_or(i64::MAX)];
            let rows = statement.query_map(params, |row| Ok((row.get(0)?, row.get(1)?, row.get(2)?)));
            rows.and_then(Iterator::collect).during("read")?
        };
        let mut promoted: Vec<Promoted> = Vec::new();
        for (seq, queue, state) in due {
            self.execute("UPDATE taskport_jobs SET state = 2 WHERE seq = ?1", [seq])?;
            let SqliteReader { connection, names, .. } = &mut self.rows;
            let (queue, from) = (QueueName::new(names.text(connection, queue)?)?, job_state(state)?);
            match promoted.iter_mut().find(|some| some.queue == queue && some.from == from) {
                Some(some) => {
                    some.count += 1;
                    some.seqs.push(seq);
                }
                None => promoted.push(Promoted { queue, from, count: 1, seqs: vec![seq] }),
            }
        }
        Ok(promoted)
    }

    fn lapsed(&mut self, now: Timestamp, max: usize) -> Result<Vec<JobRecord>> {
        let sql = concat!(
            "SELECT ",
            job_columns!(),
            " FROM taskport_jobs WHERE state < 5 AND state <> 2 AND state <> 1 AND state = 3 AND due_at <= ?1 ORDER BY due_at, seq LIMIT ?2"
        );
        self.rows.select_jobs(sql, &[&now.as_micros(), &i64::try_from(max).unwrap_or(i64::MAX)])
    }

    fn expired(&mut self, now: Timestamp, max: usize) -> Result<Vec<JobRecord>> {
        let sql = concat!(
            "SELECT ",
            job_columns!(),
            " FROM taskport_jobs WHERE expires_at IS NOT NULL AND state < 3 AND expires_at <= ?1 \
             ORDER BY expires_at, seq LIMIT ?2"
        );
        self.rows.select_jobs(sql, &[&now.as_micros(), &i64::try_from(max).unwrap_or(i64::MAX)])
    }

    fn waiting(&mut self, queue: &QueueName, max: usize) -> Result<Vec<JobRecord>> {
        let queue = self.name_key(queue.as_str())?;
        let max = i64::try_from(max).unwrap_or(i64::MAX);
        for sql in WAITING {
            let jobs = self.rows.select_jobs(sql, &[&queue, &max])?;
            if !jobs.is_empty() {
                return Ok(jobs);
            }
        }
        Ok(Vec::new())
    }

    fn reposition(&mut self, queue: &QueueName, order: QueueOrder) -> Result<()> {
        // The formula of `state::position`.
        let position = match order {
            QueueOrder::Priority => "((9 - priority) << 56) | seq",
            QueueOrder::Fifo | QueueOrder::Fair => "seq",
            QueueOrder::Lifo => "-seq",
        };
        self.set_positions(queue, position)
    }

    fn key(&mut self, key: &str) -> Result<Option<KeyRecord>> {
        let sql = "SELECT job, until FROM taskport_keys WHERE key = ?1";
        let mut statement = self.connection().prepare_cached(sql).during("read")?;
        let mut rows = statement.query([key]).during("read")?;
        let Some(row) = rows.next().during("read")? else { return Ok(None) };
        let job = JobId::new(id_text(row.get_ref(0).during("read")?)?)?;
        Ok(Some(KeyRecord { key: key.into(), job, until: moment(row, 1)? }))
    }

    fn put_key(&mut self, key: &KeyRecord) -> Result<()> {
        let sql = "INSERT INTO taskport_keys (key, job, until) VALUES (?1, ?2, ?3) \
                   ON CONFLICT (key) DO UPDATE SET job = excluded.job, until = excluded.until";
        self.execute(sql, params![&*key.key, StoredId::new(key.job.as_str()), Moment(key.until)])?;
        Ok(())
    }

    fn delete_key(&mut self, key: &str, job: &JobId) -> Result<()> {
        let sql = "DELETE FROM taskport_keys WHERE key = ?1 AND job = ?2";
        self.execute(sql, params![key, StoredId::new(job.as_str())])?;
        Ok(())
    }

    fn delete_keys_until(&mut self, now: Timestamp, max: usize) -> Result<()> {
        let sql = "DELETE FROM taskport_keys WHERE key IN ( \
                   SELECT key FROM taskport_keys WHERE until IS NOT NULL AND until <= ?1 ORDER BY until LIMIT ?2)";
        self.execute(sql, [now.as_micros(), i64::try_from(max).unwrap_or(i64::MAX)])?;
        Ok(())
    }

    fn put_queue(&mut self, queue: &QueueRecord) -> Result<()> {
        let name = self.name_key(queue.name.as_str())?;
        let order = match queue.order {
            QueueOrder::Priority => 0,
            QueueOrder::Fifo => 1,
            QueueOrder::Lifo => 2,
            QueueOrder::Fair => 3,
        };
        let (counts, limits, pace) = (&queue.counts, &queue.limits, &queue.pace);
        let micros = |duration: Duration| i64::try_from(duration.as_micros()).unwrap_or(i64::MAX);
        let sql = "INSERT OR REPLACE INTO taskport_queues (name, job_order, paused, paused_reason, submitted, scheduled, blocked, \
                   queued, running, retrying, succeeded, failed, cancelled, expired, concurrency_max, rate_count, \
                   rate_period, ageing, gated, virtual_time, bucket, wake_at) \
                   VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10, ?11, ?12, ?13, ?14, ?15, ?16, ?17, ?18, ?19, ?20, \
                   ?21, ?22)";
        self.execute(
            sql,
            params![
                name,
                order,
                queue.paused,
                queue.paused_reason,
                counts.submitted as i64,
                counts.scheduled as i64,
                counts.blocked as i64,
                counts.queued as i64,
                counts.running as i64,
                counts.retrying as i64,
                counts.succeeded as i64,
                counts.failed as i64,
                counts.cancelled as i64,
                counts.expired as i64,
                limits.concurrency_max,
                limits.rate.map(|rate| rate.count),
                limits.rate.map(|rate| micros(rate.period)),
                limits.ageing.map(micros),
                pace.gated,
                pace.virtual_time,
                pace.bucket,
                Moment(pace.wake_at),
            ],
        )?;
        Ok(())
    }

    fn put_worker(&mut self, worker: &WorkerRecord) -> Result<()> {
        let sql = "INSERT OR REPLACE INTO taskport_workers (name, host, pid, queues, tasks, lease_for, running, slots, started_at, \
                   seen_at, forget_at) VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10, ?11)";
        self.execute(
            sql,
            params![
                &*worker.name,
                worker.host,
                worker.pid,
                serde_json::Value::from_iter(worker.queues.iter().map(|queue| queue.as_str())).to_string(),
                serde_json::Value::from_iter(worker.tasks.iter().map(|task| task.as_str())).to_string(),
                i64::try_from(worker.lease_for.as_micros()).unwrap_or(i64::MAX),
                worker.load.running as i64,
                worker.load.slots as i64,
                worker.started_at.as_micros(),
                worker.seen_at.as_micros(),
                worker.forget_at.as_micros(),
            ],
        )?;
        Ok(())
    }

    fn worker(&mut self, name: &str) -> Result<Option<WorkerRecord>> {
        self.rows.worker(name)
    }

    fn delete_worker(&mut self, name: &str) -> Result<()> {
        self.execute("DELETE FROM taskport_workers WHERE name = ?1", [name])?;
        Ok(())
    }

    fn forget_workers(&mut self, now: Timestamp) -> Result<()> {
        self.execute("DELETE FROM taskport_workers WHERE forget_at <= ?1", [now.as_micros()])?;
        Ok(())
    }

    fn insert_run(&mut self, run: &RunRecord) -> Result<bool> {
        run_rows::insert(self.connection(), run)
    }

    fn put_run(&mut self, run: &RunRecord) -> Result<()> {
        run_rows::put(self.connection(), run)
    }

    fn put_steps(&mut self, run: &RunId, steps: &[StepRecord]) -> Result<()> {
        let SqliteReader { connection, run_keys, .. } = &mut self.rows;
        let run = run_keys.key(connection, run)?;
        step_rows::put(connection, run, steps)
    }

    fn due_runs(&mut self, now: Timestamp, max: usize) -> Result<Vec<RunId>> {
        run_rows::due(self.connection(), now, max)
    }
}

/// The jobs of a queue that wait, one index after the other: the queued, those that wait for their time, those held back.
/// The last stand in two indexes and go by `seq`.
const WAITING: [&str; 3] = [
    concat!(
        "SELECT ",
        job_columns!(),
        " FROM taskport_jobs WHERE state = 2 AND queue = ?1 ORDER BY position LIMIT ?2"
    ),
    concat!(
        "SELECT ",
        job_columns!(),
        " FROM taskport_jobs WHERE state < 5 AND state <> 2 AND state <> 1 AND state <> 3 AND queue = ?1 \
         ORDER BY due_at, seq LIMIT ?2"
    ),
    concat!(
        "SELECT ",
        job_columns!(),
        " FROM taskport_jobs WHERE seq IN ( \
         SELECT seq FROM taskport_jobs WHERE line IS NOT NULL AND held_by = -1 AND queue = ?1 \
         UNION ALL SELECT seq FROM taskport_jobs WHERE held_by > 0 AND queue = ?1) ORDER BY seq LIMIT ?2"
    ),
];

/// The writer reads what it has written, by the reader's own statements.
impl Read for SqliteStore {
    fn job(&mut self, id: &JobId) -> Result<Option<JobRecord>> {
        self.rows.job(id)
    }

    fn jobs(&mut self, filter: &JobFilter, before: Option<i64>, max: usize) -> Result<Vec<JobRecord>> {
        self.rows.jobs(filter, before, max)
    }

    fn queue(&mut self, name: &QueueName) -> Result<Option<QueueRecord>> {
        self.rows.queue(name)
    }

    fn queues(&mut self) -> Result<Vec<QueueRecord>> {
        self.rows.queues()
    }

    fn oldest_ready(&mut self, queue: &QueueName) -> Result<Option<Timestamp>> {
        self.rows.oldest_ready(queue)
    }

    fn workers(&mut self) -> Result<Vec<WorkerRecord>> {
        self.rows.workers()
    }

    fn run(&mut self, id: &RunId) -> Result<Option<RunRecord>> {
        self.rows.run(id)
    }

    fn runs(&mut self, filter: &RunFilter, before: Option<i64>, max: usize) -> Result<Vec<RunRecord>> {
        self.rows.runs(filter, before, max)
    }

    fn run_version(&mut self, id: &RunId) -> Result<Option<i64>> {
        self.rows.run_version(id)
    }

    fn steps(&mut self, run: &RunId, since: i64) -> Result<Vec<StepRecord>> {
        self.rows.steps(run, since)
    }

    fn step_jobs(&mut self, run: &RunId, step: &StepId, from: u32, max: usize) -> Result<Vec<StepJob>> {
        self.rows.step_jobs(run, step, from, max)
    }

    fn live_jobs_of_run(&mut self, run: &RunId, max: usize) -> Result<Vec<JobRecord>> {
        self.rows.live_jobs_of_run(run, max)
    }
}

/// A point in time as a value of the tables.
pub(crate) struct Moment(pub(crate) Option<Timestamp>);

impl ToSql for Moment {
    fn to_sql(&self) -> rusqlite::Result<ToSqlOutput<'_>> {
        Ok(self.0.map_or(Null.into(), |moment| moment.as_micros().into()))
    }
}
