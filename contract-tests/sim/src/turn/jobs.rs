//! What clients and workers ask.

use std::time::Duration;

use taskport_abstraction::backend::{Delivery, Extension, JobFilter, Settlement, Verdict};
use taskport_abstraction::job::Progress;
use taskport_abstraction::{Failure, FailureKind, JobId, Payload, QueueName, RawCall};
use taskport_engine::{Claim, NewJob, Store};

use super::{Deed, Turn, Tx, brief};
use crate::broken::{Broken, hold};
use crate::graph;
use crate::history;
use crate::model::ROWS_MAX;
use crate::plan::{RESULT_BYTES_MAX, pick};

impl<S: Store> Turn<'_, S> {
    /// Hands in a few jobs, one of which may have been handed in before.
    pub(super) fn submit(&mut self, tx: &mut Tx<'_, S>) -> Result<(), Broken> {
        for _ in 0..self.rng.u8(1..=4) {
            let again = self.rng.u8(0..12) == 0 && !self.made.jobs.is_empty();
            let id = if again { pick(self.rng, &self.made.jobs).clone() } else { self.new_id() };
            let arguments = Payload::json(format!("[[{}],{{}}]", self.rng.u8(0..3)));
            let call = RawCall { task: "plain".parse().expect("a good name"), arguments };
            let options = self.plan.options(self.rng, self.now);
            self.submit_one(tx, NewJob { id, call, options, step: None })?;
        }
        Ok(())
    }

    pub(crate) fn submit_one(&mut self, tx: &mut Tx<'_, S>, new: NewJob) -> Result<(), Broken> {
        let (model, now) = (&*self.model, self.now);
        let expected = (!self.struck()).then(|| self.below.peek(|rows| model.expect_submit(rows, &new, now)));
        let answer = tx.enqueue(vec![new.clone()]).remove(0);
        let options = || serde_json::to_string(&new.options).unwrap_or_default();
        self.say(|| format!("submit {} {} -> {}", new.id, options(), brief(&answer)));
        if let Some(expected) = expected.filter(|_| !self.struck()) {
            self.model.submitted(&new, &expected, &answer, now)?;
        }
        let not_before = new.options.start.map(|start| start.resolve(now));
        self.deeds.push(Deed::Submit { id: new.id, not_before, answer });
        Ok(())
    }

    /// A name in one of the two forms that stores know.
    fn new_id(&mut self) -> JobId {
        let n = self.made.jobs.len();
        let text =
            if n.is_multiple_of(2) { format!("0192f0c1-2345-7abc-8def-{n:012x}") } else { format!("j{n}") };
        let id: JobId = text.parse().expect("a good name");
        self.made.jobs.push(id.clone());
        id
    }

    /// Takes jobs from some of the queues.
    pub(crate) fn claim(&mut self, tx: &mut Tx<'_, S>, max: usize) -> Result<(), Broken> {
        let mut queues: Vec<QueueName> = self.plan.queues.clone();
        self.rng.shuffle(&mut queues);
        queues.truncate(self.rng.usize(1..=queues.len()));
        self.claim_from(tx, &queues, max)
    }

    pub(crate) fn claim_from(
        &mut self,
        tx: &mut Tx<'_, S>,
        queues: &[QueueName],
        max: usize,
    ) -> Result<(), Broken> {
        let claim = Claim { worker: self.process, queues, max, lease_for: self.plan.lease_for() };
        let (model, now) = (&*self.model, self.now);
        let lines = (!self.struck()).then(|| self.below.peek(|rows| model.lines(rows, queues, now)));
        let answer = tx.claim(&claim);
        self.say(|| format!("claim {max} of {queues:?} -> {}", names(answer.as_deref().unwrap_or_default())));
        let Some(lines) = lines.filter(|_| !self.struck()) else { return Ok(()) };
        let deliveries = self.settled("claim", answer)?;
        self.model.granted(&claim, &lines, &deliveries, now)?;
        if self.plan.has_limits() && !deliveries.is_empty() {
            let rows = self.below.peek(|rows| rows.jobs(&JobFilter::default(), None, ROWS_MAX));
            self.model.passed(&deliveries, &rows, now, self.plan.jumps == 0)?;
        }
        for delivery in &deliveries {
            let Some(step) = &delivery.step else { continue };
            let upstream = tx.upstream(step);
            hold!(upstream.is_ok() || self.struck(), "upstream", "{step:?}: {upstream:?}");
            if !self.made.step_jobs.contains(&delivery.lease.job) {
                self.made.step_jobs.push(delivery.lease.job.clone());
            }
        }
        self.deeds.push(Deed::Claim(deliveries));
        Ok(())
    }

    /// Says how some of the attempts in hand ended, or says again what was said before.
    pub(super) fn settle(&mut self, tx: &mut Tx<'_, S>) -> Result<(), Broken> {
        let mut batch = Vec::new();
        for hand in self.hands {
            if batch.len() < 4 && self.rng.bool() {
                let verdict = self.verdict(&hand.delivery);
                batch.push(Settlement { lease: hand.delivery.lease.clone(), verdict });
            }
        }
        if let Some(spent) = self.spent.last()
            && self.rng.u8(0..5) == 0
        {
            batch.push(spent.clone());
        }
        self.settle_all(tx, batch)
    }

    pub(crate) fn settle_all(&mut self, tx: &mut Tx<'_, S>, batch: Vec<Settlement>) -> Result<(), Broken> {
        let answers = tx.settle(&batch);
        for (settlement, answer) in batch.into_iter().zip(answers) {
            let lease = &settlement.lease;
            self.say(|| {
                let outcome = history::outcome(&settlement.verdict);
                format!("settle {}#{} {outcome:?} -> {}", lease.job, lease.token.0, brief(&answer))
            });
            if !self.struck() {
                self.model.settled(&settlement, &answer)?;
            }
            self.deeds.push(Deed::Settle(settlement, answer));
        }
        Ok(())
    }

    fn verdict(&mut self, delivery: &Delivery) -> Verdict {
        let failure = || Failure::new(FailureKind::Error, "a whim");
        if self.rng.u8(0..100) < self.plan.whims {
            return match self.rng.u8(0..6) {
                0 => Verdict::Release,
                1 if delivery.step.is_none() => Verdict::Reject(failure()),
                2 if delivery.step.is_none() => {
                    Verdict::Ack(Payload::json(vec![b'1'; RESULT_BYTES_MAX + self.rng.usize(0..2)]))
                }
                3 => Verdict::Cancelled(Failure::new(FailureKind::Cancelled, "it stopped")),
                4 => Verdict::Retry {
                    failure: failure(),
                    after: Some(Duration::from_secs(self.rng.u64(0..5))),
                },
                _ => Verdict::Retry { failure: failure(), after: None },
            };
        }
        good_verdict(delivery)
    }

    /// Keeps some of the attempts in hand going.
    pub(super) fn extend(&mut self, tx: &mut Tx<'_, S>) -> Result<(), Broken> {
        let lease_for = self.plan.lease_for();
        for hand in self.hands {
            if self.rng.bool() {
                continue;
            }
            let lease = &hand.delivery.lease;
            let progress = self.rng.bool().then(|| Progress::new(self.rng.f64(), None));
            let row = (!self.struck()).then(|| self.below.peek(|rows| rows.job(&lease.job)));
            let extension = Extension { lease: lease.clone(), progress, notes: Vec::new() };
            let answer = tx.extend(&[extension], lease_for).remove(0);
            self.say(|| format!("extend {}#{} -> {}", lease.job, lease.token.0, brief(&answer)));
            if let Some(row) = row.filter(|_| !self.struck()) {
                self.model.extended(lease, row.as_ref(), &answer, self.now, lease_for)?;
            }
        }
        Ok(())
    }
}

/// What the task says. A plain job's result tells under which lease it was made.
pub(crate) fn good_verdict(delivery: &Delivery) -> Verdict {
    if delivery.step.is_some() {
        return graph::work(delivery);
    }
    Verdict::Ack(Payload::json(format!("{}", delivery.lease.token.0)))
}

fn names(deliveries: &[Delivery]) -> String {
    let name = |delivery: &Delivery| format!("{}#{}", delivery.lease.job, delivery.lease.token.0);
    deliveries.iter().map(name).collect::<Vec<_>>().join(" ")
}
