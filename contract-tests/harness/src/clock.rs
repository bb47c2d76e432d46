//! The two clocks of a history: one that all processes share, and one that can be made to jump.

use std::fs;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicI64, Ordering};
use std::thread;
use std::time::Duration;

use rustix::time::{ClockId, clock_gettime};
use taskport_abstraction::{Clock, SystemClock, Timestamp};

/// How soon a process sees that its clock has jumped.
const LOOK_EVERY: Duration = Duration::from_millis(10);

/// Microseconds by the monotonic clock of the machine, which all of its processes share.
pub fn monotonic_us() -> u64 {
    let now = clock_gettime(ClockId::Monotonic);
    let seconds = u64::try_from(now.tv_sec).unwrap_or(0);
    seconds * 1_000_000 + u64::try_from(now.tv_nsec).unwrap_or(0) / 1_000
}

/// The system's clock, put forward or back by what a file says.
#[derive(Debug, Clone, Default)]
pub struct OffsetClock {
    offset_us: Arc<AtomicI64>,
}

impl OffsetClock {
    /// A clock that follows the file at `path`; without one, the system's.
    pub fn follow(path: Option<PathBuf>) -> Self {
        let clock = Self::default();
        if let Some(path) = path {
            clock.look(&path);
            let following = clock.clone();
            thread::spawn(move || {
                loop {
                    thread::sleep(LOOK_EVERY);
                    following.look(&path);
                }
            });
        }
        clock
    }

    /// Has every clock that follows the file at `path` jump.
    ///
    /// # Errors
    /// Those of writing the file.
    pub fn set(path: &Path, offset_us: i64) -> std::io::Result<()> {
        // A rename, so that nobody reads half a number.
        let next = path.with_extension("next");
        fs::write(&next, offset_us.to_string())?;
        fs::rename(next, path)
    }

    /// Microseconds since the Unix epoch.
    pub fn wall_us(&self) -> u64 {
        u64::try_from(self.now().as_micros()).unwrap_or(0)
    }

    fn look(&self, path: &Path) {
        if let Some(offset) = fs::read_to_string(path).ok().and_then(|text| text.trim().parse().ok()) {
            self.offset_us.store(offset, Ordering::Relaxed);
        }
    }
}

impl Clock for OffsetClock {
    fn now(&self) -> Timestamp {
        Timestamp::from_micros(SystemClock.now().as_micros() + self.offset_us.load(Ordering::Relaxed))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_clock_follows_its_file() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("offset");
        OffsetClock::set(&path, 3_600_000_000).unwrap();
        let ahead = OffsetClock::follow(Some(path)).wall_us() - OffsetClock::default().wall_us();
        assert!((3_599_000_000..3_601_000_000).contains(&ahead), "{ahead}");
    }

    #[test]
    fn the_monotonic_clock_never_goes_back() {
        let first = monotonic_us();
        assert!(first > 0 && monotonic_us() >= first);
    }
}
