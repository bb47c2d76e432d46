//! The directories a run works in, and where its report ends up.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use super::{REPORT_HTML, REPORT_JSON};
use crate::abstraction::codes;
use crate::{Error, Result};

/// The output directory, with a directory of this process's own inside that goes when the run is over.
#[derive(Debug)]
pub(super) struct Workspace {
    out: PathBuf,
    work: PathBuf,
}

/// The two files of a report.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Reports {
    /// For programs.
    pub(super) json: PathBuf,
    /// For people.
    pub(super) html: PathBuf,
}

impl Workspace {
    /// Makes the directories; what another run left is not touched.
    pub(super) fn create(out: &Path) -> Result<Self> {
        let failed = |source| unusable(out, source);
        fs::create_dir_all(out).map_err(failed)?;
        let out = fs::canonicalize(out).map_err(failed)?;
        let work = out.join(format!(".work-{}", std::process::id()));
        // Only a process of the same number that was killed can have left it.
        remove(&work).and_then(|()| fs::create_dir(&work)).map_err(failed)?;
        Ok(Self { out, work })
    }

    /// Where reports end up.
    pub(super) fn out(&self) -> &Path {
        &self.out
    }

    /// An empty directory for one run.
    pub(super) fn room(&self, name: &str) -> Result<PathBuf> {
        let room = self.work.join(name);
        fs::create_dir(&room).map_err(|source| unusable(&room, source))?;
        Ok(room)
    }

    /// Moves the report of a run to where reports end up, in place of the one before.
    pub(super) fn publish(&self, room: &Path) -> Result<Reports> {
        let publish = |name: &str| {
            let target = self.out.join(name);
            fs::rename(room.join(name), &target).map_err(|source| unusable(&target, source))?;
            Ok(target)
        };
        Ok(Reports { json: publish(REPORT_JSON)?, html: publish(REPORT_HTML)? })
    }
}

impl Drop for Workspace {
    fn drop(&mut self) {
        // What cannot be removed is named like nothing else and is replaced by the next process of this number.
        let _ = remove(&self.work);
    }
}

/// The first of the report's files that differs between two runs.
pub(super) fn difference(left: &Path, right: &Path) -> Result<Option<&'static str>> {
    let read = |room: &Path, name: &str| {
        let path = room.join(name);
        fs::read(&path).map_err(|source| unusable(&path, source))
    };
    for name in [REPORT_JSON, REPORT_HTML] {
        if read(left, name)? != read(right, name)? {
            return Ok(Some(name));
        }
    }
    Ok(None)
}

fn remove(directory: &Path) -> io::Result<()> {
    match fs::remove_dir_all(directory) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
        other => other,
    }
}

fn unusable(path: &Path, source: io::Error) -> Error {
    let message = format!("`{}` cannot be used", path.display());
    Error::new(&codes::FILE_IO, "run the demo", message)
        .caused_by(source)
        .hint("choose another output directory with --out")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn write_report(room: &Path, json: &str) {
        fs::write(room.join(REPORT_JSON), json).unwrap();
        fs::write(room.join(REPORT_HTML), "<html>").unwrap();
    }

    #[test]
    fn only_the_report_stays() {
        let dir = tempfile::tempdir().unwrap();
        let out = dir.path().join("a/b");
        for content in ["first", "second"] {
            let workspace = Workspace::create(&out).unwrap();
            let room = workspace.room("calm").unwrap();
            write_report(&room, content);
            let reports = workspace.publish(&room).unwrap();
            assert_eq!(fs::read_to_string(reports.json).unwrap(), content);
        }
        let mut left: Vec<_> = fs::read_dir(&out).unwrap().map(|entry| entry.unwrap().file_name()).collect();
        left.sort();
        assert_eq!(left, [REPORT_HTML, REPORT_JSON]);
    }

    #[test]
    fn one_byte_is_a_difference() {
        let (left, right) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
        write_report(left.path(), "{}");
        write_report(right.path(), "{}");
        assert_eq!(difference(left.path(), right.path()).unwrap(), None);
        write_report(right.path(), "{ }");
        assert_eq!(difference(left.path(), right.path()).unwrap(), Some(REPORT_JSON));
        assert!(difference(left.path(), &right.path().join("gone")).is_err());
    }

    #[test]
    fn a_file_in_place_of_the_directory_is_an_error_that_names_it() {
        let dir = tempfile::tempdir().unwrap();
        let out = dir.path().join("file");
        fs::write(&out, "x").unwrap();
        let error = Workspace::create(&out).unwrap_err();
        assert_eq!(error.code(), &codes::FILE_IO);
        assert!(error.to_string().contains("file"), "{error}");
    }
}
