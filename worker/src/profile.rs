//! Resource profiles: what a class of tasks may use.

use std::sync::Arc;
use std::time::Duration;

use taskport_abstraction::text::glob_matches;
use taskport_abstraction::{Error, Result, TaskName, codes};

/// What a class of tasks may use in one worker. A task belongs to the first profile that names it.
///
/// `concurrency` and `rate_limit` are shared by all tasks of the profile; the other limits hold for each attempt.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Profile {
    /// Its name, for messages.
    pub name: Arc<str>,
    /// The tasks it is for, as names in which `*` stands for any run of characters.
    pub tasks: Vec<String>,
    /// How many attempts may run at once. At least 1.
    pub concurrency: Option<usize>,
    /// Whether attempts run in a child process of their own.
    pub isolation: Isolation,
    /// How many bytes of memory the process group of an attempt may hold. Needs [`Isolation::Process`].
    pub memory_bytes: Option<u64>,
    /// How long one attempt may take before it is stopped.
    pub time_limit: Option<Duration>,
    /// How many attempts may start in a period.
    pub rate_limit: Option<StartRate>,
}

impl Profile {
    /// A profile for `tasks` that limits nothing.
    pub fn new(name: impl Into<Arc<str>>, tasks: impl IntoIterator<Item = impl Into<String>>) -> Self {
        Self {
            name: name.into(),
            tasks: tasks.into_iter().map(Into::into).collect(),
            concurrency: None,
            isolation: Isolation::None,
            memory_bytes: None,
            time_limit: None,
            rate_limit: None,
        }
    }

    pub(crate) fn applies_to(&self, task: &TaskName) -> bool {
        self.tasks.iter().any(|glob| glob_matches(glob, task.as_str()))
    }

    pub(crate) fn check(&self) -> Result<()> {
        let problem = if self.concurrency == Some(0) {
            "a concurrency of 0 would never let an attempt run"
        } else if self.rate_limit.is_some_and(|rate| rate.count == 0 || rate.period.is_zero()) {
            "a rate limit of 0 would never let an attempt run"
        } else if self.rate_limit.is_some_and(|rate| rate.count > StartRate::COUNT_MAX) {
            "a rate limit counts at most 1,000,000 starts in a period"
        } else if self.time_limit.is_some_and(|limit| limit.is_zero()) {
            "a time limit of 0 would stop every attempt"
        } else if self.memory_bytes.is_some() && !cfg!(target_os = "linux") {
            "a memory limit needs Linux, where a process group can be watched from outside"
        } else {
            return Ok(());
        };
        Err(Error::new(
            &codes::CONFIG_VALUE,
            "start worker",
            format!("resource profile `{}`: {problem}", self.name),
        ))
    }
}

/// Where the attempts of a profile's tasks run.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
pub enum Isolation {
    /// Where the task declares.
    #[default]
    None,
    /// In a child process that can be killed at its limits.
    Process,
}

/// At most `count` starts in each `period`, in this worker.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct StartRate {
    /// How many attempts may start. At most [`StartRate::COUNT_MAX`].
    pub count: u32,
    /// In how long.
    pub period: Duration,
}

impl StartRate {
    /// The largest count: the worker remembers as many starts.
    pub const COUNT_MAX: u32 = 1_000_000;
}

/// The globs of `profiles` that no task of `tasks` matches, each with its profile's name: probably typing errors.
pub fn unmatched_globs<'p>(profiles: &'p [Profile], tasks: &[TaskName]) -> Vec<(&'p str, &'p str)> {
    let matches = |glob: &str| tasks.iter().any(|task| glob_matches(glob, task.as_str()));
    profiles
        .iter()
        .flat_map(|profile| profile.tasks.iter().map(|glob| (profile.name.as_ref(), glob.as_str())))
        .filter(|(_, glob)| !matches(glob))
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn globs_that_match_nothing_are_named_with_their_profile() {
        let profiles = [Profile::new("heavy", ["render*", "rendr"]), Profile::new("light", ["*"])];
        let tasks = [TaskName::new("render.page").unwrap()];
        assert_eq!(unmatched_globs(&profiles, &tasks), [("heavy", "rendr")]);
    }

    #[test]
    fn limits_that_let_nothing_run_are_refused() {
        let heavy = Profile::new("heavy", ["*"]);
        for bad in [
            Profile { concurrency: Some(0), ..heavy.clone() },
            Profile {
                rate_limit: Some(StartRate { count: 0, period: Duration::from_secs(1) }),
                ..heavy.clone()
            },
            Profile { rate_limit: Some(StartRate { count: 1, period: Duration::ZERO }), ..heavy.clone() },
            Profile { time_limit: Some(Duration::ZERO), ..heavy.clone() },
        ] {
            assert_eq!(bad.check().unwrap_err().code(), &codes::CONFIG_VALUE, "{bad:?}");
        }
        assert!(heavy.check().is_ok());
    }
}
