//! Which files there are, in an order that does not depend on the file system.

use std::fs;
use std::path::{Path, PathBuf};

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// Directories deeper than this are left out.
const DEPTH_MAX: usize = 64;

/// The files of a directory.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub(crate) struct Listing {
    /// Their paths below the directory, with `/` between the parts, sorted part by part.
    pub(super) files: Vec<String>,
    /// How many they are.
    pub(super) listed: u64,
    /// What was left out.
    pub(super) left_out: LeftOut,
}

/// Entries that were met and not listed.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub(crate) struct LeftOut {
    /// Symbolic links; none is followed, so none can lead in a circle.
    pub(super) links: u64,
    /// Devices, pipes and sockets.
    pub(super) special: u64,
    /// Files and directories whose names start with a dot.
    pub(super) hidden: u64,
    /// Names that are not UTF-8.
    pub(super) names_not_utf8: u64,
    /// Directories that could not be read, or are nested too deep.
    pub(super) directories: u64,
}

/// Lists at most `files_max` ordinary files below `root`, in order, without `excluded`.
pub(super) fn list(root: &Path, files_max: usize, excluded: Option<&Path>) -> Listing {
    let mut listing = Listing::default();
    let mut waiting =
        vec![Entry { at: root.to_path_buf(), path: String::new(), is_directory: true, depth: 0 }];
    while listing.files.len() < files_max {
        match waiting.pop() {
            Some(directory) if directory.is_directory => {
                let entries = read_directory(&directory, &mut listing.left_out);
                waiting
                    .extend(entries.into_iter().rev().filter(|entry| Some(entry.at.as_path()) != excluded));
            }
            Some(file) => listing.files.push(file.path),
            None => break,
        }
    }
    listing.listed = listing.files.len() as u64;
    listing
}

struct Entry {
    at: PathBuf,
    path: String,
    is_directory: bool,
    depth: usize,
}

/// The files and directories in one directory, sorted by name.
fn read_directory(directory: &Entry, left_out: &mut LeftOut) -> Vec<Entry> {
    let readable = directory.depth <= DEPTH_MAX;
    let Some(entries) = readable.then(|| fs::read_dir(&directory.at).ok()).flatten() else {
        left_out.directories += 1;
        return Vec::new();
    };
    let mut kept = Vec::new();
    for entry in entries.filter_map(Result::ok) {
        let (Ok(kind), name) = (entry.file_type(), entry.file_name()) else { continue };
        let counter = match name.to_str() {
            None => &mut left_out.names_not_utf8,
            Some(name) if name.starts_with('.') => &mut left_out.hidden,
            Some(_) if kind.is_symlink() => &mut left_out.links,
            Some(_) if !kind.is_dir() && !kind.is_file() => &mut left_out.special,
            Some(name) => {
                let path = match directory.path.as_str() {
                    "" => name.to_owned(),
                    parent => format!("{parent}/{name}"),
                };
                let depth = directory.depth + 1;
                kept.push(Entry { at: entry.path(), path, is_directory: kind.is_dir(), depth });
                continue;
            }
        };
        *counter += 1;
    }
    kept.sort_unstable_by(|a, b| a.path.cmp(&b.path));
    kept
}

#[cfg(test)]
mod tests {
    use super::*;

    fn tree(files: &[&str]) -> tempfile::TempDir {
        let dir = tempfile::tempdir().unwrap();
        for file in files {
            let path = dir.path().join(file);
            fs::create_dir_all(path.parent().unwrap()).unwrap();
            fs::write(path, file).unwrap();
        }
        dir
    }

    #[test]
    fn files_are_listed_in_order_up_to_the_limit() {
        let dir = tree(&["b.txt", "a/z.txt", "a/b/c.txt", "c.txt", "a/b.txt"]);
        let all = ["a/b/c.txt", "a/b.txt", "a/z.txt", "b.txt", "c.txt"];
        assert_eq!(list(dir.path(), 100, None).files, all);
        assert_eq!(list(dir.path(), 3, None).files, all[..3]);
        assert!(list(dir.path(), 0, None).files.is_empty());
    }

    #[test]
    fn hidden_and_excluded_entries_are_left_out() {
        let dir = tree(&["a.txt", ".git/objects", ".env", "out/report.html"]);
        let listing = list(dir.path(), 100, Some(&dir.path().join("out")));
        assert_eq!((listing.files, listing.listed), (vec!["a.txt".to_owned()], 1));
        assert_eq!(listing.left_out.hidden, 2);
    }

    #[test]
    fn a_directory_that_is_not_there_is_counted() {
        let dir = tree(&[]);
        let listing = list(&dir.path().join("gone"), 10, None);
        assert_eq!((listing.files.len(), listing.left_out.directories), (0, 1));
    }

    #[cfg(unix)]
    #[test]
    fn links_are_not_followed_and_strange_names_are_counted() {
        use std::os::unix::ffi::OsStrExt;

        let dir = tree(&["a/b.txt"]);
        std::os::unix::fs::symlink(dir.path(), dir.path().join("a/loop")).unwrap();
        std::os::unix::fs::symlink("nowhere", dir.path().join("dangling")).unwrap();
        fs::write(dir.path().join(std::ffi::OsStr::from_bytes(b"\xff.txt")), "x").unwrap();
        let listing = list(dir.path(), 100, None);
        assert_eq!(listing.files, ["a/b.txt"]);
        assert_eq!((listing.left_out.links, listing.left_out.names_not_utf8), (2, 1));
    }

    #[test]
    fn directories_nested_too_deep_are_left_out() {
        let deep = vec!["d"; DEPTH_MAX + 3].join("/") + "/x.txt";
        let dir = tree(&["a.txt", &deep]);
        let listing = list(dir.path(), 100, None);
        assert_eq!((listing.files, listing.left_out.directories), (vec!["a.txt".to_owned()], 1));
    }
}
