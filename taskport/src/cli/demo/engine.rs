//! The engine a run works on, and who works on it.

use std::collections::BTreeMap;
use std::num::NonZero;
use std::path::Path;
use std::pin::pin;
use std::time::Duration;

use tokio::time::{interval, timeout};

use super::pipeline::{self, QUEUE};
use crate::abstraction::{BackendName, codes};
use crate::config::{BackendConfig, Config};
use crate::{Error, Result, ShutdownController, Taskport, WorkerBuilder};

/// How many files wait in a worker beyond those it reads: enough that one commit settles and claims many.
const PREFETCH: usize = 256;
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
    let backends = BTreeMap::from([(BackendName::new("demo")?, backend)]);
    let config = Config { backends, ..Config::default() };
    Taskport::builder().config(config).registry(pipeline::registry()).open().await
}

/// A worker for the pipeline's jobs. They keep processors busy, so that more of them at once than there are processors
/// would only take the time of the threads that renew leases and commit.
pub(super) fn worker(port: &Taskport) -> WorkerBuilder {
    let processors = std::thread::available_parallelism().map_or(1, NonZero::get);
    port.worker().queues([QUEUE]).concurrency(processors).prefetch(PREFETCH).grace(GRACE)
}

/// Does `job` with a worker in this process, and lets the worker finish.
pub(super) async fn with_worker<T>(port: &Taskport, job: impl Future<Output = Result<T>>) -> Result<T> {
    let controller = ShutdownController::new();
    let mut working = pin!(worker(port).run_until(controller.handle()));
    tokio::select! {
        done = job => {
            controller.drain();
            working.await?;
            done
        }
        ended = &mut working => {
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
