//! What jobs say, and jobs on their way to other backends.

use rusqlite::{Connection, params};
use serde_json::json;

use crate::sandbox::{Sandbox, TASKS};

fn database(sandbox: &Sandbox) -> Connection {
    let connection = Connection::open(sandbox.path("taskport.db")).unwrap();
    connection.busy_timeout(std::time::Duration::from_secs(5)).unwrap();
    connection
}

#[test]
fn logs_are_shown_and_followed_to_the_end() {
    let sandbox = Sandbox::with_tasks();
    sandbox.submit(&["echo", "--id", "j"]);
    assert_eq!(sandbox.json(&["job", "logs", "j"]), json!({"job": "main:j", "entries": []}));
    let say = "INSERT INTO taskport_journal (job, number, attempt, said_at, level, body) VALUES (1, ?1, 1, 0, ?2, ?3)";
    let db = database(&sandbox);
    db.execute(say, params![1, 2, "half\u{1b}[31m way"]).unwrap();
    db.execute(say, params![2, None::<i64>, b"{\"page\":3}"]).unwrap();
    let text = sandbox.fine(&["job", "logs", "j"]);
    assert_eq!(text, "TIME  1  warn     half\\u{1b}[31m way\nTIME  1  partial  {\"page\":3}\n");
    let entries = sandbox.json(&["job", "logs", "j", "--after", "1"])["entries"].clone();
    assert_eq!(entries, json!([{"number": 2, "attempt": 1, "at": entries[0]["at"], "partial": {"page": 3}}]));
    let shown = sandbox.fine(&["job", "get", "j"]);
    assert!(shown.contains("entries    2\n") && shown.contains("partial    {\"page\":3}\n"), "{shown}");
    assert_eq!(sandbox.json(&["job", "get", "j"])["partial"], json!({"page": 3}));

    let worker = sandbox.worker(&[]);
    let followed = sandbox.run(&["job", "logs", "j", "--follow", "--json"]);
    assert_eq!((followed.code, followed.stdout.lines().count()), (0, 2), "{followed:?}");
    assert_eq!(sandbox.json(&["job", "get", "j"])["state"], "succeeded");
    drop(worker.drain());
    let nobody = sandbox.run(&["job", "logs", "nobody"]);
    assert!(nobody.code == 1 && nobody.stderr.contains("[E-007]"), "{nobody:?}");
}

#[test]
fn the_outbox_is_listed_retried_and_emptied() {
    let sandbox = Sandbox::empty();
    let backends = "[backends.main]\nkind = \"native\"\nurl = \"sqlite://taskport.db\"\n\
                    [backends.legacy]\nkind = \"native\"\nurl = \"sqlite://legacy.db\"\n\
                    [routing]\ndefault = \"main\"\n";
    sandbox.write("taskport.toml", &format!("{backends}{TASKS}"));
    assert_eq!(sandbox.json(&["outbox", "list"])["waiting"], 0);
    let put = "INSERT INTO taskport_outbox (id, target, task, arguments, submitted_at, due_at, reason) \
               VALUES (?1, ?2, 'echo', x'5b5b5d2c7b7d5d', 0, ?3, ?4)";
    let db = database(&sandbox);
    db.execute(put, params!["gone", "nowhere", i64::MAX, "why not"]).unwrap();
    db.execute(put, params!["kept", "legacy", None::<i64>, "no such task"]).unwrap();
    assert!(db.execute(put, params!["bad id", "legacy", 0, ""]).is_err(), "a malformed row is refused");
    let text = sandbox.fine(&["outbox", "list"]);
    assert!(text.contains("gone  nowhere  echo  waiting  0         why not\n"), "{text}");
    assert!(text.contains("kept  legacy   echo  refused  0         no such task\n"), "{text}");
    let listed = sandbox.json(&["outbox", "list"]);
    assert_eq!((&listed["waiting"], &listed["refused"]), (&json!(1), &json!(1)));

    assert_eq!(sandbox.fine(&["outbox", "delete", "gone"]), "gone  deleted\n");
    assert_eq!(sandbox.fine(&["outbox", "retry", "kept"]), "kept  retried\n");
    let gone = sandbox.run(&["outbox", "retry", "gone"]);
    assert!(gone.code == 1 && gone.stderr.contains("[E-007]"), "{gone:?}");
    let worker = sandbox.worker(&[]);
    sandbox.eventually(&["outbox", "list"], |outbox| outbox["waiting"] == 0);
    assert_eq!(sandbox.json(&["job", "get", "legacy:kept"])["state"], "queued");
    drop(worker.drain());
}
