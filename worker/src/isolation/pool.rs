//! The parent's side: a bounded pool of warm children, and one attempt in one of them.

use std::ffi::OsString;
use std::io;
use std::path::PathBuf;
use std::process::Stdio;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use taskport_abstraction::context::Upstream;
use taskport_abstraction::text::format_duration;
use taskport_abstraction::{
    Error, Failure, FailureKind, Payload, Result, TaskContext, TaskError, TaskName, TaskResult, codes,
};
use tokio::net::{UnixListener, UnixStream};
use tokio::process::Command;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio::time::{MissedTickBehavior, interval, timeout};

use super::private_dir::PrivateDir;
use super::process::{Group, Usage};
use super::protocol::{Answer, Ask, BODY_BYTES_MAX, Framed, FromChild, Start, ToChild, VERSION};
use super::{child, is_hooked};

/// How long a child may take from its start to its first word.
const START_TIME: Duration = Duration::from_secs(30);
/// How often the memory of a child is looked at.
const MEMORY_PERIOD: Duration = Duration::from_millis(50);
/// After so many attempts a child gives way to a fresh one, so that what handlers leak stays bounded.
const ATTEMPTS_MAX: u32 = 1_000;

/// Children that wait for attempts, and the right to have more.
#[derive(Debug)]
pub(crate) struct ChildPool {
    permits: Arc<Semaphore>,
    idle: Mutex<Vec<Process>>,
    program: PathBuf,
    arguments: Vec<OsString>,
    sockets: PrivateDir,
    started: AtomicU64,
}

/// A child that serves one attempt.
#[derive(Debug)]
pub(crate) struct Child {
    process: Process,
    pool: Arc<ChildPool>,
    _permit: OwnedSemaphorePermit,
}

/// A running child. Its group is killed when this is dropped.
#[derive(Debug)]
struct Process {
    // Dropped first: the group is killed while its leader has not been waited for.
    group: Group,
    handle: tokio::process::Child,
    socket: Framed<UnixStream>,
    attempts: u32,
}

impl ChildPool {
    /// A pool of at most `children_max`, for `task` and others. Children are started when they are needed.
    ///
    /// # Errors
    /// `InvalidConfig` (E-034) where this program has no [`child_hook`](super::child_hook), or the private directory
    /// cannot be made.
    pub(crate) fn new(task: &TaskName, children_max: usize) -> Result<Arc<Self>> {
        if !is_hooked() {
            return Err(Error::new(
                &codes::ISOLATION,
                "start worker",
                format!("task `{task}` is isolated, and this program cannot start a child of itself"),
            )
            .hint("call `taskport::child_hook` first in `main`, or use `taskport::main`"));
        }
        if children_max == 0 {
            let message =
                format!("task `{task}` is isolated, and a pool of 0 children would never let it run");
            return Err(Error::new(&codes::CONFIG_VALUE, "start worker", message));
        }
        let no_directory = |source| {
            Error::new(&codes::ISOLATION, "start worker", "no private directory for sockets can be made")
                .caused_by(source)
        };
        Ok(Arc::new(Self {
            permits: Arc::new(Semaphore::new(children_max.min(Semaphore::MAX_PERMITS))),
            idle: Mutex::default(),
            program: program().map_err(no_directory)?,
            arguments: std::env::args_os().skip(1).collect(),
            sockets: PrivateDir::new(&std::env::temp_dir()).map_err(no_directory)?,
            started: AtomicU64::new(0),
        }))
    }

    /// Waits for a child, warm where there is one.
    pub(crate) async fn take(self: &Arc<Self>) -> io::Result<Child> {
        let permit = self.permits.clone().acquire_owned().await.map_err(io::Error::other)?;
        let process = match self.take_idle() {
            Some(process) => process,
            None => self.start().await?,
        };
        Ok(Child { process, pool: self.clone(), _permit: permit })
    }

    fn take_idle(&self) -> Option<Process> {
        let mut idle = self.idle.lock().unwrap_or_else(PoisonError::into_inner);
        while let Some(mut process) = idle.pop() {
            if matches!(process.handle.try_wait(), Ok(None)) {
                return Some(process);
            }
        }
        None
    }

    fn give_back(&self, process: Process) {
        self.idle.lock().unwrap_or_else(PoisonError::into_inner).push(process);
    }

    async fn start(&self) -> io::Result<Process> {
        let path = self.sockets.path().join(self.started.fetch_add(1, Ordering::Relaxed).to_string());
        let listener = UnixListener::bind(&path)?;
        let mut handle = Command::new(&self.program)
            .args(&self.arguments)
            .env(child::MARKER, child::marker(std::process::id(), &path))
            .stdin(Stdio::null())
            .process_group(0)
            .kill_on_drop(true)
            .spawn()?;
        let id = handle.id().unwrap_or_default();
        let group = Group::led_by(id).ok_or_else(|| io::Error::other("the child has no process number"))?;
        let socket = tokio::select! {
            socket = timeout(START_TIME, greeted(&listener, id)) => socket.unwrap_or_else(|_| {
                let limit = format_duration(START_TIME);
                Err(io::Error::other(format!("the child said nothing within {limit}; is the child hook first in main?")))
            }),
            status = handle.wait() => {
                Err(io::Error::other(format!("the child ended before it said anything: {}", status?)))
            }
        };
        std::fs::remove_file(&path)?;
        tracing::debug!(pid = id, "child process started");
        Ok(Process { group, handle, socket: socket?, attempts: 0 })
    }
}

/// The connection of the child `id`, once it has said that it speaks our version.
async fn greeted(listener: &UnixListener, id: u32) -> io::Result<Framed<UnixStream>> {
    let (socket, _) = listener.accept().await?;
    if socket.peer_cred()?.pid().is_some_and(|pid| pid.unsigned_abs() != id) {
        return Err(io::Error::other("a process that is not the child connected to its socket"));
    }
    let mut socket = Framed::new(socket);
    match socket.read().await? {
        (FromChild::Hello { version: VERSION }, _) => Ok(socket),
        (FromChild::Hello { version }, _) => Err(io::Error::other(format!(
            "the child speaks version {version} and this process {VERSION}: the program was replaced; restart the worker"
        ))),
        (other, _) => Err(unexpected(&other)),
    }
}

fn unexpected(frame: &FromChild) -> io::Error {
    let name = match frame {
        FromChild::Hello { .. } => "hello",
        FromChild::Progress(_) => "progress",
        FromChild::Note(_) => "note",
        FromChild::Ask { .. } => "ask",
        FromChild::Ended(_) => "ended",
    };
    io::Error::other(format!("the child sent `{name}` out of turn"))
}

/// This program, also where its file has been replaced since it was started.
fn program() -> io::Result<PathBuf> {
    if cfg!(target_os = "linux") { Ok(PathBuf::from("/proc/self/exe")) } else { std::env::current_exe() }
}

impl Child {
    /// Runs one attempt. Dropping the future kills the child and all it has started.
    pub(crate) async fn run(
        self,
        memory_bytes_max: Option<u64>,
        context: TaskContext,
        arguments: Payload,
    ) -> TaskResult<Payload> {
        let Self { mut process, pool, _permit } = self;
        process.attempts += 1;
        let ended = tokio::select! {
            ended = converse(&mut process.socket, &context, &arguments) => ended,
            held = exceeded(&process.group, memory_bytes_max) => {
                return Err(out_of_memory(held, memory_bytes_max.unwrap_or_default()));
            }
        };
        match ended {
            Ok(result) => {
                if process.is_fit(memory_bytes_max).await {
                    pool.give_back(process);
                }
                result
            }
            Err(error) => Err(TaskError::Error(process.lost(&error).await)),
        }
    }
}

impl Process {
    /// Whether the child may serve another attempt: it is not worn, and the last one left nothing behind.
    async fn is_fit(&self, memory_bytes_max: Option<u64>) -> bool {
        let Ok(Usage { resident_bytes, processes }) = self.group.usage().await else { return false };
        let lean = memory_bytes_max.is_none_or(|limit| resident_bytes < limit / 2);
        self.attempts < ATTEMPTS_MAX && processes == 1 && lean
    }

    /// Why the child no longer answers.
    async fn lost(mut self, error: &io::Error) -> Failure {
        if error.kind() == io::ErrorKind::InvalidInput {
            return Failure::new(FailureKind::Fatal, error.to_string());
        }
        // What is left of the group goes first, while its leader still holds the group's number.
        self.group.kill();
        let reason = match self.handle.wait().await {
            Ok(status) => status.to_string(),
            Err(error) => error.to_string(),
        };
        Failure::new(FailureKind::WorkerLost, format!("the child process ended in the attempt: {reason}"))
    }
}

/// Sends the attempt and serves the child until it has ended.
async fn converse(
    socket: &mut Framed<UnixStream>,
    context: &TaskContext,
    arguments: &Payload,
) -> io::Result<TaskResult<Payload>> {
    if arguments.len() > BODY_BYTES_MAX {
        let message =
            format!("arguments of {} bytes are over the limit of {BODY_BYTES_MAX}", arguments.len());
        return Err(io::Error::new(io::ErrorKind::InvalidInput, message));
    }
    let info = context.info();
    let start = Start {
        task: info.task.clone(),
        job: info.job.clone(),
        queue: info.queue.clone(),
        attempt: info.attempt,
        submitted_at_micros: info.submitted_at.as_micros(),
        options: info.options.as_ref().clone(),
        step: info.step.clone(),
        has_upstream: info.upstream.is_some(),
        content_type: arguments.content_type.as_str().to_owned(),
    };
    socket.write(&ToChild::Start(Box::new(start)), &arguments.bytes).await?;
    let mut stopped = Some(context.cancelled());
    loop {
        let stop = async {
            match &mut stopped {
                Some(stopped) => stopped.await,
                None => std::future::pending().await,
            }
        };
        let (frame, body) = tokio::select! {
            frame = socket.read() => frame?,
            reason = stop => {
                stopped = None;
                socket.write(&ToChild::Stop(reason.into()), &[]).await?;
                continue;
            }
        };
        match frame {
            FromChild::Ended(ended) => return Ok(ended.into_result(body)),
            FromChild::Progress(progress) => context.control().report(progress),
            FromChild::Note(said) => context.control().note(said.into_note(body)),
            FromChild::Ask { request, ask } => {
                let (answer, body) = answer(info.upstream.as_deref(), ask).await;
                socket.write(&ToChild::Answer { request, answer }, &body).await?;
            }
            hello @ FromChild::Hello { .. } => return Err(unexpected(&hello)),
        }
    }
}

async fn answer(upstream: Option<&dyn Upstream>, ask: Ask) -> (Answer, bytes::Bytes) {
    let no_upstream = || Error::new(&codes::NO_RESULT, "read upstream", "the job is no step of a run");
    let (answer, body) = match (upstream, ask) {
        (upstream, Ask::Len { step }) => {
            (Answer::Len(upstream.and_then(|upstream| upstream.len(&step))), bytes::Bytes::new())
        }
        (Some(upstream), Ask::Page { step, from, count }) => {
            Answer::page(upstream.page(&step, from, count).await)
        }
        (None, Ask::Page { .. }) => Answer::page(Err(no_upstream())),
    };
    if body.len() <= BODY_BYTES_MAX {
        return (answer, body);
    }
    Answer::page(Err(Error::new(
        &codes::PAYLOAD_TOO_LARGE,
        "read upstream",
        format!("a page of {} bytes is over the limit of {BODY_BYTES_MAX}", body.len()),
    )))
}

/// Resolves with what the group holds once that is more than its limit.
async fn exceeded(group: &Group, limit: Option<u64>) -> u64 {
    let Some(limit) = limit else { return std::future::pending().await };
    let mut ticks = interval(MEMORY_PERIOD);
    ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    loop {
        ticks.tick().await;
        match group.usage().await {
            Ok(usage) if usage.resident_bytes > limit => return usage.resident_bytes,
            Ok(_) => {}
            Err(error) => tracing::warn!(%error, "the memory of a child process cannot be read"),
        }
    }
}

fn out_of_memory(held: u64, limit: u64) -> TaskError {
    let mebi = |bytes: u64| bytes as f64 / f64::from(1 << 20);
    let message = format!(
        "the attempt held {:.1} MiB, which is over its memory limit of {:.1} MiB",
        mebi(held),
        mebi(limit)
    );
    TaskError::Error(Failure::new(FailureKind::OutOfMemory, message))
}
