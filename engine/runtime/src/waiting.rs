//! One caller that waits for jobs to end.

use std::collections::VecDeque;
use std::future::poll_fn;

use taskport_abstraction::{Error, JobId, Outcome, Result, codes};

use crate::handle::EngineHandle;
use crate::looker::notice;
use crate::waits::{Notice, Subscription};

/// How many jobs are looked at together when the wait begins.
const PAGE_LEN: usize = 256;

/// The state of one [`EngineHandle::wait`].
#[derive(Debug)]
pub(crate) struct Waiting {
    handle: EngineHandle,
    stage: Stage,
}

#[derive(Debug)]
enum Stage {
    /// Nothing has been asked for yet.
    New(Vec<JobId>),
    /// Ends are announced from here on; the jobs in `unseen` may have ended before.
    Subscribed { subscription: Subscription, unseen: VecDeque<JobId>, ready: VecDeque<(JobId, Notice)> },
    /// No end will be announced.
    Failed { ids: VecDeque<JobId>, why: Error },
}

impl Waiting {
    pub(crate) fn new(handle: EngineHandle, ids: Vec<JobId>) -> Self {
        Self { handle, stage: Stage::New(ids) }
    }

    /// The next job that ended, or `None` where every job has been told of.
    pub(crate) async fn next(&mut self) -> Option<(JobId, Result<Outcome>)> {
        loop {
            match &mut self.stage {
                Stage::New(ids) => {
                    let ids = std::mem::take(ids);
                    self.stage = match self.handle.shared().waits.subscribe(&ids) {
                        Ok(subscription) => {
                            Stage::Subscribed { subscription, unseen: ids.into(), ready: VecDeque::new() }
                        }
                        Err(why) => Stage::Failed { ids: ids.into(), why },
                    };
                }
                Stage::Failed { ids, why } => return Some((ids.pop_front()?, Err(why.clone()))),
                Stage::Subscribed { subscription, unseen, ready } => {
                    if let Some((id, notice)) = ready.pop_front() {
                        return Some((id.clone(), self.outcome(id, notice).await));
                    }
                    if subscription.is_done() {
                        return None;
                    }
                    let step = if unseen.is_empty() {
                        poll_fn(|context| subscription.poll_next(context))
                            .await
                            .map(|ended| ready.push_back(ended))
                    } else {
                        look(&self.handle, subscription, unseen, ready).await
                    };
                    if let Err(why) = step {
                        self.stage = Stage::Failed { ids: subscription.take_open(), why };
                    }
                }
            }
        }
    }

    async fn outcome(&self, id: JobId, notice: Notice) -> Result<Outcome> {
        match notice {
            Notice::Outcome(outcome) => Ok(outcome),
            Notice::Missing => Err(missing(&id)),
            Notice::Unread => {
                let found = self.handle.get(vec![id.clone()]).await?.pop().flatten();
                let status = found.ok_or_else(|| missing(&id))?;
                status.outcome.ok_or_else(|| {
                    Error::new(&codes::NO_RESULT, "wait", format!("the outcome of job `{id}` is not kept"))
                })
            }
        }
    }
}

/// Looks at some of the jobs that may have ended before the wait began.
async fn look(
    handle: &EngineHandle,
    subscription: &mut Subscription,
    unseen: &mut VecDeque<JobId>,
    ready: &mut VecDeque<(JobId, Notice)>,
) -> Result<()> {
    let page: Vec<JobId> = unseen.iter().take(PAGE_LEN).cloned().collect();
    let found = handle.get(page.clone()).await?;
    unseen.drain(..page.len());
    for (id, found) in page.into_iter().zip(found) {
        if let Some(notice) = notice(found)
            && subscription.close(&id)
        {
            ready.push_back((id, notice));
        }
    }
    Ok(())
}

fn missing(id: &JobId) -> Error {
    Error::new(&codes::JOB_NOT_FOUND, "wait", format!("there is no job `{id}`"))
        .hint("check the id and the backend; deleted jobs are gone")
}
