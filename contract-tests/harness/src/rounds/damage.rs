//! Bytes of the file change or vanish: a clear error, never a crash, and nothing lost in silence.

use std::fs::{self, OpenOptions};
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::{Context, Result};
use fastrand::Rng;
use taskport_checker::Event;

use super::Ground;
use crate::arena::{Arena, Figures, Judged};
use crate::clock::monotonic_us;
use crate::readback;
use crate::victim::{End, GAVE_UP, Kind, Produce, Work};

const DONE_WITHIN: Duration = Duration::from_secs(60);
const DONE_JOBS: u64 = 400;
const WAITING_JOBS: u64 = 300;
const HEADER_BYTES: u64 = 100;
const PAGE_BYTES: u64 = 4_096;
/// What a damaged file may be called: foreign, newer, damaged, unreadable, impossible to open.
const CODES: [&str; 5] = ["E-023", "E-024", "E-025", "E-026", "E-028"];

/// What happens to which bytes.
#[derive(Debug, Clone, Copy)]
enum Damage {
    /// One bit is the other way round.
    Flip { at: u64 },
    /// Some bytes are noise.
    Noise { at: u64 },
    /// A page is empty.
    Zero { at: u64 },
    /// The file ends early.
    Cut { len: u64 },
}

/// Damages copies of one file, each in its own way, and has a process work on each.
pub(super) fn run(ground: &Ground<'_>) -> Result<Judged> {
    let mut arena = ground.arena()?;
    let good = ground.dir.join("good.db");
    make(&mut arena, &good)?;
    let probe = ground.dir.join("probe.db");
    copy_database(&good, &probe)?;
    let jobs = readback::rows(&probe)?.len();
    let until = ground.until_us();
    let mut round = 0;
    while monotonic_us() < until {
        round += 1;
        let copy = ground.dir.join(format!("damaged-{round}.db"));
        copy_database(&good, &copy)?;
        let in_log = arena.rng.u8(0..4) == 0;
        let file = if in_log { beside(&copy, "-wal") } else { copy.clone() };
        let damage = draw(&mut arena.rng, fs::metadata(&file)?.len());
        apply(&file, damage, &mut arena.rng)?;
        judge(&mut arena, &copy, in_log, damage, jobs)?;
    }
    let figures = Figures { jobs: jobs as u64, faults: arena.faults.values().sum(), ..Figures::default() };
    Ok(Judged { figures, faults: arena.faults, problems: arena.problems, examples: Vec::new() })
}

/// A file with jobs that are done, jobs that wait, and a log that is not moved into it.
fn make(arena: &mut Arena, path: &Path) -> Result<()> {
    let mut settings = arena.settings();
    settings.database = path.to_owned();
    settings.produce = Some(plain(DONE_JOBS));
    settings.work = Some(Work::default());
    settings.leave_when_done = true;
    arena.start_alone("make", settings.clone())?.wait(DONE_WITHIN);
    settings.produce = Some(plain(WAITING_JOBS));
    settings.work = None;
    settings.leave_when_done = false;
    // It keeps the file open: the last to close it would move the log.
    let held = rusqlite::Connection::open(path)?;
    held.query_row("SELECT count(*) FROM taskport_jobs", [], |_| Ok(()))?;
    let mut process = arena.start_alone("make", settings)?;
    process.wait(DONE_WITHIN).context("the jobs that wait were not submitted")?;
    let copy = path.with_extension("copy");
    copy_database(path, &copy)?;
    drop(held);
    copy_database(&copy, path)
}

fn plain(jobs: u64) -> Produce {
    Produce { seed: 1, jobs: Some(jobs), batch: 50, backlog: jobs, mix: vec![(Kind::Plain, 1)] }
}

fn draw(rng: &mut Rng, len: u64) -> Damage {
    let len = len.max(1);
    let at = match rng.u8(0..4) {
        0 => rng.u64(0..HEADER_BYTES.min(len)),
        1 => rng.u64(0..PAGE_BYTES.min(len)),
        _ => rng.u64(0..len),
    };
    match rng.u8(0..4) {
        0 => Damage::Flip { at },
        1 => Damage::Noise { at },
        2 => Damage::Zero { at: at / PAGE_BYTES * PAGE_BYTES },
        // An empty file is a new one, and SQLite takes a single byte for nothing.
        _ => Damage::Cut { len: at.max(2) },
    }
}

fn apply(path: &Path, damage: Damage, rng: &mut Rng) -> Result<()> {
    let file = OpenOptions::new().read(true).write(true).open(path)?;
    match damage {
        Damage::Flip { at } => {
            let mut byte = [0];
            file.read_exact_at(&mut byte, at)?;
            byte[0] ^= 1 << rng.u8(0..8);
            file.write_all_at(&byte, at)?;
        }
        Damage::Noise { at } => {
            let mut noise = vec![0; rng.usize(1..200)];
            rng.fill(&mut noise);
            file.write_all_at(&noise, at)?;
        }
        Damage::Zero { at } => file.write_all_at(&[0; PAGE_BYTES as usize], at)?,
        Damage::Cut { len } => file.set_len(len)?,
    }
    Ok(())
}

/// A process works on the damaged file. It ends well, or says what is wrong, or waits for jobs that are not its to run.
/// Where it ends well, no job is gone, unless the damage was in the log, whose end is then taken for one that never came
/// to the disk, or a check finds it.
fn judge(arena: &mut Arena, database: &Path, in_log: bool, damage: Damage, jobs: usize) -> Result<()> {
    let mut settings = arena.settings();
    settings.database = database.to_owned();
    settings.work = Some(Work { lease: Duration::from_millis(500), ..Work::default() });
    settings.leave_when_done = true;
    let mut process = arena.start_alone("damaged", settings)?;
    let status = process.wait(DONE_WITHIN);
    arena.hit(if in_log { "damaged log" } else { "damaged file" }, Event::Ok, process.name());
    let end = End::of(&arena.records, process.name());
    let what = format!("{damage:?}{}", if in_log { " in the log" } else { "" });
    let problem = match (status, end) {
        (None, _) => {
            process.kill();
            // Under another name, or due in a hundred years, they wait as the file says.
            (readback::runnable(database)? > 0).then(|| "jobs that could run do not".to_owned())
        }
        (Some(status), Some(end)) if status.code() == Some(i32::from(GAVE_UP)) => (!CODES
            .contains(&end.code.as_str()))
        .then(|| format!("it is called {}: {}", end.code, end.message)),
        (Some(status), _) if status.success() => {
            let sound = readback::integrity(database).is_ok_and(|found| found.is_empty());
            // A row that cannot be read is there, and says so to whoever asks for it.
            let left = readback::rows(database).map_or(jobs, |rows| rows.len());
            (sound && !in_log && left < jobs)
                .then(|| format!("{} of {jobs} jobs are gone, and nobody says so", jobs - left))
        }
        (Some(status), end) => Some(format!("it ended with {status}: {end:?}")),
    };
    if let Some(problem) = problem {
        arena.problems.push(format!("{what}: {problem} ({})", process.name()));
    }
    Ok(())
}

fn copy_database(from: &Path, to: &Path) -> Result<()> {
    for suffix in ["", "-wal"] {
        let source = beside(from, suffix);
        if source.exists() {
            fs::copy(source, beside(to, suffix)).context("copy the database")?;
        }
    }
    Ok(())
}

fn beside(database: &Path, suffix: &str) -> PathBuf {
    let mut name = database.as_os_str().to_owned();
    name.push(suffix);
    name.into()
}
