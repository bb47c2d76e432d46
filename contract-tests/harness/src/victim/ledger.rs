//! The effect ledger: handlers say here that they start and that they are done.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, OnceLock, PoisonError};

use taskport_abstraction::{JobId, TaskContext};
use taskport_checker::{Event, Operation};

use crate::history::History;

/// Where handlers find the ledger: they are plain functions. A child of an isolated task has none; its parent writes.
static LEDGER: OnceLock<Arc<Ledger>> = OnceLock::new();

/// The ledger of one process, and the leases it holds: a handler is not told its token, and its lines need it.
#[derive(Debug)]
pub(crate) struct Ledger {
    history: History,
    tokens: Mutex<HashMap<(JobId, u32), u64>>,
}

/// One started attempt.
#[derive(Debug)]
pub(crate) struct Effect {
    ledger: Arc<Ledger>,
    key: String,
    attempt: u32,
    token: u64,
}

impl Ledger {
    pub(crate) fn new(history: History) -> Arc<Self> {
        Arc::new(Self { history, tokens: Mutex::default() })
    }

    /// Lets the handlers of this process write to this ledger.
    pub(crate) fn install(self: &Arc<Self>) {
        LEDGER.get_or_init(|| self.clone());
    }

    /// Remembers under which token an attempt was handed out.
    pub(crate) fn leased(&self, job: JobId, attempt: u32, token: u64) {
        self.tokens.lock().unwrap_or_else(PoisonError::into_inner).insert((job, attempt), token);
    }

    /// Writes the start of an attempt.
    pub(crate) fn start(self: &Arc<Self>, key: &str, job: &JobId, attempt: u32) -> Effect {
        let token = self
            .tokens
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .remove(&(job.clone(), attempt))
            .unwrap_or(0);
        let effect = Effect { ledger: self.clone(), key: key.to_owned(), attempt, token };
        effect.write(Event::Start);
        effect
    }
}

impl Effect {
    /// Writes the start of the attempt that `ctx` is about, where this process has a ledger.
    pub(crate) fn start(ctx: &TaskContext, key: &str) -> Option<Self> {
        LEDGER.get().map(|ledger| ledger.start(key, ctx.job(), ctx.attempt()))
    }

    /// Writes that the effect is done.
    pub(crate) fn end(self) {
        self.write(Event::End);
    }

    fn write(&self, event: Event) {
        let history = &self.ledger.history;
        let mut line = history.about(Operation::Effect, event, &self.key);
        line.attempt = Some(self.attempt);
        line.token = Some(self.token);
        history.write(&[line]);
    }
}
