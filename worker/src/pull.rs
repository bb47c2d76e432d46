//! The loop for backends that are pulled: fetch, run, renew, settle.
//!
//! ```text
//!  Consumer::fetch ──▶ InHand.ready ──▶ lanes ──▶ InHand.finished ──▶ settlers ──▶ Consumer::settle
//!                          │              └─ pending at first poll: a task of its own
//!                          └── every lease ◀── the keeper's thread ──▶ Consumer::{extend, heartbeat, cancellations}
//! ```
//!
//! A *lane* polls an attempt once in place, which is all that a plain function or a short future needs, and gives it a
//! task of its own only when it has to wait: a job that never waits then costs about half of one that has a task. There are
//! as many lanes as the runtime has threads, so a handler that hogs its thread holds up one lane and no neighbor. While one
//! batch settles, the next runs: two settlers take turns.
//!
//! What a task wakes or spawns last waits in a slot of its thread from which no other thread takes it. Behind a handler that
//! hogs the thread it would wait for as long as that does, so a lane that has woken anybody gives way before it starts the
//! next attempt, with none in hand. What an attempt itself has woken or yielded to on a thread is out of our hands: a task
//! that keeps its thread for long is to be declared as blocking.

mod backoff;
mod bell;
mod in_hand;
mod keeper;
mod lane;
mod settler;

use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use taskport_abstraction::backend::{Phase, Shutdown, WorkerEvent, WorkerReport, WorkerSpec};
use taskport_abstraction::context::StopReason;
use taskport_abstraction::{Clock, Consumer, Error, ErrorKind, Executor, Result, Worker, codes};
use tokio::runtime::Handle;
use tokio::task::JoinSet;
use tokio::time::{sleep, timeout};

use self::backoff::Backoff;
use self::in_hand::InHand;
use self::keeper::Keeper;

/// How many settle calls may be under way at once: one that commits and one that gathers.
const SETTLERS: usize = 2;

/// How long attempts have to give up once the grace period is over.
const STOP_TIME: Duration = Duration::from_millis(500);

/// Fetches jobs under leases, has them executed, renews the leases and settles the outcomes.
///
/// # Delivery
/// An outcome is forgotten only when the backend has stored it or has refused it (I1). A settle that cannot reach the
/// backend is repeated until the lease has lapsed.
///
/// # Limits
/// At most `concurrency + prefetch` jobs wait or run, and at most as many outcomes, or 1,024 where that is more, wait to
/// be settled; while either is full, nothing is fetched (I5).
#[derive(Debug)]
pub struct PullWorker {
    consumer: Arc<dyn Consumer>,
    spec: WorkerSpec,
    clock: Arc<dyn Clock>,
}

impl PullWorker {
    /// A worker that takes jobs from `consumer`, of which it is the only user.
    pub fn new(consumer: Arc<dyn Consumer>, spec: WorkerSpec, clock: Arc<dyn Clock>) -> Self {
        Self { consumer, spec, clock }
    }
}

#[async_trait]
impl Worker for PullWorker {
    /// See [`Worker::run`].
    ///
    /// # Cancel safety
    /// Dropping the future stops every attempt as a crash would: its jobs run again when their leases have lapsed.
    async fn run(
        self: Box<Self>,
        executor: Arc<dyn Executor>,
        shutdown: Arc<dyn Shutdown>,
    ) -> Result<WorkerReport> {
        let Self { consumer, spec, clock } = *self;
        tracing::info!(worker = %spec.name, queues = ?spec.queues, concurrency = spec.concurrency, "worker started");
        let in_hand = Arc::new(InHand::new(&spec, clock.clone()));
        let _running = DropRunning(in_hand.clone());
        let mut keeper = Keeper::start(in_hand.clone(), consumer.clone(), executor.clone(), &spec)?;
        let mut lanes = JoinSet::new();
        let lane_count = spec.concurrency.clamp(1, Handle::current().metrics().num_workers().max(1));
        for _ in 0..lane_count {
            lanes.spawn(lane::run(in_hand.clone(), executor.clone()));
        }
        let mut settlers = JoinSet::new();
        for index in 0..SETTLERS {
            let backoff = Backoff::new(clock.now(), index as u64);
            settlers.spawn(settler::run(
                in_hand.clone(),
                consumer.clone(),
                executor.clone(),
                spec.lease_for,
                backoff,
            ));
        }

        let backoff = Backoff::new(clock.now(), SETTLERS as u64);
        let ended = tokio::select! {
            ended = fetch(&in_hand, consumer.as_ref(), executor.as_ref(), shutdown.as_ref(), backoff) => ended,
            _ = lanes.join_next() => Err(broken("running jobs")),
            _ = settlers.join_next() => Err(broken("settling outcomes")),
            () = keeper.ended() => Err(broken("renewing leases")),
        };
        drain(&in_hand, shutdown.as_ref(), spec.grace).await;
        in_hand.close();
        while settlers.join_next().await.is_some() {}
        drop(keeper);
        lanes.abort_all();
        let closed = timeout(spec.lease_for, consumer.close()).await;
        if let Err(error) = closed.unwrap_or_else(|_| Err(late("close"))) {
            tracing::warn!(%error, "the consumer did not close");
        }
        let report = in_hand.report();
        tracing::info!(worker = %spec.name, ?report, "worker stopped");
        ended.map(|()| report)
    }
}

/// Drops every attempt that has a task of its own when the worker is dropped while it runs.
#[derive(Debug)]
struct DropRunning(Arc<InHand>);

impl Drop for DropRunning {
    fn drop(&mut self) {
        self.0.release_running();
    }
}

/// Keeps the worker supplied until it is to stop.
///
/// # Errors
/// The error that no reconnect can mend.
async fn fetch(
    in_hand: &InHand,
    consumer: &dyn Consumer,
    executor: &dyn Executor,
    shutdown: &dyn Shutdown,
    mut backoff: Backoff,
) -> Result<()> {
    let mut draining = shutdown.reached(Phase::Draining);
    loop {
        let fetched = tokio::select! {
            biased;
            () = &mut draining => return Ok(()),
            fetched = async { consumer.fetch(in_hand.room().await).await } => fetched,
        };
        let error = match fetched {
            Ok(batch) if batch.is_empty() => return Ok(()),
            Ok(batch) => {
                backoff.reset();
                executor.observe(WorkerEvent::Claimed(batch.len()));
                in_hand.add(batch);
                continue;
            }
            Err(error) => error,
        };
        if error.code() == &codes::CLOSED || !can_mend(&error) {
            return Err(error);
        }
        executor.observe(WorkerEvent::ClaimFailed);
        let delay = backoff.next();
        tracing::warn!(%error, delay_ms = delay.as_millis(), "no jobs can be fetched; trying again");
        tokio::select! {
            () = &mut draining => return Ok(()),
            () = sleep(delay) => {}
        }
    }
}

/// Hands back what waits, lets what runs finish within the grace period, and hands back the rest.
async fn drain(in_hand: &InHand, shutdown: &dyn Shutdown, grace: Duration) {
    in_hand.release_ready();
    if !finishes(in_hand, shutdown, grace).await {
        in_hand.stop_all(StopReason::ShuttingDown);
        finishes(in_hand, shutdown, STOP_TIME).await;
        in_hand.release_running();
    }
}

/// Whether everything that runs ends within `limit` and before the shutdown is to be at once.
async fn finishes(in_hand: &InHand, shutdown: &dyn Shutdown, limit: Duration) -> bool {
    tokio::select! {
        biased;
        () = in_hand.idle() => true,
        () = shutdown.reached(Phase::Aborting) => false,
        () = sleep(limit) => false,
    }
}

/// Whether waiting or connecting again may help.
fn can_mend(error: &Error) -> bool {
    matches!(
        error.kind(),
        ErrorKind::Unavailable
            | ErrorKind::Timeout
            | ErrorKind::Backpressure
            | ErrorKind::Denied
            | ErrorKind::LeaseLost
            | ErrorKind::Internal
    )
}

/// A part of the worker panicked: an executor or an adapter broke its contract.
fn broken(part: &str) -> Error {
    Error::new(&codes::INTERNAL, "work", format!("the part of the worker for {part} has ended"))
}

fn late(operation: &'static str) -> Error {
    Error::new(&codes::WAIT_TIMEOUT, operation, "the backend did not answer in time")
}
