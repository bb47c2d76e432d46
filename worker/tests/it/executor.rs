//! What the executor makes of one attempt.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::mpsc::sync_channel;

use taskport_abstraction::backend::Verdict;
use taskport_abstraction::context::StopReason;
use taskport_abstraction::task::Execution;
use taskport_abstraction::{
    ArgumentsView, AttemptControl, Executor, FailureKind, JobOptions, Payload, TaskContext, TaskDefinition,
    TaskError, TaskResult, codes,
};
use taskport_worker::profile::{Isolation, StartRate};
use taskport_worker::{ExecutorOptions, Profile};
use tokio::time::Instant;

use crate::support::{SECOND, async_task, attempt, executor, executor_with, null, sync_task};

async fn verdict_of(task: TaskDefinition) -> Verdict {
    let name = task.name.clone();
    executor([task]).execute(attempt(name.as_str()).0).await
}

fn kind(verdict: &Verdict) -> Option<FailureKind> {
    match verdict {
        Verdict::Ack(_) | Verdict::Release => None,
        Verdict::Retry { failure, .. } | Verdict::Reject(failure) | Verdict::Cancelled(failure) => {
            Some(failure.kind)
        }
    }
}

#[tokio::test]
async fn a_result_is_acknowledged_wherever_the_handler_runs() {
    let echo =
        |context: &TaskContext, _: &Payload| Payload::encode(context.job().as_str()).map_err(TaskError::from);
    for task in [
        sync_task("t", Execution::Inline, echo),
        sync_task("t", Execution::Blocking, echo),
        async_task("t", move |context, arguments| async move { echo(&context, &arguments) }),
    ] {
        assert_eq!(verdict_of(task).await, Verdict::Ack(Payload::json(r#""job-1""#)));
    }
}

#[tokio::test]
async fn an_unknown_task_is_rejected_with_the_nearest_known_one() {
    let executor = executor([sync_task("render", Execution::Inline, |_, _| Ok(null()))]);
    let verdict = executor.execute(attempt("rendr").0).await;
    let Verdict::Reject(failure) = verdict else { panic!("{verdict:?}") };
    assert_eq!(failure.kind, FailureKind::UnknownTask);
    assert!(failure.message.ends_with("did you mean `render`?"), "{}", failure.message);
    assert!(!failure.retryable);
}

#[tokio::test]
async fn arguments_that_do_not_fit_are_rejected() {
    let task = sync_task("t", Execution::Inline, |_, arguments| {
        let view =
            ArgumentsView::bind(arguments, &["title"]).map_err(|error| TaskError::bad_arguments(&error))?;
        let _title: String = view.required(0).map_err(|error| TaskError::bad_arguments(&error))?;
        Ok(null())
    });
    let verdict = verdict_of(task).await;
    let Verdict::Reject(failure) = verdict else { panic!("{verdict:?}") };
    assert_eq!(failure.kind, FailureKind::BadArguments);
    assert!(failure.message.contains("argument `title` is missing"), "{}", failure.message);
}

#[tokio::test]
async fn each_way_to_fail_has_its_verdict() {
    let retry =
        verdict_of(async_task("t", |_, _| async { Err(TaskError::retry_after(SECOND, "later")) })).await;
    assert!(
        matches!(&retry, Verdict::Retry { after: Some(SECOND), failure } if failure.attempt == 1),
        "{retry:?}"
    );
    let fatal = verdict_of(async_task("t", |_, _| async { Err(TaskError::fatal("never")) })).await;
    assert!(matches!(&fatal, Verdict::Reject(failure) if failure.kind == FailureKind::Fatal), "{fatal:?}");
    let error = verdict_of(async_task("t", |_, _| async { Err("plain".into()) })).await;
    assert!(
        matches!(&error, Verdict::Retry { after: None, failure } if failure.message == "plain"),
        "{error:?}"
    );
}

#[tokio::test]
async fn a_panic_ends_one_attempt_and_says_where() {
    fn boom(job: &str) -> TaskResult<Payload> {
        panic!("boom in {job}")
    }
    for task in [
        sync_task("t", Execution::Inline, |context, _| boom(context.job().as_str())),
        sync_task("t", Execution::Blocking, |context, _| boom(context.job().as_str())),
        async_task("t", |context, _| async move {
            tokio::task::yield_now().await;
            boom(context.job().as_str())
        }),
        async_task("t", |context, _| {
            let _before_the_future = boom(context.job().as_str());
            async { Ok(null()) }
        }),
    ] {
        let executor = executor([task, sync_task("fine", Execution::Inline, |_, _| Ok(null()))]);
        let verdict = executor.execute(attempt("t").0).await;
        let Verdict::Retry { failure, .. } = verdict else { panic!("{verdict:?}") };
        assert_eq!((failure.kind, failure.message.as_str()), (FailureKind::Panicked, "boom in job-1"));
        assert!(failure.traceback.unwrap().contains("executor.rs"));
        assert_eq!(executor.execute(attempt("fine").0).await, Verdict::Ack(null()));
    }
}

#[tokio::test]
async fn a_panic_that_carries_no_text_or_panics_again_is_caught_too() {
    struct Bomb;
    impl Drop for Bomb {
        fn drop(&mut self) {
            panic!("dropped");
        }
    }
    let odd = verdict_of(async_task("t", |_, _| async { std::panic::panic_any(Bomb) })).await;
    assert_eq!(kind(&odd), Some(FailureKind::Panicked));
}

#[tokio::test(start_paused = true)]
async fn a_soft_limit_asks_and_the_answer_counts() {
    let soft = |answer: fn(StopReason) -> TaskResult<Payload>| {
        let mut task = async_task("t", move |context, _| async move { answer(context.cancelled().await) });
        task.options.timeout_soft = Some(SECOND);
        task
    };
    let started = Instant::now();
    let kept = verdict_of(soft(|reason| Ok(Payload::encode(&format!("{reason:?}"))?))).await;
    assert_eq!(kept, Verdict::Ack(Payload::json(r#""TimedOut""#)));
    assert_eq!(started.elapsed(), SECOND);
    let given_up = verdict_of(soft(|_| Err("no time".into()))).await;
    let Verdict::Retry { failure, .. } = given_up else { panic!("{given_up:?}") };
    assert_eq!((failure.kind, failure.message.as_str()), (FailureKind::TimedOut, "no time"));
}

/// Sets a flag when it is dropped.
struct Flag(Arc<AtomicBool>);

impl Drop for Flag {
    fn drop(&mut self) {
        self.0.store(true, Ordering::SeqCst);
    }
}

#[tokio::test(start_paused = true)]
async fn a_hard_limit_drops_the_future_and_the_shortest_of_all_holds() {
    let dropped = Arc::new(AtomicBool::new(false));
    let flag = dropped.clone();
    let mut task = async_task("t", move |_, _| {
        let flag = Flag(flag.clone());
        async move {
            let _flag = flag;
            std::future::pending().await
        }
    });
    task.options.timeout_hard = Some(8 * SECOND);
    let profile = Profile { time_limit: Some(4 * SECOND), ..Profile::new("p", ["t"]) };
    let options = ExecutorOptions { profiles: vec![profile], ..ExecutorOptions::default() };
    let executor = executor_with([task], options).unwrap();
    for (asked, expected) in [(None, 4), (Some(6 * SECOND), 4), (Some(2 * SECOND), 2)] {
        dropped.store(false, Ordering::SeqCst);
        let (mut attempt, control) = attempt("t");
        attempt.delivery.options = Arc::new(JobOptions { timeout_hard: asked, ..JobOptions::default() });
        let started = Instant::now();
        let verdict = executor.execute(attempt).await;
        assert_eq!(started.elapsed(), expected * SECOND);
        assert_eq!(kind(&verdict), Some(FailureKind::TimedOut));
        assert!(matches!(verdict, Verdict::Retry { .. }));
        assert!(dropped.load(Ordering::SeqCst));
        assert_eq!(control.stop_reason(), Some(StopReason::TimedOut));
    }
}

#[tokio::test(start_paused = true)]
async fn a_cancelled_attempt_is_asked_then_dropped_and_a_result_still_counts() {
    let executor = executor([
        async_task("gives_up", |context, _| async move {
            context.cancelled().await;
            Err("stopped".into())
        }),
        async_task("finishes", |context, _| async move {
            context.cancelled().await;
            Ok(null())
        }),
        async_task("ignores", |_, _| std::future::pending()),
    ]);
    for (task, expected) in [("gives_up", None), ("finishes", Some(Verdict::Ack(null()))), ("ignores", None)]
    {
        let (attempt, control) = attempt(task);
        let running = tokio::spawn(executor.execute(attempt));
        tokio::task::yield_now().await;
        control.stop(StopReason::Cancelled);
        let verdict = running.await.unwrap();
        match expected {
            Some(expected) => assert_eq!(verdict, expected),
            None => assert!(matches!(&verdict, Verdict::Cancelled(_)), "{task}: {verdict:?}"),
        }
    }
}

#[tokio::test]
async fn an_attempt_stopped_before_it_starts_never_runs() {
    let executor = executor([sync_task("t", Execution::Inline, |_, _| panic!("it ran"))]);
    for (reason, released) in [(StopReason::Cancelled, false), (StopReason::ShuttingDown, true)] {
        let (attempt, control) = attempt("t");
        control.stop(reason);
        let verdict = executor.execute(attempt).await;
        assert_eq!(verdict == Verdict::Release, released, "{verdict:?}");
        assert_ne!(kind(&verdict), Some(FailureKind::Panicked));
    }
}

#[tokio::test]
async fn limits_that_cannot_be_kept_are_refused_before_the_first_job() {
    let plain = |execution| sync_task("render.page", execution, |_, _| Ok(null()));
    let heavy = Profile::new("heavy", ["render*"]);
    let limited = Profile { time_limit: Some(SECOND), ..heavy.clone() };
    let lean = Profile { memory_bytes: Some(1 << 20), ..heavy.clone() };
    let apart = Profile { isolation: Isolation::Process, ..heavy.clone() };
    let stuck = Profile { concurrency: Some(0), ..heavy.clone() };
    for (task, profile, code) in [
        (plain(Execution::Blocking), &limited, &codes::BAD_DEFINITION),
        (plain(Execution::Inline), &limited, &codes::BAD_DEFINITION),
        (plain(Execution::Blocking), &lean, &codes::BAD_DEFINITION),
        (plain(Execution::Blocking), &apart, &codes::ISOLATION),
        (plain(Execution::Isolated), &heavy, &codes::ISOLATION),
        (plain(Execution::Inline), &stuck, &codes::CONFIG_VALUE),
    ] {
        let options = ExecutorOptions { profiles: vec![profile.clone()], ..ExecutorOptions::default() };
        let error = executor_with([task], options).unwrap_err();
        assert_eq!(error.code(), code, "{error}");
    }
    let no_threads = ExecutorOptions { blocking_threads_max: 0, ..ExecutorOptions::default() };
    assert_eq!(executor_with([], no_threads).unwrap_err().code(), &codes::CONFIG_VALUE);
}

#[tokio::test]
async fn a_hard_limit_asked_for_a_thread_that_cannot_be_left_is_rejected() {
    let executor = executor([sync_task("t", Execution::Blocking, |_, _| Ok(null()))]);
    let (mut attempt, _control) = attempt("t");
    attempt.delivery.options = Arc::new(JobOptions { timeout_hard: Some(SECOND), ..JobOptions::default() });
    assert!(matches!(executor.execute(attempt).await, Verdict::Reject(_)));
}

#[tokio::test(start_paused = true)]
async fn a_thread_left_behind_keeps_its_slot_and_is_counted() {
    let (release, released) = sync_channel::<()>(1);
    let released = std::sync::Mutex::new(released);
    let begun = Arc::new(tokio::sync::Notify::new());
    let begins = begun.clone();
    let mut stuck = sync_task("stuck", Execution::Blocking, move |_, _| {
        begins.notify_one();
        released.lock().unwrap().recv()?;
        Ok(null())
    });
    stuck.detach_on_timeout = true;
    stuck.options.timeout_hard = Some(SECOND);
    let quick = sync_task("quick", Execution::Blocking, |_, _| Ok(null()));
    let options = ExecutorOptions { blocking_threads_max: 1, ..ExecutorOptions::default() };
    let executor = executor_with([stuck, quick], options).unwrap();

    let running = tokio::spawn(executor.execute(attempt("stuck").0));
    begun.notified().await;
    tokio::time::advance(2 * SECOND).await;
    assert_eq!(kind(&running.await.unwrap()), Some(FailureKind::TimedOut));
    assert_eq!(executor.detached(), 1);
    let mut waits = executor.execute(attempt("quick").0);
    assert!(futures_util::poll!(&mut waits).is_pending());
    release.send(()).unwrap();
    assert_eq!(waits.await, Verdict::Ack(null()));
    assert_eq!(executor.detached(), 0);
}

#[tokio::test(start_paused = true)]
async fn a_class_runs_no_more_at_once_than_its_profile_says() {
    let (running, most) = (Arc::new(AtomicUsize::new(0)), Arc::new(AtomicUsize::new(0)));
    let (now, peak) = (running.clone(), most.clone());
    let task = |name: &str| {
        let (now, peak) = (now.clone(), peak.clone());
        async_task(name, move |_, _| {
            let (now, peak) = (now.clone(), peak.clone());
            async move {
                peak.fetch_max(now.fetch_add(1, Ordering::SeqCst) + 1, Ordering::SeqCst);
                tokio::time::sleep(SECOND).await;
                now.fetch_sub(1, Ordering::SeqCst);
                Ok(null())
            }
        })
    };
    let profile = Profile { concurrency: Some(2), ..Profile::new("heavy", ["render*"]) };
    let options = ExecutorOptions { profiles: vec![profile], ..ExecutorOptions::default() };
    let executor = executor_with([task("render.a"), task("render.b")], options).unwrap();
    let started = Instant::now();
    let names = ["render.a", "render.b", "render.a", "render.b", "render.a"];
    futures_util::future::join_all(names.map(|name| executor.execute(attempt(name).0))).await;
    assert_eq!((most.load(Ordering::SeqCst), started.elapsed()), (2, 3 * SECOND));
}

#[tokio::test(start_paused = true)]
async fn a_class_starts_no_faster_than_its_rate() {
    let starts = Arc::new(std::sync::Mutex::new(Vec::new()));
    let noted = starts.clone();
    let task = async_task("t", move |_, _| {
        noted.lock().unwrap().push(Instant::now());
        async { Ok(null()) }
    });
    let rate = StartRate { count: 2, period: 10 * SECOND };
    let profile = Profile { rate_limit: Some(rate), ..Profile::new("slow", ["*"]) };
    let options = ExecutorOptions { profiles: vec![profile], ..ExecutorOptions::default() };
    let executor = executor_with([task], options).unwrap();
    let begin = Instant::now();
    futures_util::future::join_all((0..5).map(|_| executor.execute(attempt("t").0))).await;
    let seconds: Vec<u64> = starts.lock().unwrap().iter().map(|start| (*start - begin).as_secs()).collect();
    assert_eq!(seconds, [0, 0, 10, 10, 20]);
}

#[tokio::test]
async fn an_attempt_that_waits_for_its_class_can_be_stopped() {
    let task = async_task("t", |_, _| std::future::pending());
    let profile = Profile { concurrency: Some(1), ..Profile::new("p", ["*"]) };
    let options = ExecutorOptions { profiles: vec![profile], ..ExecutorOptions::default() };
    let executor = executor_with([task], options).unwrap();
    let mut first = executor.execute(attempt("t").0);
    assert!(futures_util::poll!(&mut first).is_pending());
    for (reason, expected) in
        [(StopReason::Cancelled, Some(FailureKind::Cancelled)), (StopReason::ShuttingDown, None)]
    {
        let (attempt, control) = attempt("t");
        let mut waits = executor.execute(attempt);
        assert!(futures_util::poll!(&mut waits).is_pending());
        control.stop(reason);
        assert_eq!(kind(&waits.await), expected);
    }
}

/// What is logged goes here.
#[derive(Clone, Default)]
struct Log(Arc<std::sync::Mutex<Vec<u8>>>);

impl std::io::Write for Log {
    fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
        self.0.lock().unwrap().write(bytes)
    }

    fn flush(&mut self) -> std::io::Result<()> {
        Ok(())
    }
}

#[tokio::test]
async fn the_log_names_the_attempt_and_its_trace_and_never_its_payload() {
    const TRACE: &str = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01";
    let strict = sync_task("strict", Execution::Inline, |_, arguments| {
        let view =
            ArgumentsView::bind(arguments, &["n"]).map_err(|error| TaskError::bad_arguments(&error))?;
        let n: u32 = view.required(0).map_err(|error| TaskError::bad_arguments(&error))?;
        Ok(Payload::encode(&format!("secret-result-{n}"))?)
    });
    let executor = executor([strict]);
    let both = async || {
        for arguments in [r#"[["secret-argument"],{}]"#, "[[1],{}]"] {
            let (mut attempt, _control) = attempt("strict");
            attempt.delivery.call.arguments = Payload::json(arguments);
            let trace = Some(taskport_abstraction::options::TraceContext::new(TRACE).unwrap());
            attempt.delivery.options = Arc::new(JobOptions { trace, ..JobOptions::default() });
            executor.execute(attempt).await;
        }
    };
    // With one listener in the process, a place in the code that another thread comes to first asks that thread's, which
    // has none, and stays silent for all. So there is one for everybody else.
    let everybody =
        tracing_subscriber::fmt().with_max_level(tracing::Level::TRACE).with_writer(std::io::sink);
    let _first_stays = tracing::subscriber::set_global_default(everybody.finish());
    let log = Log::default();
    let writer = log.clone();
    let subscriber = tracing_subscriber::fmt()
        .json()
        .with_max_level(tracing::Level::TRACE)
        .with_writer(move || writer.clone())
        .finish();
    let _guard = tracing::subscriber::set_default(subscriber);
    both().await;
    let text = String::from_utf8(log.0.lock().unwrap().clone()).unwrap();
    assert!(!text.contains("secret"), "{text}");
    let has = |message: &str| {
        let mut lines = text.lines().filter(|line| line.contains(message));
        let line = lines.next().unwrap_or_else(|| panic!("no line says `{message}`: {text}"));
        for part in
            [r#""job":"job-1""#, r#""attempt":1"#, r#""queue":"default""#, r#""task":"strict""#, TRACE]
        {
            assert!(line.contains(part), "{part} is not in {line}");
        }
    };
    has("attempt started");
    has("attempt succeeded");
    has("attempt failed for good");
}
