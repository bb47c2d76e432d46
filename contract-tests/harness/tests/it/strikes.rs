//! Every scenario injects its faults, and the engine stands them.

use crate::round;

fn check(name: &str, seconds: f64, kinds: &[&str]) {
    let judged = round(name, seconds);
    for kind in kinds {
        assert!(judged.faults.get(kind).is_some_and(|count| *count > 0), "{kind}: {judged:?}");
    }
    assert!(judged.figures.jobs > 0, "{judged:?}");
}

#[test]
fn killed_processes_lose_nothing() {
    // proves R-420
    check("kill", 3.0, &["kill"]);
}

#[test]
fn a_process_can_die_at_any_step_of_a_transaction() {
    // proves R-421
    check("points", 6.0, &["point"]);
}

#[test]
fn a_process_that_sleeps_past_its_leases_is_fenced() {
    // proves R-422
    let judged = round("pause", 5.0);
    assert!(judged.faults["pause"] > 0 && judged.figures.repeats > 0, "{judged:?}");
}

#[test]
fn a_full_disk_refuses_and_forgets_nothing() {
    // proves R-423
    check("disk-full", 3.0, &[]);
}

#[test]
fn any_call_to_the_disk_may_fail() {
    // proves R-424
    check("io-error", 6.0, &["EIO"]);
}

#[test]
fn a_power_cut_takes_nothing_that_was_acknowledged() {
    // proves R-425
    check("power-cut", 4.0, &["power cut"]);
}

#[test]
fn a_power_cut_with_weak_commits_takes_the_last_ones_only() {
    // proves R-426
    check("power-cut-normal", 3.0, &["power cut, normal"]);
}

#[test]
fn a_damaged_file_is_called_so() {
    // proves R-427
    check("damage", 4.0, &["damaged file", "damaged log"]);
}

#[test]
fn a_malformed_row_keeps_no_neighbor() {
    // proves R-428
    check("malformed", 0.0, &["malformed row"]);
}

#[test]
fn sizes_are_limited_to_the_byte() {
    // proves R-429
    check("limits", 0.0, &["oversize"]);
}

#[test]
fn clocks_may_jump() {
    // proves R-430
    check("clock", 4.0, &["clock"]);
}

#[test]
fn poison_dies_alone() {
    // proves R-431
    check("poison", 0.0, &["poison"]);
}

#[test]
fn a_process_that_is_asked_to_stop_hands_back() {
    // proves R-432
    check("terminate", 3.0, &["sigterm", "sigterm twice"]);
}

#[test]
fn anything_may_happen_at_once() {
    // proves R-433
    check("everything", 4.0, &["kill"]);
}

#[test]
fn every_tick_is_one_job_whoever_fires_it() {
    // proves R-434
    check("schedulers", 3.0, &["scheduler killed"]);
}

#[test]
fn a_file_of_version_1_comes_up_to_date_whoever_dies_of_it() {
    // proves R-435
    check("versions", 2.0, &["killed while migrating"]);
}
