//! What a backend can do: one value per feature, read by callers, by the contract suite, by error texts and by the docs.

use std::borrow::Cow;
use std::fmt;

use serde::Serialize;
use serde::ser::{SerializeMap, Serializer};

use crate::codes;
use crate::error::Error;

/// How a backend gives a feature.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Support {
    /// The backend does it.
    Native,
    /// The adapter does it on top of the backend.
    Emulated {
        /// By what means, and at what cost.
        how: Cow<'static, str>,
    },
    /// It cannot be had, and asking for it is an error.
    Unsupported {
        /// The reason.
        why: Cow<'static, str>,
        /// What to use instead.
        instead: Cow<'static, str>,
    },
}

impl Support {
    /// Unsupported, with the reason and what to use instead.
    pub const fn no(why: &'static str, instead: &'static str) -> Self {
        Self::Unsupported { why: Cow::Borrowed(why), instead: Cow::Borrowed(instead) }
    }

    /// Emulated, with the means.
    pub const fn emulated(how: &'static str) -> Self {
        Self::Emulated { how: Cow::Borrowed(how) }
    }

    /// Whether the feature can be had at all.
    pub const fn is_supported(&self) -> bool {
        !matches!(self, Self::Unsupported { .. })
    }

    const fn rank(&self) -> u8 {
        match self {
            Self::Native => 2,
            Self::Emulated { .. } => 1,
            Self::Unsupported { .. } => 0,
        }
    }
}

macro_rules! capability {
    (
        features { $($feature:ident / $variant:ident : $what:literal,)+ }
        limits { $($limit:ident / $limit_variant:ident : $limit_what:literal,)+ }
    ) => {
        /// What a backend can do, for one task and queue.
        ///
        /// An adapter writes a constant that starts from [`Capability::NONE`] and turns on what it has proved; a probe
        /// at connect may only [`narrow`](Self::narrow) it. A limit of `None` says that the backend sets none.
        #[derive(Debug, Clone, PartialEq, Eq)]
        pub struct Capability {
            $(#[doc = concat!("Whether it can ", $what, ".")] pub $feature: Support,)+
            $(#[doc = concat!("The ", $limit_what, ".")] pub $limit: Option<u64>,)+
        }

        /// The name of one feature of [`Capability`].
        #[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
        pub enum Feature {
            $(#[doc = concat!("Whether it can ", $what, ".")] $variant,)+
        }

        /// The name of one limit of [`Capability`].
        #[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
        pub enum Limit {
            $(#[doc = concat!("The ", $limit_what, ".")] $limit_variant,)+
        }

        impl Capability {
            /// Nothing supported, nothing allowed.
            pub const NONE: Self = Self {
                $($feature: Support::no("the adapter does not provide it", "another backend"),)+
                $($limit: Some(0),)+
            };

            /// How one feature is given.
            pub const fn get(&self, feature: Feature) -> &Support {
                match feature { $(Feature::$variant => &self.$feature,)+ }
            }

            /// One limit.
            pub const fn limit(&self, limit: Limit) -> Option<u64> {
                match limit { $(Limit::$limit_variant => self.$limit,)+ }
            }

            /// What both give: of each feature the weaker support, of each limit the smaller number.
            #[must_use]
            pub fn meet(self, other: Self) -> Self {
                Self {
                    $($feature: weaker(self.$feature, other.$feature),)+
                    $($limit: smaller(self.$limit, other.$limit),)+
                }
            }
        }

        impl Feature {
            /// Every feature.
            pub const ALL: &[Self] = &[$(Self::$variant),+];

            /// The field's name.
            pub const fn name(self) -> &'static str {
                match self { $(Self::$variant => stringify!($feature),)+ }
            }

            /// What the feature does, after "can".
            pub const fn what(self) -> &'static str {
                match self { $(Self::$variant => $what,)+ }
            }
        }

        impl Limit {
            /// Every limit.
            pub const ALL: &[Self] = &[$(Self::$limit_variant),+];

            /// The field's name.
            pub const fn name(self) -> &'static str {
                match self { $(Self::$limit_variant => stringify!($limit),)+ }
            }

            /// What the limit bounds.
            pub const fn what(self) -> &'static str {
                match self { $(Self::$limit_variant => $limit_what,)+ }
            }
        }
    };
}

capability! {
    features {
        submit / Submit: "take a job and answer once it is durably taken",
        submit_batch / SubmitBatch: "take many jobs in one call, with a result for each",
        submit_batch_atomic / SubmitBatchAtomic: "take the good jobs of a batch in one transaction",
        submit_same_id / SubmitSameId: "take a repeated submit of one id as the same job",
        durable / Durable: "keep jobs when its process or server ends",
        multi_process / MultiProcess: "serve several processes at once",
        queues / Queues: "keep jobs of different queues apart",
        priority / Priority: "start jobs of higher priority first",
        order_fifo / OrderFifo: "start a queue's jobs oldest first",
        order_lifo / OrderLifo: "start a queue's jobs newest first",
        order_fair / OrderFair: "share a queue fairly between keys",
        order_ageing / OrderAgeing: "let jobs of lower priority gain on others with time",
        ordering_key / OrderingKey: "run jobs of one key in submit order",
        concurrency_key / ConcurrencyKey: "bound how many jobs of one key run at once",
        rate_limit / RateLimit: "bound how many jobs of one key start in a period",
        queue_concurrency / QueueConcurrency: "bound how many jobs of a queue run at once",
        queue_rate_limit / QueueRateLimit: "bound how many jobs of a queue start in a period",
        delay / Delay: "hold a job until its time",
        expiry / Expiry: "give up a job that has not started in time",
        timeout_soft / TimeoutSoft: "ask an attempt to stop at its time limit",
        timeout_hard / TimeoutHard: "stop an attempt at its time limit",
        retry_fixed / RetryFixed: "try again after a fixed delay",
        retry_linear / RetryLinear: "try again after linearly growing delays",
        retry_exponential / RetryExponential: "try again after exponentially growing delays with jitter",
        retry_age_max / RetryAgeMax: "stop trying at an age",
        retry_after / RetryAfter: "try again when the handler says",
        unique_while_live / UniqueWhileLive: "keep one job per key until it has ended",
        unique_for_period / UniqueForPeriod: "keep one job per key for a period",
        unique_forever / UniqueForever: "keep one job per key for ever",
        unique_replace / UniqueReplace: "replace a waiting job by a newer one of its key",
        unique_ignore / UniqueIgnore: "ignore newer submits of a key, whatever they call",
        batches / Batches: "submit jobs together and tell how many have ended",
        batch_callbacks / BatchCallbacks: "run a job once every job of a batch has ended",
        tags / Tags: "find jobs by tag",
        metadata / Metadata: "carry facts with a job",
        parent / Parent: "record which job submitted a job",
        trace_context / TraceContext: "carry a trace context to the handler",
        status / Status: "tell where a job stands",
        status_unknown / StatusUnknown: "tell an unknown job from a waiting one",
        arguments_kept / ArgumentsKept: "show the arguments of a job",
        results / Results: "keep results",
        results_pushed / ResultsPushed: "announce an outcome without being polled",
        failure_details / FailureDetails: "keep kind, type, message and attempt of a failure",
        progress / Progress: "show the progress of a running job to others",
        partial_results / PartialResults: "show partial results of a running job to others",
        logs / Logs: "show the log lines of a running job to others",
        cancel_waiting / CancelWaiting: "cancel a job that has not started",
        cancel_running / CancelRunning: "ask a running attempt to stop",
        lease / Lease: "give an attempt to one worker at a time",
        lease_extend / LeaseExtend: "extend a lease while an attempt runs",
        fencing / Fencing: "refuse the outcome of an attempt that lost its lease",
        release / Release: "hand a job back without using up an attempt",
        rescue / Rescue: "run the jobs of a dead worker again",
        drain / Drain: "finish what runs and hand back the rest on SIGTERM",
        undecodable_kept / UndecodableKept: "keep what cannot be decoded as a dead letter with the reason",
        dead_letters / DeadLetters: "keep jobs that failed for good",
        requeue / Requeue: "run a dead letter again",
        queue_list / QueueList: "list queues with their depth",
        queue_age / QueueAge: "tell the age of a queue's oldest waiting job",
        queue_pause / QueuePause: "pause and resume a queue",
        queue_purge / QueuePurge: "delete a queue's waiting jobs",
        queue_order / QueueOrder: "change the order of a queue",
        job_list / JobList: "list jobs by state, queue, task or tag",
        job_delete / JobDelete: "delete jobs that have ended",
        totals / Totals: "account for every job ever submitted",
        workers_seen / WorkersSeen: "list workers with host, load and last heartbeat",
        schedules / Schedules: "submit jobs by repeating rules, each tick once",
        schedule_cron / ScheduleCron: "fire a schedule by a cron expression",
        schedule_interval / ScheduleInterval: "fire a schedule at a fixed interval",
        schedule_time_zone / ScheduleTimeZone: "fire a schedule by the clocks of a time zone",
        schedule_catch_up / ScheduleCatchUp: "fire ticks that could not fire in time, by a policy",
        schedule_jitter / ScheduleJitter: "spread the jobs of a schedule by a delay of their own",
        schedule_pause / SchedulePause: "pause and resume a schedule",
        schedule_trigger / ScheduleTrigger: "fire a schedule by hand",
        schedule_backfill / ScheduleBackfill: "fire the ticks of a past period",
        transactional_enqueue / TransactionalEnqueue: "submit a job in a transaction of the user's own",
        outbox / Outbox: "hand jobs of such a transaction on to other backends",
        retention / Retention: "remove ended jobs by itself after a time",
        prune / Prune: "remove ended jobs of an age",
        backup / Backup: "copy everything to a file while it works",
        restore / Restore: "replace everything by such a copy",
        integrity_check / IntegrityCheck: "look for damage",
        vacuum / Vacuum: "give free space back to the file system",
        workflows / Workflows: "run workflows",
        workflow_fan_out / WorkflowFanOut: "run a step for each element of a list",
        workflow_bound / WorkflowBound: "bound how many elements of a fan-out run at once",
        workflow_conditions / WorkflowConditions: "skip a step by a condition",
        workflow_bindings / WorkflowBindings: "pass values from steps to later steps",
        workflow_upstream / WorkflowUpstream: "let a step read the results of earlier steps",
        workflow_continue / WorkflowContinue: "go on after a failed step where the definition says so",
        workflow_step_options / WorkflowStepOptions: "retry and time out each step by its own options",
        workflow_timeout / WorkflowTimeout: "end a run at its time limit",
        workflow_cancel / WorkflowCancel: "cancel a run and its waiting steps",
        workflow_resume / WorkflowResume: "resume a run after its process was killed",
        workflow_step_once / WorkflowStepOnce: "commit each step of a run once",
        workflow_snapshot / WorkflowSnapshot: "run each run by the definition it started with",
        workflow_list / WorkflowList: "list runs and their steps",
    }
    limits {
        payload_bytes_max / PayloadBytesMax: "largest arguments document, in bytes",
        result_bytes_max / ResultBytesMax: "largest result, in bytes",
        submit_batch_max / SubmitBatchMax: "largest number of jobs in one submit",
        priority_levels / PriorityLevels: "number of priorities told apart",
        delay_ms_max / DelayMsMax: "longest delay, in milliseconds",
        delay_resolution_ms / DelayResolutionMs: "smallest difference of delays told apart, in milliseconds",
        page_len_max / PageLenMax: "largest page of a listing",
        workflow_steps_max / WorkflowStepsMax: "largest number of steps of a definition",
        workflow_fan_out_max / WorkflowFanOutMax: "largest number of elements of a fan-out",
    }
}

impl Capability {
    /// Whether a feature can be had, natively or emulated.
    pub const fn supports(&self, feature: Feature) -> bool {
        self.get(feature).is_supported()
    }

    /// Nothing, where the feature can be had; else the error that says why not and what to use instead.
    ///
    /// # Errors
    /// `Unsupported` (E-005), not applied.
    pub fn require(&self, feature: Feature, operation: &'static str) -> Result<(), Error> {
        match self.get(feature) {
            Support::Unsupported { why, instead } => Err(Error::new(
                &codes::UNSUPPORTED,
                operation,
                format!("the backend cannot {} (`{}`): {why}", feature.what(), feature.name()),
            )
            .hint(format!("instead: {instead}"))),
            _ => Ok(()),
        }
    }

    /// What is left after a probe: the meet, which never adds anything.
    #[must_use]
    pub fn narrow(self, probed: Self) -> Self {
        self.meet(probed)
    }
}

fn weaker(left: Support, right: Support) -> Support {
    if right.rank() < left.rank() { right } else { left }
}

fn smaller(left: Option<u64>, right: Option<u64>) -> Option<u64> {
    match (left, right) {
        (Some(left), Some(right)) => Some(left.min(right)),
        (one, other) => one.or(other),
    }
}

impl fmt::Display for Feature {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.name())
    }
}

#[derive(Serialize)]
struct Cell<'a> {
    support: &'static str,
    #[serde(skip_serializing_if = "Option::is_none")]
    how: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    why: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    instead: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    limit: Option<u64>,
}

impl<'a> Cell<'a> {
    fn new(support: &'a Support) -> Self {
        let cell = |support, how, why, instead| Self { support, how, why, instead, limit: None };
        match support {
            Support::Native => cell("native", None, None, None),
            Support::Emulated { how } => cell("emulated", Some(how), None, None),
            Support::Unsupported { why, instead } => cell("unsupported", None, Some(why), Some(instead)),
        }
    }
}

impl Serialize for Capability {
    /// One object: field → `{"support", "how" | "why", "instead", "limit"}`.
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let mut map = serializer.serialize_map(Some(Feature::ALL.len() + Limit::ALL.len()))?;
        for feature in Feature::ALL {
            map.serialize_entry(feature.name(), &Cell::new(self.get(*feature)))?;
        }
        for limit in Limit::ALL {
            let number = self.limit(*limit);
            map.serialize_entry(limit.name(), &Cell { limit: number, ..Cell::new(&Support::Native) })?;
        }
        map.end()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_meet_never_adds_anything() {
        let able = Capability {
            submit: Support::Native,
            delay: Support::emulated("a timer"),
            payload_bytes_max: None,
            ..Capability::NONE
        };
        let narrowed = able.clone().narrow(Capability {
            submit: Support::emulated("a loop"),
            delay: Support::Native,
            payload_bytes_max: Some(10),
            priority: Support::Native,
            ..Capability::NONE
        });
        assert_eq!(narrowed.submit, Support::emulated("a loop"));
        assert_eq!(narrowed.delay, Support::emulated("a timer"));
        assert_eq!(narrowed.payload_bytes_max, Some(10));
        assert!(!narrowed.supports(Feature::Priority));
        assert_eq!(able.clone().meet(able.clone()), able);
    }

    #[test]
    fn an_unsupported_feature_says_why_and_what_instead() {
        let error = Capability::NONE.require(Feature::Delay, "submit").unwrap_err();
        assert_eq!(error.code(), &codes::UNSUPPORTED);
        assert!(error.to_string().contains("`delay`"), "{error}");
        assert_eq!(error.remedy(), Some("instead: another backend"));
    }

    #[test]
    fn json_has_one_cell_per_field() {
        let json = serde_json::to_value(Capability::NONE).unwrap();
        assert_eq!(json.as_object().unwrap().len(), Feature::ALL.len() + Limit::ALL.len());
        assert_eq!(json["delay"]["support"], "unsupported");
        assert_eq!(json["payload_bytes_max"]["limit"], 0);
    }
}
