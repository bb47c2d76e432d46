//! What is wrong with a configuration, before it is known where the value comes from.

use figment::error::{Actual, Kind};
use taskport_abstraction::codes::{self, Code};
use taskport_abstraction::{Error, text};

use super::origin::{KeyPath, Origin, Origins};

/// One thing wrong with one value.
#[derive(Debug)]
pub(super) struct Problem {
    code: &'static Code,
    path: KeyPath,
    message: String,
    hint: Option<String>,
}

impl Problem {
    /// A value at `path` that will not do; `message` goes on after the key.
    pub(super) fn value(path: &[&str], message: impl Into<String>) -> Self {
        Self {
            code: &codes::CONFIG_VALUE,
            path: path.iter().map(|key| (*key).to_owned()).collect(),
            message: message.into(),
            hint: None,
        }
    }

    /// A name at `path` that is none of `known`.
    pub(super) fn unknown(
        code: &'static Code,
        path: &[&str],
        message: impl Into<String>,
        given: &str,
        known: &[&str],
    ) -> Self {
        let hint = match text::nearest(given, known.iter().copied()) {
            Some(near) => format!("did you mean `{near}`?"),
            None => format!("one of: {}", known.join(", ")),
        };
        Self { code, hint: Some(hint), ..Self::value(path, message) }
    }

    /// Adds a remedy.
    pub(super) fn hint(mut self, hint: impl Into<String>) -> Self {
        self.hint = Some(hint.into());
        self
    }

    /// What the deserializer found in the table at `prefix`. Texts are never repeated, since any may be a secret.
    ///
    /// `also_known` are keys of the table that are read elsewhere.
    pub(super) fn found(error: figment::Error, prefix: &[&str], also_known: &[&'static str]) -> Self {
        let mut path: KeyPath = prefix.iter().map(|key| (*key).to_owned()).collect();
        path.extend(error.path);
        let parent: Vec<&str> = path.iter().map(String::as_str).collect();
        match error.kind {
            Kind::UnknownField(name, known) => {
                let known = [known, also_known].concat();
                // The path already ends in the name.
                Self::unknown(&codes::CONFIG_KEY, &parent, "is no known key", &name, &known)
            }
            Kind::UnknownVariant(name, known) => {
                Self::unknown(&codes::CONFIG_VALUE, &parent, "is none of the words it may be", &name, known)
            }
            Kind::MissingField(name) => Self::value(&[&parent[..], &[&name]].concat(), "is missing"),
            Kind::DuplicateField(name) => Self::value(&[&parent[..], &[name]].concat(), "is there twice"),
            Kind::InvalidType(actual, expected) | Kind::InvalidValue(actual, expected) => {
                let message =
                    format!("is {}, and {} is expected", found_type(&actual), expected_type(&expected));
                Self::value(&parent, message)
            }
            Kind::InvalidLength(len, expected) => {
                let message = format!("has {len} elements, and {} is expected", expected_type(&expected));
                Self::value(&parent, message)
            }
            Kind::ISizeOutOfRange(_) | Kind::USizeOutOfRange(_) => {
                Self::value(&parent, "is too large a number")
            }
            Kind::Unsupported(actual) | Kind::UnsupportedKey(actual, _) => {
                Self::value(&parent, format!("is {}, which is not expected here", found_type(&actual)))
            }
            Kind::Message(message) => Self::value(&parent, bare(&message)),
        }
    }

    /// The same with every secret of a backend taken out.
    pub(super) fn map_message(mut self, change: impl FnOnce(String) -> String) -> Self {
        self.message = change(self.message);
        self
    }

    /// The error, now that it is known where the value comes from.
    pub(super) fn into_error(self, origins: &Origins) -> Error {
        let key = self.path.join(".");
        let origin = origins.find(&self.path);
        let message = match origin {
            None | Some(Origin::Default) => format!("`{key}` {}", self.message),
            Some(origin) => format!("{origin}: `{key}` {}", self.message),
        };
        let error = Error::new(self.code, "load configuration", message);
        match (self.hint, origin) {
            (Some(hint), _) => error.hint(hint),
            (None, Some(Origin::Variable { .. })) => error.hint(
                "a variable holds a value as TOML writes it: 32, true, [\"a\", \"b\"]; other text is text",
            ),
            (None, _) => error,
        }
    }
}

/// The message of an error below, without the code and verb that the outer error brings itself.
fn bare(message: &str) -> String {
    let own = message.rsplit_once(" [E-").and_then(|(message, _)| message.split_once(": "));
    format!("will not do: {}", own.map_or(message, |(_verb, message)| message))
}

fn found_type(actual: &Actual) -> &'static str {
    match actual {
        Actual::Bool(_) => "true or false",
        Actual::Unsigned(_) | Actual::Signed(_) => "a whole number",
        Actual::Float(_) => "a fraction",
        Actual::Char(_) | Actual::Str(_) => "text",
        Actual::Seq => "a list",
        Actual::Map => "a table",
        _ => "of another type",
    }
}

fn expected_type(expected: &str) -> &str {
    match expected {
        "a string" => "text",
        "a boolean" => "true or false",
        "u8" | "u16" | "u32" | "u64" | "usize" => "a whole number from 0",
        "i8" | "i16" | "i32" | "i64" | "isize" => "a whole number",
        "a sequence" => "a list",
        "a map" => "a table",
        struct_name if struct_name.starts_with("struct ") => "a table",
        enum_name if enum_name.starts_with("enum ") || enum_name.starts_with("string or map") => "a word",
        other => other,
    }
}
