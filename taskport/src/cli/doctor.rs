//! `doctor`: what only this machine can tell.

use std::fs::File;
use std::io::Read;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

use clap::Args;
use rustix::fs::{Access, access};
use rustix::process::{Resource, getrlimit};
use serde::Serialize;

use super::report::Report;
use super::session::Session;
use super::table::Table;
use crate::abstraction::{Clock, SystemClock, Timestamp, codes};
use crate::config::{BackendConfig, Loaded};
use crate::{Error, Result};

/// Look for trouble that only this machine can tell: permissions, file systems, limits, the clock.
#[derive(Debug, Args)]
pub(super) struct Doctor {}

/// With fewer open files a worker with many children or connections runs dry.
const OPEN_FILES_MIN: u64 = 1_024;
/// With less room the database and its log may not fit a busy hour.
const FREE_BYTES_MIN: u64 = 256 << 20;
/// No right clock shows an earlier time than this release was made at: 2026-01-01.
const CLOCK_MIN: Timestamp = Timestamp::from_micros(1_767_225_600_000_000);

/// How bad a finding is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
enum Verdict {
    Ok,
    Warning,
    Failed,
}

/// One finding.
#[derive(Debug, Serialize)]
struct Finding {
    check: String,
    verdict: Verdict,
    detail: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    hint: Option<&'static str>,
}

#[derive(Debug, Default)]
struct Findings(Vec<Finding>);

impl Findings {
    fn ok(&mut self, check: &str, detail: impl Into<String>) {
        self.add(check, Verdict::Ok, detail.into(), None);
    }

    fn warning(&mut self, check: &str, detail: impl Into<String>, hint: &'static str) {
        self.add(check, Verdict::Warning, detail.into(), Some(hint));
    }

    fn failed(&mut self, check: &str, detail: impl Into<String>, hint: &'static str) {
        self.add(check, Verdict::Failed, detail.into(), Some(hint));
    }

    fn add(&mut self, check: &str, verdict: Verdict, detail: String, hint: Option<&'static str>) {
        self.0.push(Finding { check: check.to_owned(), verdict, detail, hint });
    }
}

pub(super) async fn run(session: &Session, _: &Doctor) -> Result<Report> {
    let mut findings = Findings::default();
    program(&mut findings);
    clock(&mut findings, SystemClock.now());
    open_files(&mut findings);
    match session.loaded() {
        Ok(loaded) => {
            configuration(&mut findings, loaded);
            for (name, backend) in &loaded.config.backends {
                if let Some(path) = database_of(backend) {
                    database(&mut findings, &format!("backend `{name}`"), &path);
                }
            }
            health(&mut findings, session, loaded).await;
        }
        Err(error) => {
            findings.failed("configuration", error.to_string(), "`taskport config check` tells more")
        }
    }
    report(session, &findings.0)
}

fn report(session: &Session, findings: &[Finding]) -> Result<Report> {
    #[derive(Serialize)]
    struct Examined<'a> {
        ok: bool,
        findings: &'a [Finding],
    }
    let mut table = Table::new(["check", "verdict", "detail"]);
    for finding in findings {
        let verdict = match finding.verdict {
            Verdict::Ok => "ok",
            Verdict::Warning => "warning",
            Verdict::Failed => "failed",
        };
        table.row([finding.check.clone(), verdict.to_owned(), finding.detail.clone()]);
    }
    let failed = findings.iter().filter(|finding| finding.verdict == Verdict::Failed).count();
    let report = Report::new(table, &Examined { ok: failed == 0, findings })?;
    for finding in findings {
        if let Some(hint) = finding.hint {
            session.terminal.note(format_args!("{}: {hint}", finding.check));
        }
    }
    let failure = Error::new(&codes::CHECK_FAILED, "examine", format!("{failed} of the checks failed"));
    Ok(report.failed((failed > 0).then_some(failure)))
}

fn program(findings: &mut Findings) {
    let kinds: Vec<&str> = crate::backends::KINDS.iter().map(|kind| kind.name).collect();
    let detail = format!("taskport {}, kinds of backends: {}", env!("CARGO_PKG_VERSION"), kinds.join(", "));
    findings.ok("program", detail);
}

fn clock(findings: &mut Findings, now: Timestamp) {
    if now < CLOCK_MIN {
        findings.failed(
            "clock",
            format!("it is set to {now}"),
            "leases, delays and retries go by the clock: set it, and keep it with NTP",
        );
    } else {
        findings.ok("clock", now.to_string());
    }
}

fn open_files(findings: &mut Findings) {
    match getrlimit(Resource::Nofile).current {
        Some(limit) if limit < OPEN_FILES_MIN => {
            findings.warning("open files", format!("the limit is {limit}"), "raise it with `ulimit -n 4096`");
        }
        Some(limit) => findings.ok("open files", format!("the limit is {limit}")),
        None => findings.ok("open files", "there is no limit"),
    }
}

fn configuration(findings: &mut Findings, loaded: &Loaded) {
    let Some(file) = &loaded.file else {
        findings.ok("configuration", "no file: one native backend in taskport.db of this directory");
        return;
    };
    let shown = file.display().to_string();
    match file.metadata() {
        Err(error) => findings.failed("configuration", format!("{shown}: {error}"), "make it readable"),
        // Whoever can write it can have commands run.
        Ok(metadata) if metadata.mode() & 0o002 != 0 => findings.failed(
            "configuration",
            format!("{shown} can be written by everybody"),
            "it names commands that workers run: `chmod o-w` it",
        ),
        Ok(metadata) if metadata.mode() & 0o004 != 0 && holds_secrets(loaded) => findings.warning(
            "configuration",
            format!("{shown} holds a password and can be read by everybody"),
            "write the password as env:NAME or file:PATH, or `chmod o-r` the file",
        ),
        Ok(_) => findings.ok("configuration", shown),
    }
}

/// Whether a value stands in the file that had to be redacted.
fn holds_secrets(loaded: &Loaded) -> bool {
    loaded.entries().iter().any(|entry| entry.value.to_string().contains("[redacted]"))
}

/// The database file of a backend that has one.
fn database_of(backend: &BackendConfig) -> Option<PathBuf> {
    let url = backend.options.get("url")?.as_str()?.strip_prefix("sqlite://")?;
    let path = url.split_once('?').map_or(url, |(path, _)| path);
    (!path.is_empty()).then(|| PathBuf::from(path))
}

fn database(findings: &mut Findings, check: &str, path: &Path) {
    let folder = match path.parent() {
        Some(folder) if !folder.as_os_str().is_empty() => folder,
        _ => Path::new("."),
    };
    let (file, within) = (path.display(), folder.display());
    if !folder.is_dir() {
        findings.failed(check, format!("the directory {within} does not exist"), "create it");
        return;
    }
    if access(folder, Access::WRITE_OK | Access::EXEC_OK).is_err() {
        let detail = format!("the directory {within} cannot be written");
        findings.failed(
            check,
            detail,
            "the log of the database is kept beside it: give this user the directory",
        );
        return;
    }
    if path.exists() && access(path, Access::READ_OK | Access::WRITE_OK).is_err() {
        findings.failed(check, format!("{file} cannot be read and written"), "give this user the file");
        return;
    }
    if path.exists() && !is_database(path) {
        findings.failed(check, format!("{file} is no database"), "name another file, or move this one away");
        return;
    }
    let state =
        if path.exists() { "may be read and written by this user" } else { "will be created on first use" };
    findings.ok(check, format!("{file} {state}"));
    file_system(findings, check, folder);
}

/// Whether it is a file that is empty or begins as a database does. Whose database it is, its backend tells.
fn is_database(path: &Path) -> bool {
    const HEAD: &[u8] = b"SQLite format 3\0";
    // Opening a pipe would wait for its other end.
    if !path.is_file() {
        return false;
    }
    let mut head = Vec::new();
    let read = File::open(path).and_then(|file| file.take(HEAD.len() as u64).read_to_end(&mut head));
    read.is_ok() && (head.is_empty() || head == HEAD)
}

fn file_system(findings: &mut Findings, check: &str, folder: &Path) {
    let Ok(facts) = rustix::fs::statfs(folder) else { return };
    match kind_of(facts.f_type as u64) {
        FileSystem::Local => {}
        FileSystem::Network(name) => findings.warning(
            check,
            format!("{} is on {name}", folder.display()),
            "locks on network file systems are not reliable: keep the database on a local disk",
        ),
        FileSystem::Memory => findings.warning(
            check,
            format!("{} is in memory", folder.display()),
            "jobs do not outlive a restart of the machine: keep the database on a disk",
        ),
    }
    let free = facts.f_bavail.saturating_mul(facts.f_bsize as u64);
    if free < FREE_BYTES_MIN {
        let detail = format!("{} MiB are free for {}", free >> 20, folder.display());
        findings.warning(check, detail, "make room before the disk is full");
    }
}

#[derive(Debug, PartialEq, Eq)]
enum FileSystem {
    Local,
    Network(&'static str),
    Memory,
}

/// By the magic numbers of statfs(2).
fn kind_of(magic: u64) -> FileSystem {
    match magic & 0xffff_ffff {
        0x6969 => FileSystem::Network("NFS"),
        0xff53_4d42 | 0xfe53_4d42 | 0x517b => FileSystem::Network("SMB"),
        0x0102_1997 => FileSystem::Network("9p"),
        0x00c3_6400 => FileSystem::Network("Ceph"),
        0x6573_5546 => FileSystem::Network("FUSE, which may be a network"),
        0x0102_1994 | 0x8584_58f6 => FileSystem::Memory,
        _ => FileSystem::Local,
    }
}

/// Asks the backends themselves, unless that would create a database only to look at it.
async fn health(findings: &mut Findings, session: &Session, loaded: &Loaded) {
    let databases = loaded.config.backends.values().filter_map(database_of);
    if databases.into_iter().any(|path| !path.exists()) {
        return;
    }
    let port = match session.port().await {
        Ok(port) => port,
        Err(error) => {
            findings.failed(
                "backends",
                error.to_string(),
                "`taskport check` and `taskport backend check` tell more",
            );
            return;
        }
    };
    for backend in port.backends() {
        let check = format!("backend `{}`", backend.name());
        match backend.health().await {
            Ok(health) if health.degraded.is_empty() => findings.ok(&check, health.version),
            Ok(health) => {
                let detail = format!("{}: {}", health.version, health.degraded.join("; "));
                findings.warning(&check, detail, "its promises are weaker than they could be");
            }
            Err(error) => findings.failed(&check, error.to_string(), "`taskport backend check` tells more"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_wrong_clock_is_found() {
        let mut findings = Findings::default();
        clock(&mut findings, Timestamp::from_micros(0));
        clock(&mut findings, CLOCK_MIN);
        let verdicts: Vec<_> = findings.0.iter().map(|finding| finding.verdict).collect();
        assert_eq!(verdicts, [Verdict::Failed, Verdict::Ok]);
    }

    #[test]
    fn the_database_of_a_backend_is_read_from_its_url() {
        let check = |url: &str, expected: Option<&str>| {
            let backend = BackendConfig::new("native").option("url", url);
            assert_eq!(database_of(&backend), expected.map(PathBuf::from), "{url}");
        };
        check("sqlite://taskport.db", Some("taskport.db"));
        check("sqlite:///var/lib/t.db?x=1", Some("/var/lib/t.db"));
        check("memory:", None);
    }

    #[test]
    fn a_directory_that_does_not_exist_is_found() {
        let mut findings = Findings::default();
        database(&mut findings, "x", Path::new("/nonexistent/folder/t.db"));
        assert_eq!(findings.0[0].verdict, Verdict::Failed);
    }

    #[test]
    fn network_file_systems_are_told_from_local_ones() {
        assert_eq!(kind_of(0xef53), FileSystem::Local);
        assert_eq!(kind_of(0x6969), FileSystem::Network("NFS"));
        assert_eq!(kind_of(0xffff_ffff_ff53_4d42), FileSystem::Network("SMB"));
    }
}
