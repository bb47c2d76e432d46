//! What is promised of isolated attempts.

use std::io::{BufRead, BufReader, Write};
use std::process::{ExitCode, Stdio};
use std::sync::Arc;
use std::time::Duration;

use taskport_abstraction::backend::{Attempt, Delivery, Lease, Verdict};
use taskport_abstraction::context::{StopReason, Upstream};
use taskport_abstraction::journal::{LogLevel, Note};
use taskport_abstraction::task::BoxFuture;
use taskport_abstraction::{
    AttemptControl, Executor, FailureKind, JobId, JobOptions, LeaseToken, Payload, QueueName, RawCall,
    Result, TaskName, Timestamp,
};
use taskport_worker::profile::Isolation;
use taskport_worker::{Control, ExecutorOptions, Profile, TaskExecutor};
use tokio::runtime::Runtime;
use tokio::time::Instant;

use crate::tasks;

/// Makes this program a worker with an endless attempt.
pub(crate) const SPIN_FOREVER: &str = "--spin-forever";

fn options() -> ExecutorOptions {
    let apart = Profile { isolation: Isolation::Process, ..Profile::new("apart", ["*"]) };
    ExecutorOptions {
        profiles: vec![apart],
        children_max: 1,
        stop_grace: Duration::from_millis(300),
        ..ExecutorOptions::default()
    }
}

fn executor(options: ExecutorOptions) -> TaskExecutor {
    TaskExecutor::new(&tasks::registry(), options).unwrap()
}

fn attempt(task: &str, arguments: &'static str, options: JobOptions) -> (Attempt, Arc<Control>) {
    let delivery = Delivery {
        lease: Lease {
            job: JobId::new("job-1").unwrap(),
            token: LeaseToken(1),
            expires_at: Timestamp::MAX,
            receipt: 0,
        },
        call: RawCall { task: TaskName::new(task).unwrap(), arguments: Payload::json(arguments) },
        queue: QueueName::default_queue(),
        attempt: 3,
        submitted_at: Timestamp::default(),
        options: Arc::new(options),
        step: None,
        upstream: None,
    };
    let control = Control::new();
    (Attempt { delivery, control: control.clone() }, control)
}

async fn run(executor: &TaskExecutor, task: &str) -> Verdict {
    executor.execute(attempt(task, "[[],{}]", JobOptions::default()).0).await
}

fn block_on<T>(future: impl Future<Output = T>) -> T {
    Runtime::new().unwrap().block_on(future)
}

async fn pid(executor: &TaskExecutor) -> u32 {
    match run(executor, "pid").await {
        Verdict::Ack(pid) => pid.decode().unwrap(),
        other => panic!("{other:?}"),
    }
}

fn failure(verdict: Verdict) -> taskport_abstraction::Failure {
    match verdict {
        Verdict::Retry { failure, .. } | Verdict::Reject(failure) | Verdict::Cancelled(failure) => failure,
        other => panic!("{other:?}"),
    }
}

/// Whether the process runs. One that is only waited for does not.
fn is_alive(pid: u32) -> bool {
    let stat = std::fs::read_to_string(format!("/proc/{pid}/stat")).unwrap_or_default();
    stat.rsplit_once(") ").is_some_and(|(_, state)| !state.starts_with('Z') && !state.starts_with('X'))
}

fn eventually(what: &str, condition: impl Fn() -> bool) {
    let begin = Instant::now();
    while !condition() {
        assert!(begin.elapsed() < Duration::from_secs(20), "{what} did not happen");
        std::thread::sleep(Duration::from_millis(5));
    }
}

/// The processes that `spin` names in its progress.
async fn spinning(control: &Control) -> Vec<u32> {
    let begin = Instant::now();
    loop {
        if let Some(message) = control.progress().and_then(|progress| progress.message) {
            return message.split(' ').map(|pid| pid.parse().unwrap()).collect();
        }
        assert!(begin.elapsed() < Duration::from_secs(20), "the child reports no progress");
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
}

pub(crate) fn an_attempt_runs_in_a_warm_process_of_its_own() {
    block_on(async {
        let executor = executor(options());
        let first = pid(&executor).await;
        assert_ne!(first, std::process::id());
        assert_eq!(pid(&executor).await, first);
    });
}

pub(crate) fn arguments_results_and_failures_cross() {
    block_on(async {
        let executor = executor(options());
        let add = |arguments| executor.execute(attempt("add", arguments, JobOptions::default()).0);
        assert_eq!(add(r#"[[2],{"b":40}]"#).await, Verdict::Ack(Payload::json(r#"[42,"job-1",3]"#)));
        assert_eq!(failure(add("[[2],{}]").await).message, "bind: argument `b` is missing [E-002]");
        let bad = add(r#"[[2],{"c":1}]"#).await;
        assert!(
            matches!(&bad, Verdict::Reject(failure) if failure.kind == FailureKind::BadArguments),
            "{bad:?}"
        );
        let fatal = run(&executor, "fails").await;
        assert!(
            matches!(&fatal, Verdict::Reject(failure) if failure.kind == FailureKind::Fatal),
            "{fatal:?}"
        );
    });
}

pub(crate) fn a_panic_in_a_child_says_where_and_leaves_it_alive() {
    block_on(async {
        let executor = executor(options());
        let before = pid(&executor).await;
        let failure = failure(run(&executor, "panics").await);
        assert_eq!((failure.kind, failure.message.as_str()), (FailureKind::Panicked, "on purpose"));
        assert!(failure.traceback.unwrap().contains("tasks.rs"));
        assert_eq!(pid(&executor).await, before);
    });
}

pub(crate) fn an_endless_loop_is_killed_at_its_hard_limit_with_all_it_started() {
    block_on(async {
        let executor = executor(options());
        let limit = JobOptions { timeout_hard: Some(Duration::from_millis(2_500)), ..JobOptions::default() };
        let (attempt, control) = attempt("spin", "[[],{}]", limit);
        let running = tokio::spawn(executor.execute(attempt));
        let processes = spinning(&control).await;
        assert!(processes.iter().all(|pid| is_alive(*pid)));
        assert_eq!(failure(running.await.unwrap()).kind, FailureKind::TimedOut);
        eventually("the end of the group", || !processes.iter().any(|pid| is_alive(*pid)));
        assert_ne!(pid(&executor).await, processes[0]);
    });
}

pub(crate) fn a_memory_hog_is_killed_at_its_limit() {
    block_on(async {
        let mut options = options();
        options.profiles[0].memory_bytes = Some(96 << 20);
        let executor = executor(options);
        let failure = failure(run(&executor, "hog").await);
        assert_eq!(failure.kind, FailureKind::OutOfMemory, "{failure}");
        assert!(failure.message.ends_with("its memory limit of 96.0 MiB"), "{failure}");
        pid(&executor).await;
    });
}

pub(crate) fn a_child_that_dies_loses_one_attempt() {
    block_on(async {
        let executor = executor(options());
        for (task, reason) in [("abort", "SIGABRT"), ("exit", "exit status: 3")] {
            let verdict = run(&executor, task).await;
            assert!(matches!(verdict, Verdict::Retry { .. }), "{verdict:?}");
            let failure = failure(verdict);
            assert_eq!(failure.kind, FailureKind::WorkerLost);
            assert!(failure.message.contains(reason), "{failure}");
            pid(&executor).await;
        }
    });
}

pub(crate) fn a_stop_reaches_a_handler_that_never_yields() {
    block_on(async {
        let executor = executor(options());
        let soft = JobOptions { timeout_soft: Some(Duration::from_millis(50)), ..JobOptions::default() };
        let failure = failure(executor.execute(attempt("watchful", "[[],{}]", soft).0).await);
        assert_eq!((failure.kind, failure.message.as_str()), (FailureKind::TimedOut, "Some(TimedOut)"));

        let (attempt, control) = attempt("sleepy", "[[],{}]", JobOptions::default());
        let running = tokio::spawn(executor.execute(attempt));
        while control.progress().is_none() {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
        assert_eq!(control.progress().unwrap().message.as_deref(), Some("asleep"));
        control.stop(StopReason::ShuttingDown);
        assert_eq!(running.await.unwrap(), Verdict::Release);
    });
}

pub(crate) fn a_handler_that_ignores_a_cancel_is_killed_after_the_grace() {
    block_on(async {
        let executor = executor(options());
        let (attempt, control) = attempt("spin", "[[],{}]", JobOptions::default());
        let running = tokio::spawn(executor.execute(attempt));
        let processes = spinning(&control).await;
        control.stop(StopReason::Cancelled);
        let verdict = running.await.unwrap();
        assert!(matches!(verdict, Verdict::Cancelled(_)), "{verdict:?}");
        eventually("the end of the group", || !processes.iter().any(|pid| is_alive(*pid)));
    });
}

/// A list of three, of which the second failed.
#[derive(Debug)]
struct List;

impl Upstream for List {
    fn len(&self, step: &str) -> Option<u64> {
        (step == "list").then_some(3)
    }

    fn page(&self, _: &str, from: u64, _: usize) -> BoxFuture<'static, Result<Vec<Option<Payload>>>> {
        let all = [Some(Payload::json("1")), None, Some(Payload::json("3"))];
        Box::pin(async move { Ok(all[from as usize..].to_vec()) })
    }
}

pub(crate) fn earlier_results_are_read_through_the_parent() {
    block_on(async {
        let executor = executor(options());
        let (mut attempt, _control) = attempt("reads_upstream", "[[],{}]", JobOptions::default());
        attempt.delivery.upstream = Some(Arc::new(List));
        assert_eq!(executor.execute(attempt).await, Verdict::Ack(Payload::json("[[1,3],7]")));
    });
}

// proves R-462
pub(crate) fn what_a_child_says_is_with_the_parent_before_its_end() {
    block_on(async {
        let executor = executor(options());
        for attempts in 1..=20 {
            let (attempt, control) = attempt("says", "[[],{}]", JobOptions::default());
            assert_eq!(executor.execute(attempt).await, Verdict::Ack(Payload::json("50")));
            let said: Vec<Note> = control.take_notes().into_iter().map(|note| note.note).collect();
            assert_eq!(said.len(), 51, "attempt {attempts}");
            assert_eq!(said[49], Note::Log { level: LogLevel::Info, message: "line 49".into() });
            assert_eq!(said[50], Note::Partial(Payload::json("[50]")));
            assert_eq!(control.progress().unwrap().fraction, 1.0);
        }
    });
}

pub(crate) fn a_program_that_a_handler_starts_is_no_child() {
    block_on(async {
        let verdict = run(&executor(options()), "starts_itself").await;
        assert_eq!(verdict, Verdict::Ack(Payload::json(r#""hello""#)));
    });
}

pub(crate) fn children_are_bounded_and_end_with_their_pool() {
    block_on(async {
        let executor = executor(options());
        let pids = futures_util::future::join_all((0..4).map(|_| pid(&executor))).await;
        assert!(pids.iter().all(|pid| *pid == pids[0]), "{pids:?}");
        drop(executor);
        eventually("the end of the child", || !is_alive(pids[0]));
    });
}

/// Runs an endless attempt and prints the processes it has started.
pub(crate) fn spin_forever() -> ExitCode {
    block_on(async {
        let executor = executor(options());
        let (attempt, control) = attempt("spin", "[[],{}]", JobOptions::default());
        let running = tokio::spawn(executor.execute(attempt));
        let processes = spinning(&control).await;
        let line = format!("{} {}\n", processes[0], processes[1]);
        std::io::stdout().write_all(line.as_bytes()).unwrap();
        let verdict = running.await;
        panic!("it ended: {verdict:?}")
    })
}

pub(crate) fn children_end_with_their_parent() {
    let mut parent = crate::program(SPIN_FOREVER).stdout(Stdio::piped()).spawn().unwrap();
    let mut line = String::new();
    BufReader::new(parent.stdout.take().unwrap()).read_line(&mut line).unwrap();
    let processes: Vec<u32> = line.trim().split(' ').map(|pid| pid.parse().unwrap()).collect();
    assert!(processes.iter().all(|pid| is_alive(*pid)));
    parent.kill().unwrap();
    parent.wait().unwrap();
    eventually("the end of the group", || !processes.iter().any(|pid| is_alive(*pid)));
}
