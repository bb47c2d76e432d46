//! `demo`: the document pipeline.

use std::fs;
use std::path::Path;

use serde_json::Value;

use crate::sandbox::Sandbox;

/// A folder `texts` with so many small files, every fifth a copy of the first.
fn texts(files: usize) -> Sandbox {
    let sandbox = Sandbox::empty();
    fs::create_dir(sandbox.path("texts")).unwrap();
    for n in 0..files {
        let copy = n % 5 == 0;
        let text = if copy { "lease token".to_owned() } else { format!("queue worker{n} ").repeat(n % 40) };
        sandbox.write(&format!("texts/part{}/{n}.md", n / 100), &text);
    }
    sandbox
}

fn read(answer: &Value, field: &str) -> String {
    let path = answer[field].as_str().unwrap_or_else(|| panic!("{answer}"));
    fs::read_to_string(path).unwrap()
}

fn report(answer: &Value) -> Value {
    serde_json::from_str(&read(answer, "report_json")).unwrap()
}

fn names_in(directory: &Path) -> Vec<String> {
    let mut names: Vec<_> = fs::read_dir(directory)
        .unwrap()
        .map(|entry| entry.unwrap().file_name().into_string().unwrap())
        .collect();
    names.sort();
    names
}

#[test]
fn every_job_is_accounted_for_and_the_report_says_what_the_files_hold() {
    let sandbox = texts(50);
    let answer = sandbox.json(&["demo", "texts"]);
    let count = |field: &str| answer[field].as_u64().unwrap_or_else(|| panic!("{answer}"));
    // One job for each file, and one each for scan, merge and report.
    assert_eq!(count("submitted"), 53);
    assert_eq!(count("succeeded") + count("failed") + count("cancelled") + count("expired"), 53);
    assert!(answer["seconds"].as_f64() > Some(0.0) && answer["jobs_per_second"].as_f64() > Some(0.0));
    let report = report(&answer);
    assert_eq!((&report["files"]["read"], &report["languages"][0]["name"]), (&50.into(), &"Markdown".into()));
    assert_eq!(report["duplicates"]["largest"][0]["copies"], 10);
    assert!(read(&answer, "report_html").starts_with("<!DOCTYPE html>"));
}

#[test]
fn people_see_each_step_with_its_time_and_the_account() {
    let ran = texts(5).run(&["demo", "texts"]);
    assert_eq!(ran.code, 0, "{ran:?}");
    for step in ["scan", "analyze", "merge", "report"] {
        assert!(ran.stderr.contains(&format!("✓ {step} ")), "{ran:?}");
    }
    let account = "8 submitted = 8 succeeded + 0 failed + 0 cancelled + 0 expired";
    assert_eq!(ran.stdout.lines().next(), Some(account));
}

#[test]
fn a_second_run_in_the_same_place_gives_the_same_bytes_and_leaves_nothing_else() {
    let sandbox = texts(30);
    // The output lies within what is scanned: it must not count itself.
    let run = || {
        let answer = sandbox.json(&["demo", "texts", "--out", "texts/out"]);
        (read(&answer, "report_json"), read(&answer, "report_html"))
    };
    assert_eq!(run(), run());
    assert_eq!(names_in(&sandbox.path("texts/out")), ["report.html", "report.json"]);
}

#[test]
fn the_number_of_files_is_a_limit_and_an_empty_folder_is_no_failure() {
    let sandbox = texts(20);
    assert_eq!(sandbox.json(&["demo", "texts", "--files", "7"])["submitted"], 10);
    fs::create_dir(sandbox.path("empty")).unwrap();
    let none = sandbox.json(&["demo", "empty"]);
    assert_eq!((&none["submitted"], &none["failed"]), (&3.into(), &0.into()));
    assert_eq!(report(&none)["files"]["listed"], 0);
}

#[test]
fn what_is_no_readable_text_is_counted_and_fails_nothing() {
    let sandbox = texts(0);
    fs::write(sandbox.path("texts/latin1.txt"), b"gr\xf6\xdfe").unwrap();
    fs::write(sandbox.path("texts/binary"), [0; 64]).unwrap();
    fs::write(sandbox.path("texts/empty"), "").unwrap();
    std::os::unix::fs::symlink(sandbox.path("texts"), sandbox.path("texts/loop")).unwrap();
    let answer = sandbox.json(&["demo", "texts"]);
    assert_eq!((&answer["submitted"], &answer["failed"]), (&6.into(), &0.into()));
    let report = report(&answer);
    let files = &report["files"];
    assert_eq!((&files["read"], &files["empty"], &files["not_utf8"]), (&3.into(), &1.into(), &1.into()));
    assert_eq!(report["left_out"]["links"], 1);
}

#[test]
fn a_configured_backend_does_the_same() {
    let sandbox = texts(10);
    let config = r#"
[routing]
default = "main"
[backends.main]
kind = "native"
url = "memory:"
[backends.side]
kind = "native"
url = "sqlite://side.db"
"#;
    sandbox.write("taskport.toml", config);
    // The second time the backend holds the jobs of the first; the account is of this run alone.
    for _ in 0..2 {
        let answer = sandbox.json(&["demo", "texts", "--backend", "side"]);
        assert_eq!((&answer["submitted"], &answer["succeeded"]), (&13.into(), &13.into()), "{answer}");
    }
    assert!(sandbox.path("side.db").exists());
}

#[test]
fn killed_workers_lose_nothing_and_change_no_byte() {
    let sandbox = texts(600);
    let answer = sandbox.json(&["demo", "texts", "--chaos", "--seed", "7"]);
    assert_eq!((&answer["identical"], &answer["seed"]), (&true.into(), &7.into()), "{answer}");
    assert!(answer["kills"].as_u64() >= Some(1), "{answer}");
    assert_eq!((&answer["submitted"], &answer["succeeded"]), (&603.into(), &603.into()));
    assert_eq!(report(&answer)["files"]["read"], 600);
    assert_eq!(names_in(&sandbox.path("taskport-demo")), ["report.html", "report.json"]);
}

#[test]
fn misuse_is_one_line_with_a_code_and_a_remedy() {
    let sandbox = texts(1);
    for (arguments, code, expected) in [
        (&["gone"][..], 2, "is no directory that can be read"),
        (&["texts/part0/0.md"], 2, "is no directory that can be read"),
        (&["texts", "--files", "0"], 2, "0 is not in 1..=1000000"),
        (&["texts", "--seed", "3"], 2, "--chaos"),
        (&["texts", "--chaos", "--backend", "main"], 2, "exclude each other"),
        (&["texts", "--backend", "nowhere"], 2, "nowhere"),
        (&["texts", "--out", "texts/part0/0.md"], 1, "cannot be used"),
    ] {
        let ran = sandbox.run(&[&["demo"], arguments].concat());
        let mut told = ran.stderr.lines();
        let first = told.next().unwrap_or_default();
        assert!(first.contains(expected) && first.contains("[E-"), "{arguments:?}: {ran:?}");
        assert!(ran.stderr.contains("\n\nhint: "), "{arguments:?}: {ran:?}");
        assert_eq!((ran.code, ran.stdout.as_str()), (code, ""), "{arguments:?}");
    }
}

/// How a run ends that does not end by itself. The processes are found where Linux lists them.
#[cfg(target_os = "linux")]
mod ending {
    use std::io::{BufRead, BufReader};
    use std::process::{Child, Stdio};
    use std::time::Instant;

    use rustix::process::{Pid, Signal, kill_process};

    use super::*;
    use crate::sandbox::PATIENCE;

    /// The demo over `texts`, as soon as it has said `words`.
    fn until_it_says(sandbox: &Sandbox, arguments: &[&str], words: &str) -> Child {
        let mut command = sandbox.command(&[&["demo", "texts"], arguments].concat());
        let mut child = command.stdout(Stdio::null()).stderr(Stdio::piped()).spawn().unwrap();
        let mut lines = BufReader::new(child.stderr.take().unwrap()).lines().map(Result::unwrap);
        assert!(lines.any(|line| line.contains(words)), "it never said `{words}`");
        // Whatever it says from now on, it must not wait for a reader.
        std::thread::spawn(move || lines.for_each(drop));
        child
    }

    /// A run with kills over many files, as soon as its first worker has been killed.
    fn in_full_swing(sandbox: &Sandbox) -> Child {
        let out = sandbox.path("out");
        until_it_says(sandbox, &["--chaos", "--out", out.to_str().unwrap()], " killed after ")
    }

    fn signal(child: &Child, signal: Signal) {
        kill_process(Pid::from_child(child), signal).unwrap();
    }

    /// The processes with `path` on their command line.
    fn processes_naming(path: &Path) -> Vec<u32> {
        let path = path.to_str().unwrap().as_bytes();
        let named = |process: &u32| {
            let line = fs::read(format!("/proc/{process}/cmdline")).unwrap_or_default();
            line.windows(path.len()).any(|part| part == path)
        };
        let processes = fs::read_dir("/proc").unwrap();
        let ids = processes.filter_map(|entry| entry.ok()?.file_name().to_str()?.parse().ok());
        ids.filter(named).collect()
    }

    #[test]
    fn an_interrupt_leaves_no_process_and_no_file() {
        let sandbox = texts(3_000);
        let mut child = in_full_swing(&sandbox);
        assert!(processes_naming(&sandbox.path("out")).len() > 1);
        signal(&child, Signal::INT);
        assert_eq!(child.wait().unwrap().code(), Some(1));
        assert_eq!(processes_naming(&sandbox.path("out")), Vec::<u32>::new());
        assert_eq!(names_in(&sandbox.path("out")), Vec::<String>::new());
    }

    #[test]
    fn an_interrupt_cancels_the_run_on_a_configured_backend() {
        let sandbox = texts(3_000);
        let mut child = until_it_says(&sandbox, &["--backend", "main"], "✓ scan");
        signal(&child, Signal::INT);
        assert_eq!(child.wait().unwrap().code(), Some(1));
        assert_eq!(sandbox.json(&["runs", "list"])["runs"][0]["state"], "cancelled");
        let stats = sandbox.json(&["queue", "stats", "demo"]);
        let count = |field: &str| stats["queues"][0][field].as_u64().unwrap_or_else(|| panic!("{stats}"));
        assert!(count("cancelled") > 0, "{stats}");
        assert_eq!(count("submitted"), count("succeeded") + count("cancelled"), "{stats}");
    }

    #[test]
    fn workers_leave_by_themselves_when_the_program_is_killed() {
        let sandbox = texts(3_000);
        let mut child = in_full_swing(&sandbox);
        signal(&child, Signal::KILL);
        child.wait().unwrap();
        let deadline = Instant::now() + PATIENCE;
        while !processes_naming(&sandbox.path("out")).is_empty() {
            assert!(Instant::now() < deadline, "{:?} still work", processes_naming(&sandbox.path("out")));
            std::thread::yield_now();
        }
    }
}
