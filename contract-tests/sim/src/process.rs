//! A simulated process: an engine on the shared store, a clock of its own, and the jobs its worker has in hand.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use anyhow::Result;
use taskport_abstraction::Timestamp;
use taskport_abstraction::backend::{Delivery, Settlement};
use taskport_engine::{Engine, EngineConfig, Store};

use crate::bug::Bug;
use crate::faults::Faults;
use crate::plan::EPOCH;
use crate::store::{Shared, SimStore};

/// One life of a process.
#[derive(Debug)]
pub(crate) struct Process<S: Store> {
    /// A name that no other life has.
    pub(crate) name: String,
    pub(crate) engine: Engine<SimStore<S>>,
    pub(crate) below: Shared<S>,
    faults: Arc<Mutex<Faults>>,
    pub(crate) clock: Clock,
    pub(crate) asleep_until_us: i64,
    pub(crate) hands: Vec<Hand>,
    /// Settles that were acknowledged, to be repeated as if the answer had been lost.
    pub(crate) spent: Vec<Settlement>,
}

/// A job in hand.
#[derive(Debug)]
pub(crate) struct Hand {
    pub(crate) delivery: Delivery,
    /// Whether its handler has come to its end.
    pub(crate) done: bool,
}

impl<S: Store> Process<S> {
    pub(crate) fn open(
        name: String,
        below: Shared<S>,
        bug: Option<Bug>,
        config: EngineConfig,
        clock: Clock,
        now: Timestamp,
    ) -> Result<Self> {
        let faults: Arc<Mutex<Faults>> = Arc::default();
        let store = SimStore::new(below.clone(), faults.clone(), bug);
        let engine = Engine::open(store, config, now)?;
        Ok(Self {
            name,
            engine,
            below,
            faults,
            clock,
            asleep_until_us: 0,
            hands: Vec::new(),
            spent: Vec::new(),
        })
    }

    pub(crate) fn faults(&self) -> MutexGuard<'_, Faults> {
        self.faults.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(crate) fn faults_handle(&self) -> Arc<Mutex<Faults>> {
        self.faults.clone()
    }
}

/// A wall clock that may be wrong and go wrong.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct Clock {
    ahead_us: i64,
    drift_ppm: i64,
    since_us: i64,
}

impl Clock {
    /// How far it is ahead, so long after the run began.
    pub(crate) fn ahead_us(&self, elapsed_us: i64) -> i64 {
        self.ahead_us + (elapsed_us - self.since_us) * self.drift_ppm / 1_000_000
    }

    pub(crate) fn now(&self, elapsed_us: i64) -> Timestamp {
        Timestamp::from_micros(EPOCH.as_micros() + elapsed_us + self.ahead_us(elapsed_us))
    }

    /// Sets it `by_us` further ahead, to run too fast from here on.
    pub(crate) fn set(&mut self, by_us: i64, drift_ppm: i64, elapsed_us: i64) {
        *self = Self { ahead_us: self.ahead_us(elapsed_us) + by_us, drift_ppm, since_us: elapsed_us };
    }
}
