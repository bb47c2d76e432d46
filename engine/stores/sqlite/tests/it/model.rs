//! Any sequence of commands gives the same replies and the same rows on both stores, and only moves the table allows.

use std::collections::BTreeMap;
use std::time::Duration;

use proptest::prelude::*;
use taskport_abstraction::backend::{Delivery, Extension, QueueOrder, Settlement, Verdict};
use taskport_abstraction::job::Progress;
use taskport_abstraction::options::{Idempotency, OnConflict, Priority, Start, Unique};
use taskport_abstraction::{
    Backoff, Failure, FailureKind, JobId, JobOptions, JobState, JobStatus, Payload, QueueName, RetryPolicy,
};
use taskport_engine::{Claim, Store, Transaction};

use crate::harness::{Harness, assert_account, failure, memory, new_job, sqlite};

#[derive(Debug, Clone)]
enum Command {
    Submit(usize, Box<JobOptions>),
    Claim(Vec<usize>, usize),
    Settle(usize, Verdict),
    Extend(usize, Option<Progress>),
    Cancel(usize),
    Requeue(usize),
    Delete(usize),
    Purge(usize),
    Pause(usize),
    Resume(usize),
    SetOrder(usize, QueueOrder),
}

/// A transaction: how much time passes before it, whether what is due is done first, the commands, and whether it
/// commits.
type Step = (u64, bool, Vec<Command>, bool);

fn queue(n: usize) -> QueueName {
    format!("queue-{n}").parse().unwrap()
}

fn id(n: usize) -> JobId {
    // Both forms of ids.
    let text =
        if n.is_multiple_of(2) { format!("0192f0c1-2345-7abc-8def-{n:012x}") } else { format!("job-{n}") };
    text.parse().unwrap()
}

fn any_options() -> impl Strategy<Value = JobOptions> {
    let seconds = |n: u64| Start::In(Duration::from_secs(n));
    let start = prop_oneof![2 => Just(None), 1 => Just(Some(seconds(7)))];
    let expiry = prop_oneof![2 => Just(None), 1 => Just(Some(seconds(12)))];
    let retry = prop_oneof![
        Just(None),
        Just(Some(RetryPolicy::never())),
        Just(Some(RetryPolicy {
            attempts_max: 2,
            backoff: Backoff::Exponential {
                base: Duration::from_secs(2),
                max: Duration::from_secs(9),
                jitter: true
            },
            age_max: Some(Duration::from_secs(60)),
        })),
    ];
    let unique = prop_oneof![
        Just(Unique::WhileLive),
        Just(Unique::For(Duration::from_secs(20))),
        Just(Unique::Forever)
    ];
    let key = (0..2_usize, unique, prop_oneof![Just(OnConflict::Keep), Just(OnConflict::Replace)]);
    let key = prop_oneof![2 => Just(None), 1 => key.prop_map(Some)];
    let tags = proptest::collection::vec(prop_oneof![Just("a"), Just("b")], 0..2);
    (0..3_usize, proptest::option::of(0..=9_u8), start, expiry, retry, key, tags).prop_map(
        |(line, priority, start, expiry, retry, key, tags)| JobOptions {
            queue: Some(queue(line)),
            priority: priority.map(|level| Priority::new(level).unwrap()),
            start,
            expiry,
            retry,
            idempotency: key.map(|(key, unique, on_conflict)| Idempotency {
                key: format!("key-{key}").into(),
                unique,
                on_conflict,
            }),
            tags: tags.into_iter().map(Into::into).collect(),
            ..JobOptions::default()
        },
    )
}

fn any_verdict() -> impl Strategy<Value = Verdict> {
    prop_oneof![
        4 => Just(Verdict::Ack(Payload::json("1"))),
        1 => Just(Verdict::Ack(Payload::json(vec![b'1'; 101]))),
        3 => Just(Verdict::Retry { failure: failure("no"), after: None }),
        1 => Just(Verdict::Retry { failure: failure("no"), after: Some(Duration::from_secs(1)) }),
        1 => Just(Verdict::Reject(failure("never"))),
        1 => Just(Verdict::Cancelled(Failure::new(FailureKind::Cancelled, "stopped"))),
        2 => Just(Verdict::Release),
    ]
}

fn any_command() -> impl Strategy<Value = Command> {
    let order = prop_oneof![Just(QueueOrder::Priority), Just(QueueOrder::Fifo), Just(QueueOrder::Lifo)];
    let queues = proptest::collection::vec(0..3_usize, 1..4);
    let progress =
        proptest::option::of((0.0..1.0_f64).prop_map(|fraction| Progress::new(fraction, Some("at it"))));
    prop_oneof![
        8 => (0..16_usize, any_options()).prop_map(|(id, options)| Command::Submit(id, Box::new(options))),
        6 => (queues, 1..5_usize).prop_map(|(queues, max)| Command::Claim(queues, max)),
        6 => (0..100_usize, any_verdict()).prop_map(|(lease, verdict)| Command::Settle(lease, verdict)),
        1 => (0..100_usize, progress).prop_map(|(lease, progress)| Command::Extend(lease, progress)),
        2 => (0..17_usize).prop_map(Command::Cancel),
        2 => (0..17_usize).prop_map(Command::Requeue),
        1 => (0..17_usize).prop_map(Command::Delete),
        1 => (0..4_usize).prop_map(Command::Purge),
        1 => (0..4_usize).prop_map(Command::Pause),
        1 => (0..4_usize).prop_map(Command::Resume),
        1 => (0..3_usize, order).prop_map(|(line, order)| Command::SetOrder(line, order)),
    ]
}

fn any_steps() -> impl Strategy<Value = Vec<Step>> {
    let commit = prop_oneof![9 => Just(true), 1 => Just(false)];
    let tick = prop_oneof![4 => Just(true), 1 => Just(false)];
    let step = (0..9_u64, tick, proptest::collection::vec(any_command(), 0..4), commit);
    proptest::collection::vec(step, 1..40)
}

/// One store under the commands, and the leases it ever gave.
struct Subject<S: Store> {
    harness: Harness<S>,
    leases: Vec<Delivery>,
}

impl<S: Store> Subject<S> {
    fn run(&mut self, (seconds, tick, commands, commit): &Step) -> Vec<String> {
        self.harness.pass(*seconds);
        let before = states(&mut self.harness);
        let mut replies = Vec::new();
        let mut tx = self.harness.engine.begin(self.harness.now).unwrap();
        if *tick {
            replies.push(format!("{:?}", tx.tick()));
        }
        let mut given = Vec::new();
        for command in commands {
            replies.push(apply(&mut tx, command, &self.leases, &mut given));
        }
        if *commit {
            replies.push(format!("{:?}", tx.commit()));
            self.leases.append(&mut given);
        } else {
            drop(tx);
            assert_eq!(before, states(&mut self.harness), "a dropped transaction changed something");
        }
        replies.push(format!("{:?}", self.harness.engine.next_due()));
        if usize::from(*tick) + commands.len() == 1 {
            assert_moves(&before, &states(&mut self.harness), commands.first());
        }
        self.assert_counts();
        replies
    }

    /// The account holds, and says what the rows say.
    fn assert_counts(&mut self) {
        let queues = self.harness.queues();
        assert_account(&queues);
        let jobs = self.harness.all();
        for stats in &queues {
            let in_state =
                |state| jobs.iter().filter(|job| job.queue == stats.name && job.state == state).count();
            let counts = [
                (JobState::Scheduled, stats.counts.scheduled),
                (JobState::Queued, stats.counts.queued),
                (JobState::Running, stats.counts.running),
                (JobState::Retrying, stats.counts.retrying),
            ];
            for (state, count) in counts {
                assert_eq!(count, in_state(state) as u64, "{state} in {stats:?}");
            }
        }
    }
}

fn apply<S: Store>(
    tx: &mut Transaction<'_, S>,
    command: &Command,
    leases: &[Delivery],
    given: &mut Vec<Delivery>,
) -> String {
    let lease = |n: usize| {
        leases.get(n.checked_rem(leases.len()).unwrap_or(0)).map(|delivery| delivery.lease.clone())
    };
    let lease_for = Duration::from_secs(10);
    match command {
        Command::Submit(n, options) => {
            let mut job = new_job(id(*n).as_str(), JobOptions::clone(options));
            job.call.task = if n.is_multiple_of(3) { "t" } else { "u" }.parse().unwrap();
            format!("{:?}", tx.enqueue(vec![job]))
        }
        Command::Claim(queues, max) => {
            let queues: Vec<_> = queues.iter().map(|n| queue(*n)).collect();
            let deliveries = tx.claim(&Claim { worker: "w", queues: &queues, max: *max, lease_for }).unwrap();
            let reply = format!("{deliveries:?}");
            given.extend(deliveries);
            reply
        }
        Command::Settle(n, verdict) => {
            let settlement = lease(*n).map(|lease| Settlement { lease, verdict: verdict.clone() });
            format!("{:?}", tx.settle(settlement.as_slice()))
        }
        Command::Extend(n, progress) => {
            let extension =
                lease(*n).map(|lease| Extension { lease, progress: progress.clone(), notes: Vec::new() });
            format!("{:?}", tx.extend(extension.as_slice(), lease_for))
        }
        Command::Cancel(n) => format!("{:?}", tx.cancel(&[id(*n)])),
        Command::Requeue(n) => format!("{:?}", tx.requeue(&[id(*n)])),
        Command::Delete(n) => format!("{:?}", tx.delete(&[id(*n)])),
        Command::Purge(n) => format!("{:?}", tx.purge(&queue(*n))),
        Command::Pause(n) => format!("{:?}", tx.pause(&queue(*n), Some("why"))),
        Command::Resume(n) => format!("{:?}", tx.resume(&queue(*n))),
        Command::SetOrder(n, order) => format!("{:?}", tx.set_order(&queue(*n), *order)),
    }
}

fn states<S: Store>(harness: &mut Harness<S>) -> BTreeMap<JobId, JobStatus> {
    harness.all().into_iter().map(|job| (job.id.clone(), job)).collect()
}

/// One command makes each job move at most once, and only as the vocabulary allows.
fn assert_moves(
    before: &BTreeMap<JobId, JobStatus>,
    after: &BTreeMap<JobId, JobStatus>,
    command: Option<&Command>,
) {
    for (id, job) in after {
        let Some(from) = before.get(id) else { continue };
        let (from, to) = (from.state, job.state);
        assert!(from == to || from.can_become(to), "{command:?} took {id} from {from} to {to}");
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 96, ..ProptestConfig::default() })]

    #[test]
    fn both_stores_answer_and_hold_the_same(steps in any_steps()) {
        let mut memory = Subject { harness: memory(), leases: Vec::new() };
        let mut sqlite = Subject { harness: sqlite(), leases: Vec::new() };
        for step in &steps {
            prop_assert_eq!(memory.run(step), sqlite.run(step), "{:?}", step);
            prop_assert_eq!(memory.harness.all(), sqlite.harness.all(), "{:?}", step);
            prop_assert_eq!(memory.harness.queues(), sqlite.harness.queues(), "{:?}", step);
        }
    }
}
