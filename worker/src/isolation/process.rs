//! A process group, seen and ended from outside.

use std::io;

use rustix::process::{Pid, Signal, kill_process_group};

/// The group of one child. It is killed when this is dropped.
#[derive(Debug)]
pub(super) struct Group(Pid);

/// What a process group holds.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(super) struct Usage {
    pub(super) resident_bytes: u64,
    pub(super) processes: usize,
}

impl Group {
    /// The group that the process `id` leads, where there is such a process.
    pub(super) fn led_by(id: u32) -> Option<Self> {
        i32::try_from(id).ok().and_then(Pid::from_raw).map(Self)
    }

    /// Ends every process of the group, at once.
    ///
    /// To be called before the leader is waited for, or right after, while its number cannot have passed to another.
    pub(super) fn kill(&self) {
        // There is nothing to do about a group that is already gone.
        let _gone = kill_process_group(self.0, Signal::KILL);
    }

    /// What the group holds now.
    ///
    /// # Errors
    /// Those of reading `/proc`.
    pub(super) async fn usage(&self) -> io::Result<Usage> {
        let group = self.0.as_raw_nonzero().get();
        tokio::task::spawn_blocking(move || usage(group)).await?
    }
}

impl Drop for Group {
    fn drop(&mut self) {
        self.kill();
    }
}

#[cfg(target_os = "linux")]
fn usage(group: i32) -> io::Result<Usage> {
    let page_bytes = rustix::param::page_size() as u64;
    let mut usage = Usage::default();
    for entry in std::fs::read_dir("/proc")? {
        let entry = entry?;
        if !entry.file_name().as_encoded_bytes()[0].is_ascii_digit() {
            continue;
        }
        // A process may end between the listing and the look at it.
        let Ok(stat) = std::fs::read_to_string(entry.path().join("stat")) else { continue };
        if let Some((_, resident_pages)) = parse_stat(&stat).filter(|(found, _)| *found == group) {
            usage.processes += 1;
            usage.resident_bytes += resident_pages * page_bytes;
        }
    }
    Ok(usage)
}

#[cfg(not(target_os = "linux"))]
fn usage(_group: i32) -> io::Result<Usage> {
    Ok(Usage { resident_bytes: 0, processes: 1 })
}

/// The process group and the resident pages in a line of `/proc/PID/stat`.
#[cfg(target_os = "linux")]
fn parse_stat(stat: &str) -> Option<(i32, u64)> {
    // The name of the program is in parentheses and may hold anything, further parentheses included.
    let (_, fields) = stat.rsplit_once(')')?;
    let mut fields = fields.split_ascii_whitespace();
    let group = fields.nth(2)?.parse().ok()?;
    let resident_pages = fields.nth(18)?.parse().ok()?;
    Some((group, resident_pages))
}

#[cfg(all(test, target_os = "linux"))]
mod tests {
    use super::*;

    #[test]
    fn a_stat_line_is_read_whatever_the_program_is_called() {
        let stat = "42 (a) b (c)) S 1 77 42 0 -1 4194304 100 0 0 0 1 2 0 0 20 0 1 0 500 9999 123 18446744073709551615";
        assert_eq!(parse_stat(stat), Some((77, 123)));
        assert_eq!(parse_stat("42 (x"), None);
    }

    #[test]
    fn our_own_group_holds_memory() {
        let group = rustix::process::getpgrp().as_raw_nonzero().get();
        let usage = usage(group).unwrap();
        assert!(usage.processes >= 1 && usage.resident_bytes > 100_000, "{usage:?}");
    }
}
