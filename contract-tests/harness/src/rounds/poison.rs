//! Jobs that panic, end the worker, end their child, never end, or take all memory: each is dead after its attempts,
//! with the reason, and its neighbors go on.

use std::collections::BTreeMap;
use std::os::unix::process::ExitStatusExt;
use std::thread;
use std::time::Duration;

use anyhow::{Context, Result};
use taskport_checker::Event;

use super::{Ground, storm::unexpected};
use crate::arena::{Arena, Judged};
use crate::clock::monotonic_us;
use crate::readback;
use crate::victim::{Kind, Produce, Work};

const SIGABRT: i32 = 6;
const DONE_WITHIN_US: u64 = 120_000_000;
const JOBS: u64 = 400;

const MIX: &[(Kind, u32)] = &[
    (Kind::Plain, 90),
    (Kind::Slow, 20),
    (Kind::Panics, 4),
    (Kind::AbortsChild, 3),
    (Kind::Loops, 3),
    (Kind::Hogs, 2),
];

const LETHAL_MIX: &[(Kind, u32)] = &[(Kind::Plain, 90), (Kind::Slow, 20), (Kind::Aborts, 2)];

/// The end of each kind of poison, by task: what its failure says.
const ENDS: &[(&str, &str)] = &[
    ("fault.panics", "panicked"),
    ("fault.aborts_child", "worker_lost"),
    ("fault.loops", "timed_out"),
    ("fault.hogs", "out_of_memory"),
];

const LETHAL_ENDS: &[(&str, &str)] = &[("fault.aborts", "worker_lost")];

/// Poison that ends its attempt only, and then poison that ends its worker, with every attempt that runs there.
pub(super) fn run(ground: &Ground<'_>) -> Result<Judged> {
    let mut arena = ground.arena()?;
    for _ in 0..2 {
        arena.add_worker(Work {
            isolated: true,
            concurrency: 8,
            prefetch: 8,
            // Poison takes all processors, and a lease that is renewed late would end a job for another reason.
            lease: Duration::from_secs(3),
            ..Work::default()
        })?;
    }
    for (mix, ends) in [(MIX, ENDS), (LETHAL_MIX, LETHAL_ENDS)] {
        live_through(&mut arena, mix)?;
        check_ends(&mut arena, ends)?;
    }
    arena.finish()
}

/// Submits jobs, and gives a new process to workers that die of them, until all have ended.
fn live_through(arena: &mut Arena, mix: &[(Kind, u32)]) -> Result<()> {
    let seed = arena.rng.u64(..);
    let mut settings = arena.settings();
    settings.produce = Some(Produce { seed, jobs: Some(JOBS), batch: 100, backlog: JOBS, mix: mix.to_vec() });
    arena
        .start_alone("fill", settings)?
        .wait(Duration::from_secs(20))
        .context("the jobs were not submitted")?;
    let until = monotonic_us() + DONE_WITHIN_US;
    while readback::waiting(&arena.database)? > 0 && monotonic_us() < until {
        thread::sleep(Duration::from_millis(20));
        arena.revive(|arena, name, status| {
            if status.signal() == Some(SIGABRT) {
                arena.hit("worker ended by a job", Event::Ok, name);
            } else {
                let problem = unexpected(arena, name, status);
                arena.problems.push(problem);
            }
        })?;
    }
    Ok(())
}

/// Checks that every job of these tasks is dead, and says why.
fn check_ends(arena: &mut Arena, ends: &[(&str, &str)]) -> Result<()> {
    let tasks: BTreeMap<String, String> = readback::tasks(&arena.database)?;
    let failures = readback::failures(&arena.database)?;
    for (task, end) in ends {
        let ids: Vec<&String> = tasks.iter().filter(|(_, own)| own == task).map(|(id, _)| id).collect();
        if ids.is_empty() {
            arena.problems.push(format!("there was no job of {task}"));
        }
        for id in ids {
            arena.hit_nobody("poison");
            let failure = failures.get(id).map_or("none", String::as_str);
            if !failure.contains(end) {
                arena.problems.push(format!("{id} of {task} should have ended as {end}: {failure}"));
            }
        }
    }
    Ok(())
}
