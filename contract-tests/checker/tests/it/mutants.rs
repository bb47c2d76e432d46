//! One change to a good history, and the rule that must catch it.

use taskport_checker::{Event, Line, Operation, Rule, State};

use crate::history::{good, judge};
use Event::{End, Fail, Info, Invoke, Ok as Done, Start};
use Operation::{Cancel, Effect, Fault, Read, Requeue, Settle, Submit};

type Mutation = fn(&mut Vec<Line>);

/// A mutation and every rule it breaks.
const MUTANTS: &[(&str, Mutation, &[Rule])] = &[
    ("drop the read-back", |h| drop_all(h, "plain-1", Read, Done), &[Rule::Lost]),
    ("read back as missing", |h| answer(h, "dead-1", State::Missing), &[Rule::Lost]),
    ("drop the end of the effect", |h| drop_all(h, "plain-1", Effect, End), &[Rule::Lost]),
    ("drop the whole effect", |h| h.retain(|l| !(of(l, "plain-1") && l.op == Effect)), &[Rule::Lost]),
    ("drop the attempt to submit", |h| drop_all(h, "plain-1", Submit, Invoke), &[Rule::Ghosts]),
    ("drop the whole submit", |h| h.retain(|l| !(of(l, "dead-1") && l.op == Submit)), &[Rule::Ghosts]),
    ("drop the start of the effect", |h| drop_all(h, "plain-1", Effect, Start), &[Rule::Ghosts]),
    ("double the end of the effect", |h| twice(h, "plain-1", Effect, End), &[Rule::Ghosts]),
    ("double the outcome", |h| twice(h, "plain-1", Settle, Done), &[Rule::Double]),
    (
        "believe the old lease",
        |h| find(h, "paused-1", Settle, Fail).event = Done,
        &[Rule::Double, Rule::Unexplained],
    ),
    ("read a result of the old lease", |h| token(h, "retried-1", Read, 1), &[Rule::Double]),
    ("read a result nobody had", |h| token(h, "retried-1", Read, 3), &[Rule::Double]),
    ("end twice with one requeue", |h| twice(h, "requeued-1", Settle, Done), &[Rule::Double]),
    ("end twice without a requeue", |h| h.retain(|l| l.op != Requeue), &[Rule::Double, Rule::Unexplained]),
    ("two ids for one key", second_id, &[Rule::Double]),
    ("double the start", |h| twice(h, "plain-1", Effect, Start), &[Rule::Unexplained]),
    ("forget the kill", |h| aim(h, "killed-1", None), &[Rule::Unexplained]),
    ("kill before the start", |h| age_the_kill(h), &[Rule::Unexplained]),
    ("forget the retry", |h| drop_settles(h, "retried-1", 1), &[Rule::Unexplained]),
    ("forget the lost settle", |h| drop_settles(h, "settle-lost-1", 1), &[Rule::Unexplained]),
    ("forget the second delivery", |h| drop_all(h, "delivered-twice-1", Fault, Done), &[Rule::Unexplained]),
    ("refuse what ran", |h| find(h, "recovered-1", Submit, Info).event = Fail, &[Rule::NotApplied]),
    ("refuse what is there", |h| answer(h, "refused-1", State::Expired), &[Rule::NotApplied]),
    ("age the start", |h| find(h, "delayed-1", Effect, Start).wall_us -= 60_000, &[Rule::Early]),
    ("ask for later", |h| later(find(h, "delayed-1", Submit, Invoke)), &[Rule::Early]),
    ("end the cancelled", |h| cancel_ended(h, "asked-to-stop-1"), &[Rule::Cancelled]),
    ("let it start after the cancel", |h| aim(h, "late-sleeper-1", None), &[Rule::Cancelled]),
    ("swap two starts", |h| swap_starts(h), &[Rule::Order]),
    ("swap two places", |h| swap_places(h), &[Rule::Order]),
    ("read back as queued", |h| answer(h, "expired-1", State::Queued), &[Rule::Stuck]),
    ("read back as running", |h| answer(h, "never-came-1", State::Running), &[Rule::Stuck]),
    ("start after the end", |h| find(h, "dead-1", Effect, Start).at_us = u64::MAX, &[Rule::Stuck]),
    ("let the two reads differ", |h| differ(find(h, "dead-1", Read, Done)), &[Rule::Disagreeing]),
];

/// Changes that break nothing.
const INNOCENT: &[(&str, Mutation)] = &[
    ("acknowledge twice", |h| twice(h, "plain-1", Submit, Done)),
    ("read a third time", |h| twice(h, "plain-1", Read, Done)),
    ("start early by less than the clocks are apart", |h| {
        let due = find(h, "delayed-1", Submit, Invoke).not_before_us.unwrap();
        find(h, "delayed-1", Effect, Start).wall_us = due - 1_000;
    }),
    ("start early after a requeue", |h| {
        let start = find(h, "delayed-1", Effect, Start).clone();
        later(find(h, "delayed-1", Submit, Invoke));
        let mut requeue = Line::new("client", Requeue, Invoke, start.at_us, start.wall_us);
        requeue.key = start.key;
        h.push(requeue);
    }),
    ("start out of order where the submit was not acknowledged", |h| {
        swap_starts(h);
        h.iter_mut()
            .filter(|l| of(l, "ordered-1") && l.op == Submit && l.event == Done)
            .for_each(|l| l.event = Info);
    }),
    ("kill at the very start", |h| {
        let at = find(h, "killed-1", Effect, Start).at_us;
        fault(h, "killed-1").at_us = at;
    }),
    ("cancel before an old start", |h| {
        let at = find(h, "late-sleeper-1", Cancel, Done).at_us;
        find(h, "late-sleeper-1", Effect, Start).at_us = at;
    }),
];

#[test]
fn each_mutant_is_caught_by_the_right_rule() {
    // proves
    for seed in 0..20 {
        for (name, mutate, rules) in MUTANTS {
            let mut history = good(seed);
            mutate(&mut history);
            let verdict = judge(&history);
            let broken: Vec<_> = Rule::ALL.into_iter().filter(|rule| verdict.broken[rule] > 0).collect();
            assert_eq!(&broken, rules, "{name}, seed {seed}: {verdict:#?}");
            assert!(!verdict.passed && rules.iter().all(|rule| !verdict.examples[rule].is_empty()), "{name}");
        }
    }
}

#[test]
fn every_rule_has_a_mutant() {
    for rule in Rule::ALL {
        assert!(MUTANTS.iter().any(|(_, _, rules)| *rules == [rule]), "{rule:?}");
    }
}

#[test]
fn innocent_changes_are_not_flagged() {
    for seed in 0..20 {
        for (name, mutate) in INNOCENT {
            let mut history = good(seed);
            mutate(&mut history);
            let verdict = judge(&history);
            assert!(verdict.passed, "{name}, seed {seed}: {verdict:#?}");
        }
    }
}

fn of(line: &Line, key: &str) -> bool {
    line.key.as_deref() == Some(key)
}

fn find<'a>(history: &'a mut [Line], key: &str, op: Operation, event: Event) -> &'a mut Line {
    history.iter_mut().find(|l| of(l, key) && l.op == op && l.event == event).unwrap()
}

fn drop_all(history: &mut Vec<Line>, key: &str, op: Operation, event: Event) {
    find(history, key, op, event);
    history.retain(|l| !(of(l, key) && l.op == op && l.event == event));
}

fn drop_settles(history: &mut Vec<Line>, key: &str, token: u64) {
    history.retain(|l| !(of(l, key) && l.op == Settle && l.token == Some(token)));
}

fn twice(history: &mut Vec<Line>, key: &str, op: Operation, event: Event) {
    let line = find(history, key, op, event).clone();
    history.push(line);
}

fn answer(history: &mut [Line], key: &str, state: State) {
    history.iter_mut().filter(|l| of(l, key) && l.op == Read).for_each(|l| l.state = Some(state));
}

fn token(history: &mut [Line], key: &str, op: Operation, token: u64) {
    history.iter_mut().filter(|l| of(l, key) && l.op == op).for_each(|l| l.token = Some(token));
}

fn later(submit: &mut Line) {
    submit.not_before_us = submit.not_before_us.map(|at| at + 60_000);
}

fn differ(read: &mut Line) {
    read.state = Some(State::Expired);
}

fn second_id(history: &mut Vec<Line>) {
    twice(history, "plain-1", Submit, Done);
    history.last_mut().unwrap().id = Some("another".to_owned());
}

/// The fault that hit the first process of a job.
fn fault<'a>(history: &'a mut [Line], key: &str) -> &'a mut Line {
    let worker = find(history, key, Effect, Start).process.clone();
    history.iter_mut().find(|l| l.target.as_ref() == Some(&worker)).unwrap()
}

fn aim(history: &mut [Line], key: &str, target: Option<&str>) {
    fault(history, key).target = target.map(str::to_owned);
}

fn age_the_kill(history: &mut [Line]) {
    let started = find(history, "killed-1", Effect, Start).at_us;
    fault(history, "killed-1").at_us = started - 1;
}

fn cancel_ended(history: &mut [Line], key: &str) {
    find(history, key, Cancel, Done).state = Some(State::Cancelled);
}

fn swap_starts(history: &mut [Line]) {
    let first = find(history, "ordered-0", Effect, Start).at_us;
    let second = std::mem::replace(&mut find(history, "ordered-1", Effect, Start).at_us, first);
    find(history, "ordered-0", Effect, Start).at_us = second;
}

fn swap_places(history: &mut [Line]) {
    find(history, "ordered-0", Submit, Invoke).sequence = Some(2);
    find(history, "ordered-1", Submit, Invoke).sequence = Some(1);
}
