//! Who waits for which job to end.
//!
//! The writer announces every end it commits. Ends committed by other processes are found by looking again: the
//! reader thread takes the jobs that are waited for in rounds, a bounded number at a time.

use std::collections::{HashMap, HashSet, VecDeque};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll, Waker};

use taskport_abstraction::{Error, JobId, Outcome, Result, codes};

/// How many jobs may be waited for at once.
const WAITED_MAX: usize = 1 << 20;
/// How many outcomes are held for one slow caller; of the others only the id, and the outcome is read again.
const HELD_MAX: usize = 1_024;

/// Every job that is waited for.
#[derive(Debug, Default)]
pub(crate) struct Waits(Mutex<State>);

#[derive(Debug, Default)]
struct State {
    lines: HashMap<JobId, Vec<Arc<Line>>>,
    /// How many pairs of job and caller there are.
    waited: usize,
    /// The jobs to look at again, those not looked at for longest first. May name jobs that nobody waits for.
    round: VecDeque<JobId>,
    /// How many of the round were not looked at since another process committed.
    stale: usize,
    ended: Option<Error>,
}

/// The line to one caller.
#[derive(Debug, Default)]
struct Line(Mutex<Inbox>);

#[derive(Debug, Default)]
struct Inbox {
    ended: VecDeque<(JobId, Notice)>,
    held: usize,
    failed: Option<Error>,
    waker: Option<Waker>,
}

/// What is known of a job that ended.
#[derive(Debug, Clone)]
pub(crate) enum Notice {
    /// How.
    Outcome(Outcome),
    /// It is gone.
    Missing,
    /// That it did; how is to be read.
    Unread,
}

impl Waits {
    /// Registers a caller for the jobs `ids`, each once.
    ///
    /// # Errors
    /// `Backpressure` where too many jobs are waited for already; why the engine ended, where it has.
    pub(crate) fn subscribe(self: &Arc<Self>, ids: &[JobId]) -> Result<Subscription> {
        let mut open = HashSet::with_capacity(ids.len());
        let mut state = self.lock();
        if let Some(why) = &state.ended {
            return Err(why.clone());
        }
        if state.waited + ids.len() > WAITED_MAX {
            let message = format!("{WAITED_MAX} jobs are waited for already");
            return Err(Error::new(&codes::OVERLOADED, "wait", message).hint("wait for fewer jobs at a time"));
        }
        let line = Arc::new(Line::default());
        for id in ids {
            if !open.insert(id.clone()) {
                continue;
            }
            let lines = state.lines.entry(id.clone()).or_default();
            lines.push(line.clone());
            if lines.len() == 1 {
                state.round.push_back(id.clone());
            }
        }
        state.waited += open.len();
        Ok(Subscription { waits: self.clone(), line, open })
    }

    /// Tells whoever waits how jobs ended.
    pub(crate) fn announce(&self, ended: impl IntoIterator<Item = (JobId, Notice)>) {
        let mut state = self.lock();
        if state.lines.is_empty() {
            return;
        }
        let mut wakers = Vec::new();
        for (id, notice) in ended {
            let Some(lines) = state.lines.remove(&id) else { continue };
            state.waited -= lines.len();
            for line in lines {
                wakers.extend(line.put(id.clone(), notice.clone()));
            }
        }
        drop(state);
        wakers.into_iter().for_each(Waker::wake);
    }

    /// Another process has committed: every job that is waited for may have ended.
    ///
    /// Says whether there is any.
    pub(crate) fn look_again(&self) -> bool {
        let mut state = self.lock();
        state.stale = state.round.len();
        state.stale > 0
    }

    /// Whether any job is waited for.
    pub(crate) fn any(&self) -> bool {
        !self.lock().lines.is_empty()
    }

    /// Whether jobs are still to be looked at again.
    pub(crate) fn is_stale(&self) -> bool {
        self.lock().stale > 0
    }

    /// The next jobs of the round to look at, at most `max`.
    pub(crate) fn next_round(&self, max: usize) -> Vec<JobId> {
        let state = &mut *self.lock();
        let mut ids = Vec::new();
        while ids.len() < max && state.stale > 0 {
            state.stale -= 1;
            let Some(id) = state.round.pop_front() else { break };
            if state.lines.contains_key(&id) {
                ids.push(id.clone());
                state.round.push_back(id);
            }
        }
        ids
    }

    /// Tells every caller that no end will be announced any more.
    pub(crate) fn end(&self, why: &Error) {
        let mut state = self.lock();
        state.ended.get_or_insert_with(|| why.clone());
        let lines = std::mem::take(&mut state.lines);
        state.waited = 0;
        state.round.clear();
        drop(state);
        for line in lines.into_values().flatten() {
            let mut inbox = line.lock();
            inbox.failed.get_or_insert_with(|| why.clone());
            let waker = inbox.waker.take();
            drop(inbox);
            waker.into_iter().for_each(Waker::wake);
        }
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Line {
    fn put(&self, id: JobId, notice: Notice) -> Option<Waker> {
        let mut inbox = self.lock();
        let notice = match notice {
            Notice::Outcome(_) if inbox.held >= HELD_MAX => Notice::Unread,
            notice => notice,
        };
        inbox.held += usize::from(matches!(notice, Notice::Outcome(_)));
        inbox.ended.push_back((id, notice));
        inbox.waker.take()
    }

    fn lock(&self) -> MutexGuard<'_, Inbox> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// One caller's wait. Dropping it ends the wait.
#[derive(Debug)]
pub(crate) struct Subscription {
    waits: Arc<Waits>,
    line: Arc<Line>,
    open: HashSet<JobId>,
}

impl Subscription {
    /// Whether every job has been told of.
    pub(crate) fn is_done(&self) -> bool {
        self.open.is_empty()
    }

    /// Marks a job as told of, and says whether it was not before.
    pub(crate) fn close(&mut self, id: &JobId) -> bool {
        let was_open = self.open.remove(id);
        if was_open {
            self.forget([id]);
        }
        was_open
    }

    /// The jobs not told of yet; the wait is over for them.
    pub(crate) fn take_open(&mut self) -> VecDeque<JobId> {
        let open = std::mem::take(&mut self.open);
        self.forget(&open);
        open.into_iter().collect()
    }

    /// The next job that ended, or why none will be announced.
    pub(crate) fn poll_next(&mut self, context: &mut Context<'_>) -> Poll<Result<(JobId, Notice)>> {
        let mut inbox = self.line.lock();
        while let Some((id, notice)) = inbox.ended.pop_front() {
            inbox.held -= usize::from(matches!(notice, Notice::Outcome(_)));
            if self.open.remove(&id) {
                return Poll::Ready(Ok((id, notice)));
            }
        }
        if let Some(why) = &inbox.failed {
            return Poll::Ready(Err(why.clone()));
        }
        inbox.waker = Some(context.waker().clone());
        Poll::Pending
    }

    fn forget<'a>(&self, ids: impl IntoIterator<Item = &'a JobId>) {
        let state = &mut *self.waits.lock();
        for id in ids {
            let Some(lines) = state.lines.get_mut(id) else { continue };
            let before = lines.len();
            lines.retain(|line| !Arc::ptr_eq(line, &self.line));
            state.waited -= before - lines.len();
            if lines.is_empty() {
                state.lines.remove(id);
            }
        }
        // The round names jobs lazily; it is cleared of those that nobody waits for before they outnumber the rest.
        if state.round.len() > 2 * state.lines.len() + HELD_MAX {
            let lines = &state.lines;
            state.round.retain(|id| lines.contains_key(id));
            state.stale = state.stale.min(state.round.len());
        }
    }
}

impl Drop for Subscription {
    fn drop(&mut self) {
        self.take_open();
    }
}

#[cfg(test)]
mod tests {
    use taskport_abstraction::Payload;

    use super::*;

    fn id(number: usize) -> JobId {
        JobId::new(format!("j{number}")).unwrap()
    }

    fn success() -> Notice {
        Notice::Outcome(Outcome::Success(Payload::json("1")))
    }

    fn poll(subscription: &mut Subscription) -> Poll<Result<(JobId, Notice)>> {
        subscription.poll_next(&mut Context::from_waker(Waker::noop()))
    }

    #[test]
    fn each_job_is_told_once_to_each_caller() {
        let waits = Arc::new(Waits::default());
        let mut one = waits.subscribe(&[id(1), id(2), id(1)]).unwrap();
        let mut other = waits.subscribe(&[id(1)]).unwrap();
        waits.announce([(id(1), success()), (id(3), success())]);
        waits.announce([(id(1), success())]);
        for subscription in [&mut one, &mut other] {
            assert!(matches!(poll(subscription), Poll::Ready(Ok((ended, _))) if ended == id(1)));
            assert!(poll(subscription).is_pending());
        }
        assert!(other.is_done() && !one.is_done());
    }

    #[test]
    fn a_dropped_wait_leaves_nothing_behind() {
        let waits = Arc::new(Waits::default());
        for round in 0..10 {
            let ids: Vec<_> = (0..2_000).map(|number| id(round * 2_000 + number)).collect();
            drop(waits.subscribe(&ids).unwrap());
        }
        let state = waits.lock();
        assert!(state.lines.is_empty() && state.waited == 0);
        assert!(state.round.len() <= HELD_MAX, "{}", state.round.len());
    }

    #[test]
    fn a_round_looks_at_every_job_once_after_a_foreign_commit() {
        let waits = Arc::new(Waits::default());
        assert!(!waits.look_again());
        let ids: Vec<_> = (0..5).map(id).collect();
        let _subscription = waits.subscribe(&ids).unwrap();
        assert!(waits.next_round(10).is_empty());
        assert!(waits.look_again());
        assert_eq!(waits.next_round(3), ids[..3]);
        assert_eq!(waits.next_round(3), ids[3..]);
        assert!(waits.next_round(3).is_empty());
    }

    #[test]
    fn a_slow_caller_holds_a_bounded_number_of_outcomes() {
        let waits = Arc::new(Waits::default());
        let ids: Vec<_> = (0..HELD_MAX + 1).map(id).collect();
        let mut subscription = waits.subscribe(&ids).unwrap();
        waits.announce(ids.iter().map(|id| (id.clone(), success())));
        let mut unread = 0;
        while let Poll::Ready(told) = poll(&mut subscription) {
            unread += usize::from(matches!(told.unwrap().1, Notice::Unread));
        }
        assert_eq!(unread, 1);
        assert!(subscription.is_done());
    }

    #[test]
    fn the_end_of_the_engine_is_told_to_every_caller() {
        let waits = Arc::new(Waits::default());
        let mut subscription = waits.subscribe(&[id(1)]).unwrap();
        waits.end(&Error::new(&codes::CLOSED, "wait", "the engine is closed"));
        assert!(matches!(poll(&mut subscription), Poll::Ready(Err(_))));
        assert!(waits.subscribe(&[id(2)]).is_err());
    }
}
