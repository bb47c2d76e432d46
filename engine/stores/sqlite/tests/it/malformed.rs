//! Rows that another program has spoilt.

use rusqlite::Connection;
use taskport_abstraction::{FailureKind, JobOptions, JobState, Outcome};

use crate::harness::{ack, assert_account, sqlite};

#[test]
fn a_malformed_row_is_a_dead_letter_and_its_neighbors_run() {
    // proves R-428
    let spoilt = [
        "options = x'ff'",
        "arguments = 7",
        "arguments_type = 999999",
        "task = 999999",
        "priority = 99",
        "attempt = -5",
        "attempt = 4611686018427387904",
        "token = -1",
        "submitted_at = 'yesterday'",
        "due_at = 'soon'",
        "expires_at = 'never'",
        "tags = x'ff'",
        "progress = 'half'",
        "id = x'010203'",
        "id = CAST(x'c328' AS TEXT)",
    ];
    for assignment in spoilt {
        let mut engine = sqlite();
        for id in ["before", "spoilt", "after"] {
            engine.submit(id, JobOptions::default()).unwrap();
        }
        let sql = format!("UPDATE taskport_jobs SET {assignment} WHERE id = 'spoilt'");
        assert_eq!(Connection::open(engine.path()).unwrap().execute(&sql, []).unwrap(), 1);
        let claimed = engine.claim(10);
        let ids: Vec<&str> = claimed.iter().map(|delivery| delivery.lease.job.as_str()).collect();
        assert_eq!(ids, ["before", "after"], "{assignment}");
        for delivery in &claimed {
            engine.settle(delivery, ack("null")).unwrap();
        }
        let dead: Vec<_> = engine.all().into_iter().filter(|job| job.state == JobState::Failed).collect();
        assert_eq!(dead.len(), 1, "{assignment}");
        assert!(
            matches!(&dead[0].outcome, Some(Outcome::Failure(failure)) if failure.kind == FailureKind::Undecodable),
            "{assignment}: {:?}",
            dead[0].outcome
        );
        assert_account(&engine.queues());
    }
}
