//! Everything a worker has in hand: jobs that wait, run, or wait to be settled, each under its lease.
//!
//! One short-held lock; nothing is awaited under it.

use std::collections::{HashMap, VecDeque};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use taskport_abstraction::backend::{
    Attempt, Delivery, Extended, Extension, Lease, Settlement, Verdict, WorkerLoad, WorkerReport, WorkerSpec,
};
use taskport_abstraction::context::StopReason;
use taskport_abstraction::{AttemptControl, Clock, Failure, FailureKind, JobId, Timestamp};
use tokio::sync::Notify;
use tokio::task::{AbortHandle, yield_now};

use super::bell::Bell;
use super::lane::give_way;
use crate::control::{Control, Listener};

/// How many outcomes one settle call carries at most.
const SETTLE_LEN_MAX: usize = 1_024;
/// How many bytes of notes one call carries at most.
const NOTE_BYTES_MAX: usize = 8 << 20;

/// See the module.
#[derive(Debug)]
pub(super) struct InHand {
    state: Mutex<State>,
    clock: Arc<dyn Clock>,
    lease_for: Duration,
    slots: usize,
    /// How many jobs may wait or run.
    capacity: usize,
    /// How many outcomes may wait to be settled before nothing more is fetched.
    unsettled_max: usize,
    /// For lanes: an attempt may start.
    work: Bell,
    /// For settlers: an outcome waits.
    outcomes: Bell,
    /// For the one who fetches: there is room.
    space: Bell,
    ended: Notify,
    /// What attempts say is told here.
    listener: Arc<Listener>,
    news: Arc<Notify>,
    /// Held while notes are on their way, so that an outcome does not overtake them.
    talking: tokio::sync::Mutex<()>,
}

#[derive(Debug, Default)]
struct State {
    next_key: u64,
    held: HashMap<u64, Held>,
    ready: VecDeque<(u64, Delivery)>,
    finished: Vec<Outcome>,
    running: usize,
    /// Outcomes that wait or are being settled.
    unsettled: usize,
    report: WorkerReport,
    closed: bool,
}

/// One lease.
#[derive(Debug)]
struct Held {
    lease: Lease,
    /// When the lease lapses by our own clock, counted from its last renewal.
    lapses_at: Timestamp,
    /// Whether the backend has said that the lease has passed on.
    lost: bool,
    control: Arc<Control>,
    stage: Stage,
}

#[derive(Debug)]
enum Stage {
    Ready,
    Running(Option<AbortHandle>),
    Finished,
}

/// An attempt that is to start.
#[derive(Debug)]
pub(super) struct Started {
    pub(super) key: u64,
    pub(super) attempt: Attempt,
}

/// How a lane goes on.
#[derive(Debug)]
#[expect(
    clippy::large_enum_variant,
    reason = "moved once for each attempt, where a box would be one more allocation"
)]
pub(super) enum Next {
    Start(Started),
    /// An attempt could start; before that, tasks that this one has woken need a thread.
    GiveWay,
    /// None can start now.
    Wait,
}

/// How the attempt `key` is to be settled.
#[derive(Debug, Clone)]
pub(super) struct Outcome {
    pub(super) key: u64,
    pub(super) settlement: Settlement,
    /// Whether the attempt has said anything that may have to be handed over first.
    pub(super) has_notes: bool,
}

/// What became of an outcome.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Settled {
    Stored,
    Refused,
}

impl InHand {
    pub(super) fn new(spec: &WorkerSpec, clock: Arc<dyn Clock>) -> Self {
        let slots = spec.concurrency.max(1);
        let capacity = slots.saturating_add(spec.prefetch);
        let news = Arc::new(Notify::new());
        let told = news.clone();
        Self {
            listener: Listener::new(clock.clone(), move || told.notify_one()),
            news,
            talking: tokio::sync::Mutex::default(),
            state: Mutex::default(),
            clock,
            lease_for: spec.lease_for,
            slots,
            capacity,
            unsettled_max: capacity.max(SETTLE_LEN_MAX),
            work: Bell::default(),
            outcomes: Bell::default(),
            space: Bell::default(),
            ended: Notify::new(),
        }
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Looks until there is what is looked for, each time the bell is rung.
    async fn find<T>(&self, bell: &Bell, mut look: impl FnMut(&mut State) -> Option<T>) -> T {
        let mut rung = std::pin::pin!(bell.rung());
        loop {
            {
                let mut state = self.lock();
                if let Some(found) = look(&mut state) {
                    return found;
                }
                bell.listen(rung.as_mut());
            }
            rung.as_mut().await;
            rung.set(bell.rung());
        }
    }

    /// Waits until it is worth fetching, and says how many jobs at most: when half of what may wait is free, which it
    /// always is when an attempt could start at once.
    pub(super) async fn room(&self) -> usize {
        self.find(&self.space, |state| self.room_in(state)).await
    }

    fn room_in(&self, state: &State) -> Option<usize> {
        let room = self.capacity.saturating_sub(state.ready.len() + state.running);
        let settleable = self.unsettled_max.saturating_sub(state.unsettled);
        let enough = room >= ((self.capacity - self.slots) / 2).max(1);
        (enough && settleable > 0).then(|| room.min(settleable))
    }

    /// Tells the one who fetches that there is room again. Whether that has woken it.
    fn tell_of_space(&self, state: &State) -> bool {
        self.room_in(state).is_some() && self.space.ring()
    }

    /// Takes fetched jobs.
    pub(super) fn add(&self, batch: Vec<Delivery>) {
        let lapses_at = self.clock.now() + self.lease_for;
        let mut state = self.lock();
        for delivery in batch {
            let key = state.next_key;
            state.next_key += 1;
            let lease = delivery.lease.clone();
            state.held.insert(
                key,
                Held {
                    lease,
                    lapses_at,
                    lost: false,
                    control: Control::heard_by(&self.listener),
                    stage: Stage::Ready,
                },
            );
            state.ready.push_back((key, delivery));
        }
        // All that can have work are woken here: a lane that did it for its neighbor would have it wait for the handler
        // that it is about to start.
        for _ in 0..self.startable(&state) {
            if !self.work.ring() {
                break;
            }
        }
    }

    /// Waits until an attempt may start.
    pub(super) async fn work(&self) {
        self.find(&self.work, |state| (self.startable(state) > 0).then_some(())).await;
    }

    /// Lets every other task of the thread run, and timers and sockets have their turn.
    ///
    /// A task that yields in this way comes back on this thread alone, however long that is hogged; so a lane listens
    /// meanwhile, and can be called away.
    pub(super) async fn rest(&self) {
        let mut rung = std::pin::pin!(self.work.rung());
        {
            let _state = self.lock();
            self.work.listen(rung.as_mut());
        }
        tokio::select! {
            biased;
            () = rung.as_mut() => {}
            () = yield_now() => {
                let _state = self.lock();
                self.work.leave(rung.as_mut());
            }
        }
    }

    /// How a lane goes on; `give_way` says whether other tasks need its thread first.
    pub(super) fn go_on(&self, give_way: bool) -> Next {
        self.go_on_from(&mut self.lock(), give_way)
    }

    /// Ends an attempt of a lane, and says how that goes on.
    pub(super) fn finish_and_go_on(&self, key: u64, verdict: Verdict, give_way: bool) -> Next {
        let mut state = self.lock();
        let woken = self.end(&mut state, key, verdict);
        self.go_on_from(&mut state, woken || give_way)
    }

    /// Ends an attempt that has a task of its own.
    pub(super) fn finish(&self, key: u64, verdict: Verdict) {
        let mut state = self.lock();
        self.end(&mut state, key, verdict);
        if self.startable(&state) > 0 {
            self.work.ring();
        }
    }

    /// Makes a running attempt one that can be dropped.
    pub(super) fn can_abort(&self, key: u64, handle: AbortHandle) {
        if let Some(Held { stage: Stage::Running(slot), .. }) = self.lock().held.get_mut(&key) {
            *slot = Some(handle);
        }
    }

    /// How many attempts could start now.
    fn startable(&self, state: &State) -> usize {
        self.slots.saturating_sub(state.running).min(state.ready.len())
    }

    fn go_on_from(&self, state: &mut State, give_way: bool) -> Next {
        let startable = self.startable(state);
        // A lane that rests may be bound to this thread, which the next attempt may hog.
        let called = startable > 1 && self.work.ring();
        if startable > 0 && (give_way || called) {
            return Next::GiveWay;
        }
        self.start_next(state).map_or(Next::Wait, Next::Start)
    }

    /// The next attempt, where one may start now. Nobody is woken: neither room nor an outcome comes of it.
    fn start_next(&self, state: &mut State) -> Option<Started> {
        if self.startable(state) == 0 {
            return None;
        }
        let (key, delivery) = state.ready.pop_front()?;
        let held = state.held.get_mut(&key)?;
        held.stage = Stage::Running(None);
        let control: Arc<dyn AttemptControl> = held.control.clone();
        state.running += 1;
        Some(Started { key, attempt: Attempt { delivery, control } })
    }

    /// Whether that has woken anybody who is to do something about it.
    fn end(&self, state: &mut State, key: u64, verdict: Verdict) -> bool {
        // An attempt that was handed back in the meantime has no say any more.
        if !state.held.get(&key).is_some_and(|held| matches!(held.stage, Stage::Running(_))) {
            return false;
        }
        let settles = self.to_settle(state, key, verdict);
        state.running -= 1;
        if state.running == 0 {
            self.ended.notify_waiters();
        }
        self.tell_of_space(state) || settles
    }

    /// Has an outcome settled, unless it is known to count no longer. Whether that has woken a settler.
    fn to_settle(&self, state: &mut State, key: u64, verdict: Verdict) -> bool {
        let Some(held) = state.held.get_mut(&key) else { return false };
        if held.lost {
            state.held.remove(&key);
            state.report.refused += 1;
            return false;
        }
        held.stage = Stage::Finished;
        let settlement = Settlement { lease: held.lease.clone(), verdict };
        let has_notes = held.control.has_notes();
        // Whoever was called for the first takes the others, too.
        let is_first = state.finished.is_empty();
        state.finished.push(Outcome { key, settlement, has_notes });
        state.unsettled += 1;
        is_first && self.outcomes.ring()
    }

    /// Waits for outcomes to settle; `None` when there will be no more.
    pub(super) async fn outcomes(&self) -> Option<Vec<Outcome>> {
        loop {
            self.find(&self.outcomes, |state| (state.closed || !state.finished.is_empty()).then_some(()))
                .await;
            // What the lane ends in the rest of its turn goes in the same call.
            give_way().await;
            let mut state = self.lock();
            let len = state.finished.len().min(SETTLE_LEN_MAX);
            if len > 0 {
                let rest = state.finished.split_off(len);
                if !rest.is_empty() {
                    self.outcomes.ring();
                }
                return Some(std::mem::replace(&mut state.finished, rest));
            }
            if state.closed {
                return None;
            }
        }
    }

    /// Whether the lease has lapsed by our clock without being renewed.
    pub(super) fn has_lapsed(&self, key: u64) -> bool {
        let now = self.clock.now();
        self.lock().held.get(&key).is_none_or(|held| held.lapses_at < now)
    }

    /// Forgets an outcome that the backend has stored or refused (I1).
    pub(super) fn settled(&self, settled: &[(Outcome, Settled)]) {
        let mut state = self.lock();
        for (outcome, settled) in settled {
            state.held.remove(&outcome.key);
            let report = &mut state.report;
            *match (settled, &outcome.settlement.verdict) {
                (Settled::Refused, _) => &mut report.refused,
                (Settled::Stored, Verdict::Ack(_)) => &mut report.succeeded,
                (Settled::Stored, Verdict::Retry { .. } | Verdict::Reject(_)) => &mut report.failed,
                (Settled::Stored, Verdict::Cancelled(_)) => &mut report.cancelled,
                (Settled::Stored, Verdict::Release) => &mut report.released,
            } += 1;
        }
        state.unsettled -= settled.len();
        self.tell_of_space(&state);
    }

    /// Every lease.
    pub(super) fn leases(&self) -> Vec<u64> {
        self.lock().held.keys().copied().collect()
    }

    /// Waits until an attempt says something, and gives the leases of those that did, with the right to speak for them.
    pub(super) async fn news(&self) -> (Vec<u64>, tokio::sync::MutexGuard<'_, ()>) {
        self.news.notified().await;
        let talking = self.talking.lock().await;
        let state = self.lock();
        let speaks = |held: &Held| matches!(held.stage, Stage::Running(_)) && held.control.has_news();
        (state.held.iter().filter(|(_, held)| speaks(held)).map(|(key, _)| *key).collect(), talking)
    }

    /// The right to speak for attempts, where nobody else does just now.
    pub(super) fn try_to_talk(&self) -> Option<tokio::sync::MutexGuard<'_, ()>> {
        self.talking.try_lock().ok()
    }

    /// The right to speak for attempts.
    pub(super) async fn talk(&self) -> tokio::sync::MutexGuard<'_, ()> {
        self.talking.lock().await
    }

    /// What is to be sent for some leases: the newest progress, and with `notes` what the attempts have said. For that,
    /// the caller must have the right to speak.
    pub(super) fn extensions(&self, keys: &[u64], notes: bool) -> Vec<(u64, Extension)> {
        let state = self.lock();
        let mut room = NOTE_BYTES_MAX;
        let mut extension = |held: &Held| {
            let _told = held.control.take_progress();
            let said = if notes && room > 0 { held.control.take_notes() } else { Vec::new() };
            room = room.saturating_sub(said.iter().map(|note| note.note.bytes()).sum());
            if notes && held.control.has_news() {
                // What this call has no room for goes with the next.
                self.news.notify_one();
            }
            Extension { lease: held.lease.clone(), progress: held.control.progress(), notes: said }
        };
        keys.iter().filter_map(|key| Some((*key, extension(state.held.get(key)?)))).collect()
    }

    /// Puts back what could not be handed over.
    pub(super) fn unsaid(&self, extensions: Vec<(u64, Extension)>) {
        let state = self.lock();
        for (key, extension) in extensions {
            if let Some(held) = state.held.get(&key) {
                held.control.give_back(extension.notes);
            }
        }
    }

    /// Notes that a lease was extended by a call that began at `asked_at`.
    pub(super) fn extended(&self, key: u64, asked_at: Timestamp, extended: Extended) {
        let mut state = self.lock();
        let Some(held) = state.held.get_mut(&key) else { return };
        held.lease.expires_at = extended.expires_at;
        held.lapses_at = asked_at + self.lease_for;
        if extended.cancel_requested {
            held.control.stop(StopReason::Cancelled);
        }
    }

    /// Notes that a lease has passed to another attempt. An outcome that is being settled has its own answer.
    pub(super) fn lost(&self, key: u64) {
        let mut state = self.lock();
        if let Some(held) = state.held.get_mut(&key) {
            held.lost = true;
            self.give_up(&mut state, key);
        }
    }

    /// Stops what has not been renewed in time: another worker may already run it. Whether it still counts is for the
    /// backend to say.
    pub(super) fn stop_lapsed(&self) {
        let now = self.clock.now();
        let mut state = self.lock();
        let lapsed = state.held.iter().filter(|(_, held)| held.lapses_at < now).map(|(key, _)| *key);
        for key in lapsed.collect::<Vec<_>>() {
            self.give_up(&mut state, key);
        }
    }

    fn give_up(&self, state: &mut State, key: u64) {
        let Some(held) = state.held.get(&key) else { return };
        match held.stage {
            Stage::Finished => {}
            Stage::Running(_) => held.control.stop(StopReason::LeaseLost),
            Stage::Ready => {
                state.held.remove(&key);
                state.ready.retain(|(waiting, _)| *waiting != key);
                state.report.refused += 1;
                self.tell_of_space(state);
            }
        }
    }

    /// Asks the attempt of `job` to stop; one that has not started never will.
    pub(super) fn cancel(&self, job: &JobId) {
        let mut state = self.lock();
        let found = state.held.iter().find(|(_, held)| held.lease.job == *job);
        let Some((key, held)) = found.map(|(key, held)| (*key, held)) else { return };
        held.control.stop(StopReason::Cancelled);
        if matches!(held.stage, Stage::Ready) {
            state.ready.retain(|(waiting, _)| *waiting != key);
            let failure = Failure::new(FailureKind::Cancelled, "the job was cancelled before it started");
            self.to_settle(&mut state, key, Verdict::Cancelled(failure));
            self.tell_of_space(&state);
        }
    }

    /// The time by the worker's clock.
    pub(super) fn now(&self) -> Timestamp {
        self.clock.now()
    }

    /// What the worker is doing.
    pub(super) fn load(&self) -> WorkerLoad {
        WorkerLoad { running: self.lock().running, slots: self.slots }
    }

    /// What the worker has done.
    pub(super) fn report(&self) -> WorkerReport {
        self.lock().report
    }

    /// Hands back every job that has not started.
    pub(super) fn release_ready(&self) {
        let mut state = self.lock();
        let waiting: Vec<_> = state.ready.drain(..).collect();
        for (key, _) in waiting {
            self.to_settle(&mut state, key, Verdict::Release);
        }
    }

    /// Drops what still runs, where it can be dropped, and hands it back. A handler that goes on has no say any more.
    pub(super) fn release_running(&self) {
        let mut state = self.lock();
        let mut running = Vec::new();
        for (key, held) in &mut state.held {
            if let Stage::Running(handle) = &mut held.stage {
                running.push((*key, handle.take()));
            }
        }
        state.running = 0;
        for (key, _) in &running {
            self.to_settle(&mut state, *key, Verdict::Release);
        }
        drop(state);
        running.iter().filter_map(|(_, handle)| handle.as_ref()).for_each(AbortHandle::abort);
    }

    /// Asks every attempt that runs to stop.
    pub(super) fn stop_all(&self, reason: StopReason) {
        for held in self.lock().held.values().filter(|held| matches!(held.stage, Stage::Running(_))) {
            held.control.stop(reason);
        }
    }

    /// Resolves when nothing runs.
    pub(super) async fn idle(&self) {
        let mut ended = std::pin::pin!(self.ended.notified());
        loop {
            ended.as_mut().enable();
            if self.lock().running == 0 {
                return;
            }
            ended.as_mut().await;
            ended.set(self.ended.notified());
        }
    }

    /// Says that there will be no more outcomes.
    pub(super) fn close(&self) {
        let mut state = self.lock();
        state.closed = true;
        while self.outcomes.ring() {}
    }
}
