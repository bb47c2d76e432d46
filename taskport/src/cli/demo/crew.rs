//! Worker processes that may be killed at any moment, and that never outlive the process that started them.

use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::time::Duration;

use taskport_worker::shutdown;
use tokio::process::{Child, Command};
use tokio::time::timeout;

use super::engine;
use crate::abstraction::codes;
use crate::cli::report::Report;
use crate::{Error, Result};

/// How long the jobs of a killed worker wait for another: short, so that a person can watch the rescue.
const LEASE: Duration = Duration::from_secs(2);
/// How long a worker may take to leave before it is killed.
const LEAVE_WITHIN: Duration = Duration::from_secs(5);

/// Some workers of one run.
#[derive(Debug)]
pub(super) struct Crew {
    program: PathBuf,
    room: PathBuf,
    workers: Vec<Child>,
}

impl Crew {
    /// Starts workers of this program on the engine in `room`.
    pub(super) fn start(room: &Path, workers: usize) -> Result<Self> {
        let program = std::env::current_exe()
            .map_err(|source| failed("this program's own file is not known", source))?;
        let mut crew = Self { program, room: room.to_owned(), workers: Vec::with_capacity(workers) };
        for _ in 0..workers {
            let worker = crew.spawn()?;
            crew.workers.push(worker);
        }
        Ok(crew)
    }

    /// Kills one worker, waits until it is gone, and starts another in its place. Returns the process that was
    /// killed; `None` where it had ended by itself before.
    pub(super) async fn replace(&mut self, worker: usize) -> Result<Option<u32>> {
        let victim = &mut self.workers[worker];
        let process = victim.id();
        victim.kill().await.map_err(|source| failed("a worker process cannot be killed", source))?;
        self.workers[worker] = self.spawn()?;
        Ok(process)
    }

    /// Demands that every worker is still there: only kills may end one.
    pub(super) fn check(&mut self) -> Result<()> {
        for worker in &mut self.workers {
            if let Ok(Some(status)) = worker.try_wait() {
                let message = format!("a worker process ended by itself: {status}");
                return Err(Error::new(&codes::INTERNAL, "run the demo", message));
            }
        }
        Ok(())
    }

    /// Asks every worker to leave, and returns when they have.
    pub(super) async fn dismiss(mut self) {
        self.workers.iter_mut().for_each(|worker| drop(worker.stdin.take()));
        for mut worker in self.workers {
            if timeout(LEAVE_WITHIN, worker.wait()).await.is_err() {
                // It is killed when it is dropped too; waiting keeps no process behind that nobody asks for.
                let _ = worker.kill().await;
            }
        }
    }

    fn spawn(&self) -> Result<Child> {
        let mut command = Command::new(&self.program);
        command.args(["demo", "--worker-of"]).arg(&self.room);
        // A worker leaves when its standard input ends, which the system sees to even where this process is killed. A
        // process group of its own keeps the terminal's Ctrl-C from it, so that nobody but this process ends it.
        command.stdin(Stdio::piped()).stdout(Stdio::null()).stderr(Stdio::inherit());
        command.process_group(0).kill_on_drop(true);
        command.spawn().map_err(|source| failed("a worker process cannot be started", source))
    }
}

fn failed(what: &'static str, source: std::io::Error) -> Error {
    Error::new(&codes::INTERNAL, "run the demo", what).caused_by(source)
}

/// What a worker process does: it works on the engine in `room` until its standard input ends.
pub(super) async fn serve(room: &Path) -> Result<Report> {
    let port = engine::open(room).await?;
    let shutdown = shutdown::signals()?;
    let orphaned = shutdown.clone();
    // A thread of its own, which may stay behind when the process ends for another reason.
    std::thread::spawn(move || {
        let _end_or_error = std::io::copy(&mut std::io::stdin(), &mut std::io::sink());
        orphaned.drain();
    });
    let worked = engine::worker(&port).lease(LEASE).run_until(shutdown.handle()).await.map(drop);
    engine::close(port, worked).await?;
    Report::new("", &())
}
