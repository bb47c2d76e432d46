//! A job in the same transaction as a row, with sqlx.
//!
//! `cargo run` in this folder, or `cargo xtask test` at the root.

use sqlx::sqlite::{SqliteConnectOptions, SqliteJournalMode, SqlitePoolOptions};
use taskport::abstraction::outbox::SqlValue;
use taskport::config::Config;
use taskport::prelude::*;
use taskport::{Job, ShutdownController, TransactionalSubmit};

/// Sends the receipt of an order.
#[task]
async fn send_receipt(order: i64) -> TaskResult<String> {
    Ok(format!("receipt {order} is sent"))
}

/// Runs the statement of a submit in a transaction.
async fn enqueue<T>(
    transaction: &mut sqlx::Transaction<'_, sqlx::Sqlite>,
    submit: TransactionalSubmit<T>,
) -> sqlx::Result<Job<T>> {
    let mut query = sqlx::query(submit.sql);
    for value in submit.parameters {
        query = match value {
            SqlValue::Null => query.bind(None::<String>),
            SqlValue::Integer(number) => query.bind(number),
            SqlValue::Text(text) => query.bind(text),
            SqlValue::Blob(bytes) => query.bind(bytes.to_vec()),
        };
    }
    query.execute(&mut **transaction).await?;
    Ok(submit.job)
}

#[tokio::main]
async fn main() -> anyhow::Result<()> {
    let folder = tempfile::tempdir()?;
    let file = folder.path().join("shop.db");

    // The shop's own database, with its own tables.
    let options = SqliteConnectOptions::new().filename(&file).create_if_missing(true);
    let pool = SqlitePoolOptions::new().connect_with(options.journal_mode(SqliteJournalMode::Wal)).await?;
    sqlx::query("CREATE TABLE orders (id INTEGER PRIMARY KEY, item TEXT NOT NULL)").execute(&pool).await?;

    // Taskport keeps its tables beside them.
    let config = format!(
        "[backends.main]\nkind = \"native\"\nurl = \"sqlite://{}\"\nshared_file = true\n",
        file.display()
    );
    let config = Config::from_toml(&config)?;
    let port = Taskport::builder().config(config).registry(registry![send_receipt]).open().await?;

    let mut transaction = pool.begin().await?;
    let order = sqlx::query("INSERT INTO orders (item) VALUES ('tea')").execute(&mut *transaction).await?;
    let receipt =
        enqueue(&mut transaction, port.enqueue_statement(send_receipt(order.last_insert_rowid()))?).await?;
    transaction.commit().await?;

    let mut transaction = pool.begin().await?;
    sqlx::query("INSERT INTO orders (item) VALUES ('coffee')").execute(&mut *transaction).await?;
    let never = enqueue(&mut transaction, port.enqueue_statement(send_receipt(2))?).await?;
    transaction.rollback().await?;

    let stop = ShutdownController::new();
    let worker = tokio::spawn(port.worker().run_until(stop.handle()));
    assert_eq!(receipt.result().await?, "receipt 1 is sent");
    assert!(never.status().await.is_err(), "what was rolled back was never there");
    let (orders,): (i64,) = sqlx::query_as("SELECT count(*) FROM orders").fetch_one(&pool).await?;
    assert_eq!(orders, 1);
    println!("one order, one receipt");

    stop.drain();
    worker.await??;
    pool.close().await;
    Ok(port.close().await?)
}
