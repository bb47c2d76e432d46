//! How runs start, go on and succeed.

use std::time::Duration;

use serde_json::json;
use taskport_abstraction::backend::{PageRequest, RunFilter, Verdict};
use taskport_abstraction::job::StepRef;
use taskport_abstraction::{JobState, Payload, RunId, StepId, codes};
use taskport_engine::{EngineConfig, Store};
use taskport_store_memory::MemoryStore;

use crate::world::*;

fn runs_a_pipeline<S: Store>(mut world: World<S>) {
    world.start("r", &pipeline(), json!({"len": 20})).unwrap();
    assert_eq!(world.summary("r"), "running scan:running:0/0/1 each:waiting:0/0/0 merge:waiting:0/0/1");
    world.pass(Duration::from_secs(1));
    world.drain(5);
    assert_eq!(
        world.summary("r"),
        "succeeded scan:succeeded:1/0/1 each:succeeded:20/0/20 merge:succeeded:1/0/1"
    );
    assert_eq!(world.output("r"), Ok(json!(190)));
    assert_eq!(world.attempts.len(), 1 + 2 * 20 + 1);
    let status = world.status("r");
    let scan = &status.steps[0];
    assert_eq!(scan.finished_at.unwrap().since(scan.started_at.unwrap()), Duration::from_secs(1));
    assert!(status.finished_at.is_some());
}

// proves R-160
#[test]
fn a_pipeline_runs_to_its_end() {
    runs_a_pipeline(memory());
    let (_directory, world) = sqlite();
    runs_a_pipeline(world);
}

fn starts_once<S: Store>(mut world: World<S>) {
    let id = world.start("r", &pipeline(), json!({"len": 2})).unwrap();
    assert_eq!(world.start("r", &pipeline(), json!({"len": 2})).unwrap(), id);
    let other = definition(json!([{"id": "a", "task": "echo"}]));
    for (definition, input) in [(&other, json!({"len": 2})), (&pipeline(), json!({"len": 3}))] {
        assert_eq!(world.start("r", definition, input).unwrap_err().code(), &codes::RUN_CONFLICT);
    }
    world.drain(10);
    assert_eq!(world.output("r"), Ok(json!(1)));
    assert_eq!(
        world.start("r", &pipeline(), json!({"len": 2})).unwrap(),
        id,
        "and so it is when it has ended"
    );
}

// proves R-164
#[test]
fn a_repeated_start_is_the_same_run_and_another_is_a_conflict() {
    starts_once(memory());
    let (_directory, world) = sqlite();
    starts_once(world);
}

#[test]
fn a_start_that_cannot_be_is_refused_by_itself() {
    let mut world = memory();
    let cyclic = definition(json!([{"id": "a", "task": "t", "after": ["a"]}]));
    let good = pipeline();
    let mut no_json = request("j", &good, json!(null));
    no_json.input = Payload::json("{");
    let mut large = request("l", &good, json!(null));
    large.input = Payload::json(format!("\"{}\"", "x".repeat(17 << 20)));
    let requests =
        vec![request("c", &cyclic, json!(null)), no_json, large, request("g", &good, json!({"len": 0}))];
    let (answers, _) = world.commit(|tx| tx.start_runs(requests));
    let codes: Vec<_> =
        answers.iter().map(|answer| answer.as_ref().err().map(|error| error.code())).collect();
    assert_eq!(
        codes,
        [Some(&codes::BAD_WORKFLOW), Some(&codes::BAD_ARGUMENTS), Some(&codes::PAYLOAD_TOO_LARGE), None]
    );
    world.drain(10);
    assert_eq!(world.output("g"), Ok(json!(0)));
}

#[test]
fn results_of_any_type_are_the_output_and_only_json_is_bound() {
    let mut world = memory();
    let packed = Payload { content_type: "application/msgpack".into(), bytes: vec![0x81].into() };
    for (id, steps, expected) in [
        ("one", json!([{"id": "a", "task": "t"}]), None),
        (
            "two",
            json!([{"id": "a", "task": "t"}, {"id": "b", "task": "t", "args": ["$steps.a.output"]}]),
            Some("step_failed: step `b`: bad_arguments: the result of step `a` is not JSON"),
        ),
    ] {
        world.start(id, &definition(steps), json!(null)).unwrap();
        let job = world.claim(1).remove(0);
        let batch = [settlement(&job, Verdict::Ack(packed.clone()))];
        world.commit(|tx| tx.settle(&batch)).0.remove(0).unwrap();
        match (expected, world.status(id).outcome.unwrap()) {
            (None, outcome) => assert_eq!(outcome, taskport_abstraction::Outcome::Success(packed.clone())),
            (Some(message), _) => assert_eq!(world.output(id), Err(message.to_owned())),
        }
    }
}

// proves R-113
#[test]
fn a_job_the_engine_refuses_has_failed_with_the_reason() {
    let config = EngineConfig { payload_bytes_max: 1_000, ..EngineConfig::default() };
    let mut world = World::configured(MemoryStore::new(), config);
    let steps = json!([
        {"id": "each", "task": "echo", "map": [1, 2], "args": ["$item", "$input", "$input"], "on_failure": "continue"},
        {"id": "b", "task": "echo", "args": ["$steps.each.output"]},
    ]);
    world.start("r", &definition(steps), json!("x".repeat(900))).unwrap();
    world.drain(10);
    assert_eq!(world.summary("r"), "succeeded each:failed:0/2/2 b:succeeded:1/0/1");
    assert_eq!(world.output("r"), Ok(json!([null, null])));
    let failure = world.status("r").steps[0].failure.clone().unwrap();
    assert!(failure.message.contains("the arguments have"), "{failure}");
}

fn starts_in_pieces<S: Store>(mut world: World<S>) {
    const STEPS: usize = 3_000;
    let steps: Vec<_> =
        (0..STEPS).map(|n| json!({"id": format!("s{n}"), "task": "echo", "args": [n]})).collect();
    world.start("r", &definition(json!(steps)), json!(null)).unwrap();
    let started = |world: &mut World<S>| {
        let running = |step: &&taskport_abstraction::backend::StepStatus| step.started_at.is_some();
        world.status("r").steps.iter().filter(running).count()
    };
    assert_eq!(started(&mut world), 1_024);
    assert!(world.engine.next_due().unwrap().is_some_and(|due| due <= world.now));
    world.drain(500);
    assert_eq!(started(&mut world), STEPS);
    assert_eq!(world.output("r"), Ok(json!(STEPS - 1)));
}

// proves R-163
#[test]
fn a_wide_graph_starts_in_several_transactions() {
    starts_in_pieces(memory());
    let (_directory, world) = sqlite();
    starts_in_pieces(world);
}

fn lists_runs<S: Store>(mut world: World<S>) {
    for id in ["a", "b", "c"] {
        world.start(id, &pipeline(), json!({"len": 1})).unwrap();
        world.drain(10);
    }
    world
        .start(
            "d",
            &definition(json!({"name": "other", "steps": [{"id": "x", "task": "echo"}]})),
            json!(null),
        )
        .unwrap();
    let mut reader = world.engine.reader().unwrap();
    let succeeded = RunFilter { state: Some(JobState::Succeeded), ..RunFilter::default() };
    let first = reader.runs(&succeeded, &PageRequest { after: None, len: 2 }).unwrap();
    let second = reader.runs(&succeeded, &PageRequest { after: first.next.clone(), len: 2 }).unwrap();
    let ids = |runs: &[taskport_abstraction::backend::RunStatus]| {
        runs.iter().map(|run| run.id.to_string()).collect::<Vec<_>>().join(" ")
    };
    assert_eq!((ids(&first.items), ids(&second.items), second.next), ("c b".into(), "a".into(), None));
    let all = reader.runs(&RunFilter::default(), &PageRequest { after: None, len: 10 }).unwrap();
    assert_eq!(ids(&all.items), "d c b a");
}

#[test]
fn runs_are_listed_newest_first_in_pages() {
    lists_runs(memory());
    let (_directory, world) = sqlite();
    lists_runs(world);
}

fn reads_upstream<S: Store>(mut world: World<S>) {
    let steps = json!([
        {"id": "one", "task": "echo", "args": [7]},
        {"id": "odd", "task": "odd", "map": [1, 2, 3], "args": ["$item"], "on_failure": "continue"},
        {"id": "off", "task": "echo", "when": "false"},
        {"id": "bad", "task": "fail", "on_failure": "continue"},
        {"id": "last", "task": "echo", "after": ["one", "odd", "off", "bad"]},
    ]);
    let run = world.start("r", &definition(steps), json!(null)).unwrap();
    let jobs = world.claim(10);
    world.settle(jobs);
    let last = world.claim(1).remove(0);
    let step = last.step.clone().unwrap();
    let (upstream, _) = world.commit(|tx| tx.upstream(&step));
    let upstream: Vec<_> = upstream.unwrap().iter().map(|(step, len)| format!("{step}:{len}")).collect();
    assert_eq!(upstream, ["one:1", "odd:3", "off:0", "bad:0"]);
    let mut reader = world.engine.reader().unwrap();
    let mut results = |step: &str, from, count| {
        let step = StepId::new(step).unwrap();
        let page = reader.results(&run, &step, from, count).unwrap();
        page.into_iter()
            .map(|result| result.map(|payload| payload.decode::<u64>().unwrap()))
            .collect::<Vec<_>>()
    };
    assert_eq!(results("odd", 0, 3), [None, Some(2), None]);
    assert_eq!(results("odd", 1, 1), [Some(2)]);
    assert_eq!(results("one", 0, 1), [Some(7)]);
    let gone = StepRef { run: RunId::new("none").unwrap(), ..step };
    assert_eq!(world.commit(|tx| tx.upstream(&gone)).0.unwrap_err().code(), &codes::RUN_NOT_FOUND);
}

#[test]
fn a_step_reads_what_the_steps_before_it_left() {
    reads_upstream(memory());
    let (_directory, world) = sqlite();
    reads_upstream(world);
}
