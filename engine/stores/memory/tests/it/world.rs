//! An engine, a clock that only the test moves, and a worker that knows a few tasks.

use std::sync::Arc;
use std::time::Duration;

use serde_json::{Value, json};
use taskport_abstraction::backend::{Delivery, RunRequest, RunStatus, Settlement, StepState, Verdict};
use taskport_abstraction::{
    Failure, FailureKind, JobState, Outcome, Payload, QueueName, Result, RunId, Timestamp, WorkflowDefinition,
};
use taskport_engine::{Claim, Committed, Engine, EngineConfig, Store, Transaction};
use taskport_store_memory::MemoryStore;
use taskport_store_sqlite::{SqliteOptions, SqliteStore, Synchronous};

pub(crate) const LEASE: Duration = Duration::from_secs(30);

#[derive(Debug)]
pub(crate) struct World<S: Store> {
    pub(crate) engine: Engine<S>,
    pub(crate) now: Timestamp,
    /// `step[index]` of every attempt, in order.
    pub(crate) attempts: Vec<String>,
}

pub(crate) fn memory() -> World<MemoryStore> {
    World::new(MemoryStore::new())
}

/// A file in a directory that lives as long as the test holds it.
pub(crate) fn sqlite() -> (tempfile::TempDir, World<SqliteStore>) {
    let directory = tempfile::tempdir().unwrap();
    let world = World::new(open(&directory));
    (directory, world)
}

pub(crate) fn open(directory: &tempfile::TempDir) -> SqliteStore {
    let options = SqliteOptions { synchronous: Synchronous::Normal, ..SqliteOptions::default() };
    SqliteStore::open(directory.path().join("engine.db"), options).unwrap()
}

pub(crate) fn definition(steps: Value) -> Arc<WorkflowDefinition> {
    let written = if steps.is_array() { json!({ "steps": steps }) } else { steps };
    let mut written = written;
    written["name"] = json!("w");
    Arc::new(serde_json::from_value(written).unwrap())
}

pub(crate) fn request(id: &str, definition: &Arc<WorkflowDefinition>, input: Value) -> RunRequest {
    let input = Payload::encode(&input).unwrap();
    RunRequest { id: RunId::new(id).unwrap(), definition: definition.clone(), input, trace: None }
}

impl<S: Store> World<S> {
    pub(crate) fn new(store: S) -> Self {
        Self::configured(store, EngineConfig::default())
    }

    pub(crate) fn configured(store: S, config: EngineConfig) -> Self {
        let now = Timestamp::from_micros(1_790_000_000_000_000);
        Self { engine: Engine::open(store, config, now).unwrap(), now, attempts: Vec::new() }
    }

    pub(crate) fn pass(&mut self, time: Duration) {
        self.now = self.now + time;
    }

    pub(crate) fn commit<T>(&mut self, work: impl FnOnce(&mut Transaction<'_, S>) -> T) -> (T, Committed) {
        let mut tx = self.engine.begin(self.now).unwrap();
        tx.tick().unwrap();
        let answer = work(&mut tx);
        (answer, tx.commit().unwrap())
    }

    pub(crate) fn start(
        &mut self,
        id: &str,
        definition: &Arc<WorkflowDefinition>,
        input: Value,
    ) -> Result<RunId> {
        let request = request(id, definition, input);
        self.commit(|tx| tx.start_runs(vec![request])).0.remove(0)
    }

    pub(crate) fn claim(&mut self, max: usize) -> Vec<Delivery> {
        let queues = [QueueName::default_queue()];
        let claim = Claim { worker: "w1", queues: &queues, max, lease_for: LEASE };
        let deliveries = self.commit(|tx| tx.claim(&claim)).0.unwrap();
        self.attempts.extend(deliveries.iter().map(name));
        deliveries
    }

    pub(crate) fn settle(&mut self, deliveries: Vec<Delivery>) -> Vec<Result<()>> {
        let batch: Vec<_> =
            deliveries.into_iter().map(|delivery| settlement(&delivery, work(&delivery))).collect();
        self.commit(|tx| tx.settle(&batch)).0
    }

    /// Works until nothing is left to be claimed, `max` jobs at a time.
    pub(crate) fn drain(&mut self, max: usize) {
        loop {
            let deliveries = self.claim(max);
            let (more, _) = self.commit(|tx| tx.tick().unwrap());
            if deliveries.is_empty() && !more {
                return;
            }
            for answer in self.settle(deliveries) {
                answer.unwrap();
            }
        }
    }

    pub(crate) fn status(&mut self, id: &str) -> RunStatus {
        self.engine.reader().unwrap().run(&RunId::new(id).unwrap()).unwrap().expect("the run is known")
    }

    pub(crate) fn output(&mut self, id: &str) -> Result<Value, String> {
        match self.status(id).outcome.expect("the run has ended") {
            Outcome::Success(output) => Ok(output.decode().unwrap()),
            Outcome::Failure(failure) => Err(failure.to_string()),
        }
    }

    /// The run's state, and of each step its state and `succeeded/failed/total`.
    pub(crate) fn summary(&mut self, id: &str) -> String {
        let status = self.status(id);
        let step = |step: &taskport_abstraction::backend::StepStatus| {
            let state = match step.state {
                StepState::Waiting => "waiting",
                StepState::Running => "running",
                StepState::Succeeded => "succeeded",
                StepState::Failed => "failed",
                StepState::Skipped => "skipped",
                StepState::Cancelled => "cancelled",
            };
            format!("{}:{state}:{}/{}/{}", step.id, step.succeeded, step.failed, step.total)
        };
        let steps: Vec<_> = status.steps.iter().map(step).collect();
        format!("{} {}", status.state, steps.join(" "))
    }

    pub(crate) fn state(&mut self, id: &str) -> JobState {
        self.status(id).state
    }
}

pub(crate) fn name(delivery: &Delivery) -> String {
    let step = delivery.step.as_ref().expect("only steps are run here");
    step.index.map_or_else(|| step.step.to_string(), |index| format!("{}[{index}]", step.step))
}

pub(crate) fn settlement(delivery: &Delivery, verdict: Verdict) -> Settlement {
    Settlement { lease: delivery.lease.clone(), verdict }
}

/// `echo` answers its arguments, `range` a list of that length, `sum` adds a list up, `fail` fails for good, `odd` fails
/// for an odd number, `flaky` fails at its first attempt.
pub(crate) fn work(delivery: &Delivery) -> Verdict {
    let document: Value = delivery.call.arguments.decode().unwrap();
    let argument = &document[0][0];
    let failed = |kind, message: &str| Verdict::Reject(Failure::new(kind, message));
    let answer = match delivery.call.task.as_str() {
        "range" => (0..argument.as_u64().unwrap()).collect(),
        "sum" => json!(argument.as_array().unwrap().iter().filter_map(Value::as_u64).sum::<u64>()),
        "fail" => return failed(FailureKind::Error, "broken"),
        "odd" if argument.as_u64().is_some_and(|number| number % 2 == 1) => {
            return failed(FailureKind::Error, "odd");
        }
        "flaky" if delivery.attempt == 1 => {
            let failure = Failure::new(FailureKind::Error, "the first attempt");
            return Verdict::Retry { failure, after: Some(Duration::ZERO) };
        }
        _ => argument.clone(),
    };
    Verdict::Ack(Payload::encode(&answer).unwrap())
}

/// A list is read, each element worked on, and the results summed up.
pub(crate) fn pipeline() -> Arc<WorkflowDefinition> {
    definition(json!([
        {"id": "scan", "task": "range", "args": ["$input.len"]},
        {"id": "each", "task": "flaky", "map": "$steps.scan.output", "args": ["$item"], "concurrency": 7},
        {"id": "merge", "task": "sum", "args": ["$steps.each.output"]},
    ]))
}
