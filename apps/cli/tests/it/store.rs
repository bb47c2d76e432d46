//! Databases that cannot be used: nothing is lost, nothing is touched, and the message says what it is.

use std::io::{Read, Seek, SeekFrom, Write};
use std::process::Command;

use crate::sandbox::{Ran, Sandbox};

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

/// Changes four bytes of the header of a database that nobody has open.
fn patch(sandbox: &Sandbox, at: u64, value: u32) {
    let mut file = std::fs::File::options().write(true).open(sandbox.path("taskport.db")).unwrap();
    file.seek(SeekFrom::Start(at)).unwrap();
    file.write_all(&value.to_be_bytes()).unwrap();
}

/// The places of `user_version` and `application_id` in the header of a SQLite file.
const USER_VERSION: u64 = 60;
const APPLICATION_ID: u64 = 68;

#[test]
fn a_database_of_another_program_is_left_alone() {
    let sandbox = Sandbox::with_tasks();
    sandbox.submit(&["echo"]);
    patch(&sandbox, APPLICATION_ID, 0x1234_5678);
    refused(&sandbox.run(&["job", "list"]), 2, "E-024");
    assert_eq!(sandbox.json(&["job", "list"])["error"]["code"], "E-024");
}

#[test]
fn a_database_of_a_later_release_is_left_alone_and_works_again_with_that_release() {
    let sandbox = Sandbox::with_tasks();
    sandbox.submit(&["echo", "--id", "kept"]);
    let mut header = [0; 64];
    std::fs::File::open(sandbox.path("taskport.db")).unwrap().read_exact(&mut header).unwrap();
    let version = u32::from_be_bytes(header[60..64].try_into().unwrap());
    assert!(version > 0, "the version is in the header");
    patch(&sandbox, USER_VERSION, version + 1_000);
    refused(&sandbox.run(&["job", "list"]), 2, "E-025");
    refused(&sandbox.run(&["worker"]), 2, "E-025");
    patch(&sandbox, USER_VERSION, version);
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
    elsewhere.write("taskport.toml", "[backends.main]\nkind = \"native\"\nurl = \"sqlite://no/such/dir/t.db\"\n");
    refused(&elsewhere.run(&["job", "list"]), 2, "E-023");
}

/// A file size limit stops writes as a full disk does, where no small file system can be mounted.
#[test]
fn a_full_disk_is_said_and_what_was_submitted_before_is_kept() {
    let sandbox = Sandbox::with_tasks();
    sandbox.submit(&["echo", "--id", "kept"]);
    let large = "x".repeat(600 << 10);
    sandbox.write("large.json", &format!("{{\"x\":\"{large}\"}}"));
    let limited = |blocks: &str| {
        let script = format!("trap '' XFSZ; ulimit -f {blocks}; exec \"$0\" submit echo --args @large.json --id large");
        let mut command = Command::new("sh");
        command.args(["-c", &script, env!("CARGO_BIN_EXE_taskport")]).current_dir(sandbox.path("."));
        sandbox.ran(command.output().unwrap())
    };
    refused(&limited("600"), 1, "E-027");
    assert_eq!(sandbox.json(&["job", "get", "kept"])["state"], "queued");
    assert_eq!(sandbox.json(&["job", "get", "large"])["error"]["code"], "E-007");
    let again = limited("unlimited");
    assert_eq!((again.code, again.stdout.as_str()), (0, "main:large\n"), "{again:?}");
}
