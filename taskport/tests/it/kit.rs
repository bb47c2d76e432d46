//! A place with a database, workers in this process, and waiting for a state.

use std::fmt::Debug;
use std::path::{Path, PathBuf};
use std::time::Duration;

use taskport::abstraction::backend::WorkerReport;
use taskport::config::{Config, Loader};
use taskport::prelude::*;
use taskport::{Result, ShutdownController, WorkerBuilder, registry};
use tempfile::TempDir;
use tokio::task::JoinHandle;

/// How long anything here may take.
pub(crate) const PATIENCE: Duration = Duration::from_secs(20);

#[task]
pub(crate) async fn add(left: i64, right: i64) -> TaskResult<i64> {
    Ok(left + right)
}

#[task(max_attempts = 1)]
pub(crate) async fn fail(message: String) -> TaskResult<()> {
    Err(message.into())
}

/// Fails until its third attempt.
#[task(max_attempts = 3, backoff = "fixed(1ms)")]
pub(crate) async fn third_time_lucky(ctx: &TaskContext) -> TaskResult<u32> {
    if ctx.attempt() < 3 {
        return Err("not yet".into());
    }
    Ok(ctx.attempt())
}

/// Fails for good while the file is missing.
#[task(max_attempts = 1)]
pub(crate) fn read_file(path: PathBuf) -> TaskResult<String> {
    Ok(std::fs::read_to_string(path)?)
}

/// Runs until it is asked to stop.
#[task(max_attempts = 1)]
pub(crate) async fn until_stopped(ctx: &TaskContext) -> TaskResult<()> {
    let reason = ctx.cancelled().await;
    Err(format!("stopped: {reason:?}").into())
}

/// The queue it runs in, which is the one it declares.
#[task(queue = "reports", max_attempts = 2)]
pub(crate) async fn where_am_i(ctx: &TaskContext) -> TaskResult<String> {
    Ok(ctx.info().queue.to_string())
}

/// Every task here.
pub(crate) fn tasks() -> taskport::RegistryBuilder {
    registry![add, fail, third_time_lucky, read_file, until_stopped, where_am_i]
}

/// A directory with one database, which several handles may share.
pub(crate) struct Place(TempDir);

impl Place {
    pub(crate) fn new() -> Self {
        Self(tempfile::tempdir().unwrap())
    }

    pub(crate) fn path(&self) -> &Path {
        self.0.path()
    }

    /// The configuration of the database, with more lines for its table and more tables.
    pub(crate) fn config_with(&self, more: &str) -> Config {
        let file = self.path().join("taskport.toml");
        let url = format!("sqlite://{}", self.path().join("t.db").display());
        std::fs::write(&file, format!("[backends.main]\nkind = \"native\"\nurl = \"{url}\"\n{more}"))
            .unwrap();
        Loader::new().file(file).load().unwrap().config
    }

    pub(crate) async fn open(&self) -> Taskport {
        self.open_with("").await
    }

    pub(crate) async fn open_with(&self, more: &str) -> Taskport {
        Taskport::builder().config(self.config_with(more)).registry(tasks()).open().await.unwrap()
    }
}

/// A worker on this runtime.
pub(crate) struct Running {
    controller: ShutdownController,
    task: JoinHandle<Result<WorkerReport>>,
}

pub(crate) fn start(worker: WorkerBuilder) -> Running {
    let controller = ShutdownController::new();
    let task = tokio::spawn(worker.run_until(controller.handle()));
    Running { controller, task }
}

impl Running {
    /// Drains it and says what it did.
    pub(crate) async fn stop(self) -> WorkerReport {
        self.controller.drain();
        tokio::time::timeout(PATIENCE, self.task).await.expect("the worker drains in time").unwrap().unwrap()
    }
}

/// Looks again until `seen` is what is wanted, and says what was seen last where it never is.
pub(crate) async fn eventually<T: Debug>(mut look: impl AsyncFnMut() -> T, wanted: impl Fn(&T) -> bool) -> T {
    let deadline = tokio::time::Instant::now() + PATIENCE;
    loop {
        let seen = look().await;
        if wanted(&seen) {
            return seen;
        }
        assert!(tokio::time::Instant::now() < deadline, "last seen: {seen:?}");
        tokio::time::sleep(Duration::from_millis(2)).await;
    }
}
