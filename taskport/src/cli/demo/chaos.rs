//! A run whose workers are killed while they work.

use std::time::Duration;

use tokio::time::{MissedTickBehavior, interval, sleep};

use super::account;
use super::crew::Crew;
use super::engine::workers_alive;
use super::pipeline::Input;
use super::plan::Plan;
use super::run::{self, Ran, unless_stopped};
use super::text::Grouped;
use crate::abstraction::backend::{RunStatus, Shutdown};
use crate::cli::progress::RunProgress;
use crate::{Result, Run, Taskport};

/// How many workers there are at any moment.
const WORKERS: usize = 3;
/// How many of them are killed, where the run is long enough.
const KILLS: usize = 8;
/// How often the store is asked how far the run has come.
const LOOK_EVERY: Duration = Duration::from_millis(10);

/// What a run among kills came to.
#[derive(Debug)]
pub(super) struct Survived {
    /// The run.
    pub(super) ran: Ran,
    /// How many workers were killed while it went on.
    pub(super) kills: u64,
    /// How many attempts were made again because of it.
    pub(super) repeats: u64,
}

/// Runs the pipeline with worker processes on the engine in `input.directory`, and kills them by the plan of `seed`.
pub(super) async fn survive(
    port: &Taskport,
    input: &Input,
    seed: u64,
    stop: &dyn Shutdown,
    progress: &mut RunProgress,
) -> Result<Survived> {
    let mut crew = Crew::start(&input.directory, WORKERS)?;
    let survived = survive_with(&mut crew, port, input, seed, stop, progress).await;
    crew.dismiss().await;
    survived
}

async fn survive_with(
    crew: &mut Crew,
    port: &Taskport,
    input: &Input,
    seed: u64,
    stop: &dyn Shutdown,
    progress: &mut RunProgress,
) -> Result<Survived> {
    unless_stopped(stop, workers_alive(port, WORKERS)).await?;
    let mut kills = 0;
    let follow = async |run: &Run| follow(run, crew, seed, &mut kills, progress).await;
    let ran = run::carry_out(port, input, stop, follow).await?;
    let repeats = account::repeats(port.admin()?).await?;
    Ok(Survived { ran, kills, repeats })
}

/// Follows the run to its end, and kills a worker whenever the plan says so.
async fn follow(
    run: &Run,
    crew: &mut Crew,
    seed: u64,
    kills: &mut u64,
    progress: &mut RunProgress,
) -> Result<RunStatus> {
    let mut plan = Plan::new(seed, KILLS, WORKERS);
    let mut looks = interval(LOOK_EVERY);
    looks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    loop {
        looks.tick().await;
        let mut status = run.status().await?;
        let (done, total) = run::analyzed(&status);
        if let Some(kill) = plan.due(done, total).filter(|_| !status.state.is_terminal()) {
            sleep(kill.pause).await;
            // The run may have ended meanwhile: only a kill while it goes on counts.
            status = run.status().await?;
            if !status.state.is_terminal()
                && let Some(process) = crew.replace(kill.worker).await?
            {
                *kills += 1;
                let (done, _) = run::analyzed(&status);
                progress.line(&format!("✗ worker {process} killed after {} files", Grouped(done)));
            }
        }
        progress.update(&status);
        if status.state.is_terminal() {
            return Ok(status);
        }
        crew.check()?;
    }
}
