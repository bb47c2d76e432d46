//! What a backend of kind `native` is configured with.

use std::path::PathBuf;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use taskport_abstraction::{Error, Result, codes};

use crate::retention::RetentionConfig;

/// The configuration of a native backend.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct NativeConfig {
    /// Where the jobs are kept: `sqlite://FILE` (relative to the working directory, or absolute with a third slash)
    /// or `memory:`. In memory, everything is gone when the process ends. Since v0.1.
    pub url: String,
    /// What a commit waits for. Default `full`. Since v0.1.
    #[serde(default)]
    pub synchronous: Synchronous,
    /// The file is the database of your own program, in which jobs are kept in tables named `taskport_…`, so that a
    /// transaction of yours can submit jobs. The file is switched to WAL mode. Default `false`: a file of another
    /// program is refused and left as it is. Since v0.1.
    #[serde(default)]
    pub shared_file: bool,
    /// The largest arguments document, in bytes, from 1 to 536,870,912. Default 16 MiB. Larger ones are refused
    /// before anything is stored. Since v0.1.
    #[serde(default = "payload_bytes_max")]
    pub payload_bytes_max: u64,
    /// The largest result, in bytes, from 1 to 536,870,912. Default 16 MiB. A job with a larger one fails for
    /// good. Since v0.1.
    #[serde(default = "payload_bytes_max")]
    pub result_bytes_max: u64,
    /// For how long what has ended is kept. Since v0.1.
    #[serde(default)]
    pub retention: RetentionConfig,
}

/// What a commit waits for before it is answered.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Synchronous {
    /// The disk. A job that was taken survives a power cut.
    #[default]
    Full,
    /// The operating system. A job that was taken survives the death of the process, but a power cut may lose the
    /// last commits; the file stays intact. Several times faster on a slow disk.
    Normal,
}

impl From<Synchronous> for taskport_store_sqlite::Synchronous {
    fn from(synchronous: Synchronous) -> Self {
        match synchronous {
            Synchronous::Full => Self::Full,
            Synchronous::Normal => Self::Normal,
        }
    }
}

/// Where the jobs are kept.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Location {
    Memory,
    Sqlite(PathBuf),
}

const BYTES_MAX_DEFAULT: u64 = 16 << 20;
/// Well below the largest value SQLite holds by default.
const BYTES_MAX: u64 = 512 << 20;

fn payload_bytes_max() -> u64 {
    BYTES_MAX_DEFAULT
}

impl NativeConfig {
    /// The configuration for a URL, with the default of every other setting.
    ///
    /// # Errors
    /// `InvalidConfig` (E-020) where the URL is neither `sqlite://FILE` nor `memory:`.
    pub fn from_url(url: impl Into<String>) -> Result<Self> {
        let config = Self {
            url: url.into(),
            synchronous: Synchronous::Full,
            shared_file: false,
            payload_bytes_max: BYTES_MAX_DEFAULT,
            result_bytes_max: BYTES_MAX_DEFAULT,
            retention: RetentionConfig::default(),
        };
        config.location()?;
        Ok(config)
    }

    /// Where the jobs are kept, once every setting has been checked.
    pub(crate) fn location(&self) -> Result<Location> {
        for (key, bytes) in
            [("payload_bytes_max", self.payload_bytes_max), ("result_bytes_max", self.result_bytes_max)]
        {
            if !(1..=BYTES_MAX).contains(&bytes) {
                return Err(wrong(format!("`{key}` is {bytes}, not within 1 to {BYTES_MAX}"))
                    .hint("give a number of bytes"));
            }
        }
        let file = match self.url.as_str() {
            "memory:" | "sqlite::memory:" => return Ok(Location::Memory),
            url => url.strip_prefix("sqlite://").unwrap_or_default(),
        };
        if file.is_empty() || file.contains(['?', '#']) {
            return Err(wrong(format!("`{}` is no url of an embedded engine", shown(&self.url)))
                .hint("write sqlite://FILE, such as sqlite://taskport.db or sqlite:///var/lib/app/jobs.db, or memory:"));
        }
        Ok(Location::Sqlite(PathBuf::from(file)))
    }
}

fn wrong(message: String) -> Error {
    Error::new(&codes::CONFIG_VALUE, "open", message)
}

fn shown(url: &str) -> String {
    taskport_abstraction::text::redact_url(url).chars().take(80).flat_map(char::escape_debug).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_url_names_a_file_or_memory() {
        let check = |url: &str, expected: Location| {
            assert_eq!(NativeConfig::from_url(url).unwrap().location().unwrap(), expected, "{url}");
        };
        check("memory:", Location::Memory);
        check("sqlite::memory:", Location::Memory);
        check("sqlite://taskport.db", Location::Sqlite("taskport.db".into()));
        check("sqlite:///var/lib/a b.db", Location::Sqlite("/var/lib/a b.db".into()));
        for bad in ["", "sqlite:", "sqlite://", "taskport.db", "postgres://u:p@h/db", "sqlite://a.db?mode=ro"]
        {
            let error = NativeConfig::from_url(bad).unwrap_err();
            assert_eq!(error.code(), &codes::CONFIG_VALUE, "{bad}");
            assert!(!error.to_string().contains("u:p"), "{error}");
        }
    }

    #[test]
    fn unknown_keys_and_impossible_limits_are_refused() {
        let parse = |json: &str| serde_json::from_str::<NativeConfig>(json);
        assert!(parse(r#"{"url": "memory:", "syncronous": "full"}"#).is_err());
        assert!(parse(r#"{"url": "memory:", "synchronous": "off"}"#).is_err());
        let config = parse(r#"{"url": "memory:", "result_bytes_max": 0}"#).unwrap();
        assert!(config.location().unwrap_err().to_string().contains("result_bytes_max"));
    }
}
