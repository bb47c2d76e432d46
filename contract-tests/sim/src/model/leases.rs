//! Claims, settles, extensions and lapses.

use std::cmp::Reverse;
use std::time::Duration;

use taskport_abstraction::backend::{
    Delivery, Extended, JobFilter, Lease as Held, QueueOrder, Settlement, Verdict,
};
use taskport_abstraction::{JobId, JobState, QueueName, Result as Answer, Timestamp, codes};
use taskport_engine::record::JobRecord;
use taskport_engine::{Claim, Store};

use super::{End, Lease, Model, refused};
use crate::broken::{Broken, hold};
use crate::plan::RESULT_BYTES_MAX;

/// More rows than a run ever has.
pub(crate) const ROWS_MAX: usize = 1_000_000;

/// The jobs of a queue that may start.
#[derive(Debug, Default)]
pub(crate) struct Line {
    /// In the order in which they have to.
    ready: Vec<JobRecord>,
    /// Those that something holds back, which may open.
    blocked: Vec<JobRecord>,
    /// Whether the order may be another one, and some may wait.
    is_loose: bool,
}

impl Line {
    fn row(&self, id: &JobId) -> Option<&JobRecord> {
        self.ready.iter().chain(&self.blocked).find(|row| row.id == *id)
    }
}

impl Model {
    /// The jobs that a claim has to choose from.
    pub(crate) fn lines<S: Store>(
        &self,
        rows: &mut S,
        queues: &[QueueName],
        now: Timestamp,
    ) -> Answer<Vec<Line>> {
        queues.iter().map(|queue| self.line(rows, queue, now)).collect()
    }

    fn line<S: Store>(&self, rows: &mut S, queue: &QueueName, now: Timestamp) -> Answer<Line> {
        let known = self.queues.get(queue).cloned().unwrap_or_default();
        if known.paused {
            return Ok(Line::default());
        }
        let mut in_state = |state| {
            let filter = JobFilter { queue: Some(queue.clone()), state: Some(state), ..JobFilter::default() };
            rows.jobs(&filter, None, ROWS_MAX)
        };
        let (mut ready, blocked) = (in_state(JobState::Queued)?, in_state(JobState::Blocked)?);
        ready.retain(|job| job.expires_at.is_none_or(|moment| moment > now));
        match known.order {
            QueueOrder::Lifo => ready.sort_by_key(|job| Reverse(job.seq)),
            QueueOrder::Priority => ready.sort_by_key(|job| (Reverse(job.priority), job.seq)),
            _ => ready.sort_by_key(|job| job.seq),
        }
        Ok(Line { ready, blocked, is_loose: self.is_bounded(queue) })
    }

    /// What a claim had to give, from the lines before it.
    pub(crate) fn granted(
        &mut self,
        claim: &Claim<'_>,
        lines: &[Line],
        deliveries: &[Delivery],
        now: Timestamp,
    ) -> Result<(), Broken> {
        let mut given = deliveries.iter().peekable();
        let mut room = claim.max;
        hold!(deliveries.len() <= room, "claim-order", "{room} jobs were wanted, not {}", deliveries.len());
        for line in lines {
            let opened = |delivery: &&Delivery| line.blocked.iter().any(|row| row.id == delivery.lease.job);
            for job in line.ready.iter().filter(|_| !line.is_loose) {
                while given.next_if(opened).is_some() {
                    room -= 1;
                }
                if room == 0 {
                    break;
                }
                if given.next_if(|delivery| delivery.lease.job == job.id).is_some() {
                    room -= 1;
                    continue;
                }
                let bounded = self.jobs.get(&job.id).is_some_and(|known| known.bounds.are_some());
                let next = given.peek().map_or("nothing", |delivery| delivery.lease.job.as_str());
                hold!(bounded, "claim-order", "{} was next in {}, and {next} was given", job.id, job.queue);
            }
            let rest = |delivery: &&Delivery| {
                if line.is_loose { line.row(&delivery.lease.job).is_some() } else { opened(delivery) }
            };
            while given.next_if(rest).is_some() {
                room -= 1;
            }
        }
        if let Some(stray) = given.next() {
            let job = &stray.lease.job;
            return Err(Broken::new("claim-order", format!("{job} was given, and does not wait in line")));
        }
        for delivery in deliveries {
            let row = lines.iter().find_map(|line| line.row(&delivery.lease.job));
            self.leased(delivery, row, now + claim.lease_for)?;
        }
        Ok(())
    }

    fn leased(
        &mut self,
        delivery: &Delivery,
        row: Option<&JobRecord>,
        until: Timestamp,
    ) -> Result<(), Broken> {
        let id = &delivery.lease.job;
        let Some(row) = row else {
            return Err(Broken::new("claim-order", format!("{id} was given, and has no row")));
        };
        let mut job = self.known(row);
        let token = delivery.lease.token.0;
        hold!(
            job.lease.is_none_or(|lease| lease.lapsed),
            "lease-held",
            "{id} was given under token {token}, and is held"
        );
        hold!(job.end.is_none(), "ended", "{id} was given, and has ended: {:?}", job.end);
        hold!(token == job.token + 1, "token", "{id} was given under {token} after {}", job.token);
        let same = delivery.attempt == row.attempt + 1
            && delivery.call.arguments == row.arguments
            && delivery.call.task == row.task
            && delivery.lease.expires_at == until;
        hold!(same, "delivery", "{id}: {delivery:?} of {row:?}");
        job.token = token;
        job.receipt = delivery.lease.receipt;
        job.lease = Some(Lease { until, lapsed: false });
        self.jobs.put(id.clone(), job);
        Ok(())
    }

    /// What a settle had to answer.
    pub(crate) fn settled(&mut self, settlement: &Settlement, answer: &Answer<()>) -> Result<(), Broken> {
        let id = &settlement.lease.job;
        if self.must_hold("settle", &settlement.lease, answer)?.is_none() {
            return Ok(());
        }
        let Some(mut job) = self.jobs.get(id).cloned() else { return Ok(()) };
        let stopped = || End::without_result(JobState::Cancelled);
        job.end = match &settlement.verdict {
            Verdict::Ack(result) if result.len() <= RESULT_BYTES_MAX => {
                Some(End { state: JobState::Succeeded, result: Some(result.clone()) })
            }
            Verdict::Ack(_) | Verdict::Reject(_) => Some(End::without_result(JobState::Failed)),
            Verdict::Cancelled(_) => Some(stopped()),
            Verdict::Retry { .. } | Verdict::Release => job.cancel_asked.then(stopped),
        };
        job.lease = None;
        job.cancel_asked &= job.end.is_none();
        self.jobs.put(id.clone(), job);
        Ok(())
    }

    /// What an extension had to answer, from the row before.
    pub(crate) fn extended(
        &mut self,
        lease: &Held,
        row: Option<&JobRecord>,
        answer: &Answer<Extended>,
        now: Timestamp,
        lease_for: Duration,
    ) -> Result<(), Broken> {
        let Some(extended) = self.must_hold("extend", lease, answer)? else { return Ok(()) };
        let until = now + lease_for;
        let asked = row.is_some_and(|row| row.cancel_requested);
        hold!(
            extended.expires_at == until && extended.cancel_requested == asked,
            "extension",
            "{}: {extended:?}, until {until}, cancel asked {asked}",
            lease.job
        );
        self.jobs.change(&lease.job, |job| job.lease = Some(Lease { until, lapsed: false }));
        Ok(())
    }

    /// Compares whether a lease was taken as held with whether it is; answers with what was said of one that is.
    fn must_hold<'a, T: std::fmt::Debug>(
        &self,
        verb: &str,
        lease: &Held,
        answer: &'a Answer<T>,
    ) -> Result<Option<&'a T>, Broken> {
        let (id, token) = (&lease.job, lease.token.0);
        let job = self.jobs.get(id).filter(|job| job.token == token && job.receipt == lease.receipt);
        let held = job.and_then(|job| job.lease);
        match (held, answer) {
            (Some(_), Ok(said)) => Ok(Some(said)),
            (Some(held), Err(error)) if held.lapsed && error.code() == &codes::LEASE_LOST => Ok(None),
            (Some(_), Err(error)) => {
                Err(Broken::new("lease-lost", format!("{verb} {id} under {token}, which holds: {error}")))
            }
            (None, answer) => {
                refused(verb, format!("{id} under {token}"), answer, &codes::LEASE_LOST).map(|()| None)
            }
        }
    }

    /// Time was looked at. With `more`, not all that was called for is done.
    pub(crate) fn ticked(&mut self, now: Timestamp, more: bool) {
        let over = |lease: &Lease| lease.until <= now;
        let lapsed: Vec<JobId> = self
            .jobs
            .iter()
            .filter(|(_, job)| job.lease.as_ref().is_some_and(over))
            .map(|(id, _)| id.clone())
            .collect();
        for id in lapsed {
            self.jobs.change(&id, |job| {
                job.lease = job.lease.filter(|_| more).map(|lease| Lease { lapsed: true, ..lease });
            });
        }
        let gone = self.keys.iter().filter(|(_, key)| key.until.is_some_and(|until| until <= now));
        let gone: Vec<_> = gone.map(|(name, _)| name.clone()).collect();
        for key in gone {
            self.keys.change(&key, |key| key.forgotten = true);
        }
    }
}
