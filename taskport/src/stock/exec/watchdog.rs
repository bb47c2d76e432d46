//! What ends a command when its worker can no longer do it.

use std::io::{self, PipeWriter, Write};
use std::process::Stdio;

use rustix::process::Pid;
use tokio::process::{Child, Command};

/// Reads the number of a group, waits for the end of its input, and kills the group.
const SCRIPT: &str = r#"read -r group && { read -r end; kill -s KILL -- "-$group"; }"#;

/// A process beside the worker that kills the group of a command when the worker ends without a word, as one does that
/// is killed itself.
///
/// The worker alone holds the other end of the pipe that is the watchdog's input, so its end, whatever the cause,
/// closes it. The watchdog is started before the command: what cannot be watched is not run.
#[derive(Debug)]
pub(super) struct Watchdog {
    // Dropped first: a watchdog that is killed while its input is open never gets to kill.
    process: Child,
    input: PipeWriter,
}

impl Watchdog {
    /// Starts a watchdog that watches nothing yet.
    ///
    /// # Errors
    /// Those of starting a process.
    pub(super) fn start() -> io::Result<Self> {
        let (output, input) = io::pipe()?;
        let process = Command::new("/bin/sh")
            .args(["-c", SCRIPT])
            .env_clear()
            .current_dir("/")
            .stdin(output)
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            // Signals meant for the worker, such as those of a terminal, must not end it.
            .process_group(0)
            .kill_on_drop(true)
            .spawn()?;
        Ok(Self { process, input })
    }

    /// Watches the group of a command.
    ///
    /// # Errors
    /// `BrokenPipe` where the watchdog has ended.
    pub(super) fn watch(&mut self, group: Pid) -> io::Result<()> {
        // One short line in an empty pipe: this never blocks.
        self.input.write_all(format!("{}\n", group.as_raw_nonzero()).as_bytes())
    }

    /// Ends the watchdog, and leaves what it watched alone.
    ///
    /// # Cancel safety
    /// Dropping the future ends it too; it is waited for later.
    pub(super) async fn stand_down(mut self) {
        // One that has ended already is what is wanted.
        let _gone = self.process.kill().await;
    }
}

#[cfg(test)]
mod tests {
    use std::os::unix::process::ExitStatusExt;

    use super::*;

    /// A command that runs until it is killed, and its group.
    fn endless() -> (Child, Pid) {
        let command = Command::new("sleep").arg("1000").process_group(0).kill_on_drop(true).spawn().unwrap();
        let group = Pid::from_raw(i32::try_from(command.id().unwrap()).unwrap()).unwrap();
        (command, group)
    }

    #[tokio::test]
    async fn the_end_of_its_input_ends_the_group() {
        let (mut command, group) = endless();
        let mut watchdog = Watchdog::start().unwrap();
        watchdog.watch(group).unwrap();
        let Watchdog { process: _process, input } = watchdog;
        drop(input);
        assert_eq!(command.wait().await.unwrap().signal(), Some(9));
    }

    #[tokio::test]
    async fn one_that_stands_down_kills_nothing() {
        let (mut command, group) = endless();
        let mut watchdog = Watchdog::start().unwrap();
        watchdog.watch(group).unwrap();
        watchdog.stand_down().await;
        assert_eq!(command.try_wait().unwrap(), None);
    }
}
