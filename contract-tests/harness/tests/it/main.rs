//! The harness breaks what it says it breaks, and what is broken is found.
#![cfg(test)]

mod command;
mod found;
mod strikes;

use std::path::Path;

use tempfile::TempDir;

use taskport_harness::arena::Judged;
use taskport_harness::rounds::{Ground, SCENARIOS};

fn program() -> &'static Path {
    Path::new(env!("CARGO_BIN_EXE_taskport-harness"))
}

/// One short round of a scenario.
fn round(name: &str, seconds: f64) -> Judged {
    let dir = TempDir::new().unwrap();
    let scenario = SCENARIOS.iter().find(|scenario| scenario.name == name).unwrap();
    let judged = (scenario.run)(&Ground {
        program: program(),
        old_binary: None,
        dir: dir.path(),
        seed: fastrand::u64(..),
        seconds,
    })
    .unwrap();
    if !judged.passed() {
        // What it was is worth more than a clean directory.
        panic!("{name}: {judged:?}, kept in {}", dir.keep().display());
    }
    judged
}
