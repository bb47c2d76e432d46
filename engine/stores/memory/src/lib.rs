//! The engine's in-memory store: for tests and for work that need not outlive its process.
//!
//! It holds what the SQLite store holds, in ordered maps, and rolls back by an undo log. A reader waits while a
//! transaction is under way, so that it sees what is committed and nothing else.

mod inbox_rows;
mod journal_rows;
mod limit_rows;
mod schedule_rows;
mod store;
mod tables;
mod upkeep_rows;

pub use self::store::{MemoryReader, MemoryStore};
