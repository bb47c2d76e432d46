//! What goes wrong is found: a harness that sees nothing proves nothing.

use std::time::Duration;

use rusqlite::Connection;
use taskport_checker::Rule;
use taskport_harness::arena::{Arena, Judged};
use taskport_harness::rounds::{Ground, power_cuts};
use taskport_harness::victim::{Kind, Produce, Work};
use tempfile::TempDir;

use crate::program;

/// A round of 100 jobs, tampered with before it is judged.
fn tampered(tamper: impl FnOnce(&mut Arena, &Connection)) -> Judged {
    let dir = TempDir::new().unwrap();
    let mut arena = Arena::new(program(), dir.path(), 7).unwrap();
    let mut settings = arena.settings();
    settings.produce =
        Some(Produce { seed: 7, jobs: Some(100), batch: 30, backlog: 100, mix: vec![(Kind::Plain, 1)] });
    settings.work = Some(Work::default());
    settings.leave_when_done = true;
    let mut process = arena.start_alone("all", settings).unwrap();
    assert!(process.wait(Duration::from_secs(60)).unwrap().success());
    arena.hit_nobody("nothing");
    arena.drained();
    let connection = Connection::open(&arena.database).unwrap();
    tamper(&mut arena, &connection);
    drop(connection);
    arena.judge().unwrap()
}

fn broken(judged: &Judged) -> Vec<Rule> {
    judged.figures.broken.iter().filter(|(_, count)| **count > 0).map(|(rule, _)| *rule).collect()
}

#[test]
fn an_untouched_round_passes() {
    let judged = tampered(|_, _| {});
    assert!(judged.passed(), "{judged:?}");
    assert_eq!((judged.figures.jobs, judged.figures.faults), (100, 1));
}

#[test]
fn a_row_that_vanishes_is_a_lost_job_and_a_wrong_account() {
    let judged = tampered(|_, rows| {
        assert_eq!(rows.execute("DELETE FROM taskport_jobs WHERE seq = 50", []).unwrap(), 1);
    });
    assert_eq!(broken(&judged), [Rule::Lost], "{judged:?}");
    assert!(
        judged.problems.iter().any(|problem| problem.contains("101") || problem.contains("100")),
        "{judged:?}"
    );
    assert!(!judged.passed());
}

#[test]
fn a_row_that_nobody_submitted_is_a_ghost() {
    let judged = tampered(|_, rows| {
        assert_eq!(rows.execute("UPDATE taskport_jobs SET id = 'stranger' WHERE seq = 50", []).unwrap(), 1);
    });
    assert_eq!(broken(&judged), [Rule::Lost, Rule::Ghosts], "{judged:?}");
}

#[test]
fn a_result_under_another_lease_is_a_double_outcome() {
    let judged = tampered(|_, rows| {
        assert_eq!(rows.execute("UPDATE taskport_jobs SET token = token + 1 WHERE seq = 50", []).unwrap(), 1);
    });
    assert_eq!(broken(&judged), [Rule::Double], "{judged:?}");
}

#[test]
fn a_job_that_never_ends_is_stuck() {
    let judged = tampered(|_, rows| {
        assert_eq!(rows.execute("UPDATE taskport_jobs SET state = 3 WHERE seq = 50", []).unwrap(), 1);
    });
    assert!(broken(&judged).contains(&Rule::Stuck), "{judged:?}");
}

#[test]
fn a_round_without_faults_shows_nothing() {
    // proves R-440
    let mut judged = tampered(|_, _| {});
    judged.figures.faults = 0;
    assert!(!judged.passed());
}

#[test]
fn commits_that_do_not_wait_for_the_disk_lose_jobs_in_a_power_cut() {
    // What R-425 is measured with would show a loss, were there one.
    let lost = (0..5).any(|seed| {
        let dir = TempDir::new().unwrap();
        let ground = Ground { program: program(), old_binary: None, dir: dir.path(), seed, seconds: 3.0 };
        power_cuts(&ground, true).unwrap().figures.broken[&Rule::Lost] > 0
    });
    assert!(lost);
}
