//! Good histories by seed, and what they must give.

use fastrand::Rng;
use taskport_checker::{Checker, Demands, Event, Line, Operation, Outcome, State, Verdict};

use Event::{End, Fail, Info, Invoke, Ok as Done, Start};
use Operation::{Cancel, Drain, Effect, Fault, Read, Requeue, Settle, Submit};

/// The wall clock is this far ahead of the monotonic one.
const EPOCH_US: u64 = 1_700_000_000_000_000;

type Fate = fn(&mut Scribe, &str);

/// What can rightly become of a job.
const FATES: &[(&str, Fate)] = &[
    ("plain", plain),
    ("delayed", delayed),
    ("ordered", ordered),
    ("retried", retried),
    ("released", released),
    ("killed", killed),
    ("paused", paused),
    ("reply-lost", reply_lost),
    ("settle-lost", settle_lost),
    ("delivered-twice", delivered_twice),
    ("requeued", requeued),
    ("recovered", recovered),
    ("never-came", never_came),
    ("refused", refused),
    ("dead", dead),
    ("cancelled", cancelled),
    ("asked-to-stop", asked_to_stop),
    ("late-sleeper", late_sleeper),
    ("expired", expired),
];

/// A history in which every promise was kept; the key of a job is its fate and a number.
pub(crate) fn good(seed: u64) -> Vec<Line> {
    let mut scribe = Scribe { lines: Vec::new(), now: 1, place: 0, workers: 0, random: Rng::with_seed(seed) };
    for round in 0..3 {
        for (name, fate) in FATES {
            fate(&mut scribe, &format!("{name}-{round}"));
        }
    }
    scribe.line("control", Drain, Done, None);
    scribe.lines
}

pub(crate) fn judge(lines: &[Line]) -> Verdict {
    let text: String = lines.iter().map(|line| serde_json::to_string(line).unwrap() + "\n").collect();
    let mut checker = Checker::new(Demands { faults_min: 3, ..Demands::default() });
    checker.read("run.jsonl", text.as_bytes()).unwrap();
    checker.verdict()
}

#[test]
fn good_histories_pass_in_whatever_order_their_lines_are_read() {
    // proves
    for seed in 0..50 {
        let mut lines = good(seed);
        let verdict = judge(&lines);
        assert!(verdict.passed, "seed {seed}: {verdict:#?}");
        Rng::with_seed(seed).shuffle(&mut lines);
        assert_eq!(judge(&lines), verdict, "seed {seed}");
    }
}

#[test]
fn the_figures_of_a_verdict_are_counted() {
    let verdict = serde_json::to_value(judge(&good(1))).unwrap();
    let expected = [
        ("jobs", 3 * 16),
        ("attempted", 3 * 19),
        ("recovered", 3),
        ("faults", 3 * 4),
        ("starts", 3 * 22),
        ("repeats", 3 * 7),
        ("explained", 3 * 7),
        ("lost", 0),
        ("ghosts", 0),
        ("torn", 0),
    ];
    for (name, count) in expected {
        assert_eq!(verdict[name], count, "{name}");
    }
}

struct Scribe {
    lines: Vec<Line>,
    now: u64,
    place: u64,
    workers: u32,
    random: Rng,
}

impl Scribe {
    fn line(&mut self, process: &str, op: Operation, event: Event, key: Option<&str>) -> &mut Line {
        self.now += self.random.u64(1..5_000);
        let mut line = Line::new(process, op, event, self.now, EPOCH_US + self.now);
        line.key = key.map(str::to_owned);
        self.lines.push(line);
        self.lines.last_mut().unwrap()
    }

    fn submit(&mut self, key: &str, answer: Event) {
        self.line("client", Submit, Invoke, Some(key));
        self.line("client", Submit, answer, Some(key)).id = (answer == Done).then(|| format!("id-{key}"));
    }

    fn start(&mut self, worker: &str, key: &str, token: u64) {
        self.line(worker, Effect, Start, Some(key)).token = Some(token);
    }

    fn end(&mut self, worker: &str, key: &str, token: u64) {
        self.line(worker, Effect, End, Some(key)).token = Some(token);
    }

    fn settle(&mut self, worker: &str, key: &str, token: u64, outcome: Outcome, answer: Option<Event>) {
        for event in [Some(Invoke), answer].into_iter().flatten() {
            let line = self.line(worker, Settle, event, Some(key));
            (line.token, line.outcome) = (Some(token), Some(outcome));
        }
    }

    /// One attempt that does its work and is believed.
    fn succeed(&mut self, key: &str, token: u64) {
        let worker = self.worker();
        self.start(&worker, key, token);
        self.end(&worker, key, token);
        self.settle(&worker, key, token, Outcome::Succeeded, Some(Done));
        self.read(key, State::Succeeded, Some(token));
    }

    fn read(&mut self, key: &str, state: State, token: Option<u64>) {
        // Through the public API, and straight from the store.
        for _ in 0..2 {
            let line = self.line("control", Read, Done, Some(key));
            (line.state, line.token) = (Some(state), token);
        }
    }

    fn hit(&mut self, target: &str) {
        self.line("nemesis", Fault, Done, None).target = Some(target.to_owned());
    }

    fn worker(&mut self) -> String {
        self.workers += 1;
        format!("worker-{}", self.workers)
    }
}

fn plain(s: &mut Scribe, key: &str) {
    s.submit(key, Done);
    s.succeed(key, 1);
}

fn delayed(s: &mut Scribe, key: &str) {
    let not_before = EPOCH_US + s.now + 50_000;
    s.line("client", Submit, Invoke, Some(key)).not_before_us = Some(not_before);
    s.line("client", Submit, Done, Some(key));
    s.now += 50_000;
    s.succeed(key, 1);
}

fn ordered(s: &mut Scribe, key: &str) {
    s.place += 1;
    let place = s.place;
    let line = s.line("client", Submit, Invoke, Some(key));
    (line.order, line.sequence) = (Some("tenant".to_owned()), Some(place));
    s.line("client", Submit, Done, Some(key));
    s.succeed(key, 1);
}

fn again(s: &mut Scribe, key: &str, outcome: Outcome) {
    s.submit(key, Done);
    let worker = s.worker();
    s.start(&worker, key, 1);
    s.settle(&worker, key, 1, outcome, Some(Done));
    s.succeed(key, 2);
}

fn retried(s: &mut Scribe, key: &str) {
    again(s, key, Outcome::Retry);
}

fn released(s: &mut Scribe, key: &str) {
    again(s, key, Outcome::Release);
}

fn killed(s: &mut Scribe, key: &str) {
    s.submit(key, Done);
    let worker = s.worker();
    s.start(&worker, key, 1);
    s.hit(&worker);
    s.succeed(key, 2);
}

/// Stopped for longer than its lease; what it says afterwards is refused.
fn paused(s: &mut Scribe, key: &str) {
    s.submit(key, Done);
    let worker = s.worker();
    s.start(&worker, key, 1);
    s.hit(&worker);
    s.succeed(key, 2);
    s.end(&worker, key, 1);
    s.settle(&worker, key, 1, Outcome::Succeeded, Some(Fail));
}

/// The client never heard, and asked again with the same key.
fn reply_lost(s: &mut Scribe, key: &str) {
    s.submit(key, Info);
    s.submit(key, Done);
    s.succeed(key, 1);
}

fn settle_lost(s: &mut Scribe, key: &str) {
    s.submit(key, Done);
    let worker = s.worker();
    s.start(&worker, key, 1);
    s.end(&worker, key, 1);
    let answer = s.random.bool().then_some(Info);
    s.settle(&worker, key, 1, Outcome::Succeeded, answer);
    s.succeed(key, 2);
}

fn delivered_twice(s: &mut Scribe, key: &str) {
    s.submit(key, Done);
    s.line("nemesis", Fault, Done, Some(key));
    let worker = s.worker();
    s.start(&worker, key, 1);
    s.succeed(key, 2);
}

fn requeued(s: &mut Scribe, key: &str) {
    s.submit(key, Done);
    let worker = s.worker();
    s.start(&worker, key, 1);
    s.settle(&worker, key, 1, Outcome::Failed, Some(Done));
    s.line("operator", Requeue, Invoke, Some(key));
    s.line("operator", Requeue, Done, Some(key));
    s.succeed(key, 2);
}

fn recovered(s: &mut Scribe, key: &str) {
    s.submit(key, Info);
    s.succeed(key, 1);
}

fn never_came(s: &mut Scribe, key: &str) {
    s.submit(key, Info);
    s.read(key, State::Missing, None);
}

fn refused(s: &mut Scribe, key: &str) {
    s.submit(key, Fail);
    s.read(key, State::Missing, None);
}

fn dead(s: &mut Scribe, key: &str) {
    s.submit(key, Done);
    let worker = s.worker();
    s.start(&worker, key, 1);
    s.settle(&worker, key, 1, Outcome::Failed, Some(Done));
    s.read(key, State::Failed, None);
}

fn cancel(s: &mut Scribe, key: &str, state: State) {
    s.line("client", Cancel, Invoke, Some(key));
    s.line("client", Cancel, Done, Some(key)).state = Some(state);
}

fn cancelled(s: &mut Scribe, key: &str) {
    s.submit(key, Done);
    cancel(s, key, State::Cancelled);
    s.read(key, State::Cancelled, None);
}

/// The lease was handed out before the cancel; the handler starts after it.
fn asked_to_stop(s: &mut Scribe, key: &str) {
    s.submit(key, Done);
    cancel(s, key, State::Running);
    let worker = s.worker();
    s.start(&worker, key, 1);
    s.settle(&worker, key, 1, Outcome::Cancelled, Some(Done));
    s.read(key, State::Cancelled, None);
}

/// Paused between its lease and its handler, it wakes after the job was cancelled.
fn late_sleeper(s: &mut Scribe, key: &str) {
    s.submit(key, Done);
    let worker = s.worker();
    s.hit(&worker);
    cancel(s, key, State::Cancelled);
    s.start(&worker, key, 1);
    s.settle(&worker, key, 1, Outcome::Cancelled, Some(Fail));
    s.read(key, State::Cancelled, None);
}

fn expired(s: &mut Scribe, key: &str) {
    s.submit(key, Done);
    s.read(key, State::Expired, None);
}
