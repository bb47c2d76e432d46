//! Processes to be killed, paused and asked to stop, each leading a process group of its own.

use std::fs::File;
use std::io;
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::thread;
use std::time::Duration;

use rustix::process::{Pid, Signal, kill_process, kill_process_group};

use crate::clock::monotonic_us;
use crate::victim::Settings;

/// How often an end is looked for.
const LOOK_EVERY: Duration = Duration::from_millis(2);

/// How long a process may take to listen to signals.
const LISTENS_WITHIN_US: u64 = 10_000_000;

/// A victim in a process of its own. Dropped, its whole group is killed.
#[derive(Debug)]
pub struct Process {
    child: Child,
    name: String,
    /// Is there once the process can be asked to stop.
    history: PathBuf,
    paused: bool,
}

impl Process {
    /// Starts `program` as the victim that `settings` describe; what it says on standard error goes to a file beside its
    /// history.
    ///
    /// # Errors
    /// Those of the operating system.
    pub fn start(program: &Path, settings: &Settings) -> io::Result<Self> {
        let log = File::create(settings.records.join(format!("{}.log", settings.name)))?;
        let child = Command::new(program)
            .arg("victim")
            .arg(serde_json::to_string(settings)?)
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(log)
            .process_group(0)
            .spawn()?;
        let history = settings.records.join(format!("history-{}.jsonl", settings.name));
        Ok(Self { child, name: settings.name.clone(), history, paused: false })
    }

    /// The name no other process of the round has.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// Ends the whole group without a word.
    pub fn kill(&mut self) {
        // A group that has gone is as dead as one that is killed.
        let _gone = kill_process_group(self.pid(), Signal::KILL);
        let _reaped = self.child.wait();
    }

    /// Holds the whole group still, as a machine that is suspended.
    pub fn pause(&mut self) {
        self.paused = kill_process_group(self.pid(), Signal::STOP).is_ok();
    }

    /// Lets a held group go on.
    pub fn resume(&mut self) {
        let _gone = kill_process_group(self.pid(), Signal::CONT);
        self.paused = false;
    }

    /// Whether it is held.
    pub fn is_paused(&self) -> bool {
        self.paused
    }

    /// Asks the process itself to stop, once it listens.
    pub fn terminate(&mut self) {
        let until = monotonic_us() + LISTENS_WITHIN_US;
        while !self.history.exists() && self.ended().is_none() && monotonic_us() < until {
            thread::sleep(LOOK_EVERY);
        }
        let _gone = kill_process(self.pid(), Signal::TERM);
    }

    /// How it ended, where it has.
    pub fn ended(&mut self) -> Option<ExitStatus> {
        self.child.try_wait().ok().flatten()
    }

    /// How it ends within `limit`; `None` where it does not.
    pub fn wait(&mut self, limit: Duration) -> Option<ExitStatus> {
        let until = monotonic_us() + u64::try_from(limit.as_micros()).unwrap_or(u64::MAX / 2);
        loop {
            match self.ended() {
                Some(status) => return Some(status),
                None if monotonic_us() >= until => return None,
                None => thread::sleep(LOOK_EVERY),
            }
        }
    }

    fn pid(&self) -> Pid {
        Pid::from_child(&self.child)
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        if self.ended().is_none() {
            self.kill();
        }
    }
}
