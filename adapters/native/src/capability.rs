//! What the embedded engine can do, on each of its stores.

use taskport_abstraction::Support::Native;
use taskport_abstraction::workflow::{FAN_OUT_MAX, STEPS_MAX};
use taskport_abstraction::{Capability, Support};

use crate::config::{Location, NativeConfig};

/// The largest number of jobs in one submit.
pub(crate) const SUBMIT_BATCH_MAX: usize = 10_000;
/// The largest page of a listing.
pub(crate) const PAGE_LEN_MAX: usize = 1_000;

/// The engine on SQLite.
pub const SQLITE: Capability = engine(Native, Native, Native, Native, Native);

/// The engine in memory.
pub const MEMORY: Capability = engine(
    Support::no("everything is in the memory of one process", "a file: sqlite://FILE"),
    Support::no("everything is in the memory of one process", "a file: sqlite://FILE"),
    Support::no("runs end with their process", "a file: sqlite://FILE"),
    Support::no("no other program's transaction reaches this memory", "a file: sqlite://FILE"),
    Support::no("no other program's transaction reaches this memory", "a file: sqlite://FILE"),
);

/// What the engine can do on any store, and what depends on it.
const fn engine(
    durable: Support,
    multi_process: Support,
    workflow_resume: Support,
    transactional_enqueue: Support,
    outbox: Support,
) -> Capability {
    Capability {
        submit: Native,
        submit_batch: Native,
        submit_batch_atomic: Native,
        submit_same_id: Native,
        durable,
        multi_process,
        queues: Native,
        priority: Native,
        order_fifo: Native,
        order_lifo: Native,
        order_fair: Support::no("the engine has no fair order yet", "one queue per key"),
        ordering_key: Support::no("the engine has no lines per key yet", "one queue with one worker slot"),
        concurrency_key: Support::no(
            "the engine does not count jobs per key yet",
            "one queue per key, with that many worker slots",
        ),
        rate_limit: Support::no(
            "the engine does not count starts per key yet",
            "the rate limit of the task in the worker's configuration",
        ),
        delay: Native,
        expiry: Native,
        timeout_soft: Native,
        timeout_hard: Native,
        retry_fixed: Native,
        retry_linear: Native,
        retry_exponential: Native,
        retry_age_max: Native,
        retry_after: Native,
        unique_while_live: Native,
        unique_for_period: Native,
        unique_forever: Native,
        unique_replace: Native,
        unique_ignore: Native,
        order_ageing: Support::no("the engine does not do it yet", "another backend"),
        queue_concurrency: Support::no("the engine does not do it yet", "another backend"),
        queue_rate_limit: Support::no("the engine does not do it yet", "another backend"),
        batches: Support::no("the engine does not do it yet", "another backend"),
        batch_callbacks: Support::no("the engine does not do it yet", "another backend"),
        partial_results: Native,
        logs: Native,
        schedules: Native,
        schedule_cron: Native,
        schedule_interval: Native,
        schedule_time_zone: Native,
        schedule_catch_up: Native,
        schedule_jitter: Native,
        schedule_pause: Native,
        schedule_trigger: Native,
        schedule_backfill: Native,
        transactional_enqueue,
        outbox,
        retention: Support::no("the engine does not do it yet", "another backend"),
        prune: Support::no("the engine does not do it yet", "another backend"),
        backup: Support::no("the engine does not do it yet", "another backend"),
        restore: Support::no("the engine does not do it yet", "another backend"),
        integrity_check: Support::no("the engine does not do it yet", "another backend"),
        vacuum: Support::no("the engine does not do it yet", "another backend"),
        tags: Native,
        metadata: Native,
        parent: Native,
        trace_context: Native,
        status: Native,
        status_unknown: Native,
        arguments_kept: Native,
        results: Native,
        results_pushed: Native,
        failure_details: Native,
        progress: Native,
        cancel_waiting: Native,
        cancel_running: Native,
        lease: Native,
        lease_extend: Native,
        fencing: Native,
        release: Native,
        rescue: Native,
        drain: Native,
        undecodable_kept: Native,
        dead_letters: Native,
        requeue: Native,
        queue_list: Native,
        queue_age: Native,
        queue_pause: Native,
        queue_purge: Native,
        queue_order: Native,
        job_list: Native,
        job_delete: Native,
        totals: Native,
        workers_seen: Native,
        workflows: Native,
        workflow_fan_out: Native,
        workflow_bound: Native,
        workflow_conditions: Native,
        workflow_bindings: Native,
        workflow_upstream: Native,
        workflow_continue: Native,
        workflow_step_options: Native,
        workflow_timeout: Native,
        workflow_cancel: Native,
        workflow_resume,
        workflow_step_once: Native,
        workflow_snapshot: Native,
        workflow_list: Native,
        payload_bytes_max: None,
        result_bytes_max: None,
        submit_batch_max: Some(SUBMIT_BATCH_MAX as u64),
        priority_levels: Some(10),
        delay_ms_max: None,
        delay_resolution_ms: Some(1),
        page_len_max: Some(PAGE_LEN_MAX as u64),
        workflow_steps_max: Some(STEPS_MAX as u64),
        workflow_fan_out_max: Some(FAN_OUT_MAX as u64),
    }
}

/// What a backend of this configuration can do.
pub(crate) fn of(config: &NativeConfig, location: &Location) -> Capability {
    let store = match location {
        Location::Memory => MEMORY,
        Location::Sqlite(_) => SQLITE,
    };
    Capability {
        payload_bytes_max: Some(config.payload_bytes_max),
        result_bytes_max: Some(config.result_bytes_max),
        ..store
    }
}
