//! What is left of a command when its worker is killed: nothing.

use std::fs::File;
use std::io::{BufRead, BufReader};
use std::process::Command;
use std::sync::mpsc::{SyncSender, sync_channel};

use rustix::process::{Pid, Signal, kill_process_group};

use crate::sandbox::{PATIENCE, Sandbox};

/// Every process of the command holds `alive` open for writing; the first line in it is their group. The command gets
/// its input only once it is watched, and waits for it.
const ENDLESS: &str = r#"
[tasks.endless]
kind = "exec"
command = "cat; exec 3>alive; echo $$ >&3; sleep 1000 & sleep 1001; wait"
shell = true
"#;

#[test]
fn a_killed_worker_leaves_no_process_of_its_commands() {
    let sandbox = Sandbox::empty();
    sandbox.write("taskport.toml", ENDLESS);
    let alive = sandbox.path("alive");
    assert!(Command::new("mkfifo").arg(&alive).status().unwrap().success());
    let (tell, told) = sync_channel(2);
    std::thread::spawn(move || lines(File::open(alive).unwrap(), &tell));
    let mut worker = sandbox.worker(&[]);
    sandbox.submit(&["endless"]);
    let group = told.recv_timeout(PATIENCE).unwrap().expect("the command starts");
    worker.signal(Signal::KILL);
    drop(worker);
    let ended = told.recv_timeout(PATIENCE);
    if ended.is_err() {
        let group = Pid::from_raw(group.parse().unwrap()).unwrap();
        kill_process_group(group, Signal::KILL).unwrap();
    }
    assert_eq!(ended, Ok(None), "processes of the command are left");
}

/// Sends each line of `pipe`, and `None` once nobody can write to it any more.
fn lines(pipe: File, tell: &SyncSender<Option<String>>) {
    for line in BufReader::new(pipe).lines() {
        tell.send(Some(line.unwrap())).unwrap();
    }
    tell.send(None).unwrap();
}
