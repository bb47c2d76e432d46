//! A file of an earlier version: several processes bring it up to date at once while some of them are killed, and a
//! program of that version, where one is given, leaves it alone.

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;
use std::process::{Command, Stdio};
use std::thread;
use std::time::Duration;

use anyhow::{Context, Result, bail};
use rusqlite::Connection;
use taskport_abstraction::{Clock, SystemClock};
use taskport_checker::Event;

use super::{Ground, storm::unexpected};
use crate::arena::{Arena, Figures, Judged};
use crate::clock::monotonic_us;
use crate::readback;
use crate::victim::{Kind, Produce, Settings, Work};

const PRODUCERS: usize = 3;
const JOBS: u64 = 100;
const DONE_WITHIN: Duration = Duration::from_secs(60);
/// The first state that is an end.
const ENDED: i64 = 5;

/// Brings copies of the file of version 1 up to date again and again.
pub(super) fn run(ground: &Ground<'_>) -> Result<Judged> {
    let mut arena = ground.arena()?;
    // By today's clock what ended then may have been removed long since.
    arena.set_clock(taken_at_us()? - SystemClock.now().as_micros())?;
    let until = ground.until_us();
    let mut figures = Figures::default();
    let mut round = 0;
    while round == 0 || monotonic_us() < until {
        round += 1;
        let database = ground.dir.join(format!("old-{round}.db"));
        fs::write(&database, GOLDEN).context("copy the file of version 1")?;
        let before = states_of_version_1(&database)?;
        let old = ground.old_binary.map(|program| Old::begin(program, ground.dir, &database)).transpose()?;
        let finished = migrate_under_fire(&mut arena, &database)?;
        if let Some(old) = old {
            arena.problems.extend(old.end(&database)?);
            arena.hit_nobody("old program beside");
        }
        check(&mut arena, &database, &before, finished)?;
        figures.jobs += before.len() as u64 + finished * JOBS;
    }
    figures.faults = arena.faults.values().sum();
    Ok(Judged { figures, faults: arena.faults, problems: arena.problems, examples: Vec::new() })
}

const GOLDEN: &[u8] = include_bytes!("../../../../engine/stores/sqlite/tests/golden/v1.db");
const SAID: &str = include_str!("../../../../engine/stores/sqlite/tests/golden/v1.json");

/// When the file was left as it is.
fn taken_at_us() -> Result<i64> {
    #[derive(serde::Deserialize)]
    struct Said {
        taken_at: i64,
    }
    let said: Said = serde_json::from_str(SAID).context("what was said of the file")?;
    Ok(said.taken_at)
}

/// The state of each job, by the row's number.
fn states_of_version_1(database: &Path) -> Result<BTreeMap<i64, i64>> {
    let connection = Connection::open(database)?;
    let mut statement = connection.prepare("SELECT seq, state FROM jobs")?;
    let states = statement.query_map([], |row| Ok((row.get(0)?, row.get(1)?)))?;
    Ok(states.collect::<Result<_, _>>()?)
}

/// Several processes open the file at once, and some die of it. Returns how many producers submitted all of their jobs.
fn migrate_under_fire(arena: &mut Arena, database: &Path) -> Result<u64> {
    let mut processes = Vec::new();
    for _ in 0..PRODUCERS {
        let produce = Produce {
            seed: arena.rng.u64(..),
            jobs: Some(JOBS),
            batch: 20,
            backlog: 10_000,
            mix: vec![(Kind::Plain, 1)],
        };
        let settings = Settings { database: database.to_owned(), produce: Some(produce), ..arena.settings() };
        processes.push(arena.start_alone("new", settings)?);
    }
    thread::sleep(Duration::from_micros(arena.rng.u64(5_000..60_000)));
    if let Some(mut process) = processes.pop() {
        process.kill();
        arena.hit("killed while migrating", Event::Ok, process.name());
    }
    let mut finished = 0;
    for mut process in processes {
        match process.wait(DONE_WITHIN) {
            Some(status) if status.success() => finished += 1,
            Some(status) => {
                let problem = unexpected(arena, process.name(), status);
                arena.problems.push(problem);
            }
            None => arena.problems.push(format!("{} did not end", process.name())),
        }
    }
    let settings =
        Settings { database: database.to_owned(), work: Some(Work::default()), ..arena.settings() };
    let mut worker = arena.start_alone("worker", settings)?;
    thread::sleep(Duration::from_millis(300));
    worker.terminate();
    if let Some(status) = worker.wait(DONE_WITHIN).filter(|status| !status.success()) {
        let problem = unexpected(arena, worker.name(), status);
        arena.problems.push(problem);
    }
    Ok(finished)
}

/// Every job is still there, and what had ended is as it was.
fn check(arena: &mut Arena, database: &Path, before: &BTreeMap<i64, i64>, finished: u64) -> Result<()> {
    let after: BTreeMap<i64, i64> = readback::states(database)?.into_iter().collect();
    for (seq, state) in before {
        match after.get(seq) {
            None => arena.problems.push(format!("the job in row {seq} is gone")),
            Some(now) if *state >= ENDED && now != state => {
                arena.problems.push(format!("the job in row {seq} had ended as {state} and is {now}"));
            }
            Some(_) => {}
        }
    }
    let expected = before.len() as u64 + finished * JOBS;
    if (after.len() as u64) < expected {
        arena.problems.push(format!("{} jobs are left of {expected}", after.len()));
    }
    arena.problems.extend(readback::integrity(database)?);
    Ok(())
}

/// A worker of an earlier release, which has the file open while it is brought up to date.
#[derive(Debug)]
struct Old {
    process: std::process::Child,
    program: std::path::PathBuf,
    dir: std::path::PathBuf,
}

impl Old {
    fn begin(program: &Path, dir: &Path, database: &Path) -> Result<Self> {
        let config =
            format!("[backends.main]\nkind = \"native\"\nurl = \"sqlite://{}\"\n", database.display());
        fs::write(dir.join("taskport.toml"), config)?;
        let process = Command::new(program)
            .arg("worker")
            .current_dir(dir)
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .context("start the old program")?;
        thread::sleep(Duration::from_millis(300));
        Ok(Self { process, program: program.to_owned(), dir: dir.to_owned() })
    }

    /// Ends it, and has another one try: it must refuse the file by its version and leave it as it is.
    fn end(mut self, database: &Path) -> Result<Vec<String>> {
        let mut problems = Vec::new();
        if let Some(status) = self.process.try_wait()?
            && status.code().is_none()
        {
            problems.push(format!("the old program ended with {status}"));
        }
        let _gone = self.process.kill();
        self.process.wait()?;
        let rows = readback::states(database)?;
        let refused = Command::new(&self.program)
            .args(["queue", "list"])
            .current_dir(&self.dir)
            .stdin(Stdio::null())
            .output()
            .context("run the old program")?;
        let said = String::from_utf8_lossy(&refused.stderr);
        if refused.status.success() || !said.contains("E-025") {
            problems.push(format!("the old program ended with {} and said: {said}", refused.status));
        }
        if rows != readback::states(database)? {
            bail!("the old program changed a file that is newer than it");
        }
        Ok(problems)
    }
}
