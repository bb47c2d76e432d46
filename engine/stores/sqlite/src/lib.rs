//! The engine's SQLite store: one file, one writer at a time, readers beside it, any number of processes.
//!
//! The file is in WAL mode with `synchronous=FULL` unless asked otherwise, so that a commit survives a power cut. A
//! thread checkpoints on a connection of its own; the log has a largest size. A commit that other processes may wait
//! for touches `<file>-wake`, which they watch.
//!
//! The store decides nothing about jobs: every statement does what [`Store`](taskport_engine::Store) says, no more.

mod backup;
mod checkpoint;
mod error;
mod inbox_rows;
mod integrity;
mod journal_rows;
mod keeper;
mod limit_rows;
mod names;
mod options;
mod rows;
mod run_rows;
mod salvage;
mod schedule_rows;
mod schema;
mod step_rows;
mod store;
mod upkeep_rows;
mod wake;

pub use self::inbox_rows::enqueue_statement;
pub use self::options::{SqliteOptions, Synchronous};
pub use self::rows::SqliteReader;
pub use self::store::SqliteStore;
