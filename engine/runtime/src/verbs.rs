//! The engine's operations without the type of its store, so that one handle serves every store.

use std::sync::Arc;
use std::time::Duration;

use taskport_abstraction::backend::{
    Cancellation, Delivery, Extended, Extension, JobFilter, Page, PageRequest, QueueLimits, QueueOrder,
    QueueStats, RunFilter, RunRequest, RunStatus, Settlement, WorkerLoad, WorkerStatus,
};
use taskport_abstraction::batch::{BatchRequest, BatchStatus};
use taskport_abstraction::job::StepRef;
use taskport_abstraction::journal::JournalEntry;
use taskport_abstraction::maintenance::Retention;
use taskport_abstraction::outbox::{Handover, OutboxEntry, OutboxStats, Outgoing};
use taskport_abstraction::schedule::{Put, ScheduleDefinition, ScheduleStatus};
use taskport_abstraction::{
    BatchId, JobId, JobStatus, Payload, QueueName, Result, RunId, ScheduleName, StepId, Timestamp,
};
use taskport_engine::{Claim, Enqueued, NewJob, NewWorker, Read, Reader, Store, Sweep, Transaction};

/// A trait whose methods are the inherent methods of one type.
macro_rules! verbs {
    (
        $(#[$doc:meta])* $trait:ident for [$($generics:tt)+] $target:ty;
        $($verb:ident($($name:ident: $type:ty),*) -> $answer:ty;)+
    ) => {
        $(#[$doc])*
        pub(crate) trait $trait {
            $(fn $verb(&mut self, $($name: $type),*) -> $answer;)+
        }

        // Inherent methods go before those of a trait, so that each of these calls its namesake.
        impl<$($generics)+> $trait for $target {
            $(fn $verb(&mut self, $($name: $type),*) -> $answer {
                self.$verb($($name),*)
            })+
        }
    };
}

verbs! {
    /// What a [`Transaction`] does. See there.
    Write for [S: Store] Transaction<'_, S>;
    enqueue(jobs: Vec<NewJob>) -> Vec<Result<Enqueued>>;
    claim(claim: &Claim<'_>) -> Result<Vec<Delivery>>;
    settle(batch: &[Settlement]) -> Vec<Result<()>>;
    extend(batch: &[Extension], lease_for: Duration) -> Vec<Result<Extended>>;
    cancel(ids: &[JobId]) -> Vec<Result<Cancellation>>;
    requeue(ids: &[JobId]) -> Vec<Result<()>>;
    delete(ids: &[JobId]) -> Vec<Result<()>>;
    purge(queue: &QueueName) -> Result<u64>;
    pause(queue: &QueueName, reason: Option<&str>) -> Result<()>;
    resume(queue: &QueueName) -> Result<()>;
    set_order(queue: &QueueName, order: QueueOrder) -> Result<()>;
    set_limits(queue: &QueueName, limits: QueueLimits) -> Result<()>;
    submit_batch(request: BatchRequest) -> Result<BatchId>;
    register_worker(worker: NewWorker) -> Result<()>;
    heartbeat(name: &str, load: WorkerLoad) -> Result<bool>;
    remove_worker(name: &str) -> Result<()>;
    start_runs(requests: Vec<RunRequest>) -> Vec<Result<RunId>>;
    cancel_run(id: &RunId) -> Result<Cancellation>;
    prune(retention: &Retention, sweep: &mut Sweep) -> Result<()>;
    put_schedule(definition: &ScheduleDefinition) -> Result<Put>;
    remove_schedule(name: &ScheduleName) -> Result<()>;
    pause_schedule(name: &ScheduleName, reason: Option<&str>) -> Result<()>;
    resume_schedule(name: &ScheduleName) -> Result<()>;
    trigger_schedule(name: &ScheduleName, id: JobId) -> Result<JobId>;
    backfill_schedule(name: &ScheduleName, from: Timestamp, until: Timestamp, max: usize) -> Result<Vec<JobId>>;
    upstream(step: &StepRef) -> Result<Arc<[(StepId, u64)]>>;
    absorb() -> Result<bool>;
    fetch_outgoing(max: usize, lease_for: Duration) -> Result<Vec<Outgoing>>;
    settle_outgoing(batch: &[Handover]) -> Vec<Result<()>>;
    retry_outgoing(ids: &[JobId]) -> Vec<Result<()>>;
    delete_outgoing(ids: &[JobId]) -> Vec<Result<()>>;
}

verbs! {
    /// What a [`Reader`] reads. See there.
    Look for [R: Read] Reader<R>;
    get(ids: &[JobId]) -> Result<Vec<Option<JobStatus>>>;
    jobs(filter: &JobFilter, page: &PageRequest) -> Result<Page<JobStatus>>;
    queues() -> Result<Vec<QueueStats>>;
    batch(id: &BatchId) -> Result<Option<BatchStatus>>;
    workers(now: Timestamp) -> Result<Vec<WorkerStatus>>;
    run(id: &RunId) -> Result<Option<RunStatus>>;
    runs(filter: &RunFilter, page: &PageRequest) -> Result<Page<RunStatus>>;
    journal(job: &JobId, after: u64, len: usize) -> Result<Vec<JournalEntry>>;
    outbox(after: u64, len: usize) -> Result<Vec<OutboxEntry>>;
    outbox_due(now: Timestamp) -> Result<bool>;
    outbox_stats() -> Result<OutboxStats>;
    schedule(name: &ScheduleName) -> Result<Option<ScheduleStatus>>;
    schedules(page: &PageRequest) -> Result<Page<ScheduleStatus>>;
    results(run: &RunId, step: &StepId, from: u32, count: u32) -> Result<Vec<Option<Payload>>>;
}
