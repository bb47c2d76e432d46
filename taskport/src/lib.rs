//! One API for tasks and workflows on any task queue.
//!
//! Annotate functions, submit calls of them, and let workers run them: on the embedded engine, which needs no server,
//! or on whatever `taskport.toml` names.
//!
//! ```
//! use taskport::prelude::*;
//!
//! /// Renders a report.
//! #[task(queue = "reports", max_attempts = 5, backoff = "exponential(1s, max 5m, jitter)", timeout = "30s")]
//! async fn render(title: String, pages: u32) -> TaskResult<String> {
//!     Ok(format!("{title}, {pages} pages"))
//! }
//!
//! # #[tokio::main(flavor = "current_thread")]
//! # async fn main() -> taskport::Result<()> {
//! # let dir = tempfile::tempdir().unwrap();
//! # let path = dir.path().join("taskport.toml");
//! # let url = format!("sqlite://{}", dir.path().join("t.db").display());
//! # std::fs::write(&path, format!("[backends.main]\nkind = \"native\"\nurl = \"{url}\"")).unwrap();
//! let port = Taskport::open(path, registry![render]).await?;
//! let job = port.submit(render("Q3".into(), 12).priority(7).idempotency_key("q3")).await?;
//!
//! // In this or any other process that opens the same file:
//! let worker = tokio::spawn(port.worker().run());
//! assert_eq!(job.result().await?, "Q3, 12 pages");
//! # worker.abort();
//! # port.close().await
//! # }
//! ```
//!
//! A program that ends in `taskport::main(registry![render])` has the whole command line: `submit`, `worker`, `job`,
//! `queue`, `run` and more.
//!
//! # Cargo features
//! `native` (the embedded engine), `macros` (`#[task]`), `cli` (`taskport::main`) and `metrics` (the page for Prometheus over HTTP) are on by default; `http` adds
//! tasks declared as `kind = "http"`, `otel` spans for OpenTelemetry, `testing` the kit for tests, and `demo` the demonstration. A library takes
//! `default-features = false, features = ["native", "macros"]`.

// The demonstration declares its tasks as a user's program does, and `#[task]` reaches the facade by its name.
#[cfg(feature = "demo")]
extern crate self as taskport;

mod backends;
pub mod blocking;
#[cfg(feature = "cli")]
pub mod cli;
pub mod config;
#[cfg(feature = "native")]
pub mod engine;
mod hook;
mod job;
mod outbox;
mod port;
pub mod prelude;
#[doc(hidden)]
pub mod private;
pub mod run;
mod stock;
mod tasks;
pub mod telemetry;
#[cfg(feature = "testing")]
pub mod testing;
mod worker;

pub use taskport_abstraction as abstraction;
pub use taskport_abstraction::{
    Backoff, Call, Certainty, Clock, Error, ErrorKind, Failure, FailureKind, IntoCall, JobId, JobOptions,
    JobRef, JobState, JobStatus, Result, RetryPolicy, RunId, StepDefinition, TaskContext, TaskError,
    TaskResult, Timestamp, WithOptions, WorkflowDefinition,
};
#[cfg(feature = "macros")]
pub use taskport_macros::task;
pub use taskport_registry::{Registry, RegistryBuilder, registry};
pub use taskport_worker::ShutdownController;

#[cfg(feature = "cli")]
pub use self::cli::main;
pub use self::hook::child_hook;
pub use self::job::{Job, wait_all, wait_all_timeout};
pub use self::port::{Batch, Builder, Schedule, Taskport, TransactionalSubmit, check};
pub use self::run::Run;
pub use self::worker::WorkerBuilder;
