//! Cargo features of dependencies that would change the code of whoever depends on us.

use anyhow::{Context, Result};
use serde::Deserialize;

use crate::process::{cargo, output};

/// Features are joined over a whole build, so that one crate's choice is everybody's.
const NEVER: &[(&str, &[&str])] =
    &[("serde_json", &["arbitrary_precision", "preserve_order", "unbounded_depth"])];

#[derive(Deserialize)]
struct Metadata {
    resolve: Resolve,
}

#[derive(Deserialize)]
struct Resolve {
    nodes: Vec<Node>,
}

#[derive(Deserialize)]
struct Node {
    id: String,
    features: Vec<String>,
}

pub(super) fn check() -> Result<Vec<String>> {
    let text = output(&mut cargo(&["metadata", "--format-version", "1"]))?;
    let metadata: Metadata = serde_json::from_str(&text).context("cargo metadata printed something else")?;
    let mut findings = Vec::new();
    for (name, features) in NEVER {
        let mut nodes = metadata.resolve.nodes.iter().filter(|node| is_package(&node.id, name)).peekable();
        if nodes.peek().is_none() {
            findings.push(format!("{name} is no dependency any more: its line in tidy is dead"));
        }
        for node in nodes {
            for feature in node.features.iter().filter(|feature| features.contains(&feature.as_str())) {
                findings.push(format!("{name} is built with `{feature}`, which changes our users' builds"));
            }
        }
    }
    Ok(findings)
}

/// `registry+URL#name@version`
fn is_package(id: &str, name: &str) -> bool {
    let last = id.rsplit(['#', '/']).next().unwrap_or_default();
    last.split('@').next() == Some(name)
}
