//! The embedded engine by itself: its own verbs, without tasks and workers.
//!
//! # Examples
//! ```
//! use std::sync::Arc;
//! use std::time::Duration;
//!
//! use taskport::abstraction::{Payload, QueueName, RawCall, SystemClock};
//! use taskport::engine::{ClaimRequest, EngineConfig, EngineHandle, MemoryStore, NewJob};
//!
//! # #[tokio::main(flavor = "current_thread")]
//! # async fn main() -> taskport::Result<()> {
//! let engine = EngineHandle::open(|| Ok(MemoryStore::new()), EngineConfig::default(), Arc::new(SystemClock)).await?;
//! let call = RawCall { task: "greet".parse()?, arguments: Payload::json(r#"[["Ada"],{}]"#) };
//! let job = NewJob { id: "job-1".parse()?, call, options: Default::default(), step: None };
//! engine.enqueue(vec![job]).await.remove(0)?;
//!
//! let request = ClaimRequest {
//!     worker: "w1".into(),
//!     queues: [QueueName::default_queue()].into(),
//!     max: 10,
//!     lease_for: Duration::from_secs(30),
//! };
//! let claimed = engine.claim(&request).await?.remove(0);
//! engine.ack(claimed.lease, Payload::json("\"hello Ada\"")).await?;
//! assert_eq!(engine.stats().await?[0].counts.succeeded, 1);
//! engine.close().await;
//! # Ok(())
//! # }
//! ```

pub use taskport_engine_runtime::{ClaimRequest, EngineConfig, EngineHandle, Enqueued, NewJob, NewWorker};
pub use taskport_store_memory::MemoryStore;
pub use taskport_store_sqlite::{SqliteOptions, SqliteStore, Synchronous};
