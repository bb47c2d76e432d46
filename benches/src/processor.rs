//! Measuring work instead of time.

use std::time::Duration;

use rustix::time::{ClockId, clock_gettime};

/// The time all threads of this process have had a processor. Neighbors do not add to it.
pub(crate) fn processor_time() -> Duration {
    let time = clock_gettime(ClockId::ProcessCPUTime);
    Duration::new(time.tv_sec.unsigned_abs(), u32::try_from(time.tv_nsec).unwrap_or(0))
}
