//! Values that are never shown.

use std::borrow::Cow;
use std::fmt;
use std::fs::File;
use std::io::Read;

use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde::de::{Deserializer, Visitor};
use serde::{Deserialize, Serialize, Serializer};
use taskport_abstraction::{Error, Result, codes};

use super::Variables;
use super::backend::shown_url;

/// What stands in place of a secret.
pub(super) const REDACTED: &str = "[redacted]";
const FILE_BYTES_MAX: u64 = 64 << 10;

/// A value that `Debug` and `Serialize` do not show: `env:NAME`, `file:PATH`, or the secret itself.
///
/// `env:` and `file:` keep the secret out of the configuration file; what they name is read when it is needed.
#[derive(Clone, PartialEq, Eq)]
pub struct Secret(String);

impl Secret {
    /// A secret as the configuration writes it.
    pub fn new(written: impl Into<String>) -> Self {
        Self(written.into())
    }

    /// The secret itself.
    ///
    /// # Errors
    /// `InvalidConfig` (E-021) that names the variable or file which cannot be read, and never what is in it.
    pub fn reveal(&self, variables: &Variables) -> Result<String> {
        if let Some(name) = self.0.strip_prefix("env:") {
            return variables.get(name).map(str::to_owned).ok_or_else(|| {
                Error::new(&codes::CONFIG_SECRET, "read secret", format!("the variable `{name}` is not set"))
                    .hint(format!("set `{name}` in the environment of this program"))
            });
        }
        match self.0.strip_prefix("file:") {
            Some(path) => read_file(path),
            None => Ok(self.0.clone()),
        }
    }

    /// What may be shown: where the secret comes from, or that there is one.
    fn shown(&self) -> &str {
        if self.is_reference() { &self.0 } else { REDACTED }
    }

    fn is_reference(&self) -> bool {
        self.0.starts_with("env:") || self.0.starts_with("file:")
    }
}

fn read_file(path: &str) -> Result<String> {
    let fail = |message: String| Error::new(&codes::CONFIG_SECRET, "read secret", message);
    let mut text = String::new();
    File::open(path)
        .and_then(|file| file.take(FILE_BYTES_MAX + 1).read_to_string(&mut text))
        .map_err(|source| fail(format!("the file `{path}` cannot be read")).caused_by(source))?;
    if text.len() as u64 > FILE_BYTES_MAX {
        return Err(fail(format!("the file `{path}` has more than {FILE_BYTES_MAX} bytes")));
    }
    let end = text.trim_end_matches(['\r', '\n']).len();
    text.truncate(end);
    Ok(text)
}

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.shown())
    }
}

impl Serialize for Secret {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(self.shown())
    }
}

impl<'de> Deserialize<'de> for Secret {
    /// Takes whole numbers and booleans too, since a variable such as `1234` is read as a number.
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Written;
        impl Visitor<'_> for Written {
            type Value = Secret;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("text")
            }
            fn visit_str<E>(self, text: &str) -> Result<Secret, E> {
                Ok(Secret::new(text))
            }
            fn visit_bool<E>(self, value: bool) -> Result<Secret, E> {
                Ok(Secret::new(value.to_string()))
            }
            fn visit_i64<E>(self, value: i64) -> Result<Secret, E> {
                Ok(Secret::new(value.to_string()))
            }
            fn visit_u64<E>(self, value: u64) -> Result<Secret, E> {
                Ok(Secret::new(value.to_string()))
            }
        }
        deserializer.deserialize_any(Written)
    }
}

impl JsonSchema for Secret {
    fn schema_name() -> Cow<'static, str> {
        "Secret".into()
    }

    fn json_schema(_: &mut SchemaGenerator) -> Schema {
        json_schema!({
            "type": "string",
            "writeOnly": true,
            "description": "A secret: `env:NAME`, `file:PATH`, or the value itself. It is never shown."
        })
    }
}

/// A URL that may carry a password, or a [`Secret`] that holds one. It is shown without user info and secret parameters.
#[derive(Clone, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(transparent)]
pub struct SecretUrl(Secret);

impl SecretUrl {
    /// A URL as the configuration writes it.
    pub fn new(written: impl Into<String>) -> Self {
        Self(Secret::new(written))
    }

    /// The URL itself.
    ///
    /// # Errors
    /// As [`Secret::reveal`].
    pub fn reveal(&self, variables: &Variables) -> Result<String> {
        self.0.reveal(variables)
    }

    /// What may be shown.
    pub fn shown(&self) -> String {
        if self.0.is_reference() { self.0.0.clone() } else { shown_url(&self.0.0) }
    }
}

impl fmt::Debug for SecretUrl {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.shown())
    }
}

impl Serialize for SecretUrl {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(&self.shown())
    }
}
