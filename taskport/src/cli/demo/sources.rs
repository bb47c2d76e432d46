//! Where a machine has text, for a run without a directory.

use std::ffi::OsString;
use std::path::{Path, PathBuf};

use super::scan;

/// The places where text is kept, the best first: library sources, then headers, then documentation.
pub(super) fn candidates(environment: &dyn Fn(&str) -> Option<OsString>) -> Vec<PathBuf> {
    let variable = |name| environment(name).filter(|value| !value.is_empty()).map(PathBuf::from);
    let home = variable("HOME").or_else(|| variable("USERPROFILE"));
    let below_home = |folder: &str| home.as_deref().map(|home| home.join(folder));
    let cargo = variable("CARGO_HOME").or_else(|| below_home(".cargo"));
    let rustup = variable("RUSTUP_HOME").or_else(|| below_home(".rustup"));
    let own = [
        cargo.map(|cargo| cargo.join("registry").join("src")),
        rustup.map(|rustup| rustup.join("toolchains")),
    ];
    let shared = ["/usr/include", "/usr/share/doc", "/usr/local/share", "/usr/share", "/Library"];
    own.into_iter().flatten().chain(shared.map(PathBuf::from)).collect()
}

/// The first of `candidates` with at least `files` files, else the one with most; `None` where none has any.
pub(super) fn choose(candidates: &[PathBuf], files: usize) -> Option<&Path> {
    let mut best: Option<(usize, &Path)> = None;
    for candidate in candidates {
        let found = scan::list(candidate, files, None).files.len();
        if found >= files {
            return Some(candidate);
        }
        if found > best.map_or(0, |(most, _)| most) {
            best = Some((found, candidate));
        }
    }
    best.map(|(_, path)| path)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn folder_of(files: usize) -> tempfile::TempDir {
        let dir = tempfile::tempdir().unwrap();
        (0..files).for_each(|n| std::fs::write(dir.path().join(format!("{n}.txt")), "x").unwrap());
        dir
    }

    #[test]
    fn places_follow_the_environment() {
        let environment = |name: &str| match name {
            "CARGO_HOME" => Some("/opt/cargo".into()),
            "HOME" => Some("/home/someone".into()),
            "RUSTUP_HOME" => Some(OsString::new()),
            _ => None,
        };
        let places = candidates(&environment);
        assert_eq!(places[0], Path::new("/opt/cargo/registry/src"));
        assert_eq!(places[1], Path::new("/home/someone/.rustup/toolchains"));
        assert!(candidates(&|_| None).iter().all(|place| place.is_absolute()));
    }

    #[test]
    fn the_first_place_with_enough_wins_else_the_one_with_most() {
        let (few, some, many) = (folder_of(1), folder_of(3), folder_of(5));
        let places = [few.path().to_path_buf(), some.path().into(), many.path().into()];
        assert_eq!(choose(&places, 3), Some(some.path()));
        assert_eq!(choose(&places, 9), Some(many.path()));
        assert_eq!(choose(&[], 1), None);
        assert_eq!(choose(&[places[0].join("gone")], 1), None);
    }
}
