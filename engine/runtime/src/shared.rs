//! What the handle and the engine's threads share.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use taskport_abstraction::{Error, JobId, RunId};
use taskport_engine::Committed;
use taskport_engine::store::Keeper;
use tokio::sync::{mpsc, watch};

use crate::letter::{Letter, Question};
use crate::mailbox::Mailbox;
use crate::waits::{Notice, Waits};

/// How many cancellations wait for one worker; of more it learns with its next heartbeat.
const CANCELLATIONS_MAX: usize = 1_024;

/// The lines between callers and threads.
#[derive(Debug)]
pub(crate) struct Shared {
    pub(crate) letters: Arc<Mailbox<Letter>>,
    pub(crate) questions: Mailbox<Question>,
    pub(crate) waits: Arc<Waits>,
    cancellations: Mutex<HashMap<Arc<str>, mpsc::Sender<JobId>>>,
    runs: Mutex<HashMap<RunId, watch::Sender<()>>>,
    /// Changes each time another process has committed.
    elsewhere: watch::Sender<()>,
    /// What looks after the store as a whole, once that is open; one task at a time.
    pub(crate) keeper: tokio::sync::Mutex<Option<Arc<dyn Keeper>>>,
    ended: watch::Sender<EndedThreads>,
}

/// Which threads have ended.
#[derive(Debug, Default)]
struct EndedThreads {
    writer: bool,
    reader: bool,
}

impl Shared {
    pub(crate) fn new() -> Self {
        Self {
            letters: Arc::new(Mailbox::new()),
            questions: Mailbox::new(),
            waits: Arc::default(),
            cancellations: Mutex::default(),
            runs: Mutex::default(),
            elsewhere: watch::Sender::new(()),
            keeper: tokio::sync::Mutex::default(),
            ended: watch::Sender::default(),
        }
    }

    /// Tells everybody who waits for it what a commit changed.
    pub(crate) fn committed(&self, committed: Committed) {
        if !committed.ended.is_empty() {
            let ended = committed.ended.into_iter();
            self.waits.announce(ended.map(|ended| (ended.id, Notice::Outcome(ended.outcome))));
        }
        if !committed.cancel_requested.is_empty() {
            let workers = lock(&self.cancellations);
            for (worker, job) in committed.cancel_requested {
                if let Some(worker) = workers.get(&worker) {
                    // A full line loses nothing: the heartbeat that extends the lease says so again.
                    let _full = worker.try_send(job);
                }
            }
        }
        if !committed.runs_changed.is_empty() {
            let runs = lock(&self.runs);
            for run in committed.runs_changed {
                if let Some(run) = runs.get(&run) {
                    run.send_replace(());
                }
            }
        }
    }

    /// Another process has committed: whatever somebody waits for may have happened.
    pub(crate) fn changed_elsewhere(&self) {
        self.elsewhere.send_replace(());
        for run in lock(&self.runs).values() {
            run.send_replace(());
        }
        if self.waits.look_again() {
            self.questions.poke();
        }
    }

    pub(crate) fn elsewhere(&self) -> watch::Receiver<()> {
        self.elsewhere.subscribe()
    }

    /// The cancellations for a worker, from now on. Of two lines to one worker the later gets them.
    pub(crate) fn cancellations(&self, worker: Arc<str>) -> mpsc::Receiver<JobId> {
        let (sender, receiver) = mpsc::channel(CANCELLATIONS_MAX);
        if !self.ended.borrow().writer {
            lock(&self.cancellations).insert(worker, sender);
        }
        receiver
    }

    pub(crate) fn forget_worker(&self, worker: &str) {
        lock(&self.cancellations).remove(worker);
    }

    /// Changes each time the run may have.
    pub(crate) fn run_changes(&self, run: &RunId) -> watch::Receiver<()> {
        let mut runs = lock(&self.runs);
        runs.retain(|_, sender| sender.receiver_count() > 0);
        runs.entry(run.clone()).or_insert_with(|| watch::Sender::new(())).subscribe()
    }

    /// Says that the writer has ended: nobody waits any longer for what it would have done.
    pub(crate) fn end(&self, why: &Error) {
        self.letters.end(why.clone());
        self.waits.end(why);
        self.questions.close();
        lock(&self.cancellations).clear();
        lock(&self.runs).clear();
        self.ended.send_modify(|ended| ended.writer = true);
    }

    /// Says that the reader has ended, which it does after the writer.
    pub(crate) fn reader_ended(&self) {
        self.ended.send_modify(|ended| ended.reader = true);
    }

    /// Resolves when both threads have ended and let go of the store.
    pub(crate) async fn ended(&self) {
        // The sender lives in `self`, so that the channel cannot close first.
        let mut ended = self.ended.subscribe();
        let _ended = ended.wait_for(|ended| ended.writer && ended.reader).await;
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
