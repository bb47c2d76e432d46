//! Submits a job in the same transaction as a row of the program's own, and hands one on to another backend.
//!
//! `cargo run --package taskport-examples --example transactional`
#![expect(clippy::print_stdout, reason = "an example shows what it does")]

use std::path::Path;

use rusqlite::types::Value;
use rusqlite::{Connection, Transaction, params_from_iter};
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
fn enqueue<T>(transaction: &Transaction<'_>, submit: TransactionalSubmit<T>) -> rusqlite::Result<Job<T>> {
    let values = submit.parameters.into_iter().map(|value| match value {
        SqlValue::Null => Value::Null,
        SqlValue::Integer(number) => Value::Integer(number),
        SqlValue::Text(text) => Value::Text(text),
        SqlValue::Blob(bytes) => Value::Blob(bytes.to_vec()),
    });
    transaction.execute(submit.sql, params_from_iter(values))?;
    Ok(submit.job)
}

#[tokio::main]
async fn main() -> anyhow::Result<()> {
    let folder = tempfile::tempdir()?;

    // The shop's own database, with its own tables. Taskport keeps its tables beside them.
    let mut shop = Connection::open(folder.path().join("shop.db"))?;
    shop.execute_batch("CREATE TABLE orders (id INTEGER PRIMARY KEY, item TEXT NOT NULL)")?;
    let config = Config::from_toml(&config(folder.path()))?;
    let port = Taskport::builder().config(config).registry(registry![send_receipt]).open().await?;

    // Both, or neither.
    let transaction = shop.transaction()?;
    transaction.execute("INSERT INTO orders (item) VALUES ('tea')", [])?;
    let order = transaction.last_insert_rowid();
    let receipt = enqueue(&transaction, port.enqueue_statement(send_receipt(order))?)?;
    transaction.commit()?;

    let transaction = shop.transaction()?;
    transaction.execute("INSERT INTO orders (item) VALUES ('coffee')", [])?;
    let never = enqueue(&transaction, port.enqueue_statement(send_receipt(2))?)?;
    transaction.rollback()?;

    // A job of another backend waits in the outbox until a worker of this program has handed it on.
    let transaction = shop.transaction()?;
    transaction.execute("INSERT INTO orders (item) VALUES ('cake')", [])?;
    let order = transaction.last_insert_rowid();
    let abroad = enqueue(&transaction, port.enqueue_statement_to("warehouse", send_receipt(order))?)?;
    transaction.commit()?;

    let stop = ShutdownController::new();
    let here = tokio::spawn(port.worker().run_until(stop.handle()));
    let there = tokio::spawn(port.worker().backend("warehouse").run_until(stop.handle()));
    assert_eq!(receipt.result().await?, "receipt 1 is sent");
    assert!(never.status().await.is_err(), "what was rolled back was never there");
    while abroad.status().await.is_err() {
        tokio::time::sleep(std::time::Duration::from_millis(20)).await;
    }
    assert_eq!(abroad.result().await?, "receipt 2 is sent");
    let orders: i64 = shop.query_row("SELECT count(*) FROM orders", [], |row| row.get(0))?;
    assert_eq!(orders, 2);
    println!("two orders, two receipts, nothing of the third");

    stop.drain();
    here.await??;
    there.await??;
    Ok(port.close().await?)
}

fn config(folder: &Path) -> String {
    let url = |name: &str| format!("sqlite://{}", folder.join(name).display());
    format!(
        "[backends.main]\nkind = \"native\"\nurl = \"{}\"\nshared_file = true\n\
         [backends.warehouse]\nkind = \"native\"\nurl = \"{}\"\n\
         [routing]\ndefault = \"main\"\n",
        url("shop.db"),
        url("warehouse.db"),
    )
}
