//! The wake file: touched by whoever commits something others may wait for, watched by whoever waits.

use std::fs::{File, OpenOptions};
use std::io::{Seek, SeekFrom, Write};
use std::path::{Path, PathBuf};

use notify::{EventKind, RecursiveMode, Watcher};
use taskport_abstraction::{Error, Result, codes};
use taskport_engine::store::Watch;

/// The wake file beside one database.
#[derive(Debug)]
pub(crate) struct Wake {
    path: PathBuf,
    file: File,
}

impl Wake {
    /// Opens the file, making it where there is none.
    pub(crate) fn open(database: &Path) -> Result<Self> {
        let path = beside(database, "-wake");
        let file = private(OpenOptions::new().write(true).create(true).truncate(false))
            .open(&path)
            .map_err(|source| failed("the wake file cannot be opened", source))?;
        Ok(Self { path, file })
    }

    /// Touches the file. A lost wake-up only costs others the time until they look for themselves.
    pub(crate) fn touch(&mut self) {
        let touched = self.file.seek(SeekFrom::Start(0)).and_then(|_| self.file.write_all(b"\n"));
        if let Err(error) = touched {
            tracing::debug!(%error, "the wake file was not touched");
        }
    }

    /// Calls `changed` whenever the file is touched, by this process too.
    pub(crate) fn watch(&self, changed: Box<dyn Fn() + Send + Sync>) -> Result<Watch> {
        let failed = |source| {
            Error::new(&codes::STORE_IO, "watch", "the wake file cannot be watched").caused_by(source)
        };
        let mut watcher = notify::recommended_watcher(move |event: notify::Result<notify::Event>| {
            // An error may hide an event.
            if event.map_or(true, |event| matches!(event.kind, EventKind::Modify(_))) {
                changed();
            }
        })
        .map_err(failed)?;
        watcher.watch(&self.path, RecursiveMode::NonRecursive).map_err(failed)?;
        Ok(Box::new(watcher))
    }
}

/// The path of a file beside the database.
pub(crate) fn beside(database: &Path, suffix: &str) -> PathBuf {
    let mut name = database.as_os_str().to_owned();
    name.push(suffix);
    name.into()
}

/// Lets only this user read and write files that are made.
pub(crate) fn private(options: &mut OpenOptions) -> &mut OpenOptions {
    #[cfg(unix)]
    std::os::unix::fs::OpenOptionsExt::mode(options, 0o600);
    options
}

fn failed(message: &'static str, source: std::io::Error) -> Error {
    Error::new(&codes::STORE_OPEN, "open", message)
        .caused_by(source)
        .hint("check that the directory exists and that this user may write there")
}
