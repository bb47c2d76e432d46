//! What the operating system says of this process, under the names that every exporter uses. Linux only; elsewhere the
//! page leaves these out.

use std::fs;

use taskport_worker::metrics::{Kind, Metric, Page};

pub(super) fn write(page: &mut Page) {
    page.metric(&BUILD).add(&[env!("CARGO_PKG_VERSION")], 1);
    for (metric, number) in
        [(&START, started_at()), (&CPU, cpu_seconds()), (&MEMORY, memory_bytes()), (&FILES, open_files())]
    {
        if let Some(number) = number {
            page.metric(metric).add(&[], number);
        }
    }
}

/// A number of `/proc/self/stat`, counted as its manual page does.
fn stat(field: usize) -> Option<u64> {
    // The first fields are the id and the name, and only the name can hold spaces and brackets.
    let text = fs::read_to_string("/proc/self/stat").ok()?;
    let (_, rest) = text.rsplit_once(')')?;
    rest.split_whitespace().nth(field - 3)?.parse().ok()
}

fn started_at() -> Option<f64> {
    let text = fs::read_to_string("/proc/stat").ok()?;
    let booted_at: u64 = text.lines().find_map(|line| line.strip_prefix("btime "))?.trim().parse().ok()?;
    Some(booted_at as f64 + ticks(stat(22)?))
}

fn cpu_seconds() -> Option<f64> {
    Some(ticks(stat(14)? + stat(15)?))
}

fn memory_bytes() -> Option<f64> {
    let text = fs::read_to_string("/proc/self/statm").ok()?;
    let pages: u64 = text.split_whitespace().nth(1)?.parse().ok()?;
    Some((pages * rustix::param::page_size() as u64) as f64)
}

fn open_files() -> Option<f64> {
    // The directory is open while it is read.
    Some(fs::read_dir("/proc/self/fd").ok()?.count().saturating_sub(1) as f64)
}

fn ticks(ticks: u64) -> f64 {
    ticks as f64 / rustix::param::clock_ticks_per_second() as f64
}

const BUILD: Metric = Metric {
    name: "taskport_build_info",
    kind: Kind::Gauge,
    labels: &["version"],
    help: "1, with the version of Taskport.",
};
const START: Metric = Metric {
    name: "process_start_time_seconds",
    kind: Kind::Gauge,
    labels: &[],
    help: "When the process started, in seconds since 1970.",
};
const CPU: Metric = Metric {
    name: "process_cpu_seconds_total",
    kind: Kind::Counter,
    labels: &[],
    help: "Processor time the process has used.",
};
const MEMORY: Metric = Metric {
    name: "process_resident_memory_bytes",
    kind: Kind::Gauge,
    labels: &[],
    help: "Memory of the process that is in use.",
};
const FILES: Metric =
    Metric { name: "process_open_fds", kind: Kind::Gauge, labels: &[], help: "Files the process has open." };

pub(super) const METRICS: &[Metric] = &[BUILD, START, CPU, MEMORY, FILES];

#[cfg(all(test, target_os = "linux"))]
mod tests {
    use super::*;

    #[test]
    fn this_process_has_started_uses_memory_and_has_files_open() {
        let day = 86_400.0;
        assert!(started_at().unwrap() > 20_000.0 * day, "{:?}", started_at());
        assert!(memory_bytes().unwrap() > 100_000.0, "{:?}", memory_bytes());
        assert!(open_files().unwrap() >= 3.0, "{:?}", open_files());
        assert!(cpu_seconds().unwrap() >= 0.0);
    }
}
