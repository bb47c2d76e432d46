//! One row in a thousand holds what no version of the engine writes: it becomes a dead letter, and its neighbors go on.

use std::time::Duration;

use anyhow::{Context, Result};
use rusqlite::Connection;

use super::Ground;
use crate::arena::{Figures, Judged};
use crate::readback;
use crate::victim::{End, Kind, Produce, Work};

const JOBS: u64 = 1_000;
const DONE_WITHIN: Duration = Duration::from_secs(20);
const SUCCEEDED: i64 = 5;
const FAILED: i64 = 6;

/// What is put where.
const ROWS: &[(&str, &str)] = &[
    ("options are no document", "options = x'ff00ff'"),
    ("options are another document", "options = CAST('{\"nonsense\":1}' AS BLOB)"),
    ("arguments are no document", "arguments = x'c328ff00'"),
    ("arguments are empty", "arguments = x''"),
    ("arguments are text", "arguments = '[[],{}'"),
    ("arguments are a number", "arguments = 7"),
    ("type of the arguments is unknown", "arguments_type = 999999"),
    ("task is unknown", "task = 999999"),
    ("priority is absurd", "priority = 99"),
    ("attempt is negative", "attempt = -5"),
    ("attempt is absurd", "attempt = 4611686018427387904"),
    ("token is negative", "token = -1"),
    ("token is the largest", "token = 9223372036854775807"),
    ("time of the submit is absurd", "submitted_at = -9223372036854775808"),
    ("time of the submit is text", "submitted_at = 'yesterday'"),
    ("due time is text", "due_at = 'soon'"),
    ("expiry is text", "expires_at = 'never'"),
    ("tags are bytes", "tags = x'ff'"),
    ("failure is no document", "failure = x'ff00'"),
    ("id is bytes", "id = x'010203'"),
    ("id is text that is none", "id = CAST(x'c328' AS TEXT)"),
    ("progress is text", "progress = 'half'"),
];

/// One database for each kind of row.
pub(super) fn run(ground: &Ground<'_>) -> Result<Judged> {
    let mut arena = ground.arena()?;
    let mut figures = Figures::default();
    for (index, (what, assignment)) in ROWS.iter().enumerate() {
        let mut settings = arena.settings();
        settings.database = ground.dir.join(format!("rows-{index}.db"));
        settings.produce = Some(Produce {
            seed: 1,
            jobs: Some(JOBS),
            batch: 500,
            backlog: JOBS,
            mix: vec![(Kind::Plain, 1)],
        });
        arena
            .start_alone("fill", settings.clone())?
            .wait(DONE_WITHIN)
            .context("the jobs were not submitted")?;
        let seq = {
            let connection = Connection::open(&settings.database)?;
            let seq: i64 = connection.query_row(
                "SELECT seq FROM taskport_jobs ORDER BY seq LIMIT 1 OFFSET 500",
                [],
                |row| row.get(0),
            )?;
            connection.execute(&format!("UPDATE taskport_jobs SET {assignment} WHERE seq = ?1"), [seq])?;
            seq
        };
        arena.hit_nobody("malformed row");
        settings.produce = None;
        settings.work = Some(Work::default());
        settings.leave_when_done = true;
        let mut process = arena.start_alone("work", settings.clone())?;
        let status = process.wait(DONE_WITHIN);
        let end = End::of(&arena.records, process.name());
        let name = process.name().to_owned();
        drop(process);
        let states = readback::states(&settings.database)?;
        let left = states.iter().filter(|(number, state)| *number != seq && *state != SUCCEEDED).count();
        let own = states.iter().find(|(number, _)| *number == seq).map_or(-1, |(_, state)| *state);
        if left > 0 || ![SUCCEEDED, FAILED].contains(&own) {
            arena.problems.push(format!(
                "{what}: {left} neighbors did not succeed, the row is in state {own}; {name} ended with {status:?}: {end:?}"
            ));
        }
        figures.jobs += JOBS;
    }
    figures.faults = arena.faults.values().sum();
    Ok(Judged { figures, faults: arena.faults, problems: arena.problems, examples: Vec::new() })
}
