//! `cargo xtask lint`.

use anyhow::Result;

use crate::process::{cargo, step};
use crate::{Verdict, tidy};

/// The licence and source checker, pinned.
const DENY_VERSION: &str = "0.20.2";

/// Each cargo feature of the facade is built alone, since features may only add.
const FEATURES: &[&str] = &["", "native", "macros", "cli", "http", "metrics", "otel", "testing", "demo"];

pub(crate) fn run() -> Result<Verdict> {
    let mut good = step("format", &mut cargo(&["fmt", "--all", "--check"]))?;
    good &= tidy::run()? == Verdict::Holds;
    let clippy = ["clippy", "--workspace", "--all-targets", "--quiet", "--", "-D", "warnings"];
    good &= step("clippy", &mut cargo(&clippy))?;
    for features in FEATURES {
        let name = format!("the facade with features [{features}] alone");
        let check = ["check", "--quiet", "-p", "taskport", "--no-default-features", "--features", features];
        good &= step(&name, &mut cargo(&check))?;
    }
    good &= step(
        "documentation",
        cargo(&["doc", "--workspace", "--no-deps", "--quiet"]).env("RUSTDOCFLAGS", "-D warnings"),
    )?;
    good &= deny()?;
    Ok(Verdict::from_bool(good))
}

fn deny() -> Result<bool> {
    let found = cargo(&["deny", "--version"]).output()?;
    if String::from_utf8_lossy(&found.stdout).trim() != format!("cargo-deny {DENY_VERSION}") {
        let install = ["install", "cargo-deny", "--locked", "--force", "--quiet", "--version", DENY_VERSION];
        if !step("install cargo-deny", &mut cargo(&install))? {
            eprintln!("hint: install it by hand: cargo {}", install.join(" "));
            return Ok(false);
        }
    }
    step(
        "licences, sources, bans",
        &mut cargo(&["deny", "--log-level", "error", "check", "licenses", "sources", "bans"]),
    )
}
