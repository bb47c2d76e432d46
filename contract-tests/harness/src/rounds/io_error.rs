//! The n-th call to the disk fails, for every n: reads, writes, syncs, lengths and names, from the making of the file on.

use std::time::Duration;

use anyhow::{Context, Result};

use super::Ground;
use crate::arena::{Arena, Judged};
use crate::clock::monotonic_us;
use crate::fault_fs::{Errno, FaultFs, Image, Injection, Op};
use crate::process::Process;
use crate::victim::{End, GAVE_UP, Kind, Produce, Settings, Work};

const DONE_WITHIN: Duration = Duration::from_secs(60);
const SCRIPT: &[(Kind, u32)] = &[(Kind::Plain, 10), (Kind::Flaky, 1), (Kind::Doomed, 1), (Kind::Twice, 1)];
/// What a disk that fails may be called: impossible to open, damaged, full, unreadable. SQLite takes a read that fails for
/// damage.
const CODES: [&str; 4] = ["E-023", "E-026", "E-027", "E-028"];
/// How many processes live side by side.
const TOGETHER: usize = 8;
/// How many calls of each kind there are in a run, at most; later ones are like those before.
const CALLS_MAX: u64 = 160;

/// One process on a fresh disk for each call that fails.
pub(super) fn sweep(ground: &Ground<'_>) -> Result<Judged> {
    let mut arena = ground.arena()?;
    let calls = {
        let disk = Life::begin(ground, &mut arena, 0, None)?.end(&mut arena)?;
        let calls = disk.image().calls().clone();
        read_and_leave(&mut arena, disk)?;
        calls
    };
    let mut injections = Vec::new();
    for op in Op::ALL {
        for nth in 1..=calls.get(&op).copied().unwrap_or(0).min(CALLS_MAX) {
            let errno = match op {
                Op::Write | Op::Truncate => {
                    [Errno::Io, Errno::NoSpace, Errno::TooLarge][arena.rng.usize(0..3)]
                }
                _ => Errno::Io,
            };
            // One failure, or a disk that is bad for a while.
            let count = if arena.rng.bool() { 1 } else { 8 };
            injections.push(Injection { op: Some(op), nth, count, errno });
        }
    }
    arena.rng.shuffle(&mut injections);
    let until = ground.until_us();
    for (index, together) in injections.chunks(TOGETHER).enumerate() {
        if monotonic_us() >= until {
            break;
        }
        // They wait for leases and for failed disks most of the time, and so side by side.
        let lives: Vec<Life> = (together.iter().enumerate())
            .map(|(place, injection)| {
                Life::begin(ground, &mut arena, index * TOGETHER + place + 1, Some(*injection))
            })
            .collect::<Result<_>>()?;
        for life in lives {
            let injection = life.injection;
            let disk = life.end(&mut arena)?;
            if let Some(injection) = injection.filter(|_| disk.image().failed() > 0) {
                arena.hit_nobody(kind(injection));
            }
            disk.image().heal();
            read_and_leave(&mut arena, disk)?;
        }
    }
    arena.drained();
    arena.judge_histories()
}

fn kind(injection: Injection) -> &'static str {
    match injection.errno {
        Errno::Io => "EIO",
        Errno::NoSpace => "ENOSPC",
        Errno::TooLarge => "EFBIG",
    }
}

/// One process on a fresh disk.
#[derive(Debug)]
struct Life {
    disk: FaultFs,
    injection: Option<Injection>,
    settings: Settings,
    process: Process,
}

impl Life {
    fn begin(
        ground: &Ground<'_>,
        arena: &mut Arena,
        index: usize,
        injection: Option<Injection>,
    ) -> Result<Self> {
        let at = ground.dir.join(format!("disk-{index}"));
        let disk = FaultFs::mount(Image::default(), &at).context("mount the disk")?;
        if let Some(injection) = injection {
            disk.image().inject(injection);
        }
        let seed = arena.rng.u64(..);
        let produce = Produce { seed, jobs: Some(40), batch: 16, backlog: 1_000, mix: SCRIPT.to_vec() };
        let settings = Settings {
            database: at.join("jobs.db"),
            wal_bytes: 64 << 10,
            produce: Some(produce),
            work: Some(Work { lease: Duration::from_millis(200), ..Work::default() }),
            leave_when_done: true,
            ..arena.settings()
        };
        let process = arena.start_alone("io", settings.clone())?;
        Ok(Self { disk, injection, settings, process })
    }

    /// Waits until all is done, on a disk that works where the process has given up.
    fn end(mut self, arena: &mut Arena) -> Result<FaultFs> {
        if gives_up(arena, &mut self.process, self.injection) {
            self.disk.image().heal();
            let mut next = arena.start_alone("io", self.settings)?;
            if gives_up(arena, &mut next, self.injection) {
                arena.problems.push(format!("{:?}: the file cannot be used any more", self.injection));
            }
        }
        Ok(self.disk)
    }
}

/// Whether a process says that it can't use its file; else it has done all of its work.
fn gives_up(arena: &mut Arena, process: &mut Process, injection: Option<Injection>) -> bool {
    let status = process.wait(DONE_WITHIN);
    let end = End::of(&arena.records, process.name());
    match (status, &end) {
        (Some(status), _) if status.success() => false,
        (Some(status), Some(end))
            if status.code() == Some(i32::from(GAVE_UP)) && CODES.contains(&end.code.as_str()) =>
        {
            true
        }
        _ => {
            arena.problems.push(format!("{injection:?}: {} ended with {status:?}: {end:?}", process.name()));
            false
        }
    }
}

fn read_and_leave(arena: &mut Arena, disk: FaultFs) -> Result<()> {
    let database = disk.path().join("jobs.db");
    arena.read_back(&database)?;
    disk.unmount().context("unmount the disk")
}
