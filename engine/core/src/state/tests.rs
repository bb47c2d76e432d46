use std::collections::BTreeSet;

use proptest::prelude::*;
use taskport_abstraction::Backoff;

use super::*;

const NOW: Timestamp = Timestamp::from_micros(1_000_000_000);
const PAST: Timestamp = Timestamp::from_micros(999_000_000);
const FUTURE: Timestamp = Timestamp::from_micros(1_001_000_000);
const EVENTS: [&str; 14] = [
    "replace", "due", "hold", "free", "claim", "ack", "retry", "reject", "yield", "release", "lapse",
    "cancel", "expire", "requeue",
];

struct Row {
    number: String,
    state: String,
    event: String,
    conditions: Vec<String>,
    next: String,
    effect: String,
}

fn table() -> Vec<Row> {
    let spec = include_str!("../../../../specs/job-states.md");
    let rows = spec.lines().filter(|line| line.starts_with("| R-"));
    rows.map(|line| {
        let mut cells = line.trim_matches('|').split('|').map(|cell| cell.trim().to_owned());
        let mut cell = || cells.next().expect("six cells");
        Row {
            number: cell(),
            state: cell(),
            event: cell(),
            conditions: cell().split(',').map(|c| c.trim().to_owned()).filter(|c| !c.is_empty()).collect(),
            next: cell(),
            effect: cell(),
        }
    })
    .collect()
}

fn effect_name(effect: &Effect) -> &'static str {
    match effect {
        Effect::Wait(_) => "wait",
        Effect::Ready => "ready",
        Effect::Hold => "hold",
        Effect::Lease => "lease",
        Effect::Succeed => "succeed",
        Effect::Backoff(..) => "backoff",
        Effect::Rescue(_) => "rescue",
        Effect::HandBack => "hand back",
        Effect::End(_) => "end",
        Effect::AskToStop => "ask to stop",
        Effect::Renew => "renew",
    }
}

fn policy(name: &str) -> RetryPolicy {
    let policy =
        RetryPolicy { attempts_max: 9, backoff: Backoff::Fixed { delay: Duration::ZERO }, age_max: None };
    match name {
        "attempts left" => policy,
        "used up" => RetryPolicy { attempts_max: 1, ..policy },
        "too old" => RetryPolicy { age_max: Some(Duration::from_micros(1)), ..policy },
        other => panic!("no policy {other}"),
    }
}

fn event<'a>(name: &str, moment: Timestamp, failure: &'a Failure) -> Event<'a> {
    match name {
        "replace" => Event::Replace { not_before: Some(moment) },
        "due" => Event::Due,
        "hold" => Event::Hold,
        "free" => Event::Free,
        "claim" => Event::Claim,
        "ack" => Event::Ack,
        "retry" => Event::Retry { failure, after: None },
        "reject" => Event::Reject(failure),
        "yield" => Event::Yield(failure),
        "release" => Event::Release,
        "lapse" => Event::Lapse,
        "cancel" => Event::Cancel,
        "expire" => Event::Expire,
        "requeue" => Event::Requeue,
        other => panic!("no event {other}"),
    }
}

/// Every combination of conditions, as the words of the table.
fn conditions() -> impl Iterator<Item = [&'static str; 4]> {
    ["due", "not due"].into_iter().flat_map(|due| {
        ["started", "not started"].into_iter().flat_map(move |started| {
            ["cancel asked", "no cancel"].into_iter().flat_map(move |cancel| {
                ["attempts left", "used up", "too old"].map(|policy| [due, started, cancel, policy])
            })
        })
    })
}

#[test]
fn the_table_of_the_spec_and_the_function_agree_in_every_cell() {
    let table = table();
    let failure = Failure::new(FailureKind::Error, "no");
    let mut used = BTreeSet::new();
    for state in JobState::ALL {
        for event_name in EVENTS {
            for holds in conditions() {
                let [due, started, cancel, policy_name] = holds;
                let moment = if due == "due" { PAST } else { FUTURE };
                let retry = policy(policy_name);
                let facts = JobFacts {
                    state,
                    attempt: u32::from(started == "started"),
                    submitted_at: PAST,
                    due_at: Some(moment),
                    expires_at: Some(moment),
                    cancel_requested: cancel == "cancel asked",
                    retry: &retry,
                };
                // A running job has started.
                if state == JobState::Running && facts.attempt == 0 {
                    continue;
                }
                let fits = |row: &&Row| {
                    row.state == state.as_str()
                        && row.event == event_name
                        && row.conditions.iter().all(|condition| holds.contains(&condition.as_str()))
                };
                let rows: Vec<&Row> = table.iter().filter(fits).collect();
                let found = transition(&facts, event(event_name, moment, &failure), NOW, 0.5);
                let cell = format!("{state} {event_name} {holds:?}");
                match (&rows[..], &found) {
                    ([], Err(Refused)) => {}
                    ([row], Ok(next)) => {
                        assert_eq!(
                            (row.next.as_str(), row.effect.as_str()),
                            (next.state.as_str(), effect_name(&next.effect)),
                            "{cell}"
                        );
                        used.insert(row.number.clone());
                    }
                    _ => panic!(
                        "{cell}: the table has {:?}, the function says {found:?}",
                        rows.iter().map(|row| &row.number).collect::<Vec<_>>()
                    ),
                }
            }
        }
    }
    for row in table.iter().filter(|row| row.state == "new") {
        let moment = if row.conditions == ["due"] { PAST } else { FUTURE };
        let next = admit(Some(moment), NOW);
        assert_eq!(
            (row.next.as_str(), row.effect.as_str()),
            (next.state.as_str(), effect_name(&next.effect))
        );
        used.insert(row.number.clone());
    }
    let all: BTreeSet<_> = table.iter().map(|row| row.number.clone()).collect();
    assert_eq!(used, all, "every row of the table is reached, and numbers are unique");
    assert_eq!(all.len(), table.len());
}

// proves R-043
#[test]
fn the_last_lost_attempt_says_what_happened() {
    let check = |attempts_max, attempt, expected: Option<(FailureKind, &str)>| {
        let retry = RetryPolicy { attempts_max, ..RetryPolicy::default() };
        let facts = JobFacts {
            state: JobState::Running,
            attempt,
            submitted_at: PAST,
            due_at: Some(NOW),
            expires_at: None,
            cancel_requested: false,
            retry: &retry,
        };
        let next = transition(&facts, Event::Lapse, NOW, 0.0).unwrap();
        match (next.effect, expected) {
            (Effect::Rescue(failure), None) => assert_eq!(failure.kind, FailureKind::WorkerLost),
            (Effect::End(failure), Some((kind, type_name))) => {
                assert_eq!(
                    (failure.kind, failure.type_name.as_str(), failure.attempt),
                    (kind, type_name, attempt)
                );
            }
            (effect, expected) => panic!("{effect:?} where {expected:?} was expected"),
        }
    };
    check(1, 1, Some((FailureKind::WorkerLost, "worker_lost")));
    check(3, 2, None);
    check(3, 3, Some((FailureKind::MaxAttemptsExceeded, "worker_lost")));
}

#[test]
fn positions_follow_the_order_of_the_queue() {
    let level = |level| Priority::new(level).unwrap();
    let place = |order, priority, seq| position(order, level(priority), seq);
    assert!(place(QueueOrder::Priority, 9, 100) < place(QueueOrder::Priority, 8, 1));
    assert!(place(QueueOrder::Priority, 0, 1) < place(QueueOrder::Priority, 0, 2));
    assert!(place(QueueOrder::Fifo, 0, 1) < place(QueueOrder::Fifo, 9, 2));
    assert!(place(QueueOrder::Lifo, 0, 2) < place(QueueOrder::Lifo, 9, 1));
}

// proves R-439
#[test]
fn a_level_of_priority_makes_up_for_so_much_waiting() {
    let place = |submitted_at, level| {
        aged_position(submitted_at, Priority::new(level).unwrap(), Duration::from_secs(1))
    };
    assert!(place(NOW, 5) < place(NOW, 4));
    assert!(place(PAST, 4) < place(FUTURE, 5));
    assert!(place(FUTURE, 7) < place(PAST, 4));
    let forever = aged_position(NOW, Priority::new(0).unwrap(), Duration::MAX);
    assert_eq!(forever, i64::MAX);
}

fn any_state() -> impl Strategy<Value = JobState> {
    proptest::sample::select(JobState::ALL.to_vec())
}

proptest! {
    #[test]
    fn every_move_is_one_the_vocabulary_allows(
        state in any_state(), event_name in proptest::sample::select(EVENTS.to_vec()), attempt in 0_u32..12,
        attempts_max in 1_u32..10, due in -5_i64..5, expires in -5_i64..5, cancel_requested: bool, random in 0.0..1.0,
    ) {
        let retry = RetryPolicy { attempts_max, ..RetryPolicy::default() };
        let at = |offset: i64| Timestamp::from_micros(NOW.as_micros() + offset);
        let facts = JobFacts {
            state, attempt, submitted_at: PAST, due_at: Some(at(due)), expires_at: Some(at(expires)), cancel_requested, retry: &retry,
        };
        let failure = Failure::new(FailureKind::Error, "no");
        let Ok(next) = transition(&facts, event(event_name, at(due), &failure), NOW, random) else { return Ok(()) };
        prop_assert!(next.state == state || state.can_become(next.state));
        match next.effect {
            Effect::Wait(moment) => prop_assert!(moment > NOW),
            Effect::Backoff(moment, _) => {
                prop_assert!(moment >= NOW && attempt < attempts_max);
            }
            Effect::Rescue(_) => prop_assert!(attempt < attempts_max),
            Effect::End(_) | Effect::Succeed => prop_assert!(next.state.is_terminal()),
            Effect::Ready | Effect::HandBack | Effect::Renew => prop_assert_eq!(next.state, JobState::Queued),
            Effect::Hold => prop_assert_eq!(next.state, JobState::Blocked),
            Effect::Lease | Effect::AskToStop => prop_assert_eq!(next.state, JobState::Running),
        }
    }

    #[test]
    fn no_job_makes_more_attempts_than_its_policy_allows(
        events in proptest::collection::vec(proptest::sample::select(EVENTS.to_vec()), 1..200), attempts_max in 1_u32..6,
    ) {
        let retry = RetryPolicy { attempts_max, backoff: Backoff::Fixed { delay: Duration::from_secs(1) }, age_max: None };
        let failure = Failure::new(FailureKind::Error, "no");
        let (mut state, mut attempt, mut now) = (JobState::Queued, 0, NOW);
        for name in events {
            now = now + Duration::from_secs(2);
            let facts = JobFacts {
                state, attempt, submitted_at: NOW, due_at: Some(now), expires_at: None, cancel_requested: false, retry: &retry,
            };
            let Ok(next) = transition(&facts, event(name, now, &failure), now, 0.5) else { continue };
            match next.effect {
                Effect::Lease => attempt += 1,
                Effect::HandBack => attempt -= 1,
                Effect::Renew => attempt = 0,
                _ => {}
            }
            state = next.state;
            prop_assert!(attempt <= attempts_max);
        }
    }
}
