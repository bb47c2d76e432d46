//! What bounds a run and its steps.

use serde_json::{Value, json};
use taskport_abstraction::backend::{Cancellation, StepState};
use taskport_abstraction::{FailureKind, JobState, Outcome};

use super::cases;
use super::workflows::{definition, ended, flow, output, run, start};
use crate::fixture::{Fixture, eventually};

cases! { "workflow":
    a_fan_out_runs_no_more_than_its_bound needs [WorkflowBound, WorkflowFanOut],
    a_step_is_retried_by_its_own_policy needs [WorkflowStepOptions],
    a_step_is_timed_out_by_its_own_limit needs [WorkflowStepOptions],
    a_step_waits_in_its_own_queue needs [WorkflowStepOptions, Queues],
    a_run_ends_at_its_time_limit needs [WorkflowTimeout],
    a_cancelled_run_starts_no_more_steps needs [WorkflowCancel],
    an_ended_run_stays_as_it_is needs [WorkflowCancel],
}

async fn a_fan_out_runs_no_more_than_its_bound(f: Fixture) {
    let _worker = f.worker(8);
    let bounded = flow(json!([{
        "id": "each", "task": "suite.gate", "map": (0..20).collect::<Vec<_>>(), "args": ["g", "$item"], "concurrency": 3,
    }]));
    let run = start(&f, &bounded, Value::Null).await;
    eventually(
        "three run",
        async || {
            if f.stage().peak() == 3 { Ok(()) } else { Err(f.stage().peak().to_string()) }
        },
    )
    .await;
    f.stage().open_gate("g");
    assert_eq!(output(&ended(&f, &run).await).as_array().unwrap().len(), 20);
    assert_eq!(f.stage().peak(), 3);
}

async fn a_step_is_retried_by_its_own_policy(f: Fixture) {
    let _worker = f.worker(1);
    let retried = flow(json!([{
        "id": "a", "task": "suite.fail", "args": ["k", 2, "error"], "retry": {"attempts_max": 3, "backoff": "fixed(10ms)"},
    }]));
    assert_eq!(run(&f, &retried, Value::Null).await, "k");
    assert_eq!(f.stage().starts().len(), 3);
}

async fn a_step_is_timed_out_by_its_own_limit(f: Fixture) {
    let _worker = f.worker(1);
    let limited = flow(json!([{
        "id": "a", "task": "suite.gate", "args": ["never", 1], "timeout": "100ms", "retry": {"attempts_max": 1},
    }]));
    let run = start(&f, &limited, Value::Null).await;
    assert_eq!(ended(&f, &run).await.state, JobState::Failed);
}

async fn a_step_waits_in_its_own_queue(f: Fixture) {
    let _worker = f.worker_of(f.backend(), &["special"], 1);
    let queued = flow(json!([{"id": "a", "task": "suite.echo", "args": [1], "queue": "special"}]));
    assert_eq!(run(&f, &queued, Value::Null).await, 1);
}

async fn a_run_ends_at_its_time_limit(f: Fixture) {
    let _worker = f.worker(2);
    let limited = definition(json!({
        "name": "suite.limited", "timeout": "200ms",
        "steps": [
            {"id": "long", "task": "suite.gate", "args": ["never", 1]},
            {"id": "later", "task": "suite.echo", "args": ["$steps.long.output"]},
        ],
    }));
    let run = start(&f, &limited, Value::Null).await;
    let status = ended(&f, &run).await;
    let Some(Outcome::Failure(failure)) = &status.outcome else { panic!("{status:?}") };
    assert_eq!((status.state, failure.kind), (JobState::Failed, FailureKind::RunTimedOut));
    assert_eq!(f.stage().started(), [1]);
}

async fn a_cancelled_run_starts_no_more_steps(f: Fixture) {
    let _worker = f.worker(2);
    let chain = flow(json!([
        {"id": "hold", "task": "suite.gate", "args": ["never", 1]},
        {"id": "next", "task": "suite.echo", "args": ["$steps.hold.output"]},
    ]));
    let run = start(&f, &chain, Value::Null).await;
    eventually("the first step runs", async || {
        if f.stage().started().is_empty() { Err("nothing".to_owned()) } else { Ok(()) }
    })
    .await;
    assert_ne!(f.workflows().cancel(&run).await.unwrap(), Cancellation::AlreadyEnded(JobState::Cancelled));
    let status = ended(&f, &run).await;
    assert_eq!(status.state, JobState::Cancelled);
    assert!(status.steps.iter().all(|step| step.state == StepState::Cancelled), "{:?}", status.steps);
    assert_eq!(f.stage().started(), [1]);
}

async fn an_ended_run_stays_as_it_is(f: Fixture) {
    let _worker = f.worker(1);
    let one = flow(json!([{"id": "a", "task": "suite.echo", "args": [1]}]));
    let run = start(&f, &one, Value::Null).await;
    ended(&f, &run).await;
    assert_eq!(f.workflows().cancel(&run).await.unwrap(), Cancellation::AlreadyEnded(JobState::Succeeded));
    assert_eq!(output(&ended(&f, &run).await), 1);
}
