//! Upkeep from the command line: what a cron job and an operator run.

use rusqlite::Connection;

use crate::sandbox::{Sandbox, TASKS};

/// A directory with three jobs that ended and one that waits.
fn world() -> Sandbox {
    let sandbox = Sandbox::with_tasks();
    for id in ["one", "two"] {
        sandbox.submit(&["echo", "--id", id]);
    }
    sandbox.submit(&["fail", "--id", "dead"]);
    sandbox.submit(&["echo", "--id", "waits", "--queue", "other"]);
    let worker = sandbox.worker(&["--queues", "default"]);
    for id in ["one", "two", "dead"] {
        sandbox.run(&["job", "wait", id]);
    }
    worker.drain();
    sandbox
}

fn states(sandbox: &Sandbox) -> Vec<(String, String)> {
    let jobs = sandbox.json(&["job", "list"])["jobs"].clone();
    let text = |value: &serde_json::Value| value.as_str().unwrap().to_owned();
    jobs.as_array().unwrap().iter().map(|job| (text(&job["id"]), text(&job["state"]))).collect()
}

#[test]
fn a_backup_is_restored_into_an_empty_place() {
    let sandbox = world();
    let ran = sandbox.run(&["maintain", "backup", "copy.db"]);
    assert_eq!((ran.code, ran.stderr.as_str()), (0, ""), "{ran:?}");
    assert!(ran.stdout.starts_with("copy.db  4 jobs, "), "{ran:?}");
    let again = sandbox.run(&["maintain", "backup", "copy.db"]);
    assert_eq!(again.code, 1);
    assert!(again.stderr.contains("`copy.db` exists already [E-037]"), "{again:?}");
    let json = sandbox.json(&["maintain", "backup", "second.db"]);
    assert_eq!((json["jobs"].as_u64(), json["backend"].as_str()), (Some(4), Some("main")));
    assert_eq!(json["bytes"].as_u64().unwrap(), std::fs::metadata(sandbox.path("second.db")).unwrap().len());

    let elsewhere = Sandbox::with_tasks();
    std::fs::copy(sandbox.path("copy.db"), elsewhere.path("copy.db")).unwrap();
    let ran = elsewhere.run(&["maintain", "restore", "copy.db"]);
    assert_eq!((ran.code, ran.stdout.as_str()), (0, "copy.db  4 jobs restored\n"), "{ran:?}");
    assert_eq!(states(&elsewhere), states(&sandbox));
}

#[test]
fn a_restore_over_jobs_needs_consent_and_no_worker() {
    let sandbox = world();
    let before = states(&sandbox);
    assert_eq!(sandbox.run(&["maintain", "backup", "copy.db"]).code, 0);
    sandbox.submit(&["echo", "--id", "later"]);
    let unsure = sandbox.run(&["maintain", "restore", "copy.db"]);
    assert_eq!(unsure.code, 2, "{unsure:?}");
    assert!(unsure.stderr.contains("restore would delete 5 jobs"), "{unsure:?}");
    let worker = sandbox.worker(&["--queues", "none"]);
    sandbox.eventually(&["backend", "workers"], |seen| seen["workers"][0]["alive"] == true);
    let refused = sandbox.run(&["maintain", "restore", "copy.db", "--force"]);
    assert_eq!(refused.code, 1, "{refused:?}");
    assert!(
        refused.stderr.contains("[E-054]") && refused.stderr.contains("\n\nhint: stop the workers"),
        "{refused:?}"
    );
    worker.drain();
    assert_eq!(sandbox.run(&["maintain", "restore", "copy.db", "--yes", "5"]).code, 0);
    assert_eq!(states(&sandbox), before);
}

#[test]
fn a_damaged_account_is_told_and_repaired() {
    let sandbox = world();
    let ran = sandbox.run(&["maintain", "integrity"]);
    assert!(ran.code == 0 && ran.stdout.starts_with("ok  "), "{ran:?}");
    let file = Connection::open(sandbox.path("taskport.db")).unwrap();
    file.execute_batch("UPDATE taskport_queues SET succeeded = 0").unwrap();
    drop(file);
    let ran = sandbox.run(&["maintain", "integrity"]);
    assert_eq!(ran.code, 1, "{ran:?}");
    assert!(
        ran.stdout.contains("problem  the account of queue `default` is wrong: succeeded 0 instead of 2"),
        "{ran:?}"
    );
    assert!(
        ran.stderr.contains("the database has 1 problem [E-038]") && ran.stderr.contains("--repair"),
        "{ran:?}"
    );
    let json = sandbox.json(&["maintain", "integrity"]);
    assert_eq!(
        (json["ok"].as_bool(), json["problems"][0]["repair"].as_str()),
        (Some(false), Some("possible"))
    );
    let ran = sandbox.run(&["maintain", "integrity", "--repair"]);
    assert!(ran.code == 0 && ran.stdout.starts_with("repaired  the account"), "{ran:?}");
    assert_eq!(sandbox.json(&["maintain", "integrity"])["ok"], true);
}

#[test]
fn a_prune_counts_asks_and_removes() {
    let sandbox = world();
    let dry = sandbox.json(&["maintain", "prune", "--older-than", "0s", "--dry-run"]);
    assert_eq!((dry["jobs"].as_u64(), dry["dry_run"].as_bool()), (Some(2), Some(true)));
    let unsure = sandbox.run(&["maintain", "prune", "--older-than", "0s"]);
    assert!(unsure.code == 2 && unsure.stderr.contains("prune would delete 2 jobs"), "{unsure:?}");
    let none = sandbox.json(&["maintain", "prune", "--older-than", "1h", "--force"]);
    assert_eq!(none["jobs"], 0);
    let ran = sandbox.run(&["maintain", "prune", "--older-than", "0s", "--yes", "2"]);
    assert!(ran.code == 0 && ran.stdout.starts_with("jobs removed  2\n"), "{ran:?}");
    let left: Vec<String> = states(&sandbox).into_iter().map(|(id, _)| id).collect();
    assert_eq!(left, ["waits", "dead"]);
    assert_eq!(
        sandbox.json(&["maintain", "prune", "--older-than", "0s", "--only", "failed", "--force"])["jobs"],
        1
    );
    let queue = sandbox.json(&["queue", "stats", "default"])["queues"][0].clone();
    assert_eq!(
        (queue["submitted"].as_u64(), queue["succeeded"].as_u64(), queue["failed"].as_u64()),
        (Some(3), Some(2), Some(1))
    );
}

#[test]
fn space_is_given_back_and_the_log_emptied() {
    let sandbox = world();
    for command in
        [&["maintain", "vacuum"][..], &["maintain", "vacuum", "--full"], &["maintain", "checkpoint"]]
    {
        let json = sandbox.json(command);
        assert!(json["bytes_after"].as_u64() <= json["bytes_before"].as_u64(), "{command:?}: {json}");
    }
    assert_eq!(states(&sandbox).len(), 4);
}

#[test]
fn nothing_but_the_file_is_left_when_a_command_ends() {
    let sandbox = world();
    sandbox.run(&["job", "list"]);
    for suffix in ["-wal", "-shm"] {
        assert!(!sandbox.path(&format!("taskport.db{suffix}")).exists(), "taskport.db{suffix} was left");
    }
}

#[test]
fn retention_is_configured_and_for_ever_is_a_word() {
    let sandbox = world();
    let with = |retention: &str| {
        sandbox.write(
            "taskport.toml",
            &format!("[backends.main]\nkind = \"native\"\nurl = \"sqlite://taskport.db\"\n[backends.main.retention]\n{retention}\n{TASKS}"),
        );
    };
    with("succeeded = \"forever\"\nfailed = \"0s\"");
    let left = || states(&sandbox).into_iter().map(|(id, _)| id).collect::<Vec<_>>();
    sandbox.eventually(&["job", "list"], |seen| !seen.to_string().contains("\"dead\""));
    assert_eq!(left(), ["waits", "two", "one"]);
    with("succeeded = \"always\"");
    let refused = sandbox.run(&["job", "list"]);
    assert_eq!(refused.code, 2, "{refused:?}");
    assert!(refused.stderr.contains("retention") && refused.stderr.contains("forever"), "{refused:?}");
}

#[test]
fn what_keeps_nothing_says_so() {
    let sandbox = Sandbox::empty();
    sandbox.write("taskport.toml", "[backends.main]\nkind = \"native\"\nurl = \"memory:\"\n");
    for command in
        [&["maintain", "backup", "copy.db"][..], &["maintain", "vacuum"], &["maintain", "checkpoint"]]
    {
        let ran = sandbox.run(command);
        assert_eq!(ran.code, 2, "{ran:?}");
        assert!(
            ran.stderr.contains("in the memory of one process") && ran.stderr.contains("[E-005]"),
            "{ran:?}"
        );
    }
    assert_eq!(sandbox.json(&["maintain", "integrity"])["ok"], true);
}
