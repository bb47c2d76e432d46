//! The campaign as a command.

use std::process::{Command, Output};

use serde_json::Value;
use tempfile::TempDir;

use crate::program;

fn campaign(arguments: &[&str]) -> (Output, TempDir) {
    let out = TempDir::new().unwrap();
    let output = Command::new(program())
        .args(["campaign", "--json", "--out"])
        .arg(out.path())
        .args(arguments)
        .output()
        .unwrap();
    (output, out)
}

#[test]
fn a_campaign_prints_one_object_and_exits_with_0_where_all_holds() {
    // proves R-442
    let (output, out) = campaign(&["--scenario", "limits", "--seed", "5"]);
    assert_eq!(output.status.code(), Some(0), "{output:?}");
    let report: Value = serde_json::from_slice(&output.stdout).unwrap();
    for field in ["jobs", "faults", "lost", "ghosts", "double", "early", "stuck", "repeats", "explained"] {
        assert!(report[field].is_u64(), "{field}: {report}");
    }
    assert_eq!((report["lost"].as_u64(), report["seed"].as_u64()), (Some(0), Some(5)));
    assert_eq!(report["history"], Value::Array(Vec::new()));
    assert!(out.path().join("campaign.log").is_file());
}

#[test]
fn an_unknown_scenario_is_a_misuse() {
    let (output, _) = campaign(&["--scenario", "rain"]);
    assert_eq!(output.status.code(), Some(2), "{output:?}");
    assert!(String::from_utf8_lossy(&output.stderr).contains("power-cut"), "{output:?}");
}

#[test]
fn a_campaign_that_shows_nothing_has_failed() {
    // proves R-440
    let (output, _) = campaign(&["--minutes", "0"]);
    assert_eq!(output.status.code(), Some(1), "{output:?}");
}
