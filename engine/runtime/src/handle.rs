//! The engine as its callers see it.

use std::sync::Arc;
use std::thread;
use std::time::Duration;

use futures_util::stream::{self, Stream};
use taskport_abstraction::backend::{
    Cancellation, Delivery, Extended, Extension, JobFilter, Lease, Page, PageRequest, QueueLimits,
    QueueOrder, QueueStats, RunFilter, RunRequest, RunStatus, Settlement, Verdict, WorkerLoad, WorkerStatus,
};
use taskport_abstraction::batch::{BatchRequest, BatchStatus};
use taskport_abstraction::{
    BatchId, Clock, Error, Failure, JobId, JobStatus, Outcome, Payload, QueueName, Result, RunId, StepId,
    Timestamp, codes,
};
use taskport_engine::{Engine, EngineConfig, Enqueued, NewJob, NewWorker, Store};
use tokio::sync::{mpsc, oneshot, watch};

use crate::letter::{ClaimRequest, Claimer, Letter, ask};
use crate::looker;
use crate::mailbox::weigh;
use crate::shared::Shared;
use crate::upstream::deliver;
use crate::verbs::{Look, Write};
use crate::waiting::Waiting;
use crate::writer::Writer;

/// What a step of a definition weighs in the mailbox, in bytes.
const STEP_BYTES: usize = 256;
/// What a note weighs besides its text, in bytes.
const NOTE_BYTES: usize = 128;

/// The engine on its own threads: the low-level API.
///
/// Every call that changes something is part of the next transaction of the writer thread, together with whatever
/// else waits, and is answered once that is durable. Clones speak to the same engine; when the last one is dropped,
/// the engine finishes what it has accepted and ends.
///
/// # Errors
/// Besides those of each call: `Unavailable` (E-030) after [`close`](Self::close), and the store's, whose certainty says
/// whether the call may have been applied.
///
/// # Cancel safety
/// A call whose future is dropped may or may not be applied, but for [`claim`](Self::claim), which hands back.
#[derive(Debug, Clone)]
pub struct EngineHandle(Arc<Owner>);

/// Closes the engine when the last handle goes.
#[derive(Debug)]
struct Owner {
    shared: Arc<Shared>,
    clock: Arc<dyn Clock>,
}

impl Drop for Owner {
    fn drop(&mut self) {
        self.shared.letters.close();
    }
}

impl EngineHandle {
    /// Opens a store and starts the engine's threads.
    ///
    /// # Errors
    /// Those of the store; `Internal` where the operating system refuses a thread.
    pub async fn open<S: Store>(
        open: impl FnOnce() -> Result<S> + Send + 'static,
        config: EngineConfig,
        clock: Arc<dyn Clock>,
    ) -> Result<Self> {
        let shared = Arc::new(Shared::new());
        let (reply, opened) = oneshot::channel();
        let owner = Arc::new(Owner { shared: shared.clone(), clock: clock.clone() });
        spawn("taskport-engine", move || {
            let end = EndOfWriter(&shared);
            match start(open, config, clock, &shared) {
                Ok(writer) => {
                    if reply.send(Ok(())).is_ok() {
                        writer.run();
                    }
                }
                Err(error) => drop(reply.send(Err(error))),
            }
            drop(end);
        })?;
        opened.await.unwrap_or_else(|_| Err(defect("open")))?;
        Ok(Self(owner))
    }

    /// Takes jobs, each with a result in order.
    ///
    /// # Delivery
    /// After `Ok` the job is durable (I2). A repeated id is the same job.
    pub async fn enqueue(&self, jobs: Vec<NewJob>) -> Vec<Result<Enqueued>> {
        let count = jobs.len();
        let bytes = jobs.iter().map(|job| job.call.arguments.len()).sum();
        self.each("submit", count, bytes, move |write| write.enqueue(jobs)).await
    }

    /// Waits for ready jobs and leases them. Returns none where the engine is closed.
    ///
    /// # Cancel safety
    /// Jobs leased for a dropped future are handed back at once, without using up an attempt.
    pub async fn claim(&self, request: &ClaimRequest) -> Result<Vec<Delivery>> {
        let (reply, answer) = oneshot::channel();
        let claimer = Claimer { request: request.clone(), reply };
        self.0.shared.letters.send("claim", Letter::Claim(claimer), weigh(0, 0)).await?;
        match answer.await {
            Ok(grant) => Ok(grant?.accept().into_iter().map(|leased| deliver(self, leased)).collect()),
            Err(_) => Err(self.lost("claim").await),
        }
    }

    /// Closes attempts, each with a result in order. After `Ok` the outcome is durable (I1).
    ///
    /// # Errors
    /// `LeaseLost` (E-010) where the lease has passed on (I3).
    pub async fn settle(&self, batch: Vec<Settlement>) -> Vec<Result<()>> {
        let size = |settlement: &Settlement| match &settlement.verdict {
            Verdict::Ack(result) => result.len(),
            _ => 0,
        };
        let (count, bytes) = (batch.len(), batch.iter().map(size).sum());
        self.each("settle", count, bytes, move |write| write.settle(&batch)).await
    }

    /// Closes an attempt: done, with this result.
    ///
    /// # Errors
    /// As [`settle`](Self::settle).
    pub async fn ack(&self, lease: Lease, result: Payload) -> Result<()> {
        self.settle_one(lease, Verdict::Ack(result)).await
    }

    /// Closes an attempt: failed; again after `after` or by the policy, unless the attempts are used up.
    ///
    /// # Errors
    /// As [`settle`](Self::settle).
    pub async fn retry(&self, lease: Lease, failure: Failure, after: Option<Duration>) -> Result<()> {
        self.settle_one(lease, Verdict::Retry { failure, after }).await
    }

    /// Closes an attempt: failed for good, to the dead letters.
    ///
    /// # Errors
    /// As [`settle`](Self::settle).
    pub async fn reject(&self, lease: Lease, failure: Failure) -> Result<()> {
        self.settle_one(lease, Verdict::Reject(failure)).await
    }

    /// Hands a job back without using up the attempt.
    ///
    /// # Errors
    /// As [`settle`](Self::settle).
    pub async fn release(&self, lease: Lease) -> Result<()> {
        self.settle_one(lease, Verdict::Release).await
    }

    /// Extends leases to `lease_for` from now and keeps progress and notes, each with a result in order.
    ///
    /// # Errors
    /// `LeaseLost` (E-010) where the lease has passed on.
    pub async fn extend(&self, batch: Vec<Extension>, lease_for: Duration) -> Vec<Result<Extended>> {
        let notes = batch.iter().flat_map(|extension| &extension.notes);
        let bytes = notes.map(|note| NOTE_BYTES + note.note.bytes()).sum();
        self.each("extend", batch.len(), bytes, move |write| write.extend(&batch, lease_for)).await
    }

    /// Asks for jobs to end without a result, each with a result in order.
    ///
    /// # Errors
    /// `NotFound` (E-007).
    pub async fn cancel(&self, ids: Vec<JobId>) -> Vec<Result<Cancellation>> {
        self.each("cancel", ids.len(), 0, move |write| write.cancel(&ids)).await
    }

    /// Runs failed, cancelled and expired jobs again with fresh attempts, each with a result in order.
    ///
    /// # Errors
    /// `NotFound` (E-007), `Conflict` (E-008).
    pub async fn requeue(&self, ids: Vec<JobId>) -> Vec<Result<()>> {
        self.each("requeue", ids.len(), 0, move |write| write.requeue(&ids)).await
    }

    /// Deletes ended jobs, each with a result in order.
    ///
    /// # Errors
    /// `NotFound` (E-007), `Conflict` (E-008).
    pub async fn delete(&self, ids: Vec<JobId>) -> Vec<Result<()>> {
        self.each("delete", ids.len(), 0, move |write| write.delete(&ids)).await
    }

    /// Deletes a queue's waiting jobs and returns how many; each counts as cancelled.
    ///
    /// # Errors
    /// `NotFound` (E-035).
    pub async fn purge(&self, queue: QueueName) -> Result<u64> {
        self.write("purge", move |write| write.purge(&queue)).await
    }

    /// Stops handing out a queue's jobs. What runs goes on.
    ///
    /// # Errors
    /// Those of the store.
    pub async fn pause(&self, queue: QueueName, reason: Option<String>) -> Result<()> {
        self.write("pause", move |write| write.pause(&queue, reason.as_deref())).await
    }

    /// Hands out a queue's jobs again.
    ///
    /// # Errors
    /// `NotFound` (E-035).
    pub async fn resume(&self, queue: QueueName) -> Result<()> {
        self.write("resume", move |write| write.resume(&queue)).await
    }

    /// Sets the order in which a queue's jobs start, for those that wait too.
    ///
    /// # Errors
    /// Those of the store.
    pub async fn set_order(&self, queue: QueueName, order: QueueOrder) -> Result<()> {
        self.write("set order", move |write| write.set_order(&queue, order)).await
    }

    /// Sets what bounds a queue besides its workers, for those that wait too.
    ///
    /// # Errors
    /// `InvalidInput` (E-004) for limits under which no job would ever start; those of the store.
    pub async fn set_limits(&self, queue: QueueName, limits: QueueLimits) -> Result<()> {
        self.write("set limits", move |write| write.set_limits(&queue, limits)).await
    }

    /// Submits a batch: all of it, or nothing. A repeated submit of one id is the same batch.
    ///
    /// # Errors
    /// What a submit of one of its jobs or callbacks would answer.
    pub async fn submit_batch(&self, request: BatchRequest) -> Result<BatchId> {
        let bytes = request.jobs.iter().map(|job| job.call.arguments.len()).sum();
        let weight = weigh(request.jobs.len(), bytes);
        self.call("submit batch", weight, move |write| write.submit_batch(request)).await?
    }

    /// What is known of a batch.
    ///
    /// # Errors
    /// Those of the store.
    pub async fn batch(&self, id: BatchId) -> Result<Option<BatchStatus>> {
        self.ask("get batch", weigh(1, 0), move |look| look.batch(&id)).await
    }

    /// Puts a worker on the list.
    ///
    /// # Errors
    /// Those of the store.
    pub async fn register_worker(&self, worker: NewWorker) -> Result<()> {
        self.write("register worker", move |write| write.register_worker(worker)).await
    }

    /// Says what a worker is doing. `false` says that it is not on the list, as after a long pause: register it again.
    ///
    /// # Errors
    /// Those of the store.
    pub async fn heartbeat(&self, worker: Arc<str>, load: WorkerLoad) -> Result<bool> {
        self.write("heartbeat", move |write| write.heartbeat(&worker, load)).await
    }

    /// Takes a worker off the list. What it holds lapses unless it is settled.
    ///
    /// # Errors
    /// Those of the store.
    pub async fn remove_worker(&self, worker: Arc<str>) -> Result<()> {
        self.0.shared.forget_worker(&worker);
        self.write("remove worker", move |write| write.remove_worker(&worker)).await
    }

    /// What is known of each job, in order.
    ///
    /// # Errors
    /// Those of the store.
    pub async fn get(&self, ids: Vec<JobId>) -> Result<Vec<Option<JobStatus>>> {
        let weight = weigh(ids.len(), 0);
        self.ask("get", weight, move |look| look.get(&ids)).await
    }

    /// One page of jobs, newest first.
    ///
    /// # Errors
    /// `InvalidInput` (E-004) where the cursor is none of ours; those of the store.
    pub async fn jobs(&self, filter: JobFilter, page: PageRequest) -> Result<Page<JobStatus>> {
        self.ask("list jobs", weigh(page.len, 0), move |look| look.jobs(&filter, &page)).await
    }

    /// The account of every queue.
    ///
    /// # Errors
    /// Those of the store.
    pub async fn stats(&self) -> Result<Vec<QueueStats>> {
        self.ask("list queues", weigh(1, 0), |look| look.queues()).await
    }

    /// Every worker that has not gone or been forgotten.
    ///
    /// # Errors
    /// Those of the store.
    pub async fn workers(&self) -> Result<Vec<WorkerStatus>> {
        let now = self.0.clock.now();
        self.ask("list workers", weigh(1, 0), move |look| look.workers(now)).await
    }

    /// Starts runs of workflows, each with a result in order. A repeated id is the same run.
    ///
    /// # Errors
    /// `InvalidInput` where the definition (E-016) or the input (E-002) is malformed; `PayloadTooLarge` (E-006);
    /// `Conflict` (E-047) where the id is that of another run.
    pub async fn start_runs(&self, requests: Vec<RunRequest>) -> Vec<Result<RunId>> {
        let steps: usize = requests.iter().map(|request| request.definition.steps.len()).sum();
        let bytes: usize = requests.iter().map(|request| request.input.len()).sum();
        let count = requests.len();
        self.each("start run", count, bytes + steps * STEP_BYTES, move |write| write.start_runs(requests))
            .await
    }

    /// Cancels a run: steps that wait never start, attempts that run are asked to stop.
    ///
    /// # Errors
    /// `NotFound` (E-017).
    pub async fn cancel_run(&self, run: RunId) -> Result<Cancellation> {
        self.write("cancel run", move |write| write.cancel_run(&run)).await
    }

    /// What is known of a run.
    ///
    /// # Errors
    /// Those of the store.
    pub async fn run(&self, run: RunId) -> Result<Option<RunStatus>> {
        self.ask("get run", weigh(1, 0), move |look| look.run(&run)).await
    }

    /// One page of runs, newest first.
    ///
    /// # Errors
    /// `InvalidInput` (E-004) where the cursor is none of ours; those of the store.
    pub async fn runs(&self, filter: RunFilter, page: PageRequest) -> Result<Page<RunStatus>> {
        self.ask("list runs", weigh(page.len, 0), move |look| look.runs(&filter, &page)).await
    }

    /// The results `from .. from + count` of a step of a run, in the order of its list; `None` for each that has none.
    ///
    /// # Errors
    /// Those of the store.
    pub async fn results(
        &self,
        run: RunId,
        step: StepId,
        from: u32,
        count: u32,
    ) -> Result<Vec<Option<Payload>>> {
        self.ask("read results", weigh(count as usize, 0), move |look| look.results(&run, &step, from, count))
            .await
    }

    /// The outcome of each job as it ends, each once, in order of ending. A job that does not exist yields `NotFound`
    /// (E-007). The stream ends when every job has been yielded.
    ///
    /// Ends that this process commits are pushed; those of other processes are seen within milliseconds.
    pub fn wait(&self, ids: Vec<JobId>) -> impl Stream<Item = (JobId, Result<Outcome>)> + Send + 'static {
        let waiting = Waiting::new(self.clone(), ids);
        stream::unfold(waiting, |mut waiting| async move { Some((waiting.next().await?, waiting)) })
    }

    /// The jobs whose cancellation is asked for, from now on, while `worker` holds them. Ends when the worker is taken
    /// off the list. A cancel that another process asks for is only told with the next [`extend`](Self::extend).
    pub fn cancellations(&self, worker: Arc<str>) -> mpsc::Receiver<JobId> {
        self.0.shared.cancellations(worker)
    }

    /// Changes each time a run may have. Ends with the engine.
    pub fn run_changes(&self, run: &RunId) -> watch::Receiver<()> {
        self.0.shared.run_changes(run)
    }

    /// Changes each time another process has committed.
    pub fn changes_elsewhere(&self) -> watch::Receiver<()> {
        self.0.shared.elsewhere()
    }

    /// Takes no more calls, finishes what was accepted, answers workers that wait with nothing, and lets go of the
    /// store.
    pub async fn close(&self) {
        self.0.shared.letters.close();
        self.0.shared.ended().await;
    }

    pub(crate) fn now(&self) -> Timestamp {
        self.0.clock.now()
    }

    pub(crate) fn shared(&self) -> &Arc<Shared> {
        &self.0.shared
    }

    async fn settle_one(&self, lease: Lease, verdict: Verdict) -> Result<()> {
        let mut results = self.settle(vec![Settlement { lease, verdict }]).await;
        results.pop().unwrap_or_else(|| Err(defect("settle")))
    }

    /// Has the writer do something that gives a result for each of `count` items.
    pub(crate) async fn each<T: Send + 'static>(
        &self,
        operation: &'static str,
        count: usize,
        bytes: usize,
        work: impl FnOnce(&mut dyn Write) -> Vec<Result<T>> + Send + 'static,
    ) -> Vec<Result<T>> {
        if count == 0 {
            return Vec::new();
        }
        match self.call(operation, weigh(count, bytes), work).await {
            Ok(results) => results,
            Err(error) => (0..count).map(|_| Err(error.clone())).collect(),
        }
    }

    pub(crate) async fn write<T: Send + 'static>(
        &self,
        operation: &'static str,
        work: impl FnOnce(&mut dyn Write) -> Result<T> + Send + 'static,
    ) -> Result<T> {
        self.call(operation, weigh(1, 0), work).await?
    }

    async fn call<T: Send + 'static>(
        &self,
        operation: &'static str,
        weight: u32,
        work: impl FnOnce(&mut dyn Write) -> T + Send + 'static,
    ) -> Result<T> {
        let (letter, answer) = ask(work);
        self.0.shared.letters.send(operation, letter, weight).await?;
        match answer.await {
            Ok(answer) => answer,
            Err(_) => Err(self.lost(operation).await),
        }
    }

    pub(crate) async fn ask<T: Send + 'static>(
        &self,
        operation: &'static str,
        weight: u32,
        read: impl FnOnce(&mut dyn Look) -> Result<T> + Send + 'static,
    ) -> Result<T> {
        let (reply, answer) = oneshot::channel();
        let question = Box::new(move |look: &mut dyn Look| drop(reply.send(read(look))));
        self.0.shared.questions.send(operation, question, weight).await?;
        answer.await.unwrap_or_else(|_| Err(self.0.shared.questions.refusal(operation)))
    }

    /// Why the thread ended without an answer, which it says once it is unwound.
    async fn lost(&self, operation: &'static str) -> Error {
        self.0.shared.ended().await;
        self.0.shared.letters.refusal(operation).maybe_applied()
    }
}

fn start<S: Store>(
    open: impl FnOnce() -> Result<S>,
    config: EngineConfig,
    clock: Arc<dyn Clock>,
    shared: &Arc<Shared>,
) -> Result<Writer<S>> {
    let engine = Engine::open(open()?, config, clock.now())?;
    let reader = engine.reader()?;
    *shared.keeper.blocking_lock() = Some(engine.store().keeper());
    let lines = shared.clone();
    spawn("taskport-reader", move || {
        let _end = EndOfReader(&lines);
        looker::run(reader, &lines);
    })?;
    Writer::new(engine, clock, shared.clone())
}

pub(crate) fn spawn(name: &str, work: impl FnOnce() + Send + 'static) -> Result<()> {
    thread::Builder::new().name(name.to_owned()).spawn(work).map(drop).map_err(|source| {
        Error::new(&codes::INTERNAL, "open", "a thread cannot be started")
            .caused_by(source)
            .hint("raise the limit on processes and threads")
    })
}

pub(crate) fn defect(operation: &'static str) -> Error {
    Error::new(&codes::INTERNAL, operation, "a thread of the engine ended by a defect")
        .hint("restart the process; everything that was answered is kept")
}

/// Tells every caller when the writer thread ends, be it by a panic.
struct EndOfWriter<'a>(&'a Arc<Shared>);

impl Drop for EndOfWriter<'_> {
    fn drop(&mut self) {
        self.0.end(&if thread::panicking() { defect("work") } else { crate::mailbox::closed("work") });
    }
}

/// Tells every caller when the reader thread ends, be it by a panic.
struct EndOfReader<'a>(&'a Arc<Shared>);

impl Drop for EndOfReader<'_> {
    fn drop(&mut self) {
        let why = if thread::panicking() { defect("read") } else { crate::mailbox::closed("read") };
        self.0.waits.end(&why);
        self.0.questions.end(why);
        self.0.reader_ended();
    }
}
