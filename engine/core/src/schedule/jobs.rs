//! The jobs that schedules submit.

use std::sync::Arc;

use taskport_abstraction::options::{METADATA_MAX, Start};
use taskport_abstraction::schedule::ScheduleDefinition;
use taskport_abstraction::{Error, JobId, Result, Timestamp, codes};

use super::{delay, job_id};
use crate::transaction::NewJob;

/// The metadata of a schedule's jobs that names it.
pub const SCHEDULE: &str = "schedule";
/// The metadata of a tick's job that says when the tick was.
pub const TICK: &str = "tick";

/// Refuses options that mean nothing for jobs to come.
pub(super) fn check(definition: &ScheduleDefinition) -> Result<()> {
    let options = &definition.options;
    options.validate()?;
    let bad = |message: String| Error::new(&codes::BAD_OPTION, "schedule", message);
    if let Some(taken) = [SCHEDULE, TICK].into_iter().find(|key| options.metadata.contains_key(*key)) {
        return Err(bad(format!("the metadata `{taken}` is set by the schedule itself")));
    }
    if options.metadata.len() + 2 > METADATA_MAX {
        let max = METADATA_MAX - 2;
        return Err(bad(format!("the jobs of a schedule have at most {max} metadata entries of their own")));
    }
    let delay = match options.start {
        Some(Start::At(_)) => {
            return Err(bad("a schedule's jobs cannot all start at one moment".into())
                .hint("give a delay, which counts from each tick"));
        }
        Some(Start::In(delay)) => delay,
        None => std::time::Duration::ZERO,
    };
    match options.expiry {
        Some(Start::At(_)) => Err(bad("a schedule's jobs cannot all expire at one moment".into())
            .hint("give a period, which counts from each submit, or let the schedule end")),
        Some(Start::In(expiry)) if expiry <= delay.saturating_add(definition.jitter) => {
            Err(bad("a job may expire before it may start, by its delay and the jitter".into()))
        }
        _ => Ok(()),
    }
}

/// The job of one tick.
pub(crate) fn job_of_tick(definition: &ScheduleDefinition, tick: Timestamp) -> Result<NewJob> {
    let mut job = job(definition, job_id(&definition.name, tick)?);
    job.options.metadata.insert(TICK.into(), tick.to_string().into());
    let wait = delay(&definition.name, tick, definition.jitter);
    job.options.start = match job.options.start {
        Some(Start::In(delay)) => Some(Start::At(tick + delay + wait)),
        None if !wait.is_zero() => Some(Start::At(tick + wait)),
        other => other,
    };
    Ok(job)
}

/// The job of a schedule that somebody asked for by hand.
pub(crate) fn job_of_trigger(definition: &ScheduleDefinition, id: JobId) -> NewJob {
    job(definition, id)
}

fn job(definition: &ScheduleDefinition, id: JobId) -> NewJob {
    let mut options = definition.options.clone();
    options.metadata.insert(SCHEDULE.into(), Arc::from(definition.name.as_str()));
    NewJob { id, call: definition.call.clone(), options, step: None }
}
