//! The contract suite on the embedded engine, in memory and on SQLite.

use std::process::ExitCode;
use std::sync::Arc;

use taskport_abstraction::{Backend, BackendName, Environment, Result, SystemClock, async_trait};
use taskport_native::NativeConfig;
use taskport_suite::Factory;

struct Memory;
struct Sqlite;

#[async_trait]
impl Factory for Memory {
    fn label(&self) -> &str {
        "memory"
    }

    async fn open(&self, _space: &str) -> Result<Arc<dyn Backend>> {
        open("memory:".to_owned()).await
    }
}

#[async_trait]
impl Factory for Sqlite {
    fn label(&self) -> &str {
        "sqlite"
    }

    async fn open(&self, space: &str) -> Result<Arc<dyn Backend>> {
        open(format!("sqlite://{space}.db")).await
    }
}

async fn open(url: String) -> Result<Arc<dyn Backend>> {
    let environment = Environment {
        clock: Arc::new(SystemClock),
        random_seed: u64::from(std::process::id()),
        host: Arc::from("localhost"),
        pid: std::process::id(),
    };
    let open = taskport_native::factory().open;
    open(BackendName::new("main")?, NativeConfig::from_url(url)?, environment).await
}

fn main() -> ExitCode {
    taskport_suite::main("native", vec![Arc::new(Memory), Arc::new(Sqlite)])
}
