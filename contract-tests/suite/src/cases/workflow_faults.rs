//! Runs whose processes are killed.

use serde_json::{Value, json};

use super::cases;
use super::workflows::{ended, flow, output, start};
use crate::fixture::{Fixture, eventually};
use crate::process::WorkerProcess;

cases! { "workflow":
    a_run_resumes_where_it_was_after_its_worker_was_killed needs [WorkflowResume, MultiProcess],
    a_run_resumes_after_a_restart_of_every_process needs [WorkflowResume, Durable],
    each_step_commits_once_while_workers_are_killed needs [WorkflowStepOnce, WorkflowResume, MultiProcess],
}

fn text(path: &std::path::Path) -> String {
    path.to_string_lossy().into_owned()
}

fn lines(f: &Fixture, name: &str) -> Vec<String> {
    let text = std::fs::read_to_string(f.path(name)).unwrap_or_default();
    text.lines().map(str::to_owned).collect()
}

async fn a_run_resumes_where_it_was_after_its_worker_was_killed(f: Fixture) {
    let (ledger, release) = (text(&f.path("ledger")), text(&f.path("release")));
    let chain = flow(json!([
        {"id": "first", "task": "suite.ledger", "args": [ledger, "first"]},
        {"id": "second", "task": "suite.hold", "args": [ledger, "second", release], "after": ["first"]},
        {"id": "third", "task": "suite.ledger", "args": [ledger, "third"], "after": ["second"]},
    ]));
    let run = start(&f, &chain, Value::Null).await;
    let mut worker = WorkerProcess::start(&f);
    eventually("the second step runs", async || {
        let seen = lines(&f, "ledger");
        if seen.len() == 2 { Ok(()) } else { Err(format!("{seen:?}")) }
    })
    .await;
    worker.kill();
    std::fs::write(f.path("release"), "").unwrap();
    let _second = WorkerProcess::start(&f);
    assert_eq!(output(&ended(&f, &run).await), "third");
    assert_eq!(lines(&f, "ledger"), ["first 1", "second 1", "second 2", "third 1"]);
}

async fn a_run_resumes_after_a_restart_of_every_process(mut f: Fixture) {
    let chain = flow(json!([
        {"id": "first", "task": "suite.echo", "args": [1]},
        {"id": "second", "task": "suite.add", "args": ["$steps.first.output", 1], "queue": "later"},
    ]));
    let run = start(&f, &chain, Value::Null).await;
    let worker = f.worker(1);
    eventually("the first step has ended", async || {
        let status = f.workflows().get(&run).await.unwrap().unwrap();
        if status.steps[0].succeeded == 1 { Ok(()) } else { Err(format!("{:?}", status.steps)) }
    })
    .await;
    worker.drain().await;
    f.restart().await;
    let _worker = f.worker_of(f.backend(), &["later"], 1);
    assert_eq!(output(&ended(&f, &run).await), 2);
    assert_eq!(f.stage().started(), [1]);
}

async fn each_step_commits_once_while_workers_are_killed(f: Fixture) {
    const ELEMENTS: usize = 300;
    let ledger = text(&f.path("ledger"));
    let wide = flow(json!([
        {"id": "each", "task": "suite.ledger", "map": (0..ELEMENTS).map(|n| n.to_string()).collect::<Vec<_>>(),
         "args": [ledger, "$item"]},
    ]));
    let run = start(&f, &wide, Value::Null).await;
    for kills in 1..=3 {
        let mut worker = WorkerProcess::start(&f);
        eventually("the run goes on", async || {
            let seen = lines(&f, "ledger").len();
            if seen >= kills * ELEMENTS / 5 { Ok(()) } else { Err(seen.to_string()) }
        })
        .await;
        worker.kill();
    }
    let _last = WorkerProcess::start(&f);
    let status = ended(&f, &run).await;
    let expected: Vec<String> = (0..ELEMENTS).map(|n| n.to_string()).collect();
    assert_eq!(output(&status), json!(expected), "one result for each element, in the list's order");
    assert_eq!(status.steps[0].succeeded, ELEMENTS as u64);
    let jobs =
        f.list(taskport_abstraction::backend::JobFilter { run: Some(run), ..Default::default() }).await;
    assert_eq!(jobs.len(), ELEMENTS, "one job for each element");
}
