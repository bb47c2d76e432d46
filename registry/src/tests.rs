use std::sync::Arc;
use std::time::Duration;

use serde_json::{Value, json};
use taskport_abstraction::options::{Idempotency, OnConflict, Start, Unique};
use taskport_abstraction::task::{Execution, Handler, Location, Parameter};
use taskport_abstraction::{
    Backoff, ErrorKind, JobOptions, Payload, QueueName, RawCall, Result, RetryPolicy, StepDefinition, StepId,
    TaskDefinition, TaskName, WorkflowDefinition, codes,
};

use crate::{Manifest, Registry, RegistryBuilder, effective_options, workflow_from_text};

fn task(name: &str, line: u32) -> TaskDefinition {
    let location = Location { file: "app.rs".into(), line };
    TaskDefinition::new(TaskName::new(name).unwrap(), location)
}

fn parameter(name: &'static str, schema: Value, required: bool) -> Parameter {
    Parameter { name: name.into(), schema, required }
}

/// `extract(path: string) -> {words: [string], lines: integer}`, `count(word: string, base: integer = …) -> integer`,
/// `merge(counts: [integer]) -> null`.
fn library() -> RegistryBuilder {
    let extract = TaskDefinition {
        parameters: vec![parameter("path", json!({"type": "string"}), true)],
        result_schema: json!({
            "type": "object",
            "properties": {"words": {"type": "array", "items": {"type": "string"}}, "lines": {"type": "integer"}},
            "additionalProperties": false,
        }),
        ..task("extract", 1)
    };
    let count = TaskDefinition {
        parameters: vec![
            parameter("word", json!({"type": "string"}), true),
            parameter("base", json!({"type": "integer"}), false),
        ],
        result_schema: json!({"type": "integer"}),
        ..task("count", 2)
    };
    let merge = TaskDefinition {
        parameters: vec![parameter("counts", json!({"type": "array", "items": {"type": "integer"}}), true)],
        result_schema: json!({"type": "null"}),
        ..task("merge", 3)
    };
    Registry::builder().task(extract).task(count).task(merge)
}

fn step(id: &str, task: &str) -> StepDefinition {
    StepDefinition::new(StepId::new(id).unwrap(), TaskName::new(task).unwrap())
}

fn nightly() -> WorkflowDefinition {
    WorkflowDefinition::new("nightly")
        .step(step("extract", "extract").arg("path", "$input.path"))
        .step(
            step("count", "count")
                .map("$steps.extract.output.words")
                .arg("word", "$item")
                .arg("base", "$index"),
        )
        .step(step("merge", "merge").arg("counts", "$steps.count.output"))
}

fn messages(builder: &RegistryBuilder) -> Vec<String> {
    builder.check().iter().map(|error| error.message().to_owned()).collect()
}

#[test]
fn what_is_registered_is_found_and_what_is_not_gets_the_nearest_name() {
    let registry = library().workflow(nightly).build().unwrap();
    assert_eq!(
        registry.tasks().map(|task| task.name.as_str()).collect::<Vec<_>>(),
        ["count", "extract", "merge"]
    );
    assert_eq!(registry.task("extract").unwrap().location.line, 1);
    assert_eq!(registry.workflow("nightly").unwrap().graph.nodes.len(), 3);
    let unknown = registry.task("extrct").unwrap_err();
    assert_eq!((unknown.code(), unknown.remedy()), (&codes::UNKNOWN_TASK, Some("did you mean `extract`?")));
    let unknown = registry.workflow("nightley").unwrap_err();
    assert_eq!((unknown.code(), unknown.kind()), (&codes::UNKNOWN_WORKFLOW, ErrorKind::NotFound));
    let call = RawCall { task: TaskName::new("count").unwrap(), arguments: Payload::json("[[],{}]") };
    assert_eq!(registry.check_call(&call).unwrap_err().code(), &codes::BAD_ARGUMENTS);
}

#[test]
fn two_definitions_of_one_name_are_refused_with_both_places() {
    let twice = library().task(task("extract", 9)).task(task("same", 5)).task(task("same", 5));
    assert_eq!(
        messages(&twice),
        [
            "task `extract` is declared twice, at app.rs:1 and at app.rs:9",
            "task `same`, declared at app.rs:5, is listed twice",
        ]
    );
    let error = twice.build().unwrap_err();
    assert_eq!(error.code(), &codes::DUPLICATE_DEFINITION);
    let hint = "give one task another name; 1 more problems were found; `taskport check` lists them all";
    assert_eq!(error.remedy(), Some(hint));

    let (written, place) = workflow_from_text(&serde_json::to_string(&nightly()).unwrap(), "n.json").unwrap();
    let error = library().workflow(nightly()).workflow_at(written, place).build().unwrap_err();
    let message = error.message();
    assert!(
        message.starts_with("workflow `nightly` is declared twice, at registry/src/tests.rs:"),
        "{message}"
    );
    assert!(message.ends_with(" and at n.json:1"), "{message}");
}

#[test]
fn a_declaration_that_cannot_hold_is_refused() {
    let plain = Handler::Sync(Arc::new(|_, _| Ok(Payload::default())));
    let seconds = |count| Some(Duration::from_secs(count));
    let inline =
        TaskDefinition { execution: Execution::Inline, handler: Some(plain.clone()), ..task("t", 1) };
    let with = |options| TaskDefinition { options, ..task("t", 1) };
    let idempotency =
        Idempotency { key: "k".into(), unique: Unique::WhileLive, on_conflict: OnConflict::Keep };
    for (bad, expected) in [
        (
            with(JobOptions { timeout_soft: seconds(2), timeout_hard: seconds(1), ..JobOptions::default() }),
            "the soft timeout is longer than the hard one",
        ),
        (
            with(JobOptions { idempotency: Some(idempotency), ..JobOptions::default() }),
            "an idempotency key belongs to one job, and a declaration is for all",
        ),
        (
            with(JobOptions { start: Some(Start::At(Default::default())), ..JobOptions::default() }),
            "a point in time belongs to one job, and a declaration is for all",
        ),
        (
            TaskDefinition {
                options: JobOptions { timeout_hard: seconds(1), ..JobOptions::default() },
                ..inline.clone()
            },
            "it has a hard timeout and cannot be stopped on its thread",
        ),
        (
            TaskDefinition { detach_on_timeout: true, ..inline },
            "`detach_on_timeout` leaves a thread behind; it is for blocking tasks",
        ),
        (
            TaskDefinition { execution: Execution::Async, handler: Some(plain), ..task("t", 1) },
            "its handler does not fit its execution, Async",
        ),
        (
            TaskDefinition { execution: Execution::Isolated, ..task("t", 1) },
            "its handler does not fit its execution, Isolated",
        ),
        (
            TaskDefinition { parameters: vec![parameter("a", json!(true), true); 2], ..task("t", 1) },
            "parameter `a` is declared twice",
        ),
        (
            TaskDefinition {
                parameters: vec![parameter("a", json!(true), false), parameter("b", json!(true), true)],
                ..task("t", 1)
            },
            "parameter `b` is required and stands after one that is not",
        ),
        (
            TaskDefinition { parameters: vec![parameter("a", json!("x"), true)], ..task("t", 1) },
            "the schema of parameter `a` is no JSON Schema",
        ),
        (
            TaskDefinition { result_schema: json!(null), ..task("t", 1) },
            "the schema of the result is no JSON Schema",
        ),
    ] {
        let errors = Registry::builder().task(bad).check();
        assert_eq!(errors.len(), 1, "{expected}");
        assert_eq!(errors[0].code(), &codes::BAD_DEFINITION);
        assert_eq!(errors[0].message(), format!("task `t`, declared at app.rs:1: {expected}"));
    }
}

#[test]
fn a_workflow_is_checked_against_the_tasks_it_calls() {
    let check = |steps: Vec<StepDefinition>, expected: &[&str]| {
        let workflow = steps.into_iter().fold(WorkflowDefinition::new("w"), WorkflowDefinition::step);
        let at = Location { file: "w.yaml".into(), line: 1 };
        let problems = messages(&library().workflow_at(workflow, at));
        let expected = match expected {
            [] => vec![],
            some => vec![format!("workflow `w`, declared at w.yaml:1: {}", some.join("; "))],
        };
        assert_eq!(problems, expected);
    };
    let extract = || step("extract", "extract").arg("path", "$input");
    check(vec![extract()], &[]);
    check(vec![step("a", "extrct")], &["step `a`: there is no task `extrct`; did you mean `extract`?"]);
    check(
        vec![step("a", "count").arg("wrd", "x")],
        &[
            "step `a`: task `count` has no parameter `wrd`; did you mean `word`?",
            "step `a`: argument `word` of task `count` is missing",
        ],
    );
    check(
        vec![StepDefinition { args: json!(["$input", 1, 2]), ..step("a", "count") }],
        &["step `a`: 3 positional arguments are given, and task `count` takes 2"],
    );
    check(
        vec![StepDefinition { args: json!(["word", "seven"]), ..step("a", "count") }],
        &["step `a`: argument `base` takes an integer, and is given a string"],
    );
    check(
        vec![extract(), step("a", "count").arg("word", "$steps.extract.output.lines")],
        &["step `a`: argument `word` takes a string, and is given an integer"],
    );
    check(
        vec![extract(), step("a", "count").arg("word", "$steps.extract.output.title")],
        &["step `a`: argument `word`: `title` leads nowhere, for there is an object without `title`"],
    );
    check(
        vec![extract(), step("a", "count").arg("word", json!({"deep": "$steps.extract.output"}))],
        &["step `a`: argument `word` takes a string, and is given an object"],
    );
    check(
        vec![extract(), step("a", "count").map("$steps.extract.output.lines").arg("word", "$item")],
        &["step `a`: `map`: it takes a list, and is given an integer"],
    );
    check(
        vec![extract(), step("a", "count").map("$steps.extract.output.words").arg("word", "$index")],
        &["step `a`: argument `word` takes a string, and is given an integer"],
    );
    check(
        vec![
            extract(),
            step("a", "extract").map("$steps.extract.output.words").arg("path", "$item"),
            step("b", "merge").arg("counts", "$steps.a.output"),
        ],
        &["step `b`: argument `counts`[] takes an integer, and is given an object"],
    );
    check(
        vec![extract().after(StepId::new("extract").unwrap())],
        &["the steps wait for each other: extract → extract"],
    );
}

#[test]
fn a_mistake_made_in_building_a_workflow_is_reported_by_the_check() {
    fn broken() -> Result<WorkflowDefinition> {
        Ok(WorkflowDefinition::new("w").step(StepDefinition::new(StepId::new("A")?, TaskName::new("t")?)))
    }
    let registry = crate::registry![; nightly, broken];
    assert_eq!(registry.check().len(), 2);
    assert_eq!(registry.check()[0].code(), &codes::BAD_NAME);
    assert!(crate::registry![].build().unwrap().tasks().next().is_none());
}

#[test]
fn a_chain_of_the_largest_length_is_checked_in_linear_time() {
    let mut workflow = WorkflowDefinition::new("long");
    for place in 0..taskport_abstraction::workflow::STEPS_MAX {
        let path = match place {
            0 => "$input".to_owned(),
            _ => format!("$steps.s{}.output.words.0", place - 1),
        };
        workflow.steps.push(step(&format!("s{place}"), "extract").arg("path", path));
    }
    assert_eq!(library().workflow(workflow).check().len(), 0);
}

#[test]
fn a_call_asks_for_its_own_options_and_then_for_the_declared_ones() {
    let declared = JobOptions {
        queue: Some(QueueName::new("reports").unwrap()),
        retry: Some(RetryPolicy::never()),
        ..JobOptions::default()
    };
    let task = TaskDefinition { options: declared.clone(), ..task("t", 1) };
    let asked = JobOptions { queue: Some(QueueName::new("urgent").unwrap()), ..JobOptions::default() };
    let effective = effective_options(&task, asked.clone()).unwrap();
    assert_eq!((effective.queue, effective.retry), (asked.queue, declared.retry));

    let stuck = TaskDefinition { execution: Execution::Blocking, ..task };
    let limited = JobOptions { timeout_hard: Some(Duration::from_secs(1)), ..JobOptions::default() };
    let error = effective_options(&stuck, limited).unwrap_err();
    assert_eq!(error.code(), &codes::BAD_OPTION);
}

#[test]
fn the_manifest_is_the_same_for_the_same_definitions_and_can_be_read_back() {
    let backoff: Backoff = "fixed(5s)".parse().unwrap();
    let options = JobOptions {
        start: Some(Start::In(Duration::from_secs(90))),
        timeout_hard: Some(Duration::from_millis(1_500)),
        retry: Some(RetryPolicy { backoff, ..RetryPolicy::never() }),
        tags: vec!["a".into()],
        ..JobOptions::default()
    };
    let late = TaskDefinition { options, ..task("aaa", 77) };
    let one = library().workflow(nightly).task(late.clone()).build().unwrap();
    let two = Registry::builder().task(late).workflow(nightly);
    let two = library().build().unwrap().tasks().cloned().fold(two, RegistryBuilder::task).build().unwrap();
    let written = serde_json::to_string_pretty(&one.manifest()).unwrap();
    assert_eq!(written, serde_json::to_string_pretty(&two.manifest()).unwrap());
    assert_eq!(serde_json::from_str::<Manifest>(&written).unwrap(), one.manifest());
    assert!(!written.contains("app.rs"));
    let manifest: Value = serde_json::from_str(&written).unwrap();
    assert_eq!(manifest["version"], 1);
    assert_eq!(
        manifest["tasks"][0],
        json!({
            "name": "aaa",
            "execution": "remote",
            "idempotent": false,
            "parameters": [],
            "extra_arguments": false,
            "result": true,
            "options": {"delay": "90s", "timeout": "1500ms", "max_attempts": 1, "backoff": "fixed(5s)", "tags": ["a"]},
        })
    );
    assert_eq!(manifest["workflows"][0]["name"], "nightly");
    let again = RegistryBuilder::from(one.clone()).build().unwrap();
    assert_eq!(again.manifest(), one.manifest());
}
