//! Copies of the file: made while it is written, and put in its place.

use std::fs::{self, File};
use std::io;
use std::path::{Path, PathBuf};

use rusqlite::backup::{Backup, StepResult};
use rusqlite::{Connection, OpenFlags};
use taskport_abstraction::maintenance::BackupReport;
use taskport_abstraction::{Error, Result, Timestamp, codes};

use crate::error::{InStore, damaged};
use crate::integrity;
use crate::keeper::{SqliteKeeper, pragma, require_idle};
use crate::schema;
use crate::store::create_private_new;
use crate::wake::{Wake, beside};

/// How many unfinished copies of killed processes may lie beside a target.
const UNFINISHED_MAX: usize = 100;
/// By how much a restore moves every lease token on, so that no lease from before it is ever taken for one from after.
const TOKEN_STEP: i64 = 1 << 32;

/// Writes a copy of one moment of the file.
///
/// The log lets a reader keep its moment while others commit, so that the copy is made in one go and neither holds
/// writers up nor begins anew because of them. Until it is done the log cannot begin anew, and grows.
pub(crate) fn backup(keeper: &SqliteKeeper, to: &Path) -> Result<BackupReport> {
    if fs::symlink_metadata(to).is_ok() {
        return Err(exists(to));
    }
    let source = keeper.connect()?;
    let copy = Unfinished::beside(to)?;
    let jobs = {
        let mut target = copy.open()?;
        copy_all(&source, &mut target, "backup")?;
        // As a plain file, it can be read where nothing can be written.
        leave_wal_mode(&target)?;
        count_jobs(&target)?
    };
    let bytes = copy.keep_as(to)?;
    Ok(BackupReport { bytes, jobs })
}

/// Puts a copy in the place of everything, in one transaction: whoever has the file open sees all of the old or all of
/// the new.
pub(crate) fn restore(keeper: &SqliteKeeper, from: &Path, now: Timestamp) -> Result<BackupReport> {
    let source = open_copy(from)?;
    let stage = Unfinished::beside(&keeper.path)?;
    let mut staged = stage.open()?;
    copy_all(&source, &mut staged, "restore")?;
    drop(source);
    let mut live = keeper.connect()?;
    prepare(&mut staged, &live)?;
    let report = BackupReport { bytes: stage.bytes()?, jobs: count_jobs(&staged)? };
    let judge = keeper.connect()?;
    {
        let replacing = Backup::new(&staged, &mut live).during("restore")?;
        // Takes the lock, so that nobody begins to work between the question and the deed.
        step(&replacing, 0, "restore")?;
        require_idle(&judge, now, "restore")?;
        step(&replacing, -1, "restore")?;
    }
    drop(judge);
    match Wake::open(&keeper.path) {
        Ok(mut wake) => wake.touch(),
        Err(error) => tracing::debug!(%error, "others are not told of the restore at once"),
    }
    // A log that is in use is emptied by whoever writes next.
    if let Err(error) = keeper.empty_log(&live) {
        tracing::debug!(%error, "the log was not emptied after a restore");
    }
    Ok(report)
}

/// A copy that is to be read.
fn open_copy(path: &Path) -> Result<Connection> {
    let flags = OpenFlags::SQLITE_OPEN_READ_ONLY | OpenFlags::SQLITE_OPEN_NO_MUTEX;
    let copy = Connection::open_with_flags(path, flags)
        .during("restore")
        .map_err(|error| error.hint(format!("check that `{}` exists and can be read", path.display())))?;
    let identity = schema::identify(&copy, true)?;
    if identity.version == 0 || !identity.owned {
        let message = format!("`{}` is no backup of a Taskport database", path.display());
        return Err(Error::new(&codes::STORE_FOREIGN, "restore", message)
            .hint("give the path of a file that `taskport maintain backup` wrote"));
    }
    Ok(copy)
}

/// Checks a copy and makes it fit to follow what is live.
fn prepare(staged: &mut Connection, live: &Connection) -> Result<()> {
    let problems = integrity::damage(staged)?;
    if let Some(first) = problems.first() {
        return Err(damaged(format!("the backup is damaged: {first}")).hint("restore another backup"));
    }
    leave_wal_mode(staged)?;
    schema::migrate(staged, false)?;
    if pragma(staged, "page_size")? != pragma(live, "page_size")? {
        let size = pragma(live, "page_size")?;
        staged.execute_batch(&format!("PRAGMA page_size = {size}; VACUUM")).during("restore")?;
    }
    let generation: (i64, i64) = live
        .query_row("SELECT keys_given_up, restored FROM taskport_upkeep", [], |row| {
            Ok((row.get(0)?, row.get(1)?))
        })
        .during("restore")?;
    let set = "UPDATE taskport_upkeep SET walked_at = 0, keys_given_up = ?1, restored = ?2";
    staged.execute(set, [generation.0 + 1, generation.1 + 1]).during("restore")?;
    // Whoever worked when the copy was made does so no longer.
    staged.execute("DELETE FROM taskport_workers", []).during("restore")?;
    let move_on = "UPDATE taskport_jobs SET token = token + ?1 WHERE state < 5 AND state <> 2";
    staged.execute(move_on, [TOKEN_STEP]).during("restore")?;
    let move_on = "UPDATE taskport_jobs SET token = token + ?1 WHERE state = 2 OR state > 5";
    staged.execute(move_on, [TOKEN_STEP]).during("restore")?;
    Ok(())
}

fn copy_all(source: &Connection, target: &mut Connection, operation: &'static str) -> Result<()> {
    let copying = Backup::new(source, target).during(operation)?;
    step(&copying, -1, operation)
}

fn step(copying: &Backup<'_, '_>, pages: i32, operation: &'static str) -> Result<()> {
    match copying.step(pages).during(operation)? {
        StepResult::Busy | StepResult::Locked => {
            Err(Error::new(&codes::STORE_BUSY, operation, "another process holds the database")
                .hint("try again; if it lasts, look for a process that keeps a transaction open on the file"))
        }
        _ => Ok(()),
    }
}

fn leave_wal_mode(connection: &Connection) -> Result<()> {
    connection.pragma_update_and_check(None, "journal_mode", "DELETE", |_| Ok(())).during("backup")
}

fn count_jobs(connection: &Connection) -> Result<u64> {
    let table = "SELECT count(*) FROM sqlite_schema WHERE name = 'taskport_jobs'";
    let present: i64 = connection.query_row(table, [], |row| row.get(0)).during("backup")?;
    let sql = if present == 1 { "SELECT count(*) FROM taskport_jobs" } else { "SELECT count(*) FROM jobs" };
    let jobs: i64 = connection.query_row(sql, [], |row| row.get(0)).during("backup")?;
    Ok(u64::try_from(jobs).unwrap_or_default())
}

/// A copy under a name of its own, until it is whole. Dropped, it leaves nothing behind.
struct Unfinished(PathBuf);

impl Unfinished {
    fn beside(target: &Path) -> Result<Self> {
        for number in 0..UNFINISHED_MAX {
            let path = beside(target, &format!("-unfinished{number}"));
            match create_private_new(&path) {
                Ok(()) => return Ok(Self(path)),
                Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {}
                Err(error) => return Err(failed(&path, error)),
            }
        }
        let message = format!("there are {UNFINISHED_MAX} unfinished copies beside `{}`", target.display());
        Err(Error::new(&codes::FILE_IO, "backup", message).hint("delete them; nothing uses them"))
    }

    /// Nothing of it needs to survive before it is whole.
    fn open(&self) -> Result<Connection> {
        let flags = OpenFlags::SQLITE_OPEN_READ_WRITE | OpenFlags::SQLITE_OPEN_NO_MUTEX;
        let connection = Connection::open_with_flags(&self.0, flags).during("backup")?;
        connection
            .execute_batch(
                "PRAGMA journal_mode = MEMORY; PRAGMA synchronous = OFF; PRAGMA temp_store = MEMORY",
            )
            .during("backup")?;
        Ok(connection)
    }

    fn bytes(&self) -> Result<u64> {
        fs::metadata(&self.0).map(|file| file.len()).map_err(|error| failed(&self.0, error))
    }

    /// Gives the copy its name once the disk has it, unless the name was taken in the meantime.
    fn keep_as(self, target: &Path) -> Result<u64> {
        File::open(&self.0).and_then(|file| file.sync_all()).map_err(|error| failed(&self.0, error))?;
        let bytes = self.bytes()?;
        match fs::hard_link(&self.0, target) {
            Ok(()) => {}
            Err(error) if error.kind() == io::ErrorKind::AlreadyExists => return Err(exists(target)),
            // Some file systems have no links.
            Err(_) => fs::rename(&self.0, target).map_err(|error| failed(target, error))?,
        }
        sync_directory(target).map_err(|error| failed(target, error))?;
        Ok(bytes)
    }
}

impl Drop for Unfinished {
    fn drop(&mut self) {
        for suffix in ["", "-journal", "-wal", "-shm"] {
            match fs::remove_file(beside(&self.0, suffix)) {
                Err(error) if error.kind() != io::ErrorKind::NotFound => {
                    tracing::warn!(%error, path = %self.0.display(), "an unfinished copy was left");
                }
                _ => {}
            }
        }
    }
}

fn sync_directory(file: &Path) -> io::Result<()> {
    let directory = file.parent().filter(|parent| !parent.as_os_str().is_empty()).unwrap_or(Path::new("."));
    if cfg!(unix) { File::open(directory)?.sync_all() } else { Ok(()) }
}

fn exists(path: &Path) -> Error {
    Error::new(&codes::FILE_IO, "backup", format!("`{}` exists already", path.display()))
        .hint("give a new path; a backup never overwrites anything")
}

fn failed(path: &Path, source: io::Error) -> Error {
    Error::new(&codes::FILE_IO, "backup", format!("`{}` cannot be written", path.display()))
        .caused_by(source)
        .hint("check that its directory exists, that this user may write there and that there is room")
}
