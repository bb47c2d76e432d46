//! Databases that cannot be used: nothing is lost, nothing is touched, and the message says what it is.

use std::process::Command;

use crate::sandbox::{Ran, Sandbox, TASKS};

fn refused(ran: &Ran, exit: i32, code: &str) {
    assert_eq!((ran.code, ran.stdout.as_str()), (exit, ""), "{ran:?}");
    assert!(ran.stderr.starts_with("error: "), "{}", ran.stderr);
    let first = ran.stderr.lines().next().unwrap();
    assert!(first.ends_with(&format!("[{code}]")), "{}", ran.stderr);
    assert!(ran.stderr.contains("\n\nhint: "), "{}", ran.stderr);
}

#[test]
fn a_file_that_is_no_database_is_left_alone() {
    let sandbox = Sandbox::with_tasks();
    let text = "not a database at all, and long enough to hold a header of one hundred bytes if it were one, which it is not";
    sandbox.write("taskport.db", text);
    refused(&sandbox.run(&["submit", "echo"]), 2, "E-024");
    assert_eq!(std::fs::read_to_string(sandbox.path("taskport.db")).unwrap(), text);
}

/// Sets a pragma that says whose database it is, as its owner would, and returns what it was.
fn set(sandbox: &Sandbox, pragma: &str, value: i64) -> i64 {
    let database = rusqlite::Connection::open(sandbox.path("taskport.db")).unwrap();
    let before = database.pragma_query_value(None, pragma, |row| row.get(0)).unwrap();
    database.pragma_update(None, pragma, value).unwrap();
    before
}

#[test]
fn a_database_of_another_program_is_left_alone() {
    let sandbox = Sandbox::with_tasks();
    let theirs = rusqlite::Connection::open(sandbox.path("taskport.db")).unwrap();
    theirs.execute_batch("PRAGMA application_id = 305419896; CREATE TABLE letters (text)").unwrap();
    refused(&sandbox.run(&["job", "list"]), 2, "E-024");
    assert_eq!(sandbox.json(&["job", "list"])["error"]["code"], "E-024");
}

#[test]
fn a_database_of_a_later_release_is_left_alone_and_works_again_with_that_release() {
    let sandbox = Sandbox::with_tasks();
    sandbox.submit(&["echo", "--id", "kept"]);
    let version = set(&sandbox, "user_version", 1_000);
    refused(&sandbox.run(&["job", "list"]), 2, "E-025");
    refused(&sandbox.run(&["worker"]), 2, "E-025");
    set(&sandbox, "user_version", version);
    assert_eq!(sandbox.json(&["job", "get", "kept"])["state"], "queued");
}

#[test]
fn a_database_that_cannot_be_opened_is_named() {
    let sandbox = Sandbox::with_tasks();
    std::fs::create_dir(sandbox.path("taskport.db")).unwrap();
    let ran = sandbox.run(&["submit", "echo"]);
    refused(&ran, 2, "E-023");
    assert!(ran.stderr.contains("taskport.db"), "{}", ran.stderr);
    let elsewhere = Sandbox::empty();
    elsewhere
        .write("taskport.toml", "[backends.main]\nkind = \"native\"\nurl = \"sqlite://no/such/dir/t.db\"\n");
    refused(&elsewhere.run(&["job", "list"]), 2, "E-023");
}

/// Runs `script` where `small/` is a file system of 1 MiB.
fn on_a_small_disk(sandbox: &Sandbox, script: &str) -> Ran {
    let script = format!("set -e; mount -t tmpfs -o size=1m tmpfs small; {script}");
    let mut command = Command::new("unshare");
    command.args([
        "--user",
        "--map-root-user",
        "--mount",
        "sh",
        "-c",
        &script,
        env!("CARGO_BIN_EXE_taskport"),
    ]);
    sandbox.ran(command.current_dir(sandbox.path(".")).output().unwrap())
}

#[test]
fn a_full_disk_is_said_and_what_was_submitted_before_is_kept() {
    let sandbox = Sandbox::empty();
    let url = "[backends.main]\nkind = \"native\"\nurl = \"sqlite://small/t.db\"\n";
    sandbox.write("taskport.toml", &format!("{url}{TASKS}"));
    std::fs::create_dir(sandbox.path("small")).unwrap();
    sandbox.write("large.json", &format!("{{\"x\":\"{}\"}}", "x".repeat(900 << 10)));
    // The small file system is gone with the script, so all that is to be seen of it is seen inside.
    let script = "\"$0\" submit echo --id kept >&2
        \"$0\" submit echo --id large --args @large.json && exit 9 || echo \"exit $?\" >&2
        \"$0\" submit echo --id small >&2
        for job in kept small large; do \"$0\" job get $job --json; done || exit 0";
    let ran = on_a_small_disk(&sandbox, script);
    assert_eq!(ran.code, 0, "{ran:?}");
    assert!(ran.stderr.contains("[E-027]\n\nhint: ") && ran.stderr.contains("exit 1\n"), "{}", ran.stderr);
    let found: Vec<&str> = ran.stdout.lines().collect();
    assert!(
        found[0].contains("\"state\":\"queued\"") && found[1].contains("\"state\":\"queued\""),
        "{found:?}"
    );
    assert!(found[2].contains("E-007"), "{found:?}");
}

/// The limit of a process on the size of its files, in blocks of 512 bytes.
#[test]
fn a_file_size_limit_loses_nothing_and_a_repeat_is_the_same_job() {
    let sandbox = Sandbox::with_tasks();
    sandbox.submit(&["echo", "--id", "kept"]);
    sandbox.write("large.json", &format!("{{\"x\":\"{}\"}}", "x".repeat(600 << 10)));
    let limited = |blocks: &str| {
        let script = format!(
            "trap '' XFSZ; ulimit -f {blocks}; exec \"$0\" submit echo --args @large.json --id large"
        );
        let mut command = Command::new("sh");
        command.args(["-c", &script, env!("CARGO_BIN_EXE_taskport")]).current_dir(sandbox.path("."));
        sandbox.ran(command.output().unwrap())
    };
    let refusal = limited("600");
    assert_eq!((refusal.code, refusal.stdout.as_str()), (1, ""), "{refusal:?}");
    assert!(refusal.stderr.contains("[E-028]") || refusal.stderr.contains("[E-027]"), "{}", refusal.stderr);
    assert_eq!(sandbox.json(&["job", "get", "kept"])["state"], "queued");
    let again = limited("unlimited");
    assert_eq!((again.code, again.stdout.as_str()), (0, "main:large\n"), "{again:?}");
}
