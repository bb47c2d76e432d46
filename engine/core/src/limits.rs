//! What bounds and orders jobs besides their queue: lines of ordering keys, slots of concurrency keys, tokens of rate
//! keys, shares of fair keys, and batches.
//!
//! A job that may not start is held back by one gate: it is blocked and stands in no claim's way. Every move of a job
//! with limits goes through [`shift`](Transaction::shift), which keeps the gates' counts and frees who may go on, in
//! the same transaction. Slots and tokens are taken by a start and by nothing else, so that a paused queue keeps none.

mod batches;
mod bucket;
mod claim;
mod gates;
mod lines;
mod shares;
mod tick;

use std::sync::Arc;

use taskport_abstraction::options::{ConcurrencyLimit, RateLimit};
use taskport_abstraction::{JobOptions, JobState, Result, Timestamp};

pub(crate) use self::batches::{Batches, status as batch_status};
pub(crate) use self::bucket::Bucket;
pub(crate) use self::gates::Gates;
pub(crate) use self::lines::Lines;
use crate::record::{GateKind, GateName, GateRecord, IN_LINE, JobRecord};
use crate::state::{Effect, Event};
use crate::store::Store;
use crate::transaction::Transaction;

/// What a job is to its gates and its batch.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Standing {
    /// Its state, where it exists.
    pub(crate) state: Option<JobState>,
    /// The gate that holds it back.
    pub(crate) held_by: Option<i64>,
}

impl Standing {
    /// A job that does not exist yet, or no longer.
    pub(crate) const NONE: Self = Self { state: None, held_by: None };

    /// A job that nothing holds back.
    pub(crate) const fn free(state: JobState) -> Self {
        Self { state: Some(state), held_by: None }
    }

    pub(crate) fn of(job: &JobRecord) -> Self {
        Self { state: Some(job.state), held_by: job.held_by }
    }

    /// Whether it waits for those before it in a line.
    pub(crate) fn is_in_line(self) -> bool {
        self.held_by == Some(IN_LINE)
    }

    fn is(self, state: JobState) -> bool {
        self.state == Some(state)
    }

    fn is_live(self) -> bool {
        self.state.is_some_and(|state| !state.is_terminal())
    }

    /// Whether it runs or may at once.
    fn is_active(self) -> bool {
        self.is(JobState::Queued) || self.is(JobState::Running)
    }
}

/// Whether the moves of a job with these options have to be told to anybody.
pub(crate) fn is_bound(options: &JobOptions) -> bool {
    options.ordering_key.is_some() || is_gated(options) || options.batch.is_some()
}

/// Whether a claim has to look at a job with these options before it gives it out.
pub(crate) fn is_gated(options: &JobOptions) -> bool {
    options.concurrency.is_some() || options.rate_limit.is_some()
}

fn slots(limit: &ConcurrencyLimit) -> GateName {
    GateName::new(GateKind::Slots, &limit.key)
}

fn tokens(limit: &RateLimit) -> GateName {
    GateName::new(GateKind::Tokens, &limit.key)
}

impl GateRecord {
    fn bucket(&self) -> Bucket {
        Bucket::new(self.max, self.period)
    }

    fn tokens(&self, now: Timestamp) -> usize {
        self.bucket().tokens(self.mark, now)
    }

    fn settled(&self, now: Timestamp) -> i64 {
        match self.name.kind {
            GateKind::Tokens => self.bucket().settled(self.mark, now),
            _ => self.mark,
        }
    }

    fn count_held(&mut self, from: Standing, to: Standing) {
        let holds = |standing: Standing| u64::from(standing.held_by == Some(self.id));
        self.held = (self.held + holds(to)).saturating_sub(holds(from));
    }
}

impl<S: Store> Transaction<'_, S> {
    /// The options of a job whose moves have to be told to anybody.
    pub(crate) fn bounds(&mut self, job: &JobRecord) -> Option<Arc<JobOptions>> {
        job.options.as_ref()?;
        let options = self.engine.options.decode(job.options.as_ref()).ok()?;
        is_bound(&options).then_some(options)
    }

    /// The job as it is now, where what was done since it was read may have freed it.
    pub(crate) fn renewed(&mut self, job: JobRecord) -> Result<Option<JobRecord>> {
        match self.bounds(&job) {
            Some(_) => self.store(|store| store.job(&job.id)),
            None => Ok(Some(job)),
        }
    }

    fn gate(&mut self, name: &GateName) -> Result<&GateRecord> {
        if let Some(error) = &self.broken {
            return Err(error.clone());
        }
        match self.engine.gate(name) {
            Ok(gate) => Ok(gate),
            Err(error) => {
                self.broken = Some(error.clone());
                Err(error)
            }
        }
    }

    fn change_gate<T>(&mut self, name: &GateName, change: impl FnOnce(&mut GateRecord) -> T) -> Result<T> {
        if let Some(error) = &self.broken {
            return Err(error.clone());
        }
        let answer = self.engine.change_gate(name, change);
        self.keep_failure(answer)
    }

    /// Lets a new job be held back by a gate that is known to be closed. In a line it goes to the end.
    pub(crate) fn arrive(&mut self, job: &mut JobRecord, options: &JobOptions) -> Result<()> {
        if let Some(key) = &options.ordering_key
            && self.line_up(job, key)?
        {
            return self.hold(job, IN_LINE);
        }
        if job.state != JobState::Queued {
            return Ok(());
        }
        if let Some(limit) = &options.concurrency {
            let gate = self.gate(&slots(limit))?;
            if gate.held > 0 || gate.inside >= u64::from(limit.max) {
                let id = gate.id;
                return self.hold(job, id);
            }
        }
        if let Some(limit) = &options.rate_limit {
            let now = self.now;
            let gate = self.gate(&tokens(limit))?;
            let bucket = Bucket::new(limit.count, limit.period);
            if gate.held > 0 || bucket.tokens(gate.mark, now) == 0 {
                let id = gate.id;
                return self.hold(job, id);
            }
        }
        Ok(())
    }

    fn hold(&mut self, job: &mut JobRecord, gate: i64) -> Result<()> {
        if let Some(next) = self.next(job, Event::Hold) {
            job.state = next.state;
            job.held_by = Some(gate);
        }
        Ok(())
    }

    /// Takes the limits of a new submit for those of its keys: the newest says how many.
    pub(crate) fn learn(&mut self, options: &JobOptions) -> Result<()> {
        let now = self.now;
        if let Some(limit) = &options.concurrency {
            let name = slots(limit);
            let (known, held) = self.gate(&name).map(|gate| (gate.max, gate.held))?;
            if known != limit.max {
                let wake = held > 0 && limit.max > known;
                self.change_gate(&name, |gate| {
                    gate.max = limit.max;
                    gate.wake_at = gate.wake_at.or(wake.then_some(now));
                })?;
                if wake {
                    self.engine.wake_at(now);
                }
            }
        }
        if let Some(limit) = &options.rate_limit {
            let name = tokens(limit);
            let (known, held) = self.gate(&name).map(|gate| ((gate.max, gate.period), gate.held))?;
            if known != (limit.count, limit.period) {
                self.change_gate(&name, |gate| {
                    (gate.max, gate.period) = (limit.count, limit.period);
                    gate.wake_at = (held > 0).then_some(now);
                })?;
                if held > 0 {
                    self.engine.wake_at(now);
                }
            }
        }
        Ok(())
    }

    /// Enters a move of a job into its gates and its batch, and frees who may go on because of it.
    pub(crate) fn shift(&mut self, options: &JobOptions, from: Standing, to: Standing) -> Result<()> {
        if from == to {
            return Ok(());
        }
        if let Some(key) = &options.ordering_key {
            self.shift_line(key, from, to)?;
        }
        self.shift_gates(options, from, to)?;
        if let Some(batch) = &options.batch {
            self.shift_batch(batch, from.state, to.state)?;
        }
        Ok(())
    }

    /// The part of [`shift`](Self::shift) that has to do with slots and tokens.
    pub(crate) fn shift_gates(&mut self, options: &JobOptions, from: Standing, to: Standing) -> Result<()> {
        if let Some(limit) = &options.concurrency {
            self.shift_slots(limit, from, to)?;
        }
        if let Some(limit) = &options.rate_limit {
            self.shift_tokens(limit, from, to)?;
        }
        Ok(())
    }

    fn shift_slots(&mut self, limit: &ConcurrencyLimit, from: Standing, to: Standing) -> Result<()> {
        let name = slots(limit);
        let runs = |standing: Standing| u64::from(standing.is(JobState::Running));
        let id = self.gate(&name)?.id;
        let holds = |standing: Standing| standing.held_by == Some(id);
        let leaves = from.is_active() && !to.is_active();
        if runs(from) == runs(to) && holds(from) == holds(to) && !leaves {
            return Ok(());
        }
        let goes_on = self.change_gate(&name, |gate| {
            gate.max = if gate.max == 0 { limit.max } else { gate.max };
            gate.count_held(from, to);
            gate.inside = (gate.inside + runs(to)).saturating_sub(runs(from));
            leaves && gate.held > 0 && gate.inside < u64::from(gate.max)
        })?;
        if goes_on { self.free_some(&name, 1) } else { Ok(()) }
    }

    fn shift_tokens(&mut self, limit: &RateLimit, from: Standing, to: Standing) -> Result<()> {
        let (name, now) = (tokens(limit), self.now);
        let id = self.gate(&name)?.id;
        let holds = |standing: Standing| standing.held_by == Some(id);
        let starts = from.is(JobState::Queued) && to.is(JobState::Running);
        let leaves = from.is(JobState::Queued) && !to.is(JobState::Queued);
        if !leaves && holds(from) == holds(to) {
            return Ok(());
        }
        let (goes_on, wake_at) = self.change_gate(&name, |gate| {
            if gate.max == 0 {
                (gate.max, gate.period) = (limit.count, limit.period);
            }
            gate.count_held(from, to);
            gate.mark = gate.settled(now);
            if starts {
                gate.mark = gate.bucket().take(gate.mark, now, 1);
            }
            let goes_on = leaves && gate.held > 0 && gate.tokens(now) > 0;
            let waits = gate.held > 0 && gate.tokens(now) == 0;
            // A moment that has come counts until a tick has seen it, or one goes on without it.
            let is_over = gate.held == 0 || goes_on;
            let known = gate.wake_at.filter(|_| !is_over);
            gate.wake_at = if waits { Some(gate.bucket().next(gate.mark, now)) } else { known };
            (goes_on, gate.wake_at)
        })?;
        if let Some(moment) = wake_at {
            self.engine.wake_at(moment);
        }
        if goes_on { self.free_some(&name, 1) } else { Ok(()) }
    }

    /// Lets the first `count` of those a gate holds back go on; of each queue as many, since nobody may serve one of them.
    fn free_some(&mut self, name: &GateName, count: usize) -> Result<()> {
        let id = self.gate(name)?.id;
        let jobs = self.store(|store| store.held(id, count))?;
        for job in jobs {
            self.free(job)?;
        }
        Ok(())
    }

    fn free(&mut self, mut job: JobRecord) -> Result<()> {
        let from = Standing::of(&job);
        let in_line = job.is_in_line();
        if !in_line {
            // It was due when it found the gate closed, also where the clock was set back since.
            job.due_at = Some(self.now);
        }
        let Some(next) = self.next(&job, Event::Free) else { return Ok(()) };
        job.held_by = None;
        job.state = next.state;
        job.due_at = Some(if let Effect::Wait(moment) = next.effect { moment } else { self.now });
        if in_line {
            // Its queue's order may have changed, and its share is paid for only now.
            job.position = self.place(&job)?;
        }
        self.store(|store| store.move_job(&job))?;
        self.count(&job.queue, Some(JobState::Blocked), job.state)?;
        self.watch_times(&job);
        self.freed += 1;
        match self.bounds(&job) {
            Some(options) => self.shift(&options, from, Standing::of(&job)),
            None => Ok(()),
        }
    }

    /// The gate that keeps a job from starting now.
    pub(crate) fn closed_gate(&mut self, options: &JobOptions) -> Result<Option<i64>> {
        if let Some(limit) = &options.concurrency {
            let gate = self.gate(&slots(limit))?;
            let max = if gate.max == 0 { limit.max } else { gate.max };
            if gate.inside >= u64::from(max) {
                return Ok(Some(gate.id));
            }
        }
        if let Some(limit) = &options.rate_limit {
            let now = self.now;
            let gate = self.gate(&tokens(limit))?;
            if gate.max > 0 && gate.tokens(now) == 0 {
                return Ok(Some(gate.id));
            }
        }
        Ok(None)
    }

    /// Takes a queued job that a claim came to out of everybody's way.
    pub(crate) fn park(&mut self, mut job: JobRecord, options: &JobOptions, gate: i64) -> Result<()> {
        let from = Standing::of(&job);
        self.hold(&mut job, gate)?;
        self.store(|store| store.move_job(&job))?;
        self.count(&job.queue, Some(JobState::Queued), job.state)?;
        self.shift(options, from, Standing::of(&job))
    }
}
