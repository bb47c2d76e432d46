//! Notes under leases, on both stores.

use taskport_abstraction::backend::Extension;
use taskport_abstraction::journal::{ENTRIES_MAX, ENTRY_BYTES_MAX, JournalEntry, LogLevel, Note, TimedNote};
use taskport_abstraction::{JobOptions, Payload, Timestamp, codes};
use taskport_engine::Store;

use crate::harness::{Harness, LEASE, ack, job_id, memory, sqlite};

fn line(message: impl Into<String>) -> Note {
    Note::Log { level: LogLevel::Info, message: message.into() }
}

fn said(notes: impl IntoIterator<Item = Note>) -> Vec<TimedNote> {
    notes.into_iter().map(|note| TimedNote { at: Timestamp::from_micros(5), note }).collect()
}

fn entries<S: Store>(harness: &mut Harness<S>, after: u64) -> Vec<JournalEntry> {
    harness.engine.reader().unwrap().journal(&job_id("j"), after, 1_000).unwrap()
}

// proves R-466
fn a_lease_that_has_passed_on_says_nothing<S: Store>(mut harness: Harness<S>) {
    harness.submit("j", JobOptions::default()).unwrap();
    let first = harness.claim(1).remove(0);
    let extend = |harness: &mut Harness<S>, lease, text: &str| {
        let extension = Extension { lease, progress: None, notes: said([line(text)]) };
        harness.tx(|tx| tx.extend(&[extension], LEASE).remove(0)).0
    };
    extend(&mut harness, first.lease.clone(), "mine").unwrap();
    harness.pass(LEASE.as_secs() + 1);
    let second = harness.claim(1).remove(0);
    let late = extend(&mut harness, first.lease, "late").unwrap_err();
    assert_eq!(late.code(), &codes::LEASE_LOST);
    extend(&mut harness, second.lease.clone(), "mine too").unwrap();
    harness.settle(&second, ack("1")).unwrap();
    assert!(extend(&mut harness, second.lease, "after the end").is_err());
    let all = entries(&mut harness, 0);
    let texts: Vec<(u32, &Note)> = all.iter().map(|entry| (entry.attempt, &entry.note)).collect();
    assert_eq!(texts, [(1, &line("mine")), (2, &line("mine too"))]);
}

// proves R-467
fn a_journal_is_bounded_and_says_so<S: Store>(mut harness: Harness<S>) {
    harness.submit("j", JobOptions::default()).unwrap();
    let lease = harness.claim(1).remove(0).lease;
    let long = "é".repeat(ENTRY_BYTES_MAX);
    let large = Note::Partial(Payload::json(format!("\"{long}\"")));
    let mut notes = vec![line(long.clone()), large];
    notes.extend((0..ENTRIES_MAX).map(|number| line(number.to_string())));
    for _ in 0..2 {
        let extension = Extension { lease: lease.clone(), progress: None, notes: said(notes.clone()) };
        harness.tx(|tx| tx.extend(&[extension], LEASE).remove(0)).0.unwrap();
    }
    let first = entries(&mut harness, 0);
    assert_eq!(first[0].note, line(&long[..ENTRY_BYTES_MAX]));
    assert!(matches!(&first[1].note, Note::Log { message, .. } if message.contains("left out")));
    let last = entries(&mut harness, ENTRIES_MAX as u64 - 2);
    assert_eq!(last.len(), 2);
    assert!(matches!(&last[1].note, Note::Log { message, .. } if message.contains("full")));
}

#[test]
fn in_sqlite() {
    a_lease_that_has_passed_on_says_nothing(sqlite());
    a_journal_is_bounded_and_says_so(sqlite());
}

#[test]
fn in_memory() {
    a_lease_that_has_passed_on_says_nothing(memory());
    a_journal_is_bounded_and_says_so(memory());
}
