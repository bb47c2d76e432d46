//! The engine on its own threads: group commit, wake-ups, the low-level API.
//!
//! One thread owns the writing side. It takes everything that waits — enqueues, settles, claims — runs it in one
//! transaction, commits once and answers every caller. It adds no wait of its own: an idle engine commits a single call
//! at once, and while one commit is on its way to the disk, the next group gathers. A second thread reads beside it.
//!
//! Every line between callers and threads has a bound (I5). The futures run on any async runtime.

mod handle;
mod journal;
mod letter;
mod looker;
mod mailbox;
mod outbox;
mod schedules;
mod shared;
mod upkeep;
mod upstream;
mod verbs;
mod waiting;
mod waits;
mod writer;

pub use handle::EngineHandle;
pub use letter::ClaimRequest;
pub use taskport_engine::inbox::InboxRecord;
pub use taskport_engine::schedule;
pub use taskport_engine::{EngineConfig, Enqueued, NewJob, NewWorker, Store};
