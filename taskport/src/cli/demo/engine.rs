//! The engine a run works on, and who works on it.

use std::path::Path;
use std::pin::pin;
use std::sync::Arc;
use std::time::Duration;

use tokio::time::{interval, timeout};

use super::pipeline::{self, QUEUE};
use super::run::unless_stopped;
use crate::abstraction::backend::{Shutdown, WorkerReport};
use crate::abstraction::{BackendName, codes};
use crate::config::{BackendConfig, Config};
use crate::{Error, Result, ShutdownController, Taskport};

/// How many files a worker has in hand: enough that one commit settles many.
const CONCURRENCY: usize = 64;
const PREFETCH: usize = 256;
/// How long the jobs of a killed worker wait: short, so that a person can watch the rescue.
const LEASE: Duration = Duration::from_secs(2);
/// How long a worker may finish what it has begun.
const GRACE: Duration = Duration::from_secs(2);
/// How long worker processes may take to show up, on a busy machine too.
const SHOW_UP_WITHIN: Duration = Duration::from_secs(60);
const LOOK_EVERY: Duration = Duration::from_millis(10);
/// The listing of the largest directory, as one result.
const RESULT_BYTES_MAX: u64 = 256 << 20;

/// Opens the engine in the directory `room`, made where there is none. Several processes may have it open.
pub(super) async fn open(room: &Path) -> Result<Taskport> {
    let file = room.join("engine.db");
    let Some(file) = file.to_str() else {
        let message = format!("`{}` is not UTF-8", room.display());
        return Err(
            Error::new(&codes::USAGE, "run the demo", message).hint("choose another directory with --out")
        );
    };
    let backend = BackendConfig::new("native")
        .option("url", format!("sqlite://{file}"))
        .option("result_bytes_max", RESULT_BYTES_MAX);
    let mut config = Config::default();
    config.backends.insert(BackendName::new("demo")?, backend);
    Taskport::builder().config(config).registry(pipeline::registry()).open().await
}

/// Works on the pipeline's jobs until `shutdown` says drain.
pub(super) async fn work(port: &Taskport, shutdown: Arc<dyn Shutdown>) -> Result<WorkerReport> {
    let worker = port.worker().queues([QUEUE]).concurrency(CONCURRENCY).prefetch(PREFETCH);
    worker.lease(LEASE).grace(GRACE).run_until(shutdown).await
}

/// Does `job` with a worker in this process, and lets the worker finish.
pub(super) async fn with_worker<T>(
    port: &Taskport,
    stop: &dyn Shutdown,
    job: impl Future<Output = Result<T>>,
) -> Result<T> {
    let controller = ShutdownController::new();
    let mut worker = pin!(work(port, controller.handle()));
    tokio::select! {
        done = unless_stopped(stop, job) => {
            controller.drain();
            worker.await?;
            done
        }
        ended = &mut worker => {
            let early = || Error::new(&codes::INTERNAL, "run the demo", "the worker ended by itself");
            Err(ended.err().unwrap_or_else(early))
        }
    }
}

/// Returns when so many workers have shown up.
pub(super) async fn workers_alive(port: &Taskport, count: usize) -> Result<()> {
    let all_there = async {
        let mut looks = interval(LOOK_EVERY);
        while port.admin()?.workers().await?.iter().filter(|worker| worker.alive).count() < count {
            looks.tick().await;
        }
        Ok(())
    };
    timeout(SHOW_UP_WITHIN, all_there).await.unwrap_or_else(|_elapsed| {
        let message = format!("fewer than {count} workers have shown up within {SHOW_UP_WITHIN:?}");
        Err(Error::new(&codes::INTERNAL, "run the demo", message))
    })
}

/// Lets go of the engine, whatever came of the work on it.
pub(super) async fn close<T>(port: Taskport, done: Result<T>) -> Result<T> {
    let closed = port.close().await;
    let done = done?;
    closed.map(|()| done)
}
