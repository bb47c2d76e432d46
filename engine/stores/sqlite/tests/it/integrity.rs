//! Files damaged in many ways, and the line that says so.

use std::fs;

use rusqlite::Connection;
use taskport_abstraction::JobOptions;
use taskport_abstraction::backend::{RunRequest, Verdict};
use taskport_abstraction::maintenance::{IntegrityReport, Repair};
use taskport_engine::store::Upkeep;
use taskport_store_sqlite::{SqliteOptions, SqliteStore};

use crate::harness::{Harness, ack, assert_account, failure, sqlite};

/// A file with a job in several states, a run and a key.
fn world() -> Harness<SqliteStore> {
    let mut h = sqlite();
    let definition = serde_json::json!({"name": "w", "steps": [{"id": "a", "task": "t"}]});
    let run = RunRequest {
        id: "run".parse().unwrap(),
        definition: std::sync::Arc::new(serde_json::from_value(definition).unwrap()),
        input: taskport_abstraction::Payload::json("null"),
        trace: None,
    };
    h.tx(|tx| tx.start_runs(vec![run]).remove(0).unwrap());
    let delivery = h.claim(1).remove(0);
    h.settle(&delivery, ack("1")).unwrap();
    h.submit("done", JobOptions::default()).unwrap();
    h.submit("dead", JobOptions { tags: vec!["blue".into()], ..JobOptions::default() }).unwrap();
    let deliveries = h.claim(2);
    h.settle(&deliveries[0], ack("1")).unwrap();
    h.settle(&deliveries[1], Verdict::Reject(failure("no"))).unwrap();
    h.submit("runs", JobOptions::default()).unwrap();
    h.claim(1);
    let later = Some(taskport_abstraction::options::Start::In(std::time::Duration::from_secs(900)));
    h.submit("waits", JobOptions { start: later, ..JobOptions::default() }).unwrap();
    h.submit("ready", JobOptions::default()).unwrap();
    h
}

fn integrity(h: &Harness<SqliteStore>) -> IntegrityReport {
    h.engine.store().keeper().integrity().unwrap()
}

#[test]
fn a_sound_file_has_no_problems() {
    let h = world();
    let report = integrity(&h);
    assert_eq!(report.problems, []);
    assert!(report.rows >= 7, "{report:?}");
}

/// Damages a file and expects one line that says all of `expected`; where it can be repaired, does so and expects none.
fn check(damage: &str, expected: &[&str], repair: Repair) {
    let mut h = world();
    Connection::open(h.path()).unwrap().execute_batch(damage).unwrap();
    let report = integrity(&h);
    let fits = |problem: &str| expected.iter().all(|part| problem.contains(part));
    let found = report.problems.iter().find(|problem| fits(&problem.problem));
    let found = found.unwrap_or_else(|| panic!("{damage}: {report:?}"));
    assert_eq!(found.repair, repair, "{damage}: {found:?}");
    assert!(!found.advice.is_empty());
    let repaired = h.engine.store().keeper().repair().unwrap();
    let after = integrity(&h);
    if repair == Repair::Possible {
        assert!(
            repaired.problems.iter().all(|problem| problem.repair == Repair::Done),
            "{damage}: {repaired:?}"
        );
        assert_eq!(after.problems, [], "{damage}");
        assert_account(&h.queues());
        // The engine that was open goes on with what was put right.
        h.pass(1_000);
        let claimed = h.claim(10);
        assert!(
            claimed.iter().any(|delivery| delivery.lease.job.as_str() == "ready"),
            "{damage}: {claimed:?}"
        );
    } else {
        assert!(after.problems.iter().any(|problem| fits(&problem.problem)), "{damage}: {after:?}");
    }
}

// proves
#[test]
fn each_contradiction_is_told_and_put_right_where_that_loses_nothing() {
    use Repair::{Impossible, Possible};
    check(
        "UPDATE taskport_queues SET queued = 7",
        &["account", "`default`", "queued 7 instead of 1"],
        Possible,
    );
    check("UPDATE taskport_queues SET submitted = 1", &["account", "submitted 1 instead of"], Possible);
    check("UPDATE taskport_queues SET succeeded = 0", &["account", "succeeded 0 instead of 2"], Possible);
    check("UPDATE taskport_queues SET running = -1", &["account", "running"], Possible);
    check("DELETE FROM taskport_queues", &["account of queue `default`"], Possible);
    check("DELETE FROM taskport_jobs WHERE id = 'waits'", &["account", "scheduled 1 instead of 0"], Possible);
    check(
        "UPDATE taskport_jobs SET due_at = NULL WHERE id = 'runs'",
        &["`runs`", "without a lease"],
        Possible,
    );
    check("UPDATE taskport_jobs SET due_at = NULL WHERE id = 'waits'", &["`waits`", "no moment"], Possible);
    check(
        "UPDATE taskport_jobs SET finished_at = NULL WHERE id = 'dead'",
        &["`dead`", "ended at no"],
        Possible,
    );
    check("INSERT INTO taskport_keys VALUES ('k', 'nobody', NULL)", &["key `k`", "does not exist"], Possible);
    check("DELETE FROM taskport_runs", &["belongs to a run that does not exist"], Possible);
    check(
        "DELETE FROM taskport_runs; DELETE FROM taskport_jobs WHERE run IS NOT NULL",
        &["run `number 1`", "does not exist"],
        Possible,
    );
    check("DELETE FROM taskport_definitions", &["run `run`", "no definition"], Impossible);
    check("DELETE FROM taskport_run_inputs", &["run `run`", "no input"], Impossible);
    check(
        "UPDATE taskport_jobs SET task = 99 WHERE id = 'done'",
        &["`done`", "no name has the key 99"],
        Impossible,
    );
    check("UPDATE taskport_jobs SET state = 77 WHERE id = 'done'", &["`done`", "state 77"], Impossible);
    check(
        "UPDATE taskport_jobs SET options = x'ff' WHERE id = 'dead'",
        &["`dead`", "options cannot be"],
        Impossible,
    );
    check(
        "UPDATE taskport_jobs SET failure = '{}' WHERE id = 'dead'",
        &["`dead`", "failure cannot be"],
        Impossible,
    );
    check("UPDATE taskport_jobs SET id = x'00' WHERE id = 'done'", &["number 2", "wrong length"], Impossible);
    check(
        "UPDATE taskport_jobs SET attempt = 'x' WHERE id = 'done'",
        &["`done`", "cannot be read"],
        Impossible,
    );
}

// proves R-477
#[test]
fn many_problems_of_a_sort_are_counted() {
    let mut h = sqlite();
    for n in 0..50 {
        h.submit(&format!("job-{n}"), JobOptions::default()).unwrap();
    }
    Connection::open(h.path()).unwrap().execute_batch("UPDATE taskport_jobs SET task = 99").unwrap();
    let report = integrity(&h);
    assert!(report.problems.len() <= 25, "{}", report.problems.len());
    assert!(report.problems.iter().any(|problem| problem.problem.contains("30 more")), "{report:?}");
}

// proves R-477
#[test]
fn damaged_pages_are_told_with_advice_and_never_repaired() {
    let mut h = sqlite();
    for n in 0..500 {
        h.submit(&format!("job-{n}"), JobOptions::default()).unwrap();
    }
    let copy = h.path().with_extension("copy");
    h.engine.store().keeper().backup(&copy).unwrap();
    let mut bytes = fs::read(&copy).unwrap();
    let page = 4_096;
    let pages = bytes.len() / page;
    // Every page after those that the schema is read from.
    for spoilt in [pages / 3, pages / 2, pages - 2] {
        let mut damaged = bytes.clone();
        damaged[spoilt * page..(spoilt + 1) * page].fill(0xa5);
        fs::write(&copy, &damaged).unwrap();
        let Ok(store) = SqliteStore::open(&copy, SqliteOptions::default()) else { continue };
        let report = store.keeper().integrity().unwrap();
        assert!(report.problems[0].problem.starts_with("the pages are damaged"), "{report:?}");
        assert!(report.problems[0].advice.contains("restore a backup"), "{report:?}");
        let repaired = store.keeper().repair().unwrap();
        assert!(repaired.problems.iter().all(|problem| problem.repair != Repair::Done), "{repaired:?}");
    }
    bytes.clear();
}
