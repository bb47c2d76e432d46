//! The pulling half: fetch, extend, settle.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use async_trait::async_trait;
use futures_util::StreamExt;
use futures_util::stream::{self, BoxStream};
use taskport_abstraction::backend::{Delivery, Extended, Extension, Settlement, WorkerLoad, WorkerSpec};
use taskport_abstraction::{BackendName, Consumer, Environment, ErrorKind, JobId, QueueName, Result};
use taskport_engine_runtime::{ClaimRequest, EngineHandle, NewWorker};
use tokio::sync::{OnceCell, mpsc, watch};
use tokio::time::{Instant, sleep_until};

/// How often a worker asks, at most, whether another process wants jobs of its cancelled.
const CANCELLATIONS_EVERY: Duration = Duration::from_millis(100);

/// One worker's end of the engine.
#[derive(Debug)]
pub(crate) struct NativeConsumer {
    engine: EngineHandle,
    backend: BackendName,
    worker: NewWorker,
    queues: Arc<[QueueName]>,
    registered: OnceCell<()>,
    closed: watch::Sender<bool>,
    /// Held while the worker is put on the list or taken off it, so that no late heartbeat puts it on again.
    listing: tokio::sync::Mutex<()>,
    held: Held,
}

/// The jobs a worker holds, and of which it has been told that they are to be cancelled.
type Held = Arc<Mutex<HashMap<JobId, bool>>>;

impl NativeConsumer {
    pub(crate) fn new(
        engine: &EngineHandle,
        backend: &BackendName,
        environment: &Environment,
        spec: &WorkerSpec,
    ) -> Self {
        let worker = NewWorker {
            name: spec.name.clone(),
            host: environment.host.as_ref().to_owned(),
            pid: environment.pid,
            queues: spec.queues.clone(),
            tasks: spec.tasks.clone(),
            slots: spec.concurrency,
            lease_for: spec.lease_for,
        };
        Self {
            engine: engine.clone(),
            backend: backend.clone(),
            worker,
            queues: spec.queues.clone().into(),
            registered: OnceCell::new(),
            listing: tokio::sync::Mutex::new(()),
            closed: watch::Sender::new(false),
            held: Held::default(),
        }
    }

    /// Puts the worker on the list before its first job.
    async fn register(&self) -> Result<()> {
        let register = || self.engine.register_worker(self.worker.clone());
        self.registered.get_or_try_init(register).await.map(drop)
    }

    async fn claim(&self, max: usize) -> Result<Vec<Delivery>> {
        self.register().await?;
        let request = ClaimRequest {
            worker: self.worker.name.clone(),
            queues: self.queues.clone(),
            max,
            lease_for: self.worker.lease_for,
        };
        self.engine.claim(&request).await
    }

    /// Forgets jobs whose lease is over: by an `Ok` where that `ends` it, or because it has passed on.
    fn let_go<T>(&self, ids: &[JobId], results: &[Result<T>], ends: bool) {
        let mut held = lock(&self.held);
        for (id, result) in ids.iter().zip(results) {
            let over = match result {
                Ok(_) => ends,
                Err(error) => error.kind() == ErrorKind::LeaseLost,
            };
            if over {
                held.remove(id);
            }
        }
    }

    fn here<T>(&self, answer: Result<T>) -> Result<T> {
        answer.map_err(|error| error.in_backend(&self.backend))
    }
}

#[async_trait]
impl Consumer for NativeConsumer {
    async fn fetch(&self, max: usize) -> Result<Vec<Delivery>> {
        let mut closed = self.closed.subscribe();
        let deliveries = tokio::select! {
            biased;
            _ = closed.wait_for(|closed| *closed) => return Ok(Vec::new()),
            deliveries = self.claim(max) => self.here(deliveries)?,
        };
        lock(&self.held).extend(deliveries.iter().map(|delivery| (delivery.lease.job.clone(), false)));
        Ok(deliveries)
    }

    async fn settle(&self, batch: Vec<Settlement>) -> Vec<Result<()>> {
        let ids: Vec<JobId> = batch.iter().map(|settlement| settlement.lease.job.clone()).collect();
        let results = self.engine.settle(batch).await;
        self.let_go(&ids, &results, true);
        results.into_iter().map(|result| self.here(result)).collect()
    }

    async fn extend(&self, batch: Vec<Extension>) -> Result<Vec<Result<Extended>>> {
        let ids: Vec<JobId> = batch.iter().map(|extension| extension.lease.job.clone()).collect();
        let results = self.engine.extend(batch, self.worker.lease_for).await;
        self.let_go(&ids, &results, false);
        Ok(results.into_iter().map(|result| self.here(result)).collect())
    }

    fn cancellations(&self) -> BoxStream<'static, JobId> {
        let line = CancellationLine {
            pushed: self.engine.cancellations(self.worker.name.clone()),
            elsewhere: self.engine.changes_elsewhere(),
            engine: self.engine.clone(),
            held: self.held.clone(),
            rested: Instant::now(),
        };
        stream::unfold(line, async |mut line| Some((line.next().await?, line))).flat_map(stream::iter).boxed()
    }

    async fn heartbeat(&self, load: WorkerLoad) -> Result<()> {
        let beat = async {
            let _listing = self.listing.lock().await;
            if *self.closed.borrow() {
                return Ok(());
            }
            self.register().await?;
            let name = &self.worker.name;
            if !self.engine.heartbeat(name.clone(), load).await? {
                // A worker that was silent for too long was taken off the list.
                self.engine.register_worker(self.worker.clone()).await?;
                self.engine.heartbeat(name.clone(), load).await?;
            }
            Ok(())
        };
        self.here(beat.await)
    }

    async fn close(&self) -> Result<()> {
        self.closed.send_replace(true);
        let _listing = self.listing.lock().await;
        self.here(self.engine.remove_worker(self.worker.name.clone()).await)
    }
}

/// Where cancellations come from: this process pushes them, and those of others are asked for.
#[derive(Debug)]
struct CancellationLine {
    pushed: mpsc::Receiver<JobId>,
    elsewhere: watch::Receiver<()>,
    engine: EngineHandle,
    held: Held,
    rested: Instant,
}

impl CancellationLine {
    /// The next jobs to cancel, or `None` once the worker is off the list.
    async fn next(&mut self) -> Option<Vec<JobId>> {
        let Self { pushed, elsewhere, rested, .. } = self;
        let changed = async {
            sleep_until(*rested).await;
            elsewhere.changed().await
        };
        tokio::select! {
            biased;
            job = pushed.recv() => {
                let job = job?;
                tell(&self.held, &job);
                Some(vec![job])
            }
            changed = changed => {
                changed.ok()?;
                *rested = Instant::now() + CANCELLATIONS_EVERY;
                Some(self.ask().await)
            }
        }
    }

    /// Looks whether another process wants any of the jobs held cancelled.
    async fn ask(&self) -> Vec<JobId> {
        let untold = |(job, told): (&JobId, &bool)| (!told).then(|| job.clone());
        let jobs: Vec<JobId> = lock(&self.held).iter().filter_map(untold).collect();
        if jobs.is_empty() {
            return jobs;
        }
        // An error is no loss: the next heartbeat tells of cancellations too.
        let found = self.engine.get(jobs).await.unwrap_or_default();
        let wanted = found.into_iter().flatten().filter(|status| status.cancel_requested);
        wanted.map(|status| status.id).filter(|job| tell(&self.held, job)).collect()
    }
}

/// Marks a job as told of, and says whether it is held and was not told of before.
fn tell(held: &Held, job: &JobId) -> bool {
    lock(held).get_mut(job).is_some_and(|told| !std::mem::replace(told, true))
}

fn lock(held: &Held) -> MutexGuard<'_, HashMap<JobId, bool>> {
    held.lock().unwrap_or_else(PoisonError::into_inner)
}
