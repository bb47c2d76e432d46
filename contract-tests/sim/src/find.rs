//! Playing seeds, and making what fails small.

use std::fmt;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::str::FromStr;

use anyhow::{Result, anyhow};
use serde::{Serialize, Serializer};
use taskport_engine::record::JobRecord;

use crate::backing::{Backing, File, Memory};
use crate::broken::Broken;
use crate::bug::Bug;
use crate::model::Rows;
use crate::world::{Failed, Figures, Looks, World};

/// The store that is simulated on.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum On {
    /// Tables in memory.
    #[default]
    Memory,
    /// A SQLite file.
    Sqlite,
    /// Both, without faults; they must end alike.
    Both,
}

impl On {
    /// The name on the command line.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Memory => "memory",
            Self::Sqlite => "sqlite",
            Self::Both => "both",
        }
    }
}

impl FromStr for On {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        [Self::Memory, Self::Sqlite, Self::Both]
            .into_iter()
            .find(|on| on.as_str() == text)
            .ok_or_else(|| format!("`{text}` is no store: memory, sqlite or both"))
    }
}

/// How a seed is played.
#[derive(Debug, Clone, Copy, Default)]
pub struct Options {
    /// On which store.
    pub on: On,
    /// How many steps, where not as many as the seed asks for.
    pub steps: Option<usize>,
    /// A defect to be found.
    pub bug: Option<Bug>,
}

/// What a run that kept every promise shows.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Good {
    /// What it did.
    pub figures: Figures,
    /// The same for two equal runs: of everything that was written down, and of the queues.
    pub checksum: u64,
}

/// A seed that breaks a promise.
#[derive(Debug, Clone)]
pub struct Failure {
    /// The seed.
    pub seed: u64,
    /// On which store.
    pub on: On,
    /// In how many steps.
    pub steps: usize,
    /// What was broken.
    pub broken: Broken,
    /// The last steps in words.
    pub words: Vec<String>,
}

impl Failure {
    /// The one command that does it again.
    pub fn replay(&self) -> String {
        let on = match self.on {
            On::Memory => String::new(),
            on => format!(" --store {}", on.as_str()),
        };
        format!("cargo xtask sim --seed {} --steps {}{on}", self.seed, self.steps)
    }
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "seed {} on {} breaks a promise in {} steps", self.seed, self.on.as_str(), self.steps)?;
        writeln!(f, "  {}", self.broken)?;
        writeln!(f, "the last steps:")?;
        for words in &self.words {
            writeln!(f, "  {words}")?;
        }
        write!(f, "replay: {}", self.replay())
    }
}

impl Serialize for Failure {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        #[derive(Serialize)]
        struct Shown<'a> {
            seed: u64,
            store: On,
            steps: usize,
            rule: &'a str,
            why: &'a str,
            replay: String,
        }
        let Broken { rule, why } = &self.broken;
        let shown =
            Shown { seed: self.seed, store: self.on, steps: self.steps, rule, why, replay: self.replay() };
        shown.serialize(serializer)
    }
}

/// Plays one seed.
///
/// # Errors
/// Where the machine does not let it run. A promise that was broken is the inner error.
pub fn run(seed: u64, options: Options) -> Result<Result<Good, Failure>> {
    play(seed, options, Looks::default())
}

/// Plays one seed and, where it fails, again with fewer steps, to answer with the fewest that still fail.
///
/// # Errors
/// Where the machine does not let it run. A promise that was broken is the inner error.
pub fn find(seed: u64, options: Options) -> Result<Result<Good, Failure>> {
    let failure = match run(seed, options)? {
        Err(failure) if options.steps.is_none() => failure,
        Err(failure) => return Ok(Err(in_words(seed, options, failure)?)),
        Ok(good) => return Ok(Ok(good)),
    };
    let fewest = fewest(failure, |steps| Ok(run(seed, Options { steps: Some(steps), ..options })?.err()))?;
    let steps = Some(fewest.steps);
    Ok(Err(in_words(seed, Options { steps, ..options }, fewest)?))
}

/// Halves the steps between one number that fails and one that does not.
fn fewest(mut failure: Failure, mut again: impl FnMut(usize) -> Result<Option<Failure>>) -> Result<Failure> {
    let mut good = 0;
    while good + 1 < failure.steps {
        let middle = good + (failure.steps - good) / 2;
        match again(middle)? {
            Some(smaller) => failure = smaller,
            None => good = middle,
        }
    }
    Ok(failure)
}

/// The same failure, told in words, and seen as early as rows show it.
fn in_words(seed: u64, options: Options, failure: Failure) -> Result<Failure> {
    let looks = Looks { closely: true, in_words: true };
    Ok(play(seed, options, looks)?.err().unwrap_or(failure))
}

fn play(seed: u64, options: Options, looks: Looks) -> Result<Result<Good, Failure>> {
    let faults = options.on != On::Both;
    match options.on {
        On::Memory => Ok(one(Memory::new(), seed, options, faults, looks)?.map(|(good, _)| good)),
        On::Sqlite => Ok(one(File::new()?, seed, options, faults, looks)?.map(|(good, _)| good)),
        On::Both => {
            let sqlite = one(File::new()?, seed, options, faults, looks)?;
            let memory = one(Memory::new(), seed, options, faults, looks)?;
            Ok(match (sqlite, memory) {
                (Err(failure), _) | (_, Err(failure)) => Err(failure),
                (Ok(sqlite), Ok(memory)) => compare(seed, &sqlite, &memory).map(|()| memory.0),
            })
        }
    }
}

fn compare(seed: u64, sqlite: &(Good, Rows), memory: &(Good, Rows)) -> Result<(), Failure> {
    let first = |what: &str, sqlite: String, memory: String| {
        (sqlite != memory).then(|| format!("{what} differs: SQLite has {sqlite}, memory {memory}"))
    };
    let jobs = sqlite.1.jobs.iter().zip(&memory.1.jobs);
    let jobs = jobs.filter_map(|(a, b)| first("a job", shown(a.1), shown(b.1)));
    let runs = sqlite.1.runs.iter().zip(&memory.1.runs);
    let runs = runs.filter_map(|(a, b)| first("a run", format!("{a:?}"), format!("{b:?}")));
    let lens = |rows: &Rows| format!("{} jobs, {} runs", rows.jobs.len(), rows.runs.len());
    let lens = first("the number of rows", lens(&sqlite.1), lens(&memory.1));
    let queues = first("the queues", format!("{:?}", sqlite.1.queues), format!("{:?}", memory.1.queues));
    let history = (sqlite.0.checksum != memory.0.checksum).then(|| "the histories differ".to_owned());
    let Some(why) = lens.into_iter().chain(jobs).chain(runs).chain(queues).chain(history).next() else {
        return Ok(());
    };
    let steps = usize::try_from(memory.0.figures.steps).unwrap_or(usize::MAX);
    Err(Failure { seed, on: On::Both, steps, broken: Broken::new("stores", why), words: Vec::new() })
}

/// A job without its place in the order of submits: a store that forgets sooner fills gaps that deleted jobs left.
fn shown(job: &JobRecord) -> String {
    format!("{:?}", JobRecord { seq: 0, position: 0, ..job.clone() })
}

type Ended = Result<(Good, Rows), Failure>;

fn one<B: Backing>(backing: B, seed: u64, options: Options, faults: bool, looks: Looks) -> Result<Ended> {
    let mut world = World::new(backing, seed, faults, options.bug, looks)?;
    let steps = options.steps.unwrap_or(world.steps());
    let mut taken = 0;
    let played = catch_unwind(AssertUnwindSafe(|| {
        while taken < steps {
            taken += 1;
            world.step().map_err(|failed| (failed, std::mem::take(&mut world.words)))?;
        }
        world.end()
    }));
    let failure = |broken, words| Failure { seed, on: options.on, steps: taken, broken, words };
    match played {
        Ok(Ok((end, figures))) => Ok(Ok((Good { figures, checksum: end.checksum }, end.rows))),
        Ok(Err((Failed::Broken(broken), words))) => Ok(Err(failure(broken, words))),
        Ok(Err((Failed::Unable(error), _))) => Err(error.context(format!("seed {seed} cannot be played"))),
        Err(panic) => {
            let text = panic.downcast_ref::<String>().cloned();
            let text = text.or_else(|| panic.downcast_ref::<&str>().map(|text| (*text).to_owned()));
            let text = text.ok_or_else(|| anyhow!("seed {seed} ended in a panic without words"))?;
            Ok(Err(failure(Broken::new("panic", text), Vec::new())))
        }
    }
}
