//! Workflows on the engine.

use std::time::Duration;

use async_trait::async_trait;
use futures_util::StreamExt;
use futures_util::stream::{self, BoxStream};
use taskport_abstraction::backend::{
    Cancellation, Page, PageRequest, RunFilter, RunRequest, RunStatus, Workflows,
};
use taskport_abstraction::{BackendName, Error, Result, RunId, codes};
use taskport_engine_runtime::EngineHandle;
use tokio::sync::watch;
use tokio::time::{Instant, sleep_until};

use crate::admin::check_page;
use crate::client::NativeBackend;

/// How long a watcher rests between two looks at its run, at least; and in relation to what the last one took.
const LOOK_EVERY: Duration = Duration::from_millis(50);
const LOOK_REST_FACTOR: u32 = 4;

#[async_trait]
impl Workflows for NativeBackend {
    async fn start(&self, batch: Vec<RunRequest>) -> Vec<Result<RunId>> {
        self.all_here(self.engine.start_runs(batch).await)
    }

    async fn get(&self, run: &RunId) -> Result<Option<RunStatus>> {
        self.here(self.engine.run(run.clone()).await)
    }

    fn watch(&self, run: RunId) -> BoxStream<'static, Result<RunStatus>> {
        let watcher = Watcher {
            changes: self.engine.run_changes(&run),
            engine: self.engine.clone(),
            backend: self.name.clone(),
            run,
            rested: None,
        };
        stream::unfold(Some(watcher), async |watcher| {
            let mut watcher = watcher?;
            let status = watcher.next().await;
            let goes_on = status.as_ref().is_ok_and(|status| !status.state.is_terminal());
            Some((status, goes_on.then_some(watcher)))
        })
        .boxed()
    }

    async fn cancel(&self, run: &RunId) -> Result<Cancellation> {
        self.here(self.engine.cancel_run(run.clone()).await)
    }

    async fn list(&self, filter: RunFilter, page: PageRequest) -> Result<Page<RunStatus>> {
        self.here(check_page(&page))?;
        self.here(self.engine.runs(filter, page).await)
    }
}

/// Looks at a run each time it may have changed.
#[derive(Debug)]
struct Watcher {
    engine: EngineHandle,
    backend: BackendName,
    run: RunId,
    changes: watch::Receiver<()>,
    /// When it may look again; it has not looked yet where there is none.
    rested: Option<Instant>,
}

impl Watcher {
    async fn next(&mut self) -> Result<RunStatus> {
        if let Some(rested) = self.rested {
            sleep_until(rested).await;
            // Where the engine has ended, the look says so.
            let _ended = self.changes.changed().await;
        }
        let began = Instant::now();
        let found = self.engine.run(self.run.clone()).await;
        self.rested = Some(Instant::now() + LOOK_EVERY.max(began.elapsed() * LOOK_REST_FACTOR));
        let found = found.map_err(|error| error.in_backend(&self.backend))?;
        found.ok_or_else(|| {
            let message = format!("there is no run `{}`", self.run);
            Error::new(&codes::RUN_NOT_FOUND, "watch run", message)
                .hint("check the id and the backend")
                .in_backend(&self.backend)
        })
    }
}
