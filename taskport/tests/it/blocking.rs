//! The API for programs without async.

use taskport::abstraction::codes;
use taskport::blocking::Taskport;
use taskport::prelude::{WithOptions, WorkflowDefinition};
use taskport::{Result, ShutdownController, StepDefinition};

use crate::kit::{PATIENCE, Place, add, fail, tasks};

fn open(place: &Place) -> Result<Taskport> {
    Taskport::build(taskport::Taskport::builder().config(place.config_with("")).registry(tasks()))
}

#[test]
fn a_plain_main_submits_waits_and_works() {
    let place = Place::new();
    let port = open(&place).unwrap();
    let jobs = port.submit_many((0..10).map(|n| add(n, 1))).unwrap();
    let jobs: Vec<_> = jobs.into_iter().map(Result::unwrap).collect();
    let broken = port.submit(fail("no ink".into()).priority(9)).unwrap();

    let controller = ShutdownController::new();
    let (worker, shutdown) = (port.asynchronous().worker(), controller.handle());
    let worker = std::thread::spawn(move || {
        tokio::runtime::Runtime::new().unwrap().block_on(worker.run_until(shutdown)).unwrap()
    });
    let sums: Vec<i64> = port.wait_all(&jobs).unwrap().into_iter().map(Result::unwrap).collect();
    assert_eq!(sums, (1..=10).collect::<Vec<_>>());
    assert_eq!(broken.result_timeout(PATIENCE).unwrap_err().code(), &codes::JOB_FAILED);

    let step =
        StepDefinition::new("s".parse().unwrap(), add::NAME.parse().unwrap()).arg("left", 2).arg("right", 3);
    assert_eq!(port.run::<i64>(&WorkflowDefinition::new("w").step(step), &()).unwrap(), 5);
    controller.drain();
    assert_eq!(worker.join().unwrap().failed, 1);
    port.close().unwrap();
}

#[test]
fn inside_an_async_runtime_it_refuses_instead_of_holding_the_thread() {
    let place = Place::new();
    let outside = open(&place).unwrap();
    tokio::runtime::Runtime::new().unwrap().block_on(async move {
        assert_eq!(open(&place).unwrap_err().code(), &codes::BLOCKING_IN_ASYNC);
        let error = outside.submit(add(1, 1)).unwrap_err();
        assert_eq!(error.code(), &codes::BLOCKING_IN_ASYNC);
        // Dropping the last handle here must not panic either.
        drop(outside);
    });
}
