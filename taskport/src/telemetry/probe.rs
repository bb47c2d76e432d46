//! What the backends say of their queues, asked when somebody wants the page.

use std::sync::Arc;
use std::time::Duration;

use futures_util::future::join_all;
use taskport_abstraction::backend::QueueStats;
use taskport_abstraction::{Backend, BackendName, Clock, Timestamp};
use taskport_worker::metrics::{Kind, Metric, OTHER, Page};
use tokio::sync::Mutex;
use tokio::time::{Instant, timeout};

/// How long an answer is good for: the page costs a backend at most one query in this time.
const FRESH_FOR: Duration = Duration::from_secs(1);
/// How long a backend may take to answer before it counts as unreachable.
const PATIENCE: Duration = Duration::from_secs(2);
/// How many queues of a backend are told apart.
const QUEUES_MAX: usize = 100;

/// The last answers.
#[derive(Debug, Default)]
pub(super) struct Probe(Mutex<Option<(Instant, Arc<[Seen]>)>>);

/// One backend as it was seen.
#[derive(Debug)]
pub(super) struct Seen {
    backend: BackendName,
    /// Its queues, or none where it did not answer.
    queues: Option<Vec<QueueStats>>,
}

impl Seen {
    pub(super) fn is_up(&self) -> bool {
        self.queues.is_some()
    }
}

impl Probe {
    /// Asks every backend at once, unless the last answers are fresh. Those who come together share one query.
    pub(super) async fn look(&self, backends: Vec<Arc<dyn Backend>>) -> Arc<[Seen]> {
        let mut last = self.0.lock().await;
        match &*last {
            Some((at, seen)) if at.elapsed() < FRESH_FOR => seen.clone(),
            _ => {
                let seen: Arc<[Seen]> = join_all(backends.iter().map(|backend| ask(&**backend))).await.into();
                *last = Some((Instant::now(), seen.clone()));
                seen
            }
        }
    }
}

async fn ask(backend: &dyn Backend) -> Seen {
    let answer = async {
        match backend.admin() {
            Some(admin) => admin.queues().await,
            None => backend.health().await.map(|_| Vec::new()),
        }
    };
    let queues = match timeout(PATIENCE, answer).await {
        Ok(Ok(queues)) => Some(queues),
        Ok(Err(error)) => {
            tracing::debug!(backend = %backend.name(), %error, "the backend does not tell of its queues");
            None
        }
        Err(_) => None,
    };
    Seen { backend: backend.name().clone(), queues }
}

/// One queue on the page, or all those beyond the limit together.
#[derive(Debug, Default)]
struct Row {
    states: Vec<(&'static str, u64)>,
    oldest_age: Duration,
    paused: bool,
}

impl Row {
    fn add(&mut self, queue: &QueueStats, now: Timestamp) {
        let states = queue.counts.by_state();
        if self.states.is_empty() {
            self.states = states.map(|(state, _)| (state.as_str(), 0)).into();
        }
        for ((_, sum), (_, count)) in self.states.iter_mut().zip(states) {
            *sum += count;
        }
        let age = queue.oldest_queued_at.map_or(Duration::ZERO, |oldest| now.since(oldest));
        self.oldest_age = self.oldest_age.max(age);
        self.paused |= queue.paused;
    }
}

pub(super) fn write(seen: &[Seen], clock: &dyn Clock, page: &mut Page) {
    let now = clock.now();
    let mut up = page.metric(&UP);
    for backend in seen {
        up.add(&[backend.backend.as_str()], u8::from(backend.is_up()));
    }
    let mut rows: Vec<([&str; 2], Row)> = Vec::new();
    for Seen { backend, queues } in seen {
        let mut queues: Vec<&QueueStats> = queues.iter().flatten().collect();
        queues.sort_by(|left, right| left.name.cmp(&right.name));
        // The name may be taken by a queue of its own, which then joins the others.
        let (apart, rest): (Vec<_>, Vec<_>) = queues
            .into_iter()
            .enumerate()
            .partition(|(n, queue)| *n < QUEUES_MAX && queue.name.as_str() != OTHER);
        for (_, queue) in apart {
            let mut row = Row::default();
            row.add(queue, now);
            rows.push(([backend.as_str(), queue.name.as_str()], row));
        }
        if !rest.is_empty() {
            let mut row = Row::default();
            rest.iter().for_each(|(_, queue)| row.add(queue, now));
            rows.push(([backend.as_str(), OTHER], row));
        }
    }
    let mut jobs = page.metric(&JOBS);
    for ([backend, queue], row) in &rows {
        for (state, count) in &row.states {
            jobs.add(&[backend, queue, state], count);
        }
    }
    let mut oldest = page.metric(&OLDEST);
    for (values, row) in &rows {
        oldest.add(values, row.oldest_age.as_secs_f64());
    }
    let mut paused = page.metric(&PAUSED);
    for (values, row) in &rows {
        paused.add(values, u8::from(row.paused));
    }
}

const BY_QUEUE: &[&str] = &["backend", "queue"];

const UP: Metric = Metric {
    name: "taskport_backend_up",
    kind: Kind::Gauge,
    labels: &["backend"],
    help: "1 where the backend answered in time when it was last asked, else 0.",
};
const JOBS: Metric = Metric {
    name: "taskport_queue_jobs",
    kind: Kind::Gauge,
    labels: &["backend", "queue", "state"],
    help: "Jobs of a queue in each state, as the backend counts them; ended ones may have been deleted since.",
};
const OLDEST: Metric = Metric {
    name: "taskport_queue_oldest_age_seconds",
    kind: Kind::Gauge,
    labels: BY_QUEUE,
    help: "How long the oldest job that could start has waited; 0 where none waits.",
};
const PAUSED: Metric = Metric {
    name: "taskport_queue_paused",
    kind: Kind::Gauge,
    labels: BY_QUEUE,
    help: "1 where the queue hands out no jobs, else 0.",
};

pub(super) const METRICS: &[Metric] = &[UP, JOBS, OLDEST, PAUSED];

#[cfg(test)]
mod tests {
    use taskport_abstraction::SystemClock;
    use taskport_abstraction::backend::{Counts, QueueLimits, QueueOrder};

    use super::*;

    // proves R-404
    #[tokio::test(start_paused = true)]
    async fn those_who_ask_within_a_second_share_an_answer() {
        let probe = Probe::default();
        let (first, second) = tokio::join!(probe.look(Vec::new()), probe.look(Vec::new()));
        assert!(Arc::ptr_eq(&first, &second));
        tokio::time::advance(FRESH_FOR - Duration::from_millis(1)).await;
        assert!(Arc::ptr_eq(&first, &probe.look(Vec::new()).await));
        tokio::time::advance(Duration::from_millis(1)).await;
        assert!(!Arc::ptr_eq(&first, &probe.look(Vec::new()).await));
    }

    fn queue(name: &str, queued: u64, paused: bool) -> QueueStats {
        QueueStats {
            name: name.parse().unwrap(),
            order: QueueOrder::default(),
            limits: QueueLimits::default(),
            paused,
            paused_reason: None,
            counts: Counts { submitted: queued, queued, ..Counts::default() },
            oldest_queued_at: None,
        }
    }

    // proves R-403
    #[test]
    fn queues_beyond_the_limit_are_counted_together() {
        let mut queues: Vec<QueueStats> =
            (0..QUEUES_MAX + 7).map(|n| queue(&format!("q{n:03}"), 2, n == 105)).collect();
        queues.push(queue(OTHER, 5, false));
        let backend: BackendName = "main".parse().unwrap();
        let down = Seen { backend: "away".parse().unwrap(), queues: None };
        let mut page = Page::default();
        write(&[Seen { backend, queues: Some(queues) }, down], &SystemClock, &mut page);
        let page = page.into_text();
        let count = |start: &str| page.lines().filter(|line| line.starts_with(start)).count();
        assert_eq!(
            count("taskport_queue_jobs{"),
            (QUEUES_MAX + 1) * 9 - 9,
            "`other` itself is among the first hundred"
        );
        for line in [
            "taskport_backend_up{backend=\"main\"} 1",
            "taskport_backend_up{backend=\"away\"} 0",
            "taskport_queue_jobs{backend=\"main\",queue=\"q000\",state=\"queued\"} 2",
            "taskport_queue_paused{backend=\"main\",queue=\"other\"} 1",
        ] {
            assert!(page.lines().any(|found| found == line), "no {line} in {page}");
        }
        let sum: u64 = page
            .lines()
            .filter(|line| line.starts_with("taskport_queue_jobs{") && line.contains("\"queued\""))
            .map(|line| line.rsplit_once(' ').unwrap().1.parse::<u64>().unwrap())
            .sum();
        assert_eq!(sum, 2 * (QUEUES_MAX as u64 + 7) + 5, "no job is left out");
    }
}
