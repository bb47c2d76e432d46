//! Looking after the file as a whole, beside the writer.

use std::path::{Path, PathBuf};
use std::time::Duration;

use rusqlite::{Connection, params};
use taskport_abstraction::maintenance::{BackupReport, IntegrityReport, SizeReport};
use taskport_abstraction::{Error, Result, Timestamp, codes};
use taskport_engine::store::Keeper;

use crate::backup;
use crate::error::{InStore, store_error};
use crate::integrity;
use crate::options::SqliteOptions;
use crate::schema;
use crate::store::{READER_CACHE_KIB, connect};
use crate::wake::beside;

/// How many pages one step of a vacuum moves: a few milliseconds of the writer's time.
const VACUUM_STEP_PAGES: u32 = 256;
/// The rest between two steps, in which others write.
const VACUUM_REST: Duration = Duration::from_millis(5);
/// How long an attempt to empty the log waits, and with it whoever wants to write.
const CHECKPOINT_PATIENCE: Duration = Duration::from_millis(50);
const CHECKPOINT_ATTEMPTS: usize = 100;
/// The value of `PRAGMA auto_vacuum` that lets a file shrink in steps.
const INCREMENTAL: i64 = 2;

/// Looks after one file.
#[derive(Debug)]
pub(crate) struct SqliteKeeper {
    pub(crate) path: PathBuf,
    pub(crate) options: SqliteOptions,
}

impl SqliteKeeper {
    pub(crate) fn new(path: &Path, options: &SqliteOptions) -> Self {
        Self { path: path.to_owned(), options: options.clone() }
    }

    /// A connection of its own.
    pub(crate) fn connect(&self) -> Result<Connection> {
        connect(&self.path, &self.options, READER_CACHE_KIB)
    }

    /// Refuses what would change another program's database as a whole.
    fn require_owned(&self, connection: &Connection, what: &str) -> Result<()> {
        if schema::identify(connection, true)?.owned {
            return Ok(());
        }
        let why = "the file is another program's database";
        Err(Error::new(&codes::UNSUPPORTED, "maintain", format!("the backend cannot {what}: {why}"))
            .hint("use that program's own means"))
    }

    fn log_bytes(&self) -> u64 {
        std::fs::metadata(beside(&self.path, "-wal")).map_or(0, |log| log.len())
    }

    /// Moves what can be moved without holding anybody up, then the rest, and empties the log.
    pub(crate) fn empty_log(&self, connection: &Connection) -> Result<()> {
        let checkpoint = |mode: &str| {
            let sql = format!("PRAGMA wal_checkpoint({mode})");
            connection.query_row(&sql, [], |row| row.get::<_, i64>(0)).during("checkpoint")
        };
        checkpoint("PASSIVE")?;
        connection.busy_timeout(CHECKPOINT_PATIENCE).during("checkpoint")?;
        for _ in 0..CHECKPOINT_ATTEMPTS {
            if checkpoint("TRUNCATE")? == 0 {
                connection.busy_timeout(self.options.busy_timeout).during("checkpoint")?;
                return Ok(());
            }
            std::thread::sleep(VACUUM_REST);
        }
        Err(Error::new(&codes::STORE_BUSY, "checkpoint", "the log is always in use")
            .hint("look for a process that keeps reading the file for long, such as an open sqlite3 shell"))
    }
}

impl Keeper for SqliteKeeper {
    fn backup(&self, to: &Path) -> Result<BackupReport> {
        backup::backup(self, to)
    }

    fn restore(&self, from: &Path, now: Timestamp) -> Result<BackupReport> {
        self.require_owned(&self.connect()?, "be restored from a copy")?;
        backup::restore(self, from, now)
    }

    fn integrity(&self) -> Result<IntegrityReport> {
        integrity::check(&self.connect()?)
    }

    fn repair(&self) -> Result<IntegrityReport> {
        integrity::repair(&mut self.connect()?)
    }

    fn checkpoint(&self) -> Result<SizeReport> {
        let bytes_before = self.log_bytes();
        self.empty_log(&self.connect()?)?;
        Ok(SizeReport { bytes_before, bytes_after: self.log_bytes() })
    }

    fn vacuum(&self) -> Result<SizeReport> {
        let connection = self.connect()?;
        self.require_owned(&connection, "give space back")?;
        if pragma(&connection, "auto_vacuum")? != INCREMENTAL {
            let why = "the file was made by an earlier version and cannot shrink in steps";
            return Err(Error::new(
                &codes::UNSUPPORTED,
                "vacuum",
                format!("the backend cannot give space back: {why}"),
            )
            .hint("rebuild it once with `taskport maintain vacuum --full`; it can from then on"));
        }
        let bytes_before = file_bytes(&connection)?;
        while pragma(&connection, "freelist_count")? > 0 {
            vacuum_step(&connection)?;
            std::thread::sleep(VACUUM_REST);
        }
        self.empty_log(&connection)?;
        Ok(SizeReport { bytes_before, bytes_after: file_bytes(&connection)? })
    }

    fn rebuild(&self, now: Timestamp) -> Result<SizeReport> {
        let connection = self.connect()?;
        self.require_owned(&connection, "be rebuilt")?;
        require_idle(&connection, now, "rebuild")?;
        let bytes_before = file_bytes(&connection)?;
        connection.execute_batch("PRAGMA auto_vacuum = INCREMENTAL; VACUUM").during("rebuild")?;
        self.empty_log(&connection)?;
        Ok(SizeReport { bytes_before, bytes_after: file_bytes(&connection)? })
    }
}

/// Refuses while anybody works.
pub(crate) fn require_idle(connection: &Connection, now: Timestamp, operation: &'static str) -> Result<()> {
    let count = |sql: &str| {
        connection.query_row(sql, params![now.as_micros()], |row| row.get::<_, i64>(0)).during(operation)
    };
    let workers = count("SELECT count(*) FROM taskport_workers WHERE seen_at + lease_for > ?1")?;
    let jobs = count(
        "SELECT count(*) FROM taskport_jobs WHERE state < 5 AND state <> 2 AND state <> 1 AND state = 3 AND due_at > ?1",
    )?;
    if workers == 0 && jobs == 0 {
        return Ok(());
    }
    let message = format!("{workers} workers are alive and {jobs} jobs run");
    Err(Error::new(&codes::STORE_IN_USE, operation, message).hint(
        "stop the workers with SIGTERM; what a killed one held counts as running until its lease is over",
    ))
}

fn vacuum_step(connection: &Connection) -> Result<()> {
    let sql = format!("PRAGMA incremental_vacuum({VACUUM_STEP_PAGES})");
    let mut statement = connection.prepare_cached(&sql).during("vacuum")?;
    let mut rows = statement.raw_query();
    // Each page given back is a row.
    while rows.next().map_err(|error| store_error("vacuum", error))?.is_some() {}
    Ok(())
}

fn file_bytes(connection: &Connection) -> Result<u64> {
    let bytes = pragma(connection, "page_count")? * pragma(connection, "page_size")?;
    Ok(u64::try_from(bytes).unwrap_or_default())
}

/// A number that SQLite knows about the file.
pub(crate) fn pragma(connection: &Connection, name: &str) -> Result<i64> {
    connection.pragma_query_value(None, name, |row| row.get(0)).during("read")
}
