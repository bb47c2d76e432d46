//! What the pull loop does with a consumer's jobs.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::Duration;

use taskport_abstraction::backend::{
    Attempt, Phase, Shutdown, Verdict, Worker, WorkerEvent, WorkerReport, WorkerSpec,
};
use taskport_abstraction::context::StopReason;
use taskport_abstraction::task::{BoxFuture, Execution};
use taskport_abstraction::{
    Clock, Error, Executor, FailureKind, JobId, Payload, Result, SystemClock, TaskDefinition, Timestamp,
    codes,
};
use taskport_worker::{PullWorker, ShutdownController, shutdown};
use tokio::task::JoinHandle;

use crate::support::{
    FakeConsumer, SECOND, async_task, delivery, executor, null, spec, sync_task, unavailable,
};

/// A worker under way.
struct Running {
    controller: ShutdownController,
    worker: JoinHandle<Result<WorkerReport>>,
}

impl Running {
    fn start(consumer: &Arc<FakeConsumer>, spec: WorkerSpec, tasks: Vec<TaskDefinition>) -> Self {
        Self::with_clock(consumer, spec, tasks, Arc::new(SystemClock))
    }

    fn with_clock(
        consumer: &Arc<FakeConsumer>,
        spec: WorkerSpec,
        tasks: Vec<TaskDefinition>,
        clock: Arc<dyn Clock>,
    ) -> Self {
        let controller = ShutdownController::new();
        let worker = Box::new(PullWorker::new(consumer.clone(), spec, clock));
        let worker = tokio::spawn(worker.run(Arc::new(executor(tasks)), controller.handle()));
        Self { controller, worker }
    }

    async fn ended(self) -> Result<WorkerReport> {
        self.worker.await.unwrap()
    }

    async fn drain(self) -> WorkerReport {
        self.controller.drain();
        self.ended().await.unwrap()
    }
}

fn quick() -> TaskDefinition {
    sync_task("t", Execution::Inline, |_, _| Ok(null()))
}

/// A task that ends when it is asked to, and says so in its error.
fn patient() -> TaskDefinition {
    async_task("t", |context, _| async move {
        let reason = context.cancelled().await;
        Err(format!("{reason:?}").into())
    })
}

fn short_lease() -> WorkerSpec {
    WorkerSpec { lease_for: Duration::from_millis(60), ..spec(4, 4) }
}

#[tokio::test]
async fn every_job_is_settled_once_and_the_report_adds_up() {
    let consumer = FakeConsumer::with_jobs(100, "t");
    consumer.change(|state| state.ready.extend((100..120).map(|number| delivery(number, "fails"))));
    consumer.change(|state| state.ready.extend((120..125).map(|number| delivery(number, "unknown"))));
    let fails = async_task("fails", |_, _| async {
        tokio::task::yield_now().await;
        Err("no".into())
    });
    let running = Running::start(&consumer, spec(8, 8), vec![quick(), fails]);
    consumer.until(|state| state.settled.len() == 125).await;
    let report = running.drain().await;
    assert_eq!(report, WorkerReport { succeeded: 100, failed: 25, ..WorkerReport::default() });
    assert!(consumer.state().closed);
    assert_eq!(consumer.state().in_hand, 0);
}

#[tokio::test]
async fn no_more_is_taken_than_may_wait_and_no_more_runs_than_there_are_slots() {
    let consumer = FakeConsumer::with_jobs(100, "t");
    let (now, most, open) =
        (Arc::<AtomicUsize>::default(), Arc::<AtomicUsize>::default(), Arc::<AtomicBool>::default());
    let gate = Arc::new(tokio::sync::Notify::new());
    let (n, m, o, g) = (now.clone(), most.clone(), open.clone(), gate.clone());
    let task = async_task("t", move |_, _| {
        let (now, most, open, gate) = (n.clone(), m.clone(), o.clone(), g.clone());
        async move {
            most.fetch_max(now.fetch_add(1, Ordering::SeqCst) + 1, Ordering::SeqCst);
            let wait = gate.notified();
            if !open.load(Ordering::SeqCst) {
                wait.await;
            }
            now.fetch_sub(1, Ordering::SeqCst);
            Ok(null())
        }
    });
    let running = Running::start(&consumer, spec(3, 5), vec![task]);
    consumer.until(|state| state.in_hand == 8).await;
    while now.load(Ordering::SeqCst) < 3 {
        tokio::task::yield_now().await;
    }
    open.store(true, Ordering::SeqCst);
    gate.notify_waiters();
    consumer.until(|state| state.settled.len() == 100).await;
    assert_eq!(most.load(Ordering::SeqCst), 3);
    assert!(consumer.state().fetched_max.iter().all(|max| (1..=8).contains(max)));
    assert_eq!(running.drain().await.succeeded, 100);
}

#[tokio::test]
async fn while_a_batch_settles_the_next_runs_and_goes_in_one_call() {
    let consumer = FakeConsumer::with_jobs(200, "t");
    consumer.change(|state| state.settle_held = true);
    let running = Running::start(&consumer, spec(10, 10), vec![quick()]);
    // All run although none can be settled.
    consumer.until(|state| state.in_hand == 200 && state.ready.is_empty()).await;
    consumer.change(|state| state.settle_held = false);
    consumer.until(|state| state.settled.len() == 200).await;
    let calls = consumer.state().settle_calls.len();
    assert!(calls <= 6, "{calls} calls");
    running.drain().await;
}

#[tokio::test]
async fn outcomes_that_cannot_be_settled_stop_the_fetching() {
    let consumer = FakeConsumer::with_jobs(5_000, "t");
    consumer.change(|state| state.settle_held = true);
    let running = Running::start(&consumer, spec(10, 10), vec![quick()]);
    consumer.until(|state| state.in_hand >= 1_024).await;
    for _ in 0..1_000 {
        tokio::task::yield_now().await;
    }
    assert!(consumer.state().in_hand_max <= 1_024 + 20, "{}", consumer.state().in_hand_max);
    consumer.change(|state| state.settle_held = false);
    consumer.until(|state| state.settled.len() == 5_000).await;
    running.drain().await;
}

#[tokio::test(start_paused = true)]
async fn a_settle_that_finds_the_backend_away_is_repeated() {
    let consumer = FakeConsumer::with_jobs(3, "t");
    consumer.change(|state| state.settle_errors.extend((0..7).map(|_| unavailable())));
    let running = Running::start(&consumer, spec(2, 2), vec![quick()]);
    consumer.until(|state| state.settled.len() == 3).await;
    let report = running.drain().await;
    assert_eq!(report, WorkerReport { succeeded: 3, ..WorkerReport::default() });
}

/// A clock that stands until it is moved.
#[derive(Debug, Default)]
struct Hands(std::sync::atomic::AtomicI64);

impl Clock for Hands {
    fn now(&self) -> Timestamp {
        Timestamp::from_micros(self.0.load(Ordering::SeqCst))
    }
}

#[tokio::test(start_paused = true)]
async fn an_outcome_is_given_up_when_its_lease_has_lapsed() {
    let clock = Arc::new(Hands::default());
    let consumer = FakeConsumer::with_jobs(1, "t");
    consumer.change(|state| {
        state.extend_fails = true;
        state.settle_errors.extend((0..10_000).map(|_| unavailable()));
    });
    let running = Running::with_clock(&consumer, spec(2, 2), vec![quick()], clock.clone());
    consumer.until(|state| state.settle_calls.len() > 5).await;
    clock.0.store(31_000_000, Ordering::SeqCst);
    running.controller.drain();
    let report = running.ended().await.unwrap();
    assert_eq!(report, WorkerReport { refused: 1, ..WorkerReport::default() });
}

#[tokio::test]
async fn an_outcome_under_a_lost_lease_is_refused() {
    let consumer = FakeConsumer::with_jobs(2, "t");
    consumer.change(|state| state.lost.insert(0));
    let running = Running::start(&consumer, spec(2, 2), vec![quick()]);
    consumer.until(|state| state.settled.len() == 1).await;
    let report = running.drain().await;
    assert_eq!((report.succeeded, report.refused), (1, 1));
}

#[tokio::test]
async fn a_result_over_the_backends_limit_fails_the_job_for_good() {
    let consumer = FakeConsumer::with_jobs(1, "t");
    consumer.change(|state| state.result_bytes_max = Some(10));
    let large = sync_task("t", Execution::Inline, |_, _| Ok(Payload::encode(&"x".repeat(100))?));
    let running = Running::start(&consumer, spec(2, 2), vec![large]);
    consumer.until(|state| state.settled.len() == 1).await;
    assert_eq!(running.drain().await.failed, 1);
    let state = consumer.state();
    assert!(
        matches!(&state.settled[&0], Verdict::Reject(failure) if failure.kind == FailureKind::ResultTooLarge)
    );
}

#[tokio::test]
async fn leases_are_renewed_while_a_handler_holds_the_only_thread() {
    let consumer = FakeConsumer::with_jobs(1, "t");
    let watched = consumer.clone();
    let spins = sync_task("t", Execution::Inline, move |context, _| {
        context.progress(0.5, None);
        watched.spin_until(|state| state.extended.get(&0).is_some_and(|times| *times >= 3));
        Ok(null())
    });
    let running = Running::start(&consumer, short_lease(), vec![spins]);
    consumer.until(|state| state.settled.len() == 1).await;
    assert_eq!(running.drain().await.succeeded, 1);
    assert_eq!(consumer.state().progress[&0], 0.5);
    assert!(consumer.state().loads.len() > 1);
}

#[tokio::test]
async fn jobs_that_wait_in_the_worker_keep_their_leases_too() {
    let consumer = FakeConsumer::with_jobs(8, "t");
    let running = Running::start(&consumer, short_lease(), vec![patient()]);
    consumer
        .until(|state| (0..8).all(|number| state.extended.get(&number).is_some_and(|times| *times >= 2)))
        .await;
    running.controller.abort();
    assert_eq!(running.ended().await.unwrap().released, 8);
}

#[tokio::test]
async fn an_attempt_whose_lease_is_lost_is_stopped_and_not_settled() {
    let consumer = FakeConsumer::with_jobs(1, "t");
    let seen = Arc::new(std::sync::Mutex::new(None));
    let note = seen.clone();
    let task = async_task("t", move |context, _| {
        let note = note.clone();
        async move {
            *note.lock().unwrap() = Some(context.cancelled().await);
            Ok(null())
        }
    });
    let running = Running::start(&consumer, short_lease(), vec![task]);
    consumer.until(|state| state.in_hand == 1).await;
    consumer.change(|state| state.lost.insert(0));
    consumer.until(|state| state.extended.get(&0).is_some_and(|times| *times > 0)).await;
    let report = running.drain().await;
    assert_eq!(report, WorkerReport { refused: 1, ..WorkerReport::default() });
    assert_eq!(*seen.lock().unwrap(), Some(StopReason::LeaseLost));
    assert!(consumer.state().settled.is_empty());
}

#[tokio::test]
async fn attempts_are_stopped_when_their_leases_lapse_unrenewed() {
    let clock = Arc::new(Hands::default());
    let consumer = FakeConsumer::with_jobs(1, "t");
    consumer.change(|state| state.extend_fails = true);
    let running = Running::with_clock(&consumer, short_lease(), vec![patient()], clock.clone());
    consumer.until(|state| state.in_hand == 1).await;
    clock.0.store(1_000_000, Ordering::SeqCst);
    // It gave up by itself, and nobody else had taken the lease.
    let report = running.drain().await;
    assert_eq!(report, WorkerReport { released: 1, ..WorkerReport::default() });
}

#[tokio::test]
async fn a_cancel_reaches_attempts_by_stream_and_by_heartbeat_and_jobs_that_wait() {
    let consumer = FakeConsumer::with_jobs(3, "t");
    let cancel = consumer.cancellations_sender();
    consumer.change(|state| state.cancel_requested.insert(0));
    let starts = Arc::new(AtomicUsize::new(0));
    let started = starts.clone();
    let task = async_task("t", move |context, _| {
        started.fetch_add(1, Ordering::SeqCst);
        async move {
            context.cancelled().await;
            Err("stopped".into())
        }
    });
    let spec = WorkerSpec { concurrency: 2, prefetch: 1, ..short_lease() };
    let running = Running::start(&consumer, spec, vec![task]);
    consumer.until(|state| state.in_hand == 3).await;
    cancel.send(JobId::new("job-2").unwrap()).await.unwrap();
    consumer.until(|state| state.settled.contains_key(&2) || state.settled.len() == 2).await;
    cancel.send(JobId::new("job-1").unwrap()).await.unwrap();
    consumer.until(|state| state.settled.len() == 3).await;
    let report = running.drain().await;
    assert_eq!(report, WorkerReport { cancelled: 3, ..WorkerReport::default() });
    assert!(starts.load(Ordering::SeqCst) <= 3);
}

#[tokio::test(start_paused = true)]
async fn a_backend_that_is_away_is_tried_again_until_it_is_back() {
    let consumer = FakeConsumer::with_jobs(1, "t");
    consumer.change(|state| state.fetch_errors.extend((0..8).map(|_| unavailable())));
    let running = Running::start(&consumer, spec(2, 2), vec![quick()]);
    consumer.until(|state| state.settled.len() == 1).await;
    assert_eq!(running.drain().await.succeeded, 1);
}

#[tokio::test]
async fn an_error_that_nothing_mends_ends_the_worker_after_what_runs() {
    let consumer = FakeConsumer::with_jobs(1, "t");
    let running = Running::start(&consumer, spec(1, 0), vec![quick()]);
    consumer.until(|state| state.settled.len() == 1).await;
    consumer
        .change(|state| state.fetch_errors.push_back(Error::new(&codes::STORE_CORRUPT, "fetch", "damaged")));
    assert_eq!(running.ended().await.unwrap_err().code(), &codes::STORE_CORRUPT);
    assert!(consumer.state().closed);
}

#[tokio::test]
async fn a_consumer_that_closes_ends_the_worker() {
    let consumer = FakeConsumer::with_jobs(3, "t");
    let running = Running::start(&consumer, spec(2, 2), vec![quick()]);
    consumer.until(|state| state.settled.len() == 3).await;
    consumer.change(|state| state.closed = true);
    assert_eq!(running.ended().await.unwrap().succeeded, 3);
}

#[tokio::test]
async fn a_drain_finishes_what_runs_and_hands_back_what_waits() {
    let consumer = FakeConsumer::with_jobs(10, "t");
    let gate = Arc::new(tokio::sync::Semaphore::new(0));
    let open = gate.clone();
    let task = async_task("t", move |_, _| {
        let gate = gate.clone();
        async move {
            gate.acquire().await?.forget();
            Ok(null())
        }
    });
    let running = Running::start(&consumer, spec(2, 3), vec![task]);
    consumer.until(|state| state.in_hand == 5).await;
    running.controller.drain();
    consumer.until(|state| state.settled.len() >= 3).await;
    open.add_permits(2);
    let report = running.ended().await.unwrap();
    assert_eq!(report, WorkerReport { succeeded: 2, released: 3, ..WorkerReport::default() });
    assert_eq!(consumer.state().ready.len(), 5);
}

#[tokio::test(start_paused = true)]
async fn attempts_that_outlast_the_grace_are_asked_then_dropped_and_handed_back() {
    let consumer = FakeConsumer::with_jobs(1, "t");
    consumer.change(|state| state.ready.push_back(delivery(1, "deaf")));
    let deaf = async_task("deaf", |_, _| std::future::pending());
    let spec = WorkerSpec { grace: 3 * SECOND, ..spec(2, 0) };
    let running = Running::start(&consumer, spec, vec![patient(), deaf]);
    consumer.until(|state| state.in_hand == 2).await;
    let begin = tokio::time::Instant::now();
    let report = running.drain().await;
    assert_eq!(report, WorkerReport { released: 2, ..WorkerReport::default() });
    assert!(begin.elapsed() >= 3 * SECOND && begin.elapsed() < 4 * SECOND, "{:?}", begin.elapsed());
}

#[tokio::test(start_paused = true)]
async fn an_abort_hands_everything_back_at_once() {
    let consumer = FakeConsumer::with_jobs(4, "t");
    let deaf = async_task("t", |_, _| std::future::pending());
    let running = Running::start(&consumer, spec(2, 2), vec![deaf]);
    consumer.until(|state| state.in_hand == 4).await;
    let begin = tokio::time::Instant::now();
    running.controller.drain();
    consumer.until(|state| state.settled.len() == 2).await;
    running.controller.abort();
    let report = running.ended().await.unwrap();
    assert_eq!(report, WorkerReport { released: 4, ..WorkerReport::default() });
    assert!(begin.elapsed() < SECOND, "{:?}", begin.elapsed());
}

#[tokio::test]
async fn a_worker_that_is_dropped_stops_its_attempts() {
    let consumer = FakeConsumer::with_jobs(1, "t");
    let (sender, receiver) = tokio::sync::oneshot::channel::<()>();
    let sender = std::sync::Mutex::new(Some(sender));
    let deaf = async_task("t", move |_, _| {
        let sender = sender.lock().unwrap().take();
        async move {
            let _dropped_with_the_attempt = sender;
            std::future::pending().await
        }
    });
    let running = Running::start(&consumer, spec(1, 0), vec![deaf]);
    consumer.until(|state| state.in_hand == 1).await;
    running.worker.abort();
    assert!(receiver.await.is_err());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 3)]
async fn a_handler_that_hogs_its_thread_holds_up_no_neighbor() {
    let consumer = FakeConsumer::with_jobs(0, "t");
    let watched = consumer.clone();
    let hog = async_task("hog", move |_, _| {
        let watched = watched.clone();
        async move {
            watched.spin_until(|state| state.settled.len() == 500);
            Ok(null())
        }
    });
    consumer.change(|state| {
        state.ready.push_back(delivery(0, "hog"));
        state.ready.extend((1..=500).map(|number| delivery(number, "t")));
    });
    let waits = async_task("t", |_, _| async {
        tokio::task::yield_now().await;
        Ok(null())
    });
    let running = Running::start(&consumer, spec(4, 8), vec![hog, waits]);
    consumer.until(|state| state.settled.len() == 501).await;
    assert_eq!(running.drain().await.succeeded, 501);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 3)]
async fn what_comes_to_an_idle_worker_with_a_hog_does_not_wait_for_it() {
    let consumer = FakeConsumer::with_jobs(0, "t");
    let watched = consumer.clone();
    let hog = sync_task("hog", Execution::Inline, move |_, _| {
        // Every job that has come so far, but for this one.
        watched.spin_until(|state| state.in_hand == 1 && state.ready.is_empty());
        Ok(null())
    });
    let waits = async_task("waits", |_, _| async {
        tokio::time::sleep(Duration::from_micros(1)).await;
        Ok(null())
    });
    let running = Running::start(&consumer, spec(16, 16), vec![hog, quick(), waits]);
    let mut sent = 0;
    // First, last, and between its neighbors, in a worker whose lanes all wait.
    for (before, after) in [(0, 3), (0, 1), (3, 0), (1, 1), (2, 9), (9, 2)].repeat(20) {
        consumer.change(|state| {
            let mut send = |count: u64, task: &str| {
                state.ready.extend((sent..sent + count).map(|number| delivery(number, task)));
                sent += count;
            };
            send(before / 2, "t");
            send(before - before / 2, "waits");
            send(1, "hog");
            send(after / 2, "waits");
            send(after - after / 2, "t");
        });
        consumer.until(|state| state.settled.len() as u64 == sent).await;
    }
    assert_eq!(running.drain().await.succeeded, sent);
}

/// An executor that breaks its contract.
#[derive(Debug)]
struct Panics {
    at_once: bool,
}

impl Executor for Panics {
    fn execute(&self, _: Attempt) -> BoxFuture<'static, Verdict> {
        let at_once = self.at_once;
        Box::pin(async move {
            if !at_once {
                tokio::task::yield_now().await;
            }
            panic!("out of contract")
        })
    }

    fn observe(&self, _: WorkerEvent) {}
}

#[tokio::test]
async fn an_executor_that_panics_leaves_no_job_stuck() {
    for at_once in [false, true] {
        let consumer = FakeConsumer::with_jobs(1, "t");
        let controller = ShutdownController::new();
        let worker = Box::new(PullWorker::new(consumer.clone(), spec(1, 0), Arc::new(SystemClock)));
        let worker = tokio::spawn(worker.run(Arc::new(Panics { at_once }), controller.handle()));
        consumer.until(|state| state.settled.len() == 1).await;
        assert!(matches!(&consumer.state().settled[&0], Verdict::Retry { .. }));
        if at_once {
            assert_eq!(worker.await.unwrap().unwrap_err().code(), &codes::INTERNAL);
        } else {
            controller.drain();
            assert_eq!(worker.await.unwrap().unwrap().failed, 1);
        }
    }
}

#[tokio::test]
async fn the_first_signal_drains_and_the_second_aborts() {
    let controller = shutdown::signals().unwrap();
    assert_eq!(controller.phase(), Phase::Running);
    for (signal, phase) in
        [(rustix::process::Signal::TERM, Phase::Draining), (rustix::process::Signal::INT, Phase::Aborting)]
    {
        rustix::process::kill_process(rustix::process::getpid(), signal).unwrap();
        controller.reached(phase).await;
        assert_eq!(controller.phase(), phase);
    }
}
