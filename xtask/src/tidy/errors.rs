//! Every error code has a page, and every page a code.

use std::collections::BTreeSet;
use std::fs;

use anyhow::{Context, Result};

use crate::process::root;

pub(super) fn check() -> Result<Vec<String>> {
    let source = fs::read_to_string(root().join("abstraction/src/codes.rs"))?;
    let codes: BTreeSet<String> = source.lines().filter_map(code_of).collect();
    let mut pages = BTreeSet::new();
    for entry in fs::read_dir(root().join("docs/errors")).context("docs/errors does not exist")? {
        let name = entry?.file_name().to_string_lossy().into_owned();
        if let Some(code) = name.strip_suffix(".md").filter(|name| name.starts_with("E-")) {
            pages.insert(code.to_owned());
        }
    }
    let missing = codes.difference(&pages).map(|code| format!("{code} has no page docs/errors/{code}.md"));
    let stray = pages.difference(&codes).map(|code| format!("docs/errors/{code}.md stands for no code"));
    Ok(missing.chain(stray).collect())
}

/// `NAME = 7, Kind, "Title";` → `E-007`.
fn code_of(line: &str) -> Option<String> {
    let (name, rest) = line.trim().split_once(" = ")?;
    let number: u16 = rest.split(',').next()?.parse().ok()?;
    let is_name = name.bytes().all(|b| b.is_ascii_uppercase() || b == b'_');
    is_name.then(|| format!("E-{number:03}"))
}
