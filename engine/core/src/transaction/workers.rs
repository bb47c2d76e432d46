//! Who works.

use std::sync::Arc;
use std::time::Duration;

use taskport_abstraction::backend::WorkerLoad;
use taskport_abstraction::{QueueName, Result, TaskName};

use super::Transaction;
use crate::record::WorkerRecord;
use crate::store::Store;

/// A worker that goes on the list.
#[derive(Debug, Clone)]
pub struct NewWorker {
    /// Its name, unique among live workers.
    pub name: Arc<str>,
    /// The machine it runs on.
    pub host: String,
    /// Its process.
    pub pid: u32,
    /// The queues it serves.
    pub queues: Vec<QueueName>,
    /// The tasks it can run.
    pub tasks: Vec<TaskName>,
    /// How many attempts it can run at once.
    pub slots: usize,
    /// How long its leases last without a heartbeat.
    pub lease_for: Duration,
}

impl<S: Store> Transaction<'_, S> {
    /// Puts a worker on the list, in the place of one with the same name.
    ///
    /// # Errors
    /// Those of the store.
    pub fn register_worker(&mut self, worker: NewWorker) -> Result<()> {
        let now = self.now;
        let record = WorkerRecord {
            name: worker.name,
            host: worker.host,
            pid: worker.pid,
            queues: worker.queues,
            tasks: worker.tasks,
            lease_for: worker.lease_for,
            load: WorkerLoad { running: 0, slots: worker.slots },
            started_at: now,
            seen_at: now,
            forget_at: now + worker.lease_for + self.engine.config.forget_workers_after,
        };
        self.engine.wake_at(record.forget_at);
        self.store(|store| store.put_worker(&record))
    }

    /// Says what a worker is doing. `false` says that it is not on the list, as after a long pause: register it again.
    ///
    /// # Errors
    /// Those of the store.
    pub fn heartbeat(&mut self, name: &str, load: WorkerLoad) -> Result<bool> {
        let Some(mut worker) = self.store(|store| store.worker(name))? else { return Ok(false) };
        worker.load = load;
        worker.seen_at = self.now;
        worker.forget_at = self.now + worker.lease_for + self.engine.config.forget_workers_after;
        // Earlier than before where the clock was set back.
        self.engine.wake_at(worker.forget_at);
        self.store(|store| store.put_worker(&worker))?;
        Ok(true)
    }

    /// Takes a worker off the list. What it holds lapses unless it is settled.
    ///
    /// # Errors
    /// Those of the store.
    pub fn remove_worker(&mut self, name: &str) -> Result<()> {
        self.store(|store| store.delete_worker(name))
    }
}
