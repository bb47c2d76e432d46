//! A process is killed at every step of the engine's transactions, before and after, one after another.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::os::unix::process::ExitStatusExt;
use std::time::Duration;

use anyhow::{Context, Result};

use super::{Ground, storm::unexpected};
use crate::arena::{Arena, Judged};
use crate::clock::monotonic_us;
use crate::victim::{Kind, Point, Produce, Settings, Side, Work};

/// How long one process may take.
const DONE_WITHIN: Duration = Duration::from_secs(60);
const SIGKILL: i32 = 9;
const HOUR_US: i64 = 3_600_000_000;
const HOURS_MAX: i64 = 72;
/// How often a point that was not reached is tried again.
const TRIES_MAX: u32 = 8;

/// Few jobs of every kind, in small batches, so that every verb is called and each call matters.
const SCRIPT: &[(Kind, u32)] = &[
    (Kind::Plain, 6),
    (Kind::Slow, 2),
    (Kind::Later, 2),
    (Kind::Flaky, 2),
    (Kind::Doomed, 2),
    (Kind::Twice, 2),
    (Kind::Unique, 2),
    (Kind::Ordered, 2),
    (Kind::Bounded, 2),
    (Kind::Cancelled, 2),
    (Kind::Expiring, 1),
];

/// Kills one process after another at its own point.
pub(super) fn sweep(ground: &Ground<'_>) -> Result<Judged> {
    let mut arena = ground.arena()?;
    let counts = count_calls(&mut arena)?;
    let mut points = points(&counts, &mut arena);
    arena.rng.shuffle(&mut points);
    let until = ground.until_us();
    let mut never: BTreeSet<(String, Side)> =
        points.iter().map(|point| (point.verb.clone(), point.side)).collect();
    let mut in_time = true;
    for point in &points {
        in_time = monotonic_us() < until;
        if !in_time {
            break;
        }
        if die_at(&mut arena, point)? {
            never.remove(&(point.verb.clone(), point.side));
        }
    }
    if in_time {
        insist(&mut arena, never)?;
    }
    // Somebody has to take over what the dead have left.
    arena.add_worker(Work::default())?;
    arena.finish()
}

/// One process that submits, works, and ends when all is done.
fn alone(arena: &mut Arena) -> Settings {
    let mut settings = arena.settings();
    let seed = arena.rng.u64(..);
    settings.produce =
        Some(Produce { seed, jobs: Some(40), batch: 12, backlog: 1_000, mix: SCRIPT.to_vec() });
    settings.work =
        Some(Work { concurrency: 6, prefetch: 6, lease: Duration::from_millis(150), ..Work::default() });
    settings.leave_when_done = true;
    settings
}

/// How often a process that nothing happens to calls each verb.
fn count_calls(arena: &mut Arena) -> Result<BTreeMap<String, u64>> {
    let settings = alone(arena);
    let mut process = arena.start_alone("count", settings)?;
    if let Some(status) = process.wait(DONE_WITHIN).filter(|status| !status.success()) {
        let problem = unexpected(arena, process.name(), status);
        arena.problems.push(problem);
    }
    let text = fs::read(arena.records.join(format!("calls-{}.json", process.name())))
        .context("the process left no count of its calls")?;
    Ok(serde_json::from_slice(&text)?)
}

/// The first, a middle and a late call of every verb, on both sides.
fn points(counts: &BTreeMap<String, u64>, arena: &mut Arena) -> Vec<Point> {
    let mut points = Vec::new();
    for (verb, count) in counts {
        let mut calls = vec![1, 2, arena.rng.u64(1..=count / 2 + 1)];
        calls.retain(|nth| *nth == 1 || nth * 2 <= *count);
        calls.sort_unstable();
        calls.dedup();
        for nth in calls {
            for side in [Side::Before, Side::After] {
                points.push(Point { verb: verb.clone(), side, nth });
            }
        }
    }
    points
}

/// Not every run calls every verb; but each that one run called must be hit on both sides.
fn insist(arena: &mut Arena, never: BTreeSet<(String, Side)>) -> Result<()> {
    let mut hours = 0;
    for (verb, side) in never {
        let point = Point { verb, side, nth: 1 };
        let mut hit = false;
        for _ in 0..TRIES_MAX {
            if hit {
                break;
            }
            // What is done every few hours comes due, and nothing that is kept for days is removed.
            hours = (hours + 2).min(HOURS_MAX);
            arena.set_clock(hours * HOUR_US)?;
            hit = die_at(arena, &point)?;
        }
        if !hit {
            arena.problems.push(format!("{point:?} was never reached"));
        }
    }
    Ok(())
}

/// Runs a process that kills itself at `point`, and says whether it came there.
fn die_at(arena: &mut Arena, point: &Point) -> Result<bool> {
    let mut settings = alone(arena);
    settings.point = Some(point.clone());
    let mut process = arena.start_alone("point", settings)?;
    match process.wait(DONE_WITHIN) {
        Some(status) if status.signal() == Some(SIGKILL) => {
            arena.killed_itself("point", process.name());
            return Ok(true);
        }
        Some(status) if status.success() => {}
        Some(status) => {
            let problem = unexpected(arena, process.name(), status);
            arena.problems.push(problem);
        }
        None => arena.problems.push(format!("{} neither reached {point:?} nor ended", process.name())),
    }
    Ok(false)
}
