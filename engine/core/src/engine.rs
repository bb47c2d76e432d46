//! The engine: the writing side of a store, with what it remembers between transactions.

use std::collections::HashMap;
use std::mem;
use std::sync::Arc;

use taskport_abstraction::backend::Lease;
use taskport_abstraction::job::StepRef;
use taskport_abstraction::{JobId, JobOptions, LeaseToken, QueueName, Result, Timestamp};

use crate::config::EngineConfig;
use crate::limits::{Batches, Gates, Lines};
use crate::reader::Reader;
use crate::record::{JobRecord, QueueRecord};
use crate::runs::RunCache;
use crate::store::Store;
use crate::stored::OptionsCodec;
use crate::transaction::Transaction;
use crate::upkeep::{self, Walking};

/// The writing side of a store.
#[derive(Debug)]
pub struct Engine<S: Store> {
    pub(crate) store: S,
    pub(crate) config: EngineConfig,
    pub(crate) options: OptionsCodec,
    pub(crate) runs: RunCache,
    queues: HashMap<QueueName, QueueEntry>,
    pub(crate) gates: Gates,
    pub(crate) lines: Lines,
    pub(crate) batches: Batches,
    leases: HashMap<i64, LeaseFacts>,
    seq_next: Option<i64>,
    timer: Timer,
    /// Whether claims may find more than they did.
    again: bool,
    pub(crate) walking: Walking,
    /// Another connection has committed since [`changed_elsewhere`](Self::changed_elsewhere) was asked.
    changed: bool,
    /// The inbox may hold jobs: another connection has committed since it was found empty.
    pub(crate) inbox_may_wait: bool,
    random: u64,
}

/// How many leases the engine remembers. One it has forgotten costs a read when it is settled.
const LEASES_MAX: usize = 1 << 17;
/// How many queues the engine remembers.
const QUEUES_MAX: usize = 10_000;

/// A queue's row as it will be after the transaction.
#[derive(Debug)]
pub(crate) struct QueueEntry {
    pub(crate) record: QueueRecord,
    /// Whether the store has it, or will have.
    pub(crate) exists: bool,
    /// Whether the store's row differs.
    pub(crate) dirty: bool,
}

/// What never changes under one lease, so that an ack need not read it.
#[derive(Debug)]
pub(crate) struct LeaseFacts {
    job: JobId,
    token: LeaseToken,
    pub(crate) queue: QueueName,
    pub(crate) step: Option<StepRef>,
    /// Its options, where its end has to be told to anybody.
    pub(crate) bounds: Option<Arc<JobOptions>>,
}

/// When time calls next.
#[derive(Debug, Clone, Copy)]
enum Timer {
    /// Nobody has asked the store since it changed.
    Unknown,
    /// Not before this moment, or not at all.
    At(Option<Timestamp>),
}

impl<S: Store> Engine<S> {
    /// Takes the writing side of a store into use.
    ///
    /// # Errors
    /// Those of the store.
    pub fn open(store: S, config: EngineConfig, now: Timestamp) -> Result<Self> {
        let random = config.seed;
        let mut engine = Self {
            store,
            config,
            options: OptionsCodec::default(),
            runs: RunCache::default(),
            queues: HashMap::new(),
            gates: Gates::default(),
            lines: Lines::default(),
            batches: Batches::default(),
            leases: HashMap::new(),
            seq_next: None,
            timer: Timer::Unknown,
            again: false,
            walking: Walking::default(),
            changed: false,
            inbox_may_wait: true,
            random,
        };
        // What time called for while nobody had the store open is done before anybody asks for anything.
        let mut tx = engine.begin(now)?;
        tx.absorb()?;
        tx.tick()?;
        tx.commit()?;
        Ok(engine)
    }

    /// Begins a transaction. Dropped without a commit, it leaves nothing behind.
    ///
    /// # Errors
    /// Those of the store, such as `Backpressure` (E-029) where another process holds it.
    pub fn begin(&mut self, now: Timestamp) -> Result<Transaction<'_, S>> {
        if self.store.begin()? {
            self.changed = true;
            self.forget_foreign();
        }
        Ok(Transaction::new(self, now))
    }

    /// Opens a reader of what is committed, for another thread.
    ///
    /// # Errors
    /// Those of the store.
    pub fn reader(&self) -> Result<Reader<S::Reader>> {
        Ok(Reader::new(self.store.reader()?, self.config.page_len_max))
    }

    /// The store, to be watched.
    pub fn store(&self) -> &S {
        &self.store
    }

    /// Whether another process or connection has committed since this was last asked.
    ///
    /// # Errors
    /// Those of the store.
    pub fn changed_elsewhere(&mut self) -> Result<bool> {
        let changed = self.store.changed_elsewhere()?;
        if changed {
            self.forget_foreign();
        }
        Ok(mem::take(&mut self.changed) || changed)
    }

    /// When [`tick`](Transaction::tick) has something to do next, or a little earlier.
    ///
    /// # Errors
    /// Those of the store.
    pub fn next_due(&mut self) -> Result<Option<Timestamp>> {
        if self.again {
            // At once, whatever becomes of the clock until somebody asks.
            return Ok(Some(Timestamp::default()));
        }
        if let Timer::At(moment) = self.timer {
            return Ok(moment);
        }
        let moment = self.store.next_due()?.into_iter().chain(self.upkeep_due()?).min();
        self.timer = Timer::At(moment);
        Ok(moment)
    }

    /// When the next look for what is over is due, where anything is ever over.
    pub(crate) fn upkeep_due(&mut self) -> Result<Option<Timestamp>> {
        if self.walking.due.is_none()
            && let Some(rest) = upkeep::walk_rest(&self.config.retention, 0)
        {
            self.walking.due = Some(self.store.walked_at()? + rest);
        }
        Ok(self.walking.due)
    }

    /// Whether any of the queues has a job to hand out. Takes no lock, so that a worker who finds nothing is in nobody's
    /// way; ask [`changed_elsewhere`](Self::changed_elsewhere) first.
    ///
    /// # Errors
    /// Those of the store.
    pub fn has_ready(&mut self, queues: &[QueueName]) -> Result<bool> {
        for queue in queues {
            let record = &self.queue(queue)?.record;
            let is_full = |max| record.counts.running >= u64::from(max);
            let is_bound =
                record.limits.concurrency_max.is_some_and(is_full) || record.pace.wake_at.is_some();
            if record.counts.queued > 0 && !record.paused && !is_bound {
                return Ok(true);
            }
        }
        Ok(false)
    }

    /// Whether another program's transaction has left jobs in the inbox, for [`absorb`](Transaction::absorb) to take.
    /// Takes no lock, and asks the store only where another connection has committed.
    ///
    /// # Errors
    /// Those of the store.
    pub fn has_inbox(&mut self) -> Result<bool> {
        self.inbox_may_wait = self.inbox_may_wait && self.store.inbox_waits()?;
        Ok(self.inbox_may_wait)
    }

    /// Sees to it that `tick` looks at `moment`.
    pub(crate) fn wake_at(&mut self, moment: Timestamp) {
        if let Timer::At(known) = &mut self.timer {
            *known = Some(known.map_or(moment, |known| known.min(moment)));
        }
    }

    /// Sees to it that claims are served again at once, since there may be more for them.
    pub(crate) fn look_again(&mut self) {
        self.again = true;
    }

    /// Lets the next question for the time go to the store.
    pub(crate) fn ask_for_time_again(&mut self) {
        self.again = false;
        self.timer = Timer::Unknown;
    }

    /// Another connection has committed.
    fn forget_foreign(&mut self) {
        if self.store.replaced() {
            self.forget_all();
        } else {
            self.forget_rows();
        }
    }

    /// Forgets what another connection may have changed.
    pub(crate) fn forget_rows(&mut self) {
        self.queues.clear();
        self.gates.forget();
        self.lines.forget();
        self.batches.forget();
        self.seq_next = None;
        self.inbox_may_wait = true;
        self.timer = Timer::Unknown;
        self.runs.doubt();
        self.walking.doubt();
    }

    /// Forgets what a transaction that came to nothing has left.
    pub(crate) fn forget_all(&mut self) {
        self.forget_rows();
        self.leases.clear();
        self.runs = RunCache::default();
        self.walking = Walking::default();
    }

    /// The queue's row as it will be after the transaction, made up where there is none.
    pub(crate) fn queue(&mut self, name: &QueueName) -> Result<&mut QueueEntry> {
        if !self.queues.contains_key(name) {
            if self.queues.len() >= QUEUES_MAX {
                self.queues.retain(|_, entry| entry.dirty);
            }
            let found = self.store.queue(name)?;
            let exists = found.is_some();
            let record = found.unwrap_or_else(|| QueueRecord::new(name.clone()));
            self.queues.insert(name.clone(), QueueEntry { record, exists, dirty: false });
        }
        Ok(self.queues.get_mut(name).expect("it was just put there"))
    }

    /// Writes every queue's row that differs.
    pub(crate) fn flush_queues(&mut self) -> Result<()> {
        for entry in self.queues.values_mut().filter(|entry| entry.dirty) {
            self.store.put_queue(&entry.record)?;
            entry.dirty = false;
        }
        Ok(())
    }

    /// The next place in the order of submits.
    pub(crate) fn seq_next(&mut self) -> Result<i64> {
        match self.seq_next {
            Some(seq) => Ok(seq),
            None => {
                let seq = self.store.seq_max()? + 1;
                self.seq_next = Some(seq);
                Ok(seq)
            }
        }
    }

    /// Takes `seq` as given away.
    pub(crate) fn seq_used(&mut self, seq: i64) {
        self.seq_next = Some(seq + 1);
    }

    /// Remembers a lease just given.
    pub(crate) fn remember_lease(&mut self, job: &JobRecord, bounds: Option<Arc<JobOptions>>) {
        if self.leases.len() >= LEASES_MAX {
            self.leases.clear();
        }
        let (queue, step) = (job.queue.clone(), job.step.clone());
        self.leases
            .insert(job.seq, LeaseFacts { job: job.id.clone(), token: job.token, queue, step, bounds });
    }

    /// What is remembered of a lease, which is over.
    pub(crate) fn take_lease(&mut self, lease: &Lease) -> Option<LeaseFacts> {
        let facts = self.leases.remove(&i64::try_from(lease.receipt).ok()?)?;
        (facts.token == lease.token && facts.job == lease.job).then_some(facts)
    }

    /// SplitMix64, as a number in `0.0..1.0`.
    pub(crate) fn random(&mut self) -> f64 {
        self.random = self.random.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.random;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        ((z ^ (z >> 31)) >> 11) as f64 / (1_u64 << 53) as f64
    }
}
