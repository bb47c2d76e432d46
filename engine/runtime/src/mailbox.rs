//! A bounded mailbox from many callers to one thread.

use std::collections::VecDeque;
use std::fmt;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Condvar, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use taskport_abstraction::{Error, Result, codes};
use tokio::sync::Semaphore;

/// The room for letters, in units of [`weigh`].
const ROOM: u32 = 1 << 16;
/// How many callers may wait for room at once.
const WAITING_MAX: usize = 1 << 16;
/// How many letters are taken together, and how much they may weigh.
const TAKEN_MAX: usize = 1_024;
const TAKEN_WEIGHT_MAX: u32 = 1 << 13;

/// The room a letter takes that carries so many items with so many bytes: 64 KiB weigh as much as 16 items.
pub(crate) fn weigh(items: usize, bytes: usize) -> u32 {
    let weight = 1 + items + bytes / 4_096;
    u32::try_from(weight).unwrap_or(ROOM).min(ROOM)
}

/// Letters in order of arrival, with a stated maximum.
///
/// A sender waits while the mailbox is full. The thread takes everything that waits at once, up to a bound.
pub(crate) struct Mailbox<M> {
    room: Semaphore,
    waiting: AtomicUsize,
    state: Mutex<State<M>>,
    arrived: Condvar,
}

struct State<M> {
    letters: VecDeque<(M, u32)>,
    /// Set while the thread sleeps: only then does an arrival have to wake it.
    asleep: bool,
    poked: bool,
    closing: bool,
    /// Why nothing is taken any more, once the thread has ended.
    ended: Option<Error>,
}

/// What the thread took out.
pub(crate) struct Taken<M> {
    pub(crate) letters: Vec<M>,
    /// No letter will come after these.
    pub(crate) last: bool,
}

impl<M> Mailbox<M> {
    pub(crate) fn new() -> Self {
        Self {
            room: Semaphore::new(ROOM as usize),
            waiting: AtomicUsize::new(0),
            state: Mutex::new(State {
                letters: VecDeque::new(),
                asleep: false,
                poked: false,
                closing: false,
                ended: None,
            }),
            arrived: Condvar::new(),
        }
    }

    /// Hands in a letter, waiting for room.
    ///
    /// # Errors
    /// `Unavailable` once the mailbox is closed; `Backpressure` where too many callers wait already.
    ///
    /// # Cancel safety
    /// A dropped future has handed in nothing.
    pub(crate) async fn send(&self, operation: &'static str, letter: M, weight: u32) -> Result<()> {
        if let Ok(permit) = self.room.try_acquire_many(weight) {
            permit.forget();
            return self.put(operation, letter, weight);
        }
        let _waiting = self.wait_in_line(operation)?;
        match self.room.acquire_many(weight).await {
            Ok(permit) => permit.forget(),
            Err(_) => return Err(self.refusal(operation)),
        }
        self.put(operation, letter, weight)
    }

    /// Hands in a letter that takes no room: something that must not be lost and is bounded by what was given out.
    pub(crate) fn send_back(&self, operation: &'static str, letter: M) -> Result<()> {
        self.put(operation, letter, 0)
    }

    /// Wakes the thread without a letter.
    pub(crate) fn poke(&self) {
        let mut state = self.lock();
        state.poked = true;
        self.wake(state);
    }

    /// Takes no more letters. The thread still gets those that are in.
    pub(crate) fn close(&self) {
        self.room.close();
        let mut state = self.lock();
        state.closing = true;
        self.wake(state);
    }

    /// Waits until something is there or `patience` has passed, and takes what waits, up to a bound.
    pub(crate) fn take(&self, patience: Duration) -> Taken<M> {
        let mut state = self.lock();
        if state.letters.is_empty() && !state.poked && !state.closing {
            state.asleep = true;
            (state, _) = self.arrived.wait_timeout(state, patience).unwrap_or_else(PoisonError::into_inner);
            state.asleep = false;
        }
        let (mut letters, mut weight) = (Vec::with_capacity(state.letters.len().min(TAKEN_MAX)), 0);
        while letters.len() < TAKEN_MAX
            && let Some((_, next)) = state.letters.front()
            && (letters.is_empty() || weight + next <= TAKEN_WEIGHT_MAX)
            && let Some((letter, taken)) = state.letters.pop_front()
        {
            letters.push(letter);
            weight += taken;
        }
        state.poked = false;
        let last = state.closing && state.letters.is_empty();
        drop(state);
        self.room.add_permits(weight as usize);
        Taken { letters, last }
    }

    /// Says that the thread has ended: letters that are in are dropped, and later ones are refused with `why`.
    pub(crate) fn end(&self, why: Error) {
        self.room.close();
        let mut state = self.lock();
        state.closing = true;
        state.ended.get_or_insert(why);
        let dropped = std::mem::take(&mut state.letters);
        drop(state);
        drop(dropped);
    }

    /// What a caller is told whose letter is refused.
    pub(crate) fn refusal(&self, operation: &'static str) -> Error {
        match &self.lock().ended {
            Some(why) => why.clone(),
            None => closed(operation),
        }
    }

    fn put(&self, operation: &'static str, letter: M, weight: u32) -> Result<()> {
        let mut state = self.lock();
        if state.closing {
            drop(state);
            return Err(self.refusal(operation));
        }
        state.letters.push_back((letter, weight));
        self.wake(state);
        Ok(())
    }

    fn wake(&self, state: MutexGuard<'_, State<M>>) {
        let asleep = state.asleep;
        drop(state);
        if asleep {
            self.arrived.notify_one();
        }
    }

    fn wait_in_line(&self, operation: &'static str) -> Result<InLine<'_>> {
        let place = InLine(&self.waiting);
        if self.waiting.fetch_add(1, Ordering::Relaxed) < WAITING_MAX {
            return Ok(place);
        }
        Err(Error::new(
            &codes::OVERLOADED,
            operation,
            format!("{WAITING_MAX} calls wait for the engine already"),
        )
        .hint("submit in batches, or slow the producers down"))
    }

    fn lock(&self) -> MutexGuard<'_, State<M>> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl<M> fmt::Debug for Mailbox<M> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Mailbox").field("letters", &self.lock().letters.len()).finish_non_exhaustive()
    }
}

/// The answer to a call after the close.
pub(crate) fn closed(operation: &'static str) -> Error {
    Error::new(&codes::CLOSED, operation, "the engine is closed")
        .retry_hint(taskport_abstraction::Retry::Never)
        .hint("open the backend again")
}

/// A caller's place among those that wait for room.
#[derive(Debug)]
struct InLine<'a>(&'a AtomicUsize);

impl Drop for InLine<'_> {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::Relaxed);
    }
}

#[cfg(test)]
mod tests {
    use futures_util::FutureExt;

    use super::*;

    /// Far longer than any of these tests may take.
    const PATIENCE: Duration = Duration::from_secs(3_600);

    fn send(mailbox: &Mailbox<u32>, letter: u32, weight: u32) -> Option<Result<()>> {
        mailbox.send("test", letter, weight).now_or_never()
    }

    #[test]
    fn a_full_mailbox_makes_senders_wait_until_it_is_emptied() {
        let mailbox = Mailbox::new();
        send(&mailbox, 1, ROOM).unwrap().unwrap();
        let mut second = Box::pin(mailbox.send("test", 2, 1));
        assert!(second.as_mut().now_or_never().is_none());
        assert_eq!(mailbox.take(PATIENCE).letters, [1]);
        second.now_or_never().unwrap().unwrap();
        assert_eq!(mailbox.take(PATIENCE).letters, [2]);
    }

    #[test]
    fn a_sender_that_gave_up_takes_no_room() {
        let mailbox = Mailbox::new();
        send(&mailbox, 1, ROOM).unwrap().unwrap();
        drop(send(&mailbox, 2, ROOM));
        assert_eq!(mailbox.take(PATIENCE).letters, [1]);
        send(&mailbox, 3, ROOM).unwrap().unwrap();
        assert_eq!(mailbox.take(PATIENCE).letters, [3]);
    }

    #[test]
    fn what_is_taken_together_is_bounded_by_number_and_weight() {
        let mailbox = Mailbox::new();
        for letter in 0..=TAKEN_MAX {
            send(&mailbox, u32::try_from(letter).unwrap(), 1).unwrap().unwrap();
        }
        assert_eq!(mailbox.take(PATIENCE).letters.len(), TAKEN_MAX);
        assert_eq!(mailbox.take(PATIENCE).letters.len(), 1);
        for letter in 0..3 {
            send(&mailbox, letter, TAKEN_WEIGHT_MAX / 2 + 1).unwrap().unwrap();
        }
        assert_eq!(mailbox.take(PATIENCE).letters, [0]);
    }

    #[test]
    fn closing_keeps_what_is_in_and_refuses_the_rest() {
        let mailbox = Mailbox::new();
        send(&mailbox, 1, 1).unwrap().unwrap();
        mailbox.close();
        assert_eq!(send(&mailbox, 2, 1).unwrap().unwrap_err().code(), &codes::CLOSED);
        let taken = mailbox.take(PATIENCE);
        assert_eq!((taken.letters, taken.last), (vec![1], true));
    }

    #[test]
    fn after_the_end_every_caller_is_told_why() {
        let mailbox = Mailbox::new();
        let full = send(&mailbox, 1, ROOM);
        full.unwrap().unwrap();
        let mut waiting = Box::pin(mailbox.send("test", 2, 1));
        assert!(waiting.as_mut().now_or_never().is_none());
        mailbox.end(Error::new(&codes::INTERNAL, "test", "it broke"));
        assert_eq!(waiting.now_or_never().unwrap().unwrap_err().code(), &codes::INTERNAL);
        assert_eq!(send(&mailbox, 3, 1).unwrap().unwrap_err().code(), &codes::INTERNAL);
    }

    #[test]
    fn a_poke_wakes_without_a_letter() {
        let mailbox = Mailbox::<u32>::new();
        mailbox.poke();
        let taken = mailbox.take(PATIENCE);
        assert!(taken.letters.is_empty() && !taken.last);
    }
}
