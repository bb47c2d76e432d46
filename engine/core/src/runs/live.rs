//! Runs kept in memory between transactions.

use std::collections::{BTreeSet, HashMap};
use std::sync::Arc;

use bytes::Bytes;
use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};
use taskport_abstraction::{
    Error, Failure, Payload, Result, RunId, StepId, Timestamp, WorkflowDefinition, codes,
};

use crate::record::{RunRecord, StepRecord};
use crate::store::Store;
use crate::stored;
use crate::workflow::{Plan, Run, StepFacts, StepFailure, Values, id_prefix};

/// The largest number of runs kept.
const RUNS_MAX: usize = 10_000;
/// About how many bytes the runs kept hold at most.
const BYTES_MAX: usize = 256 << 20;
/// The largest number of definitions kept.
const PLANS_MAX: usize = 256;

/// What the engine remembers of runs between transactions. A transaction that comes to nothing must leave an empty one.
#[derive(Debug, Default)]
pub(crate) struct RunCache {
    runs: HashMap<RunId, Live>,
    bytes: usize,
    plans: HashMap<[u8; 32], Arc<Plan>>,
    newest: Option<(Arc<WorkflowDefinition>, Snapshot)>,
    /// Counts the times another process may have changed a run.
    doubts: u64,
    /// Counts the uses of runs, so that the least recent can be told.
    uses: u64,
}

/// A definition in its stored form.
#[derive(Debug, Clone)]
pub(super) struct Snapshot {
    pub(super) plan: Arc<Plan>,
    pub(super) bytes: Bytes,
    pub(super) hash: [u8; 32],
}

impl RunCache {
    /// Has every run compared with the store before it is used again.
    pub(crate) fn doubt(&mut self) {
        self.doubts += 1;
    }

    /// Checks a definition and brings it into its stored form.
    pub(super) fn snapshot(&mut self, definition: &Arc<WorkflowDefinition>) -> Result<Snapshot> {
        if let Some((known, snapshot)) = &self.newest
            && Arc::ptr_eq(known, definition)
        {
            return Ok(snapshot.clone());
        }
        let bytes = Payload::encode(&**definition)?.bytes;
        let hash = Sha256::digest(&bytes).into();
        let plan = match self.plans.get(&hash) {
            Some(plan) => plan.clone(),
            None => self.keep_plan(hash, Plan::new(definition.clone())?),
        };
        let snapshot = Snapshot { plan, bytes, hash };
        self.newest = Some((definition.clone(), snapshot.clone()));
        Ok(snapshot)
    }

    /// The definition a run has stored.
    pub(super) fn plan(&mut self, record: &RunRecord) -> Result<Arc<Plan>> {
        match self.plans.get(&record.definition_hash) {
            Some(plan) => Ok(plan.clone()),
            None => {
                let plan = Plan::new(Arc::new(definition(&record.definition)?))?;
                Ok(self.keep_plan(record.definition_hash, plan))
            }
        }
    }

    fn keep_plan(&mut self, hash: [u8; 32], plan: Plan) -> Arc<Plan> {
        if self.plans.len() >= PLANS_MAX {
            self.plans.clear();
        }
        let plan = Arc::new(plan);
        self.plans.insert(hash, plan.clone());
        plan
    }

    /// Takes a run out, to be changed and put back by [`keep`](Self::keep); and whether it must be compared first.
    pub(super) fn take(&mut self, id: &RunId) -> Option<(Live, bool)> {
        let live = self.runs.remove(id)?;
        self.bytes -= live.weight;
        let doubtful = live.doubts != self.doubts;
        Some((live, doubtful))
    }

    pub(super) fn keep(&mut self, mut live: Live) {
        self.uses += 1;
        live.doubts = self.doubts;
        live.used = self.uses;
        live.weight = live.machine.weight() + live.record.input.len();
        self.bytes += live.weight;
        self.runs.insert(live.record.id.clone(), live);
        if self.runs.len() > RUNS_MAX || self.bytes > BYTES_MAX {
            self.drop_least_recent();
        }
    }

    /// Drops the less recently used half, so that this is rarely done. A single run too large for the cache is dropped
    /// too, and read again when its next job ends.
    fn drop_least_recent(&mut self) {
        let mut uses: Vec<u64> = self.runs.values().map(|live| live.used).collect();
        let middle = uses.len() / 2;
        let (_, middle, _) = uses.select_nth_unstable(middle);
        let middle = *middle;
        self.runs.retain(|_, live| live.used > middle);
        self.bytes = self.runs.values().map(|live| live.weight).sum();
    }
}

/// Reads a definition from its stored form.
pub(super) fn definition(bytes: &[u8]) -> Result<WorkflowDefinition> {
    serde_json::from_slice(bytes).map_err(|source| {
        Error::new(&codes::UNDECODABLE, "read run", "the stored definition cannot be decoded")
            .caused_by(source)
    })
}

/// A run that has not ended.
#[derive(Debug)]
pub(crate) struct Live {
    pub(super) machine: Run,
    /// What the ids of its jobs begin with.
    pub(super) id_prefix: u64,
    /// The run's row without its definition.
    pub(super) record: RunRecord,
    /// The steps whose rows differ.
    changed: BTreeSet<usize>,
    started: HashMap<usize, Timestamp>,
    upstream: HashMap<usize, Arc<[(StepId, u64)]>>,
    doubts: u64,
    used: u64,
    weight: usize,
}

impl Live {
    pub(super) fn new(plan: Arc<Plan>, mut record: RunRecord) -> Self {
        record.definition.clear();
        Self {
            machine: Run::new(plan, record.id.as_str()),
            id_prefix: id_prefix(record.id.as_str()),
            record,
            changed: BTreeSet::new(),
            started: HashMap::new(),
            upstream: HashMap::new(),
            doubts: 0,
            used: 0,
            weight: 0,
        }
    }

    /// Takes over what the store knows.
    pub(super) fn restore(&mut self, mut record: RunRecord, steps: Vec<StepRecord>) {
        record.definition.clear();
        self.record = record;
        for step in steps {
            let place = step.index as usize;
            if let Some(started_at) = step.started_at {
                self.started.insert(place, started_at);
            }
            self.machine.restore(place, facts(&step));
        }
        if self.record.cancel_requested {
            self.machine.restore_cancelled();
        }
    }

    pub(super) fn step_changed(&mut self, place: usize) {
        self.changed.insert(place);
    }

    /// The rows that differ from the store's, with the times they changed.
    pub(super) fn take_changed(&mut self, now: Timestamp) -> Vec<StepRecord> {
        let changed = std::mem::take(&mut self.changed);
        changed.into_iter().map(|place| self.step_record(place, now)).collect()
    }

    fn step_record(&mut self, place: usize, now: Timestamp) -> StepRecord {
        let facts = self.machine.facts(place);
        let ended = facts.state.is_terminal();
        let started_at = (facts.submitted > 0).then(|| *self.started.entry(place).or_insert(now));
        let record = StepRecord {
            index: u32::try_from(place).unwrap_or(u32::MAX),
            state: facts.state,
            total: facts.total.into(),
            submitted: facts.submitted.into(),
            succeeded: facts.succeeded.into(),
            failed: facts.failed.into(),
            started_at,
            finished_at: started_at.filter(|_| ended).map(|_| now),
            data: facts
                .failure
                .as_ref()
                .and_then(|failure| stored::encode(&StoredFailure::from(failure)).ok()),
            version: self.record.version,
        };
        if ended {
            self.started.remove(&place);
            self.upstream.remove(&place);
        }
        record
    }

    /// See [`Run::upstream`]. It is the same for all jobs of a step, whose dependencies have ended.
    pub(super) fn upstream(&mut self, step: &StepId) -> Option<Arc<[(StepId, u64)]>> {
        let place = self.machine.plan().place(step)?;
        let machine = &self.machine;
        Some(self.upstream.entry(place).or_insert_with(|| machine.upstream(place).into()).clone())
    }
}

/// Why a step failed, as it is stored.
#[derive(Serialize, Deserialize)]
struct StoredFailure {
    #[serde(default, skip_serializing_if = "Option::is_none")]
    index: Option<u32>,
    failure: Failure,
}

impl From<&Box<StepFailure>> for StoredFailure {
    fn from(failure: &Box<StepFailure>) -> Self {
        Self { index: failure.index, failure: failure.failure.clone() }
    }
}

/// What the machine knows of a step.
fn facts(step: &StepRecord) -> StepFacts {
    let number = |count: u64| u32::try_from(count).unwrap_or(u32::MAX);
    StepFacts {
        state: step.state,
        total: number(step.total),
        submitted: number(step.submitted),
        succeeded: number(step.succeeded),
        failed: number(step.failed),
        failure: step_failure(step).map(Box::new),
    }
}

/// Why a step failed. One that cannot be read says so in its place.
pub(super) fn step_failure(step: &StepRecord) -> Option<StepFailure> {
    let bytes = step.data.as_ref()?;
    Some(match stored::decode::<StoredFailure>(bytes, "failure") {
        Ok(StoredFailure { index, failure }) => StepFailure { index, failure },
        Err(_) => StepFailure { index: None, failure: stored::failure(bytes) },
    })
}

/// The values of a run, read in its transaction.
pub(super) struct StoredValues<'a, S: Store> {
    pub(super) store: &'a mut S,
    pub(super) run: &'a RunId,
    pub(super) input: &'a Payload,
    pub(super) plan: Arc<Plan>,
}

impl<S: Store> Values for StoredValues<'_, S> {
    fn input(&mut self) -> Result<Payload> {
        Ok(self.input.clone())
    }

    fn results(&mut self, step: usize, from: u32, count: u32) -> Result<Vec<Option<Payload>>> {
        let id = &self.plan.definition().steps[step].id;
        super::read::results(self.store, self.run, id, from, count)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_stored_form_of_a_definition_does_not_drift() {
        // A repeated start is compared by the hash of this text, also with a run that an older program started.
        let written = concat!(
            r#"{"version":1,"name":"w","timeout":"1m","steps":[{"id":"a","task":"t"},"#,
            r#"{"id":"b","task":"t","args":{"x":"$item"},"map":"$steps.a.output","concurrency":2,"after":["a"],"#,
            r#""when":"input.on","on_failure":"continue","queue":"q","timeout":"5s"}],"output":"$steps.b.output"}"#,
        );
        let definition = Arc::new(definition(written.as_bytes()).unwrap());
        let snapshot = RunCache::default().snapshot(&definition).unwrap();
        assert_eq!(std::str::from_utf8(&snapshot.bytes).unwrap(), written);
        assert_eq!(snapshot.hash, <[u8; 32]>::from(Sha256::digest(written)));
    }

    #[test]
    fn a_definition_of_another_version_is_refused_with_its_version() {
        let newer = br#"{"version":2,"name":"w","steps":[{"id":"a","task":"t"}]}"#;
        let error = Plan::new(Arc::new(definition(newer).unwrap())).unwrap_err();
        assert!(error.message().contains("version 2 of the form is unknown"), "{error}");
    }

    #[test]
    fn the_cache_drops_what_was_used_least_recently() {
        let steps = r#"{"name":"w","steps":[{"id":"a","task":"t"}]}"#;
        let mut cache = RunCache::default();
        let snapshot = cache.snapshot(&Arc::new(definition(steps.as_bytes()).unwrap())).unwrap();
        let id = |number: usize| RunId::new(format!("r{number}")).unwrap();
        for number in 0..=RUNS_MAX {
            cache.keep(Live::new(snapshot.plan.clone(), record(id(number))));
        }
        assert!(cache.runs.len() <= RUNS_MAX / 2 + 1);
        assert!(cache.take(&id(0)).is_none());
        let (live, doubtful) = cache.take(&id(RUNS_MAX)).unwrap();
        assert!(!doubtful);
        cache.keep(live);
        cache.doubt();
        assert!(cache.take(&id(RUNS_MAX)).unwrap().1);
        assert_eq!(cache.bytes, cache.runs.values().map(|live| live.weight).sum::<usize>());
    }

    fn record(id: RunId) -> RunRecord {
        RunRecord {
            seq: 0,
            id,
            workflow: "w".into(),
            definition: Bytes::new(),
            definition_hash: [0; 32],
            input: Payload::json("null"),
            trace: None,
            state: taskport_abstraction::JobState::Running,
            cancel_requested: false,
            started_at: Timestamp::default(),
            deadline: None,
            due_at: None,
            version: 0,
            finished_at: None,
            output: None,
            failure: None,
        }
    }
}
