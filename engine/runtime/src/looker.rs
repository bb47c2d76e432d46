//! The thread that reads what is committed, beside the writer.

use std::time::Duration;

use taskport_abstraction::JobStatus;
use tokio::time::Instant;

use crate::mailbox::Taken;
use crate::shared::Shared;
use crate::verbs::Look;
use crate::waits::Notice;

/// How many jobs are looked at again in one go after another process has committed.
const ROUND_LEN: usize = 256;
/// The rest between two goes, at least; and in relation to what the last one took.
const ROUND_REST_MIN: Duration = Duration::from_millis(3);
const ROUND_REST_FACTOR: u32 = 4;
const SLEEP_MAX: Duration = Duration::from_secs(3_600);

/// Answers questions until the mailbox is closed and empty.
pub(crate) fn run(mut reader: impl Look, shared: &Shared) {
    let mut rested = Instant::now();
    loop {
        let now = Instant::now();
        let patience = if shared.waits.is_stale() { rested - now } else { SLEEP_MAX };
        let Taken { letters, last } = shared.questions.take(patience);
        for question in letters {
            question(&mut reader);
        }
        if last {
            return;
        }
        let now = Instant::now();
        if rested <= now && shared.waits.is_stale() {
            look_again(&mut reader, shared);
            let took = now.elapsed();
            rested = Instant::now() + ROUND_REST_MIN.max(took * ROUND_REST_FACTOR);
        }
    }
}

/// Looks at some of the jobs that are waited for, since another process may have ended them.
fn look_again(reader: &mut impl Look, shared: &Shared) {
    let ids = shared.waits.next_round(ROUND_LEN);
    match reader.get(&ids) {
        Ok(found) => {
            let ended = ids.into_iter().zip(found).filter_map(|(id, found)| Some((id, notice(found)?)));
            shared.waits.announce(ended);
        }
        Err(error) => tracing::warn!(%error, "jobs that are waited for could not be looked at"),
    }
}

/// What there is to say of a job to those who wait for it to end.
pub(crate) fn notice(found: Option<JobStatus>) -> Option<Notice> {
    match found {
        None => Some(Notice::Missing),
        Some(status) if !status.state.is_terminal() => None,
        Some(JobStatus { outcome: Some(outcome), .. }) => Some(Notice::Outcome(outcome)),
        Some(_) => Some(Notice::Unread),
    }
}
