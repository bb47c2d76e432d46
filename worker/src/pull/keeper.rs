//! Keeps leases and the worker alive, from a thread of its own: a handler that never yields cannot stop it.

use std::sync::Arc;
use std::thread;
use std::time::Duration;

use futures_util::StreamExt;
use futures_util::future::join4;
use taskport_abstraction::backend::{Extension, WorkerEvent, WorkerSpec};
use taskport_abstraction::{Consumer, Error, ErrorKind, Executor, Result, codes};
use tokio::runtime;
use tokio::sync::oneshot;
use tokio::time::{MissedTickBehavior, interval, sleep, timeout};

use super::backoff::Backoff;
use super::in_hand::InHand;
use super::late;

/// How many leases one call extends at most.
const EXTEND_LEN_MAX: usize = 1_024;
/// How often what attempts say is handed over, at most.
const NEWS_EVERY: Duration = Duration::from_millis(200);

/// The thread; it ends when this is dropped.
#[derive(Debug)]
pub(super) struct Keeper {
    _stop: oneshot::Sender<()>,
    ended: oneshot::Receiver<()>,
}

impl Keeper {
    /// Starts the thread.
    ///
    /// # Errors
    /// `Internal` where the operating system refuses a thread.
    pub(super) fn start(
        in_hand: Arc<InHand>,
        consumer: Arc<dyn Consumer>,
        executor: Arc<dyn Executor>,
        spec: &WorkerSpec,
    ) -> Result<Self> {
        let refused = |source| {
            Error::new(&codes::INTERNAL, "start worker", "no thread for renewing leases can be started")
                .caused_by(source)
        };
        let runtime = runtime::Builder::new_current_thread().enable_all().build().map_err(refused)?;
        let (stop, stopped) = oneshot::channel();
        let (alive, ended) = oneshot::channel();
        let period = (spec.lease_for / 3).max(Duration::from_millis(1));
        let keep = async move {
            tokio::select! {
                _ = stopped => {}
                ((), (), (), ()) = join4(
                    renew(&in_hand, consumer.as_ref(), executor.as_ref(), period),
                    tell(&in_hand, consumer.as_ref(), executor.as_ref(), period),
                    report(&in_hand, consumer.as_ref(), period),
                    listen(&in_hand, consumer.as_ref()),
                ) => {}
            }
        };
        thread::Builder::new()
            .name("taskport-leases".to_owned())
            .spawn(move || {
                let _alive = alive;
                runtime.block_on(keep);
            })
            .map_err(refused)?;
        Ok(Self { _stop: stop, ended })
    }

    /// Resolves when the thread has ended, which it does by itself only by a panic.
    pub(super) async fn ended(&mut self) {
        let _dropped: Result<(), _> = (&mut self.ended).await;
    }
}

/// Renews every lease at a third of its length.
async fn renew(in_hand: &InHand, consumer: &dyn Consumer, executor: &dyn Executor, period: Duration) {
    let mut backoff = Backoff::new(in_hand.now(), 0x1EA5E);
    loop {
        sleep(period).await;
        while let Err(error) = renew_all(in_hand, consumer, executor, period).await {
            in_hand.stop_lapsed();
            executor.observe(WorkerEvent::ExtendFailed);
            tracing::warn!(%error, "leases cannot be renewed; trying again");
            sleep(backoff.next().min(period)).await;
        }
        backoff.reset();
    }
}

async fn renew_all(
    in_hand: &InHand,
    consumer: &dyn Consumer,
    executor: &dyn Executor,
    limit: Duration,
) -> Result<()> {
    // While somebody else hands over what attempts say, the leases alone are renewed.
    let talking = in_hand.try_to_talk();
    extend(in_hand, consumer, executor, &in_hand.leases(), talking.is_some(), limit).await
}

/// Hands over what attempts say, soon after they say it.
async fn tell(in_hand: &InHand, consumer: &dyn Consumer, executor: &dyn Executor, limit: Duration) {
    loop {
        let (keys, talking) = in_hand.news().await;
        if let Err(error) = extend(in_hand, consumer, executor, &keys, true, limit).await {
            tracing::debug!(%error, "what attempts say cannot be handed over; trying again");
        }
        drop(talking);
        sleep(NEWS_EVERY).await;
    }
}

/// Extends some leases, with `notes` together with what their attempts have said.
async fn extend(
    in_hand: &InHand,
    consumer: &dyn Consumer,
    executor: &dyn Executor,
    keys: &[u64],
    notes: bool,
    limit: Duration,
) -> Result<()> {
    let mut failed = Ok(());
    for keys in keys.chunks(EXTEND_LEN_MAX) {
        let asked_at = in_hand.now();
        let chunk = in_hand.extensions(keys, notes);
        let batch: Vec<Extension> = chunk.iter().map(|(_, extension)| extension.clone()).collect();
        let answer = timeout(limit, consumer.extend(batch)).await;
        let results = match answer.unwrap_or_else(|_| Err(late("extend").maybe_applied())) {
            Ok(results) => results,
            Err(error) => {
                in_hand.unsaid(chunk);
                return Err(error);
            }
        };
        let (mut extended_len, mut lost_len) = (0, 0);
        for ((key, extension), result) in chunk.into_iter().zip(results) {
            match result {
                Ok(extended) => {
                    in_hand.extended(key, asked_at, extended);
                    extended_len += 1;
                }
                Err(error) if matches!(error.kind(), ErrorKind::LeaseLost | ErrorKind::NotFound) => {
                    tracing::debug!(job = %extension.lease.job, %error, "lease lost");
                    in_hand.lost(key);
                    lost_len += 1;
                }
                Err(error) => {
                    in_hand.unsaid(vec![(key, extension)]);
                    failed = Err(error);
                }
            }
        }
        executor.observe(WorkerEvent::Extended(extended_len));
        executor.observe(WorkerEvent::LeasesLost(lost_len));
    }
    failed
}

/// Says what the worker is doing, at once and then as often as leases are renewed.
async fn report(in_hand: &InHand, consumer: &dyn Consumer, period: Duration) {
    let mut ticks = interval(period);
    ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    loop {
        ticks.tick().await;
        let beat = timeout(period, consumer.heartbeat(in_hand.load())).await;
        if let Err(error) = beat.unwrap_or_else(|_| Err(late("heartbeat"))) {
            tracing::warn!(%error, "no heartbeat can be sent");
        }
    }
}

/// Stops attempts whose jobs are cancelled.
async fn listen(in_hand: &InHand, consumer: &dyn Consumer) {
    let mut cancelled = consumer.cancellations();
    while let Some(job) = cancelled.next().await {
        in_hand.cancel(&job);
    }
}
