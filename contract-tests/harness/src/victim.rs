//! One process that is broken on purpose: it submits jobs, runs them, or both, and writes down what it was answered.

mod consumer;
mod ledger;
mod points;
mod producer;
mod settings;
mod tasks;
mod worker;

use std::fs;
use std::path::Path;
use std::process::ExitCode;
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context, Result};
use serde::{Deserialize, Serialize};
use taskport_abstraction::backend::{Counts, Phase, Shutdown};
use taskport_abstraction::codes::{self, Code};
use taskport_abstraction::{Backend, BackendName, Clock, Environment, Error, Timestamp};
use taskport_native::{NativeBackend, NativeConfig, Synchronous};
use taskport_store_sqlite::{SqliteOptions, SqliteStore};
use taskport_worker::ShutdownController;
use tokio::time::sleep;

pub use self::points::{Point, Side};
pub(crate) use self::producer::SECOND_OFFER;
pub use self::settings::{Kind, Produce, Settings, Work};
pub use self::tasks::{echo_call, echo_registry, echo_result_call, registry, tick_call};
use crate::clock::OffsetClock;
use crate::history::History;
use points::{AbortingStore, Points};

/// How often a victim tries again what the store could not do.
const TRY_EVERY: Duration = Duration::from_millis(25);
/// How long a victim tries to open its file.
const OPEN_WITHIN: Duration = Duration::from_secs(20);
/// The exit code of a victim whose store failed in a way that no waiting mends.
pub const GAVE_UP: u8 = 3;

/// Why a victim gave up, as it leaves it in `end-NAME.json`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct End {
    /// The code of the error, such as `E-026`.
    pub code: String,
    /// Its message.
    pub message: String,
}

impl End {
    /// What the victim `name` left.
    pub fn of(records: &Path, name: &str) -> Option<Self> {
        serde_json::from_slice(&fs::read(records.join(format!("end-{name}.json"))).ok()?).ok()
    }
}

/// Everything a victim is made of.
#[derive(Debug)]
pub(crate) struct Victim {
    settings: Settings,
    backend: NativeBackend,
    clock: OffsetClock,
    history: Arc<History>,
    points: Arc<Points>,
}

/// Plays the part that `settings` describe, to its end.
///
/// # Errors
/// Where the harness itself fails: files for histories, threads.
pub fn run(settings: Settings) -> Result<ExitCode> {
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build()?;
    let done = runtime.block_on(play(settings));
    // A handler that never ends must not keep the process.
    runtime.shutdown_background();
    done
}

async fn play(settings: Settings) -> Result<ExitCode> {
    let shutdown = taskport_worker::shutdown::signals().context("signals")?;
    let clock = OffsetClock::follow(settings.clock.clone());
    let history = Arc::new(History::create(&settings.records, "history", &settings.name, &clock)?);
    let points = Arc::new(Points::new(settings.point.clone(), history.clone()));
    let backend = match open(&settings, &clock, &points).await {
        Ok(backend) => backend,
        Err(error) => return give_up(&settings, &error),
    };
    let victim = Arc::new(Victim { settings, backend, clock, history, points });
    let played = victim.clone().work_and_produce(shutdown).await;
    victim.backend.close().await.context("close")?;
    victim.points.save(victim.settings.records.join(format!("calls-{}.json", victim.settings.name)))?;
    match played {
        Ok(()) => Ok(ExitCode::SUCCESS),
        Err(error) => give_up(&victim.settings, &error),
    }
}

impl Victim {
    async fn work_and_produce(self: Arc<Self>, shutdown: ShutdownController) -> Result<(), Error> {
        let producing = {
            let (victim, shutdown) = (self.clone(), shutdown.clone());
            async move {
                let produced = producer::run(&victim, &shutdown).await;
                if victim.settings.leave_when_done {
                    let idle = match produced {
                        Ok(()) => victim.until_idle(&shutdown).await,
                        failed => failed,
                    };
                    shutdown.drain();
                    return idle;
                }
                produced
            }
        };
        let working = async {
            let worked = worker::run(&self, &shutdown).await;
            // Without its worker a process that waits for the end would wait for ever.
            shutdown.drain();
            worked
        };
        if self.settings.work.is_none() {
            return producing.await;
        }
        let (produced, worked) = tokio::join!(producing, working);
        worked.and(produced)
    }

    /// Waits until nothing on the file waits or runs.
    async fn until_idle(&self, shutdown: &ShutdownController) -> Result<(), Error> {
        while !is_stopping(shutdown) {
            match self.waiting(true).await {
                Ok(0) => break,
                Err(error) if !can_pass(&error) => return Err(error),
                _ => sleep(TRY_EVERY).await,
            }
        }
        Ok(())
    }

    /// How many jobs wait, with those that run where `running`.
    async fn waiting(&self, running: bool) -> Result<u64, Error> {
        let queues = match self.backend.admin() {
            Some(admin) => admin.queues().await?,
            None => Vec::new(),
        };
        let count = if running { Counts::live } else { Counts::waiting };
        Ok(queues.iter().map(|queue| count(&queue.counts)).sum())
    }
}

async fn open(
    settings: &Settings,
    clock: &OffsetClock,
    points: &Arc<Points>,
) -> Result<NativeBackend, Error> {
    let mut waited = Duration::ZERO;
    loop {
        match open_once(settings, clock, points).await {
            Err(error) if can_pass(&error) && waited < OPEN_WITHIN => {
                sleep(TRY_EVERY).await;
                waited += TRY_EVERY;
            }
            done => return done,
        }
    }
}

async fn open_once(
    settings: &Settings,
    clock: &OffsetClock,
    points: &Arc<Points>,
) -> Result<NativeBackend, Error> {
    let config = NativeConfig {
        payload_bytes_max: settings.payload_bytes_max,
        result_bytes_max: settings.payload_bytes_max,
        synchronous: if settings.normal { Synchronous::Normal } else { Synchronous::Full },
        ..NativeConfig::from_url(format!("sqlite://{}", settings.database.display()))?
    };
    let environment = Environment {
        clock: Arc::new(clock.clone()),
        random_seed: u64::from(std::process::id()),
        host: "harness".into(),
        pid: std::process::id(),
    };
    let options = SqliteOptions {
        synchronous: config.synchronous.into(),
        file_bytes_max: settings.file_bytes_max,
        wal_bytes_soft: settings.wal_bytes,
        wal_bytes_max: settings.wal_bytes * 8,
        ..SqliteOptions::default()
    };
    let (path, points) = (settings.database.clone(), points.clone());
    let open = move || Ok(AbortingStore::new(SqliteStore::open(path, options)?, points));
    NativeBackend::over(BackendName::new("main")?, &config, environment, open).await
}

/// Whether an error of the store may pass by itself: a full disk, a disk that fails, a file that is held.
fn can_pass(error: &Error) -> bool {
    const MENDABLE: [&Code; 3] = [&codes::STORE_FULL, &codes::STORE_IO, &codes::STORE_BUSY];
    MENDABLE.contains(&error.code())
}

fn give_up(settings: &Settings, error: &Error) -> Result<ExitCode> {
    let end = End { code: error.code().to_string(), message: error.to_string() };
    fs::write(settings.records.join(format!("end-{}.json", settings.name)), serde_json::to_vec(&end)?)?;
    Ok(ExitCode::from(GAVE_UP))
}

fn is_stopping(shutdown: &ShutdownController) -> bool {
    shutdown.phase() >= Phase::Draining
}

fn later(clock: &OffsetClock, delay: Duration) -> Timestamp {
    clock.now() + delay
}
