//! Where each value comes from.

use std::collections::BTreeMap;
use std::fmt;
use std::sync::Arc;

/// Where a value comes from.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Origin {
    /// Nobody set it.
    Default,
    /// A line of a configuration file.
    File {
        /// The file, as it was named.
        file: Arc<str>,
        /// The line, from 1.
        line: u32,
        /// The profile whose table it stands in.
        profile: Option<Arc<str>>,
    },
    /// A variable of the environment.
    Variable {
        /// Its full name.
        name: Arc<str>,
    },
}

impl fmt::Display for Origin {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Default => f.write_str("default"),
            Self::File { file, line, profile: None } => write!(f, "{file}:{line}"),
            Self::File { file, line, profile: Some(profile) } => {
                write!(f, "{file}:{line} (profile {profile})")
            }
            Self::Variable { name } => f.write_str(name),
        }
    }
}

/// The way to a value: one key for each level.
pub(super) type KeyPath = Vec<String>;

/// The origin of every key that somebody set; a later layer replaces an earlier one.
#[derive(Debug, Clone, Default)]
pub(super) struct Origins(BTreeMap<KeyPath, Origin>);

impl Origins {
    /// Notes where the value at `path` comes from, and forgets what was inside the value it replaces.
    pub(super) fn set(&mut self, path: KeyPath, origin: Origin) {
        let inside: Vec<KeyPath> = self
            .0
            .range(path.clone()..)
            .map(|(known, _)| known)
            .take_while(|known| known.starts_with(&path))
            .cloned()
            .collect();
        inside.iter().for_each(|known| {
            self.0.remove(known);
        });
        self.join(path, origin);
    }

    /// Notes where the table at `path` comes from; tables of several layers are joined.
    pub(super) fn join(&mut self, path: KeyPath, origin: Origin) {
        for level in 1..path.len() {
            self.0.entry(path[..level].to_vec()).or_insert_with(|| origin.clone());
        }
        self.0.insert(path, origin);
    }

    /// The origin of the value at `path`, or else of the nearest table around it.
    pub(super) fn find(&self, path: &[String]) -> Option<&Origin> {
        (1..=path.len()).rev().find_map(|level| self.0.get(&path[..level]))
    }

    /// The origin of exactly the value at `path`.
    pub(super) fn get(&self, path: &[String]) -> Option<&Origin> {
        self.0.get(path)
    }
}
