//! What a job says while it runs.

use std::collections::VecDeque;
use std::sync::Arc;
use std::time::Duration;

use futures_util::StreamExt;
use futures_util::stream::{self, BoxStream};
use taskport_abstraction::backend::Scope;
use taskport_abstraction::journal::{Journal, JournalEntry};
use taskport_abstraction::{Backend, Error, Feature, JobId, Outcome, Result, codes};
use tokio::time::sleep;

use super::Job;

/// How many entries are read at once.
const PAGE_LEN: usize = 500;
/// How often somebody who follows a job looks for more.
const LOOK_EVERY: Duration = Duration::from_millis(100);

impl<T> Job<T> {
    /// At most `len` of the things it has said after entry number `after`, in order. Others see what an attempt says
    /// within a fraction of a second, and all of it once the attempt has ended.
    ///
    /// # Errors
    /// `NotFound` (E-007); `Unsupported` (E-005) where the backend keeps none of it; `Unavailable`.
    pub async fn journal(&self, after: u64, len: usize) -> Result<Vec<JournalEntry>> {
        let entries = journal(&self.backend)?.entries(&self.id, after, len).await;
        entries.map_err(|error| self.named(error))
    }

    /// What it says after entry number `after`, as it says it. Ends when the job has ended and all of it was told.
    ///
    /// # Errors
    /// `Unsupported` (E-005); in the stream, which then ends, `NotFound` (E-007) and `Unavailable`.
    pub fn follow(&self, after: u64) -> Result<BoxStream<'static, Result<JournalEntry>>> {
        journal(&self.backend)?;
        let following = Following {
            ends: Some(self.backend.wait(vec![self.id.clone()])),
            backend: self.backend.clone(),
            id: self.id.clone(),
            after,
            read: VecDeque::new(),
        };
        Ok(stream::unfold(Some(following), |following| async {
            let mut following = following?;
            match following.next().await {
                Ok(Some(entry)) => Some((Ok(entry), Some(following))),
                Ok(None) => None,
                Err(error) => Some((Err(error.in_backend(following.backend.name())), None)),
            }
        })
        .boxed())
    }
}

/// Somebody who follows a job.
struct Following {
    backend: Arc<dyn Backend>,
    id: JobId,
    after: u64,
    read: VecDeque<JournalEntry>,
    /// The job's end, until it has come.
    ends: Option<BoxStream<'static, (JobId, Result<Outcome>)>>,
}

impl Following {
    async fn next(&mut self) -> Result<Option<JournalEntry>> {
        loop {
            if let Some(entry) = self.read.pop_front() {
                self.after = entry.number;
                return Ok(Some(entry));
            }
            let page = journal(&self.backend)?.entries(&self.id, self.after, PAGE_LEN).await?;
            self.read.extend(page);
            if !self.read.is_empty() {
                continue;
            }
            let Some(ends) = &mut self.ends else { return Ok(None) };
            tokio::select! {
                end = ends.next() => {
                    // One more look: it may have said something before its end.
                    self.ends = None;
                    if let Some((_, outcome)) = end {
                        outcome?;
                    }
                }
                () = sleep(LOOK_EVERY) => {}
            }
        }
    }
}

fn journal(backend: &Arc<dyn Backend>) -> Result<&dyn Journal> {
    backend.journal().ok_or_else(|| {
        let refused = backend.capabilities(Scope::default()).require(Feature::Logs, "read journal").err();
        refused
            .unwrap_or_else(|| {
                Error::new(&codes::UNSUPPORTED, "read journal", "the backend keeps no journal")
            })
            .in_backend(backend.name())
    })
}
