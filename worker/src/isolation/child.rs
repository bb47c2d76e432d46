//! The child's side: attempts come in over the socket, one at a time, and their ends go back.
//!
//! A thread of its own reads the socket, so that a stop reaches a handler that never yields, and so that the end of the
//! parent ends this process whatever the handler does.

use std::collections::HashMap;
use std::ffi::{OsStr, OsString};
use std::fmt;
use std::io;
use std::os::unix::ffi::{OsStrExt, OsStringExt};
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::process::exit;
use std::sync::mpsc::{SyncSender, sync_channel};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::thread;
use std::time::Duration;

use bytes::Bytes;
use rustix::process::{Pid, Signal, getpgrp, getpid, getppid, kill_current_process_group};
use taskport_abstraction::context::{AttemptInfo, Upstream};
use taskport_abstraction::task::BoxFuture;
use taskport_abstraction::{
    AttemptControl, Error, Failure, FailureKind, Payload, Result, SystemClock, TaskContext, TaskError,
    TaskResult, codes,
};
use taskport_registry::Registry;
use tokio::runtime::Runtime;

use super::protocol::{self, Answer, Ask, BODY_BYTES_MAX, Ended, FromChild, Said, Start, ToChild, VERSION};
use crate::control::{Control, Listener};
use crate::layers::panic::catch;
use crate::layers::run::run_to_end;

/// The environment variable that makes a process a child: `PARENT:SOCKET`.
pub(super) const MARKER: &str = "TASKPORT_CHILD";

/// How often the child looks for its parent.
const TICK: Duration = Duration::from_millis(250);
/// How long news gather before they are sent.
const GATHER: Duration = Duration::from_millis(20);

/// The value of [`MARKER`] for a child of `parent`.
pub(super) fn marker(parent: u32, socket: &Path) -> OsString {
    let mut marker = OsString::from(format!("{parent}:"));
    marker.push(socket);
    marker
}

/// The socket of the parent, where this process is a child.
///
/// A program that a handler starts inherits the variable and is none: its parent is another.
pub(super) fn parent() -> Option<PathBuf> {
    let marker = std::env::var_os(MARKER)?.into_vec();
    let split = marker.iter().position(|byte| *byte == b':')?;
    let parent = std::str::from_utf8(&marker[..split]).ok()?.parse::<i32>().ok().and_then(Pid::from_raw);
    let socket = PathBuf::from(OsStr::from_bytes(&marker[split + 1..]));
    (parent.is_some() && parent == getppid()).then_some(socket)
}

/// Serves attempts until the parent is gone.
pub(super) fn serve(registry: &Registry, socket: &Path) -> ! {
    match try_serve(registry, socket) {
        Ok(never) => match never {},
        Err(error) => {
            tracing::error!(%error, "child process ends");
            end()
        }
    }
}

/// Ends this process and all it has started.
fn end() -> ! {
    if getpgrp() == getpid() {
        let _killed = kill_current_process_group(Signal::KILL);
    }
    #[expect(clippy::exit, reason = "a child has no caller to return to")]
    exit(1)
}

fn try_serve(registry: &Registry, socket: &Path) -> io::Result<std::convert::Infallible> {
    prefer_as_victim();
    let stream = UnixStream::connect(socket)?;
    let link = Arc::new(Link {
        writer: Mutex::new(stream.try_clone()?),
        current: Mutex::new(None),
        news: Arc::default(),
        questions: Mutex::default(),
    });
    link.send(&FromChild::Hello { version: VERSION }, &[])?;
    let (starts, started) = sync_channel(1);
    let reader = link.clone();
    thread::Builder::new().name("taskport-child".to_owned()).spawn(move || reader.read(stream, &starts))?;
    let ticker = link.clone();
    thread::Builder::new().name("taskport-watch".to_owned()).spawn(move || ticker.watch(getppid()))?;
    loop {
        let (context, arguments) = started.recv().map_err(io::Error::other)?;
        let (ended, body) = Ended::new(fitting(attempt(registry, context, arguments)));
        link.send_news()?;
        link.set_current(None);
        link.send(&FromChild::Ended(ended), &body)?;
    }
}

/// Has the kernel, where memory runs out, end the child before its worker.
fn prefer_as_victim() {
    if let Err(error) = std::fs::write("/proc/self/oom_score_adj", "500") {
        tracing::debug!(%error, "the child process is no preferred victim of the kernel");
    }
}

/// Runs one attempt in a runtime of its own, so that tasks it leaves behind end with it.
fn attempt(registry: &Registry, context: TaskContext, arguments: Payload) -> TaskResult<Payload> {
    let task = &context.info().task;
    let Some(handler) = registry.find(task.as_str()).and_then(|task| task.handler.clone()) else {
        let message = format!("the child process has no task `{task}`; give its hook the worker's registry");
        return Err(TaskError::Fatal(Failure::new(FailureKind::UnknownTask, message)));
    };
    let runtime = Runtime::new()?;
    let entered = runtime.enter();
    let result = catch(|| run_to_end(&handler, context, arguments, runtime.handle()));
    drop(entered);
    runtime.shutdown_background();
    result.unwrap_or_else(|failure| Err(TaskError::Error(failure)))
}

/// The result, where it can cross to the parent.
fn fitting(result: TaskResult<Payload>) -> TaskResult<Payload> {
    match result {
        Ok(payload) if payload.len() > BODY_BYTES_MAX => {
            let message =
                format!("a result of {} bytes is over the limit of {BODY_BYTES_MAX}", payload.len());
            Err(TaskError::Fatal(Failure::new(FailureKind::ResultTooLarge, message)))
        }
        result => result,
    }
}

/// The line to the parent.
struct Link {
    writer: Mutex<UnixStream>,
    current: Mutex<Option<Arc<Control>>>,
    news: Arc<News>,
    questions: Mutex<Questions>,
}

/// Whether the attempt has said something.
#[derive(Default)]
struct News {
    there: Mutex<bool>,
    came: Condvar,
}

impl News {
    fn tell(&self) {
        *lock(&self.there) = true;
        self.came.notify_one();
    }

    /// Waits until there is news or `limit` has passed.
    fn wait(&self, limit: Duration) -> bool {
        let (mut there, _) = self
            .came
            .wait_timeout_while(lock(&self.there), limit, |there| !*there)
            .unwrap_or_else(PoisonError::into_inner);
        std::mem::take(&mut there)
    }
}

/// Questions that wait for their answers.
#[derive(Default)]
struct Questions {
    asked: u64,
    waiting: HashMap<u64, SyncSender<(Answer, Bytes)>>,
}

impl Link {
    fn send(&self, frame: &FromChild, body: &[u8]) -> io::Result<()> {
        protocol::write(&mut *lock(&self.writer), frame, body)
    }

    fn set_current(&self, control: Option<Arc<Control>>) {
        *lock(&self.current) = control;
    }

    fn read(self: Arc<Self>, mut stream: UnixStream, starts: &SyncSender<(TaskContext, Payload)>) {
        while let Ok((frame, body)) = protocol::read::<ToChild>(&mut stream) {
            match frame {
                ToChild::Start(start) => {
                    let arguments = protocol::payload(&start.content_type, body);
                    if starts.send((self.context(*start), arguments)).is_err() {
                        break;
                    }
                }
                ToChild::Stop(reason) => {
                    if let Some(control) = &*lock(&self.current) {
                        control.stop(reason.into());
                    }
                }
                ToChild::Answer { request, answer } => {
                    let waiting = lock(&self.questions).waiting.remove(&request);
                    // Whoever asked may have stopped waiting.
                    let _gone = waiting.map(|waiting| waiting.try_send((answer, body)));
                }
            }
        }
        end()
    }

    fn context(self: &Arc<Self>, start: Start) -> TaskContext {
        let news = self.news.clone();
        let control = Control::heard_by(&Listener::new(Arc::new(SystemClock), move || news.tell()));
        self.set_current(Some(control.clone()));
        let upstream: Option<Arc<dyn Upstream>> =
            start.has_upstream.then(|| Arc::new(RemoteUpstream(self.clone())) as _);
        let info = AttemptInfo {
            submitted_at: start.submitted_at(),
            job: start.job,
            task: start.task,
            queue: start.queue,
            attempt: start.attempt,
            options: Arc::new(start.options),
            step: start.step,
            upstream,
        };
        TaskContext::new(Arc::new(info), control)
    }

    /// Sends what the attempt says, and ends the process when its parent has gone without closing the socket.
    fn watch(&self, parent: Option<Pid>) {
        while getppid() == parent {
            if self.news.wait(TICK) {
                thread::sleep(GATHER);
                if self.send_news().is_err() {
                    break;
                }
            }
        }
        end()
    }

    /// Sends what the attempt has said since the last time. Nothing of it is sent after the attempt's end, since the
    /// line is held from the look at the attempt to the last word.
    fn send_news(&self) -> io::Result<()> {
        let mut writer = lock(&self.writer);
        let Some(control) = lock(&self.current).clone() else { return Ok(()) };
        if let Some(progress) = control.take_progress() {
            protocol::write(&mut *writer, &FromChild::Progress(progress), &[])?;
        }
        for note in control.take_notes() {
            let (said, body) = Said::new(note.note);
            protocol::write(&mut *writer, &FromChild::Note(said), &body)?;
        }
        Ok(())
    }

    /// Asks the parent and waits for its answer on this thread.
    fn ask(&self, ask: Ask) -> Result<(Answer, Bytes)> {
        let lost = || Error::new(&codes::CLOSED, "read upstream", "the worker process does not answer");
        let (sender, answer) = sync_channel(1);
        let request = {
            let mut questions = lock(&self.questions);
            questions.asked += 1;
            let request = questions.asked;
            questions.waiting.insert(request, sender);
            request
        };
        self.send(&FromChild::Ask { request, ask }, &[]).map_err(|source| lost().caused_by(source))?;
        answer.recv().map_err(|_| lost())
    }
}

/// The results of earlier steps, read through the parent.
struct RemoteUpstream(Arc<Link>);

impl Upstream for RemoteUpstream {
    fn len(&self, step: &str) -> Option<u64> {
        match self.0.ask(Ask::Len { step: step.to_owned() }) {
            Ok((Answer::Len(len), _)) => len,
            _ => None,
        }
    }

    fn page(&self, step: &str, from: u64, count: usize) -> BoxFuture<'static, Result<Vec<Option<Payload>>>> {
        let (link, step) = (self.0.clone(), step.to_owned());
        // A child runs one attempt, so a thread that waits for the parent holds up nothing else of ours.
        Box::pin(async move {
            let (answer, body) = link.ask(Ask::Page { step, from, count })?;
            answer.into_page(body)
        })
    }
}

impl fmt::Debug for RemoteUpstream {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("RemoteUpstream")
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
