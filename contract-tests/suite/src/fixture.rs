//! What a case works with: a backend of its own, workers, and waiting without sleeping.

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use futures_util::StreamExt;
use taskport_abstraction::backend::{
    Admin, JobFilter, PageRequest, Receipt, Scope, Submission, WorkerReport,
};
use taskport_abstraction::backend::{Worker, WorkerSpec, Workflows};
use taskport_abstraction::id::IdGenerator;
use taskport_abstraction::outbox::{EnqueueStatement, Transactional};
use taskport_abstraction::{
    Backend, BackendName, Capability, Clock, Error, Executor, IntoCall, JobId, JobState, JobStatus, Outcome,
    QueueName, Result, SystemClock, async_trait,
};
use taskport_worker::shutdown::ShutdownController;

use crate::kit::Stage;

/// Opens backends for the suite. Each space is a world of its own, such as one database.
#[async_trait]
pub trait Factory: Send + Sync {
    /// The name of this variant of the backend, such as `sqlite`.
    fn label(&self) -> &str;

    /// A handle on the jobs of `space`, which is a path inside a folder of the case's. Opened twice, it gives two
    /// handles on the same jobs, also from another process where the backend serves several.
    async fn open(&self, space: &str) -> Result<Arc<dyn Backend>>;

    /// Runs statements in one transaction of a user's own on the database of `space`, then commits or rolls back. Asked
    /// only of a backend that supports `transactional_enqueue`.
    ///
    /// # Errors
    /// What the database says.
    fn transact(&self, space: &str, statements: &[EnqueueStatement], commit: bool) -> Result<(), String>;
}

impl fmt::Debug for dyn Factory {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.label())
    }
}

/// A backend of a case's own, and what the case needs around it.
#[derive(Debug)]
pub struct Fixture {
    factory: Arc<dyn Factory>,
    folder: tempfile::TempDir,
    backend: Arc<dyn Backend>,
    stage: Arc<Stage>,
    ids: IdGenerator,
}

/// How long a case waits for what must come.
pub(crate) const DEADLINE: Duration = Duration::from_secs(20);
/// The lease of the suite's workers, short so that rescue is quick.
pub(crate) const LEASE: Duration = Duration::from_millis(1_500);

impl Fixture {
    pub(crate) async fn open(factory: Arc<dyn Factory>) -> Result<Self> {
        let folder = tempfile::tempdir().unwrap();
        let backend = factory.open(&space(&folder)).await?;
        let seed = u64::from(std::process::id()) ^ (Arc::as_ptr(&backend).cast::<()>() as u64);
        Ok(Self { factory, folder, backend, stage: Arc::new(Stage::default()), ids: IdGenerator::new(seed) })
    }

    /// The backend under test.
    pub fn backend(&self) -> &Arc<dyn Backend> {
        &self.backend
    }

    pub(crate) fn factory_label(&self) -> &str {
        self.factory.label()
    }

    pub(crate) fn space(&self) -> String {
        space(&self.folder)
    }

    pub(crate) fn path(&self, name: &str) -> std::path::PathBuf {
        self.folder.path().join(name)
    }

    pub(crate) fn stage(&self) -> &Arc<Stage> {
        &self.stage
    }

    pub(crate) fn capability(&self) -> Arc<Capability> {
        self.backend.capabilities(Scope::default())
    }

    pub(crate) fn admin(&self) -> &dyn Admin {
        self.backend.admin().unwrap()
    }

    pub(crate) fn workflows(&self) -> &dyn Workflows {
        self.backend.workflows().unwrap()
    }

    /// Another handle on the same jobs.
    pub(crate) async fn second_handle(&self) -> Arc<dyn Backend> {
        self.factory.open(&self.space()).await.unwrap()
    }

    /// Closes the backend and opens it again, as a restarted program does.
    pub(crate) async fn restart(&mut self) {
        self.backend.close().await.unwrap();
        self.backend = self.factory.open(&self.space()).await.unwrap();
    }

    /// Submitting within the user's own transaction.
    pub(crate) fn transactional(&self) -> &dyn Transactional {
        self.backend.transactional().unwrap()
    }

    /// The statement that submits a call, for another backend where one is named, and the job's id.
    pub(crate) fn statement(&self, call: impl IntoCall, target: Option<&str>) -> (JobId, EnqueueStatement) {
        let submission = self.submission(call);
        let target = target.map(|name| BackendName::new(name).unwrap());
        let statement = self.transactional().enqueue_statement(&submission, target.as_ref()).unwrap();
        (submission.id, statement)
    }

    /// Runs statements in one transaction of a user's own and commits it.
    pub(crate) fn commit(&self, statements: &[EnqueueStatement]) {
        self.factory.transact(&self.space(), statements, true).unwrap();
    }

    /// Runs statements in one transaction of a user's own and rolls it back.
    pub(crate) fn roll_back(&self, statements: &[EnqueueStatement]) {
        self.factory.transact(&self.space(), statements, false).unwrap();
    }

    /// A backend with jobs of its own.
    pub(crate) async fn another_backend(&self) -> Arc<dyn Backend> {
        self.factory.open(&self.path("another").to_string_lossy()).await.unwrap()
    }

    pub(crate) fn new_id(&self) -> JobId {
        self.ids.job_id(SystemClock.now())
    }

    pub(crate) fn new_run_id(&self) -> taskport_abstraction::RunId {
        self.ids.run_id(SystemClock.now())
    }

    pub(crate) fn submission(&self, call: impl IntoCall) -> Submission {
        let (id, call, options) = call.into_call().into_raw().unwrap();
        Submission { id: id.unwrap_or_else(|| self.new_id()), call, options }
    }

    pub(crate) async fn try_submit(&self, call: impl IntoCall) -> Result<Receipt> {
        let batch = vec![self.submission(call)];
        let mut results = self.backend.submit(batch).await;
        assert_eq!(results.len(), 1, "one result for each job");
        results.remove(0)
    }

    pub(crate) async fn submit(&self, call: impl IntoCall) -> JobId {
        self.try_submit(call).await.unwrap().job.id
    }

    pub(crate) async fn submit_all<C: IntoCall>(
        &self,
        calls: impl IntoIterator<Item = C>,
    ) -> Vec<Result<Receipt>> {
        let batch: Vec<Submission> = calls.into_iter().map(|call| self.submission(call)).collect();
        let len = batch.len();
        let results = self.backend.submit(batch).await;
        assert_eq!(results.len(), len, "one result for each job");
        results
    }

    pub(crate) async fn status(&self, id: &JobId) -> JobStatus {
        self.find(id).await.unwrap_or_else(|| panic!("{id} is not known"))
    }

    pub(crate) async fn find(&self, id: &JobId) -> Option<JobStatus> {
        self.backend.get(std::slice::from_ref(id)).await.unwrap().remove(0)
    }

    /// The outcome of a job, which must come within the deadline.
    pub(crate) async fn outcome(&self, id: &JobId) -> Outcome {
        self.try_outcome(id).await.unwrap()
    }

    pub(crate) async fn try_outcome(&self, id: &JobId) -> Result<Outcome> {
        let mut stream = self.backend.wait(vec![id.clone()]);
        match tokio::time::timeout(DEADLINE, stream.next()).await {
            Ok(Some((ended, outcome))) => {
                assert_eq!(&ended, id);
                outcome
            }
            Ok(None) => panic!("the stream ended without {id}"),
            Err(_) => panic!("{id} did not end in time; it is {:?}", self.find(id).await),
        }
    }

    /// The result of a job, which must succeed.
    pub(crate) async fn result<T: serde::de::DeserializeOwned>(&self, id: &JobId) -> T {
        match self.outcome(id).await {
            Outcome::Success(payload) => payload.decode().unwrap(),
            Outcome::Failure(failure) => panic!("{id} failed: {failure}"),
        }
    }

    /// The failure of a job, which must not succeed.
    pub(crate) async fn failure(&self, id: &JobId) -> taskport_abstraction::Failure {
        match self.outcome(id).await {
            Outcome::Failure(failure) => failure,
            Outcome::Success(payload) => panic!("{id} succeeded with {payload:?}"),
        }
    }

    pub(crate) async fn until_state(&self, id: &JobId, state: JobState) -> JobStatus {
        eventually(&format!("{id} is {state}"), async || {
            let status = self.status(id).await;
            if status.state == state { Ok(status) } else { Err(format!("{:?}", status.state)) }
        })
        .await
    }

    pub(crate) async fn list(&self, filter: JobFilter) -> Vec<JobStatus> {
        let mut all = Vec::new();
        let mut after = None;
        loop {
            let page = self.admin().jobs(filter.clone(), PageRequest { after, len: 100 }).await.unwrap();
            all.extend(page.items);
            match page.next {
                Some(next) => after = Some(next),
                None => return all,
            }
        }
    }

    /// A worker of the default queue with `concurrency` slots.
    pub(crate) fn worker(&self, concurrency: usize) -> RunningWorker {
        self.worker_of(&self.backend, &["default"], concurrency)
    }

    pub(crate) fn worker_of(
        &self,
        backend: &Arc<dyn Backend>,
        queues: &[&str],
        concurrency: usize,
    ) -> RunningWorker {
        let mut spec = spec(&format!("worker-{}", self.new_id()), queues, concurrency);
        spec.tasks = self.stage.registry().tasks().map(|task| task.name.clone()).collect();
        RunningWorker::start(backend.worker(spec).unwrap(), self.stage.executor())
    }
}

fn space(folder: &tempfile::TempDir) -> String {
    folder.path().join("space").to_string_lossy().into_owned()
}

/// What the suite's workers are to serve.
pub(crate) fn spec(name: &str, queues: &[&str], concurrency: usize) -> WorkerSpec {
    WorkerSpec {
        name: name.into(),
        queues: queues.iter().map(|queue| QueueName::new(*queue).unwrap()).collect(),
        tasks: Vec::new(),
        concurrency,
        prefetch: 0,
        lease_for: LEASE,
        grace: Duration::from_secs(5),
    }
}

/// A worker in this process.
#[derive(Debug)]
pub(crate) struct RunningWorker {
    shutdown: ShutdownController,
    running: tokio::task::JoinHandle<Result<WorkerReport>>,
}

impl RunningWorker {
    pub(crate) fn start(worker: Box<dyn Worker>, executor: Arc<dyn Executor>) -> Self {
        let shutdown = ShutdownController::new();
        let running = tokio::spawn(worker.run(executor, shutdown.handle()));
        Self { shutdown, running }
    }

    /// Asks the worker to take no more.
    pub(crate) fn begin_drain(&self) {
        self.shutdown.drain();
    }

    /// Drains the worker and returns what it did.
    pub(crate) async fn drain(self) -> WorkerReport {
        self.shutdown.drain();
        self.ended().await
    }

    /// Stops the worker at once.
    pub(crate) async fn abort(self) -> WorkerReport {
        self.shutdown.abort();
        self.ended().await
    }

    async fn ended(self) -> WorkerReport {
        tokio::time::timeout(DEADLINE, self.running).await.unwrap().unwrap().unwrap()
    }
}

/// Asks again and again until `probe` is content, and says what it saw last where the deadline passes.
pub(crate) async fn eventually<T>(what: &str, mut probe: impl AsyncFnMut() -> Result<T, String>) -> T {
    let deadline = tokio::time::Instant::now() + DEADLINE;
    let mut pause = Duration::from_millis(1);
    loop {
        match probe().await {
            Ok(value) => return value,
            Err(seen) if tokio::time::Instant::now() > deadline => panic!("never: {what}; last seen: {seen}"),
            Err(_) => tokio::time::sleep(pause).await,
        }
        pause = (pause * 2).min(Duration::from_millis(50));
    }
}

/// The error of a result that must be one.
pub(crate) fn refused<T: fmt::Debug>(result: Result<T>) -> Error {
    result.unwrap_err()
}
