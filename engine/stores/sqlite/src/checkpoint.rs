//! Checkpoints: a thread moves the log into the database, so that the writer seldom has to.

use std::cell::Cell;
use std::path::Path;
use std::sync::mpsc::{Receiver, SyncSender, sync_channel};
use std::thread::JoinHandle;

use rusqlite::Connection;
use taskport_abstraction::{Error, Result, codes};

use crate::error::InStore;
use crate::options::SqliteOptions;
use crate::store::connect;

/// How much the log grows between two requests for a checkpoint.
const STEP_BYTES: u64 = 4 << 20;

thread_local! {
    /// How many pages the log had after the last commit of this thread. SQLite's hook can carry no state of its own.
    static LOG_PAGES: Cell<u64> = const { Cell::new(0) };
}

/// Watches the length of the log and has it checkpointed.
///
/// The log's file keeps its size, since a write into a file that grows costs a sync of its metadata as well; so its
/// length is asked of SQLite.
#[derive(Debug)]
pub(crate) struct Checkpoints {
    page_bytes: u64,
    soft: u64,
    max: u64,
    asked_at: u64,
    requests: Option<SyncSender<()>>,
    thread: Option<JoinHandle<()>>,
}

impl Checkpoints {
    /// Starts the thread, with a connection of its own, and watches the commits of `writer`.
    pub(crate) fn start(writer: &Connection, database: &Path, options: &SqliteOptions) -> Result<Self> {
        let page_bytes = writer.pragma_query_value(None, "page_size", |row| row.get(0)).during("open")?;
        writer.wal_hook(Some(|_, pages| {
            LOG_PAGES.set(u64::try_from(pages).unwrap_or(0));
            Ok(())
        }));
        let connection = connect(database, options)?;
        let (requests, wanted) = sync_channel(1);
        let thread = std::thread::Builder::new()
            .name("taskport-checkpoint".to_owned())
            .spawn(move || serve(&connection, &wanted))
            .map_err(|source| {
                Error::new(&codes::STORE_OPEN, "open", "no thread for checkpoints").caused_by(source)
            })?;
        Ok(Self {
            page_bytes,
            soft: options.wal_bytes_soft,
            max: options.wal_bytes_max,
            asked_at: 0,
            requests: Some(requests),
            thread: Some(thread),
        })
    }

    /// Called after each commit: asks for a checkpoint where the log has grown, and waits for one where it is too long.
    pub(crate) fn after_commit(&mut self, writer: &Connection) {
        let bytes = LOG_PAGES.get() * self.page_bytes;
        if bytes < self.asked_at {
            // The log began anew.
            self.asked_at = 0;
        }
        if bytes > self.max {
            // The commit stands. A disk that fails here fails the next statement too, which says so.
            if let Err(error) = checkpoint(writer, "RESTART") {
                tracing::warn!(%error, bytes, "the log is over its limit and cannot be checkpointed");
            }
        } else if bytes > self.soft
            && bytes >= self.asked_at + STEP_BYTES
            && let Some(requests) = &self.requests
            // Where the channel is full, a checkpoint is about to begin anyway.
            && requests.try_send(()).is_ok()
        {
            self.asked_at = bytes;
        }
    }
}

impl Drop for Checkpoints {
    fn drop(&mut self) {
        self.requests = None;
        if let Some(thread) = self.thread.take()
            && thread.join().is_err()
        {
            tracing::warn!("the checkpoint thread panicked");
        }
    }
}

fn serve(connection: &Connection, wanted: &Receiver<()>) {
    while wanted.recv().is_ok() {
        // What fails here fails again in the writer's own checkpoint, which says so.
        if let Err(error) = checkpoint(connection, "PASSIVE") {
            tracing::debug!(%error, "a checkpoint failed");
        }
    }
}

fn checkpoint(connection: &Connection, mode: &str) -> rusqlite::Result<()> {
    connection.query_row(&format!("PRAGMA wal_checkpoint({mode})"), [], |_| Ok(()))
}
