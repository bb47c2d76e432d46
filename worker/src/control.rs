//! The line between one attempt and whoever runs it.

use std::fmt;
use std::sync::atomic::{AtomicBool, AtomicU8, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};

use taskport_abstraction::context::StopReason;
use taskport_abstraction::job::Progress;
use taskport_abstraction::journal::{LogLevel, Note, TimedNote};
use taskport_abstraction::task::BoxFuture;
use taskport_abstraction::{AttemptControl, Clock, SystemClock};
use tokio::sync::Notify;

/// How many notes of one attempt wait to be handed over, and how many bytes they may hold.
const NOTES_MAX: usize = 1_000;
const NOTE_BYTES_MAX: usize = 1 << 20;

/// The control of one attempt: a stop reason that is set once, the newest progress report, and the notes nobody has
/// handed over yet.
#[derive(Debug)]
pub struct Control {
    this: Weak<Self>,
    reason: AtomicU8,
    stopped: Notify,
    said: Mutex<Said>,
    /// Whether the attempt has ever said anything besides its progress.
    has_notes: AtomicBool,
    listener: Option<Arc<Listener>>,
}

/// What an attempt has said.
#[derive(Debug, Default)]
struct Said {
    progress: Option<Progress>,
    /// Whether the progress is newer than the last one handed over.
    progressed: bool,
    notes: Vec<TimedNote>,
    bytes: usize,
    /// How many notes there was no room for.
    left_out: u64,
}

/// Whoever hands over what attempts say.
pub(crate) struct Listener {
    clock: Arc<dyn Clock>,
    news: Box<dyn Fn() + Send + Sync>,
}

impl Listener {
    /// A listener whose `news` is called, on the thread of the handler, whenever an attempt says something.
    pub(crate) fn new(clock: Arc<dyn Clock>, news: impl Fn() + Send + Sync + 'static) -> Arc<Self> {
        Arc::new(Self { clock, news: Box::new(news) })
    }
}

impl fmt::Debug for Listener {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Listener")
    }
}

const REASONS: [StopReason; 4] =
    [StopReason::Cancelled, StopReason::TimedOut, StopReason::ShuttingDown, StopReason::LeaseLost];

impl Control {
    /// A control that asks nobody to stop, and whose news nobody waits for.
    pub fn new() -> Arc<Self> {
        Self::with(None)
    }

    /// A control whose news are for `listener`.
    pub(crate) fn heard_by(listener: &Arc<Listener>) -> Arc<Self> {
        Self::with(Some(listener.clone()))
    }

    fn with(listener: Option<Arc<Listener>>) -> Arc<Self> {
        Arc::new_cyclic(|this| Self {
            this: this.clone(),
            reason: AtomicU8::new(0),
            stopped: Notify::new(),
            said: Mutex::default(),
            has_notes: AtomicBool::new(false),
            listener,
        })
    }

    /// The newest progress report.
    pub fn progress(&self) -> Option<Progress> {
        self.said().progress.clone()
    }

    /// Whether the attempt has ever said anything besides its progress.
    pub(crate) fn has_notes(&self) -> bool {
        self.has_notes.load(Ordering::Acquire)
    }

    /// Whether there is anything to hand over.
    pub(crate) fn has_news(&self) -> bool {
        let said = self.said();
        said.progressed || !said.notes.is_empty() || said.left_out > 0
    }

    /// The progress since it was last asked for.
    pub(crate) fn take_progress(&self) -> Option<Progress> {
        let mut said = self.said();
        if std::mem::take(&mut said.progressed) { said.progress.clone() } else { None }
    }

    /// The notes that wait.
    pub fn take_notes(&self) -> Vec<TimedNote> {
        let mut said = self.said();
        let left_out = std::mem::take(&mut said.left_out);
        if left_out > 0 {
            let message =
                format!("{left_out} entries are left out here: the attempt said more than could be kept");
            let note = Note::Log { level: LogLevel::Warn, message };
            said.notes.push(TimedNote { at: self.now(), note });
        }
        said.bytes = 0;
        std::mem::take(&mut said.notes)
    }

    /// Puts back what could not be handed over.
    pub(crate) fn give_back(&self, mut notes: Vec<TimedNote>) {
        let mut said = self.said();
        said.progressed = said.progress.is_some();
        said.bytes += notes.iter().map(|note| note.note.bytes()).sum::<usize>();
        notes.append(&mut said.notes);
        said.notes = notes;
        drop(said);
        self.tell();
    }

    fn said(&self) -> MutexGuard<'_, Said> {
        self.said.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn tell(&self) {
        if let Some(listener) = &self.listener {
            (listener.news)();
        }
    }

    fn now(&self) -> taskport_abstraction::Timestamp {
        self.listener.as_ref().map_or_else(|| SystemClock.now(), |listener| listener.clock.now())
    }
}

impl AttemptControl for Control {
    fn stop(&self, reason: StopReason) {
        let code = REASONS.iter().position(|known| *known == reason).map_or(0, |index| index as u8 + 1);
        if self.reason.compare_exchange(0, code, Ordering::AcqRel, Ordering::Acquire).is_ok() {
            self.stopped.notify_waiters();
        }
    }

    fn stop_reason(&self) -> Option<StopReason> {
        let code = self.reason.load(Ordering::Acquire);
        usize::from(code).checked_sub(1).map(|index| REASONS[index])
    }

    fn stopped(&self) -> BoxFuture<'static, StopReason> {
        let this = self.this.upgrade();
        Box::pin(async move {
            // `self` is borrowed from the only `Arc` there is, so the upgrade cannot fail.
            let Some(this) = this else { return std::future::pending().await };
            let mut notified = std::pin::pin!(this.stopped.notified());
            loop {
                notified.as_mut().enable();
                if let Some(reason) = this.stop_reason() {
                    return reason;
                }
                notified.as_mut().await;
                notified.set(this.stopped.notified());
            }
        })
    }

    fn note(&self, note: Note) {
        let note = TimedNote { at: self.now(), note: note.fitting() };
        let bytes = note.note.bytes();
        let mut said = self.said();
        if said.notes.len() < NOTES_MAX && said.bytes + bytes <= NOTE_BYTES_MAX && said.left_out == 0 {
            said.bytes += bytes;
            said.notes.push(note);
        } else {
            said.left_out += 1;
        }
        drop(said);
        self.has_notes.store(true, Ordering::Release);
        self.tell();
    }

    fn report(&self, progress: Progress) {
        let mut said = self.said();
        said.progressed |= said.progress.as_ref() != Some(&progress);
        said.progress = Some(progress);
        drop(said);
        self.tell();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn the_first_reason_stands_and_wakes_every_waiter() {
        let control = Control::new();
        assert_eq!(control.stop_reason(), None);
        let (early, other) = (tokio::spawn(control.stopped()), tokio::spawn(control.stopped()));
        tokio::task::yield_now().await;
        control.stop(StopReason::TimedOut);
        control.stop(StopReason::Cancelled);
        assert_eq!(control.stop_reason(), Some(StopReason::TimedOut));
        assert_eq!(early.await.unwrap(), StopReason::TimedOut);
        assert_eq!(other.await.unwrap(), StopReason::TimedOut);
        assert_eq!(control.stopped().await, StopReason::TimedOut);
    }

    fn line(message: &str) -> Note {
        Note::Log { level: LogLevel::Info, message: message.to_owned() }
    }

    #[test]
    fn notes_are_kept_in_order_until_they_are_handed_over() {
        let control = Control::new();
        assert!(!control.has_notes() && !control.has_news());
        control.note(line("a"));
        control.note(line("b"));
        let taken = control.take_notes();
        control.note(line("c"));
        control.give_back(taken);
        let said: Vec<Note> = control.take_notes().into_iter().map(|note| note.note).collect();
        assert_eq!(said, [line("a"), line("b"), line("c")]);
        assert!(control.has_notes() && !control.has_news());
    }

    // proves R-468
    #[test]
    fn what_there_is_no_room_for_is_counted_and_never_silent() {
        let control = Control::new();
        for number in 0..NOTES_MAX + 7 {
            control.note(line(&number.to_string()));
        }
        let said = control.take_notes();
        assert_eq!(said.len(), NOTES_MAX + 1);
        let last = said.last().map(|note| note.note.clone());
        assert!(matches!(last, Some(Note::Log { message, .. }) if message.starts_with("7 entries")));
        control.note(line("again"));
        assert_eq!(control.take_notes().len(), 1);
    }

    #[test]
    fn progress_is_news_only_where_it_is_new() {
        let control = Control::new();
        control.report(Progress::new(0.5, None));
        assert!(control.take_progress().is_some());
        control.report(Progress::new(0.5, None));
        assert!(!control.has_news() && control.progress().is_some());
    }
}
