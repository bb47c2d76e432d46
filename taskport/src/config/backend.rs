use std::borrow::Cow;
use std::collections::BTreeMap;
use std::fmt;

use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde::ser::SerializeMap;
use serde::{Deserialize, Serialize, Serializer};
use serde_json::Value;
use taskport_abstraction::{Result, text};

use super::Variables;
use super::secret::{REDACTED, Secret};
use crate::backends;

/// One configured task queue: its kind, and the options of that kind.
#[derive(Clone)]
pub struct BackendConfig {
    /// The kind of adapter, such as `native`.
    pub kind: String,
    /// What happens where a job asks for something the backend cannot give.
    pub on_unsupported: OnUnsupported,
    /// The adapter's own options. Texts of the form `env:NAME` and `file:PATH` are read when the backend is opened.
    pub options: BTreeMap<String, Value>,
}

/// What happens where a job asks for something the backend cannot give.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum OnUnsupported {
    /// The submit is refused.
    #[default]
    Error,
    /// The option is left out, and a warning is logged.
    Warn,
}

impl BackendConfig {
    /// A backend of `kind` with the adapter's defaults.
    pub fn new(kind: impl Into<String>) -> Self {
        Self { kind: kind.into(), on_unsupported: OnUnsupported::Error, options: BTreeMap::new() }
    }

    /// Sets one option of the adapter.
    #[must_use]
    pub fn option(mut self, key: impl Into<String>, value: impl Into<Value>) -> Self {
        self.options.insert(key.into(), value.into());
        self
    }

    /// The options with every `env:NAME` and `file:PATH` replaced by what it names.
    pub(crate) fn revealed(&self, variables: &Variables) -> Result<BTreeMap<String, Value>> {
        let reveal = |(key, value): (&String, &Value)| {
            let value = match value {
                Value::String(text) => Value::String(Secret::new(text.clone()).reveal(variables)?),
                other => other.clone(),
            };
            Ok((key.clone(), value))
        };
        self.options.iter().map(reveal).collect()
    }

    /// The options as they may be shown.
    fn shown(&self) -> impl Iterator<Item = (&str, Value)> {
        self.options.iter().map(|(key, value)| (key.as_str(), shown_value(key, value)))
    }

    /// The message with every secret among the options taken out of it.
    pub(super) fn scrub(&self, mut message: String) -> String {
        for (key, value) in &self.options {
            if let (Value::String(text), Value::String(shown)) = (value, shown_value(key, value))
                && *text != shown
                && !text.is_empty()
            {
                message = message.replace(text, &shown);
            }
        }
        message
    }
}

impl fmt::Debug for BackendConfig {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let options: BTreeMap<&str, Value> = self.shown().collect();
        f.debug_struct("BackendConfig")
            .field("kind", &self.kind)
            .field("on_unsupported", &self.on_unsupported)
            .field("options", &options)
            .finish()
    }
}

impl Serialize for BackendConfig {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let mut map = serializer.serialize_map(None)?;
        map.serialize_entry("kind", &self.kind)?;
        map.serialize_entry("on_unsupported", &self.on_unsupported)?;
        for (key, value) in self.shown() {
            map.serialize_entry(key, &value)?;
        }
        map.end()
    }
}

impl JsonSchema for BackendConfig {
    fn schema_name() -> Cow<'static, str> {
        "BackendConfig".into()
    }

    /// One alternative per kind in this build: the adapter's own schema with the two keys every backend has.
    fn json_schema(generator: &mut SchemaGenerator) -> Schema {
        let on_unsupported = generator.subschema_for::<OnUnsupported>();
        let kinds: Vec<Value> = backends::KINDS
            .iter()
            .map(|kind| {
                let mut schema = (kind.schema)(generator);
                let object = schema.ensure_object();
                let properties = object.entry("properties").or_insert_with(|| Value::Object(Default::default()));
                if let Value::Object(properties) = properties {
                    properties.insert(
                        "kind".to_owned(),
                        json_schema!({ "const": kind.name, "description": "The kind of adapter. Since v0.1." }).into(),
                    );
                    properties.insert(
                        "on_unsupported".to_owned(),
                        json_schema!({
                            "description": "What happens where a job asks for something the backend cannot give: \
                                `error` refuses the job, `warn` leaves the option out and logs a warning, so that \
                                the job runs without the promise. Default: `error`. Since v0.1.",
                            "allOf": [on_unsupported.clone()],
                        })
                        .into(),
                    );
                }
                object.insert("required".to_owned(), vec!["kind"].into());
                schema.into()
            })
            .collect();
        json_schema!({ "oneOf": kinds })
    }
}

fn shown_value(key: &str, value: &Value) -> Value {
    match value {
        Value::String(text) if text.starts_with("env:") || text.starts_with("file:") => value.clone(),
        _ if is_secret_key(key) => REDACTED.into(),
        Value::String(text) => shown_url(text).into(),
        Value::Array(list) => list.iter().map(|item| shown_value(key, item)).collect(),
        Value::Object(map) => {
            Value::Object(map.iter().map(|(key, value)| (key.clone(), shown_value(key, value))).collect())
        }
        other => other.clone(),
    }
}

/// A URL without user info and without the values of parameters that are named like secrets.
pub(super) fn shown_url(url: &str) -> String {
    let url = text::redact_url(url);
    let Some((base, query)) = url.split_once('?') else { return url };
    let pairs = query.split('&').map(|pair| match pair.split_once('=') {
        Some((key, _)) if is_secret_key(key) => format!("{key}={REDACTED}"),
        _ => pair.to_owned(),
    });
    format!("{base}?{}", pairs.collect::<Vec<_>>().join("&"))
}

fn is_secret_key(key: &str) -> bool {
    const MARKS: [&str; 7] =
        ["password", "passwd", "secret", "token", "credential", "api_key", "private_key"];
    let key = key.to_ascii_lowercase();
    MARKS.iter().any(|mark| key.contains(mark))
}
