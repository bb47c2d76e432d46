//! Private directories: made for one process, and swept up where that process could not remove its own.

use std::fs::DirBuilder;
use std::io;
use std::os::fd::OwnedFd;
use std::os::unix::fs::DirBuilderExt;
use std::path::{Path, PathBuf};

use rustix::fs::{
    AtFlags, Dir, FileType, FlockOperation, Mode, OFlags, flock, fstat, open, statat, unlinkat,
};
use rustix::io::Errno;
use rustix::process::geteuid;

const PREFIX: &str = "taskport-";
const TRIES: u32 = 1_000;

/// A directory for sockets that only this user can enter, removed when this is dropped.
///
/// It is locked as long as its process lives, so that what a killed process left behind can be told from what another
/// one uses, also where processes with different views of process numbers share the parent directory.
#[derive(Debug)]
pub(super) struct PrivateDir {
    path: PathBuf,
    _lock: OwnedFd,
}

impl PrivateDir {
    /// Makes one in `parent`, after it has removed those that nobody uses any more.
    ///
    /// # Errors
    /// Those of making and locking a directory. What cannot be swept up stays.
    pub(super) fn new(parent: &Path) -> io::Result<Self> {
        if let Err(error) = sweep(parent) {
            tracing::debug!(%error, "directories that were left behind cannot be looked for");
        }
        let mut builder = DirBuilder::new();
        builder.mode(0o700);
        for number in 0..TRIES {
            // Making a directory is atomic, so a name that another made first is never used.
            let path = parent.join(format!("{PREFIX}{}-{number}", std::process::id()));
            match builder.create(&path) {
                Err(error) if error.kind() == io::ErrorKind::AlreadyExists => continue,
                made => made?,
            }
            match lock(&path) {
                Ok(lock) if path.exists() => return Ok(Self { path, _lock: lock }),
                Err(error) if !is_gone(&error) => return Err(error),
                // Another process has swept it up before it was locked.
                _ => {}
            }
        }
        Err(io::Error::other(format!("{TRIES} names in `{}` are taken", parent.display())))
    }

    pub(super) fn path(&self) -> &Path {
        &self.path
    }
}

impl Drop for PrivateDir {
    fn drop(&mut self) {
        if let Err(error) = std::fs::remove_dir_all(&self.path) {
            tracing::debug!(%error, "the directory for sockets cannot be removed");
        }
    }
}

/// The directory, open and locked. A symbolic link is none.
fn lock(path: &Path) -> io::Result<OwnedFd> {
    let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    let directory = open(path, flags, Mode::empty())?;
    flock(&directory, FlockOperation::NonBlockingLockExclusive)?;
    Ok(directory)
}

/// Whether a directory that was just made is another's to remove, or removed.
fn is_gone(error: &io::Error) -> bool {
    matches!(error.kind(), io::ErrorKind::NotFound | io::ErrorKind::WouldBlock)
}

/// Removes the directories in `parent` whose processes are gone.
fn sweep(parent: &Path) -> io::Result<()> {
    for entry in std::fs::read_dir(parent)? {
        let entry = entry?;
        if entry.file_name().to_str().is_some_and(is_ours) {
            let path = entry.path();
            match remove_unused(&path) {
                Ok(true) => {
                    tracing::debug!(path = %path.display(), "removed what a killed process left behind")
                }
                Ok(false) => {}
                Err(error) => {
                    tracing::debug!(%error, path = %path.display(), "a directory cannot be swept up");
                }
            }
        }
    }
    Ok(())
}

/// Whether `name` is `taskport-PID-NUMBER`.
fn is_ours(name: &str) -> bool {
    let is_number = |text: &str| !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit());
    name.strip_prefix(PREFIX)
        .and_then(|rest| rest.split_once('-'))
        .is_some_and(|(process, number)| is_number(process) && is_number(number))
}

/// Removes a directory with the sockets in it, where it is one of ours and its process is gone.
///
/// Nothing but sockets is removed: a directory that holds anything else was made by another.
fn remove_unused(path: &Path) -> io::Result<bool> {
    let directory = match lock(path) {
        Err(error) if error.kind() == io::ErrorKind::WouldBlock => return Ok(false),
        directory => directory?,
    };
    let stat = fstat(&directory)?;
    if stat.st_uid != geteuid().as_raw() || Mode::from_raw_mode(stat.st_mode) != Mode::RWXU {
        return Ok(false);
    }
    for entry in Dir::read_from(&directory)? {
        let entry = entry?;
        let name = entry.file_name();
        let is_socket = match statat(&directory, name, AtFlags::SYMLINK_NOFOLLOW) {
            Ok(stat) => FileType::from_raw_mode(stat.st_mode) == FileType::Socket,
            Err(Errno::NOENT) => false,
            Err(error) => return Err(error.into()),
        };
        if is_socket {
            unlinkat(&directory, name, AtFlags::empty())?;
        }
    }
    // Fails where something is left in it.
    std::fs::remove_dir(path)?;
    Ok(true)
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::{PermissionsExt, symlink};
    use std::os::unix::net::UnixListener;

    use super::*;

    fn directory(path: &Path, mode: u32) {
        DirBuilder::new().mode(mode).create(path).unwrap();
        std::fs::set_permissions(path, PermissionsExt::from_mode(mode)).unwrap();
    }

    #[test]
    fn what_a_killed_process_left_is_swept_up_and_nothing_else() {
        let parent = tempfile::tempdir().unwrap();
        let path = |name: &str| parent.path().join(name);
        directory(&path("taskport-1-0"), 0o700);
        drop(UnixListener::bind(path("taskport-1-0").join("7")).unwrap());
        directory(&path("taskport-1-1"), 0o755);
        directory(&path("taskport-1-2"), 0o700);
        std::fs::write(path("taskport-1-2").join("7"), "kept").unwrap();
        directory(&path("taskport-1-x"), 0o700);
        directory(&path("other"), 0o700);
        symlink(path("other"), path("taskport-1-3")).unwrap();
        let used = PrivateDir::new(parent.path()).unwrap();
        let other = PrivateDir::new(parent.path()).unwrap();
        assert!(!path("taskport-1-0").exists());
        for name in ["taskport-1-1", "taskport-1-2/7", "taskport-1-3", "taskport-1-x", "other"] {
            assert!(path(name).exists(), "`{name}` is gone");
        }
        assert!(used.path().exists() && other.path().exists() && used.path() != other.path());
    }

    #[test]
    fn a_directory_that_is_dropped_is_removed_with_its_sockets() {
        let parent = tempfile::tempdir().unwrap();
        let used = PrivateDir::new(parent.path()).unwrap();
        let _listener = UnixListener::bind(used.path().join("0")).unwrap();
        drop(used);
        assert_eq!(std::fs::read_dir(parent.path()).unwrap().count(), 0);
    }
}
