//! The thread that owns the writing side: one transaction for all that waits, then every answer.

use std::collections::VecDeque;
use std::sync::Arc;
use std::time::Duration;

use taskport_abstraction::{Certainty, Clock, Error, Result, Timestamp, codes};
use taskport_engine::store::Watch;
use taskport_engine::{Committed, Engine, Store, Transaction};
use tokio::time::Instant;

use crate::letter::{Claimer, Grant, Leased, Letter, Request};
use crate::mailbox::Taken;
use crate::shared::Shared;

/// How long the thread sleeps at most, so that a jump of the clock delays nothing for longer.
const SLEEP_MAX: Duration = Duration::from_secs(1);
/// How often it looks for commits of other processes while somebody waits, should the store's watch be silent.
const LOOK_EVERY: Duration = Duration::from_millis(50);
/// How many workers may wait for jobs at once.
const CLAIMERS_MAX: usize = 4_096;
const PAUSE_AFTER_FAILURE: Duration = Duration::from_millis(100);
const PAUSE_AFTER_FAILURE_MAX: Duration = Duration::from_secs(5);

/// The writing side and who waits for it.
pub(crate) struct Writer<S: Store> {
    engine: Engine<S>,
    clock: Arc<dyn Clock>,
    shared: Arc<Shared>,
    claimers: VecDeque<Claimer>,
    /// Other processes may write to the store.
    crowded: bool,
    /// When the engine has something to do by itself.
    due: Option<Timestamp>,
    /// The store failed: until when time-driven work rests, and for how long it will after the next failure.
    rest: Option<(Instant, Duration)>,
    _watch: Option<Watch>,
}

impl<S: Store> Writer<S> {
    /// Takes the engine's work into hand.
    ///
    /// # Errors
    /// Those of the store.
    pub(crate) fn new(mut engine: Engine<S>, clock: Arc<dyn Clock>, shared: Arc<Shared>) -> Result<Self> {
        let mailbox = shared.letters.clone();
        let watch = engine.store().watch(Box::new(move || mailbox.poke())).unwrap_or_else(|error| {
            tracing::warn!(%error, every = ?LOOK_EVERY, "looking for other processes' commits now and then instead");
            Some(Box::new(()))
        });
        let due = engine.next_due()?;
        Ok(Self {
            engine,
            clock,
            shared,
            claimers: VecDeque::new(),
            crowded: watch.is_some(),
            due,
            rest: None,
            _watch: watch,
        })
    }

    /// Works until the mailbox is closed and empty.
    pub(crate) fn run(mut self) {
        let letters = self.shared.letters.clone();
        loop {
            let Taken { letters, last } = letters.take(self.patience());
            let mut requests = Vec::with_capacity(letters.len());
            let mut newcomers = false;
            for letter in letters {
                match letter {
                    Letter::Request(request) => requests.push(request),
                    Letter::Claim(claimer) => newcomers |= self.admit(claimer),
                }
            }
            let foreign = self.look_elsewhere();
            let waited_for = (newcomers || foreign) && self.finds_work();
            let left = self.is_rested() && self.engine.has_inbox().unwrap_or(true);
            if waited_for || left || !requests.is_empty() || self.is_due() {
                self.group(requests);
            } else if foreign {
                self.look_ahead(false);
            }
            if last {
                break;
            }
        }
        for claimer in self.claimers {
            let _gone = claimer.reply.send(Ok(Grant::new(Vec::new(), &self.shared.letters)));
        }
    }

    fn patience(&self) -> Duration {
        let longest = if self.crowded && (!self.claimers.is_empty() || self.shared.waits.any()) {
            LOOK_EVERY
        } else {
            SLEEP_MAX
        };
        let resting = self.rest.map_or(Duration::ZERO, |(until, _)| until - Instant::now());
        self.due.map_or(longest, |due| due.since(self.clock.now()).max(resting).min(longest))
    }

    fn is_rested(&self) -> bool {
        self.rest.is_none_or(|(until, _)| until <= Instant::now())
    }

    fn is_due(&self) -> bool {
        self.is_rested() && self.due.is_some_and(|due| due <= self.clock.now())
    }

    /// Lets a worker wait, unless too many do already.
    fn admit(&mut self, claimer: Claimer) -> bool {
        if self.claimers.len() >= CLAIMERS_MAX {
            self.claimers.retain(|claimer| !claimer.reply.is_closed());
        }
        if self.claimers.len() >= CLAIMERS_MAX {
            let _gone = claimer.reply.send(Err(Error::new(
                &codes::OVERLOADED,
                "claim",
                format!("{CLAIMERS_MAX} workers wait for jobs already"),
            )));
            return false;
        }
        self.claimers.push_back(claimer);
        true
    }

    /// Whether another process has committed; then whoever waits here may find what it waits for.
    fn look_elsewhere(&mut self) -> bool {
        let changed = self.crowded && self.engine.changed_elsewhere().unwrap_or(true);
        if changed {
            self.shared.changed_elsewhere();
        }
        changed
    }

    /// Whether a worker that waits would get a job. Looking takes no lock, so that many idle processes on one file are
    /// not in the way of the one that works.
    fn finds_work(&mut self) -> bool {
        self.claimers.retain(|claimer| !claimer.reply.is_closed());
        let Self { claimers, engine, .. } = self;
        // What goes wrong here goes wrong in the transaction too, which tells the worker.
        claimers.iter().any(|claimer| engine.has_ready(&claimer.request.queues).unwrap_or(true))
    }

    /// Runs everything that waits in one transaction, then answers.
    fn group(&mut self, mut requests: Vec<Box<dyn Request>>) {
        self.claimers.retain(|claimer| !claimer.reply.is_closed());
        let mut grants = Vec::new();
        let mut own = OwnWork { absorb: self.is_rested(), tick: self.is_due() };
        let mut done = self.transact(own, &mut requests, &mut grants);
        if let Err(Failed { error, in_own_work: true }) = &done {
            // What nobody here asked for must not keep callers from their own work.
            self.rest(error);
            own = OwnWork::default();
            done = self.transact(own, &mut requests, &mut grants);
        }
        match done {
            Ok((committed, more)) => {
                for (claimer, jobs) in grants {
                    let _gone = claimer.reply.send(Ok(Grant::new(jobs, &self.shared.letters)));
                }
                requests.into_iter().for_each(|request| request.answer(None));
                self.shared.committed(committed);
                if own.tick || self.is_rested() {
                    self.rest = None;
                }
                self.look_ahead(more);
            }
            Err(Failed { error, .. }) => {
                requests.into_iter().for_each(|request| request.answer(Some(&error)));
                self.refuse(grants, &error);
                self.rest(&error);
            }
        }
    }

    fn transact(
        &mut self,
        own: OwnWork,
        requests: &mut [Box<dyn Request>],
        grants: &mut Vec<(Claimer, Vec<Leased>)>,
    ) -> Result<(Committed, bool), Failed> {
        let mut transaction = self.engine.begin(self.clock.now())?;
        let more = own.run(&mut transaction).map_err(|error| Failed { error, in_own_work: true })?;
        for request in requests {
            request.run(&mut transaction);
        }
        for _ in 0..self.claimers.len() {
            let Some(claimer) = self.claimers.pop_front() else { break };
            match claimer.claim(&mut transaction) {
                Ok(jobs) if !jobs.is_empty() => grants.push((claimer, jobs)),
                nothing => {
                    self.claimers.push_back(claimer);
                    nothing?;
                }
            }
        }
        Ok((transaction.commit()?, more))
    }

    /// Tells every worker that waits of the failure. Leases that may have been given out are handed back.
    fn refuse(&mut self, grants: Vec<(Claimer, Vec<Leased>)>, error: &Error) {
        for (claimer, jobs) in grants {
            if error.certainty() == Certainty::MaybeApplied {
                drop(Grant::new(jobs, &self.shared.letters));
            }
            self.claimers.push_back(claimer);
        }
        for claimer in self.claimers.drain(..) {
            let _gone = claimer.reply.send(Err(error.clone()));
        }
    }

    fn look_ahead(&mut self, more: bool) {
        match self.engine.next_due() {
            _ if more => self.due = Some(self.clock.now()),
            Ok(due) => self.due = due,
            Err(error) => {
                self.due = Some(self.clock.now());
                self.rest(&error);
            }
        }
    }

    /// Leaves time-driven work for a while, longer after each failure.
    fn rest(&mut self, error: &Error) {
        let pause = self.rest.map_or(PAUSE_AFTER_FAILURE, |(_, pause)| pause);
        tracing::warn!(%error, ?pause, "the engine could not work");
        self.rest = Some((Instant::now() + pause, (pause * 2).min(PAUSE_AFTER_FAILURE_MAX)));
    }
}

/// What the engine does in a transaction without being asked.
#[derive(Debug, Clone, Copy, Default)]
struct OwnWork {
    /// Takes what other programs' transactions have left.
    absorb: bool,
    /// Does what the time calls for.
    tick: bool,
}

impl OwnWork {
    /// Does it, and says whether there is more to do at once.
    fn run<S: Store>(self, transaction: &mut Transaction<'_, S>) -> Result<bool> {
        let more_left = self.absorb && transaction.absorb()?;
        let more_due = self.tick && transaction.tick()?;
        Ok(more_left || more_due)
    }
}

/// Why a transaction came to nothing.
struct Failed {
    error: Error,
    /// It failed before any request was run.
    in_own_work: bool,
}

impl From<Error> for Failed {
    fn from(error: Error) -> Self {
        Self { error, in_own_work: false }
    }
}
