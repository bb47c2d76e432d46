//! The page for Prometheus, scraped from a worker process.

use std::collections::{BTreeMap, BTreeSet};
use std::io::{Read, Write};
use std::net::TcpStream;
use std::time::Instant;

use rustix::process::Signal;

use crate::sandbox::{PATIENCE, Sandbox, Worker};

const SPEC: &str = include_str!("../../../../specs/metrics.md");

/// One answer over HTTP.
#[derive(Debug)]
struct Answer {
    status: u16,
    head: String,
    body: String,
}

/// The address in what a worker says of its metrics.
fn address(worker: &mut Worker) -> String {
    let line = worker.says("metrics are served at http");
    let (_, rest) = line.split_once("http://").unwrap();
    rest.strip_suffix("/metrics").unwrap().to_owned()
}

fn ask(address: &str, request_line: &str) -> Answer {
    send(address, &format!("{request_line} HTTP/1.1\r\nhost: {address}\r\nconnection: close\r\n\r\n"))
}

fn send(address: &str, request: &str) -> Answer {
    let mut stream = TcpStream::connect(address).unwrap();
    stream.set_read_timeout(Some(PATIENCE)).unwrap();
    stream.write_all(request.as_bytes()).unwrap();
    let mut text = String::new();
    stream.read_to_string(&mut text).unwrap();
    let (head, body) = text.split_once("\r\n\r\n").unwrap_or_else(|| panic!("no answer: {text}"));
    let status = head.split(' ').nth(1).unwrap().parse().unwrap();
    Answer { status, head: head.to_ascii_lowercase(), body: body.to_owned() }
}

/// A page, read by the letter: every sample by its name and labels.
#[derive(Debug)]
struct Page {
    kinds: BTreeMap<String, String>,
    samples: BTreeMap<String, f64>,
}

impl Page {
    fn scrape(address: &str) -> Self {
        let answer = ask(address, "GET /metrics");
        assert_eq!(answer.status, 200, "{answer:?}");
        assert!(answer.head.contains("content-type: text/plain; version=0.0.4"), "{}", answer.head);
        Self::parse(&answer.body)
    }

    fn parse(text: &str) -> Self {
        let mut page = Self { kinds: BTreeMap::new(), samples: BTreeMap::new() };
        let mut helped = BTreeSet::new();
        let mut current = String::new();
        assert!(text.ends_with('\n'));
        for line in text.lines() {
            if let Some(help) = line.strip_prefix("# HELP ") {
                let (name, help) = help.split_once(' ').unwrap();
                assert!(!help.is_empty() && helped.insert(name.to_owned()), "{line}");
                name.clone_into(&mut current);
            } else if let Some(kind) = line.strip_prefix("# TYPE ") {
                let (name, kind) = kind.split_once(' ').unwrap();
                assert_eq!(name, current, "the type does not follow the help");
                assert!(["counter", "gauge", "histogram"].contains(&kind), "{line}");
                assert!(page.kinds.insert(name.to_owned(), kind.to_owned()).is_none(), "twice: {line}");
            } else {
                page.sample(line, &current);
            }
        }
        assert_eq!(helped, page.kinds.keys().cloned().collect());
        page.check_histograms();
        page
    }

    fn sample(&mut self, line: &str, current: &str) {
        let (series, number) = line.rsplit_once(' ').unwrap_or_else(|| panic!("no sample: {line}"));
        let name = series.split('{').next().unwrap();
        let base = match self.kinds.get(current).map(String::as_str) {
            Some("histogram") => ["_bucket", "_sum", "_count"].iter().find_map(|s| name.strip_suffix(s)),
            Some(_) => Some(name),
            None => None,
        };
        assert_eq!(base, Some(current), "a sample outside its metric: {line}");
        if let Some(labels) = series.strip_prefix(name).filter(|labels| !labels.is_empty()) {
            let labels = labels.strip_prefix('{').and_then(|l| l.strip_suffix("\"}")).expect(line);
            let mut seen = BTreeSet::new();
            for label in labels.split("\",") {
                let (key, value) = label.split_once("=\"").expect(line);
                assert!(key.bytes().all(|b| b.is_ascii_lowercase() || b == b'_'), "{line}");
                assert!(!value.contains(['"', '\n', '\\']), "{line}");
                assert!(seen.insert(key), "{line}");
            }
        }
        let number: f64 = number.parse().unwrap_or_else(|_| panic!("no number: {line}"));
        assert!(number >= 0.0, "{line}");
        assert!(self.samples.insert(series.to_owned(), number).is_none(), "twice: {line}");
    }

    /// Buckets never fall, and the last holds what the count says.
    fn check_histograms(&self) {
        for (series, count) in &self.samples {
            let Some((name, labels)) = series.split_once("_count") else { continue };
            if self.kinds.get(name).is_none_or(|kind| kind != "histogram") {
                continue;
            }
            let labels = labels.trim_matches(['{', '}']);
            let inf = [labels, "le=\"+Inf\""].iter().filter(|l| !l.is_empty()).copied().collect::<Vec<_>>();
            assert_eq!(
                self.samples.get(&format!("{name}_bucket{{{}}}", inf.join(","))),
                Some(count),
                "{series}"
            );
            let start = format!("{name}_bucket{{{labels}");
            let mut bounds: Vec<(f64, f64)> = (self.samples.iter())
                .filter(|(series, _)| series.starts_with(&start))
                .map(|(series, number)| {
                    let bound = series.rsplit_once("le=\"").unwrap().1.trim_end_matches("\"}");
                    (bound.trim_start_matches('+').parse().unwrap(), *number)
                })
                .collect();
            bounds.sort_by(|left, right| left.0.total_cmp(&right.0));
            assert!(bounds.is_sorted_by(|left, right| left.1 <= right.1), "{series}: {bounds:?}");
        }
    }

    #[track_caller]
    fn number(&self, series: &str) -> f64 {
        *self.samples.get(series).unwrap_or_else(|| panic!("no {series} in {:#?}", self.samples))
    }
}

// proves R-401, R-402
#[test]
fn a_scrape_counts_exactly_the_jobs_that_were_run() {
    let sandbox = Sandbox::empty();
    sandbox.write("taskport.toml", TASKS);
    let mut worker = sandbox.worker(&["--metrics", "127.0.0.1:0", "--concurrency", "3"]);
    let address = address(&mut worker);
    let mut jobs: Vec<String> = (0..7).map(|n| sandbox.submit(&["echo", &format!("n={n}")])).collect();
    jobs.extend((0..2).map(|_| sandbox.submit(&["fail"])));
    let wait: Vec<&str> = ["job", "wait"].into_iter().chain(jobs.iter().map(String::as_str)).collect();
    assert_eq!(sandbox.run(&wait).code, 1, "two of them fail");

    let page = Page::scrape(&address);
    let of =
        |name: &str, more: &str, task: &str| format!("{name}{{task=\"{task}\",queue=\"default\"{more}}}");
    let ended = |task: &str, outcome: &str| {
        page.number(&of("taskport_attempts_ended_total", &format!(",outcome=\"{outcome}\""), task))
    };
    assert_eq!(page.number(&of("taskport_attempts_started_total", "", "echo")), 7.0);
    assert_eq!(page.number(&of("taskport_attempts_started_total", "", "fail")), 4.0);
    assert_eq!(
        (ended("echo", "succeeded"), ended("echo", "failed"), ended("echo", "retried")),
        (7.0, 0.0, 0.0)
    );
    assert_eq!(
        (ended("fail", "succeeded"), ended("fail", "failed"), ended("fail", "retried")),
        (0.0, 2.0, 2.0)
    );
    assert_eq!(page.number(&of("taskport_attempt_failures_total", ",kind=\"error\"", "fail")), 4.0);
    assert_eq!(page.number(&of("taskport_attempts_running", "", "echo")), 0.0);
    assert_eq!(page.number(&of("taskport_attempt_duration_seconds_count", "", "echo")), 7.0);
    assert_eq!(page.number(&of("taskport_job_wait_seconds_count", "", "fail")), 2.0);
    assert_eq!(page.number("taskport_worker_slots"), 3.0);
    assert_eq!(page.number("taskport_claim_jobs_sum"), 11.0);
    assert_eq!(page.number("taskport_outcomes_refused_total"), 0.0);
    let queue = |state: &str| {
        page.number(&format!("taskport_queue_jobs{{backend=\"main\",queue=\"default\",state=\"{state}\"}}"))
    };
    assert_eq!(
        (queue("succeeded"), queue("failed"), queue("queued"), queue("running")),
        (7.0, 2.0, 0.0, 0.0)
    );
    assert_eq!(page.number("taskport_queue_oldest_age_seconds{backend=\"main\",queue=\"default\"}"), 0.0);
    assert_eq!(page.number("taskport_backend_up{backend=\"main\"}"), 1.0);
    for metric in page.kinds.keys() {
        assert!(SPEC.contains(&format!("| `{metric}` |")), "{metric} is not in the spec");
    }
    assert!(page.number("process_open_fds") > 3.0);
    let report = worker.drain();
    assert_eq!((&report["succeeded"], &report["failed"]), (&7.into(), &4.into()));
}

/// A task that ends well, and one that fails each of its two attempts.
const TASKS: &str = r#"
[tasks.echo]
kind = "exec"
command = ["cat"]
output = "json"

[tasks.fail]
kind = "exec"
command = "exit 3"
shell = true
max_attempts = 2
backoff = "fixed(1ms)"
"#;

/// A task that runs until a file is there.
const GATED: &str = r#"
[tasks.gated]
kind = "exec"
command = "touch started; while [ ! -e go ]; do :; done"
shell = true
"#;

// proves R-406
#[test]
fn a_worker_that_drains_is_alive_and_not_ready() {
    let sandbox = Sandbox::empty();
    sandbox.write("taskport.toml", &format!("[worker]\nmetrics = \"127.0.0.1:0\"\n{GATED}"));
    let mut worker = sandbox.worker(&["--concurrency", "2"]);
    let address = address(&mut worker);
    sandbox.submit(&["gated", "--id", "running"]);
    sandbox.appears("started");
    let ready = ask(&address, "GET /readyz");
    assert_eq!((ready.status, ready.body.as_str()), (200, "ready\n"));
    let running = "taskport_attempts_running{task=\"gated\",queue=\"default\"}";
    assert_eq!(Page::scrape(&address).number(running), 1.0);

    worker.signal(Signal::TERM);
    let deadline = Instant::now() + PATIENCE;
    loop {
        let ready = ask(&address, "GET /readyz");
        if (ready.status, ready.body.as_str()) == (503, "draining\n") {
            break;
        }
        assert!(Instant::now() < deadline, "{ready:?}");
    }
    assert_eq!(ask(&address, "GET /healthz").status, 200);
    assert_eq!(Page::scrape(&address).number(running), 1.0, "what runs can still be watched");
    sandbox.write("go", "");
    let (status, _, _) = worker.wait();
    assert_eq!(status.code(), Some(0));
    assert!(TcpStream::connect(&address).is_err(), "the server ends with the worker");
}

// proves R-405
#[test]
fn only_what_is_served_is_answered() {
    let sandbox = Sandbox::with_tasks();
    let mut worker = sandbox.worker(&["--metrics", "127.0.0.1:0"]);
    let address = address(&mut worker);
    for (request, status) in [
        ("GET /healthz", 200),
        ("HEAD /healthz", 200),
        ("GET /metrics?name=x", 200),
        ("GET /", 404),
        ("GET /metrics/", 404),
        ("POST /metrics", 405),
        ("DELETE /healthz", 405),
        ("PUT /else", 404),
    ] {
        assert_eq!(ask(&address, request).status, status, "{request}");
    }
    assert!(ask(&address, "POST /metrics").head.contains("\r\nallow: get, head"));
    let head = ask(&address, "HEAD /metrics");
    assert!(head.body.is_empty() && head.head.contains("content-length: "), "{head:?}");
    let large = format!("GET /healthz HTTP/1.1\r\nx: {}\r\n\r\n", "x".repeat(40 << 10));
    assert_eq!(send(&address, &large).status, 431);
    assert_eq!(send(&address, "nonsense\r\n\r\n").status, 400);
    // A client that says nothing is let go, and others are served meanwhile.
    let mut silent = TcpStream::connect(&address).unwrap();
    assert_eq!(ask(&address, "GET /healthz").status, 200);
    silent.set_read_timeout(Some(PATIENCE)).unwrap();
    let mut nothing = Vec::new();
    let _closed = silent.read_to_end(&mut nothing);
    assert!(nothing.is_empty() || nothing.starts_with(b"HTTP/1.1 408"), "{nothing:?}");
}

// proves R-405
#[test]
fn an_address_that_cannot_be_had_or_is_open_to_others_is_refused() {
    let sandbox = Sandbox::with_tasks();
    let open = sandbox.run(&["worker", "--metrics", "0.0.0.0:0"]);
    assert_eq!(open.code, 2, "{open:?}");
    assert!(
        open.stderr.contains("[E-020]") && open.stderr.contains("hint: take 127.0.0.1"),
        "{}",
        open.stderr
    );
    let bad = sandbox.run(&["worker", "--metrics", "localhost"]);
    assert_eq!(bad.code, 2, "{bad:?}");

    let taken = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let address = taken.local_addr().unwrap().to_string();
    let refused = sandbox.run(&["worker", "--metrics", &address]);
    assert_eq!(refused.code, 2, "{refused:?}");
    let line = refused.stderr.lines().find(|line| line.starts_with("error: ")).unwrap();
    assert!(line.contains("cannot be listened at") && line.contains("[E-049]"), "{}", refused.stderr);

    sandbox.write("taskport.toml", "[worker]\nmetrics = \"0.0.0.0:9464\"\n");
    let checked = sandbox.run(&["check"]);
    assert!(checked.code == 2 && checked.stderr.contains("taskport.toml:2: `worker.metrics`"), "{checked:?}");
    let allowed = "[worker]\nmetrics = \"0.0.0.0:0\"\nmetrics_public = true\n";
    sandbox.write("taskport.toml", &format!("{allowed}{}", TASKS));
    let mut worker = sandbox.worker(&[]);
    let port = address_port(&mut worker);
    assert_eq!(ask(&format!("127.0.0.1:{port}"), "GET /healthz").status, 200);
    drop(worker.drain());
}

fn address_port(worker: &mut Worker) -> String {
    address(worker).rsplit_once(':').unwrap().1.to_owned()
}
