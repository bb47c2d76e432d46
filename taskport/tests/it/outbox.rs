//! Jobs that come with a transaction of the program's own.

use std::process::Command;

use rusqlite::types::Value;
use rusqlite::{Connection, params_from_iter};
use taskport::abstraction::codes;
use taskport::abstraction::outbox::SqlValue;
use taskport::prelude::*;
use taskport::{Job, Result, TransactionalSubmit};

use crate::kit::{PATIENCE, Place, add, eventually, start, tasks, where_am_i};

fn values(parameters: &[SqlValue]) -> impl Iterator<Item = Value> {
    parameters.iter().map(|value| match value {
        SqlValue::Null => Value::Null,
        SqlValue::Integer(number) => Value::Integer(*number),
        SqlValue::Text(text) => Value::Text(text.clone()),
        SqlValue::Blob(bytes) => Value::Blob(bytes.to_vec()),
    })
}

/// Runs the statement in a transaction of its own and commits it.
fn commit<T>(place: &Place, submit: TransactionalSubmit<T>) -> Job<T> {
    let connection = Connection::open(place.path().join("t.db")).unwrap();
    connection.execute(submit.sql, params_from_iter(values(&submit.parameters))).unwrap();
    submit.job
}

/// A second backend, in a file of its own.
fn legacy(place: &Place) -> String {
    let url = format!("sqlite://{}", place.path().join("legacy.db").display());
    format!("[backends.legacy]\nkind = \"native\"\nurl = \"{url}\"\n[routing]\ndefault = \"main\"\n")
}

#[tokio::test]
async fn a_table_and_a_job_commit_or_roll_back_together() {
    let place = Place::new();
    // The program's own database came first.
    let mut connection = Connection::open(place.path().join("t.db")).unwrap();
    connection
        .execute_batch("PRAGMA user_version = 7; CREATE TABLE orders (id INTEGER PRIMARY KEY)")
        .unwrap();
    let refused =
        Taskport::builder().config(place.config_with("")).registry(tasks()).open().await.unwrap_err();
    assert_eq!(refused.code(), &codes::STORE_FOREIGN);
    let port = place.open_with("shared_file = true\n").await;
    let mut jobs = Vec::new();
    for (order, keep) in [(1, true), (2, false)] {
        let submit = port.enqueue_statement(add(order, 40)).unwrap();
        let tx = connection.transaction().unwrap();
        tx.execute("INSERT INTO orders VALUES (?1)", [order]).unwrap();
        tx.execute(submit.sql, params_from_iter(values(&submit.parameters))).unwrap();
        if keep {
            tx.commit().unwrap()
        } else {
            tx.rollback().unwrap()
        }
        jobs.push(submit.job);
    }
    let worker = start(port.worker());
    assert_eq!(jobs[0].result_timeout(PATIENCE).await.unwrap(), 41);
    assert_eq!(jobs[1].status().await.unwrap_err().code(), &codes::JOB_NOT_FOUND);
    let orders: Vec<i64> = {
        let mut statement = connection.prepare("SELECT id FROM orders").unwrap();
        statement.query_map([], |row| row.get(0)).unwrap().collect::<rusqlite::Result<_>>().unwrap()
    };
    assert_eq!(orders, [1]);
    worker.stop().await;
    port.close().await.unwrap();
    let version: i64 = connection.pragma_query_value(None, "user_version", |row| row.get(0)).unwrap();
    assert_eq!(version, 7, "the header is the program's own");
}

#[tokio::test]
async fn a_task_s_own_options_come_along() {
    let place = Place::new();
    let port = place.open().await;
    let job = commit(&place, port.enqueue_statement(where_am_i()).unwrap());
    let worker = start(port.worker());
    assert_eq!(job.result_timeout(PATIENCE).await.unwrap(), "reports");
    worker.stop().await;
}

// proves R-459
#[tokio::test]
async fn a_python_program_runs_the_statement_too() {
    const PROGRAM: &str = "import json, sqlite3, sys, warnings\n\
        warnings.simplefilter('error')\n\
        file, sql, values = sys.argv[1], sys.argv[2], json.loads(sys.argv[3])\n\
        values = [bytes(v) if isinstance(v, list) else v for v in values]\n\
        with sqlite3.connect(file) as db: db.execute(sql, values)\n";
    let place = Place::new();
    let port = place.open().await;
    let submit = port.enqueue_statement(add(2, 3).tag("python")).unwrap();
    let values: Vec<serde_json::Value> = submit
        .parameters
        .iter()
        .map(|value| match value {
            SqlValue::Null => serde_json::Value::Null,
            SqlValue::Integer(number) => (*number).into(),
            SqlValue::Text(text) => text.clone().into(),
            SqlValue::Blob(bytes) => bytes.to_vec().into(),
        })
        .collect();
    let values = serde_json::Value::from(values).to_string();
    let file = place.path().join("t.db");
    let ran = Command::new("python3").args(["-c", PROGRAM]).arg(file).args([submit.sql, &values]).output();
    let ran = ran.expect("this test needs python3 with its sqlite3 module");
    assert!(ran.status.success(), "{}", String::from_utf8_lossy(&ran.stderr));
    let worker = start(port.worker());
    assert_eq!(submit.job.result_timeout(PATIENCE).await.unwrap(), 5);
    worker.stop().await;
}

#[tokio::test]
async fn what_submit_refuses_before_any_io_the_statement_refuses_too() {
    let place = Place::new();
    let port = place.open().await;
    let unknown = port.enqueue_statement(taskport::Call::dynamic::<()>("nobody", &[], &[])).unwrap_err();
    assert_eq!(unknown.code(), &codes::UNKNOWN_TASK);
    let nowhere = port.enqueue_statement_to("nowhere", add(1, 1)).unwrap_err();
    assert_eq!(nowhere.code(), &codes::UNKNOWN_BACKEND);
    let memory =
        taskport::config::Config::from_toml("[backends.main]\nkind = \"native\"\nurl = \"memory:\"").unwrap();
    let port = Taskport::builder().config(memory).registry(tasks()).open().await.unwrap();
    assert_eq!(port.enqueue_statement(add(1, 1)).unwrap_err().code(), &codes::UNSUPPORTED);
}

#[tokio::test]
async fn a_worker_hands_on_what_waits_in_the_outbox() {
    let place = Place::new();
    let port = place.open_with(&legacy(&place)).await;
    let job = commit(&place, port.enqueue_statement_to("legacy", add(20, 22)).unwrap());
    assert_eq!(job.job_ref().backend.as_str(), "legacy");
    let (here, there) = (start(port.worker()), start(port.worker().backend("legacy")));
    eventually(async || job.status().await.is_ok(), |known| *known).await;
    assert_eq!(job.result_timeout(PATIENCE).await.unwrap(), 42);
    let outbox = port.backend("main").unwrap().transactional().unwrap().outbox();
    eventually(async || outbox.stats().await.unwrap(), |stats| stats.waiting == 0).await;
    here.stop().await;
    there.stop().await;
}

#[tokio::test]
async fn a_program_without_a_worker_pumps_by_itself_and_keeps_what_is_refused() -> Result<()> {
    let place = Place::new();
    let port = place.open_with(&legacy(&place)).await;
    let first = commit(&place, port.enqueue_statement_to("legacy", add(1, 1).idempotency_key("k"))?);
    let second = commit(&place, port.enqueue_statement_to("legacy", add(2, 2).idempotency_key("k"))?);
    assert_eq!(port.pump_outbox().await?, 1);
    assert_eq!(port.pump_outbox().await?, 0);
    assert!(first.status().await.is_ok() && second.status().await.is_err());
    let outbox = port.backend("main")?.transactional().unwrap().outbox();
    let kept = outbox.list(0, 10).await?;
    assert_eq!((kept.len(), &kept[0].job), (1, second.id()));
    assert!(kept[0].due_at.is_none() && kept[0].reason.as_deref().unwrap().contains("E-009"));
    first.cancel().await?;
    outbox.retry(&[second.id().clone()]).await.remove(0)?;
    assert_eq!(port.pump_outbox().await?, 1);
    assert!(second.status().await.is_ok());
    port.close().await
}

/// The pump is dropped at every await in turn, as by a crash, and nothing is lost or doubled.
#[tokio::test]
async fn a_pump_cut_off_anywhere_hands_every_job_on_once() -> Result<()> {
    let place = Place::new();
    let port = place.open_with(&legacy(&place)).await;
    let mut cut = 0;
    loop {
        let job = commit(&place, port.enqueue_statement_to("legacy", add(cut, 0))?);
        let finished = {
            let mut pump = std::pin::pin!(port.pump_outbox());
            let mut polls = 0;
            // A poll that is not ready is a point at which the program may end.
            std::future::poll_fn(|cx| {
                polls += 1;
                match pump.as_mut().poll(cx) {
                    std::task::Poll::Pending if polls <= cut => std::task::Poll::Pending,
                    end => std::task::Poll::Ready(end.is_ready()),
                }
            })
            .await
        };
        let outbox = port.backend("main")?.transactional().unwrap().outbox();
        // What was leased at the cut is due again once its lease has lapsed; nobody has to wait for that here.
        for entry in outbox.list(0, 10).await? {
            match outbox.retry(&[entry.job]).await.remove(0) {
                // What was asked for before the cut may be done after it.
                Err(error) if *error.code() == codes::JOB_NOT_FOUND => {}
                answer => answer?,
            }
        }
        port.pump_outbox().await?;
        assert!(job.status().await.is_ok(), "cut at {cut}");
        assert_eq!(outbox.stats().await?.waiting, 0, "cut at {cut}");
        if finished {
            break;
        }
        cut += 1;
    }
    assert!(cut >= 3, "the pump awaits a fetch, a submit and a settle");
    let queues = port.backend("legacy")?.admin().unwrap().queues().await?;
    assert_eq!(queues.iter().map(|queue| queue.counts.submitted).sum::<u64>(), cut as u64 + 1);
    port.close().await
}
