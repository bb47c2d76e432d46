//! What bounds jobs besides their place in line.

use std::sync::Arc;

use taskport_abstraction::backend::Delivery;
use taskport_abstraction::options::{ConcurrencyLimit, RateLimit};
use taskport_abstraction::{JobId, JobOptions, JobState, Timestamp};
use taskport_engine::record::JobRecord;

use super::Model;
use crate::broken::{Broken, hold};

/// What a job has to wait for besides its turn.
#[derive(Debug, Clone, Default)]
pub(super) struct Bounds {
    line: Option<Arc<str>>,
    slots: Option<ConcurrencyLimit>,
    rate: Option<RateLimit>,
}

impl From<&JobOptions> for Bounds {
    fn from(options: &JobOptions) -> Self {
        Self {
            line: options.ordering_key.clone(),
            slots: options.concurrency.clone(),
            rate: options.rate_limit.clone(),
        }
    }
}

impl Bounds {
    pub(super) fn are_some(&self) -> bool {
        self.line.is_some() || self.slots.is_some() || self.rate.is_some()
    }
}

/// What is left of a rate, counted in what one start costs.
#[derive(Debug, Clone, Copy)]
pub(super) struct Bucket {
    starts: f64,
    at: Timestamp,
}

impl Model {
    /// What jobs just given must not have passed, from all rows after the claim. Rates are counted where all clocks
    /// agree.
    pub(crate) fn passed(
        &mut self,
        deliveries: &[Delivery],
        rows: &[JobRecord],
        now: Timestamp,
        clocks_agree: bool,
    ) -> Result<(), Broken> {
        for delivery in deliveries {
            let id = &delivery.lease.job;
            let Some(job) = self.jobs.get(id).cloned() else { continue };
            if let Some(line) = &job.bounds.line {
                self.passed_line(id, line, rows)?;
            }
            if let Some(slots) = &job.bounds.slots {
                let holds = |row: &&JobRecord| {
                    let bounds = self.jobs.get(&row.id).and_then(|job| job.bounds.slots.as_ref());
                    row.state == JobState::Running && bounds.is_some_and(|other| other.key == slots.key)
                };
                let count = rows.iter().filter(holds).count();
                hold!(
                    count <= slots.max as usize,
                    "slots",
                    "{count} jobs of {slots:?} run, {id} is the last"
                );
            }
            if let Some(rate) = job.bounds.rate.filter(|_| clocks_agree) {
                self.take_token(id, &rate, now)?;
            }
            let limits = self.queues.get(&delivery.queue).map(|queue| queue.limits).unwrap_or_default();
            if let Some(max) = limits.concurrency_max {
                let runs = |row: &&JobRecord| row.state == JobState::Running && row.queue == delivery.queue;
                let count = rows.iter().filter(runs).count();
                hold!(count <= max as usize, "slots", "{count} jobs of {} run, {max} may", delivery.queue);
            }
        }
        Ok(())
    }

    fn passed_line(&self, id: &JobId, line: &Arc<str>, rows: &[JobRecord]) -> Result<(), Broken> {
        let of_line = |row: &&JobRecord| {
            !row.state.is_terminal()
                && self.jobs.get(&row.id).is_some_and(|job| job.bounds.line.as_ref() == Some(line))
        };
        let line: Vec<&JobRecord> = rows.iter().filter(of_line).collect();
        let Some(own) = line.iter().find(|row| row.id == *id) else { return Ok(()) };
        let displaced = |id: &JobId| self.jobs.get(id).is_some_and(|job| job.displaced);
        for other in line.iter().filter(|row| row.id != *id) {
            hold!(
                other.state == JobState::Blocked,
                "line",
                "{id} was given, and {} is {}",
                other.id,
                other.state
            );
            let in_order = own.seq < other.seq || displaced(id) || displaced(&other.id);
            hold!(in_order, "line", "{id} was given before {}", other.id);
        }
        Ok(())
    }

    fn take_token(&mut self, id: &JobId, rate: &RateLimit, now: Timestamp) -> Result<(), Broken> {
        let full = f64::from(rate.count);
        let known = self.buckets.get(&rate.key).copied().unwrap_or(Bucket { starts: full, at: now });
        let regained = now.since(known.at).as_secs_f64() * full / rate.period.as_secs_f64();
        let starts = (known.starts + regained).min(full) - 1.0;
        // Moments are whole microseconds.
        let overdrawn = starts < -0.001;
        hold!(!overdrawn, "rate", "{id} was given with {starts} starts left of {rate:?}");
        self.buckets.put(rate.key.clone(), Bucket { starts, at: now });
        Ok(())
    }
}
