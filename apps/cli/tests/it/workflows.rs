//! Workflows from files, run, drawn and cancelled.

use rustix::process::Signal;
use serde_json::json;

use crate::sandbox::{Sandbox, TASKS};

const PIPELINE: &str = "name: pipeline
steps:
  - id: each
    task: echo
    map: $input.names
    args: { name: $item }
    concurrency: 2
  - id: all
    task: echo
    args: { greeted: $steps.each.output }
";

fn with_pipeline() -> Sandbox {
    let sandbox = Sandbox::empty();
    sandbox.write("taskport.toml", &format!("{TASKS}\n[workflows]\nfiles = [\"flows/*.yaml\"]\n"));
    sandbox.write("flows/pipeline.yaml", PIPELINE);
    sandbox
}

#[test]
fn a_run_shows_each_step_with_its_time_and_prints_its_output() {
    let sandbox = with_pipeline();
    let ran = sandbox.run(&["run", "pipeline", "--input", r#"{"names": ["Ada", "Grace"]}"#]);
    assert_eq!(ran.code, 0, "{ran:?}");
    assert_eq!(ran.stdout, "{\"greeted\":[{\"name\":\"Ada\"},{\"name\":\"Grace\"}]}\n");
    assert_eq!(ran.stderr, "✓ each N.NNs (2 jobs)\n✓ all N.NNs\n");
    let listed = sandbox.json(&["runs", "list"]);
    let run = listed["runs"][0]["run"].as_str().unwrap();
    let shown = sandbox.json(&["runs", "get", run]);
    assert_eq!((&shown["state"], &shown["steps"][0]["total"]), (&json!("succeeded"), &json!(2)));
    assert!(sandbox.fine(&["runs", "get", run]).contains("each  succeeded  2/2"));
    assert!(
        sandbox
            .fine(&["runs", "graph", run, "--format", "mermaid"])
            .contains("s0[\"each<br/>echo × each\"]:::succeeded")
    );
    let steps = sandbox.json(&["job", "list", "--run", run]);
    assert_eq!(steps["jobs"].as_array().unwrap().len(), 3);
}

#[test]
fn the_greetings_of_init_can_be_run() {
    let sandbox = Sandbox::empty();
    sandbox.fine(&["init"]);
    let ran = sandbox.json(&["run", "greetings", "--input", r#"{"names": ["Ada"]}"#]);
    assert_eq!(ran["result"], json!({"greeted": [{"name": "Ada"}]}));
}

#[test]
fn a_run_can_be_left_to_other_workers_and_cancelled() {
    let sandbox = with_pipeline();
    let run = sandbox.json(&["run", "flows/pipeline.yaml", "--input", r#"{"names": ["Ada"]}"#, "--detach"]);
    let run = run["run"].as_str().unwrap();
    assert_eq!(sandbox.json(&["runs", "get", run])["state"], "running");
    sandbox.fine(&["runs", "cancel", run]);
    sandbox.eventually(&["runs", "get", run], |shown| shown["state"] == "cancelled");
}

#[test]
fn a_detached_run_is_done_by_a_worker() {
    let sandbox = with_pipeline();
    let worker = sandbox.worker(&[]);
    let ran = sandbox.run(&["run", "pipeline", "--input", r#"{"names": []}"#, "--no-worker"]);
    assert_eq!((ran.code, ran.stdout.as_str()), (0, "{\"greeted\":[]}\n"), "{ran:?}");
    drop(worker.drain());
}

#[test]
fn a_failed_step_fails_the_run_and_is_named() {
    let sandbox = Sandbox::with_tasks();
    sandbox.write(
        "bad.yaml",
        "name: bad\nsteps:\n  - {id: one, task: fail}\n  - {id: two, task: echo, after: [one]}\n",
    );
    let ran = sandbox.run(&["run", "bad.yaml"]);
    assert_eq!((ran.code, ran.stdout.as_str()), (1, ""), "{ran:?}");
    assert!(ran.stderr.contains("✗ one N.NNs, 1 failed\n"), "{}", ran.stderr);
    assert!(ran.stderr.contains("[E-043]\n\nhint: `taskport runs get ID` shows the steps"), "{}", ran.stderr);
    assert_eq!(sandbox.json(&["run", "bad.yaml"])["failure"]["kind"], "step_failed");
}

#[test]
fn a_run_ends_at_its_time_limit() {
    let sandbox = Sandbox::empty();
    sandbox.write("taskport.toml", "[tasks.hang]\nkind = \"exec\"\ncommand = [\"sleep\", \"1000\"]\n");
    sandbox.write("hang.yaml", "name: hang\nsteps:\n  - {id: one, task: hang}\n");
    let ran = sandbox.run(&["run", "hang.yaml", "--timeout", "300ms"]);
    assert_eq!(ran.code, 1, "{ran:?}");
    assert!(ran.stderr.contains("[E-043]"), "{}", ran.stderr);
}

#[test]
fn malformed_workflows_are_refused_before_any_run() {
    let sandbox = Sandbox::with_tasks();
    let check = |text: &str, part: &str| {
        sandbox.write("w.yaml", text);
        let ran = sandbox.run(&["run", "w.yaml"]);
        assert_eq!((ran.code, ran.stdout.as_str()), (2, ""), "{ran:?}");
        assert!(ran.stderr.contains(part) && ran.stderr.contains("[E-016]"), "{part} in {}", ran.stderr);
    };
    check(
        "name: w\nsteps:\n  - {id: a, task: echo, after: [b]}\n  - {id: b, task: echo, after: [a]}\n",
        "the steps wait for each other: b → a → b",
    );
    check("name: w\nsteps:\n  - {id: a, task: echo, args: [$steps.b.output]}\n", "there is no step `b`");
    check("name: w\nsteps:\n  - {id: a, task: ecko}\n", "`ecko`");
    check("name: w\nsteps:\n  - {id: a, task: echo, afer: [b]}\n", "w.yaml:3");
    check("name: w\nsteps: []\n", "there are no steps");
    sandbox.refuses(
        &["run", "pipline"],
        2,
        "error: look up: there is no workflow `pipline` [E-046]\n\nhint: none is registered\n",
    );
    assert_eq!(sandbox.json(&["runs", "list"])["runs"], json!([]));
}

#[test]
fn a_workflow_is_drawn_from_its_file() {
    let sandbox = with_pipeline();
    let expected = "pipeline\n  • each  echo × each, 2 at once\n  • all   echo  ← each\n";
    assert_eq!(sandbox.fine(&["runs", "graph", "pipeline"]), expected);
    assert_eq!(sandbox.json(&["runs", "graph", "flows/pipeline.yaml"])["edges"], json!([["each", "all"]]));
    assert!(!sandbox.exists("taskport.db"));
    assert_eq!(sandbox.run(&["runs", "graph", "nothing"]).code, 2);
}

#[test]
fn a_signal_to_a_run_is_answered_at_once_and_a_second_one_ends_the_wait() {
    let sandbox = Sandbox::empty();
    sandbox.write(
        "taskport.toml",
        "[worker]\ngrace = \"1h\"\n[tasks.hang]\nkind = \"exec\"\nshell = true\n\
         command = \"touch started; exec sleep 1000\"\n",
    );
    sandbox.write("hang.yaml", "name: hang\nsteps:\n  - {id: one, task: hang}\n");
    let mut run = sandbox.start(&["run", "hang.yaml"]);
    sandbox.appears("started");
    run.signal(Signal::INT);
    run.signal(Signal::TERM);
    let (status, _, stderr) = run.wait();
    assert_eq!(status.code(), Some(1), "{stderr}");
    assert!(stderr.contains("note: finishing what runs, for up to 1h; a second signal hands"), "{stderr}");
    assert!(stderr.contains("was interrupted [E-012]"), "{stderr}");
}
