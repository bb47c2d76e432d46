//! The rows of the steps of runs.
//!
//! A step of one job is written when it ends: that it has started stands in a row it shares with all that started in the
//! same transaction. So a large graph costs one row a step, not two versions of one.

use rusqlite::{Connection, params};
use taskport_abstraction::backend::StepState;
use taskport_abstraction::{Result, Timestamp};
use taskport_engine::record::StepRecord;

use crate::error::{InStore, damaged};
use crate::rows::{blob, get, moment, unsigned};

/// Inserts or replaces steps of a run.
pub(crate) fn put(connection: &Connection, run: i64, steps: &[StepRecord]) -> Result<()> {
    let first = steps.iter().find(|step| has_just_started(step));
    let is_start = |step: &StepRecord| {
        has_just_started(step)
            && first.is_some_and(|first| (first.version, first.started_at) == (step.version, step.started_at))
    };
    put_starts(connection, run, steps.iter().filter(|step| is_start(step)))?;
    put_rows(connection, run, steps.iter().filter(|step| !is_start(step)))
}

/// Whether all there is to say of a step is that its only job was submitted.
fn has_just_started(step: &StepRecord) -> bool {
    let StepRecord { state, total, submitted, succeeded, failed, .. } = step;
    (*state, *total, *submitted, *succeeded, *failed) == (StepState::Running, 1, 1, 0, 0)
        && step.started_at.is_some()
        && step.data.is_none()
}

fn put_starts<'a>(
    connection: &Connection,
    run: i64,
    steps: impl Iterator<Item = &'a StepRecord>,
) -> Result<()> {
    let (mut places, mut common) = (Vec::new(), None);
    for step in steps {
        places.extend_from_slice(&step.index.to_le_bytes());
        common = Some(step);
    }
    let Some(common) = common else { return Ok(()) };
    let sql = "INSERT INTO taskport_run_starts (run, version, started_at, steps) VALUES (?1, ?2, ?3, ?4)";
    let mut statement = connection.prepare_cached(sql).during("write")?;
    statement
        .execute(params![run, common.version, common.started_at.map(Timestamp::as_micros), places])
        .during("write")?;
    Ok(())
}

fn put_rows<'a>(
    connection: &Connection,
    run: i64,
    steps: impl Iterator<Item = &'a StepRecord>,
) -> Result<()> {
    let sql = "INSERT INTO taskport_run_steps (run, step, state, total, submitted, succeeded, failed, started_at, finished_at, \
               data, version) VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10, ?11) ON CONFLICT (run, step) DO UPDATE SET \
               state = excluded.state, total = excluded.total, submitted = excluded.submitted, \
               succeeded = excluded.succeeded, failed = excluded.failed, started_at = excluded.started_at, \
               finished_at = excluded.finished_at, data = excluded.data, version = excluded.version";
    let mut statement = connection.prepare_cached(sql).during("write")?;
    for step in steps {
        statement
            .execute(params![
                run,
                step.index,
                state_number(step.state),
                step.total as i64,
                step.submitted as i64,
                step.succeeded as i64,
                step.failed as i64,
                step.started_at.map(Timestamp::as_micros),
                step.finished_at.map(Timestamp::as_micros),
                step.data.as_deref(),
                step.version,
            ])
            .during("write")?;
    }
    Ok(())
}

/// The steps of a run whose version is above `since`.
pub(crate) fn since(connection: &Connection, run: i64, since: i64) -> Result<Vec<StepRecord>> {
    let mut steps = rows(connection, run, since)?;
    starts(connection, run, since, &mut steps)?;
    // Sorted here: asked for an order, SQLite walks all steps of the run for it. Of a step that both tables tell of, the
    // newer version counts.
    steps.sort_unstable_by_key(|step| (step.index, std::cmp::Reverse(step.version)));
    steps.dedup_by_key(|step| step.index);
    Ok(steps)
}

fn rows(connection: &Connection, run: i64, since: i64) -> Result<Vec<StepRecord>> {
    let sql = "SELECT step, state, total, submitted, succeeded, failed, started_at, finished_at, data, version \
               FROM taskport_run_steps WHERE run = ?1 AND version > ?2";
    let mut statement = connection.prepare_cached(sql).during("read")?;
    let mut rows = statement.query([run, since]).during("read")?;
    let mut steps = Vec::new();
    while let Some(row) = rows.next().during("read")? {
        steps.push(StepRecord {
            index: get(row, 0)?,
            state: state(get(row, 1)?)?,
            total: unsigned(row, 2)?,
            submitted: unsigned(row, 3)?,
            succeeded: unsigned(row, 4)?,
            failed: unsigned(row, 5)?,
            started_at: moment(row, 6)?,
            finished_at: moment(row, 7)?,
            data: blob(row, 8)?,
            version: get(row, 9)?,
        });
    }
    Ok(steps)
}

fn starts(connection: &Connection, run: i64, since: i64, steps: &mut Vec<StepRecord>) -> Result<()> {
    let sql = "SELECT version, started_at, steps FROM taskport_run_starts WHERE run = ?1 AND version > ?2";
    let mut statement = connection.prepare_cached(sql).during("read")?;
    let mut rows = statement.query([run, since]).during("read")?;
    while let Some(row) = rows.next().during("read")? {
        let (version, started_at) = (get(row, 0)?, moment(row, 1)?);
        let places = blob(row, 2)?.unwrap_or_default();
        let (places, []) = places.as_chunks::<4>() else {
            return Err(damaged("the list of a run's started steps is torn"));
        };
        steps.extend(places.iter().map(|place| StepRecord {
            index: u32::from_le_bytes(*place),
            state: StepState::Running,
            total: 1,
            submitted: 1,
            succeeded: 0,
            failed: 0,
            started_at,
            finished_at: None,
            data: None,
            version,
        }));
    }
    Ok(())
}

const fn state_number(state: StepState) -> i64 {
    match state {
        StepState::Waiting => 0,
        StepState::Running => 1,
        StepState::Succeeded => 2,
        StepState::Failed => 3,
        StepState::Skipped => 4,
        StepState::Cancelled => 5,
    }
}

fn state(number: i64) -> Result<StepState> {
    Ok(match number {
        0 => StepState::Waiting,
        1 => StepState::Running,
        2 => StepState::Succeeded,
        3 => StepState::Failed,
        4 => StepState::Skipped,
        5 => StepState::Cancelled,
        other => return Err(damaged(format!("a step has the state {other}"))),
    })
}
