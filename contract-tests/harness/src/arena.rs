//! One round: processes on one database, what is done to them, and the verdict.

use std::collections::BTreeMap;
use std::fs::{self, File};
use std::io::BufReader;
use std::path::{Path, PathBuf};
use std::thread;
use std::time::Duration;

use anyhow::{Context, Result, bail};
use fastrand::Rng;
use taskport_abstraction::{JobId, Timestamp};
use taskport_checker::{Checker, Demands, Event, Operation, Rule, Verdict};

use crate::clock::OffsetClock;
use crate::history::History;
use crate::process::Process;
use crate::readback;
use crate::victim::{End, Produce, Settings, Work};

/// How long the queues may take to drain once everything is healed.
const DRAIN_WITHIN: Duration = Duration::from_secs(120);
/// How long a process may take to stop beyond its grace period.
const STOP_WITHIN: Duration = Duration::from_secs(15);

/// A kind of fault, as it is counted.
pub type FaultKind = &'static str;

/// One round.
#[derive(Debug)]
pub struct Arena {
    /// What is drawn in this round is drawn from here.
    pub rng: Rng,
    /// The directory of the round.
    pub dir: PathBuf,
    /// Where histories go.
    pub records: PathBuf,
    /// The database.
    pub database: PathBuf,
    /// What the wall clocks may differ by.
    pub clock_bound_us: u64,
    /// How often each kind of fault was injected.
    pub faults: BTreeMap<FaultKind, u64>,
    /// What went wrong besides the rules of the checker.
    pub problems: Vec<String>,
    program: PathBuf,
    clock_file: PathBuf,
    nemesis: History,
    members: Vec<Member>,
    incarnations: BTreeMap<String, u32>,
}

/// A part in the round, and the process that plays it now.
#[derive(Debug)]
struct Member {
    part: String,
    settings: Settings,
    process: Option<Process>,
}

/// What a round has shown.
#[derive(Debug)]
pub struct Judged {
    /// The figures of the checker.
    pub figures: Figures,
    /// How often each kind of fault was injected.
    pub faults: BTreeMap<FaultKind, u64>,
    /// What went wrong besides.
    pub problems: Vec<String>,
    /// Jobs that broke a rule, and objections to the round as a whole.
    pub examples: Vec<String>,
}

impl Judged {
    /// Whether nothing went wrong, and something was shown.
    pub fn passed(&self) -> bool {
        let figures = &self.figures;
        let shown = figures.jobs > 0 && figures.faults > 0;
        shown
            && figures.broken.values().all(|count| *count == 0)
            && self.problems.is_empty()
            && self.examples.is_empty()
    }
}

/// What the rounds add up to.
#[derive(Debug, Clone, Default)]
pub struct Figures {
    /// Jobs that were acknowledged.
    pub jobs: u64,
    /// Faults that were injected.
    pub faults: u64,
    /// Starts of handlers beyond the first of their job.
    pub repeats: u64,
    /// Those with a recorded cause.
    pub explained: u64,
    /// Jobs that ran although no submit of theirs was acknowledged, which may happen.
    pub recovered: u64,
    /// How often each rule was broken.
    pub broken: BTreeMap<Rule, u64>,
}

impl Figures {
    /// Adds those of another round.
    pub fn add(&mut self, other: &Self) {
        self.jobs += other.jobs;
        self.faults += other.faults;
        self.repeats += other.repeats;
        self.explained += other.explained;
        self.recovered += other.recovered;
        for (rule, count) in &other.broken {
            *self.broken.entry(*rule).or_default() += count;
        }
    }

    fn of(verdict: &Verdict) -> Self {
        Self {
            jobs: verdict.jobs,
            faults: verdict.faults,
            repeats: verdict.repeats,
            explained: verdict.explained,
            recovered: verdict.recovered,
            broken: verdict.broken.clone(),
        }
    }
}

impl Arena {
    /// A round in the empty directory `dir`, with processes of `program`.
    ///
    /// # Errors
    /// Those of the file system.
    pub fn new(program: &Path, dir: &Path, seed: u64) -> Result<Self> {
        let records = dir.join("records");
        fs::create_dir_all(&records).context("make the directory of the round")?;
        let clock_file = dir.join("clock");
        OffsetClock::set(&clock_file, 0)?;
        Ok(Self {
            rng: Rng::with_seed(seed),
            dir: dir.to_owned(),
            database: dir.join("jobs.db"),
            clock_bound_us: Demands::default().clock_bound_us,
            faults: BTreeMap::new(),
            problems: Vec::new(),
            program: program.to_owned(),
            nemesis: History::create(&records, "history", "nemesis", &OffsetClock::default())?,
            records,
            clock_file,
            members: Vec::new(),
            incarnations: BTreeMap::new(),
        })
    }

    /// What a process of this round is told, before it has a part.
    pub fn settings(&self) -> Settings {
        let mut settings = Settings::new(self.database.clone(), self.records.clone());
        settings.clock = Some(self.clock_file.clone());
        settings
    }

    /// Adds a producer.
    ///
    /// # Errors
    /// Where the process cannot be started.
    pub fn add_producer(&mut self, produce: Produce) -> Result<()> {
        let mut settings = self.settings();
        settings.produce = Some(produce);
        self.add("producer", settings)
    }

    /// Adds a worker.
    ///
    /// # Errors
    /// As [`add_producer`](Self::add_producer).
    pub fn add_worker(&mut self, work: Work) -> Result<()> {
        let mut settings = self.settings();
        settings.work = Some(work);
        self.add("worker", settings)
    }

    /// Adds a member of the round; `part` is the beginning of its name.
    ///
    /// # Errors
    /// As [`add_producer`](Self::add_producer).
    pub fn add(&mut self, part: &str, settings: Settings) -> Result<()> {
        let same = self.members.iter().filter(|member| member.part.starts_with(part)).count();
        self.members.push(Member { part: format!("{part}{}", same + 1), settings, process: None });
        self.start(self.members.len() - 1)
    }

    /// How many members there are.
    pub fn len(&self) -> usize {
        self.members.len()
    }

    /// Whether nobody is there.
    pub fn is_empty(&self) -> bool {
        self.members.is_empty()
    }

    /// The process of a member.
    pub fn process(&mut self, member: usize) -> Option<&mut Process> {
        self.members[member].process.as_mut()
    }

    /// The members whose process runs and is not held.
    pub fn running(&mut self) -> Vec<usize> {
        let is_running = |process: &mut Process| !process.is_paused() && process.ended().is_none();
        (0..self.members.len())
            .filter(|member| self.members[*member].process.as_mut().is_some_and(is_running))
            .collect()
    }

    /// Starts a process for a member that has none.
    ///
    /// # Errors
    /// Where the operating system refuses.
    pub fn start(&mut self, member: usize) -> Result<()> {
        let Member { part, settings, process } = &mut self.members[member];
        let number = self.incarnations.entry(part.clone()).or_default();
        *number += 1;
        settings.name = format!("{part}.{number}");
        *process = Some(Process::start(&self.program, settings).context("start a victim")?);
        Ok(())
    }

    /// Starts a process that is no member of the round.
    ///
    /// # Errors
    /// As [`add_producer`](Self::add_producer).
    pub fn start_alone(&mut self, part: &str, mut settings: Settings) -> Result<Process> {
        let number = self.incarnations.entry(part.to_owned()).or_default();
        *number += 1;
        settings.name = format!("{part}.{number}");
        Process::start(&self.program, &settings).context("start a victim")
    }

    /// Kills the process of a member as a part of a larger fault.
    pub fn kill_with_all(&mut self, member: usize) {
        if let Some(mut process) = self.members[member].process.take() {
            process.kill();
            self.note(Event::Info, Some(process.name()));
        }
    }

    /// Kills the process of a member, and its group, without a word.
    pub fn kill(&mut self, member: usize, kind: FaultKind) {
        if let Some(mut process) = self.members[member].process.take() {
            process.kill();
            self.hit(kind, Event::Ok, process.name());
        }
    }

    /// Holds a member's process still.
    pub fn pause(&mut self, member: usize) {
        if let Some(process) = &mut self.members[member].process {
            process.pause();
            let name = process.name().to_owned();
            self.note(Event::Info, Some(&name));
        }
    }

    /// Lets a held process go on; the fault is then over and counts.
    pub fn resume(&mut self, member: usize, kind: FaultKind) {
        if let Some(process) = &mut self.members[member].process {
            process.resume();
            let name = process.name().to_owned();
            self.hit(kind, Event::Ok, &name);
        }
    }

    /// Puts every clock of the round, before anybody looks at it.
    ///
    /// # Errors
    /// Those of the file system.
    pub fn set_clock(&self, offset_us: i64) -> Result<()> {
        Ok(OffsetClock::set(&self.clock_file, offset_us)?)
    }

    /// Has every clock of the round jump. Whoever runs may lose or take leases by it.
    ///
    /// # Errors
    /// Those of the file system.
    pub fn jump(&mut self, offset_us: i64, kind: FaultKind) -> Result<()> {
        OffsetClock::set(&self.clock_file, offset_us)?;
        let names: Vec<String> =
            self.members.iter().filter_map(|m| Some(m.process.as_ref()?.name().to_owned())).collect();
        // They notice within some milliseconds, and the leases that were given before are then judged by another clock.
        thread::sleep(Duration::from_millis(50));
        for name in names {
            self.note(Event::Info, Some(&name));
        }
        self.hit_nobody(kind);
        Ok(())
    }

    /// Counts a fault that hit the process `target`.
    pub fn hit(&mut self, kind: FaultKind, event: Event, target: &str) {
        self.note(event, Some(target));
        *self.faults.entry(kind).or_default() += u64::from(event == Event::Ok);
    }

    /// Counts a fault that hit no process by itself.
    pub fn hit_nobody(&mut self, kind: FaultKind) {
        self.note(Event::Ok, None);
        *self.faults.entry(kind).or_default() += 1;
    }

    /// Writes down jobs that must come to be by themselves, such as those of ticks: they are as good as acknowledged.
    pub fn submitted(&self, jobs: &[(JobId, Timestamp)]) {
        let lines = jobs.iter().flat_map(|(job, not_before)| {
            let mut invoke = self.nemesis.about(Operation::Submit, Event::Invoke, job.as_str());
            invoke.not_before_us = u64::try_from(not_before.as_micros()).ok();
            let mut ok = self.nemesis.about(Operation::Submit, Event::Ok, job.as_str());
            ok.id = Some(job.as_str().to_owned());
            [invoke, ok]
        });
        self.nemesis.write(&lines.collect::<Vec<_>>());
    }

    /// Counts a fault that the process `target` wrote down before it killed itself. It is hit again now that it is surely
    /// dead: another thread of it may have started a job in its last moment.
    pub fn killed_itself(&mut self, kind: FaultKind, target: &str) {
        *self.faults.entry(kind).or_default() += 1;
        self.note(Event::Info, Some(target));
    }

    fn note(&self, event: Event, target: Option<&str>) {
        let mut line = self.nemesis.line(Operation::Fault, event);
        line.target = target.map(str::to_owned);
        self.nemesis.write(&[line]);
    }

    /// Says what became of members that ended by themselves, and gives each a new process.
    ///
    /// # Errors
    /// Where a process cannot be started.
    pub fn revive(
        &mut self,
        mut expected: impl FnMut(&mut Self, &str, std::process::ExitStatus),
    ) -> Result<()> {
        for member in 0..self.members.len() {
            let ended = match &mut self.members[member].process {
                Some(process) => match process.ended() {
                    Some(status) => Some((process.name().to_owned(), status)),
                    None => continue,
                },
                None => None,
            };
            if let Some((name, status)) = ended {
                self.members[member].process = None;
                expected(self, &name, status);
            }
            self.start(member)?;
        }
        Ok(())
    }

    /// Stops the producers, waits until the queues are drained, stops the workers, reads everything back and judges.
    ///
    /// # Errors
    /// Where the round cannot be judged: the database cannot be read, a history makes no sense.
    pub fn finish(mut self) -> Result<Judged> {
        self.stop_members("producer")?;
        self.revive(|_, _, _| {})?;
        self.stop_members("producer")?;
        let drained = readback::wait_until_drained(&self.database, DRAIN_WITHIN);
        let event = match &drained {
            Ok(()) => Event::Ok,
            Err(why) => {
                self.problems.push(format!("the queues did not drain: {why:#}"));
                Event::Fail
            }
        };
        self.nemesis.write(&[self.nemesis.line(Operation::Drain, event)]);
        self.stop_members("")?;
        self.judge()
    }

    /// Reads everything back and judges, where nobody runs any more.
    ///
    /// # Errors
    /// As [`finish`](Self::finish).
    pub fn judge(mut self) -> Result<Judged> {
        let database = self.database.clone();
        self.read_back(&database)?;
        self.judge_histories()
    }

    /// Reads every job of a database back.
    ///
    /// # Errors
    /// Where it cannot be read.
    pub fn read_back(&mut self, database: &Path) -> Result<()> {
        let problems = readback::read_back(database, &self.nemesis)?;
        self.problems.extend(problems);
        Ok(())
    }

    /// Judges what is written down.
    ///
    /// # Errors
    /// Where a history makes no sense.
    pub fn judge_histories(mut self) -> Result<Judged> {
        let demands = Demands { clock_bound_us: self.clock_bound_us, faults_min: 1, ..Demands::default() };
        let verdict = verdict(&self.records, demands)?;
        let counted: u64 = self.faults.values().sum();
        if counted != verdict.faults {
            self.problems.push(format!("{counted} faults counted, {} in the histories", verdict.faults));
        }
        let mut examples = verdict.objections.clone();
        for (rule, found) in &verdict.examples {
            examples
                .extend(found.iter().map(|example| format!("{rule:?}: {}: {}", example.key, example.why)));
        }
        Ok(Judged { figures: Figures::of(&verdict), faults: self.faults, problems: self.problems, examples })
    }

    /// Writes the line that a round without queues to drain needs.
    pub fn drained(&self) {
        self.nemesis.write(&[self.nemesis.line(Operation::Drain, Event::Ok)]);
    }

    /// Asks every member whose name begins with `part` to stop, and makes sure that it does so well.
    fn stop_members(&mut self, part: &str) -> Result<()> {
        let mut stopping = Vec::new();
        for member in self.members.iter_mut().filter(|member| member.part.starts_with(part)) {
            if let Some(mut process) = member.process.take() {
                process.terminate();
                let grace = member.settings.work.as_ref().map_or(Duration::ZERO, |work| work.grace);
                stopping.push((process, grace));
            }
        }
        for (mut process, grace) in stopping {
            match process.wait(grace + STOP_WITHIN) {
                Some(status) if status.success() => {}
                Some(status) => {
                    let end = End::of(&self.records, process.name());
                    self.problems.push(format!("{} ended with {status}: {end:?}", process.name()));
                }
                None => self.problems.push(format!("{} did not stop when asked to", process.name())),
            }
        }
        self.members.retain(|member| !member.part.starts_with(part));
        Ok(())
    }
}

/// Has the checker judge the histories in a directory.
///
/// # Errors
/// Where there are none, or one makes no sense.
pub fn verdict(records: &Path, demands: Demands) -> Result<Verdict> {
    let mut checker = Checker::new(demands);
    let mut files: Vec<PathBuf> =
        fs::read_dir(records)?.map(|entry| Ok(entry?.path())).collect::<Result<_>>()?;
    files.retain(|path| path.extension().is_some_and(|extension| extension == "jsonl"));
    files.sort();
    if files.is_empty() {
        bail!("there are no histories");
    }
    for path in files {
        let name = path.file_name().unwrap_or_default().to_string_lossy().into_owned();
        checker.read(&name, BufReader::with_capacity(1 << 20, File::open(&path)?))?;
    }
    Ok(checker.verdict())
}
