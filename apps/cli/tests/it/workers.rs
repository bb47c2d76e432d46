//! Jobs run by worker processes.

use rustix::process::Signal;
use serde_json::json;

use crate::sandbox::Sandbox;

#[test]
fn a_task_declared_in_toml_is_run_by_a_worker_and_its_result_printed() {
    let sandbox = Sandbox::with_tasks();
    let worker = sandbox.worker(&[]);
    let ran = sandbox.run(&["submit", "echo", "title=Q3", "--wait", "--timeout", "60s"]);
    assert_eq!((ran.code, ran.stdout.as_str()), (0, "{\"title\":\"Q3\"}\n"), "{ran:?}");
    let answer = sandbox.json(&["submit", "echo", "n=1", "--wait"]);
    assert_eq!((&answer["state"], &answer["result"]), (&json!("succeeded"), &json!({"n": 1})));
    let waited = sandbox.json(&["job", "wait", answer["job"].as_str().unwrap()]);
    assert_eq!(waited["jobs"][0]["result"], json!({"n": 1}));
    let report = worker.drain();
    assert_eq!((&report["succeeded"], &report["failed"]), (&json!(2), &json!(0)));
}

#[test]
fn a_failed_job_is_a_dead_letter_that_can_be_shown_requeued_and_purged() {
    let sandbox = Sandbox::with_tasks();
    let worker = sandbox.worker(&[]);
    let ran = sandbox.run(&["submit", "fail", "--id", "dead", "--wait"]);
    assert_eq!((ran.code, ran.stdout.as_str()), (1, ""));
    assert!(ran.stderr.contains("`/bin/sh` ended with exit code 3: broken"), "{}", ran.stderr);
    assert!(ran.stderr.contains("[E-011]\n\nhint: `taskport job get main:dead`"), "{}", ran.stderr);
    assert_eq!(worker.drain()["failed"], 1);
    assert_eq!(sandbox.json(&["dead", "list"])["jobs"][0]["id"], "dead");
    assert_eq!(
        sandbox.fine(&["dead", "list"]),
        "JOB        TASK  QUEUE    ATTEMPTS  REASON\n\
         main:dead  fail  default  1         error: `/bin/sh` ended with exit code 3…\n"
    );
    let shown = sandbox.json(&["dead", "show", "dead"]);
    assert_eq!(shown["failure"]["traceback"], "broken\n");
    assert_eq!(sandbox.fine(&["dead", "requeue", "dead"]), "main:dead  requeued\n");
    let alive = sandbox.run(&["dead", "show", "dead"]);
    assert!(alive.code == 1 && alive.stderr.contains("is queued, not failed"), "{alive:?}");

    let worker = sandbox.worker(&[]);
    assert_eq!(sandbox.run(&["job", "wait", "dead"]).code, 1);
    drop(worker.drain());
    let unsure = sandbox.run(&["dead", "purge", "--all"]);
    assert!(unsure.code == 2 && unsure.stderr.contains("would delete 1 job ["), "{unsure:?}");
    assert_eq!(sandbox.fine(&["dead", "purge", "--all", "--yes", "1"]), "main:dead  purged\n");
    assert_eq!(sandbox.json(&["dead", "list"])["jobs"], json!([]));
    let nothing = sandbox.run(&["dead", "purge", "--all"]);
    assert_eq!((nothing.code, nothing.stderr.as_str()), (0, "note: there are no dead letters\n"));
    let counts = &sandbox.json(&["queue", "stats"])["queues"][0];
    assert_eq!((&counts["submitted"], &counts["failed"]), (&json!(1), &json!(1)));
}

/// A task that says when it has started and goes on only when it is let.
const GATED: &str = r#"
[tasks.gated]
kind = "exec"
command = "trap 'exit 9' TERM; touch started; while [ ! -e go ]; do :; done; echo done"
shell = true
"#;

#[test]
fn sigterm_lets_a_running_job_finish_and_takes_no_more() {
    let sandbox = Sandbox::empty();
    sandbox.write("taskport.toml", GATED);
    let mut worker = sandbox.worker(&["--concurrency", "1"]);
    sandbox.submit(&["gated", "--id", "running"]);
    sandbox.appears("started");
    worker.signal(Signal::TERM);
    // Once the worker drains, what comes later must wait for another.
    sandbox.submit(&["gated", "--id", "waiting"]);
    sandbox.write("go", "");
    let (status, stdout, stderr) = worker.wait();
    assert_eq!(status.code(), Some(0), "{stderr}");
    let report: serde_json::Value = serde_json::from_str(&stdout).unwrap();
    assert_eq!((&report["succeeded"], &report["failed"]), (&json!(1), &json!(0)), "{report}");
    assert_eq!(sandbox.json(&["job", "get", "running"])["result"], "done");
    let waiting = sandbox.json(&["job", "get", "waiting"]);
    assert_eq!((&waiting["state"], &waiting["attempt"]), (&json!("queued"), &json!(0)));
}

#[test]
fn a_job_that_outlasts_the_grace_period_is_handed_back_unused() {
    let sandbox = Sandbox::empty();
    sandbox.write("taskport.toml", GATED);
    let worker = sandbox.worker(&["--grace", "0s"]);
    sandbox.submit(&["gated", "--id", "long"]);
    sandbox.appears("started");
    let report = worker.drain();
    assert_eq!((&report["released"], &report["failed"]), (&json!(1), &json!(0)), "{report}");
    let job = sandbox.json(&["job", "get", "long"]);
    assert_eq!((&job["state"], &job["attempt"]), (&json!("queued"), &json!(0)), "{job}");
}

#[test]
fn a_second_signal_hands_back_at_once() {
    let sandbox = Sandbox::empty();
    sandbox.write("taskport.toml", GATED);
    let mut worker = sandbox.worker(&["--grace", "1h", "--log", "taskport_worker=info"]);
    sandbox.submit(&["gated", "--id", "long"]);
    sandbox.appears("started");
    worker.signal(Signal::TERM);
    worker.signal(Signal::INT);
    let (status, stdout, stderr) = worker.wait();
    assert_eq!(status.code(), Some(0), "{stderr}");
    let report: serde_json::Value = serde_json::from_str(&stdout).unwrap();
    assert_eq!(report["released"], 1, "{report} {stderr}");
    assert!(stderr.contains("note: finishing what runs, for up to 1h; a second signal hands"), "{stderr}");
    assert_eq!(sandbox.json(&["job", "get", "long"])["state"], "queued");
}

#[test]
fn a_running_job_is_cancelled_with_everything_it_started() {
    let sandbox = Sandbox::empty();
    sandbox.write("taskport.toml", GATED);
    let worker = sandbox.worker(&[]);
    sandbox.submit(&["gated", "--id", "long"]);
    sandbox.appears("started");
    assert_eq!(sandbox.fine(&["job", "cancel", "long"]), "main:long  requested\n");
    let waited = sandbox.run(&["job", "wait", "long", "--timeout", "60s"]);
    assert_eq!((waited.code, waited.stdout.as_str()), (1, "main:long  cancelled\n"), "{waited:?}");
    assert_eq!(worker.drain()["cancelled"], 1);
}

#[test]
fn a_job_past_its_time_limit_is_killed() {
    let sandbox = Sandbox::empty();
    sandbox.write("taskport.toml", GATED);
    let worker = sandbox.worker(&[]);
    let ran = sandbox.run(&["submit", "gated", "--timeout-hard", "200ms", "--max-attempts", "1", "--wait"]);
    assert_eq!(ran.code, 1, "{ran:?}");
    assert!(ran.stderr.contains("[E-011]"), "{}", ran.stderr);
    drop(worker.drain());
}

#[test]
fn workers_are_seen_by_name_with_their_queues() {
    let sandbox = Sandbox::with_tasks();
    let worker = sandbox.worker(&["--name", "w1", "--queues", "a,b", "--concurrency", "3"]);
    let seen = sandbox.eventually(&["backend", "workers"], |seen| seen["workers"][0]["alive"] == true);
    let seen = &seen["workers"][0];
    assert_eq!(
        (&seen["worker"], &seen["queues"], &seen["slots"]),
        (&json!("w1"), &json!(["a", "b"]), &json!(3))
    );
    drop(worker.drain());
    assert_eq!(sandbox.json(&["backend", "workers"])["workers"], json!([]));
}
