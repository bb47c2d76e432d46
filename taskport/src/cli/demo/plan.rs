//! Which worker is killed when, decided before anything runs: a seed gives the same plan again.

use std::time::Duration;

/// The kills of one run.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Plan {
    kills: Vec<Kill>,
}

/// One kill.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) struct Kill {
    /// How much of the work is to be done first, from 0.0 to 1.0.
    pub(super) share: f64,
    /// How long to wait then, so that the moment does not depend on when somebody looked.
    pub(super) pause: Duration,
    /// Which worker.
    pub(super) worker: usize,
}

/// The last kill comes when no more than this share of the work is done, so that there is work left to lose.
const SHARE_MAX: f64 = 0.9;
const PAUSE_MAX: Duration = Duration::from_millis(15);

impl Plan {
    /// So many kills among so many workers, the first as soon as the run has started.
    pub(super) fn new(seed: u64, kills: usize, workers: usize) -> Self {
        let mut random = fastrand::Rng::with_seed(seed);
        let mut kills: Vec<_> = (0..kills)
            .map(|kill| Kill {
                share: if kill == 0 { 0.0 } else { random.f64() * SHARE_MAX },
                pause: PAUSE_MAX.mul_f64(random.f64()),
                worker: random.usize(..workers.max(1)),
            })
            .collect();
        kills.sort_by(|a, b| a.share.total_cmp(&b.share));
        kills.reverse();
        Self { kills }
    }

    /// The next kill that is due when `done` of `total` is done. Each is given once.
    pub(super) fn due(&mut self, done: u64, total: Option<u64>) -> Option<Kill> {
        let share = match total {
            Some(total) if total > 0 => done as f64 / total as f64,
            _ => 0.0,
        };
        self.kills.pop_if(|kill| kill.share <= share)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_seed_gives_the_same_plan_and_another_seed_another() {
        assert_eq!(Plan::new(7, 8, 3), Plan::new(7, 8, 3));
        assert_ne!(Plan::new(7, 8, 3), Plan::new(8, 8, 3));
    }

    #[test]
    fn the_first_kill_is_due_at_once_and_each_only_once() {
        let mut plan = Plan::new(1, 6, 3);
        let first = plan.due(0, None).unwrap();
        assert_eq!(first.share, 0.0);
        assert_eq!(plan.due(0, None), None);
        let mut kills = 1;
        for done in 0..=1_000 {
            while let Some(kill) = plan.due(done, Some(1_000)) {
                assert!(kill.worker < 3 && kill.share <= SHARE_MAX && kill.pause <= PAUSE_MAX);
                kills += 1;
            }
        }
        assert_eq!(kills, 6);
    }
}
