//! Runs across transactions that come to nothing, engines that end, and engines on one file.

use serde_json::json;
use taskport_abstraction::JobState;

use crate::world::*;

// proves R-160
#[test]
fn a_transaction_that_comes_to_nothing_leaves_the_run_where_it_was() {
    let (_directory, mut world) = sqlite();
    world.start("r", &pipeline(), json!({"len": 9})).unwrap();
    let mut turn = 0;
    loop {
        let jobs = world.claim(4);
        if jobs.is_empty() {
            break;
        }
        turn += 1;
        if turn % 2 == 0 {
            let batch: Vec<_> = jobs.iter().map(|job| settlement(job, work(job))).collect();
            let before = world.summary("r");
            let mut tx = world.engine.begin(world.now).unwrap();
            assert!(tx.settle(&batch).iter().all(Result::is_ok));
            drop(tx);
            assert_eq!(world.summary("r"), before);
        }
        assert!(world.settle(jobs).iter().all(Result::is_ok));
    }
    assert_eq!(world.output("r"), Ok(json!(36)));
}

// proves R-160 R-161
#[test]
fn a_run_goes_on_in_an_engine_opened_after_each_transaction() {
    let (directory, mut world) = sqlite();
    let mut attempts = Vec::new();
    world.start("r", &pipeline(), json!({"len": 12})).unwrap();
    loop {
        world = World::new(open(&directory));
        let jobs = world.claim(5);
        attempts.append(&mut world.attempts);
        if jobs.is_empty() {
            break;
        }
        world = World::new(open(&directory));
        assert!(world.settle(jobs).iter().all(Result::is_ok));
    }
    assert_eq!(world.output("r"), Ok(json!(66)));
    assert_eq!(attempts.len(), 1 + 2 * 12 + 1);
}

// proves R-161 R-162
#[test]
fn two_engines_on_one_file_move_one_run_on_in_turn() {
    let (directory, first) = sqlite();
    let mut worlds = [first, World::new(open(&directory))];
    for id in ["r", "s", "t"] {
        worlds[0].start(id, &pipeline(), json!({"len": 30})).unwrap();
    }
    let mut idle = 0;
    let mut turn = 0;
    let mut held: [Vec<_>; 2] = Default::default();
    while idle < 2 {
        turn += 1;
        let at = turn % 2;
        let settled = std::mem::take(&mut held[at]);
        assert!(worlds[at].settle(settled).iter().all(Result::is_ok));
        held[at] = worlds[at].claim(3 + turn % 4);
        idle = if held.iter().all(Vec::is_empty) { idle + 1 } else { 0 };
    }
    let [first, second] = &mut worlds;
    for id in ["r", "s", "t"] {
        assert_eq!(first.output(id), Ok(json!(435)));
        assert_eq!(first.summary(id), second.summary(id));
    }
    assert_eq!(first.attempts.len() + second.attempts.len(), 3 * (1 + 2 * 30 + 1), "each attempt once");
    assert!(first.attempts.len() > 30 && second.attempts.len() > 30, "both took part");
}

/// Changes the file behind the engine's back.
fn damage(directory: &tempfile::TempDir, sql: &str) {
    let file = rusqlite::Connection::open(directory.path().join("engine.db")).unwrap();
    assert!(file.execute(sql, []).unwrap() > 0, "{sql}");
}

// proves R-165
#[test]
fn a_run_whose_definition_cannot_be_read_ends_and_harms_no_other() {
    let (directory, mut world) = sqlite();
    world.start("bad", &definition(json!([{"id": "a", "task": "echo", "args": [1]}])), json!(null)).unwrap();
    world.start("good", &pipeline(), json!({"len": 3})).unwrap();
    drop(world);
    damage(
        &directory,
        "UPDATE taskport_definitions SET definition = 'x' WHERE instr(definition, 'scan') = 0",
    );
    let mut world = World::new(open(&directory));
    assert_eq!(world.summary("bad"), "running ");
    world.drain(10);
    assert_eq!(world.output("good"), Ok(json!(3)));
    assert_eq!(world.state("bad"), JobState::Failed);
    assert!(world.output("bad").unwrap_err().starts_with("undecodable: "));
}

#[test]
fn a_result_that_cannot_be_read_fails_the_step_that_needs_it() {
    let (directory, mut world) = sqlite();
    let steps = json!([
        {"id": "a", "task": "echo", "args": [1]},
        {"id": "b", "task": "echo", "after": ["a"]},
        {"id": "c", "task": "echo", "args": ["$steps.a.output"], "after": ["b"]},
    ]);
    world.start("r", &definition(steps), json!(null)).unwrap();
    let a = world.claim(1);
    world.settle(a);
    damage(&directory, "UPDATE taskport_jobs SET result = 'x' WHERE state = 5");
    world.drain(10);
    let message = "step_failed: step `c`: bad_arguments: the result of step `a` is not JSON";
    assert_eq!(world.output("r"), Err(message.to_owned()));
}

// proves R-161
#[test]
fn an_engine_takes_over_from_another_what_has_changed_and_no_more() {
    const STEPS: usize = 2_500;
    let (directory, mut first) = sqlite();
    let steps: Vec<_> =
        (0..STEPS).map(|n| json!({"id": format!("s{n}"), "task": "echo", "args": [n]})).collect();
    first.start("r", &definition(json!(steps)), json!(null)).unwrap();
    let mut second = World::new(open(&directory));
    loop {
        let (one, other) = (first.claim(100), second.claim(100));
        if one.is_empty() && other.is_empty() {
            break;
        }
        assert!(second.settle(other).iter().all(Result::is_ok));
        assert!(first.settle(one).iter().all(Result::is_ok));
    }
    assert_eq!(first.output("r"), Ok(json!(STEPS - 1)));
    assert_eq!(first.attempts.len() + second.attempts.len(), STEPS);
}
