//! Tasks made of closures, attempts made by hand, and a consumer that keeps everything in memory and does what it is told.

use std::collections::{HashMap, HashSet, VecDeque};
use std::future::Future;
use std::sync::{Arc, Mutex, MutexGuard};
use std::time::Duration;

use futures_util::stream::{BoxStream, StreamExt, unfold};
use taskport_abstraction::backend::{
    Attempt, Delivery, Extended, Extension, Lease, Settlement, Verdict, WorkerLoad, WorkerSpec,
};
use taskport_abstraction::task::{Execution, Handler, Location};
use taskport_abstraction::{
    Consumer, Error, JobId, JobOptions, LeaseToken, Payload, QueueName, RawCall, Result, SystemClock,
    TaskContext, TaskDefinition, TaskName, TaskResult, async_trait, codes,
};
use taskport_registry::Registry;
use taskport_worker::{Control, ExecutorOptions, TaskExecutor};
use tokio::sync::{Notify, mpsc};

pub(crate) const SECOND: Duration = Duration::from_secs(1);

/// How long a test waits for what must come.
const PATIENCE: Duration = Duration::from_secs(20);

fn definition(name: &str, execution: Execution, handler: Handler) -> TaskDefinition {
    TaskDefinition {
        execution,
        handler: Some(handler),
        ..TaskDefinition::new(TaskName::new(name).unwrap(), Location { file: file!().into(), line: line!() })
    }
}

/// An asynchronous task.
pub(crate) fn async_task<F>(
    name: &str,
    handler: impl Fn(TaskContext, Payload) -> F + Send + Sync + 'static,
) -> TaskDefinition
where
    F: Future<Output = TaskResult<Payload>> + Send + 'static,
{
    let handler = Arc::new(move |context, arguments| Box::pin(handler(context, arguments)) as _);
    definition(name, Execution::Async, Handler::Async(handler))
}

/// A plain task that runs as `execution` says.
pub(crate) fn sync_task(
    name: &str,
    execution: Execution,
    handler: impl Fn(&TaskContext, &Payload) -> TaskResult<Payload> + Send + Sync + 'static,
) -> TaskDefinition {
    definition(name, execution, Handler::Sync(Arc::new(handler)))
}

pub(crate) fn null() -> Payload {
    Payload::json("null")
}

/// An executor of `tasks`.
pub(crate) fn executor_with(
    tasks: impl IntoIterator<Item = TaskDefinition>,
    options: ExecutorOptions,
) -> Result<TaskExecutor> {
    let registry = tasks.into_iter().fold(Registry::builder(), |builder, task| builder.task(task)).build()?;
    TaskExecutor::new(&registry, options)
}

/// An executor of `tasks` with the default options.
pub(crate) fn executor(tasks: impl IntoIterator<Item = TaskDefinition>) -> TaskExecutor {
    executor_with(tasks, ExecutorOptions::default()).unwrap()
}

/// The `number`-th job, of `task`.
pub(crate) fn delivery(number: u64, task: &str) -> Delivery {
    Delivery {
        lease: Lease {
            job: JobId::new(format!("job-{number}")).unwrap(),
            token: LeaseToken(1),
            expires_at: now() + 30 * SECOND,
            receipt: number,
        },
        call: RawCall { task: TaskName::new(task).unwrap(), arguments: Payload::json("[[],{}]") },
        queue: QueueName::default_queue(),
        attempt: 1,
        submitted_at: now(),
        options: Arc::new(JobOptions::default()),
        step: None,
        upstream: None,
    }
}

fn now() -> taskport_abstraction::Timestamp {
    taskport_abstraction::Clock::now(&SystemClock)
}

/// An attempt of `task`, with its control.
pub(crate) fn attempt(task: &str) -> (Attempt, Arc<Control>) {
    let control = Control::new();
    (Attempt { delivery: delivery(1, task), control: control.clone() }, control)
}

/// A worker of `concurrency` slots that waits long for everything.
pub(crate) fn spec(concurrency: usize, prefetch: usize) -> WorkerSpec {
    WorkerSpec {
        name: "w".into(),
        queues: vec![QueueName::default_queue()],
        tasks: Vec::new(),
        concurrency,
        prefetch,
        lease_for: 30 * SECOND,
        grace: 30 * SECOND,
    }
}

/// A consumer in memory.
#[derive(Debug, Default)]
pub(crate) struct FakeConsumer {
    state: Mutex<FakeState>,
    changed: Notify,
    cancellations: Mutex<Option<mpsc::Receiver<JobId>>>,
}

/// What the consumer was asked, and what it is to answer.
#[derive(Debug, Default)]
pub(crate) struct FakeState {
    pub(crate) ready: VecDeque<Delivery>,
    pub(crate) fetch_errors: VecDeque<Error>,
    pub(crate) fetched_max: Vec<usize>,
    pub(crate) in_hand: usize,
    pub(crate) in_hand_max: usize,
    pub(crate) settled: HashMap<u64, Verdict>,
    pub(crate) settle_calls: Vec<usize>,
    pub(crate) settle_errors: VecDeque<Error>,
    pub(crate) settle_held: bool,
    pub(crate) result_bytes_max: Option<usize>,
    pub(crate) extended: HashMap<u64, u32>,
    pub(crate) progress: HashMap<u64, f64>,
    pub(crate) extend_fails: bool,
    pub(crate) lost: HashSet<u64>,
    pub(crate) cancel_requested: HashSet<u64>,
    pub(crate) loads: Vec<WorkerLoad>,
    pub(crate) closed: bool,
}

impl FakeConsumer {
    /// A consumer with jobs `0..count` of `task`.
    pub(crate) fn with_jobs(count: u64, task: &str) -> Arc<Self> {
        let consumer = Arc::new(Self::default());
        consumer.change(|state| state.ready.extend((0..count).map(|number| delivery(number, task))));
        consumer
    }

    /// Sends job ids to the worker as cancelled.
    pub(crate) fn cancellations_sender(&self) -> mpsc::Sender<JobId> {
        let (sender, receiver) = mpsc::channel(16);
        *self.cancellations.lock().unwrap() = Some(receiver);
        sender
    }

    pub(crate) fn state(&self) -> MutexGuard<'_, FakeState> {
        self.state.lock().unwrap()
    }

    /// Changes the state and tells those who wait.
    pub(crate) fn change<T>(&self, change: impl FnOnce(&mut FakeState) -> T) -> T {
        let result = change(&mut self.state());
        self.changed.notify_waiters();
        result
    }

    /// Waits until the state is as `condition` says.
    pub(crate) async fn until(&self, condition: impl Fn(&FakeState) -> bool) {
        let wait = async {
            loop {
                let mut changed = std::pin::pin!(self.changed.notified());
                changed.as_mut().enable();
                if condition(&self.state()) {
                    return;
                }
                changed.await;
            }
        };
        if tokio::time::timeout(PATIENCE, wait).await.is_err() {
            panic!("what must come did not come: {:#?}", self.state());
        }
    }

    /// Waits on a thread, for handlers that never yield.
    pub(crate) fn spin_until(&self, condition: impl Fn(&FakeState) -> bool) {
        let started = tokio::time::Instant::now().into_std();
        while !condition(&self.state()) {
            assert!(started.elapsed() < PATIENCE, "what must come did not come: {:#?}", self.state());
            // Looking all the time would keep the lock from those who are to change the state.
            (0..100_000).for_each(|_| std::hint::spin_loop());
        }
    }
}

pub(crate) fn unavailable() -> Error {
    Error::new(&codes::STORE_IO, "test", "the backend is away")
}

fn lease_lost() -> Error {
    Error::new(&codes::LEASE_LOST, "test", "the lease has passed on")
}

#[async_trait]
impl Consumer for FakeConsumer {
    async fn fetch(&self, max: usize) -> Result<Vec<Delivery>> {
        self.change(|state| state.fetched_max.push(max));
        loop {
            let mut changed = std::pin::pin!(self.changed.notified());
            changed.as_mut().enable();
            {
                let mut state = self.state();
                if let Some(error) = state.fetch_errors.pop_front() {
                    return Err(error);
                }
                if state.closed {
                    return Ok(Vec::new());
                }
                let count = max.min(state.ready.len());
                if count > 0 {
                    state.in_hand += count;
                    state.in_hand_max = state.in_hand_max.max(state.in_hand);
                    return Ok(state.ready.drain(..count).collect());
                }
            }
            changed.await;
        }
    }

    async fn settle(&self, batch: Vec<Settlement>) -> Vec<Result<()>> {
        self.change(|state| state.settle_calls.push(batch.len()));
        self.until(|state| !state.settle_held).await;
        self.change(|state| {
            let settle = |settlement: Settlement| {
                if let Some(error) = state.settle_errors.pop_front() {
                    return Err(error);
                }
                if state.lost.contains(&settlement.lease.receipt) {
                    return Err(lease_lost());
                }
                if let (Verdict::Ack(result), Some(max)) = (&settlement.verdict, state.result_bytes_max)
                    && result.len() > max
                {
                    return Err(Error::new(&codes::PAYLOAD_TOO_LARGE, "settle", "the result is too large"));
                }
                let before = state.settled.insert(settlement.lease.receipt, settlement.verdict);
                assert!(before.is_none(), "settled twice");
                state.in_hand -= 1;
                Ok(())
            };
            batch.into_iter().map(settle).collect()
        })
    }

    async fn extend(&self, batch: Vec<Extension>) -> Result<Vec<Result<Extended>>> {
        self.change(|state| {
            if state.extend_fails {
                return Err(unavailable());
            }
            let extend = |extension: Extension| {
                let number = extension.lease.receipt;
                *state.extended.entry(number).or_default() += 1;
                state.progress.extend(extension.progress.map(|progress| (number, progress.fraction)));
                if state.lost.contains(&number) {
                    return Err(lease_lost());
                }
                let cancel_requested = state.cancel_requested.contains(&number);
                Ok(Extended { expires_at: now() + 30 * SECOND, cancel_requested })
            };
            Ok(batch.into_iter().map(extend).collect())
        })
    }

    fn cancellations(&self) -> BoxStream<'static, JobId> {
        let receiver = self.cancellations.lock().unwrap().take();
        unfold(receiver, async |receiver| {
            let mut receiver = receiver?;
            receiver.recv().await.map(|job| (job, Some(receiver)))
        })
        .boxed()
    }

    async fn heartbeat(&self, load: WorkerLoad) -> Result<()> {
        self.change(|state| state.loads.push(load));
        Ok(())
    }

    async fn close(&self) -> Result<()> {
        self.change(|state| state.closed = true);
        Ok(())
    }
}
