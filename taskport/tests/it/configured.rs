//! Tasks and workflows that only the configuration knows.

use serde_json::{Value, json};
use taskport::abstraction::codes;
use taskport::prelude::*;
use taskport::{Call, FailureKind};

use crate::kit::{PATIENCE, Place, start};

#[tokio::test]
async fn a_command_declared_in_the_file_runs_with_its_arguments_on_standard_input() {
    let place = Place::new();
    let port = place
        .open_with(
            "[tasks.shout]\nkind = \"exec\"\ncommand = [\"tr\", \"a-z\", \"A-Z\"]\noutput = \"json\"\n",
        )
        .await;
    let worker = start(port.worker());
    let call = Call::dynamic::<Value>("shout", &[], &[("name".into(), json!("ada"))]);
    let result = port.submit(call).await.unwrap().result_timeout(PATIENCE).await.unwrap();
    assert_eq!(result, json!({"NAME": "ADA"}));
    worker.stop().await;
}

#[tokio::test]
async fn a_command_that_fails_is_a_failed_job() {
    let place = Place::new();
    let port = place
        .open_with("[tasks.no]\nkind = \"exec\"\ncommand = \"echo sorry >&2; exit 3\"\nshell = true\nmax_attempts = 1\n")
        .await;
    let worker = start(port.worker());
    let job = port.submit(Call::dynamic::<Value>("no", &[], &[])).await.unwrap();
    let error = job.result_timeout(PATIENCE).await.unwrap_err();
    assert_eq!(error.code(), &codes::JOB_FAILED);
    assert!(format!("{error:?}").contains("sorry"), "{error:?}");
    assert_ne!(error.failure().unwrap().kind, FailureKind::Fatal);
    worker.stop().await;
}

#[tokio::test]
async fn workflow_files_of_the_configuration_are_registered_and_checked() {
    let place = Place::new();
    let flows = place.path().join("flows");
    std::fs::create_dir(&flows).unwrap();
    std::fs::write(
        flows.join("sum.yaml"),
        "name: sum\nsteps:\n  - {id: a, task: add, args: [$input.x, 1]}\n  - {id: b, task: add, args: [$steps.a.output, 10]}\n",
    )
    .unwrap();
    let port = place.open_with("[workflows]\nfiles = [\"flows/*.yaml\"]\n").await;
    let worker = start(port.worker());
    let run = port.run("sum", &json!({"x": 5})).await.unwrap();
    assert_eq!(run.wait_timeout::<i64>(PATIENCE).await.unwrap(), 16);
    worker.stop().await;
    port.close().await.unwrap();

    std::fs::write(flows.join("wrong.yaml"), "name: wrong\nsteps:\n  - {id: a, task: ad}\n").unwrap();
    let file = place.path().join("taskport.toml");
    let error = Taskport::open(file, crate::kit::tasks()).await.unwrap_err();
    assert_eq!(error.code(), &codes::BAD_WORKFLOW);
    assert!(error.to_string().contains("did you mean `add`?"), "{error}");
}
