//! The scenarios: which processes there are, and what is done to them.

mod damage;
mod disk;
mod io_error;
mod limits;
mod malformed;
mod points;
mod poison;
mod power;
mod schedulers;
mod storm;
mod versions;

use std::path::Path;

use anyhow::Result;

pub use self::power::cuts as power_cuts;
use crate::arena::{Arena, Judged};
use crate::clock::monotonic_us;
use crate::victim::{Kind, Produce};

/// Where and how long one round takes place.
#[derive(Debug, Clone)]
pub struct Ground<'a> {
    /// The program whose processes are broken: `taskport-harness`.
    pub program: &'a Path,
    /// An empty directory.
    pub dir: &'a Path,
    /// A program of an earlier release, to run beside this one.
    pub old_binary: Option<&'a Path>,
    /// What everything random is drawn from.
    pub seed: u64,
    /// How long it is to inject faults, in seconds.
    pub seconds: f64,
}

impl Ground<'_> {
    /// The arena of this round.
    ///
    /// # Errors
    /// As [`Arena::new`].
    pub fn arena(&self) -> Result<Arena> {
        Arena::new(self.program, self.dir, self.seed)
    }

    /// When the faults end, by the monotonic clock.
    fn until_us(&self) -> u64 {
        monotonic_us() + Self::micros(self.seconds)
    }

    #[expect(
        clippy::cast_possible_truncation,
        clippy::cast_sign_loss,
        reason = "a round takes minutes at most"
    )]
    fn micros(seconds: f64) -> u64 {
        (seconds.max(0.0) * 1e6) as u64
    }
}

/// A kind of round.
#[derive(Debug, Clone, Copy)]
pub struct Scenario {
    /// Its name, for `--scenario`.
    pub name: &'static str,
    /// How long its faults take in a short campaign, in seconds.
    pub seconds: f64,
    /// Whether one round shows all that it can show.
    pub once: bool,
    /// Runs one round.
    pub run: fn(&Ground<'_>) -> Result<Judged>,
}

/// Every scenario, in the order in which a campaign runs them.
pub const SCENARIOS: &[Scenario] = &[
    Scenario { name: "kill", seconds: 12.0, once: false, run: storm::kill },
    Scenario { name: "power-cut", seconds: 10.0, once: false, run: power::full },
    Scenario { name: "points", seconds: 25.0, once: false, run: points::sweep },
    Scenario { name: "pause", seconds: 10.0, once: false, run: storm::pause },
    Scenario { name: "io-error", seconds: 20.0, once: false, run: io_error::sweep },
    Scenario { name: "terminate", seconds: 8.0, once: false, run: storm::terminate },
    Scenario { name: "clock", seconds: 8.0, once: false, run: storm::clock },
    Scenario { name: "schedulers", seconds: 6.0, once: false, run: schedulers::run },
    Scenario { name: "disk-full", seconds: 8.0, once: false, run: disk::full },
    Scenario { name: "power-cut-normal", seconds: 6.0, once: false, run: power::normal },
    Scenario { name: "versions", seconds: 4.0, once: false, run: versions::run },
    Scenario { name: "damage", seconds: 8.0, once: false, run: damage::run },
    Scenario { name: "malformed", seconds: 0.0, once: true, run: malformed::run },
    Scenario { name: "limits", seconds: 0.0, once: true, run: limits::run },
    Scenario { name: "poison", seconds: 0.0, once: true, run: poison::run },
    Scenario { name: "everything", seconds: 12.0, once: false, run: storm::everything },
];

/// Jobs of every well-behaved kind.
const MIX: &[(Kind, u32)] = &[
    (Kind::Plain, 840),
    (Kind::Ordered, 10),
    (Kind::Bounded, 10),
    (Kind::Slow, 20),
    (Kind::Later, 30),
    (Kind::Flaky, 30),
    (Kind::Doomed, 10),
    (Kind::Twice, 20),
    (Kind::Unique, 15),
    (Kind::Cancelled, 10),
    (Kind::Expiring, 5),
];

/// Submits until it is told to stop.
fn producer(seed: u64) -> Produce {
    Produce { seed, jobs: None, batch: 500, backlog: 4_000, mix: MIX.to_vec() }
}
