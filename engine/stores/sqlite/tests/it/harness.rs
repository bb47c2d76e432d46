//! An engine on one store with a clock that tests set.

use std::time::Duration;

use taskport_abstraction::backend::{Delivery, JobFilter, PageRequest, QueueStats, Settlement, Verdict};
use taskport_abstraction::{
    Backoff, Failure, FailureKind, JobId, JobOptions, JobState, JobStatus, Payload, QueueName, RawCall,
    Result, RetryPolicy, Timestamp,
};
use taskport_engine::{Claim, Committed, Engine, EngineConfig, Enqueued, NewJob, Reader, Store, Transaction};
use taskport_store_memory::MemoryStore;
use taskport_store_sqlite::{SqliteOptions, SqliteStore, Synchronous};
use tempfile::TempDir;

pub(crate) const LEASE: Duration = Duration::from_secs(30);
pub(crate) const WORKER: &str = "worker-1";

pub(crate) struct Harness<S: Store> {
    pub(crate) engine: Engine<S>,
    pub(crate) now: Timestamp,
    kept: Option<Reader<S::Reader>>,
    directory: Option<TempDir>,
}

pub(crate) fn config() -> EngineConfig {
    EngineConfig {
        seed: 7,
        payload_bytes_max: 1_000,
        result_bytes_max: 100,
        retry: RetryPolicy {
            attempts_max: 3,
            backoff: Backoff::Fixed { delay: Duration::from_secs(10) },
            age_max: None,
        },
        ..EngineConfig::default()
    }
}

pub(crate) fn start() -> Timestamp {
    "2026-01-31T09:30:00Z".parse().unwrap()
}

pub(crate) fn memory() -> Harness<MemoryStore> {
    memory_with(config())
}

pub(crate) fn memory_with(config: EngineConfig) -> Harness<MemoryStore> {
    let engine = Engine::open(MemoryStore::new(), config, start()).unwrap();
    Harness { engine, now: start(), kept: None, directory: None }
}

pub(crate) fn sqlite() -> Harness<SqliteStore> {
    sqlite_with(config())
}

pub(crate) fn sqlite_with(config: EngineConfig) -> Harness<SqliteStore> {
    let directory = TempDir::new().unwrap();
    let options = SqliteOptions { synchronous: Synchronous::Normal, ..SqliteOptions::default() };
    let store = SqliteStore::open(directory.path().join("jobs.db"), options).unwrap();
    let engine = Engine::open(store, config, start()).unwrap();
    Harness { engine, now: start(), kept: None, directory: Some(directory) }
}

impl Harness<SqliteStore> {
    pub(crate) fn path(&self) -> std::path::PathBuf {
        self.directory.as_ref().unwrap().path().join("jobs.db")
    }
}

impl<S: Store> Harness<S> {
    pub(crate) fn pass(&mut self, seconds: u64) {
        self.now = self.now + Duration::from_secs(seconds);
    }

    /// One transaction, with what was due done first.
    pub(crate) fn tx<T>(&mut self, work: impl FnOnce(&mut Transaction<'_, S>) -> T) -> (T, Committed) {
        let mut tx = self.engine.begin(self.now).unwrap();
        while tx.tick().unwrap() {}
        let answer = work(&mut tx);
        (answer, tx.commit().unwrap())
    }

    pub(crate) fn submit(&mut self, id: &str, options: JobOptions) -> Result<Enqueued> {
        self.tx(|tx| tx.enqueue(vec![new_job(id, options)]).remove(0)).0
    }

    pub(crate) fn claim(&mut self, max: usize) -> Vec<Delivery> {
        let queues = [QueueName::default_queue()];
        let claim = Claim { worker: WORKER, queues: &queues, max, lease_for: LEASE };
        self.tx(|tx| tx.claim(&claim).unwrap()).0
    }

    pub(crate) fn settle(&mut self, delivery: &Delivery, verdict: Verdict) -> Result<()> {
        let settlement = Settlement { lease: delivery.lease.clone(), verdict };
        self.tx(|tx| tx.settle(&[settlement]).remove(0)).0
    }

    pub(crate) fn status(&mut self, id: &str) -> JobStatus {
        self.tx(|_| ());
        let found = self.read(|reader| reader.get(&[job_id(id)]).unwrap().remove(0));
        found.unwrap_or_else(|| panic!("no job {id}"))
    }

    pub(crate) fn state(&mut self, id: &str) -> JobState {
        self.status(id).state
    }

    pub(crate) fn all(&mut self) -> Vec<JobStatus> {
        let page = PageRequest { after: None, len: 1_000 };
        self.read(|reader| reader.jobs(&JobFilter::default(), &page).unwrap().items)
    }

    pub(crate) fn queues(&mut self) -> Vec<QueueStats> {
        self.read(|reader| reader.queues().unwrap())
    }

    /// Keeps one reader for all that follows, where a test reads after each step.
    pub(crate) fn keep_reader(mut self) -> Self {
        self.kept = Some(self.engine.reader().unwrap());
        self
    }

    pub(crate) fn read<T>(&mut self, ask: impl FnOnce(&mut Reader<S::Reader>) -> T) -> T {
        match &mut self.kept {
            Some(reader) => ask(reader),
            None => ask(&mut self.engine.reader().unwrap()),
        }
    }
}

pub(crate) fn job_id(text: &str) -> JobId {
    text.parse().unwrap()
}

pub(crate) fn new_job(id: &str, options: JobOptions) -> NewJob {
    let call = RawCall { task: "t".parse().unwrap(), arguments: Payload::json("[[],{}]") };
    NewJob { id: job_id(id), call, options, step: None }
}

pub(crate) fn failure(message: &str) -> Failure {
    Failure::new(FailureKind::Error, message)
}

pub(crate) fn retry(message: &str) -> Verdict {
    Verdict::Retry { failure: failure(message), after: None }
}

pub(crate) fn ack(result: &'static str) -> Verdict {
    Verdict::Ack(Payload::json(result))
}

/// Whether `submitted` is the sum of all the others in every queue.
pub(crate) fn assert_account(queues: &[QueueStats]) {
    for queue in queues {
        let c = queue.counts;
        let others = [
            c.scheduled,
            c.blocked,
            c.queued,
            c.running,
            c.retrying,
            c.succeeded,
            c.failed,
            c.cancelled,
            c.expired,
        ];
        assert_eq!(c.submitted, others.iter().sum::<u64>(), "{queue:?}");
    }
}
