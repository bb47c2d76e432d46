//! Testing code that submits jobs, and the tasks themselves: an engine in memory that only works when it is told to, a
//! clock that one moves, and faults on demand.
//!
//! A [`TestPort`] is a [`Taskport`] without workers. What was submitted stays where it is until
//! [`drain`](TestPort::drain) runs it, one attempt after the other on the caller's own task, so that a test is the same
//! each time and never sleeps.
//!
//! # Examples
//! ```
//! use std::time::Duration;
//!
//! use taskport::prelude::*;
//! use taskport::testing::TestPort;
//!
//! #[task(max_attempts = 3, backoff = "fixed(1h)")]
//! async fn charge(customer: String, cents: i64) -> TaskResult<i64> {
//!     Ok(cents)
//! }
//!
//! /// The code under test.
//! async fn checkout(port: &Taskport) -> taskport::Result<()> {
//!     port.submit(charge("ada".into(), 1200).delay(Duration::from_secs(60))).await?;
//!     Ok(())
//! }
//!
//! # #[tokio::main(flavor = "current_thread")]
//! # async fn main() -> taskport::Result<()> {
//! let test = TestPort::new(registry![charge]).await?;
//! checkout(&test).await?;
//!
//! test.jobs().await?.assert_enqueued(charge("ada".into(), 1200));
//! assert_eq!(test.drain().await?.attempts(), 0); // Its time has not come.
//! test.clock().advance(Duration::from_secs(60));
//! assert_eq!(test.drain().await?.succeeded, 1);
//!
//! // The next two attempts fail, and an hour passes after each.
//! test.faults().fail_attempts("charge", 2, TaskError::from("the bank is closed"));
//! assert_eq!(test.run(charge("bob".into(), 5)).await?, 5);
//! # Ok(())
//! # }
//! ```

mod backend;
mod clock;
mod drain;
mod faults;
mod jobs;

use std::ops::Deref;
use std::sync::Arc;

use serde::de::DeserializeOwned;
use taskport_abstraction::{BackendName, Environment, IntoCall, Result, Timestamp};
use taskport_native::{NativeBackend, NativeConfig};
use taskport_registry::RegistryBuilder;
use taskport_store_memory::MemoryStore;

pub use self::clock::TestClock;
pub use self::drain::Drained;
use self::drain::Stage;
pub use self::faults::Faults;
pub use self::jobs::Jobs;
use crate::Taskport;
use crate::config::Config;

/// What a test sees as the present until it moves the clock: the beginning of 2026 in UTC.
pub const START: Timestamp = Timestamp::from_micros(1_767_225_600_000_000);

/// A [`Taskport`] on an engine in memory that works only when it is told to. See the [module](self).
#[derive(Debug)]
pub struct TestPort {
    port: Taskport,
    stage: Arc<Stage>,
}

impl TestPort {
    /// A port for the tasks of `registry`, usually `registry![…]`, whose jobs wait until they are drained.
    ///
    /// # Errors
    /// `InvalidInput` for a registry that does not pass its checks.
    pub async fn new(registry: impl Into<RegistryBuilder>) -> Result<Self> {
        Self::open(registry.into(), false).await
    }

    /// A port that runs what is submitted before the submit returns, with all that it leads to; the clock moves on for
    /// jobs that wait for their time. For code that submits a job and waits for its result.
    ///
    /// # Errors
    /// As [`new`](Self::new).
    pub async fn inline(registry: impl Into<RegistryBuilder>) -> Result<Self> {
        Self::open(registry.into(), true).await
    }

    async fn open(registry: RegistryBuilder, inline: bool) -> Result<Self> {
        let clock = Arc::new(TestClock::new(START));
        let environment = Environment {
            clock: clock.clone(),
            random_seed: 1,
            host: "test".into(),
            pid: std::process::id(),
        };
        let config = NativeConfig::from_url("memory:")?;
        let name = BackendName::new("test")?;
        let native = NativeBackend::over(name, &config, environment, || Ok(MemoryStore::new())).await?;
        let stage = Arc::new(Stage::new(native, clock.clone()));
        let port = Taskport::builder()
            .config(Config::from_toml("[backends.test]\nkind = \"native\"\nurl = \"memory:\"")?)
            .registry(registry)
            .clock(clock)
            .given(Arc::new(backend::TestBackend::new(stage.clone(), inline)))
            .open()
            .await?;
        stage.set_executor(Arc::new(port.worker().executor(stage.backend().name())?));
        Ok(Self { port, stage })
    }

    /// The port, for code under test.
    pub fn port(&self) -> &Taskport {
        &self.port
    }

    /// The clock of the port and its engine. It stands still unless it is moved.
    pub fn clock(&self) -> &TestClock {
        self.stage.clock()
    }

    /// What is to go wrong.
    pub fn faults(&self) -> &Faults {
        self.stage.faults()
    }

    /// Runs every job whose time has come, and what it leads to, until nothing is left to do without moving the clock.
    /// Jobs start in the order of their queues.
    ///
    /// # Errors
    /// Those of the engine; what goes wrong in a job is in the job.
    pub async fn drain(&self) -> Result<Drained> {
        self.stage.drain().await
    }

    /// As [`drain`](Self::drain), and moves the clock to the next moment at which a job may start, until every job has
    /// ended or waits for something other than time. Schedules do not count, since they never end.
    ///
    /// # Errors
    /// As there.
    pub async fn drain_all(&self) -> Result<Drained> {
        self.stage.drain_all().await
    }

    /// Submits a call, runs all there is to run as [`drain_all`](Self::drain_all) does, and returns its result.
    ///
    /// # Errors
    /// Those of the submit and of [`Job::result`](crate::Job::result).
    pub async fn run<C>(&self, call: C) -> Result<C::Output>
    where
        C: IntoCall,
        C::Output: DeserializeOwned,
    {
        let job = self.port.submit(call).await?;
        self.drain_all().await?;
        job.result().await
    }

    /// Every job that is there, oldest first, to make assertions about.
    ///
    /// # Errors
    /// Those of the engine.
    pub async fn jobs(&self) -> Result<Jobs> {
        self.stage.jobs().await.map(Jobs::new)
    }
}

impl Deref for TestPort {
    type Target = Taskport;

    fn deref(&self) -> &Taskport {
        &self.port
    }
}
