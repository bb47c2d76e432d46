//! Who may know whom: every dependency inside the workspace points to the left.

use std::path::Path;

use anyhow::{Context, Result};
use serde::Deserialize;

use crate::process::{cargo, output, root};

/// The rooms from left to right. A crate may use only crates of rooms further left.
const ROOMS: &[&[&str]] = &[
    &["abstraction"],
    &["macros", "registry", "engine/core", "contract-tests/checker"],
    &["worker", "engine/stores", "engine/runtime"],
    &["contract-tests/suite", "contract-tests/sim"],
    &["adapters"],
    &["taskport"],
    &["contract-tests/harness"],
    &["apps", "examples", "benches", "xtask"],
];

#[derive(Deserialize)]
struct Metadata {
    packages: Vec<Package>,
}

#[derive(Deserialize)]
struct Package {
    name: String,
    manifest_path: String,
    dependencies: Vec<Dependency>,
}

#[derive(Deserialize)]
struct Dependency {
    name: String,
    kind: Option<String>,
    path: Option<String>,
}

pub(super) fn check() -> Result<Vec<String>> {
    let text = output(&mut cargo(&["metadata", "--format-version", "1", "--no-deps"]))?;
    let metadata: Metadata = serde_json::from_str(&text).context("cargo metadata printed something else")?;
    let mut findings = Vec::new();
    for package in &metadata.packages {
        let folder = folder_of(Path::new(&package.manifest_path).parent().unwrap_or(Path::new("")));
        let Some(from) = room_of(&folder) else {
            findings.push(format!("{}: the folder {folder} is no room of the house", package.name));
            continue;
        };
        for dependency in &package.dependencies {
            let Some(path) = &dependency.path else { continue };
            let to_folder = folder_of(Path::new(path));
            if !allowed(from, &to_folder, dependency.kind.as_deref()) {
                findings.push(format!(
                    "{} ({folder}) may not use {} ({to_folder}): the arrow does not point to the left",
                    package.name, dependency.name
                ));
            }
        }
    }
    Ok(findings)
}

fn allowed(from: usize, to_folder: &str, kind: Option<&str>) -> bool {
    // Tests may compare what stands side by side, such as two stores.
    room_of(to_folder).is_some_and(|to| to < from || (to == from && kind == Some("dev")))
}

fn folder_of(path: &Path) -> String {
    path.strip_prefix(root()).unwrap_or(path).to_string_lossy().into_owned()
}

/// The room's place in the line.
fn room_of(folder: &str) -> Option<usize> {
    let is_in =
        |room: &str| folder == room || folder.strip_prefix(room).is_some_and(|rest| rest.starts_with('/'));
    ROOMS.iter().position(|rooms| rooms.iter().any(|room| is_in(room)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn arrows_point_to_the_left() {
        let check = |from: &str, to: &str, kind: Option<&str>, expected: bool| {
            assert_eq!(allowed(room_of(from).unwrap(), to, kind), expected, "{from} → {to}");
        };
        check("worker", "abstraction", None, true);
        check("abstraction", "worker", None, false);
        check("adapters/native", "adapters/celery", None, false);
        check("adapters/native", "engine/stores/sqlite", None, true);
        check("engine/stores/sqlite", "engine/runtime", None, false);
        check("apps/cli", "taskport", None, true);
        check("taskport", "apps/cli", None, false);
        check("engine/stores/sqlite", "engine/stores/memory", None, false);
        check("engine/stores/sqlite", "engine/stores/memory", Some("dev"), true);
        check("adapters/native", "contract-tests/suite", Some("dev"), true);
    }
}
