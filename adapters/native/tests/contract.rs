//! The contract suite on the embedded engine, in memory and on SQLite.

use std::process::ExitCode;
use std::sync::Arc;
use std::time::Duration;

use rusqlite::types::Value;
use taskport_abstraction::outbox::{EnqueueStatement, SqlValue};
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

    fn transact(&self, _: &str, _: &[EnqueueStatement], _: bool) -> Result<(), String> {
        Err("nobody else's transaction reaches this memory".to_owned())
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

    fn transact(&self, space: &str, statements: &[EnqueueStatement], commit: bool) -> Result<(), String> {
        transact(&format!("{space}.db"), statements, commit).map_err(|error| error.to_string())
    }
}

/// What a user's program does, by its own driver.
fn transact(file: &str, statements: &[EnqueueStatement], commit: bool) -> rusqlite::Result<()> {
    let mut connection = rusqlite::Connection::open(file)?;
    connection.busy_timeout(Duration::from_secs(5))?;
    let transaction = connection.transaction_with_behavior(rusqlite::TransactionBehavior::Immediate)?;
    for statement in statements {
        let values = statement.parameters.iter().map(|value| match value {
            SqlValue::Null => Value::Null,
            SqlValue::Integer(number) => Value::Integer(*number),
            SqlValue::Text(text) => Value::Text(text.clone()),
            SqlValue::Blob(bytes) => Value::Blob(bytes.to_vec()),
        });
        transaction.prepare_cached(statement.sql)?.execute(rusqlite::params_from_iter(values))?;
    }
    if commit { transaction.commit() } else { transaction.rollback() }
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
