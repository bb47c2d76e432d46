//! What a process writes down: one file of its own, which nothing under test touches.

use std::fs::{File, OpenOptions};
use std::io::{self, Write};
use std::path::Path;

use taskport_checker::{Event, Line, Operation};

use crate::clock::{OffsetClock, monotonic_us};

/// The history or effect ledger of one process. Lines are appended by one `write` each call and outlive a `SIGKILL`.
#[derive(Debug)]
pub struct History {
    process: String,
    clock: OffsetClock,
    file: File,
}

impl History {
    /// Opens `kind`-`process`.jsonl in the directory of the records.
    ///
    /// # Errors
    /// Those of making the file, which must not exist: a process has its name to itself.
    pub fn create(records: &Path, kind: &str, process: &str, clock: &OffsetClock) -> io::Result<Self> {
        let path = records.join(format!("{kind}-{process}.jsonl"));
        let file = OpenOptions::new().append(true).create_new(true).open(path)?;
        Ok(Self { process: process.to_owned(), clock: clock.clone(), file })
    }

    /// A line of this process, stamped with the present.
    pub fn line(&self, op: Operation, event: Event) -> Line {
        Line::new(self.process.as_str(), op, event, monotonic_us(), self.clock.wall_us())
    }

    /// A line about the job `key`.
    pub fn about(&self, op: Operation, event: Event, key: &str) -> Line {
        let mut line = self.line(op, event);
        line.key = Some(key.to_owned());
        line
    }

    /// Writes lines down before anything else may happen.
    ///
    /// Ends the process where they cannot be written: what goes on unrecorded proves nothing.
    pub fn write(&self, lines: &[Line]) {
        let mut text = Vec::with_capacity(lines.len() * 192);
        for line in lines {
            if serde_json::to_writer(&mut text, line).is_err() {
                std::process::abort();
            }
            text.push(b'\n');
        }
        if (&self.file).write_all(&text).is_err() {
            std::process::abort();
        }
    }

    /// The name of the process.
    pub fn process(&self) -> &str {
        &self.process
    }
}
