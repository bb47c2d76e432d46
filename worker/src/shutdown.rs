//! When a worker is to stop: a switch that only moves forward, and the signals that move it.

use std::fmt;
use std::sync::Arc;

use taskport_abstraction::backend::{Phase, Shutdown};
use taskport_abstraction::task::BoxFuture;
use taskport_abstraction::{Error, Result, codes};
use tokio::signal::unix::{Signal, SignalKind, signal};
use tokio::sync::watch;

/// Moves workers from running to draining to aborting. Clones move the same workers.
#[derive(Clone)]
pub struct ShutdownController(watch::Sender<Phase>);

impl Default for ShutdownController {
    fn default() -> Self {
        Self(watch::Sender::new(Phase::Running))
    }
}

impl ShutdownController {
    /// A controller that lets workers run.
    pub fn new() -> Self {
        Self::default()
    }

    /// What a worker is given.
    pub fn handle(&self) -> Arc<dyn Shutdown> {
        Arc::new(self.clone())
    }

    /// Has workers take no more and finish what runs.
    pub fn drain(&self) {
        self.advance(Phase::Draining);
    }

    /// Has workers hand back at once what still runs.
    pub fn abort(&self) {
        self.advance(Phase::Aborting);
    }

    fn advance(&self, phase: Phase) {
        self.0.send_if_modified(|current| {
            let forward = phase > *current;
            if forward {
                *current = phase;
            }
            forward
        });
    }
}

impl Shutdown for ShutdownController {
    fn phase(&self) -> Phase {
        *self.0.borrow()
    }

    fn reached(&self, phase: Phase) -> BoxFuture<'static, ()> {
        let mut watcher = self.0.subscribe();
        let sender = self.0.clone();
        Box::pin(async move {
            // The future holds a sender, so that the channel cannot close under it.
            let _sender = sender;
            let _phase = watcher.wait_for(|current| *current >= phase).await;
        })
    }
}

impl fmt::Debug for ShutdownController {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("ShutdownController").field(&self.phase()).finish()
    }
}

/// A controller that the first SIGTERM or SIGINT drains and the second aborts.
///
/// Call it inside a tokio runtime; the process no longer dies of these signals by itself.
///
/// # Errors
/// `Internal` where the operating system refuses the signal handlers.
pub fn signals() -> Result<ShutdownController> {
    let (mut terminate, mut interrupt) = (listen(SignalKind::terminate())?, listen(SignalKind::interrupt())?);
    let controller = ShutdownController::new();
    let switch = controller.clone();
    tokio::spawn(async move {
        for next in [ShutdownController::drain, ShutdownController::abort] {
            tokio::select! {
                _ = terminate.recv() => {}
                _ = interrupt.recv() => {}
            }
            next(&switch);
            tracing::info!(phase = ?switch.phase(), "signal received");
        }
    });
    Ok(controller)
}

fn listen(kind: SignalKind) -> Result<Signal> {
    signal(kind).map_err(|source| {
        Error::new(&codes::INTERNAL, "start worker", "a signal handler cannot be installed").caused_by(source)
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn the_phase_only_moves_forward_and_tells_those_who_wait() {
        let controller = ShutdownController::new();
        let handle = controller.handle();
        let draining = tokio::spawn(handle.reached(Phase::Draining));
        tokio::task::yield_now().await;
        controller.abort();
        controller.drain();
        draining.await.unwrap();
        handle.reached(Phase::Aborting).await;
        assert_eq!(handle.phase(), Phase::Aborting);
    }
}
