//! From a call to a submission: everything that can be refused before any I/O.

use std::collections::BTreeSet;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use taskport_abstraction::backend::{Scope, Submission};
use taskport_abstraction::options::Start;
use taskport_abstraction::{
    Call, Capability, Error, Feature, JobOptions, QueueName, RawCall, Result, TaskDefinition, TaskName, codes,
};
use taskport_registry::effective_options;

use super::{OpenBackend, Parentage, Taskport};
use crate::config::OnUnsupported;
use crate::telemetry::spans;

/// What a backend can do for the tasks and queues of one batch. Neighbors in a batch mostly share both, so the last
/// answer is kept.
pub(super) struct Scopes<'a> {
    target: &'a OpenBackend,
    last: Option<(TaskName, Option<QueueName>, Arc<Capability>)>,
}

impl<'a> Scopes<'a> {
    pub(super) fn new(target: &'a OpenBackend) -> Self {
        Self { target, last: None }
    }

    fn capability(&mut self, task: &TaskName, queue: Option<&QueueName>) -> &Capability {
        self.last.take_if(|last| last.0 != *task || last.1.as_ref() != queue);
        let (_, _, capability) = self.last.get_or_insert_with(|| {
            let capability = self.target.backend.capabilities(Scope { task: Some(task), queue });
            (task.clone(), queue.cloned(), capability)
        });
        capability
    }
}

/// The largest number of jobs of one request. At least 1.
pub(super) fn batch_max(target: &OpenBackend) -> usize {
    let limit = target.backend.capabilities(Scope::default()).submit_batch_max;
    limit.map_or(usize::MAX, |limit| usize::try_from(limit).unwrap_or(usize::MAX).max(1))
}

impl Taskport {
    /// Fills in what the task declares, and refuses what cannot be done.
    pub(super) fn prepare<T>(&self, scopes: &mut Scopes<'_>, call: Call<T>) -> Result<Submission> {
        let inner = &self.inner;
        let now = inner.clock.now();
        let (id, call, asked) = call.into_raw()?;
        let definition = inner.registry.check_call(&call)?;
        let mut options = effective_options(definition, asked)?;
        let (on_unsupported, warned) = (scopes.target.on_unsupported, &scopes.target.warned);
        let capability = scopes.capability(&call.task, options.queue.as_ref());
        admit(definition, &mut options, capability, on_unsupported, warned)?;
        check_limits(&call, &options, capability, now)?;
        inherit(self.parentage.as_deref(), &mut options, capability);
        let id = id.unwrap_or_else(|| inner.ids.job_id(now));
        Ok(Submission { id, call, options })
    }
}

/// Refuses the first option the backend cannot honour; where its configuration says `warn`, leaves out each of them.
pub(super) fn admit(
    task: &TaskDefinition,
    options: &mut JobOptions,
    capability: &Capability,
    on_unsupported: OnUnsupported,
    warned: &Warned,
) -> Result<()> {
    while let Some(feature) = options.unsupported_by(capability) {
        let refused = match capability.require(feature, "submit") {
            Err(refused) => refused,
            Ok(()) => return Ok(()),
        };
        if on_unsupported == OnUnsupported::Error || !leave_out(options, feature) {
            return Err(refused);
        }
        if warned.is_new(&task.name, feature) {
            tracing::warn!(task = %task.name, option = feature.name(), "leaving out an option: {}", refused.message());
        }
    }
    Ok(())
}

/// The options of tasks whose leaving out was logged, so that a busy task does not fill the log. Bounded by the
/// registry: a task that is not in it is refused before.
#[derive(Debug, Default)]
pub(crate) struct Warned(Mutex<BTreeSet<(TaskName, Feature)>>);

impl Warned {
    fn is_new(&self, task: &TaskName, feature: Feature) -> bool {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).insert((task.clone(), feature))
    }
}

/// Takes the option that needs `feature` out. Whether there is one.
fn leave_out(options: &mut JobOptions, feature: Feature) -> bool {
    match feature {
        Feature::Priority => options.priority = None,
        Feature::Delay => options.start = None,
        Feature::Expiry => options.expiry = None,
        Feature::TimeoutSoft => options.timeout_soft = None,
        Feature::TimeoutHard => options.timeout_hard = None,
        Feature::RetryFixed | Feature::RetryLinear | Feature::RetryExponential => options.retry = None,
        Feature::RetryAgeMax => {
            if let Some(retry) = &mut options.retry {
                retry.age_max = None;
            }
        }
        Feature::UniqueWhileLive
        | Feature::UniqueForPeriod
        | Feature::UniqueForever
        | Feature::UniqueIgnore
        | Feature::UniqueReplace => options.idempotency = None,
        Feature::OrderFair => options.fair = None,
        Feature::OrderingKey => options.ordering_key = None,
        Feature::ConcurrencyKey => options.concurrency = None,
        Feature::RateLimit => options.rate_limit = None,
        Feature::Tags => options.tags.clear(),
        Feature::Metadata => options.metadata.clear(),
        Feature::Parent => options.parent = None,
        Feature::TraceContext => options.trace = None,
        _ => return false,
    }
    true
}

fn check_limits(
    call: &RawCall,
    options: &JobOptions,
    capability: &Capability,
    now: taskport_abstraction::Timestamp,
) -> Result<()> {
    if let Some(bytes_max) = capability.payload_bytes_max
        && call.arguments.len() as u64 > bytes_max
    {
        let bytes = call.arguments.len();
        return Err(Error::new(
            &codes::PAYLOAD_TOO_LARGE,
            "submit",
            format!("the arguments of `{}` have {bytes} bytes, and the limit is {bytes_max}", call.task),
        )
        .hint("store the data elsewhere and pass its place"));
    }
    let delay = match options.start {
        Some(Start::In(delay)) => delay,
        Some(Start::At(moment)) => moment.since(now),
        None => Duration::ZERO,
    };
    match capability.delay_ms_max {
        Some(delay_ms_max) if delay.as_millis() > u128::from(delay_ms_max) => Err(Error::new(
            &codes::BAD_OPTION,
            "submit",
            format!("the delay of `{}` is longer than the limit of {delay_ms_max} ms", call.task),
        )),
        _ => Ok(()),
    }
}

/// Names the submitting attempt and the trace of the submit, where the caller names no others and the backend records
/// them.
fn inherit(parentage: Option<&Parentage>, options: &mut JobOptions, capability: &Capability) {
    if options.parent.is_none() && capability.supports(Feature::Parent) {
        options.parent = parentage.map(|parentage| parentage.job.clone());
    }
    if options.trace.is_none() && capability.supports(Feature::TraceContext) {
        options.trace = spans::current_trace().or_else(|| parentage?.trace.clone());
    }
}
