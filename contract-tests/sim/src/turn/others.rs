//! What operators ask, and those who start workflows.

use std::sync::Arc;

use taskport_abstraction::backend::{Cancellation, JobFilter, QueueOrder, RunRequest, WorkerLoad};
use taskport_abstraction::{
    JobState, Payload, QueueName, Result as Answer, RunId, WorkflowDefinition, codes,
};
use taskport_engine::{NewWorker, Store};

use super::{Deed, Turn, Tx, brief};
use crate::broken::{Broken, hold};
use crate::graph;
use crate::model::ROWS_MAX;
use crate::plan::{pick, queue_limits};

impl<S: Store> Turn<'_, S> {
    /// Cancels, requeues or deletes a job.
    pub(super) fn ask_of_job(&mut self, tx: &mut Tx<'_, S>) -> Result<(), Broken> {
        let id = self.any_job();
        let row = (!self.struck()).then(|| self.below.peek(|rows| rows.job(&id)));
        match self.rng.u8(0..6) {
            0..3 => {
                let answer = tx.cancel(std::slice::from_ref(&id)).remove(0);
                self.say(|| format!("cancel {id} -> {}", brief(&answer)));
                if let Some(row) = row.filter(|_| !self.struck()) {
                    self.model.cancelled(&id, row.as_ref(), &answer)?;
                }
                self.deeds.push(Deed::Cancel(id, answer));
            }
            3..5 => {
                let (model, now) = (&*self.model, self.now);
                let taken = row.is_some() && self.below.peek(|rows| model.key_taken(rows, &id, now));
                let answer = tx.requeue(std::slice::from_ref(&id)).remove(0);
                self.say(|| format!("requeue {id} -> {}", brief(&answer)));
                if let Some(row) = row.filter(|_| !self.struck()) {
                    self.model.requeued(&id, row.as_ref(), taken, &answer)?;
                }
                self.deeds.push(Deed::Requeue(id, answer));
            }
            _ => {
                let step = row.iter().flatten().find_map(|row| row.step.clone());
                let run = step.and_then(|step| self.below.peek(|rows| rows.run(&step.run)));
                let goes_on = run.is_some_and(|run| run.state == JobState::Running);
                let answer = tx.delete(std::slice::from_ref(&id)).remove(0);
                self.say(|| format!("delete {id} -> {}", brief(&answer)));
                if let Some(row) = row.filter(|_| !self.struck()) {
                    self.model.deleted(&id, row.as_ref(), goes_on, &answer)?;
                }
            }
        }
        Ok(())
    }

    /// Pauses, resumes, purges or reorders a queue.
    pub(super) fn ask_of_queue(&mut self, tx: &mut Tx<'_, S>) -> Result<(), Broken> {
        let queue = pick(self.rng, &self.plan.queues).clone();
        match self.rng.u8(0..10) {
            0..2 => {
                let answer = tx.pause(&queue, Some("because"));
                self.say(|| format!("pause {queue} -> {}", brief(&answer)));
                if !self.struck() {
                    self.settled("pause", answer)?;
                    self.model.queue_set(&queue, Some(true), None);
                }
            }
            2..5 => self.resume(tx, &queue)?,
            5 if self.plan.has_limits() => {
                let limits = queue_limits(self.rng);
                let answer = tx.set_limits(&queue, limits);
                self.say(|| format!("limit {queue} {limits:?} -> {}", brief(&answer)));
                if !self.struck() {
                    self.settled("set limits", answer)?;
                    self.model.queue_limited(&queue, limits);
                }
            }
            6..9 => {
                let orders = [QueueOrder::Priority, QueueOrder::Fifo, QueueOrder::Lifo, QueueOrder::Fair];
                let order = orders[self.rng.usize(0..3 + usize::from(self.plan.has_limits()))];
                let answer = tx.set_order(&queue, order);
                self.say(|| format!("order {queue} {order:?} -> {}", brief(&answer)));
                if !self.struck() {
                    self.settled("set order", answer)?;
                    self.model.queue_set(&queue, None, Some(order));
                }
            }
            5 => self.resume(tx, &queue)?,
            _ => {
                let filter = JobFilter { queue: Some(queue.clone()), ..JobFilter::default() };
                let mut waiting = self.below.peek(|rows| rows.jobs(&filter, None, ROWS_MAX));
                waiting.retain(|job| job.state.is_waiting());
                let answer = tx.purge(&queue);
                self.say(|| format!("purge {queue} -> {}", brief(&answer)));
                if !self.struck() && !self.is_unknown(&queue, &answer) {
                    self.model.purged(&queue, &waiting, &answer)?;
                }
            }
        }
        Ok(())
    }

    pub(crate) fn resume(&mut self, tx: &mut Tx<'_, S>, queue: &QueueName) -> Result<(), Broken> {
        let answer = tx.resume(queue);
        self.say(|| format!("resume {queue} -> {}", brief(&answer)));
        if !self.struck() && !self.is_unknown(queue, &answer) {
            self.settled("resume", answer)?;
            self.model.queue_set(queue, Some(false), None);
        }
        Ok(())
    }

    /// Whether a queue is rightly said to be unknown: it has no row.
    fn is_unknown<T>(&self, queue: &QueueName, answer: &Answer<T>) -> bool {
        let unknown = answer.as_ref().is_err_and(|error| error.code() == &codes::QUEUE_NOT_FOUND);
        unknown && self.below.peek(|rows| rows.queue(queue)).is_none()
    }

    /// Starts a run, or one that was started before, or cancels one.
    pub(super) fn ask_of_runs(&mut self, tx: &mut Tx<'_, S>) -> Result<(), Broken> {
        match self.rng.u8(0..10) {
            0..6 => {
                let id = RunId::new(format!("run-{}", self.made.runs.len())).expect("a good name");
                let run = (id, graph::definition(self.rng, self.plan), graph::input(self.rng));
                self.made.runs.push(run.clone());
                self.start(tx, run.0, run.1, run.2)
            }
            6..8 if !self.made.runs.is_empty() => {
                let (id, definition, input) = pick(self.rng, &self.made.runs).clone();
                let input = if self.rng.bool() { input } else { graph::input(self.rng) };
                self.start(tx, id, definition, input)
            }
            _ if !self.made.runs.is_empty() => {
                let id = pick(self.rng, &self.made.runs).0.clone();
                self.cancel_run(tx, &id)
            }
            _ => Ok(()),
        }
    }

    fn start(
        &mut self,
        tx: &mut Tx<'_, S>,
        id: RunId,
        definition: Arc<WorkflowDefinition>,
        input: Payload,
    ) -> Result<(), Broken> {
        let known = (!self.struck()).then(|| self.below.peek(|rows| rows.run(&id)));
        let request = RunRequest { id: id.clone(), definition, input: input.clone(), trace: None };
        let answer = tx.start_runs(vec![request]).remove(0);
        self.say(|| format!("start {id} -> {}", brief(&answer)));
        let Some(known) = known.filter(|_| !self.struck()) else { return Ok(()) };
        let conflict = known.is_some_and(|known| known.input != input);
        let right = match &answer {
            Ok(run) => *run == id && !conflict,
            Err(error) => error.code() == &codes::RUN_CONFLICT && conflict,
        };
        hold!(right, "start", "{id}, conflict {conflict}: {answer:?}");
        Ok(())
    }

    fn cancel_run(&mut self, tx: &mut Tx<'_, S>, id: &RunId) -> Result<(), Broken> {
        let before = (!self.struck()).then(|| self.below.peek(|rows| rows.run(id)));
        let answer = tx.cancel_run(id);
        self.say(|| format!("cancel {id} -> {}", brief(&answer)));
        let Some(before) = before.filter(|_| !self.struck()) else { return Ok(()) };
        let after = self.below.peek(|rows| rows.run(id));
        let right = match (before.map(|run| run.state), &answer) {
            (None, Err(error)) => error.code() == &codes::RUN_NOT_FOUND,
            (Some(state), Ok(Cancellation::AlreadyEnded(ended))) => state == *ended && state.is_terminal(),
            // A run that fails already goes on to fail.
            (Some(JobState::Running), Ok(Cancellation::Requested)) => {
                after.is_some_and(|run| run.state == JobState::Running)
            }
            (Some(JobState::Running), Ok(Cancellation::Cancelled)) => {
                after.is_some_and(|run| run.state.is_terminal())
            }
            _ => false,
        };
        hold!(right, "cancel", "{id}: {answer:?}");
        Ok(())
    }

    /// The worker says that it is there, and goes on the list where it is not.
    pub(super) fn beat(&mut self, tx: &mut Tx<'_, S>) -> Result<(), Broken> {
        let listed = !self.struck() && self.below.peek(|rows| rows.worker(self.process)).is_some();
        let load = WorkerLoad { running: self.hands.len(), slots: 5 };
        let answer = tx.heartbeat(self.process, load);
        if self.struck() {
            return Ok(());
        }
        let known = self.settled("heartbeat", answer)?;
        hold!(known == listed, "worker", "{} is listed: {listed}, and was told {known}", self.process);
        if known {
            return Ok(());
        }
        let worker = NewWorker {
            name: self.process.into(),
            host: "simulated".to_owned(),
            pid: 1,
            queues: self.plan.queues.clone(),
            tasks: Vec::new(),
            slots: 5,
            lease_for: self.plan.lease_for(),
        };
        let answer = tx.register_worker(worker);
        if self.struck() { Ok(()) } else { self.settled("register", answer) }
    }
}
