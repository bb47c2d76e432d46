//! Running workflows: the graph, its values and its ends.

use std::sync::Arc;

use futures_util::StreamExt;
use serde_json::{Value, json};
use taskport_abstraction::backend::{RunFilter, RunRequest, RunStatus, StepState};
use taskport_abstraction::{FailureKind, JobState, Outcome, Payload, RunId, WorkflowDefinition};

use super::cases;
use crate::fixture::{DEADLINE, Fixture};

cases! { "workflow":
    a_chain_passes_values_along needs [Workflows, WorkflowBindings],
    the_output_is_what_the_definition_says needs [WorkflowBindings],
    steps_that_do_not_wait_for_each_other_all_run needs [Workflows],
    a_fan_out_keeps_the_order_of_its_list needs [WorkflowFanOut],
    an_empty_fan_out_succeeds_with_an_empty_list needs [WorkflowFanOut],
    a_fan_out_over_no_list_fails_the_step needs [WorkflowFanOut],
    a_wide_fan_out_is_reduced_by_reading_upstream needs [WorkflowUpstream, WorkflowFanOut],
    a_step_reads_what_it_depends_on_or_a_default needs [WorkflowUpstream, WorkflowConditions],
    a_condition_skips_a_step needs [WorkflowConditions],
    a_failed_step_fails_the_run needs [Workflows],
    a_run_goes_on_after_a_failure_where_it_may needs [WorkflowContinue],
    a_fan_out_leaves_out_what_failed_where_it_may needs [WorkflowContinue, WorkflowFanOut],
    a_repeated_start_is_the_same_run needs [Workflows],
    a_run_keeps_the_definition_it_started_with needs [WorkflowSnapshot],
    a_malformed_definition_is_refused_before_it_runs needs [Workflows],
    runs_are_listed_with_their_steps needs [WorkflowList],
    an_unknown_run_is_told_as_such needs [Workflows],
    the_jobs_of_a_run_are_found_by_it needs [WorkflowList, JobList],
    a_long_chain_and_many_runs_end needs [Workflows],
}

pub(super) fn definition(written: Value) -> Arc<WorkflowDefinition> {
    Arc::new(serde_json::from_value(written).unwrap())
}

pub(super) fn flow(steps: Value) -> Arc<WorkflowDefinition> {
    definition(json!({"name": "suite.flow", "steps": steps}))
}

pub(super) async fn try_start(
    f: &Fixture,
    id: RunId,
    definition: &Arc<WorkflowDefinition>,
    input: &Value,
) -> taskport_abstraction::Result<RunId> {
    let input = Payload::encode(input).unwrap();
    let request = RunRequest { id, definition: Arc::clone(definition), input, trace: None };
    f.workflows().start(vec![request]).await.remove(0)
}

pub(super) async fn start(f: &Fixture, definition: &Arc<WorkflowDefinition>, input: Value) -> RunId {
    try_start(f, f.new_run_id(), definition, &input).await.unwrap()
}

pub(super) async fn ended(f: &Fixture, run: &RunId) -> RunStatus {
    let mut states = f.workflows().watch(run.clone());
    let last = async {
        let mut last = None;
        while let Some(status) = states.next().await {
            last = Some(status.unwrap());
        }
        last.unwrap()
    };
    match tokio::time::timeout(DEADLINE, last).await {
        Ok(status) => {
            assert!(status.state.is_terminal(), "the stream ends with the end");
            status
        }
        Err(_) => panic!("the run did not end; it is {:?}", f.workflows().get(run).await),
    }
}

pub(super) fn output(status: &RunStatus) -> Value {
    match &status.outcome {
        Some(Outcome::Success(payload)) => payload.decode().unwrap(),
        other => panic!("the run did not succeed: {other:?}"),
    }
}

pub(super) async fn run(f: &Fixture, definition: &Arc<WorkflowDefinition>, input: Value) -> Value {
    let run = start(f, definition, input).await;
    output(&ended(f, &run).await)
}

fn step_states(status: &RunStatus) -> Vec<StepState> {
    status.steps.iter().map(|step| step.state).collect()
}

async fn a_chain_passes_values_along(f: Fixture) {
    let _worker = f.worker(2);
    let chain = flow(json!([
        {"id": "one", "task": "suite.add", "args": {"left": "$input.n", "right": 1}},
        {"id": "two", "task": "suite.add", "args": ["$steps.one.output", 10]},
        {"id": "three", "task": "suite.echo", "args": {"value": {"sum": "$steps.two.output", "n": ["$input.n"]}}},
    ]));
    assert_eq!(run(&f, &chain, json!({"n": 5})).await, json!({"sum": 16, "n": [5]}));
}

async fn the_output_is_what_the_definition_says(f: Fixture) {
    let _worker = f.worker(2);
    let shaped = definition(json!({
        "name": "suite.shaped",
        "steps": [{"id": "a", "task": "suite.echo", "args": [{"x": [1, 2]}]}, {"id": "b", "task": "suite.echo", "args": [0]}],
        "output": {"second": "$steps.a.output.x.1", "text": "$$literal", "all": "$input"},
    }));
    assert_eq!(run(&f, &shaped, json!(7)).await, json!({"second": 2, "text": "$literal", "all": 7}));
}

async fn steps_that_do_not_wait_for_each_other_all_run(f: Fixture) {
    let _worker = f.worker(4);
    let steps: Vec<Value> =
        (0..8).map(|n| json!({"id": format!("s{n}"), "task": "suite.gate", "args": ["g", n]})).collect();
    let run = start(&f, &flow(json!(steps)), Value::Null).await;
    crate::fixture::eventually("four run at once", async || {
        if f.stage().peak() == 4 { Ok(()) } else { Err(f.stage().peak().to_string()) }
    })
    .await;
    f.stage().open_gate("g");
    let status = ended(&f, &run).await;
    assert_eq!(step_states(&status), [StepState::Succeeded; 8]);
}

async fn a_fan_out_keeps_the_order_of_its_list(f: Fixture) {
    let _worker = f.worker(8);
    let fan_out = flow(json!([
        {"id": "each", "task": "suite.echo", "map": "$input.list",
         "args": [{"item": "$item.v", "index": "$index"}]},
        {"id": "all", "task": "suite.echo", "args": ["$steps.each.output"]},
    ]));
    let list: Vec<Value> = (0..50).map(|n| json!({"v": n * 7})).collect();
    let expected: Vec<Value> = (0..50).map(|n| json!({"item": n * 7, "index": n})).collect();
    assert_eq!(run(&f, &fan_out, json!({"list": list})).await, json!(expected));
}

async fn an_empty_fan_out_succeeds_with_an_empty_list(f: Fixture) {
    let _worker = f.worker(1);
    let empty = flow(json!([
        {"id": "each", "task": "suite.echo", "map": [], "args": ["$item"]},
        {"id": "all", "task": "suite.echo", "args": ["$steps.each.output"]},
    ]));
    assert_eq!(run(&f, &empty, Value::Null).await, json!([]));
}

async fn a_fan_out_over_no_list_fails_the_step(f: Fixture) {
    let _worker = f.worker(1);
    let wrong = flow(json!([{"id": "each", "task": "suite.echo", "map": "$input", "args": ["$item"]}]));
    let run = start(&f, &wrong, json!("no list")).await;
    let status = ended(&f, &run).await;
    assert_eq!((status.state, step_states(&status)), (JobState::Failed, vec![StepState::Failed]));
    let Some(Outcome::Failure(failure)) = status.outcome else { panic!("no failure") };
    assert!(failure.message.contains("each") && failure.message.contains("list"), "{failure}");
}

async fn a_wide_fan_out_is_reduced_by_reading_upstream(f: Fixture) {
    let _worker = f.worker(16);
    let wide = flow(json!([
        {"id": "list", "task": "suite.list", "args": ["$input"]},
        {"id": "each", "task": "suite.add", "map": "$steps.list.output", "args": ["$item", 1]},
        {"id": "sum", "task": "suite.sum_of", "args": ["each"], "after": ["each"]},
    ]));
    assert_eq!(run(&f, &wide, json!(2_000)).await, json!(2_000 * 2_001 / 2));
}

async fn a_step_reads_what_it_depends_on_or_a_default(f: Fixture) {
    let _worker = f.worker(2);
    let reading = definition(json!({
        "name": "suite.reading",
        "steps": [
            {"id": "given", "task": "suite.echo", "args": [1]},
            {"id": "skipped", "task": "suite.echo", "args": [2], "when": "false"},
            {"id": "first", "task": "suite.read", "args": ["given", 0], "after": ["given"]},
            {"id": "second", "task": "suite.read", "args": ["skipped", 0], "after": ["skipped", "given"]},
        ],
        "output": ["$steps.first.output", "$steps.second.output"],
    }));
    let expected = json!([{"has": true, "value": 1}, {"has": false, "value": 0}]);
    assert_eq!(run(&f, &reading, Value::Null).await, expected);
}

async fn a_condition_skips_a_step(f: Fixture) {
    let _worker = f.worker(2);
    let choice = definition(json!({
        "name": "suite.choice",
        "steps": [
            {"id": "size", "task": "suite.echo", "args": ["$input"]},
            {"id": "small", "task": "suite.echo", "args": ["small"], "when": "steps.size.output < 10"},
            {"id": "large", "task": "suite.echo", "args": ["large"], "when": "steps.size.output >= 10 && input > 0"},
        ],
        "output": ["$steps.small.output", "$steps.large.output"],
    }));
    assert_eq!(run(&f, &choice, json!(3)).await, json!(["small", null]));
    assert_eq!(run(&f, &choice, json!(30)).await, json!([null, "large"]));
}

async fn a_failed_step_fails_the_run(f: Fixture) {
    let _worker = f.worker(2);
    let failing = flow(json!([
        {"id": "bad", "task": "suite.fail", "args": ["k", 9, "fatal"]},
        {"id": "never", "task": "suite.echo", "args": ["$steps.bad.output"]},
    ]));
    let run = start(&f, &failing, Value::Null).await;
    let status = ended(&f, &run).await;
    assert_eq!(status.state, JobState::Failed);
    assert_eq!(status.steps[0].state, StepState::Failed);
    assert!(matches!(status.steps[1].state, StepState::Cancelled | StepState::Skipped));
    let Some(Outcome::Failure(failure)) = status.outcome else { panic!("no failure") };
    assert_eq!(failure.kind, FailureKind::StepFailed);
    assert!(failure.message.contains("bad") && failure.message.contains("asked to fail"), "{failure}");
}

async fn a_run_goes_on_after_a_failure_where_it_may(f: Fixture) {
    let _worker = f.worker(2);
    let lenient = flow(json!([
        {"id": "bad", "task": "suite.fail", "args": ["k", 9, "fatal"], "on_failure": "continue"},
        {"id": "after", "task": "suite.read", "args": ["bad", "nothing"], "after": ["bad"]},
    ]));
    assert_eq!(run(&f, &lenient, Value::Null).await, json!({"has": false, "value": "nothing"}));
}

async fn a_fan_out_leaves_out_what_failed_where_it_may(f: Fixture) {
    let _worker = f.worker(2);
    let lenient = flow(json!([
        {"id": "each", "task": "suite.add", "map": [1, "two", 3], "args": ["$item", 1], "on_failure": "continue"},
        {"id": "sum", "task": "suite.sum_of", "args": ["each"], "after": ["each"]},
    ]));
    assert_eq!(run(&f, &lenient, Value::Null).await, json!(6));
}

async fn a_repeated_start_is_the_same_run(f: Fixture) {
    let _worker = f.worker(1);
    let one = flow(json!([{"id": "a", "task": "suite.echo", "args": [1]}]));
    let id = f.new_run_id();
    assert_eq!(try_start(&f, id.clone(), &one, &Value::Null).await.unwrap(), id);
    assert_eq!(try_start(&f, id.clone(), &one, &Value::Null).await.unwrap(), id);
    ended(&f, &id).await;
    assert_eq!(f.stage().started().len(), 1);
}

async fn a_run_keeps_the_definition_it_started_with(f: Fixture) {
    let of = |value: i64| {
        flow(json!([
            {"id": "hold", "task": "suite.gate", "args": ["g", value]},
            {"id": "end", "task": "suite.add", "args": ["$steps.hold.output", value]},
        ]))
    };
    let old = start(&f, &of(1), Value::Null).await;
    let new = start(&f, &of(10), Value::Null).await;
    let _worker = f.worker(2);
    f.stage().open_gate("g");
    assert_eq!(output(&ended(&f, &old).await), 2);
    let status = ended(&f, &new).await;
    assert_eq!(output(&status), 20);
    assert_eq!(status.definition, of(10));
}

async fn a_malformed_definition_is_refused_before_it_runs(f: Fixture) {
    for steps in [
        json!([]),
        json!([{"id": "a", "task": "suite.echo", "after": ["a"]}]),
        json!([{"id": "a", "task": "suite.echo", "after": ["b"]}]),
        json!([{"id": "a", "task": "suite.echo", "args": [1], "when": "steps.a.output +"}]),
    ] {
        let error = try_start(&f, f.new_run_id(), &flow(steps.clone()), &Value::Null).await.unwrap_err();
        assert_eq!(error.code(), &taskport_abstraction::codes::BAD_WORKFLOW, "{steps}");
    }
    let page = taskport_abstraction::backend::PageRequest { after: None, len: 10 };
    assert!(f.workflows().list(RunFilter::default(), page).await.unwrap().items.is_empty());
}

async fn runs_are_listed_with_their_steps(f: Fixture) {
    let _worker = f.worker(2);
    let one = flow(json!([{"id": "each", "task": "suite.echo", "map": [1, 2, 3], "args": ["$item"]}]));
    let first = start(&f, &one, Value::Null).await;
    ended(&f, &first).await;
    let second = start(&f, &one, Value::Null).await;
    ended(&f, &second).await;
    let page = taskport_abstraction::backend::PageRequest { after: None, len: 10 };
    let listed = f.workflows().list(RunFilter::default(), page.clone()).await.unwrap().items;
    assert_eq!(listed.iter().map(|run| &run.id).collect::<Vec<_>>(), [&second, &first]);
    let status = f.workflows().get(&first).await.unwrap().unwrap();
    assert_eq!((status.steps[0].total, status.steps[0].succeeded), (3, 3));
    assert!(status.finished_at >= Some(status.started_at));
    let failed = RunFilter { state: Some(JobState::Failed), ..RunFilter::default() };
    assert!(f.workflows().list(failed, page).await.unwrap().items.is_empty());
}

async fn an_unknown_run_is_told_as_such(f: Fixture) {
    let unknown = f.new_run_id();
    assert!(f.workflows().get(&unknown).await.unwrap().is_none());
    let error = f.workflows().cancel(&unknown).await.unwrap_err();
    assert_eq!(error.code(), &taskport_abstraction::codes::RUN_NOT_FOUND);
    let first = f.workflows().watch(unknown).next().await.unwrap();
    assert_eq!(first.unwrap_err().code(), &taskport_abstraction::codes::RUN_NOT_FOUND);
}

async fn the_jobs_of_a_run_are_found_by_it(f: Fixture) {
    let _worker = f.worker(2);
    let one = flow(json!([{"id": "each", "task": "suite.echo", "map": [1, 2, 3], "args": ["$item"]}]));
    let first = start(&f, &one, Value::Null).await;
    let second = start(&f, &one, Value::Null).await;
    ended(&f, &first).await;
    ended(&f, &second).await;
    let filter = taskport_abstraction::backend::JobFilter { run: Some(first.clone()), ..Default::default() };
    let jobs = f.list(filter).await;
    assert_eq!(jobs.len(), 3);
    assert!(jobs.iter().all(|job| job.step.as_ref().is_some_and(|step| step.run == first)));
}

async fn a_long_chain_and_many_runs_end(f: Fixture) {
    let _worker = f.worker(8);
    let mut steps = vec![json!({"id": "s0", "task": "suite.echo", "args": [0]})];
    for n in 1..100 {
        steps.push(json!({"id": format!("s{n}"), "task": "suite.add", "args": [format!("$steps.s{}.output", n - 1), 1]}));
    }
    let chain = flow(json!(steps));
    let runs = futures_util::future::join_all((0..10).map(|_| run(&f, &chain, Value::Null))).await;
    assert_eq!(runs, vec![json!(99); 10]);
}
