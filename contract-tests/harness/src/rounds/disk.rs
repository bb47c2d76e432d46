//! The disk is full for a while, and has space again.

use std::fs::{self, File};
use std::io::Write;
use std::path::Path;
use std::thread;
use std::time::Duration;

use anyhow::{Context, Result};
use rustix::mount::{MountFlags, UnmountFlags, mount, unmount};

use super::{Ground, producer};
use crate::arena::{Arena, Judged};
use crate::clock::monotonic_us;
use crate::victim::{Produce, Work};

/// How much the disk holds.
const DISK_BYTES: u64 = 96 << 20;
/// How much a file may hold where this user may not mount a disk.
const FILE_BYTES_MAX: u64 = 4 << 20;

/// Fills the disk again and again, and frees it.
pub(super) fn full(ground: &Ground<'_>) -> Result<Judged> {
    let mut arena = ground.arena()?;
    let at = ground.dir.join("disk");
    fs::create_dir_all(&at)?;
    let options = format!("size={DISK_BYTES}");
    let options = std::ffi::CString::new(options)?;
    match mount("tmpfs", &at, "tmpfs", MountFlags::empty(), Some(options.as_c_str())) {
        Ok(()) => {
            let judged = fill_and_free(ground, &mut arena, &at).and_then(|()| arena.finish());
            unmount(&at, UnmountFlags::DETACH).context("unmount the small disk")?;
            judged
        }
        Err(rustix::io::Errno::PERM) => without_mount(ground, arena),
        Err(error) => Err(error).context("mount a small disk"),
    }
}

fn fill_and_free(ground: &Ground<'_>, arena: &mut Arena, at: &Path) -> Result<()> {
    arena.database = at.join("jobs.db");
    for _ in 0..2 {
        let seed = arena.rng.u64(..);
        arena.add_producer(Produce { backlog: 1_000, batch: 100, ..producer(seed) })?;
        arena.add_worker(Work::default())?;
    }
    let ballast = at.join("ballast");
    let until = ground.until_us();
    while monotonic_us() < until {
        thread::sleep(Duration::from_millis(arena.rng.u64(50..300)));
        fill(&ballast)?;
        arena.hit_nobody("disk full");
        thread::sleep(Duration::from_millis(arena.rng.u64(50..700)));
        fs::remove_file(&ballast)?;
    }
    Ok(())
}

/// Takes every byte that is left.
fn fill(ballast: &Path) -> Result<()> {
    let mut file = File::create(ballast)?;
    for block in [1 << 20, 4 << 10, 1] {
        let block = vec![0; block];
        // The end of the disk is the purpose.
        while file.write_all(&block).is_ok() {}
    }
    Ok(())
}

/// Where nothing can be mounted, the file itself is kept from growing.
fn without_mount(ground: &Ground<'_>, mut arena: Arena) -> Result<Judged> {
    let mut settings = arena.settings();
    settings.file_bytes_max = Some(FILE_BYTES_MAX);
    let seed = arena.rng.u64(..);
    settings.produce = Some(producer(seed));
    arena.add("producer", settings)?;
    arena.add_worker(Work::default())?;
    thread::sleep(Duration::from_micros(Ground::micros(ground.seconds)));
    arena.hit_nobody("file full (no right to mount)");
    arena.finish()
}
