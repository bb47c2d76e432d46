//! Jobs, queues and dead letters, without a worker.

use std::process::Stdio;

use serde_json::{Value, json};

use crate::sandbox::{Sandbox, with_input};

#[test]
fn a_submitted_job_is_printed_shown_and_listed() {
    let sandbox = Sandbox::with_tasks();
    let submitted = sandbox.run(&["submit", "echo", "title=Q3", "pages=12"]);
    assert_eq!((submitted.code, submitted.stdout.as_str(), submitted.stderr.as_str()), (0, "main:ID\n", ""));
    let job = sandbox.json(&["job", "list"])["jobs"][0]["job"].as_str().unwrap().to_owned();
    assert_eq!(
        sandbox.fine(&["job", "get", &job]),
        "job        main:ID\n\
         task       echo\n\
         queue      default\n\
         state      queued\n\
         attempt    0\n\
         submitted  TIME\n\
         arguments  [[],{\"title\":\"Q3\",\"pages\":12}]\n"
    );
    assert_eq!(
        sandbox.fine(&["job", "list"]),
        // The column is as wide as the id that was there.
        format!(
            "JOB{:40}TASK  QUEUE    STATE   ATTEMPT  SUBMITTED\nmain:ID  echo  default  queued  0        TIME\n",
            ""
        )
    );
    let shown = sandbox.json(&["job", "get", &job]);
    assert_eq!(shown["arguments"], json!([[], {"title": "Q3", "pages": 12}]));
    assert_eq!((&shown["state"], &shown["queue"]), (&json!("queued"), &json!("default")));
}

#[test]
fn every_job_option_reaches_the_job() {
    let sandbox = Sandbox::with_tasks();
    let job = sandbox.submit(&[
        "echo",
        "--id",
        "mine-1",
        "--queue",
        "reports",
        "--priority",
        "7",
        "--at",
        "2999-01-31T09:30:00Z",
        "--expires-at",
        "2999-02-01T00:00:00Z",
        "--timeout-soft",
        "10s",
        "--timeout-hard",
        "20s",
        "--max-attempts",
        "3",
        "--backoff",
        "fixed(5s)",
        "--retry-age-max",
        "1h",
        "--idempotency-key",
        "k",
        "--unique",
        "2h",
        "--on-conflict",
        "replace",
        "--tag",
        "a",
        "--tag",
        "b",
        "--metadata",
        "from=test",
        "--parent",
        "parent-1",
        "--trace",
        "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01",
    ]);
    assert_eq!(job, "main:mine-1");
    let shown = sandbox.json(&["job", "get", &job]);
    assert_eq!((&shown["queue"], &shown["state"]), (&json!("reports"), &json!("scheduled")));
    let options = &shown["options"];
    for (name, value) in [
        ("priority", json!(7)),
        ("timeout_soft", json!("10s")),
        ("timeout_hard", json!("20s")),
        ("retry", json!({"attempts_max": 3, "backoff": "fixed(5s)", "age_max": "1h"})),
        ("idempotency", json!({"key": "k", "unique": "2h", "on_conflict": "replace"})),
        ("tags", json!(["a", "b"])),
        ("metadata", json!({"from": "test"})),
        ("parent", json!("parent-1")),
        ("trace", json!("00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01")),
    ] {
        assert_eq!(options[name], value, "{name} of {options}");
    }
    assert_eq!(shown["not_before"], "2999-01-31T09:30:00Z");
}

#[test]
fn a_job_that_sets_one_part_of_its_retries_keeps_the_declared_others() {
    let sandbox = Sandbox::with_tasks();
    sandbox.submit(&["fail", "--id", "one", "--retry-age-max", "1h"]);
    let retry = &sandbox.json(&["job", "get", "one"])["options"]["retry"];
    assert_eq!((&retry["attempts_max"], &retry["age_max"]), (&json!(1), &json!("1h")));
}

#[test]
fn keys_of_a_job_are_shown_with_their_limits() {
    let sandbox = Sandbox::with_tasks();
    let keys = [
        ["--ordering-key", "file-7"],
        ["--fair-key", "customer-7:3"],
        ["--concurrency-key", "disk=sda=2"],
        ["--rate", "mail=5/s"],
        ["--throttle", "report-7=1h"],
    ];
    sandbox.submit(&[&["echo", "--id", "one"], keys.concat().as_slice()].concat());
    let options = &sandbox.json(&["job", "get", "one"])["options"];
    for (name, value) in [
        ("ordering_key", json!("file-7")),
        ("fair", json!({"key": "customer-7", "weight": 3})),
        ("concurrency", json!({"key": "disk=sda", "max": 2})),
        ("rate_limit", json!({"key": "mail", "count": 5, "period": "1s"})),
        ("idempotency", json!({"key": "report-7", "unique": "1h", "on_conflict": "ignore"})),
    ] {
        assert_eq!(options[name], value, "{name} of {options}");
    }
    let ignored = sandbox.json(&["submit", "echo", "n=2", "--throttle", "report-7=1h"]);
    assert_eq!(ignored["existing"], true, "{ignored}");
    let waits = sandbox.submit(&["echo", "--ordering-key", "file-7"]);
    assert_eq!(sandbox.json(&["job", "get", &waits])["state"], "blocked");
    for wrong in [["--concurrency-key", "disk"], ["--rate", "mail=often"], ["--fair-key", "customer-7:much"]]
    {
        assert_eq!(sandbox.run(&[&["submit", "echo"], &wrong[..]].concat()).code, 2);
    }
    let ran = sandbox.run(&["submit", "echo", "--batch", "none"]);
    assert!(ran.stderr.contains("[E-052]"), "{}", ran.stderr);
}

#[test]
fn a_repeated_submit_of_one_id_or_key_is_the_same_job() {
    let sandbox = Sandbox::with_tasks();
    assert_eq!(sandbox.json(&["submit", "echo", "--id", "one"])["existing"], false);
    assert_eq!(sandbox.json(&["submit", "echo", "--id", "one"])["existing"], true);
    let first = sandbox.submit(&["echo", "n=1", "--idempotency-key", "k"]);
    assert_eq!(sandbox.submit(&["echo", "n=1", "--idempotency-key", "k"]), first);
    let ran = sandbox.run(&["submit", "echo", "n=2", "--idempotency-key", "k"]);
    assert_eq!(ran.code, 1);
    assert!(ran.stderr.contains("[E-009]"), "{}", ran.stderr);
}

#[test]
fn arguments_may_come_from_standard_input() {
    let sandbox = Sandbox::with_tasks();
    let output =
        with_input(sandbox.command(&["submit", "echo", "--args", "@-", "--id", "piped"]), r#"{"a": [1]}"#);
    assert!(output.status.success(), "{output:?}");
    assert_eq!(sandbox.json(&["job", "get", "piped"])["arguments"], json!([[], {"a": [1]}]));
}

#[test]
fn unknown_jobs_and_tasks_are_named() {
    let sandbox = Sandbox::with_tasks();
    sandbox.refuses(
        &["submit", "ecko"],
        2,
        "error: look up: there is no task `ecko` [E-001]\n\nhint: did you mean `echo`?\n",
    );
    sandbox.refuses(
        &["job", "get", "nope"],
        1,
        "error: get on `main`: there is no job `nope` [E-007]\n\n\
         hint: `taskport job list` shows the jobs there are\n",
    );
    sandbox.refuses(
        &["job", "cancel", "nope", "none"],
        1,
        "error: cancel on `main`: there is no job `nope` [E-007]\n\
         error: cancel on `main`: there is no job `none` [E-007]\n\n\
         hint: `taskport job list` shows the jobs there are\n",
    );
    let run = sandbox.run(&["runs", "cancel", "nope"]);
    assert!(run.stderr.ends_with("hint: `taskport runs list` shows the runs there are\n"), "{}", run.stderr);
    for command in ["cancel", "retry"] {
        let answer = sandbox.json(&["job", command, "nope"]);
        assert_eq!(answer["jobs"][0]["error"]["code"], "E-007", "{command}: {answer}");
    }
    assert_eq!(sandbox.run(&["job", "wait", "nope"]).code, 1);
}

#[test]
fn a_wait_without_a_worker_ends_at_its_limit_and_says_so() {
    let sandbox = Sandbox::with_tasks();
    let ran = sandbox.run(&["submit", "echo", "--id", "slow", "--wait", "--timeout", "100ms"]);
    assert_eq!((ran.code, ran.stdout.as_str()), (1, "main:slow\n"));
    assert_eq!(
        ran.stderr,
        "submitted main:slow\n\
         note: no live worker serves the queue `default`; start one with `taskport worker`\n\
         error: wait: job `main:slow` has not ended within 100ms [E-012]\n\n\
         hint: it goes on; `taskport job get` shows where it stands\n"
    );
    let answer = sandbox.json(&["submit", "echo", "--id", "slow", "--wait", "--timeout", "50ms"]);
    assert_eq!((&answer["job"], &answer["state"]), (&json!("main:slow"), &json!("queued")), "{answer}");
    assert_eq!(answer["error"]["code"], "E-012", "{answer}");
    let waited = sandbox.run(&["job", "wait", "slow", "--timeout", "50ms"]);
    assert_eq!((waited.code, waited.stdout.as_str()), (1, "main:slow  queued\n"));
    let open = &sandbox.json(&["job", "wait", "slow", "--timeout", "50ms"])["jobs"];
    assert_eq!((&open[0]["job"], &open[0]["state"]), (&json!("main:slow"), &json!("queued")), "{open}");
    assert_eq!((&open[0]["error"]["code"], &open[1]), (&json!("E-012"), &Value::Null), "{open}");
    assert_eq!(sandbox.json(&["job", "get", "slow"])["state"], "queued");
}

#[test]
fn a_cancelled_job_can_be_run_again() {
    let sandbox = Sandbox::with_tasks();
    sandbox.submit(&["echo", "--id", "one"]);
    assert_eq!(sandbox.fine(&["job", "cancel", "one"]), "main:one  cancelled\n");
    assert_eq!(sandbox.fine(&["job", "cancel", "main:one"]), "main:one  cancelled\n");
    let waited = sandbox.run(&["job", "wait", "one"]);
    assert_eq!((waited.code, waited.stdout.as_str()), (1, "main:one  cancelled\n"));
    assert!(waited.stderr.contains("[E-041]"), "{}", waited.stderr);
    assert_eq!(sandbox.fine(&["job", "retry", "one"]), "main:one  requeued\n");
    assert_eq!(sandbox.json(&["job", "get", "one"])["state"], "queued");
    let again = sandbox.run(&["job", "retry", "one"]);
    assert_eq!(again.code, 1);
    assert!(again.stderr.contains("[E-008]"), "{}", again.stderr);
}

#[test]
fn a_job_belongs_to_the_backend_that_its_reference_names() {
    let sandbox = Sandbox::empty();
    sandbox.write(
        "taskport.toml",
        "[backends.main]\nkind = \"native\"\nurl = \"sqlite://a.db\"\n[backends.other]\nkind = \"native\"\n\
         url = \"sqlite://b.db\"\n[routing]\ndefault = \"main\"\n[tasks.echo]\nkind = \"exec\"\ncommand = [\"cat\"]\n",
    );
    let job = sandbox.submit(&["echo", "--backend", "other", "--id", "x"]);
    assert_eq!(job, "other:x");
    assert_eq!(sandbox.json(&["job", "get", "other:x"])["backend"], "other");
    assert_eq!(sandbox.run(&["job", "get", "x"]).code, 1);
    assert_eq!(sandbox.json(&["job", "get", "x", "--backend", "other"])["backend"], "other");
    sandbox.refuses(
        &["job", "get", "other:x", "--backend", "main"],
        2,
        "error: read arguments: job `other:x` is not on the backend `main` [E-036]\n\n\
         hint: leave `--backend` out, or the backend in the job\n",
    );
}

#[test]
fn listings_are_filtered_and_go_on_where_they_ended() {
    let sandbox = Sandbox::with_tasks();
    for n in 0..5 {
        let queue = if n < 3 { "a" } else { "b" };
        sandbox.submit(&[
            "echo",
            "--id",
            &format!("j{n}"),
            "--queue",
            queue,
            "--tag",
            &format!("t{}", n % 2),
        ]);
    }
    let ids = |answer: &Value| -> Vec<String> {
        answer["jobs"].as_array().unwrap().iter().map(|job| job["id"].as_str().unwrap().to_owned()).collect()
    };
    assert_eq!(ids(&sandbox.json(&["job", "list", "--queue", "a"])), ["j2", "j1", "j0"]);
    assert_eq!(ids(&sandbox.json(&["job", "list", "--tag", "t1"])), ["j3", "j1"]);
    assert_eq!(ids(&sandbox.json(&["job", "list", "--state", "failed"])), Vec::<String>::new());
    let first = sandbox.json(&["job", "list", "--limit", "2"]);
    assert_eq!(ids(&first), ["j4", "j3"]);
    let rest = sandbox.json(&["job", "list", "--after", first["next"].as_str().unwrap()]);
    assert_eq!((ids(&rest), &rest["next"]), (vec!["j2".into(), "j1".into(), "j0".into()], &Value::Null));
    let cut = sandbox.run(&["job", "list", "--limit", "2"]);
    assert!(cut.stderr.starts_with("note: there are more; go on with `--after "), "{}", cut.stderr);
}

#[test]
fn queues_are_listed_accounted_for_paused_and_purged_with_consent() {
    let sandbox = Sandbox::with_tasks();
    assert_eq!(sandbox.run(&["queue", "list"]).stderr, "note: there are no queues\n");
    for _ in 0..3 {
        sandbox.submit(&["echo"]);
    }
    sandbox.submit(&["echo", "--delay", "1h"]);
    assert_eq!(sandbox.fine(&["queue", "pause", "default", "--reason", "repairs"]), "default  paused\n");
    assert_eq!(
        sandbox.fine(&["queue", "list"]),
        "QUEUE    QUEUED  SCHEDULED  RETRYING  RUNNING  FAILED  STATE\n\
         default  3       1          0         0        0       paused: repairs\n"
    );
    assert_eq!(sandbox.fine(&["queue", "resume", "default"]), "default  resumed\n");
    let set = ["--order", "fair", "--concurrency", "3", "--rate", "100/1m", "--ageing", "10m"];
    assert_eq!(sandbox.fine(&[&["queue", "set", "default"], &set[..]].concat()), "default  set\n");
    let limits = json!({"concurrency": 3, "rate": "100/1m", "ageing": "10m"});
    assert_eq!(sandbox.json(&["queue", "list"])["queues"][0]["limits"], limits);
    assert!(sandbox.fine(&["queue", "show", "default"]).contains("100/1m"));
    sandbox.fine(&["queue", "set", "default", "--order", "priority", "--rate", "none", "--ageing", "none"]);
    let left = json!({"concurrency": 3, "rate": null, "ageing": null});
    assert_eq!(sandbox.json(&["queue", "list"])["queues"][0]["limits"], left);
    assert_eq!(sandbox.run(&["queue", "set", "default"]).code, 2);
    assert_eq!(sandbox.run(&["queue", "set", "default", "--concurrency", "0"]).code, 2);
    let new = sandbox.run(&["queue", "pause", "defualt"]);
    assert_eq!((new.code, new.stdout.as_str()), (0, "defualt  paused\n"));
    assert_eq!(new.stderr, "note: the queue `defualt` is new; did you mean `default`?\n");
    let stats = sandbox.json(&["queue", "stats", "default"]);
    let queue = &stats["queues"][0];
    assert_eq!(
        (&queue["submitted"], &queue["queued"], &queue["paused"]),
        (&json!(4), &json!(3), &json!(false))
    );
    sandbox.refuses(
        &["queue", "purge", "default"],
        2,
        "error: read arguments: purge would delete 4 jobs [E-036]\n\n\
         hint: repeat with `--yes 4` if that is meant, or with `--force`\n",
    );
    assert_eq!(sandbox.run(&["queue", "purge", "default", "--yes", "3"]).code, 2);
    assert_eq!(sandbox.fine(&["queue", "purge", "default", "--yes", "4"]), "default  4 purged\n");
    let queue = &sandbox.json(&["queue", "stats"])["queues"][0];
    assert_eq!((&queue["submitted"], &queue["cancelled"]), (&json!(4), &json!(4)));
    sandbox.refuses(
        &["queue", "stats", "defult"],
        1,
        "error: find queue: there is no queue `defult` [E-035]\n\nhint: did you mean `default`?\n",
    );
}

#[test]
fn a_submit_whose_answer_cannot_be_written_names_its_job() {
    let sandbox = Sandbox::with_tasks();
    let full = std::fs::File::options().write(true).open("/dev/full").unwrap();
    let output =
        sandbox.command(&["submit", "echo", "--id", "kept"]).stdout(full).stderr(Stdio::piped()).output();
    let ran = sandbox.ran(output.unwrap());
    assert_eq!(ran.code, 1);
    let named = "error: print: job `main:kept` was submitted, but standard output cannot be written: ";
    assert!(ran.stderr.starts_with(named), "{}", ran.stderr);
    assert_eq!(sandbox.json(&["job", "get", "kept"])["state"], "queued");
}

#[test]
fn a_submit_whose_reader_has_gone_is_kept() {
    let sandbox = Sandbox::with_tasks();
    let (reader, writer) = std::io::pipe().unwrap();
    drop(reader);
    let output =
        sandbox.command(&["submit", "echo", "--id", "kept"]).stdout(writer).stderr(Stdio::piped()).output();
    let ran = sandbox.ran(output.unwrap());
    assert_eq!((ran.code, ran.stderr.as_str()), (0, ""));
    assert_eq!(sandbox.json(&["job", "get", "kept"])["state"], "queued");
}
