//! The simulated world: processes on one store, their clocks, and one step after the other.

mod end;
mod report;

use anyhow::Result;
use fastrand::Rng;
use taskport_abstraction::{Certainty, Timestamp};
use taskport_checker::{Event, Operation};
use taskport_engine::{Read as _, Store, Transaction};

use self::report::Report;
use crate::backing::Backing;
use crate::broken::{Broken, hold};
use crate::bug::Bug;
use crate::faults::Fault;
use crate::history::{History, Scribe};
use crate::model::{Model, Rows};
use crate::plan::{EPOCH, JUMP_US, Plan};
use crate::process::{Clock, Process};
use crate::store::SimStore;
use crate::turn::{Deed, Made, Turn};

/// How often every row is looked at, in steps.
const AUDIT_EVERY: usize = 50;
/// How many of the last steps are kept in words.
const WORDS_MAX: usize = 12;

/// What is counted over a run.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, serde::Serialize)]
pub struct Figures {
    /// Steps taken.
    pub steps: u64,
    /// Transactions that counted.
    pub commits: u64,
    /// Jobs that were taken.
    pub jobs: u64,
    /// Runs of workflows that were started.
    pub runs: u64,
    /// Attempts that were started.
    pub attempts: u64,
    /// Faults that struck.
    pub faults: u64,
}

impl std::ops::AddAssign for Figures {
    fn add_assign(&mut self, other: Self) {
        self.steps += other.steps;
        self.commits += other.commits;
        self.jobs += other.jobs;
        self.runs += other.runs;
        self.attempts += other.attempts;
        self.faults += other.faults;
    }
}

/// How the world is to be looked at. It changes nothing in it.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct Looks {
    /// Compares every row after every step, to find the first that is wrong.
    pub(crate) closely: bool,
    /// Keeps the last steps in words.
    pub(crate) in_words: bool,
}

pub(crate) struct World<B: Backing> {
    backing: B,
    seed: u64,
    plan: Plan,
    rng: Rng,
    bug: Option<Bug>,
    looks: Looks,
    processes: Vec<Process<B::Store>>,
    lives: u64,
    model: Model,
    history: History,
    made: Made,
    elapsed_us: i64,
    /// The least and the most that any clock was ahead.
    ahead_us: (i64, i64),
    pub(crate) figures: Figures,
    pub(crate) words: Vec<String>,
}

impl<B: Backing> World<B> {
    pub(crate) fn new(
        backing: B,
        seed: u64,
        with_faults: bool,
        bug: Option<Bug>,
        looks: Looks,
    ) -> Result<Self> {
        let mut rng = Rng::with_seed(seed);
        let plan = Plan::draw(&mut rng, with_faults);
        let mut world = Self {
            backing,
            seed,
            plan,
            rng,
            bug,
            looks,
            processes: Vec::new(),
            lives: 0,
            model: Model::default(),
            history: History::default(),
            made: Made::default(),
            elapsed_us: 0,
            ahead_us: (0, 0),
            figures: Figures::default(),
            words: Vec::new(),
        };
        for _ in 0..world.plan.processes {
            let process = world.birth(Clock::default())?;
            world.processes.push(process);
        }
        Ok(world)
    }

    /// How many steps the seed asks for.
    pub(crate) fn steps(&self) -> usize {
        self.plan.steps
    }

    /// One step of one process.
    pub(crate) fn step(&mut self) -> Result<(), Failed> {
        self.figures.steps += 1;
        self.pass_time();
        let at = self.rng.usize(0..self.processes.len());
        let roll = self.rng.u16(0..1_000);
        let (crashes, jumps, sleeps) = (self.plan.crashes, self.plan.jumps, self.plan.sleeps);
        if roll < crashes {
            self.crash(at)?;
        } else if roll < crashes + jumps {
            self.jump(at);
        } else if roll < crashes + jumps + sleeps {
            self.sleep(at);
        } else if self.processes[at].asleep_until_us > self.elapsed_us {
            self.say(at, || "sleeps".to_owned());
        } else if self.rng.u8(0..12) == 0 {
            self.look(at)?;
        } else {
            self.transact(at)?;
        }
        if self.looks.closely || (self.figures.steps as usize).is_multiple_of(AUDIT_EVERY) {
            self.audit()?;
        }
        Ok(())
    }

    pub(crate) fn audit(&mut self) -> Result<(), Broken> {
        let rows = self.rows();
        self.model.audit(&rows)
    }

    /// Every row that is committed.
    pub(crate) fn rows(&self) -> Rows {
        self.processes[0].below.peek(Rows::read)
    }

    fn pass_time(&mut self) {
        let ms = if self.rng.u8(0..25) == 0 {
            self.rng.u64(0..2 * self.plan.lease_s * 1_000)
        } else {
            self.rng.u64(0..self.plan.step_ms_max)
        };
        self.elapsed_us += i64::try_from(ms * 1_000).unwrap_or(0);
    }

    /// What the process takes for the present time.
    fn now(&mut self, at: usize) -> Timestamp {
        let ahead = self.processes[at].clock.ahead_us(self.elapsed_us);
        self.ahead_us = (self.ahead_us.0.min(ahead), self.ahead_us.1.max(ahead));
        self.processes[at].clock.now(self.elapsed_us)
    }

    /// A new process, or one that comes back.
    fn birth(&mut self, clock: Clock) -> Result<Process<B::Store>> {
        self.lives += 1;
        let below = self.backing.open()?;
        let config = self.plan.config(self.seed ^ self.lives);
        let now = clock.now(self.elapsed_us);
        let name = format!("p{}", self.lives);
        let process = Process::open(name, below, self.bug, config, clock, now)?;
        // An engine ticks once when it opens.
        self.model.ticked(now, true);
        self.model.commit();
        Ok(process)
    }

    fn crash(&mut self, at: usize) -> Result<(), Failed> {
        let clock = self.processes[at].clock;
        self.hit(at);
        self.say(at, || "is killed".to_owned());
        // The process before is gone before the one after opens the store.
        drop(self.processes.remove(at));
        let process = self.birth(clock)?;
        self.processes.insert(at, process);
        Ok(())
    }

    fn jump(&mut self, at: usize) {
        let by_us = self.rng.i64(-JUMP_US..=JUMP_US) * i64::from(self.rng.bool());
        let drift_ppm = self.rng.i64(-20_000..20_000);
        self.hit(at);
        self.say(at, || format!("sets its clock by {by_us} us, drifting by {drift_ppm} ppm"));
        self.now(at);
        let elapsed_us = self.elapsed_us;
        self.processes[at].clock.set(by_us, drift_ppm, elapsed_us);
    }

    fn sleep(&mut self, at: usize) {
        let ms = self.rng.u64(0..3 * self.plan.lease_s * 1_000);
        self.hit(at);
        self.say(at, || format!("falls asleep for {ms} ms"));
        self.processes[at].asleep_until_us = self.elapsed_us + i64::try_from(ms * 1_000).unwrap_or(0);
    }

    fn hit(&mut self, at: usize) {
        self.figures.faults += 1;
        let target = self.processes[at].name.clone();
        self.nemesis(Some(target));
    }

    fn nemesis(&mut self, target: Option<String>) {
        self.history.pass(u64::try_from(self.elapsed_us).unwrap_or(0));
        let scribe = Scribe { process: "nemesis", wall_us: EPOCH.as_micros() + self.elapsed_us };
        self.history.line(scribe, Operation::Fault, Event::Ok, None).target = target;
    }

    /// The process asks, without a transaction, whether it has anything to do.
    fn look(&mut self, at: usize) -> Result<(), Broken> {
        let process = &mut self.processes[at];
        process.faults().arm(None);
        let answers = (
            process.engine.changed_elsewhere(),
            process.engine.next_due(),
            process.engine.has_ready(&self.plan.queues),
        );
        self.say(at, || format!("looks: {answers:?}"));
        let (Ok(_), Ok(due), Ok(ready)) = answers else {
            return Err(Broken::new("refusal", format!("a look failed by itself: {answers:?}")));
        };
        let below = &self.processes[at].below;
        let next = below.peek(Store::next_due);
        let in_time = next.is_none() || due.is_some_and(|due| Some(due) <= next);
        hold!(in_time, "timer", "something is due at {next:?}, and the process would wake at {due:?}");
        let queues = below.peek(|rows| rows.queues());
        let waits = queues.iter().any(|queue| queue.counts.queued > 0 && !queue.paused);
        let bounded = self.plan.queues.iter().any(|queue| self.model.is_bounded(queue));
        hold!(ready == waits || bounded, "ready", "jobs wait: {waits}, and the process was told {ready}");
        Ok(())
    }

    fn transact(&mut self, at: usize) -> Result<(), Broken> {
        let fault = self.plan.fault(&mut self.rng);
        let requests = self.rng.u8(1..=5);
        let ticks = self.rng.u8(0..5) > 0;
        let abandons = self.rng.u8(0..100) < self.plan.abandons;
        self.group(at, fault, abandons, |turn, tx| {
            if ticks {
                turn.tick(tx)?;
            }
            for _ in 0..requests {
                turn.request(tx)?;
            }
            Ok(())
        })
    }

    /// One group commit of one process.
    fn group(
        &mut self,
        at: usize,
        fault: Option<Fault>,
        abandons: bool,
        requests: impl FnOnce(
            &mut Turn<'_, B::Store>,
            &mut Transaction<'_, SimStore<B::Store>>,
        ) -> Result<(), Broken>,
    ) -> Result<(), Broken> {
        let now = self.now(at);
        let process = &mut self.processes[at];
        process.faults().arm(fault);
        let mut turn = Turn {
            plan: &self.plan,
            rng: &mut self.rng,
            model: &mut self.model,
            made: &mut self.made,
            below: &process.below,
            faults: process.faults_handle(),
            process: &process.name,
            hands: &process.hands,
            spent: &process.spent,
            now,
            deeds: Vec::new(),
            words: self.looks.in_words.then(String::new),
        };
        let committed = match process.engine.begin(now) {
            Ok(mut tx) => match requests(&mut turn, &mut tx) {
                Ok(()) if abandons => Ok(None),
                Ok(()) => Ok(Some(tx.commit())),
                Err(broken) => Err(broken),
            },
            Err(error) => Ok(Some(Err(error))),
        };
        let (deeds, words) = (turn.deeds, turn.words.unwrap_or_default());
        let struck = process.faults().struck();
        let applied = process.faults().applied();
        let committed = match committed {
            Ok(committed) => committed,
            Err(broken) => {
                self.say(at, || format!("at {now}{words}"));
                return Err(broken);
            }
        };
        let report = match committed {
            None => Report::Refused,
            Some(Ok(_)) if struck => {
                return Err(Broken::new("swallowed", format!("a commit counts after {fault:?}")));
            }
            Some(Ok(_)) => Report::Counts,
            Some(Err(error)) => {
                hold!(struck, "refusal", "a transaction failed by itself: {error}");
                let unknown = matches!(fault, Some(Fault::CommitLost { .. }));
                let says_so = (error.certainty() == Certainty::MaybeApplied) == unknown;
                hold!(says_so, "certainty", "after {fault:?}: {error}");
                if unknown { Report::Unknown } else { Report::Refused }
            }
        };
        if applied && !abandons {
            self.model.commit();
            self.figures.commits += 1;
        } else {
            self.model.rollback();
        }
        if struck {
            self.figures.faults += 1;
            self.nemesis(None);
        }
        self.say(at, || format!("at {now}{words}; {report:?}, applied {applied}"));
        self.write_down(at, now, report, deeds);
        Ok(())
    }

    fn say(&mut self, at: usize, what: impl FnOnce() -> String) {
        if self.looks.in_words {
            if self.words.len() == WORDS_MAX {
                self.words.remove(0);
            }
            let process = &self.processes[at].name;
            self.words.push(format!("{:4} {process} {}", self.figures.steps, what()));
        }
    }
}

/// Why a simulation did not come to a good end.
#[derive(Debug)]
pub(crate) enum Failed {
    /// A promise was broken.
    Broken(Broken),
    /// The machine does not let it run.
    Unable(anyhow::Error),
}

impl From<Broken> for Failed {
    fn from(broken: Broken) -> Self {
        Self::Broken(broken)
    }
}

impl From<anyhow::Error> for Failed {
    fn from(error: anyhow::Error) -> Self {
        Self::Unable(error)
    }
}
