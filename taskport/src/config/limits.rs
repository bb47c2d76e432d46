//! The ranges of the options, and what they demand of each other.

use std::time::Duration;

use taskport_abstraction::codes;
use taskport_abstraction::text::glob_matches;
use taskport_worker::profile::StartRate;

use super::problem::Problem;
use super::task::CommandLine;
use super::{Action, Config, ExecAction, HttpAction, Isolation, ProfileConfig, TaskConfig, WorkerConfig};

const CONCURRENCY_MAX: usize = 10_000;
const PREFETCH_MAX: usize = 100_000;
const MEMORY_BYTES_MIN: u64 = 16 << 20;
const OUTPUT_BYTES_MAX: u64 = 64 << 20;
const DAY: Duration = Duration::from_secs(24 * 3_600);

/// Checks what types cannot say.
pub(super) fn check(config: &Config) -> Result<(), Problem> {
    check_routing(config)?;
    check_worker(&config.worker)?;
    check_metrics(&config.worker)?;
    check_telemetry(config)?;
    for (name, profile) in &config.worker.profiles {
        check_profile(name, profile)?;
    }
    check_isolation(config)?;
    for (name, task) in &config.tasks {
        check_task(name.as_str(), task)?;
    }
    Ok(())
}

fn check_routing(config: &Config) -> Result<(), Problem> {
    match &config.routing.default {
        Some(name) if !config.backends.contains_key(name) => {
            let known: Vec<&str> = config.backends.keys().map(AsRef::as_ref).collect();
            let message = format!("is `{name}`, and there is no such backend");
            let path = ["routing", "default"];
            Err(Problem::unknown(&codes::UNKNOWN_BACKEND, &path, message, name.as_str(), &known))
        }
        None if config.backends.len() > 1 => {
            let names: Vec<&str> = config.backends.keys().map(AsRef::as_ref).collect();
            Err(Problem::value(&["routing", "default"], "is missing, and there are several backends")
                .hint(format!("one of: {}", names.join(", "))))
        }
        _ => Ok(()),
    }
}

fn check_worker(worker: &WorkerConfig) -> Result<(), Problem> {
    let within = |key: &str, value: usize, min: usize, max: usize| {
        if (min..=max).contains(&value) {
            return Ok(());
        }
        Err(Problem::value(&["worker", key], format!("is {value}, not within {min} to {max}")))
    };
    within("concurrency", worker.concurrency, 1, CONCURRENCY_MAX)?;
    within("prefetch", worker.prefetch, 0, PREFETCH_MAX)?;
    if !(Duration::from_secs(1)..=DAY).contains(&worker.lease) {
        return Err(Problem::value(&["worker", "lease"], "is not within 1s to 1d"));
    }
    if worker.grace > DAY {
        return Err(Problem::value(&["worker", "grace"], "is not within 0s to 1d"));
    }
    if worker.queues.as_ref().is_some_and(Vec::is_empty) {
        return Err(Problem::value(&["worker", "queues"], "is an empty list")
            .hint("leave it out to serve every queue"));
    }
    let printable =
        |name: &String| (1..=255).contains(&name.len()) && name.bytes().all(|b| b.is_ascii_graphic());
    if !worker.name.as_ref().is_none_or(printable) {
        return Err(Problem::value(
            &["worker", "name"],
            "is not 1 to 255 printable ASCII characters without spaces",
        ));
    }
    Ok(())
}

fn check_metrics(worker: &WorkerConfig) -> Result<(), Problem> {
    let Some(address) = worker.metrics else { return Ok(()) };
    if cfg!(not(feature = "metrics")) {
        return Err(Problem::value(&["worker", "metrics"], "is set, and this program was built without it")
            .hint("build with the cargo feature `metrics`"));
    }
    if !worker.metrics_public && !address.ip().is_loopback() {
        let message = "can be reached from other machines, and nothing asks who is there";
        return Err(Problem::value(&["worker", "metrics"], message)
            .hint("take 127.0.0.1, or set `metrics_public = true`"));
    }
    Ok(())
}

fn check_telemetry(config: &Config) -> Result<(), Problem> {
    let telemetry = &config.telemetry;
    let Some(otlp) = &telemetry.otlp else { return Ok(()) };
    if cfg!(not(feature = "otel")) {
        return Err(Problem::value(&["telemetry", "otlp"], "is set, and this program was built without it")
            .hint("build with the cargo feature `otel`"));
    }
    if !is_http(&otlp.shown()) {
        return Err(Problem::value(&["telemetry", "otlp"], "is no http or https address"));
    }
    Ok(())
}

/// Whether an address is for HTTP, as far as can be told before a secret is read.
fn is_http(url: &str) -> bool {
    ["env:", "file:", "http://", "https://"].iter().any(|start| url.starts_with(start))
}

fn check_profile(name: &str, profile: &ProfileConfig) -> Result<(), Problem> {
    let wrong = |key: &str, message: String| Err(Problem::value(&["worker", "profiles", name, key], message));
    if profile.tasks.is_empty() {
        return wrong("tasks", "names no task".into());
    }
    if profile.concurrency.is_some_and(|value| !(1..=CONCURRENCY_MAX).contains(&value)) {
        return wrong("concurrency", format!("is not within 1 to {CONCURRENCY_MAX}"));
    }
    if profile.time_limit.is_some_and(|limit| limit.is_zero()) {
        return wrong("time_limit", "is zero".into());
    }
    if profile.rate_limit.is_some_and(|rate| rate.count > StartRate::COUNT_MAX) {
        return wrong("rate_limit", format!("counts more than {} starts", StartRate::COUNT_MAX));
    }
    match profile.memory {
        Some(bytes) if bytes < MEMORY_BYTES_MIN => wrong("memory", "is less than 16MiB".into()),
        _ => Ok(()),
    }
}

/// A child process knows the tasks of the program's code and no configuration.
fn check_isolation(config: &Config) -> Result<(), Problem> {
    for task in config.tasks.keys() {
        let mut profiles = config.worker.profiles.iter();
        let first =
            profiles.find(|(_, profile)| profile.tasks.iter().any(|glob| glob_matches(glob, task.as_str())));
        if let Some((name, profile)) = first
            && profile.isolation == Isolation::Process
        {
            let message = format!("takes in the task `{task}`, which is declared under `[tasks]`");
            return Err(Problem::value(&["worker", "profiles", name, "isolation"], message).hint(
                "a command runs in a process of its own already; give it a profile without isolation",
            ));
        }
    }
    Ok(())
}

fn check_task(name: &str, task: &TaskConfig) -> Result<(), Problem> {
    if task.options.max_attempts == Some(0) {
        return Err(Problem::value(
            &["tasks", name, "max_attempts"],
            "is 0, and a job needs at least one attempt",
        ));
    }
    if task.options.timeout.is_some_and(|limit| limit.is_zero()) {
        return Err(Problem::value(&["tasks", name, "timeout"], "is zero"));
    }
    let output_max = match &task.action {
        Action::Exec(exec) => {
            check_exec(name, exec)?;
            exec.output_max
        }
        Action::Http(http) => {
            check_http(name, http)?;
            http.output_max
        }
    };
    if !(1..=OUTPUT_BYTES_MAX).contains(&output_max) {
        return Err(Problem::value(&["tasks", name, "output_max"], "is not within 1B to 64MiB"));
    }
    Ok(())
}

fn check_exec(name: &str, exec: &ExecAction) -> Result<(), Problem> {
    let wrong = |message: &str| Problem::value(&["tasks", name, "command"], message);
    match (&exec.command, exec.shell) {
        (CommandLine::Program(words), false) if words.first().is_some_and(|program| !program.is_empty()) => {
            Ok(())
        }
        (CommandLine::Shell(text), true) if !text.trim().is_empty() => Ok(()),
        (CommandLine::Program(_), false) | (CommandLine::Shell(_), true) => Err(wrong("names no program")),
        (CommandLine::Shell(_), false) => Err(wrong("is one text, and it is not for the shell")
            .hint("write a list such as [\"convert\", \"-\"], or set `shell = true`")),
        (CommandLine::Program(_), true) => Err(wrong("is a list, and `shell = true` takes one text")
            .hint("write one text, or leave `shell` out")),
    }
}

fn check_http(name: &str, http: &HttpAction) -> Result<(), Problem> {
    if !is_http(&http.url.shown()) {
        return Err(Problem::value(&["tasks", name, "url"], "is no http or https address"));
    }
    for header in http.headers.keys() {
        let token = |b: u8| b.is_ascii_alphanumeric() || b"!#$%&'*+-.^_`|~".contains(&b);
        if header.is_empty() || !header.bytes().all(token) {
            return Err(Problem::value(&["tasks", name, "headers", header], "is no name of a header"));
        }
    }
    if cfg!(not(feature = "http")) {
        return Err(Problem::value(
            &["tasks", name, "kind"],
            "is `http`, which this program was built without",
        )
        .hint("build with the cargo feature `http`"));
    }
    Ok(())
}
