//! `worker`: runs jobs until it is told to stop.

use std::convert::Infallible;
#[cfg(feature = "metrics")]
use std::net::SocketAddr;
use std::time::Duration;

use clap::Args;
use serde::Serialize;
use taskport_worker::{ShutdownController, shutdown};

use super::report::Report;
use super::session::Session;
use super::value;
use crate::Result;
use crate::abstraction::QueueName;
use crate::abstraction::backend::{Phase, Shutdown, WorkerReport};
use crate::abstraction::text::format_duration;
#[cfg(feature = "metrics")]
use crate::telemetry::MetricsOptions;

/// Run jobs until SIGTERM or Ctrl-C: then finish what runs and hand back the rest; a second signal hands back at once.
#[derive(Debug, Args)]
pub(super) struct Worker {
    /// The queues to serve, in order of preference; left out, those of the configuration
    #[arg(long, value_name = "QUEUE,…", value_delimiter = ',', value_parser = value::name::<QueueName>)]
    queues: Vec<QueueName>,
    /// How many attempts run at once
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u16).range(1..=10_000))]
    concurrency: Option<u16>,
    /// The worker's name, unique among live workers
    #[arg(long)]
    name: Option<String>,
    /// How long running attempts may go on once the worker is told to stop, such as 30s
    #[arg(long, value_name = "DURATION", value_parser = value::duration)]
    grace: Option<Duration>,
    /// Serve /metrics for Prometheus, /healthz and /readyz at this address; port 0 takes a free one
    #[cfg(feature = "metrics")]
    #[arg(long, value_name = "ADDR:PORT")]
    metrics: Option<SocketAddr>,
    /// Let the metrics be reached from other machines; nothing asks who is there
    #[cfg(feature = "metrics")]
    #[arg(long)]
    metrics_public: bool,
}

/// What a worker did.
#[derive(Debug, Serialize)]
struct Worked {
    succeeded: u64,
    failed: u64,
    cancelled: u64,
    released: u64,
    refused: u64,
}

impl From<WorkerReport> for Worked {
    fn from(report: WorkerReport) -> Self {
        let WorkerReport { succeeded, failed, cancelled, released, refused } = report;
        Self { succeeded, failed, cancelled, released, refused }
    }
}

/// Says that the first signal was taken, since what runs may take its time to end; then waits for ever.
pub(super) async fn farewell(
    session: &Session,
    controller: &ShutdownController,
    grace: Duration,
) -> Infallible {
    controller.reached(Phase::Draining).await;
    session.terminal.note(format_args!(
        "finishing what runs, for up to {}; a second signal hands it back at once",
        format_duration(grace)
    ));
    std::future::pending().await
}

pub(super) async fn run(session: &Session, options: Worker) -> Result<Report> {
    let port = session.port().await?;
    if !port.registry().tasks().any(|task| task.handler.is_some()) {
        session.terminal.note("this program has no task to run; declare one under `[tasks.NAME]`");
    }
    let mut worker = port.worker();
    if !options.queues.is_empty() {
        worker = worker.queues(options.queues.iter().map(QueueName::as_str));
    }
    if let Some(concurrency) = options.concurrency {
        worker = worker.concurrency(concurrency.into());
    }
    if let Some(name) = options.name {
        worker = worker.name(name);
    }
    let grace = options.grace.unwrap_or(session.loaded()?.config.worker.grace);
    let controller = shutdown::signals()?;
    #[cfg(feature = "metrics")]
    let (worker, _server) = {
        let config = &session.loaded()?.config.worker;
        let server = match options.metrics.or(config.metrics) {
            None => None,
            Some(address) => {
                let public = options.metrics_public || config.metrics_public;
                let shutdown = Some(controller.handle());
                let server = port.serve_metrics(MetricsOptions { address, public, shutdown }).await?;
                session.terminal.note(format_args!("metrics are served at {server}"));
                Some(server)
            }
        };
        (worker.metrics(None), server)
    };
    let worked = tokio::select! {
        report = worker.grace(grace).run_until(controller.handle()) => Worked::from(report?),
        never = farewell(session, &controller, grace) => match never {},
    };
    let Worked { succeeded, failed, cancelled, released, refused } = worked;
    let text = format!(
        "{succeeded} succeeded, {failed} failed, {cancelled} cancelled, {released} handed back, {refused} refused"
    );
    Report::new(text, &worked)
}
