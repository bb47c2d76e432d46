//! A directory of its own for each test, the binary run inside it, and output with its ids and times filtered.

use std::io::Write;
#[cfg(feature = "metrics")]
use std::io::{BufRead, BufReader};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Output, Stdio};
use std::sync::mpsc::sync_channel;
use std::time::{Duration, Instant};

use rustix::process::{Pid, Signal, kill_process};
use serde_json::Value;
use tempfile::TempDir;

/// How long anything may take before a test gives up on it.
pub(crate) const PATIENCE: Duration = Duration::from_secs(60);

/// A directory with the binary at work in it.
pub(crate) struct Sandbox(TempDir);

/// What one invocation came to.
#[derive(Debug)]
pub(crate) struct Ran {
    pub(crate) code: i32,
    pub(crate) stdout: String,
    pub(crate) stderr: String,
}

/// Tasks for every kind of end, without Rust.
pub(crate) const TASKS: &str = r#"
[tasks.echo]
kind = "exec"
summary = "Answers with its arguments"
command = ["cat"]
output = "json"

[tasks.fail]
kind = "exec"
command = "echo broken >&2; exit 3"
shell = true
max_attempts = 1
"#;

impl Sandbox {
    /// An empty directory.
    pub(crate) fn empty() -> Self {
        Self(tempfile::tempdir().unwrap())
    }

    /// A directory with tasks on the default backend.
    pub(crate) fn with_tasks() -> Self {
        let sandbox = Self::empty();
        sandbox.write("taskport.toml", TASKS);
        sandbox
    }

    pub(crate) fn path(&self, name: &str) -> PathBuf {
        self.0.path().join(name)
    }

    pub(crate) fn write(&self, name: &str, text: &str) {
        let path = self.path(name);
        std::fs::create_dir_all(path.parent().unwrap()).unwrap();
        std::fs::write(path, text).unwrap();
    }

    /// The binary, to be run in the directory without anything of the caller's environment that could change it.
    pub(crate) fn command(&self, arguments: &[&str]) -> Command {
        let mut command = Command::new(env!("CARGO_BIN_EXE_taskport"));
        command.args(arguments).current_dir(self.0.path()).stdin(Stdio::null());
        for (name, _) in
            std::env::vars_os().filter(|(name, _)| name.to_string_lossy().starts_with("TASKPORT_"))
        {
            command.env_remove(name);
        }
        command
    }

    /// Runs the binary to its end.
    pub(crate) fn run(&self, arguments: &[&str]) -> Ran {
        self.ran(ended(self.command(arguments)))
    }

    /// Runs the binary, which must exit with 0, and returns what it printed.
    #[track_caller]
    pub(crate) fn fine(&self, arguments: &[&str]) -> String {
        let ran = self.run(arguments);
        assert_eq!(ran.code, 0, "{arguments:?}: {ran:?}");
        ran.stdout
    }

    /// Runs the binary with `--json`; whatever its exit code, it must print one document on one line.
    #[track_caller]
    pub(crate) fn json(&self, arguments: &[&str]) -> Value {
        let output = ended(self.command(&[arguments, &["--json"]].concat()));
        let text = std::str::from_utf8(&output.stdout).unwrap();
        assert_eq!(text.lines().count(), 1, "{arguments:?}: {output:?}");
        serde_json::from_str(text).unwrap()
    }

    /// Runs the binary, which must fail with `code` and say `stderr`, and nothing on standard output.
    #[track_caller]
    pub(crate) fn refuses(&self, arguments: &[&str], code: i32, stderr: &str) {
        let ran = self.run(arguments);
        assert_eq!((ran.code, ran.stderr.as_str(), ran.stdout.as_str()), (code, stderr, ""), "{arguments:?}");
    }

    /// Filters the output of an invocation.
    pub(crate) fn ran(&self, output: Output) -> Ran {
        let text = |bytes: Vec<u8>| {
            let text = String::from_utf8(bytes).unwrap();
            filtered(&text.replace(&self.0.path().display().to_string(), "DIR"))
        };
        let code = output.status.code().unwrap_or(-1);
        Ran { code, stdout: text(output.stdout), stderr: text(output.stderr) }
    }

    /// Submits a call and returns the job.
    #[track_caller]
    pub(crate) fn submit(&self, arguments: &[&str]) -> String {
        let output = ended(self.command(&[&["submit"], arguments].concat()));
        assert!(output.status.success(), "{arguments:?}: {output:?}");
        String::from_utf8(output.stdout).unwrap().trim().to_owned()
    }

    /// Starts a worker in the background.
    pub(crate) fn worker(&self, arguments: &[&str]) -> Worker {
        self.start(&[&["worker", "--json"], arguments].concat())
    }

    /// Starts the binary in the background.
    pub(crate) fn start(&self, arguments: &[&str]) -> Worker {
        let mut command = self.command(arguments);
        Worker(Some(command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap()))
    }

    /// Waits until `holds` sees what it wants in the answer to `arguments`.
    #[track_caller]
    pub(crate) fn eventually(&self, arguments: &[&str], holds: impl Fn(&Value) -> bool) -> Value {
        let deadline = Instant::now() + PATIENCE;
        loop {
            let seen = self.json(arguments);
            if holds(&seen) {
                return seen;
            }
            assert!(Instant::now() < deadline, "{arguments:?} still answers {seen}");
        }
    }

    /// Waits until a file is there, and reads it.
    #[track_caller]
    pub(crate) fn appears(&self, name: &str) -> String {
        let deadline = Instant::now() + PATIENCE;
        loop {
            if let Ok(text) = std::fs::read_to_string(self.path(name)) {
                return text;
            }
            assert!(Instant::now() < deadline, "`{name}` never appeared");
            std::thread::yield_now();
        }
    }

    pub(crate) fn exists(&self, name: &str) -> bool {
        Path::exists(&self.path(name))
    }
}

/// Runs a command to its end, which it must reach in time.
#[track_caller]
fn ended(mut command: Command) -> Output {
    let child = command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
    let pid = i32::try_from(child.id()).ok().and_then(Pid::from_raw).unwrap();
    let (tell, told) = sync_channel(1);
    std::thread::spawn(move || tell.send(child.wait_with_output()));
    match told.recv_timeout(PATIENCE) {
        Ok(output) => output.unwrap(),
        Err(_) => {
            kill_process(pid, Signal::KILL).unwrap();
            panic!("{command:?} does not end: {:?}", told.recv().unwrap());
        }
    }
}

/// A worker process, killed when the test ends before it does.
pub(crate) struct Worker(Option<Child>);

impl Worker {
    fn child(&mut self) -> &mut Child {
        self.0.as_mut().unwrap()
    }

    pub(crate) fn signal(&mut self, signal: Signal) {
        let pid = i32::try_from(self.child().id()).ok().and_then(Pid::from_raw).unwrap();
        kill_process(pid, signal).unwrap();
    }

    /// Waits for the first line on standard error that holds `words`. What it says later is read and dropped.
    #[cfg(feature = "metrics")]
    #[track_caller]
    pub(crate) fn says(&mut self, words: &'static str) -> String {
        let stderr = self.child().stderr.take().unwrap();
        let (tell, told) = sync_channel(1);
        std::thread::spawn(move || {
            for line in BufReader::new(stderr).lines().map_while(Result::ok) {
                if line.contains(words) {
                    let _first = tell.try_send(line);
                }
            }
        });
        told.recv_timeout(PATIENCE).unwrap_or_else(|_| panic!("it never says `{words}`"))
    }

    /// Waits for its end.
    pub(crate) fn wait(mut self) -> (ExitStatus, String, String) {
        let output = self.0.take().unwrap().wait_with_output().unwrap();
        let text = |bytes| String::from_utf8(bytes).unwrap();
        (output.status, text(output.stdout), text(output.stderr))
    }

    /// Asks it to drain, waits for its end, and returns its report.
    #[track_caller]
    pub(crate) fn drain(mut self) -> Value {
        self.signal(Signal::TERM);
        let (status, stdout, stderr) = self.wait();
        assert_eq!(status.code(), Some(0), "{stdout}{stderr}");
        serde_json::from_str(&stdout).unwrap()
    }
}

impl Drop for Worker {
    fn drop(&mut self) {
        if let Some(mut child) = self.0.take() {
            let _ended = child.kill();
            let _status = child.wait();
        }
    }
}

/// Feeds standard input to a command and waits for its end.
pub(crate) fn with_input(mut command: Command, input: &str) -> Output {
    let mut child =
        command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
    child.stdin.take().unwrap().write_all(input.as_bytes()).unwrap();
    child.wait_with_output().unwrap()
}

/// The text with ids, moments and seconds replaced by their names.
fn filtered(text: &str) -> String {
    let mut out = String::new();
    let mut rest = text;
    while let Some(first) = rest.chars().next() {
        let found = [(uuid as fn(&str) -> Option<usize>, "ID"), (moment, "TIME"), (seconds, "N.NN")];
        let fresh = !out.ends_with(|c: char| c.is_ascii_alphanumeric());
        match found.into_iter().find_map(|(length, name)| Some((length(rest).filter(|_| fresh)?, name))) {
            Some((length, name)) => {
                out.push_str(name);
                rest = &rest[length..];
            }
            None => {
                out.push(first);
                rest = &rest[first.len_utf8()..];
            }
        }
    }
    out
}

fn shaped(text: &str, shape: &str) -> Option<usize> {
    let fits = |(byte, shape): (u8, u8)| match shape {
        b'x' => byte.is_ascii_hexdigit(),
        b'9' => byte.is_ascii_digit(),
        exact => byte == exact,
    };
    (text.len() >= shape.len() && text.bytes().zip(shape.bytes()).all(fits)).then_some(shape.len())
}

fn uuid(text: &str) -> Option<usize> {
    shaped(text, "xxxxxxxx-xxxx-xxxx-xxxx-xxxxxxxxxxxx")
}

fn moment(text: &str) -> Option<usize> {
    let start = shaped(text, "9999-99-99T99:99:99")?;
    let end = text[start..].find('Z')?;
    text.as_bytes()[start..start + end]
        .iter()
        .all(|b| *b == b'.' || b.is_ascii_digit())
        .then_some(start + end + 1)
}

/// `1.23`, as times are printed.
fn seconds(text: &str) -> Option<usize> {
    let digits = text.bytes().take_while(u8::is_ascii_digit).count();
    let after = text[digits..].strip_prefix('.')?.bytes().take_while(u8::is_ascii_digit).count();
    (digits > 0 && after == 2).then_some(digits + 3)
}

#[test]
fn what_changes_from_run_to_run_is_filtered() {
    let text = "main:0192f0c1-2345-7abc-8def-0123456789ab at 2026-01-31T09:30:00.123456Z took 12.34s, x-1.5";
    assert_eq!(filtered(text), "main:ID at TIME took N.NNs, x-1.5");
}
