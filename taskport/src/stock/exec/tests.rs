use std::path::Path;
use std::time::Duration;

use serde_json::{Value, json};
use taskport_abstraction::AttemptControl;
use taskport_worker::Control;

use super::*;
use crate::stock::tests::context;

fn action(table: Value) -> ExecAction {
    serde_json::from_value(table).unwrap()
}

async fn attempt(table: Value, arguments: &'static str, control: Arc<Control>) -> TaskResult<Payload> {
    let variables = Variables::from_iter([("PASSWORD".to_owned(), "s3cret".to_owned())]);
    let name = TaskName::new("t").unwrap();
    let Handler::Async(handler) = handler(&name, &action(table), &variables).unwrap() else {
        panic!("a command runs as a future")
    };
    handler(context(control), Payload::json(arguments)).await
}

async fn run(table: Value, arguments: &'static str) -> TaskResult<Payload> {
    attempt(table, arguments, Control::new()).await
}

#[tokio::test]
async fn arguments_come_as_json_on_standard_input_and_output_is_text() {
    let result = run(json!({"command": ["cat"]}), r#"[[],{"a":"$(id)"}]"#).await.unwrap();
    assert_eq!(result.bytes, r#""{\"a\":\"$(id)\"}""#);
}

#[tokio::test]
async fn output_declared_as_json_is_the_result_as_it_is() {
    let result = run(json!({"command": ["cat"], "output": "json"}), "[[1,2.50],{}]").await.unwrap();
    assert_eq!(result.bytes, "[1,2.50]");
    let error = run(json!({"command": ["echo", "no json"], "output": "json"}), "[[],{}]").await.unwrap_err();
    assert!(error.failure().message.starts_with("the output of `echo` is no JSON"), "{error:?}");
    assert_eq!(error.failure().type_name, "exec");
}

#[tokio::test]
async fn nothing_is_expanded_unless_a_shell_is_asked_for() {
    let plain = run(json!({"command": ["echo", "$JOB_ID *"]}), "[[],{}]").await.unwrap();
    assert_eq!(plain.bytes, r#""$JOB_ID *""#);
    let shell = json!({"command": "echo $JOB_ID $JOB_TASK $JOB_ATTEMPT $P", "shell": true, "env": {"P": "env:PASSWORD"}});
    assert_eq!(run(shell, "[[],{}]").await.unwrap().bytes, r#""job-1 t 2 s3cret""#);
}

#[tokio::test]
async fn a_failed_command_tells_code_and_last_line_and_keeps_the_end_of_its_errors() {
    let command = json!({"command": "seq 10000 >&2; echo broken >&2; exit 3", "shell": true});
    let error = run(command, "[[],{}]").await.unwrap_err();
    assert_eq!(error.failure().message, "`/bin/sh` ended with exit code 3: broken");
    let kept = error.failure().traceback.as_deref().unwrap();
    assert!(kept.len() <= STDERR_BYTES_MAX && kept.ends_with("10000\nbroken\n"), "{}", kept.len());
}

#[tokio::test]
async fn output_has_a_limit() {
    let endless = json!({"command": ["yes"], "output_max": "4KiB"});
    let error = run(endless, "[[],{}]").await.unwrap_err();
    assert_eq!(error.failure().kind, FailureKind::ResultTooLarge);
}

#[tokio::test]
async fn a_program_that_does_not_exist_is_fatal() {
    let error = run(json!({"command": ["no-such-program-here"]}), "[[],{}]").await.unwrap_err();
    assert!(matches!(error, TaskError::Fatal(_)), "{error:?}");
}

#[tokio::test]
async fn a_command_that_ignores_its_input_is_no_failure() {
    let long = r#"[["0123456789012345678901234567890123456789"],{}]"#;
    assert_eq!(run(json!({"command": ["true"]}), long).await.unwrap().bytes, r#""""#);
}

/// Starts a command that starts another one, which names its process group in `file` and then waits for ever.
fn endless(file: &Path) -> Value {
    let text = format!("(echo $$ > {0}.new; mv {0}.new {0}; sleep 1000) & wait", file.display());
    json!({"command": text, "shell": true})
}

async fn group_in(file: &Path) -> Pid {
    let deadline = tokio::time::Instant::now() + Duration::from_secs(20);
    loop {
        if let Ok(text) = std::fs::read_to_string(file) {
            return Pid::from_raw(text.trim().parse().unwrap()).unwrap();
        }
        assert!(tokio::time::Instant::now() < deadline, "the command never started");
        tokio::task::yield_now().await;
    }
}

async fn gone(group: Pid) {
    let deadline = tokio::time::Instant::now() + Duration::from_secs(20);
    while rustix::process::test_kill_process_group(group).is_ok() {
        assert!(tokio::time::Instant::now() < deadline, "processes of the group are left");
        tokio::task::yield_now().await;
    }
}

#[tokio::test]
async fn a_cancelled_command_ends_with_everything_it_started() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("group");
    let control = Control::new();
    let running = tokio::spawn(attempt(endless(&file), "[[],{}]", Arc::clone(&control)));
    let group = group_in(&file).await;
    control.stop(StopReason::Cancelled);
    let error = running.await.unwrap().unwrap_err();
    assert_eq!(error.failure().message, "`/bin/sh` was stopped: the job was cancelled");
    gone(group).await;
}

#[tokio::test]
async fn an_attempt_that_is_dropped_kills_the_whole_group() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("group");
    let running = tokio::spawn(attempt(endless(&file), "[[],{}]", Control::new()));
    let group = group_in(&file).await;
    running.abort();
    assert!(running.await.unwrap_err().is_cancelled());
    gone(group).await;
}

#[test]
fn a_declaration_that_cannot_be_run_is_refused() {
    let check = |table: Value, message: &str| {
        let name = TaskName::new("t").unwrap();
        let error = handler(&name, &action(table), &Variables::default()).unwrap_err();
        assert_eq!(error.message(), message);
    };
    check(json!({"command": []}), "task `t`: `command` names no program");
    check(json!({"command": "echo"}), "task `t`: `command` is one text, and `shell` is not set");
    check(json!({"command": ["echo"], "shell": true}), "task `t`: `shell` is set, and `command` is a list");
}
