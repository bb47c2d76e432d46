//! The power fails: the disk keeps what was synced, and of the rest what it likes.

use std::thread;
use std::time::Duration;

use anyhow::{Context, Result};
use taskport_checker::Event;

use super::{Ground, producer};
use crate::arena::{Arena, Figures, Judged};
use crate::clock::monotonic_us;
use crate::fault_fs::{FaultFs, Image};
use crate::readback;
use crate::victim::{Kind, Produce, Settings, Work};

/// With commits that wait for the disk nothing that was acknowledged is lost.
pub(super) fn full(ground: &Ground<'_>) -> Result<Judged> {
    cuts(ground, false)
}

/// Producers and workers on a disk whose power is cut again and again. With `normal`, commits wait for the operating
/// system only, and jobs are lost: the checker must find that.
///
/// # Errors
/// Where nothing can be mounted, or the round cannot be judged.
pub fn cuts(ground: &Ground<'_>, normal: bool) -> Result<Judged> {
    let mut arena = ground.arena()?;
    let at = ground.dir.join("disk");
    let mut disk = FaultFs::mount(Image::default(), &at).context("mount the disk")?;
    arena.database = at.join("jobs.db");
    for _ in 0..2 {
        // Checkpoints write to the file itself, where a cut hurts most.
        let plain = Settings { wal_bytes: 256 << 10, normal, ..arena.settings() };
        let seed = arena.rng.u64(..);
        let produce = Produce { backlog: 2_000, batch: 200, ..producer(seed) };
        arena.add("producer", Settings { produce: Some(produce), ..plain.clone() })?;
        arena.add("worker", Settings { work: Some(Work::default()), ..plain })?;
    }
    let until = ground.until_us();
    while monotonic_us() < until {
        thread::sleep(Duration::from_millis(arena.rng.u64(30..500)));
        let left = cut(&mut arena, disk)?;
        disk = FaultFs::mount(left, &at).context("mount what is left")?;
        for member in 0..arena.len() {
            arena.start(member)?;
        }
    }
    let judged = arena.finish();
    disk.unmount().context("unmount the disk")?;
    judged
}

/// Cuts the power, and returns what the disk has left.
fn cut(arena: &mut Arena, disk: FaultFs) -> Result<Image> {
    let left = {
        let mut image = disk.image();
        let left = image.after_power_cut(&mut arena.rng);
        image.freeze();
        left
    };
    for member in 0..arena.len() {
        arena.kill_with_all(member);
    }
    arena.hit_nobody("power cut");
    disk.unmount().context("unmount the dead disk")?;
    Ok(left)
}

/// With commits that wait for the operating system only, the file stays whole, and what is lost are the last commits:
/// whoever was acknowledged before one that is there is there too.
pub(super) fn normal(ground: &Ground<'_>) -> Result<Judged> {
    let mut arena = ground.arena()?;
    let until = ground.until_us();
    let mut figures = Figures::default();
    let mut round = 0;
    while monotonic_us() < until {
        round += 1;
        let at = ground.dir.join(format!("disk-{round}"));
        let disk = FaultFs::mount(Image::default(), &at).context("mount the disk")?;
        let mut settings = arena.settings();
        settings.database = at.join("jobs.db");
        settings.normal = true;
        settings.wal_bytes = 128 << 10;
        let (seed, jobs) = (arena.rng.u64(..), 1_000_000);
        settings.produce =
            Some(Produce { seed, jobs: Some(jobs), batch: 20, backlog: jobs, mix: vec![(Kind::Plain, 1)] });
        let process = arena.start_alone("normal", settings)?;
        thread::sleep(Duration::from_millis(arena.rng.u64(100..700)));
        let left = {
            let mut image = disk.image();
            let left = image.after_power_cut(&mut arena.rng);
            image.freeze();
            left
        };
        let name = process.name().to_owned();
        drop(process);
        disk.unmount().context("unmount the dead disk")?;
        arena.hit("power cut, normal", Event::Ok, &name);
        let disk = FaultFs::mount(left, &at).context("mount what is left")?;
        figures.jobs += whole_prefix(&mut arena, &at.join("jobs.db"), &name)?;
        disk.unmount().context("unmount the disk")?;
    }
    figures.faults = arena.faults.values().sum();
    Ok(Judged { figures, faults: arena.faults, problems: arena.problems, examples: Vec::new() })
}

/// Checks that the jobs of one producer that are there are its first ones, and returns how many.
fn whole_prefix(arena: &mut Arena, database: &std::path::Path, name: &str) -> Result<u64> {
    if !database.exists() {
        return Ok(0);
    }
    readback::with_port(database, async |_| Ok(()))?;
    let found = readback::integrity(database)?;
    arena.problems.extend(found);
    let rows = readback::rows(database)?;
    let expected = (0..rows.len()).map(|number| format!("{name}-{number:06}"));
    if !rows.iter().map(|row| row.id.as_str()).eq(expected) {
        arena.problems.push(format!("{name}: the jobs that are left are not the first ones"));
    }
    Ok(rows.len() as u64)
}
