use serde_json::{Value, json};
use taskport_abstraction::{Failure, FailureKind, Outcome, WorkflowDefinition};

use super::stage::{Stage, Tasks, arguments};
use crate::workflow::*;

/// `echo` answers its arguments, `fail` fails, `odd` fails for an odd argument, `list` answers a list of that length.
const TASKS: Tasks = |task, arguments| match task {
    "fail" => Err(Failure::new(FailureKind::Error, "broken")),
    "odd" if arguments[0].as_u64().is_some_and(|number| number % 2 == 1) => {
        Err(Failure::new(FailureKind::Error, "odd"))
    }
    "odd" => Ok(arguments[0].clone()),
    "list" => Ok((0..arguments[0].as_u64().unwrap()).collect()),
    _ => Ok(arguments.clone()),
};

/// Runs `steps` to the end, ending jobs in the order of their submits. `+a` is a submit, `a` an end, `!a` a bad one.
fn play(definition: Value, input: Value) -> Stage {
    let mut definition = definition;
    definition["name"] = json!("w");
    let definition: WorkflowDefinition = serde_json::from_value(definition).unwrap();
    let mut stage = Stage::new(&definition, input);
    stage.advance();
    while !stage.open.is_empty() {
        let job = stage.open[0].clone();
        let name = stage.name((job.step, job.index));
        let answer = if stage.cancel_requested {
            Err(Failure::new(FailureKind::Cancelled, "cancelled"))
        } else {
            TASKS(job.call.task.as_str(), &arguments(&job))
        };
        stage.log.push(if answer.is_ok() { name } else { format!("!{name}") });
        stage.end(0, answer);
    }
    stage
}

fn ending(stage: &Stage) -> Result<Value, String> {
    match stage.outcome.as_ref().expect("the run ends") {
        Outcome::Success(output) => Ok(output.decode().unwrap()),
        Outcome::Failure(failure) => Err(failure.to_string()),
    }
}

fn states(stage: &Stage) -> String {
    let steps = 0..stage.run.plan().definition().steps.len();
    let state = |step| serde_json::to_value(stage.run.facts(step).state).unwrap();
    steps.map(|step| state(step).as_str().unwrap()[..2].to_owned()).collect::<Vec<_>>().join(" ")
}

struct Case {
    definition: Value,
    input: Value,
    log: &'static str,
    states: &'static str,
    ending: Result<Value, &'static str>,
}

#[track_caller]
fn check(case: Case) {
    let stage = play(case.definition.clone(), case.input);
    assert_eq!(stage.log.join(" "), case.log, "{}", case.definition);
    assert_eq!(states(&stage), case.states, "{}", case.definition);
    assert_eq!(ending(&stage), case.ending.map_err(str::to_owned), "{}", case.definition);
}

fn steps(steps: Value) -> Value {
    json!({ "steps": steps })
}

// proves R-101 R-102 R-110
#[test]
fn steps_start_when_every_dependency_has_ended_in_declared_order() {
    check(Case {
        definition: steps(json!([
            {"id": "d", "task": "echo", "after": ["b", "c"], "args": ["$steps.b.output", "$steps.c.output.0"]},
            {"id": "c", "task": "echo", "args": ["$steps.a.output.x"]},
            {"id": "b", "task": "echo", "after": ["a"], "args": {"n": 2}},
            {"id": "a", "task": "echo", "args": {"x": "$input.x", "y": "$$y"}},
            {"id": "last", "task": "echo", "after": ["d"], "args": ["$steps.d.output"]},
        ])),
        input: json!({"x": {"deep": [1.50, "é"]}}),
        log: "+a a +c +b c b +d d +last last",
        states: "su su su su su",
        ending: Ok(json!([[{"n": 2}, {"deep": [1.5, "é"]}]])),
    });
}

// proves R-103 R-104
#[test]
fn a_skipped_step_is_null_and_skips_those_that_depend_on_nothing_else() {
    check(Case {
        definition: steps(json!([
            {"id": "a", "task": "echo", "when": "input.on"},
            {"id": "b", "task": "echo", "args": ["$steps.a.output.deep"]},
            {"id": "c", "task": "echo", "after": ["b"]},
            {"id": "d", "task": "echo"},
            {"id": "e", "task": "echo", "args": ["$steps.a.output.deep", "$steps.d.output"]},
            {"id": "f", "task": "echo", "when": "steps.a.state == 'skipped' && steps.a.output == null", "after": ["a"]},
            {"id": "g", "task": "echo", "args": ["$steps.e.output", "$steps.f.output"]},
        ])),
        input: json!({"on": false}),
        log: "+d +f d +e f e +g g",
        states: "sk sk sk su su su su",
        ending: Ok(json!([[null, []], []])),
    });
}

// proves R-105
#[test]
fn a_condition_that_does_not_fit_its_values_fails_the_step() {
    check(Case {
        definition: steps(json!([{"id": "a", "task": "echo", "when": "input.x > 3"}])),
        input: json!({"x": "4"}),
        log: "cancel",
        states: "fa",
        ending: Err(
            "step_failed: step `a`: bad_arguments: `when`: a text cannot be compared with an integer",
        ),
    });
}

// proves R-120 R-121 R-122
#[test]
fn a_fan_out_calls_its_task_for_each_element_within_its_bound() {
    check(Case {
        definition: steps(json!([
            {"id": "scan", "task": "list", "args": [5]},
            {"id": "each", "task": "echo", "map": "$steps.scan.output", "concurrency": 2,
             "args": ["$item", "$index", "$input.dir"]},
            {"id": "merge", "task": "echo", "args": {"all": "$steps.each.output", "one": "$steps.each.output.3.0"}},
        ])),
        input: json!({"dir": "/d"}),
        log: "+scan scan +each[0] +each[1] each[0] +each[2] each[1] +each[3] each[2] +each[4] each[3] each[4] \
              +merge merge",
        states: "su su su",
        ending: Ok(json!({
            "all": [[0, 0, "/d"], [1, 1, "/d"], [2, 2, "/d"], [3, 3, "/d"], [4, 4, "/d"]], "one": 3
        })),
    });
}

// proves R-123
#[test]
fn an_empty_list_succeeds_with_an_empty_list() {
    check(Case {
        definition: steps(json!([
            {"id": "each", "task": "fail", "map": []},
            {"id": "after", "task": "echo", "args": ["$steps.each.output"]},
            {"id": "again", "task": "echo", "map": "$steps.each.output"},
        ])),
        input: json!(null),
        log: "+after after",
        states: "su su su",
        ending: Ok(json!([])),
    });
}

// proves R-124
#[test]
fn a_map_that_is_no_list_fails_the_step() {
    for (binding, message) in [
        ("$input.files", "its `map` is an object, not a list"),
        ("$input.none", "its `map` is null, not a list"),
        ("$input.missing", "there is no `$input.missing`"),
        ("$steps.a.output", "its `map` is null, not a list"),
    ] {
        let stage = play(
            steps(json!([
                {"id": "a", "task": "echo", "when": "false"},
                {"id": "each", "task": "echo", "map": binding, "when": "true"},
            ])),
            json!({"files": {}, "none": null}),
        );
        let expected = format!("step_failed: step `each`: bad_arguments: {message}");
        assert_eq!(ending(&stage), Err(expected));
    }
}

// proves R-125 R-130 R-131
#[test]
fn a_failed_element_is_null_where_the_step_goes_on() {
    check(Case {
        definition: steps(json!([
            {"id": "odd", "task": "odd", "map": [0, 1, 2, 3], "args": ["$item"], "on_failure": "continue"},
            {"id": "each", "task": "echo", "map": "$steps.odd.output", "args": ["$item", "$item.x"],
             "on_failure": "continue"},
            {"id": "bad", "task": "fail", "on_failure": "continue"},
            {"id": "merge", "task": "echo", "args": ["$steps.odd.output", "$steps.each.output", "$steps.bad.output.x"]},
        ])),
        input: json!({}),
        log: "+odd[0] +odd[1] +odd[2] +odd[3] +bad odd[0] !odd[1] odd[2] !odd[3] +each[1] +each[3] !bad each[1] each[3] \
              +merge merge",
        states: "fa fa fa su",
        ending: Ok(json!([[0, null, 2, null], [null, [null, null], null, [null, null]], null])),
    });
}

// proves R-132 R-133
#[test]
fn a_failed_step_ends_the_run_once_its_open_jobs_have_ended() {
    check(Case {
        definition: steps(json!([
            {"id": "a", "task": "echo"},
            {"id": "each", "task": "odd", "map": [0, 1, 2, 3], "args": ["$item"], "concurrency": 2},
            {"id": "b", "task": "echo", "after": ["a"]},
            {"id": "c", "task": "echo", "after": ["b"]},
        ])),
        input: json!(null),
        log: "+a +each[0] +each[1] a +b each[0] +each[2] !each[1] cancel !b !each[2]",
        states: "su fa ca wa",
        ending: Err("step_failed: step `each`, element 1: error: odd"),
    });
}

// proves R-111
#[test]
fn arguments_that_bind_nothing_fail_the_step_with_the_binding_named() {
    check(Case {
        definition: steps(json!([
            {"id": "a", "task": "echo"},
            {"id": "b", "task": "echo", "args": ["$steps.a.output.path"], "on_failure": "continue"},
            {"id": "c", "task": "echo", "map": [{"x": 1}, {}], "args": ["$item.x"]},
        ])),
        input: json!(null),
        log: "+a +c[0] cancel !a !c[0]",
        states: "ca wa fa",
        ending: Err("step_failed: step `c`, element 1: bad_arguments: there is no `$item.x`"),
    });
}

// proves R-140
#[test]
fn the_output_is_the_binding_or_the_last_step() {
    let graph =
        json!([{"id": "a", "task": "echo", "args": [7]}, {"id": "b", "task": "echo", "when": "false"}]);
    check(Case {
        definition: json!({"steps": graph, "output": {"a": "$steps.a.output.0", "b": "$steps.b.output", "c": "$input"}}),
        input: json!("in"),
        log: "+a a",
        states: "su sk",
        ending: Ok(json!({"a": 7, "b": null, "c": "in"})),
    });
    check(Case {
        definition: steps(graph.clone()),
        input: json!(null),
        log: "+a a",
        states: "su sk",
        ending: Ok(json!(null)),
    });
    check(Case {
        definition: json!({"steps": graph, "output": "$steps.a.output.x"}),
        input: json!(null),
        log: "+a a",
        states: "su sk",
        ending: Err("bad_arguments: the output cannot be made: there is no `$steps.a.output.x`"),
    });
}

fn two_steps() -> Stage {
    let definition = json!({"name": "w", "steps": [
        {"id": "a", "task": "echo"},
        {"id": "each", "task": "echo", "map": [1, 2, 3], "concurrency": 2},
        {"id": "b", "task": "echo", "after": ["a"]},
    ]});
    let mut stage = Stage::new(&serde_json::from_value(definition).unwrap(), json!(null));
    stage.advance();
    stage
}

// proves R-150
#[test]
fn a_cancelled_run_ends_when_its_open_jobs_have_and_starts_no_other() {
    let mut stage = two_steps();
    stage.apply(Event::Cancel);
    stage.apply(Event::Cancel);
    stage.end(0, Ok(json!(1)));
    stage.end(0, Err(Failure::new(FailureKind::Cancelled, "stopped")));
    assert_eq!(stage.outcome, None);
    stage.end(0, Err(Failure::new(FailureKind::Error, "its own fault")));
    assert_eq!(stage.log.join(" "), "+a +each[0] +each[1] cancel");
    assert_eq!(states(&stage), "su fa wa");
    assert_eq!(ending(&stage), Err("cancelled: the run was cancelled".to_owned()));
}

// proves R-151
#[test]
fn a_run_out_of_time_ends_at_once_and_takes_no_late_end() {
    let mut stage = two_steps();
    stage.apply(Event::TimedOut);
    assert_eq!(ending(&stage), Err("run_timed_out: the run passed its time limit".to_owned()));
    for _ in 0..3 {
        assert_eq!(stage.end(0, Ok(json!(1))), []);
    }
    assert_eq!(stage.apply(Event::Cancel), []);
}

// proves R-152
#[test]
fn a_job_cancelled_by_itself_is_a_failed_job() {
    let mut stage = two_steps();
    stage.end(0, Err(Failure::new(FailureKind::Cancelled, "by hand")));
    assert_eq!(states(&stage), "fa ru wa");
    assert!(stage.cancel_requested);
}

// proves R-112
#[test]
fn jobs_carry_the_options_of_their_step_and_their_identity() {
    let definition = json!({"name": "w", "steps": [
        {"id": "a", "task": "t", "queue": "q", "timeout": "5s", "retry": {"attempts_max": 3}},
        {"id": "b", "task": "t", "map": ["x"]},
    ]});
    let mut stage = Stage::new(&serde_json::from_value(definition).unwrap(), json!(null));
    stage.advance();
    let (a, b) = (&stage.open[0], &stage.open[1]);
    assert_eq!(a.options.queue.as_ref().unwrap().as_str(), "q");
    assert_eq!(a.options.timeout_hard, Some(std::time::Duration::from_secs(5)));
    assert_eq!(a.options.retry.as_ref().unwrap().attempts_max, 3);
    assert_eq!(b.options, taskport_abstraction::JobOptions::default());
    let hex = |key: &[u8; 32]| key.iter().map(|byte| format!("{byte:02x}")).collect::<String>();
    assert_eq!(hex(&a.order_key), A_KEY);
    assert_eq!(hex(&b.order_key), B_KEY);
    let id = |job: &StepJob| job_id(id_prefix("run"), job.step, job.index, &job.order_key).unwrap();
    assert_eq!((id(a).as_str(), id(b).as_str()), (A_JOB, B_JOB));
}

// Worked out by another program from the formula in specs/workflow-runs.md.
const A_KEY: &str = "08abbf782d1edc9f1c43ad1316cb965702f52d180300c141e99fd71596bf4a9d";
const B_KEY: &str = "11d3f62d85d6688e1d81fbfb77fd4492118a0fa2079ceec64a54a00e5639ae1d";
const A_JOB: &str = "acba2551-2100-8000-803f-ffff08abbf78";
const B_JOB: &str = "acba2551-2100-8000-8040-000011d3f62d";
