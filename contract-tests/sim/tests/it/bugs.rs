//! A store with a defect is found out within a few seeds, and the failure tells how to see it again.

use taskport_sim::{Bug, Failure, On, Options, find, run};

/// Within so many seeds.
const SEEDS_MAX: u64 = 40;

/// Which promises a defect breaks, of which one has to be seen broken first. Writes that are lost show in many ways.
const EXPECTED: &[(Bug, &[&str])] = &[
    (Bug::TokenNotChecked, &["refusal"]),
    (Bug::SucceedsTwice, &["refusal", "panic"]),
    (Bug::InsertLost, &[]),
    (Bug::CommitLost, &[]),
    (Bug::RollbackForgotten, &[]),
    (Bug::LeasedTwice, &["claim-order", "panic"]),
    (Bug::KeyLost, &["submit", "refusal"]),
    (Bug::Early, &["checker", "claim-order"]),
    (Bug::LapseMissed, &["tick"]),
    (Bug::OrderKept, &["claim-order"]),
    (Bug::StepLost, &[]),
    (Bug::Unheard, &[]),
    (Bug::Miscounted, &["account", "ready", "claim-order", "panic"]),
    (Bug::CancelLost, &["extension", "ended", "cancel", "upstream", "run"]),
    (Bug::ExtensionLost, &["lease-lost"]),
    (Bug::DeleteLost, &["ghost", "account", "purge", "stuck"]),
    (Bug::GateForgets, &["slots", "line", "panic"]),
];

// proves R-419
#[test]
fn every_planted_defect_is_found() {
    assert_eq!(EXPECTED.len(), Bug::ALL.len());
    for (bug, expected) in EXPECTED {
        let failure = hunt(*bug);
        let rule = failure.broken.rule;
        assert!(
            expected.is_empty() || expected.contains(&rule),
            "{bug:?} was seen as another promise: {failure}"
        );
    }
}

// proves R-412
#[test]
fn a_failure_names_one_command_that_shows_it_again() {
    let failure = hunt(Bug::KeyLost);
    let text = failure.to_string();
    let replay = format!("replay: cargo xtask sim --seed {} --steps {}", failure.seed, failure.steps);
    assert!(text.ends_with(&replay), "{text}");
    assert!(!failure.words.is_empty(), "the last steps are told");
    let options = options(Bug::KeyLost);
    let again = |steps| run(failure.seed, Options { steps: Some(steps), ..options }).unwrap();
    assert_eq!(again(failure.steps).unwrap_err().broken.rule, failure.broken.rule);
    assert!(again(failure.steps - 1).is_ok(), "one step less shows nothing");
}

fn options(bug: Bug) -> Options {
    Options { on: On::Memory, steps: None, bug: Some(bug) }
}

fn hunt(bug: Bug) -> Failure {
    let failures = (0..SEEDS_MAX).filter_map(|seed| find(seed, options(bug)).unwrap().err());
    failures.take(1).next().unwrap_or_else(|| panic!("{bug:?} was not found in {SEEDS_MAX} seeds"))
}
