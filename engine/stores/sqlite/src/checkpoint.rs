//! Checkpoints: a thread moves most of the log into the database, and the writer the rest, so that the log begins anew.

use std::cell::Cell;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::{Receiver, SyncSender, sync_channel};
use std::thread::JoinHandle;

use rusqlite::Connection;
use taskport_abstraction::{Error, Result, codes};

use crate::error::InStore;
use crate::options::SqliteOptions;
use crate::store::{READER_CACHE_KIB, connect};

/// How much the log grows between two checkpoints while a reader keeps it from beginning anew.
const STEP_BYTES: u64 = 16 << 20;

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
    /// Set by the thread when it has done what was asked.
    finished: Arc<AtomicBool>,
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
        let connection = connect(database, options, READER_CACHE_KIB)?;
        let (requests, wanted) = sync_channel(1);
        let finished = Arc::new(AtomicBool::new(false));
        let says_finished = finished.clone();
        let thread = std::thread::Builder::new()
            .name("taskport-checkpoint".to_owned())
            .spawn(move || serve(&connection, &wanted, &says_finished))
            .map_err(|source| {
                Error::new(&codes::STORE_OPEN, "open", "no thread for checkpoints").caused_by(source)
            })?;
        Ok(Self {
            page_bytes,
            soft: options.wal_bytes_soft,
            max: options.wal_bytes_max,
            asked_at: 0,
            requests: Some(requests),
            finished,
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
        if self.finished.swap(false, Ordering::AcqRel) {
            // Only what was committed in the meantime is left. Once it is moved too, the next commit begins anew.
            report(checkpoint(writer, "PASSIVE"));
        } else if bytes > self.max {
            report(checkpoint(writer, "RESTART"));
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

fn serve(connection: &Connection, wanted: &Receiver<()>, finished: &AtomicBool) {
    while wanted.recv().is_ok() {
        report(checkpoint(connection, "PASSIVE"));
        finished.store(true, Ordering::Release);
    }
}

/// A commit stands whatever becomes of a checkpoint. A disk that fails one fails the next statement too, which says so.
fn report(done: rusqlite::Result<()>) {
    if let Err(error) = done {
        tracing::warn!(%error, "the log could not be checkpointed");
    }
}

fn checkpoint(connection: &Connection, mode: &str) -> rusqlite::Result<()> {
    connection.query_row(&format!("PRAGMA wal_checkpoint({mode})"), [], |_| Ok(()))
}
