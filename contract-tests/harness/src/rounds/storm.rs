//! Several producers and workers on one file, hit again and again.

use std::process::ExitStatus;
use std::thread;
use std::time::Duration;

use anyhow::Result;

use super::{Ground, producer};
use crate::arena::{Arena, Judged};
use crate::clock::monotonic_us;
use crate::victim::{End, Work};

const PRODUCERS: usize = 2;
const WORKERS: usize = 3;
/// Longer than two leases, and shorter than another process waits for the file that a paused one may hold.
const PAUSE_US: u64 = 3_000_000;
/// Somebody has to go on meanwhile.
const ASLEEP_MAX: usize = 2;
const HOUR_US: i64 = 3_600_000_000;

/// What may happen to a process.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Blow {
    /// `SIGKILL` for its process group.
    Kill,
    /// `SIGSTOP` for three leases, then `SIGCONT`.
    Pause,
    /// `SIGTERM`.
    Terminate,
    /// `SIGTERM` twice.
    TerminateTwice,
    /// All clocks jump forward or back by an hour.
    Jump,
}

/// Workers and producers are killed.
pub(super) fn kill(ground: &Ground<'_>) -> Result<Judged> {
    storm(ground, &[Blow::Kill])
}

/// Workers and producers sleep past their leases and wake up.
pub(super) fn pause(ground: &Ground<'_>) -> Result<Judged> {
    storm(ground, &[Blow::Pause])
}

/// Workers and producers are asked to stop, once and twice.
pub(super) fn terminate(ground: &Ground<'_>) -> Result<Judged> {
    storm(ground, &[Blow::Terminate, Blow::TerminateTwice])
}

/// The clocks jump.
pub(super) fn clock(ground: &Ground<'_>) -> Result<Judged> {
    storm(ground, &[Blow::Jump])
}

/// Any of it.
pub(super) fn everything(ground: &Ground<'_>) -> Result<Judged> {
    storm(ground, &[Blow::Kill, Blow::Kill, Blow::Pause, Blow::Terminate, Blow::TerminateTwice, Blow::Jump])
}

fn storm(ground: &Ground<'_>, blows: &[Blow]) -> Result<Judged> {
    let mut arena = ground.arena()?;
    for _ in 0..PRODUCERS {
        let seed = arena.rng.u64(..);
        arena.add_producer(producer(seed))?;
    }
    for _ in 0..WORKERS {
        arena.add_worker(Work::default())?;
    }
    let mut storm = Storm { arena, offset_us: 0, offset_max_us: 0, asleep: Vec::new(), leaving: Vec::new() };
    if blows.contains(&Blow::Jump) {
        // Whoever promotes a job and whoever starts it may live in different hours.
        storm.arena.clock_bound_us += HOUR_US.unsigned_abs() * 2;
    }
    let until = ground.until_us();
    while monotonic_us() < until {
        thread::sleep(Duration::from_millis(storm.arena.rng.u64(20..120)));
        storm.wake(false);
        storm.replace()?;
        let blow = blows[storm.arena.rng.usize(0..blows.len())];
        storm.strike(blow)?;
    }
    storm.calm()
}

/// A round under way.
#[derive(Debug)]
struct Storm {
    arena: Arena,
    offset_us: i64,
    offset_max_us: i64,
    /// Members that are held, and until when.
    asleep: Vec<(usize, u64)>,
    /// Names of processes that were asked to stop.
    leaving: Vec<String>,
}

impl Storm {
    fn strike(&mut self, blow: Blow) -> Result<()> {
        if blow == Blow::Jump {
            return self.jump();
        }
        let leaving = &self.leaving;
        let mut members = self.arena.running();
        members.retain(|member| {
            self.arena
                .process(*member)
                .is_some_and(|process| !leaving.iter().any(|name| name == process.name()))
        });
        if members.is_empty() {
            return Ok(());
        }
        let member = members[self.arena.rng.usize(0..members.len())];
        match blow {
            Blow::Kill => self.arena.kill(member, "kill"),
            Blow::Pause if self.asleep.len() >= ASLEEP_MAX => {}
            Blow::Pause => {
                self.arena.pause(member);
                self.asleep.push((member, monotonic_us() + PAUSE_US));
            }
            Blow::Terminate => self.terminate(member, 1),
            Blow::TerminateTwice => self.terminate(member, 2),
            Blow::Jump => {}
        }
        Ok(())
    }

    fn terminate(&mut self, member: usize, times: u32) {
        let Some(process) = self.arena.process(member) else { return };
        for _ in 0..times {
            process.terminate();
        }
        self.leaving.push(process.name().to_owned());
        // It excuses nothing: what is handed back is written down as such.
        self.arena.hit_nobody(if times == 1 { "sigterm" } else { "sigterm twice" });
    }

    fn jump(&mut self) -> Result<()> {
        let target = [0, HOUR_US, -HOUR_US][self.arena.rng.usize(0..3)];
        if target != self.offset_us {
            self.offset_us = target;
            self.offset_max_us = self.offset_max_us.max(target);
            self.arena.jump(target, "clock")?;
        }
        Ok(())
    }

    /// Wakes those whose time has come, or all.
    fn wake(&mut self, all: bool) {
        let now = monotonic_us();
        let (awake, asleep) = self.asleep.drain(..).partition(|(_, until)| all || *until <= now);
        self.asleep = asleep;
        for (member, _) in awake {
            self.arena.resume(member, "pause");
        }
    }

    /// Gives a new process to members whose process has ended.
    fn replace(&mut self) -> Result<()> {
        let leaving = &self.leaving;
        self.arena.revive(|arena, name, status| {
            let asked = leaving.iter().any(|leaving| leaving == name);
            if !asked || !status.success() {
                let problem = unexpected(arena, name, status);
                arena.problems.push(problem);
            }
        })
    }

    fn calm(mut self) -> Result<Judged> {
        self.wake(true);
        while !self.leaving.is_empty() && self.arena.running().len() < self.arena.len() {
            self.replace()?;
            thread::sleep(Duration::from_millis(20));
        }
        if self.offset_max_us != 0 || self.offset_us != 0 {
            // What was put off by a clock that was ahead comes due.
            self.arena.jump(self.offset_max_us + 60_000_000, "clock")?;
        }
        self.replace()?;
        self.arena.finish()
    }
}

/// What to say of a process that ended when nobody asked it to, or ended badly.
pub(super) fn unexpected(arena: &Arena, name: &str, status: ExitStatus) -> String {
    let end = End::of(&arena.records, name);
    format!("{name} ended with {status}: {end:?}")
}
