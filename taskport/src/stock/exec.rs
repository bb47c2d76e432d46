//! A command: arguments in, output out, and its process group ended with the attempt, also where its worker is killed.

mod watchdog;

use std::process::{ExitStatus, Stdio};
use std::sync::Arc;
use std::time::Duration;

use rustix::process::{Pid, Signal, kill_process_group};
use taskport_abstraction::context::StopReason;
use taskport_abstraction::task::Handler;
use taskport_abstraction::{
    Failure, FailureKind, Payload, Result, TaskContext, TaskError, TaskName, TaskResult,
};
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWriteExt};
use tokio::process::{Child, Command};

use self::watchdog::Watchdog;
use super::{document, malformed};
use crate::config::{CommandLine, ExecAction, OutputFormat, Variables};

/// How much of the end of standard error is kept.
const STDERR_BYTES_MAX: usize = 8 << 10;
/// How much of its last line stands in the message of the failure.
const MESSAGE_CHARS_MAX: usize = 200;
/// How long a command that was asked to stop may take before it is killed.
const STOP_GRACE: Duration = Duration::from_secs(2);
/// How long output may stay open once the command has ended, because a process it started holds it.
const OUTPUT_GRACE: Duration = Duration::from_secs(1);

/// What runs the attempts of the task.
pub(super) fn handler(task: &TaskName, action: &ExecAction, variables: &Variables) -> Result<Handler> {
    let (program, arguments) = match (&action.command, action.shell) {
        (CommandLine::Shell(text), true) => ("/bin/sh".to_owned(), vec!["-c".to_owned(), text.clone()]),
        (CommandLine::Program(words), false) => match words.split_first() {
            Some((program, arguments)) if !program.is_empty() => (program.clone(), arguments.to_vec()),
            _ => return Err(malformed(task, "`command` names no program")),
        },
        (CommandLine::Shell(_), false) => {
            return Err(malformed(task, "`command` is one text, and `shell` is not set")
                .hint("write a list such as [\"convert\", \"-\"], or set `shell = true`"));
        }
        (CommandLine::Program(_), true) => {
            return Err(malformed(task, "`shell` is set, and `command` is a list")
                .hint("write the command as one text for the shell, or leave `shell` out"));
        }
    };
    let exec = Arc::new(Exec { program, arguments, action: action.clone(), variables: variables.clone() });
    Ok(Handler::Async(Arc::new(move |ctx, payload| {
        let exec = Arc::clone(&exec);
        Box::pin(async move { exec.attempt(&ctx, &payload).await })
    })))
}

#[derive(Debug)]
struct Exec {
    program: String,
    arguments: Vec<String>,
    action: ExecAction,
    variables: Variables,
}

/// What came out of a command.
struct Output {
    status: ExitStatus,
    stdout: Vec<u8>,
    stderr: Vec<u8>,
}

impl Exec {
    async fn attempt(&self, ctx: &TaskContext, payload: &Payload) -> TaskResult<Payload> {
        let input = document(payload)?;
        let mut watchdog = Watchdog::start().map_err(|source| self.unwatched(&source))?;
        let mut child = self.spawn(ctx)?;
        let mut group = Group::of(&child);
        if let Some(pid) = group.0 {
            watchdog.watch(pid).map_err(|source| self.unwatched(&source))?;
        }
        let ended = tokio::select! {
            ended = self.converse(&mut child, &group, input) => ended,
            reason = ctx.cancelled() => {
                group.signal(Signal::TERM);
                // The outcome no longer matters; a command that ends by itself may put its things in order.
                let _ended = tokio::time::timeout(STOP_GRACE, child.wait()).await;
                return Err(self.stopped(reason));
            }
        };
        let output = ended?;
        group.disarm();
        watchdog.stand_down().await;
        if output.status.success() { self.result(output.stdout) } else { Err(self.failed(&output)) }
    }

    fn spawn(&self, ctx: &TaskContext) -> TaskResult<Child> {
        let mut command = Command::new(&self.program);
        command.args(&self.arguments);
        for (name, value) in &self.action.env {
            command.env(name, value.reveal(&self.variables).map_err(|e| TaskError::fatal(e.to_string()))?);
        }
        command.env("JOB_ID", ctx.job().as_str());
        command.env("JOB_TASK", ctx.info().task.as_str());
        command.env("JOB_ATTEMPT", ctx.attempt().to_string());
        if let Some(directory) = &self.action.cwd {
            command.current_dir(directory);
        }
        command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
        // A group of its own, so that what the command starts ends with it.
        command.process_group(0).kill_on_drop(true);
        command.spawn().map_err(|source| {
            let message = format!("`{}` cannot be started: {source}", self.program);
            match source.kind() {
                std::io::ErrorKind::NotFound | std::io::ErrorKind::PermissionDenied => {
                    TaskError::fatal(message)
                }
                _ => error(message),
            }
        })
    }

    /// Feeds the command and reads it to its end.
    async fn converse(&self, child: &mut Child, group: &Group, input: Vec<u8>) -> TaskResult<Output> {
        let (stdin, stdout, stderr) = (child.stdin.take(), child.stdout.take(), child.stderr.take());
        let feed = async move {
            if let Some(mut stdin) = stdin {
                // A command need not read its input.
                let _unread = stdin.write_all(&input).await;
            }
        };
        let (mut out, mut err) = (Vec::new(), Vec::new());
        let stdout_max = usize::try_from(self.action.output_max).unwrap_or(usize::MAX);
        let mut read = Box::pin(async {
            let keep_out = keep_start(stdout, &mut out, stdout_max);
            let keep_err = async { keep_end(stderr, &mut err).await.map_err(TaskError::from) };
            tokio::try_join!(keep_out, keep_err)
        });
        let wait = async { tokio::join!(feed, child.wait()).1.map_err(TaskError::from) };
        let mut wait = std::pin::pin!(wait);
        let status = tokio::select! {
            status = &mut wait => {
                match tokio::time::timeout(OUTPUT_GRACE, &mut read).await {
                    Ok(read) => _ = read?,
                    Err(_) => group.signal(Signal::KILL),
                }
                status?
            }
            read = &mut read => {
                read?;
                wait.await?
            }
        };
        drop(read);
        Ok(Output { status, stdout: out, stderr: err })
    }

    fn result(&self, mut stdout: Vec<u8>) -> TaskResult<Payload> {
        match self.action.output {
            OutputFormat::Json => match serde_json::from_slice::<serde::de::IgnoredAny>(&stdout) {
                Ok(_) => Ok(Payload::json(stdout)),
                Err(source) => Err(error(format!("the output of `{}` is no JSON: {source}", self.program))),
            },
            OutputFormat::Text => {
                if stdout.last() == Some(&b'\n') {
                    stdout.pop();
                }
                Payload::encode(&*String::from_utf8_lossy(&stdout)).map_err(TaskError::from)
            }
        }
    }

    fn failed(&self, output: &Output) -> TaskError {
        use std::os::unix::process::ExitStatusExt;
        let stderr = String::from_utf8_lossy(&output.stderr);
        let how = match (output.status.code(), output.status.signal()) {
            (Some(code), _) => format!("exit code {code}"),
            (None, Some(signal)) => format!("signal {signal}"),
            (None, None) => "no exit code".to_owned(),
        };
        let last = stderr.lines().rfind(|line| !line.trim().is_empty()).unwrap_or_default();
        let last: String = last.chars().take(MESSAGE_CHARS_MAX).collect();
        let colon = if last.is_empty() { "" } else { ": " };
        let message = format!("`{}` ended with {how}{colon}{last}", self.program);
        TaskError::Error(Failure::new(FailureKind::Error, message).of_type("exec").with_traceback(stderr))
    }

    fn unwatched(&self, source: &std::io::Error) -> TaskError {
        error(format!("the watchdog of `{}` cannot be started: {source}", self.program))
    }

    fn stopped(&self, reason: StopReason) -> TaskError {
        let (kind, why) = match reason {
            StopReason::Cancelled => (FailureKind::Cancelled, "the job was cancelled"),
            StopReason::TimedOut => (FailureKind::TimedOut, "its time was up"),
            StopReason::ShuttingDown => (FailureKind::WorkerLost, "the worker stopped"),
            StopReason::LeaseLost => (FailureKind::WorkerLost, "the lease was lost"),
        };
        TaskError::Error(Failure::new(kind, format!("`{}` was stopped: {why}", self.program)))
    }
}

fn error(message: String) -> TaskError {
    TaskError::Error(Failure::new(FailureKind::Error, message).of_type("exec"))
}

/// Reads at most `max` bytes; more is an error.
async fn keep_start(
    source: Option<impl AsyncRead + Unpin>,
    kept: &mut Vec<u8>,
    max: usize,
) -> TaskResult<()> {
    let Some(source) = source else { return Ok(()) };
    source.take((max as u64).saturating_add(1)).read_to_end(kept).await?;
    if kept.len() > max {
        let message = format!("the output is larger than {max} bytes");
        return Err(TaskError::Fatal(Failure::new(FailureKind::ResultTooLarge, message)));
    }
    Ok(())
}

/// Reads everything and keeps the end.
async fn keep_end(source: Option<impl AsyncRead + Unpin>, kept: &mut Vec<u8>) -> std::io::Result<()> {
    let Some(mut source) = source else { return Ok(()) };
    let mut buffer = [0; 4 << 10];
    loop {
        let read = source.read(&mut buffer).await?;
        if read == 0 {
            return Ok(());
        }
        kept.extend_from_slice(&buffer[..read]);
        kept.drain(..kept.len().saturating_sub(STDERR_BYTES_MAX));
    }
}

/// The process group of a command, killed when the attempt ends before the command does: at its time limit the worker
/// drops the attempt.
#[derive(Debug)]
struct Group(Option<Pid>);

impl Group {
    fn of(child: &Child) -> Self {
        Self(child.id().and_then(|id| i32::try_from(id).ok()).and_then(Pid::from_raw))
    }

    fn signal(&self, signal: Signal) {
        if let Some(pid) = self.0 {
            // Nobody left to signal is what is wanted.
            let _gone = kill_process_group(pid, signal);
        }
    }

    /// The command has ended and been waited for: its number may soon mean another process.
    fn disarm(&mut self) {
        self.0 = None;
    }
}

impl Drop for Group {
    fn drop(&mut self) {
        self.signal(Signal::KILL);
    }
}

#[cfg(test)]
mod tests;
