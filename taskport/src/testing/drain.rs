use std::sync::{Arc, Mutex, OnceLock, PoisonError};
use std::time::Duration;

use futures_util::FutureExt;
use taskport_abstraction::backend::{
    Attempt, Delivery, Extension, JobFilter, PageRequest, Settlement, Verdict, WorkerLoad, WorkerSpec,
};
use taskport_abstraction::{
    Backend, Clock, Consumer, Error, Executor, JobState, JobStatus, QueueName, Result, Timestamp, codes,
};
use taskport_native::NativeBackend;
use taskport_worker::Control;

use super::{Faults, TestClock};

/// How long a job stays with a worker that was lost.
const LEASE: Duration = Duration::from_secs(30);
/// How many attempts one drain runs at most: a job that submits itself for ever is a mistake, and not an endless test.
const ATTEMPTS_MAX: u64 = 100_000;
const PAGE_LEN: usize = 1_000;

/// What a drain did.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Drained {
    /// Attempts that succeeded.
    pub succeeded: u64,
    /// Attempts that failed and will be tried again, or have used up their attempts.
    pub failed: u64,
    /// Attempts that ended for good without a result: rejected or cancelled.
    pub ended: u64,
    /// Attempts whose worker was lost.
    pub lost: u64,
}

impl Drained {
    /// How many attempts ran.
    pub const fn attempts(&self) -> u64 {
        self.succeeded + self.failed + self.ended + self.lost
    }

    fn add(&mut self, other: Self) {
        self.succeeded += other.succeeded;
        self.failed += other.failed;
        self.ended += other.ended;
        self.lost += other.lost;
    }
}

/// The engine with its executor: what runs attempts when it is told to.
#[derive(Debug)]
pub(super) struct Stage {
    backend: NativeBackend,
    clock: Arc<TestClock>,
    faults: Faults,
    executor: OnceLock<Arc<dyn Executor>>,
    /// When the leases of lost workers lapse.
    lost_until: Mutex<Vec<Timestamp>>,
}

impl Stage {
    pub(super) fn new(backend: NativeBackend, clock: Arc<TestClock>) -> Self {
        Self {
            backend,
            clock,
            faults: Faults::default(),
            executor: OnceLock::new(),
            lost_until: Mutex::default(),
        }
    }

    pub(super) fn backend(&self) -> &dyn Backend {
        &self.backend
    }

    pub(super) fn clock(&self) -> &TestClock {
        &self.clock
    }

    pub(super) fn faults(&self) -> &Faults {
        &self.faults
    }

    /// Sets what runs attempts. The first stays.
    pub(super) fn set_executor(&self, executor: Arc<dyn Executor>) {
        let _first_stays = self.executor.set(executor);
    }

    pub(super) async fn drain(&self) -> Result<Drained> {
        let mut drained = Drained::default();
        loop {
            let queues = self.queues().await?;
            let consumer = self.consumer(queues.clone())?;
            let done = self.drain_queues(&consumer, &mut drained).await;
            let closed = consumer.close().await;
            done.and(closed)?;
            // A job may have submitted to a queue nobody knew of.
            if self.queues().await? == queues {
                return Ok(drained);
            }
        }
    }

    pub(super) async fn drain_all(&self) -> Result<Drained> {
        let mut drained = Drained::default();
        loop {
            drained.add(self.drain().await?);
            let Some(moment) = self.next_moment().await? else { return Ok(drained) };
            if moment > self.clock.now() {
                self.clock.set(moment);
            }
            if drained.attempts() > ATTEMPTS_MAX {
                return Err(endless());
            }
        }
    }

    /// Every job, oldest first.
    pub(super) async fn jobs(&self) -> Result<Vec<JobStatus>> {
        let mut jobs = Vec::new();
        let mut after = None;
        loop {
            let request = PageRequest { after, len: PAGE_LEN };
            let page = self.admin()?.jobs(JobFilter::default(), request).await?;
            jobs.extend(page.items);
            after = page.next;
            if after.is_none() {
                jobs.reverse();
                return Ok(jobs);
            }
        }
    }

    async fn drain_queues(&self, consumer: &Arc<dyn Consumer>, drained: &mut Drained) -> Result<()> {
        consumer.heartbeat(WorkerLoad::default()).await?;
        while let Some(delivery) = next_ready(consumer).await? {
            self.attempt(consumer, delivery, drained).await?;
            if drained.attempts() > ATTEMPTS_MAX {
                return Err(endless());
            }
        }
        Ok(())
    }

    async fn attempt(
        &self,
        consumer: &Arc<dyn Consumer>,
        delivery: Delivery,
        drained: &mut Drained,
    ) -> Result<()> {
        let lease = delivery.lease.clone();
        let fault = self.faults.next_attempt(&delivery.call.task);
        let verdict = match fault {
            Some(super::faults::AttemptFault::Fails(verdict)) => verdict,
            fault => {
                let verdict = self.execute(consumer, delivery).await?;
                if fault.is_some() {
                    self.lost_until().push(lease.expires_at);
                    drained.lost += 1;
                    return Ok(());
                }
                verdict
            }
        };
        match &verdict {
            Verdict::Ack(_) => drained.succeeded += 1,
            Verdict::Retry { .. } => drained.failed += 1,
            Verdict::Reject(_) | Verdict::Cancelled(_) => drained.ended += 1,
            Verdict::Release => {}
        }
        match consumer.settle(vec![Settlement { lease, verdict }]).await.pop() {
            Some(Err(error)) => Err(error),
            _ => Ok(()),
        }
    }

    /// Runs the handler, and shows what it said to others.
    async fn execute(&self, consumer: &Arc<dyn Consumer>, delivery: Delivery) -> Result<Verdict> {
        let executor = self
            .executor
            .get()
            .ok_or_else(|| Error::new(&codes::INTERNAL, "drain", "the port has not been opened"))?;
        let lease = delivery.lease.clone();
        let control = Control::new();
        let verdict = executor.execute(Attempt { delivery, control: control.clone() }).await;
        let extension = Extension { lease, progress: control.progress(), notes: control.take_notes() };
        consumer.extend(vec![extension]).await?;
        Ok(verdict)
    }

    fn consumer(&self, queues: Vec<QueueName>) -> Result<Arc<dyn Consumer>> {
        self.backend.consumer(&WorkerSpec {
            name: "drain".into(),
            queues,
            tasks: Vec::new(),
            concurrency: 1,
            prefetch: 0,
            lease_for: LEASE,
            grace: Duration::ZERO,
        })
    }

    async fn queues(&self) -> Result<Vec<QueueName>> {
        let default = QueueName::default_queue();
        let known = self.admin()?.queues().await?.into_iter().map(|queue| queue.name);
        Ok(std::iter::once(default.clone()).chain(known.filter(|name| *name != default)).collect())
    }

    /// The next moment at which a job may start.
    async fn next_moment(&self) -> Result<Option<Timestamp>> {
        let now = self.clock.now();
        let waits = |job: &JobStatus| matches!(job.state, JobState::Scheduled | JobState::Retrying);
        let jobs = self.jobs().await?;
        let due = jobs.iter().filter(|job| waits(job)).filter_map(|job| job.not_before).min();
        let mut lost = self.lost_until();
        lost.retain(|moment| *moment > now);
        Ok(due.into_iter().chain(lost.iter().copied()).min())
    }

    fn admin(&self) -> Result<&dyn taskport_abstraction::Admin> {
        let backend = self.backend();
        backend.admin().ok_or_else(|| crate::port::no_admin(backend.name()))
    }

    fn lost_until(&self) -> std::sync::MutexGuard<'_, Vec<Timestamp>> {
        self.lost_until.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// The next job that may start now. The engine answers in order: once it has answered the heartbeat that was asked for
/// after the job, there is none.
async fn next_ready(consumer: &Arc<dyn Consumer>) -> Result<Option<Delivery>> {
    let mut fetch = consumer.fetch(1);
    let deliveries = tokio::select! {
        biased;
        deliveries = &mut fetch => deliveries?,
        beat = consumer.heartbeat(WorkerLoad::default()) => {
            beat?;
            fetch.now_or_never().transpose()?.unwrap_or_default()
        }
    };
    Ok(deliveries.into_iter().next())
}

fn endless() -> Error {
    let message = format!("more than {ATTEMPTS_MAX} attempts ran, and there was no end");
    Error::new(&codes::WAIT_TIMEOUT, "drain", message)
        .hint("a job that submits itself again is run by hand, step by step")
}
