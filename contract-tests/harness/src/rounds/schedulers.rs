//! Several processes fire the schedules of one file, and are killed: every tick is one job, and every job is run.

use std::thread;
use std::time::Duration;

use anyhow::{Context, Result, bail};
use taskport_abstraction::schedule::{CatchUp, ScheduleDefinition, ScheduleRule};
use taskport_abstraction::{Clock, IntoCall, JobId, JobOptions, ScheduleName, SystemClock, Timestamp};
use taskport_engine::schedule::job_id;

use super::Ground;
use crate::arena::{Arena, Judged};
use crate::clock::monotonic_us;
use crate::readback;
use crate::victim::{self, Work};

const SCHEDULES: usize = 6;
const WORKERS: usize = 3;
const PERIOD: Duration = Duration::from_millis(100);
/// The first tick is so late that every process is there.
const BEGIN_AFTER: Duration = Duration::from_millis(500);
/// How long the last ticks may take to fire.
const FIRED_WITHIN_US: u64 = 30_000_000;

/// Puts schedules, and kills who fires them.
pub(super) fn run(ground: &Ground<'_>) -> Result<Judged> {
    let mut arena = ground.arena()?;
    let starts_at = SystemClock.now() + BEGIN_AFTER;
    let ends_at = starts_at + Duration::from_secs_f64(ground.seconds.max(1.0));
    let definitions: Vec<ScheduleDefinition> =
        (0..SCHEDULES).map(|number| definition(number, starts_at, ends_at)).collect::<Result<_>>()?;
    let ticks = ticks(&definitions, starts_at, ends_at)?;
    arena.submitted(&ticks);
    readback::with_port(&arena.database, async |port| {
        let backend = port.backend(port.default_name().as_str())?;
        let schedules = backend.schedules().context("the engine has schedules")?;
        for definition in definitions {
            schedules.put(definition).await?;
        }
        Ok(())
    })?;
    for _ in 0..WORKERS {
        arena.add_worker(Work::default())?;
    }
    while SystemClock.now() < ends_at {
        thread::sleep(Duration::from_millis(arena.rng.u64(40..250)));
        arena.revive(|_, _, _| {})?;
        let members = arena.running();
        if !members.is_empty() {
            let member = members[arena.rng.usize(0..members.len())];
            arena.kill(member, "scheduler killed");
        }
    }
    arena.revive(|_, _, _| {})?;
    wait_until_fired(&mut arena, ticks.len())?;
    arena.finish()
}

fn definition(number: usize, starts_at: Timestamp, ends_at: Timestamp) -> Result<ScheduleDefinition> {
    let (_, call, _) = victim::tick_call().into_call().into_raw()?;
    Ok(ScheduleDefinition {
        name: ScheduleName::new(format!("every-{number}"))?,
        rule: ScheduleRule::Every { period: PERIOD, anchor: Some(starts_at) },
        call,
        options: JobOptions::default(),
        // Whoever is killed may miss some ticks, and whoever comes next makes up for all of them.
        catch_up: CatchUp::All { max: 1_000 },
        jitter: Duration::ZERO,
        starts_at: Some(starts_at),
        ends_at: Some(ends_at),
    })
}

/// The job of every tick, and when it may start.
fn ticks(
    definitions: &[ScheduleDefinition],
    starts_at: Timestamp,
    ends_at: Timestamp,
) -> Result<Vec<(JobId, Timestamp)>> {
    let mut ticks = Vec::new();
    for definition in definitions {
        let mut tick = starts_at;
        while tick < ends_at {
            ticks.push((job_id(&definition.name, tick)?, tick));
            tick = tick + PERIOD;
        }
    }
    Ok(ticks)
}

fn wait_until_fired(arena: &mut Arena, expected: usize) -> Result<()> {
    let until = monotonic_us() + FIRED_WITHIN_US;
    loop {
        let fired = readback::rows(&arena.database)?.len();
        if fired >= expected {
            return Ok(());
        }
        if monotonic_us() > until {
            bail!("{fired} of {expected} ticks have fired");
        }
        thread::sleep(Duration::from_millis(50));
    }
}
