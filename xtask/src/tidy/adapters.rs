//! Every adapter folder is complete.

use std::fs;

use anyhow::Result;

use crate::process::root;

/// What each adapter has; what it does not need of the recipe it leaves out by a line in its manifest.
const FILES: &[&str] = &[
    "Cargo.toml",
    "README.md",
    "src/lib.rs",
    "src/config.rs",
    "src/capability.rs",
    "src/client.rs",
    "src/consumer.rs",
    "tests/contract.rs",
];

/// What an adapter has that talks to a server.
const SERVER_FILES: &[&str] = &["src/error.rs", "ci/up.sh", "ci/down.sh", "tests/golden"];

pub(super) fn check() -> Result<Vec<String>> {
    let mut findings = Vec::new();
    let table = fs::read_to_string(root().join("taskport/src/backends.rs")).unwrap_or_default();
    for entry in fs::read_dir(root().join("adapters"))? {
        let folder = entry?.path();
        let Some(name) = folder.file_name().map(|name| name.to_string_lossy().into_owned()) else { continue };
        let manifest = fs::read_to_string(folder.join("Cargo.toml")).unwrap_or_default();
        let embedded = manifest.lines().any(|line| line.trim() == "server = false");
        let needed = FILES.iter().chain(if embedded { [].iter() } else { SERVER_FILES.iter() });
        for file in needed {
            if !folder.join(file).exists() {
                findings.push(format!("adapters/{name} lacks {file}"));
            }
        }
        if !table.contains(&format!("kind!(taskport_{name})")) {
            findings.push(format!("taskport/src/backends.rs has no line for adapters/{name}"));
        }
    }
    Ok(findings)
}
