//! What the embedded engine can do, on each of its stores.

use taskport_abstraction::Support::Native;
use taskport_abstraction::workflow::{FAN_OUT_MAX, STEPS_MAX};
use taskport_abstraction::{Capability, Support};

use crate::config::{Location, NativeConfig};

/// The largest number of jobs in one submit.
pub(crate) const SUBMIT_BATCH_MAX: usize = 10_000;
/// The largest page of a listing.
pub(crate) const PAGE_LEN_MAX: usize = 1_000;

/// What the engine can do on any store, besides what depends on the store.
macro_rules! engine {
    ($($field:ident: $support:expr,)+) => {
        Capability {
            $($field: $support,)+
            submit: Native,
            submit_batch: Native,
            submit_batch_atomic: Native,
            submit_same_id: Native,
            queues: Native,
            priority: Native,
            order_fifo: Native,
            order_lifo: Native,
            order_fair: Native,
            order_ageing: Native,
            ordering_key: Native,
            concurrency_key: Native,
            rate_limit: Native,
            queue_concurrency: Native,
            queue_rate_limit: Native,
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
            batches: Native,
            batch_callbacks: Native,
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
            retention: Native,
            prune: Native,
            integrity_check: Native,
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
    };
}

/// The engine on SQLite.
pub const SQLITE: Capability = engine! {
    durable: Native,
    multi_process: Native,
    workflow_resume: Native,
    transactional_enqueue: Native,
    outbox: Native,
    backup: Native,
    restore: Native,
    vacuum: Native,
};

/// The engine in memory.
pub const MEMORY: Capability = engine! {
    durable: IN_MEMORY,
    multi_process: IN_MEMORY,
    workflow_resume: Support::no("runs end with their process", "a file: sqlite://FILE"),
    transactional_enqueue: UNREACHED,
    outbox: UNREACHED,
    backup: IN_MEMORY,
    restore: IN_MEMORY,
    vacuum: IN_MEMORY,
};

const IN_MEMORY: Support = Support::no("everything is in the memory of one process", "a file: sqlite://FILE");
const UNREACHED: Support =
    Support::no("no other program's transaction reaches this memory", "a file: sqlite://FILE");

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
