//! Reading every job back at the end: through the public API, and straight from the rows.

use std::collections::BTreeMap;
use std::path::Path;
use std::time::Duration;

use anyhow::{Context, Result, anyhow, bail};
use rusqlite::types::ValueRef;
use rusqlite::{Connection, OpenFlags};
use taskport::Taskport;
use taskport::config::Config;
use taskport_abstraction::{JobId, JobState};
use taskport_checker::{Event, Line, Operation, State};
use tokio::runtime::Runtime;

use crate::clock::monotonic_us;
use crate::history::History;
use crate::victim::{self, SECOND_OFFER};

/// How many jobs are asked for at once.
const PAGE_LEN: usize = 1_000;

/// A row, as SQLite has it.
#[derive(Debug, Clone)]
pub struct Row {
    /// The id.
    pub id: String,
    /// The number of its state.
    pub state: i64,
    /// The token of its last lease.
    pub token: u64,
    /// Its attempts.
    pub attempt: u32,
    /// Its stored failure, as JSON.
    pub failure: Option<String>,
}

/// Waits until no job of the database waits or runs.
///
/// # Errors
/// Where some still do after `limit`, or where the database cannot be read all that time.
pub fn wait_until_drained(database: &Path, limit: Duration) -> Result<()> {
    with_port(database, async |port| {
        let until = monotonic_us() + u64::try_from(limit.as_micros()).unwrap_or(u64::MAX / 2);
        loop {
            let left = match port.admin()?.queues().await {
                Ok(queues) => match queues.iter().map(|queue| queue.counts.live()).sum() {
                    0_u64 => return Ok(()),
                    left => anyhow!("{left} jobs have not ended: {queues:?}"),
                },
                Err(error) => error.into(),
            };
            if monotonic_us() >= until {
                return Err(left);
            }
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    })
}

/// The key under which a job was submitted: its id, or the first id that was offered under its idempotency key.
fn key_of(id: &str) -> &str {
    id.strip_suffix(SECOND_OFFER).unwrap_or(id)
}

/// Reads every job back in both ways, writes the answers down and returns what is wrong with the file itself.
///
/// # Errors
/// Where the database cannot be opened or read.
pub fn read_back(database: &Path, history: &History) -> Result<Vec<String>> {
    let mut problems = Vec::new();
    let rows = rows(database)?;
    let mut states: BTreeMap<&str, State> = BTreeMap::new();
    let lines = rows.iter().map(|row| {
        let state = state_of_row(row.state);
        let mut line = history.about(Operation::Read, Event::Ok, key_of(&row.id));
        line.state = Some(state);
        line.token = (state == State::Succeeded).then_some(row.token);
        line
    });
    history.write(&lines.collect::<Vec<_>>());
    let ids: Vec<JobId> = rows.iter().map(|row| JobId::new(row.id.as_str())).collect::<Result<_, _>>()?;
    let submitted = with_port(database, async |port| {
        let backend = port.backend(port.default_name().as_str())?;
        for page in ids.chunks(PAGE_LEN) {
            let found = backend.get(page).await?;
            let lines: Vec<Line> = page
                .iter()
                .zip(found)
                .map(|(id, status)| {
                    let mut line = history.about(Operation::Read, Event::Ok, key_of(id.as_str()));
                    line.state = Some(status.map_or(State::Missing, |status| state_of(status.state)));
                    line
                })
                .collect();
            history.write(&lines);
        }
        let queues = port.admin()?.queues().await?;
        Ok(queues.iter().map(|queue| queue.counts.submitted).sum::<u64>())
    })?;
    if submitted != rows.len() as u64 {
        problems
            .push(format!("the queues count {submitted} submitted jobs, and there are {} rows", rows.len()));
    }
    for row in &rows {
        if states.insert(&row.id, state_of_row(row.state)).is_some() {
            problems.push(format!("two rows have the id {}", row.id));
        }
    }
    problems.extend(integrity(database)?);
    Ok(problems)
}

/// The rows of the database, by a connection that can only read.
///
/// # Errors
/// Those of SQLite.
pub fn rows(database: &Path) -> Result<Vec<Row>> {
    let connection = read_only(database)?;
    let mut statement = connection
        .prepare("SELECT id, state, token, attempt, CAST(failure AS TEXT) FROM taskport_jobs ORDER BY seq")?;
    let rows = statement.query_map([], |row| {
        Ok(Row {
            id: id_text(row.get_ref(0)?),
            state: row.get(1)?,
            token: row.get(2)?,
            attempt: row.get(3)?,
            failure: row.get(4)?,
        })
    })?;
    Ok(rows.collect::<Result<_, _>>()?)
}

/// How many plain jobs of the default queue wait for nothing but a worker.
///
/// # Errors
/// Those of SQLite.
pub fn runnable(database: &Path) -> Result<u64> {
    const SQL: &str = "SELECT count(*) FROM taskport_jobs
        WHERE (state = 2 OR state IN (0, 3, 4) AND due_at < 1000000 * unixepoch())
            AND task = (SELECT key FROM taskport_names WHERE text = 'fault.plain')
            AND queue = (SELECT key FROM taskport_names WHERE text = 'default')";
    Ok(read_only(database)?.query_row(SQL, [], |row| row.get(0))?)
}

/// The text of an id: a UUID is stored as its bytes.
fn id_text(value: ValueRef<'_>) -> String {
    match value {
        ValueRef::Blob(bytes) if bytes.len() == 16 => {
            let hex: String = bytes.iter().map(|byte| format!("{byte:02x}")).collect();
            format!("{}-{}-{}-{}-{}", &hex[..8], &hex[8..12], &hex[12..16], &hex[16..20], &hex[20..])
        }
        ValueRef::Text(text) => String::from_utf8_lossy(text).into_owned(),
        other => format!("{other:?}"),
    }
}

/// What SQLite finds wrong with the file.
///
/// # Errors
/// Where it cannot be opened.
pub fn integrity(database: &Path) -> Result<Vec<String>> {
    let connection = read_only(database)?;
    let mut statement = connection.prepare("PRAGMA integrity_check")?;
    let found: Vec<String> = statement.query_map([], |row| row.get(0))?.collect::<Result<_, _>>()?;
    Ok(found.into_iter().filter(|line| line != "ok").map(|line| format!("integrity: {line}")).collect())
}

fn read_only(database: &Path) -> Result<Connection> {
    Connection::open_with_flags(database, OpenFlags::SQLITE_OPEN_READ_ONLY)
        .with_context(|| format!("open {} for reading", database.display()))
}

/// Runs `work` with the database open as every program has it.
///
/// # Errors
/// Where it cannot be opened or closed; those of `work`.
pub fn with_port<T>(database: &Path, work: impl AsyncFnOnce(&Taskport) -> Result<T>) -> Result<T> {
    Runtime::new()?.block_on(async {
        let text = format!("[backends.main]\nkind = \"native\"\nurl = \"sqlite://{}\"", database.display());
        let config = Config::from_toml(&text)?;
        let port = Taskport::builder().config(config).registry(victim::registry()).open().await?;
        let done = work(&port).await;
        port.close().await?;
        done
    })
}

fn state_of(state: JobState) -> State {
    match state {
        JobState::Scheduled => State::Scheduled,
        JobState::Blocked => State::Blocked,
        JobState::Queued => State::Queued,
        JobState::Running => State::Running,
        JobState::Retrying => State::Retrying,
        JobState::Succeeded => State::Succeeded,
        JobState::Failed => State::Failed,
        JobState::Cancelled => State::Cancelled,
        JobState::Expired => State::Expired,
        JobState::Unknown => State::Missing,
    }
}

/// The numbers are those of the schema.
fn state_of_row(state: i64) -> State {
    const STATES: [State; 9] = [
        State::Scheduled,
        State::Blocked,
        State::Queued,
        State::Running,
        State::Retrying,
        State::Succeeded,
        State::Failed,
        State::Cancelled,
        State::Expired,
    ];
    usize::try_from(state).ok().and_then(|state| STATES.get(state).copied()).unwrap_or(State::Missing)
}

/// The failure of each job that failed for good, by id.
///
/// # Errors
/// Those of SQLite.
pub fn failures(database: &Path) -> Result<BTreeMap<String, String>> {
    let mut failures = BTreeMap::new();
    for row in rows(database)? {
        if state_of_row(row.state) == State::Failed {
            match row.failure {
                Some(failure) => failures.insert(row.id, failure),
                None => bail!("the dead letter {} has no failure", row.id),
            };
        }
    }
    Ok(failures)
}

/// The number and state of every row, whatever else it holds.
///
/// # Errors
/// Those of SQLite.
pub fn states(database: &Path) -> Result<Vec<(i64, i64)>> {
    let connection = read_only(database)?;
    let mut statement = connection.prepare("SELECT seq, state FROM taskport_jobs ORDER BY seq")?;
    let states = statement.query_map([], |row| Ok((row.get(0)?, row.get(1)?)))?;
    Ok(states.collect::<Result<_, _>>()?)
}

/// How many jobs have not ended.
///
/// # Errors
/// Those of SQLite.
pub fn waiting(database: &Path) -> Result<u64> {
    let count = "SELECT count(*) FROM taskport_jobs WHERE state < 5";
    Ok(read_only(database)?.query_row(count, [], |row| row.get(0))?)
}

/// The task of every job, by id.
///
/// # Errors
/// Those of SQLite.
pub fn tasks(database: &Path) -> Result<BTreeMap<String, String>> {
    let connection = read_only(database)?;
    let mut statement =
        connection.prepare("SELECT id, text FROM taskport_jobs JOIN taskport_names ON key = task")?;
    let tasks = statement.query_map([], |row| Ok((id_text(row.get_ref(0)?), row.get(1)?)))?;
    Ok(tasks.collect::<Result<_, _>>()?)
}

/// How many jobs of a task are dead letters, and how many there are.
///
/// # Errors
/// Those of SQLite.
pub fn dead_of(database: &Path, task: &str) -> Result<(u64, u64)> {
    let sql = "SELECT count(*) FILTER (WHERE state = 6), count(*) FROM taskport_jobs JOIN taskport_names ON key = task WHERE text = ?1";
    Ok(read_only(database)?.query_row(sql, [task], |row| Ok((row.get(0)?, row.get(1)?)))?)
}
