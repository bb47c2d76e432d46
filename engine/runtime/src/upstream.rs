//! What a step may read of the steps before it.

use std::sync::Arc;

use taskport_abstraction::backend::Delivery;
use taskport_abstraction::context::Upstream;
use taskport_abstraction::task::BoxFuture;
use taskport_abstraction::{Error, Payload, Result, RunId, StepId, codes};

use crate::handle::EngineHandle;
use crate::letter::{Leased, StepResults};

/// The job as its worker gets it.
pub(crate) fn deliver(engine: &EngineHandle, leased: Leased) -> Delivery {
    let Leased { mut delivery, results } = leased;
    if let (Some(step), Some(results)) = (&delivery.step, results) {
        let (engine, run) = (engine.clone(), step.run.clone());
        delivery.upstream = Some(Arc::new(EarlierResults { engine, run, results }));
    }
    delivery
}

/// The results of a run's earlier steps, read page by page.
#[derive(Debug)]
struct EarlierResults {
    engine: EngineHandle,
    run: RunId,
    results: StepResults,
}

impl EarlierResults {
    fn find(&self, step: &str) -> Option<&(StepId, u64)> {
        self.results.iter().find(|(id, _)| id.as_str() == step)
    }
}

impl Upstream for EarlierResults {
    fn len(&self, step: &str) -> Option<u64> {
        self.find(step).map(|(_, count)| *count)
    }

    fn page(&self, step: &str, from: u64, count: usize) -> BoxFuture<'static, Result<Vec<Option<Payload>>>> {
        let Some((id, len)) = self.find(step).cloned() else {
            let message = format!("step `{step}` is no dependency of this one");
            return Box::pin(async { Err(Error::new(&codes::NO_RESULT, "read upstream", message)) });
        };
        let (engine, run) = (self.engine.clone(), self.run.clone());
        let count = len.saturating_sub(from).min(count as u64);
        Box::pin(async move {
            // A fan-out has at most a million elements, so that both numbers fit.
            let (from, count) = (u32::try_from(from).unwrap_or(u32::MAX), u32::try_from(count).unwrap_or(0));
            engine.results(run, id, from, count).await
        })
    }
}
