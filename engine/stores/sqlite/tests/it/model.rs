//! Any sequence of commands gives the same replies and the same rows on both stores, and only moves the table allows.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use proptest::prelude::*;
use rusqlite::Connection;
use taskport_abstraction::backend::{
    Delivery, Extension, QueueLimits, QueueOrder, Rate, Settlement, Submission, Verdict,
};
use taskport_abstraction::batch::BatchRequest;
use taskport_abstraction::job::Progress;
use taskport_abstraction::options::{
    ConcurrencyLimit, FairShare, Idempotency, OnConflict, Priority, RateLimit, Start, Unique,
};
use taskport_abstraction::{
    Backoff, BatchId, Failure, FailureKind, JobId, JobOptions, JobState, JobStatus, Payload, QueueName,
    RetryPolicy,
};
use taskport_engine::{Claim, Store, Transaction};
use taskport_store_memory::MemoryStore;
use taskport_store_sqlite::SqliteStore;

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
    SetLimits(usize, QueueLimits),
    Batch(usize, Vec<(usize, Box<JobOptions>)>),
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
    (0..3_usize, proptest::option::of(0..=9_u8), start, expiry, retry, key, tags, any_bounds()).prop_map(
        |(line, priority, start, expiry, retry, key, tags, bounds)| JobOptions {
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
            ..bounds
        },
    )
}

/// Few keys of few jobs, so that gates are closed and open again.
fn any_bounds() -> impl Strategy<Value = JobOptions> {
    let key = |kind: &'static str| (0..2_usize).prop_map(move |n| Arc::<str>::from(format!("{kind}-{n}")));
    let line = prop_oneof![3 => Just(None), 1 => key("line").prop_map(Some)];
    let slots = (key("slots"), 1..3_u32).prop_map(|(key, max)| ConcurrencyLimit { key, max });
    let slots = prop_oneof![3 => Just(None), 1 => slots.prop_map(Some)];
    let rate = (key("rate"), 1..3_u32, 1..20_u64).prop_map(|(key, count, seconds)| RateLimit {
        key,
        count,
        period: Duration::from_secs(seconds),
    });
    let rate = prop_oneof![3 => Just(None), 1 => rate.prop_map(Some)];
    let share = (key("share"), 1..4_u32).prop_map(|(key, weight)| FairShare { key, weight });
    let share = prop_oneof![1 => Just(None), 1 => share.prop_map(Some)];
    let batch = prop_oneof![6 => Just(None), 1 => (0..3_usize).prop_map(|n| Some(batch(n)))];
    (line, slots, rate, share, batch).prop_map(|(ordering_key, concurrency, rate_limit, fair, batch)| {
        JobOptions { ordering_key, concurrency, rate_limit, fair, batch, ..JobOptions::default() }
    })
}

fn any_limits() -> impl Strategy<Value = QueueLimits> {
    let rate = (1..4_u32, 1..20_u64)
        .prop_map(|(count, seconds)| Rate { count, period: Duration::from_secs(seconds) });
    let ageing = (1..20_u64).prop_map(Duration::from_secs);
    (proptest::option::of(1..4_u32), proptest::option::of(rate), proptest::option::of(ageing))
        .prop_map(|(concurrency_max, rate, ageing)| QueueLimits { concurrency_max, rate, ageing })
}

fn batch(n: usize) -> BatchId {
    format!("batch-{n}").parse().unwrap()
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
    let order = prop_oneof![
        1 => Just(QueueOrder::Priority),
        1 => Just(QueueOrder::Fifo),
        1 => Just(QueueOrder::Lifo),
        2 => Just(QueueOrder::Fair),
    ];
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
        1 => (0..3_usize, any_limits()).prop_map(|(line, limits)| Command::SetLimits(line, limits)),
        1 => (0..3_usize, proptest::collection::vec((0..16_usize, any_options().prop_map(Box::new)), 0..3))
            .prop_map(|(n, jobs)| Command::Batch(n, jobs)),
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
                (JobState::Blocked, stats.counts.blocked),
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
        Command::SetLimits(n, limits) => format!("{:?}", tx.set_limits(&queue(*n), *limits)),
        Command::Batch(n, jobs) => {
            let submission = |name: String, options: &JobOptions| {
                let job = new_job(&name, JobOptions { batch: None, ..options.clone() });
                Submission { id: job.id, call: job.call, options: job.options }
            };
            let request = BatchRequest {
                id: batch(*n),
                jobs: jobs.iter().map(|(job, options)| submission(id(*job).to_string(), options)).collect(),
                on_success: Some(submission(format!("on-success-{n}"), &JobOptions::default())),
                on_complete: Some(submission(format!("on-complete-{n}"), &JobOptions::default())),
            };
            format!("{:?}", tx.submit_batch(request))
        }
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

/// The jobs of each ordering key that have not ended are those of its line, and the first of them alone is not held back.
///
/// proves
fn assert_lines(h: &mut Harness<SqliteStore>, rows: &Connection) {
    let mut live: BTreeMap<String, usize> = BTreeMap::new();
    for job in h.all().into_iter().filter(|job| !job.state.is_terminal()) {
        if let Some(key) = &job.options.ordering_key {
            *live.entry(key.to_string()).or_default() += 1;
        }
    }
    let sql =
        "SELECT line, held_by IS -1 FROM taskport_jobs WHERE line IS NOT NULL ORDER BY line, line_place, seq";
    let mut statement = rows.prepare_cached(sql).unwrap();
    let places = statement.query_map([], |row| Ok((row.get::<_, String>(0)?, row.get::<_, bool>(1)?)));
    let mut lines: BTreeMap<String, Vec<bool>> = BTreeMap::new();
    for place in places.unwrap() {
        let (key, waits) = place.unwrap();
        lines.entry(key).or_default().push(waits);
    }
    let lens = lines.iter().map(|(key, line)| (key.clone(), line.len())).collect();
    assert_eq!(live, lens, "who has not ended and who is in line differ");
    for (key, line) in lines {
        assert!(!line[0] && line[1..].iter().all(|waits| *waits), "the line of {key}: {line:?}");
    }
}

/// Every gate's counts are those of the rows, and nothing waits that nothing will free.
///
/// proves R-438
fn assert_gates(h: &mut Harness<SqliteStore>, rows: &Connection) {
    let mut statement =
        rows.prepare_cached("SELECT gate, kind, key, inside, held, wake_at FROM taskport_gates").unwrap();
    type Row = (i64, i64, String, u64, u64, Option<i64>);
    let gates = statement.query_map([], |row| {
        Ok((row.get(0)?, row.get(1)?, row.get(2)?, row.get(3)?, row.get(4)?, row.get(5)?))
    });
    let gates: Vec<Row> = gates.unwrap().map(Result::unwrap).collect();
    let jobs = h.all();
    let holders = {
        let mut statement =
            rows.prepare_cached("SELECT id, held_by FROM taskport_jobs WHERE held_by IS NOT NULL").unwrap();
        let holders = statement
            .query_map([], |row| Ok((row.get::<_, rusqlite::types::Value>(0)?, row.get::<_, i64>(1)?)));
        holders.unwrap().map(|row| row.unwrap().1).collect::<Vec<i64>>()
    };
    let blocked = jobs.iter().filter(|job| job.state == JobState::Blocked).count();
    assert_eq!(blocked, holders.len(), "blocked jobs and those a gate holds differ");
    for (id, kind, key, inside, held, wake_at) in gates {
        let count = |fits: &dyn Fn(&JobStatus) -> bool| jobs.iter().filter(|job| fits(job)).count() as u64;
        let holds = holders.iter().filter(|gate| **gate == id).count() as u64;
        assert_eq!(held, holds, "held by {key}");
        let of_key = |job: &JobStatus| match kind {
            1 => job.options.concurrency.as_ref().is_some_and(|limit| *limit.key == *key),
            _ => job.options.rate_limit.as_ref().is_some_and(|limit| *limit.key == *key),
        };
        let running = count(&|job| of_key(job) && job.state == JobState::Running);
        let queued = count(&|job| of_key(job) && job.state == JobState::Queued);
        match kind {
            0 => assert_eq!((inside, held), (0, 0), "{key}"),
            1 => {
                assert_eq!(inside, running, "{key}");
                assert!(held == 0 || running > 0 || queued > 0, "nothing will open {key}");
            }
            _ => assert!(held == 0 || queued > 0 || wake_at.is_some(), "nothing will open {key}"),
        }
    }
}

/// Both know the same of each batch, and an open one counts the jobs that have not ended.
fn assert_batches(memory: &mut Harness<MemoryStore>, sqlite: &mut Harness<SqliteStore>) {
    let jobs = sqlite.all();
    for n in 0..3 {
        let status = sqlite.read(|reader| reader.batch(&batch(n)).unwrap());
        assert_eq!(status, memory.read(|reader| reader.batch(&batch(n)).unwrap()));
        let Some(status) = status else { continue };
        let ended = status.succeeded + status.failed + status.cancelled;
        assert_eq!(status.total, status.pending + ended, "{status:?}");
        assert_eq!(status.finished_at.is_some(), status.pending == 0, "{status:?}");
        let live =
            |job: &&JobStatus| job.options.batch.as_ref() == Some(&batch(n)) && !job.state.is_terminal();
        if status.finished_at.is_none() {
            assert_eq!(status.pending, jobs.iter().filter(live).count() as u64, "{status:?}");
        }
        let submitted = |name: &str| jobs.iter().any(|job| job.id.as_str() == format!("{name}-{n}"));
        assert!(submitted("on-complete") || status.finished_at.is_none(), "{status:?}");
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 96, ..ProptestConfig::default() })]

    #[test]
    fn both_stores_answer_and_hold_the_same(steps in any_steps()) {
        let mut memory = Subject { harness: memory().keep_reader(), leases: Vec::new() };
        let mut sqlite = Subject { harness: sqlite().keep_reader(), leases: Vec::new() };
        let rows = Connection::open(sqlite.harness.path()).unwrap();
        for step in &steps {
            prop_assert_eq!(memory.run(step), sqlite.run(step), "{:?}", step);
            prop_assert_eq!(memory.harness.all(), sqlite.harness.all(), "{:?}", step);
            prop_assert_eq!(memory.harness.queues(), sqlite.harness.queues(), "{:?}", step);
            assert_gates(&mut sqlite.harness, &rows);
            assert_lines(&mut sqlite.harness, &rows);
            assert_batches(&mut memory.harness, &mut sqlite.harness);
        }
    }
}
