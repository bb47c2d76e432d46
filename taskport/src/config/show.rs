//! Each value with where it comes from.

use serde::Serialize;
use serde_json::Value;

use super::Loaded;
use super::origin::{KeyPath, Origin};

/// One value of a configuration as it may be shown: secrets are redacted.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Entry {
    /// The dotted key, as a file would write it.
    pub key: String,
    /// The value.
    pub value: Value,
    /// Where it comes from.
    #[serde(serialize_with = "as_text")]
    pub origin: Origin,
}

fn as_text<S: serde::Serializer>(origin: &Origin, serializer: S) -> Result<S::Ok, S::Error> {
    serializer.collect_str(origin)
}

impl Loaded {
    /// Every value that is set or has a default, with where it comes from, in order of keys.
    pub fn entries(&self) -> Vec<Entry> {
        let mut entries = Vec::new();
        // The configuration holds maps with text keys and plain values only, so it has a JSON form.
        let shown = serde_json::to_value(&self.config).unwrap_or_default();
        self.collect(&mut Vec::new(), shown, &mut entries);
        entries
    }

    fn collect(&self, path: &mut KeyPath, value: Value, entries: &mut Vec<Entry>) {
        match value {
            Value::Object(map) => {
                for (key, value) in map {
                    path.push(key);
                    self.collect(path, value, entries);
                    path.pop();
                }
            }
            value => {
                let origin = self.origins.get(path).cloned().unwrap_or(Origin::Default);
                let key = path.iter().map(|key| quoted(key)).collect::<Vec<_>>().join(".");
                entries.push(Entry { key, value, origin });
            }
        }
    }
}

/// A key that is not bare, such as a task name with dots, is quoted as in TOML.
fn quoted(key: &str) -> String {
    let bare = !key.is_empty() && key.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'_' || b == b'-');
    if bare { key.to_owned() } else { format!("{key:?}") }
}
