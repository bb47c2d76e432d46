//! The tasks an executor runs, with the limits of their profiles: checked once, before the first job.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use taskport_abstraction::task::{Execution, Handler};
use taskport_abstraction::text::nearest;
use taskport_abstraction::{Error, Failure, FailureKind, Result, TaskDefinition, TaskName, codes};
use tokio::sync::Semaphore;

use crate::hash::BuildQuick;
use crate::layers::rate::RateGate;
use crate::profile::{Isolation, Profile};

/// A task that can be run here.
#[derive(Debug)]
pub(crate) struct Entry {
    pub(crate) name: TaskName,
    pub(crate) handler: Handler,
    pub(crate) place: Place,
    pub(crate) limits: Limits,
    /// The profile's own hard limit, which no submit may exceed.
    pub(crate) time_limit: Option<Duration>,
    pub(crate) memory_bytes: Option<u64>,
    pub(crate) class: Option<Arc<Class>>,
}

/// Where an attempt runs, and so how it can be stopped.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Place {
    /// In the worker's runtime, as the handler is.
    Runtime,
    /// On a thread of the blocking pool, which may be left behind at a hard limit where `detachable`.
    Thread { detachable: bool },
    /// In a child process.
    Child,
}

impl Entry {
    /// Whether an attempt ends when its future is dropped, or may be left behind.
    pub(crate) fn is_droppable(&self) -> bool {
        match self.place {
            Place::Runtime => matches!(self.handler, Handler::Async(_)),
            Place::Thread { detachable } => detachable,
            Place::Child => true,
        }
    }
}

/// How long an attempt may take.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) struct Limits {
    pub(crate) soft: Option<Duration>,
    pub(crate) hard: Option<Duration>,
}

/// What the tasks of one profile share.
#[derive(Debug)]
pub(crate) struct Class {
    pub(crate) slots: Option<Arc<Semaphore>>,
    pub(crate) rate: Option<RateGate>,
}

/// Every task that can be run here, by name.
#[derive(Debug, Default)]
pub(crate) struct Catalog(HashMap<TaskName, Arc<Entry>, BuildQuick>);

impl Catalog {
    /// Checks every definition against its profile's limits.
    ///
    /// # Errors
    /// `InvalidInput` (E-015) where a limit cannot be kept; `InvalidConfig` for a profile that lets nothing run.
    pub(crate) fn new<'d>(
        definitions: impl IntoIterator<Item = &'d TaskDefinition>,
        profiles: &[Profile],
    ) -> Result<Self> {
        profiles.iter().try_for_each(Profile::check)?;
        let classes: Vec<Arc<Class>> = profiles
            .iter()
            .map(|profile| {
                Arc::new(Class {
                    slots: profile.concurrency.map(|slots| Arc::new(Semaphore::new(slots.min(SLOTS_MAX)))),
                    rate: profile.rate_limit.map(RateGate::new),
                })
            })
            .collect();
        let mut entries = HashMap::default();
        for definition in definitions {
            let Some(handler) = &definition.handler else { continue };
            let profile = profiles.iter().position(|profile| profile.applies_to(&definition.name));
            let class = profile.map(|index| classes[index].clone());
            let entry = entry(definition, handler, profile.map(|index| &profiles[index]), class)?;
            entries.insert(definition.name.clone(), Arc::new(entry));
        }
        Ok(Self(entries))
    }

    /// The task called `name`.
    pub(crate) fn get(&self, name: &TaskName) -> Option<&Arc<Entry>> {
        self.0.get(name)
    }

    /// The first task that runs in a child process.
    pub(crate) fn isolated(&self) -> Option<&TaskName> {
        self.0.values().filter(|entry| entry.place == Place::Child).map(|entry| &entry.name).min()
    }

    /// Why a job of the task `name` cannot run here.
    pub(crate) fn unknown(&self, name: &TaskName) -> Failure {
        let mut message = format!("no task `{name}` is implemented in this worker");
        if let Some(near) = nearest(name.as_str(), self.0.keys().map(TaskName::as_str)) {
            message.push_str(&format!("; did you mean `{near}`?"));
        }
        Failure::new(FailureKind::UnknownTask, message)
    }
}

/// Far above any use, and within what a semaphore can count.
const SLOTS_MAX: usize = 1 << 20;

fn entry(
    definition: &TaskDefinition,
    handler: &Handler,
    profile: Option<&Profile>,
    class: Option<Arc<Class>>,
) -> Result<Entry> {
    let isolated = profile.is_some_and(|profile| profile.isolation == Isolation::Process);
    let place = match definition.execution {
        _ if isolated => Place::Child,
        Execution::Isolated => Place::Child,
        Execution::Blocking => Place::Thread { detachable: definition.detach_on_timeout },
        Execution::Async | Execution::Inline | Execution::Remote => Place::Runtime,
    };
    let time_limit = profile.and_then(|profile| profile.time_limit);
    let memory_bytes = profile.and_then(|profile| profile.memory_bytes);
    let entry = Entry {
        name: definition.name.clone(),
        handler: handler.clone(),
        place,
        limits: Limits {
            soft: definition.options.timeout_soft,
            hard: shorter(definition.options.timeout_hard, time_limit),
        },
        time_limit,
        memory_bytes,
        class,
    };
    let bad = |problem: &str, hint: &'static str| {
        let message = format!("task `{}` at {}: {problem}", definition.name, definition.location);
        Err(Error::new(&codes::BAD_DEFINITION, "start worker", message).hint(hint))
    };
    if entry.limits.hard.is_some() && !entry.is_droppable() {
        return bad(
            NO_HARD_LIMIT,
            "make it `isolated`, or `blocking` with `detach_on_timeout`, or use a soft timeout",
        );
    }
    if memory_bytes.is_some() && place != Place::Child {
        return bad(
            "a memory limit needs a process of its own",
            "make it `isolated`, or set isolation = \"process\" in its resource profile",
        );
    }
    Ok(entry)
}

/// Why a plain function on one of our threads has no hard time limit.
pub(crate) const NO_HARD_LIMIT: &str = "a hard time limit cannot be kept: a thread cannot be killed";

/// The shorter of two limits that may be left out.
pub(crate) fn shorter(left: Option<Duration>, right: Option<Duration>) -> Option<Duration> {
    match (left, right) {
        (Some(left), Some(right)) => Some(left.min(right)),
        (left, right) => left.or(right),
    }
}
