//! The rows of runs.

use rusqlite::types::ToSql;
use rusqlite::{Connection, OptionalExtension, Row, params};
use taskport_abstraction::backend::RunFilter;
use taskport_abstraction::{ContentType, Payload, Result, RunId, Timestamp};
use taskport_engine::record::RunRecord;

use crate::error::InStore;
use crate::names::{StoredId, id_text};
use crate::rows::{blob, get, job_state, moment};

/// The columns of a run, in the order [`read`] reads them.
macro_rules! run_columns {
    () => {
        "seq, id, workflow, definition, definition_hash, trace, state, cancel_requested, started_at, deadline, \
         due_at, version, finished_at, failure, output_type, output, input_type, input"
    };
}

macro_rules! select_runs {
    ($rest:literal) => {
        concat!(
            "SELECT ",
            run_columns!(),
            " FROM taskport_runs AS runs JOIN taskport_definitions AS definitions ON definitions.hash = runs.definition_hash \
             JOIN taskport_run_inputs AS run_inputs ON run_inputs.run = runs.seq ",
            $rest
        )
    };
}

pub(crate) fn run(connection: &Connection, id: &RunId) -> Result<Option<RunRecord>> {
    Ok(select(connection, select_runs!("WHERE id = ?1"), &[&StoredId::new(id.as_str())])?.pop())
}

pub(crate) fn runs(
    connection: &Connection,
    filter: &RunFilter,
    before: Option<i64>,
    max: usize,
) -> Result<Vec<RunRecord>> {
    let sql = select_runs!(
        "WHERE seq < ?1 AND (?2 IS NULL OR workflow = ?2) AND (?3 IS NULL OR state = ?3) ORDER BY seq DESC LIMIT ?4"
    );
    let (before, max) = (before.unwrap_or(i64::MAX), i64::try_from(max).unwrap_or(i64::MAX));
    let state = filter.state.map(|state| state as i64);
    select(connection, sql, &[&before, &filter.workflow, &state, &max])
}

/// The version of a run, without reading it.
pub(crate) fn version(connection: &Connection, id: &RunId) -> Result<Option<i64>> {
    let sql = "SELECT version FROM taskport_runs WHERE id = ?1";
    let mut statement = connection.prepare_cached(sql).during("read")?;
    statement.query_row([StoredId::new(id.as_str())], |row| row.get(0)).optional().during("read")
}

pub(crate) fn due(connection: &Connection, now: Timestamp, max: usize) -> Result<Vec<RunId>> {
    let sql = "SELECT id FROM taskport_runs WHERE state = 3 AND due_at IS NOT NULL AND due_at <= ?1 ORDER BY due_at, seq LIMIT ?2";
    let mut statement = connection.prepare_cached(sql).during("read")?;
    let max = i64::try_from(max).unwrap_or(i64::MAX);
    let mut rows = statement.query(params![now.as_micros(), max]).during("read")?;
    let mut due = Vec::new();
    while let Some(row) = rows.next().during("read")? {
        due.push(RunId::new(id_text(row.get_ref(0).during("read")?)?)?);
    }
    Ok(due)
}

/// Inserts a run, or answers `false` where its id exists.
pub(crate) fn insert(connection: &Connection, run: &RunRecord) -> Result<bool> {
    let sql = "INSERT INTO taskport_runs (seq, id, workflow, definition_hash, trace, state, cancel_requested, started_at, \
               deadline, due_at, version) VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10, ?11) \
               ON CONFLICT (id) DO NOTHING";
    let mut statement = connection.prepare_cached(sql).during("write")?;
    let inserted = statement
        .execute(params![
            (run.seq != 0).then_some(run.seq),
            StoredId::new(run.id.as_str()),
            &*run.workflow,
            &run.definition_hash[..],
            run.trace.as_deref(),
            run.state as i64,
            run.cancel_requested,
            run.started_at.as_micros(),
            run.deadline.map(Timestamp::as_micros),
            run.due_at.map(Timestamp::as_micros),
            run.version,
        ])
        .during("write")?;
    if inserted == 0 {
        return Ok(false);
    }
    let seq = connection.last_insert_rowid();
    let sql = "INSERT INTO taskport_run_inputs (run, input_type, input) VALUES (?1, ?2, ?3)";
    let mut statement = connection.prepare_cached(sql).during("write")?;
    statement.execute(params![seq, content_type(&run.input), &*run.input.bytes]).during("write")?;
    let sql = "INSERT INTO taskport_definitions (hash, definition) VALUES (?1, ?2) ON CONFLICT DO NOTHING";
    let mut statement = connection.prepare_cached(sql).during("write")?;
    statement.execute(params![&run.definition_hash[..], &*run.definition]).during("write")?;
    // A run that ended as it began has an outcome from the start.
    put(connection, run)?;
    Ok(true)
}

pub(crate) fn put(connection: &Connection, run: &RunRecord) -> Result<()> {
    let sql = "UPDATE taskport_runs SET state = ?2, cancel_requested = ?3, due_at = ?4, version = ?5, finished_at = ?6, \
               failure = ?7, output_type = ?8, output = ?9 WHERE id = ?1";
    let mut statement = connection.prepare_cached(sql).during("write")?;
    statement
        .execute(params![
            StoredId::new(run.id.as_str()),
            run.state as i64,
            run.cancel_requested,
            run.due_at.map(Timestamp::as_micros),
            run.version,
            run.finished_at.map(Timestamp::as_micros),
            run.failure.as_deref(),
            run.output.as_ref().and_then(content_type),
            run.output.as_ref().map(|output| &*output.bytes),
        ])
        .during("write")?;
    Ok(())
}

fn select(connection: &Connection, sql: &str, params: &[&dyn ToSql]) -> Result<Vec<RunRecord>> {
    let mut statement = connection.prepare_cached(sql).during("read")?;
    let mut rows = statement.query(params).during("read")?;
    let mut runs = Vec::new();
    while let Some(row) = rows.next().during("read")? {
        runs.push(read(row)?);
    }
    Ok(runs)
}

fn read(row: &Row<'_>) -> Result<RunRecord> {
    Ok(RunRecord {
        seq: get(row, 0)?,
        id: RunId::new(id_text(row.get_ref(1).during("read")?)?)?,
        workflow: get(row, 2)?,
        definition: blob(row, 3)?.unwrap_or_default(),
        definition_hash: get(row, 4)?,
        trace: get(row, 5)?,
        state: job_state(get(row, 6)?)?,
        cancel_requested: get(row, 7)?,
        started_at: Timestamp::from_micros(get(row, 8)?),
        deadline: moment(row, 9)?,
        due_at: moment(row, 10)?,
        version: get(row, 11)?,
        finished_at: moment(row, 12)?,
        failure: blob(row, 13)?,
        output: payload(row, 14, 15)?,
        input: payload(row, 16, 17)?.unwrap_or_default(),
    })
}

/// The type of a run's payload as text, or nothing for JSON: there are few of them, so it needs no key.
fn content_type(payload: &Payload) -> Option<&str> {
    (payload.content_type != ContentType::Json).then(|| payload.content_type.as_str())
}

fn payload(row: &Row<'_>, type_index: usize, index: usize) -> Result<Option<Payload>> {
    let Some(bytes) = blob(row, index)? else { return Ok(None) };
    let name: Option<String> = get(row, type_index)?;
    let content_type = name.map_or(ContentType::Json, |name| ContentType::from(name.as_str()));
    Ok(Some(Payload { content_type, bytes }))
}
