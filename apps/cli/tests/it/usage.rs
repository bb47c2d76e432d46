//! Misuse: one line with a code, a hint, exit code 2, and nothing done.

use std::process::Stdio;

use crate::sandbox::Sandbox;

#[test]
fn unknown_commands_and_options_suggest_the_nearest() {
    let sandbox = Sandbox::with_tasks();
    sandbox.refuses(
        &["sbmit", "echo"],
        2,
        "error: read arguments: unrecognized subcommand 'sbmit' [E-036]\n\nhint: a similar subcommand exists: 'submit'\n",
    );
    sandbox.refuses(
        &["submit", "echo", "--quue", "x"],
        2,
        "error: read arguments: unexpected argument '--quue' found [E-036]\n\nhint: a similar argument exists: '--queue'\n",
    );
    sandbox.refuses(
        &["job", "lst"],
        2,
        "error: read arguments: unrecognized subcommand 'lst' [E-036]\n\nhint: a similar subcommand exists: 'list'\n",
    );
    assert!(!sandbox.exists("taskport.db"));
}

#[test]
fn a_missing_command_shows_what_there_is() {
    let ran = Sandbox::empty().run(&[]);
    assert_eq!((ran.code, ran.stdout.as_str()), (2, ""));
    assert!(ran.stderr.contains("Submit a call of a task"), "{}", ran.stderr);
    assert!(ran.stderr.contains("error: read arguments: a command is missing [E-036]"), "{}", ran.stderr);
}

#[test]
fn conflicting_options_are_refused() {
    let sandbox = Sandbox::with_tasks();
    let conflict = |arguments: &[&str], message: &str| {
        let ran = sandbox.run(arguments);
        assert_eq!((ran.code, ran.stdout.as_str()), (2, ""), "{ran:?}");
        assert!(ran.stderr.starts_with(&format!("error: read arguments: {message}")), "{}", ran.stderr);
        assert!(ran.stderr.contains("[E-036]\n\nhint: "), "{}", ran.stderr);
    };
    conflict(
        &["submit", "echo", "--delay", "5s", "--at", "2026-01-31T09:30:00Z"],
        "the argument '--delay <DURATION>' cannot be used with '--at <TIME>'",
    );
    conflict(
        &["submit", "echo", "a=1", "--args", "{}"],
        "the argument '[ARG]...' cannot be used with '--args <JSON>'",
    );
    conflict(
        &["submit", "echo", "--timeout", "5s"],
        "the following required arguments were not provided: --wait",
    );
    conflict(
        &["submit", "echo", "--unique", "forever"],
        "the following required arguments were not provided",
    );
    conflict(&["dead", "requeue", "x", "--all"], "the argument '[JOB]...' cannot be used with '--all'");
    conflict(
        &["queue", "purge", "default", "--yes", "1", "--force"],
        "the argument '--yes <N>' cannot be used with '--force'",
    );
}

#[test]
fn values_of_the_wrong_form_are_refused_by_name() {
    let sandbox = Sandbox::with_tasks();
    let wrong = |arguments: &[&str], part: &str| {
        let ran = sandbox.run(arguments);
        assert_eq!(ran.code, 2, "{ran:?}");
        assert!(ran.stderr.contains(part), "{part} in {}", ran.stderr);
    };
    wrong(&["submit", "echo", "--priority", "12"], "'--priority <LEVEL>'");
    wrong(&["submit", "echo", "--delay", "5"], "`5` is not a duration such as 250ms, 30s, 5m, 12h or 1h30m");
    wrong(&["submit", "echo", "--queue", "a b"], "`a b` is not a queue name");
    wrong(&["submit", "echo", "--backoff", "cubic"], "is not a backoff such as fixed(5s)");
    wrong(&["submit", "echo", "--args", "{"], "the value of `--args` is no JSON");
    wrong(&["submit", "echo", "n=1", "n=2"], "argument `n` is given more than once [E-036]");
    wrong(&["submit", "echo", "--args", r#"{"n":1,"n":2}"#], "argument `n` is given more than once [E-036]");
    wrong(&["submit", "echo", "--delay", "40000d"], "`40000d` is longer than 100 years");
    wrong(&["submit", "echo", "--expires-in", "40000d"], "`40000d` is longer than 100 years");
    wrong(&["submit", "echo", "--expires-in", "-5s"], "`-5s` is below zero; durations are not negative");
    wrong(&["submit", "echo", "x={\"a\":"], "argument `x` begins as JSON and is none");
    wrong(&["job", "list", "--state", "done"], "`done` is not a job state");
    wrong(&["submit", "echo", "--trace", "00-1-2-3"], "the trace context is no W3C traceparent");
}

#[test]
fn with_json_a_refusal_is_a_document_too() {
    let sandbox = Sandbox::with_tasks();
    let answer = sandbox.json(&["submit", "ecko"]);
    assert_eq!(answer["error"]["code"], "E-001");
    assert_eq!(answer["error"]["hint"], "did you mean `echo`?");
    assert_eq!(answer["error"]["certainty"], "not_applied");
    assert_eq!(sandbox.json(&["sbmit"])["error"]["code"], "E-036");
}

#[test]
fn help_and_version_are_results() {
    let sandbox = Sandbox::empty();
    let help = sandbox.fine(&["--help"]);
    for command in [
        "init",
        "worker",
        "submit",
        "job",
        "run",
        "runs",
        "queue",
        "dead",
        "registry",
        "backend",
        "config",
        "check",
        "doctor",
        "completions",
    ] {
        assert!(help.lines().any(|line| line.trim_start().starts_with(command)), "{command} in {help}");
    }
    assert!(sandbox.fine(&["--version"]).starts_with("taskport "));
    assert!(sandbox.fine(&["submit", "--help"]).contains("--idempotency-key"));
}

#[test]
fn a_reader_that_closes_its_end_is_no_failure() {
    let sandbox = Sandbox::with_tasks();
    let (reader, writer) = std::io::pipe().unwrap();
    drop(reader);
    let output =
        sandbox.command(&["config", "schema"]).stdout(writer).stderr(Stdio::piped()).output().unwrap();
    let ran = sandbox.ran(output);
    assert_eq!((ran.code, ran.stderr.as_str()), (0, ""));
}

#[test]
fn a_standard_output_that_cannot_be_written_is_a_failure() {
    let sandbox = Sandbox::with_tasks();
    let full = std::fs::File::options().write(true).open("/dev/full").unwrap();
    let output = sandbox.command(&["config", "schema"]).stdout(full).stderr(Stdio::piped()).output().unwrap();
    let ran = sandbox.ran(output);
    assert_eq!(ran.code, 1);
    assert!(ran.stderr.starts_with("error: print: standard output cannot be written: "), "{}", ran.stderr);
    assert!(ran.stderr.trim_end().ends_with("[E-037]"), "{}", ran.stderr);
}

#[test]
fn nothing_is_coloured_without_a_terminal() {
    let sandbox = Sandbox::with_tasks();
    let ran = sandbox.run(&["submit", "ecko"]);
    assert!(!ran.stderr.contains('\u{1b}'), "{}", ran.stderr);
    let help = sandbox.fine(&["--help"]);
    assert!(!help.contains('\u{1b}'), "{help}");
}
