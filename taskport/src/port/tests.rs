//! What a backend is asked, seen by one that only keeps count.

use std::sync::Mutex;

use futures_util::stream::{self, BoxStream};
use serde_json::Value;
use taskport_abstraction::backend::{Cancellation, Health, Scope, Worker, WorkerSpec, Workflows};
use taskport_abstraction::batch::Batches;
use taskport_abstraction::journal::Journal;
use taskport_abstraction::maintenance::Maintenance;
use taskport_abstraction::options::Priority;
use taskport_abstraction::outbox::Transactional;
use taskport_abstraction::schedule::Schedules;
use taskport_abstraction::task::Location;
use taskport_abstraction::{
    Call, Capability, JobOptions, JobStatus, Outcome, Retry, SystemClock, TaskDefinition, WithOptions,
    async_trait,
};

use super::*;
use crate::config::Config;

/// Takes jobs two at a time and remembers them; takes no `lost` without doubt.
#[derive(Debug)]
struct Recorder {
    name: BackendName,
    batches: Mutex<Vec<Vec<String>>>,
}

#[async_trait]
impl Backend for Recorder {
    fn name(&self) -> &BackendName {
        &self.name
    }

    fn kind(&self) -> &'static str {
        "recorder"
    }

    fn capabilities(&self, _: Scope<'_>) -> Arc<Capability> {
        Arc::new(Capability { submit_batch_max: Some(2), payload_bytes_max: None, ..Capability::NONE })
    }

    async fn submit(&self, batch: Vec<Submission>) -> Vec<Result<Receipt>> {
        let ids = batch.iter().map(|submission| submission.id.to_string()).collect();
        self.batches.lock().unwrap().push(ids);
        let answer = |submission: Submission| {
            if submission.call.task.as_str() == "lost" {
                return Err(Error::new(&codes::STORE_IO, "submit", "the line broke").maybe_applied());
            }
            let job = JobRef { backend: self.name.clone(), id: submission.id };
            Ok(Receipt { job, existing: false })
        };
        batch.into_iter().map(answer).collect()
    }

    async fn get(&self, ids: &[JobId]) -> Result<Vec<Option<JobStatus>>> {
        Ok(ids.iter().map(|_| None).collect())
    }

    fn wait(&self, _: Vec<JobId>) -> BoxStream<'static, (JobId, Result<Outcome>)> {
        Box::pin(stream::empty())
    }

    async fn cancel(&self, _: &[JobId]) -> Vec<Result<Cancellation>> {
        Vec::new()
    }

    fn worker(&self, _: WorkerSpec) -> Result<Box<dyn Worker>> {
        Err(Error::new(&codes::UNSUPPORTED, "work", "it only keeps count"))
    }

    fn workflows(&self) -> Option<&dyn Workflows> {
        None
    }

    fn admin(&self) -> Option<&dyn Admin> {
        None
    }

    fn schedules(&self) -> Option<&dyn Schedules> {
        None
    }

    fn batches(&self) -> Option<&dyn Batches> {
        None
    }

    fn journal(&self) -> Option<&dyn Journal> {
        None
    }

    fn transactional(&self) -> Option<&dyn Transactional> {
        None
    }

    fn maintenance(&self) -> Option<&dyn Maintenance> {
        None
    }

    async fn health(&self) -> Result<Health> {
        Ok(Health { version: String::new(), degraded: Vec::new() })
    }

    async fn close(&self) -> Result<()> {
        Ok(())
    }
}

fn recorded(on_unsupported: OnUnsupported) -> (Arc<Recorder>, Taskport) {
    let name = BackendName::new("main").unwrap();
    let recorder = Arc::new(Recorder { name: name.clone(), batches: Mutex::default() });
    let here = || Location { file: "tests".into(), line: 1 };
    let registry = ["fine", "lost"]
        .map(|name| TaskDefinition {
            extra_arguments: true,
            ..TaskDefinition::new(name.parse().unwrap(), here())
        })
        .into_iter()
        .fold(Registry::builder(), RegistryBuilder::task)
        .build()
        .unwrap();
    let open = OpenBackend { backend: recorder.clone(), on_unsupported, warned: prepare::Warned::default() };
    let inner = Inner {
        registry,
        loaded: Loaded::from(Config::default()),
        backends: BTreeMap::from([(name.clone(), open)]),
        default: name,
        ids: IdGenerator::new(1),
        clock: Arc::new(SystemClock),
        host: "here".into(),
        telemetry: Telemetry::new(Arc::new(SystemClock)),
    };
    (recorder, Taskport { inner: Arc::new(inner), parentage: None })
}

fn call(task: &str) -> Call {
    Call::dynamic::<Value>(task, &[], &[])
}

#[tokio::test]
async fn a_batch_costs_as_few_requests_as_the_backend_allows() {
    let (recorder, port) = recorded(OnUnsupported::Error);
    let jobs = port.submit_many(["fine", "none", "fine", "fine", "fine", "fine"].map(call)).await;
    let ids: Vec<String> = jobs.iter().flatten().map(|job| job.id().to_string()).collect();
    assert_eq!(jobs[1].as_ref().unwrap_err().code(), &codes::UNKNOWN_TASK);
    let batches = recorder.batches.lock().unwrap().clone();
    assert_eq!(batches.iter().map(Vec::len).collect::<Vec<_>>(), [2, 2, 1]);
    assert_eq!(batches.concat(), ids, "in order");
    assert!(port.submit_many(std::iter::empty::<Call>()).await.is_empty());
    assert_eq!(recorder.batches.lock().unwrap().len(), 3);
}

#[tokio::test]
async fn a_submit_in_doubt_says_how_to_repeat_it() {
    let (recorder, port) = recorded(OnUnsupported::Error);
    let error = port.submit(call("lost")).await.unwrap_err();
    assert_eq!(error.certainty(), Certainty::MaybeApplied);
    assert_ne!(error.retry(), Retry::Never);
    let id = recorder.batches.lock().unwrap()[0][0].clone();
    assert!(error.remedy().unwrap().contains(&id), "{error:?}");
    port.submit(call("fine").id(id.parse().unwrap())).await.unwrap();
    assert_eq!(recorder.batches.lock().unwrap()[1], [id]);
}

#[tokio::test]
async fn every_option_is_refused_by_a_backend_that_can_nothing_and_left_out_where_it_only_warns() {
    let second = std::time::Duration::from_secs(1);
    let asking = || {
        [
            call("fine").priority(1),
            call("fine").delay(second),
            call("fine").expires_in(second),
            call("fine").timeout(second),
            call("fine").soft_timeout(second),
            call("fine").max_attempts(3),
            call("fine").idempotency_key("k"),
            call("fine").ordering_key("k"),
            call("fine").concurrency_key("k", 1),
            call("fine").rate_limit("k", 1, second),
            call("fine").fair_key("k", 1),
            call("fine").throttle("k", second),
            call("fine").tag("t"),
            call("fine").metadata("k", "v"),
            call("fine").parent("p".parse().unwrap()),
            call("fine").trace("00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01"),
        ]
    };
    let (recorder, strict) = recorded(OnUnsupported::Error);
    for call in asking() {
        let error = strict.submit(call.clone()).await.unwrap_err();
        assert_eq!(error.code(), &codes::UNSUPPORTED, "{call:?}");
        assert!(error.remedy().unwrap().starts_with("instead: "), "{error:?}");
        assert_eq!(error.backend().unwrap().as_str(), "main");
    }
    assert!(recorder.batches.lock().unwrap().is_empty());
    let (_, lenient) = recorded(OnUnsupported::Warn);
    for call in asking() {
        assert!(lenient.submit(call.clone()).await.is_ok(), "{call:?}");
    }
}

#[test]
fn a_task_that_asks_for_what_the_backend_cannot_give_stops_the_start() {
    let definition = TaskDefinition {
        options: JobOptions { priority: Some(Priority::MAX), ..JobOptions::default() },
        ..TaskDefinition::new("urgent".parse().unwrap(), Location { file: "src/x.rs".into(), line: 3 })
    };
    let registry = Registry::builder().task(definition).build().unwrap();
    let name = BackendName::new("main").unwrap();
    let check = |on_unsupported| {
        super::start_check::check_registry(&registry, &name, on_unsupported, |_| Arc::new(Capability::NONE))
    };
    let problems = check(OnUnsupported::Error);
    let [problem] = &problems[..] else { panic!("{problems:?}") };
    assert!(problem.to_string().contains("`urgent`"), "{problem}");
    assert!(problem.to_string().contains("src/x.rs:3"), "{problem}");
    assert!(check(OnUnsupported::Warn).is_empty());
}

#[tokio::test]
async fn what_the_backend_leaves_open_is_an_error_not_a_wait_without_end() {
    let (_, port) = recorded(OnUnsupported::Error);
    let job = port.submit(call("fine")).await.unwrap();
    assert_eq!(job.result().await.unwrap_err().code(), &codes::CLOSED);
    assert_eq!(job.cancel().await.unwrap_err().code(), &codes::JOB_NOT_FOUND);
    assert_eq!(job.retry().await.unwrap_err().code(), &codes::UNSUPPORTED);
    assert_eq!(port.run("none", &()).await.unwrap_err().code(), &codes::UNKNOWN_WORKFLOW);
}
