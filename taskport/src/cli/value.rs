//! Values given on the command line: JSON, names with JSON, files, durations, names.

use std::borrow::Cow;
use std::collections::BTreeSet;
use std::fmt;
use std::io::Read;
use std::path::Path;
use std::time::Duration;

use serde::de::{Deserialize, Deserializer, IgnoredAny, MapAccess, Visitor};
use serde_json::Value;

use super::usage::misuse;
use crate::abstraction::options::DURATION_MAX;
use crate::abstraction::{ArgumentsBuilder, Payload, codes, text};
use crate::{Error, Result};

/// The largest value that is read from a file or from standard input.
const BYTES_MAX: u64 = 64 << 20;

/// Reads a duration such as `30s`.
pub(super) fn duration(text: &str) -> Result<Duration, String> {
    match text::parse_duration(text) {
        Ok(period) if period > DURATION_MAX => Err(format!("`{text}` is longer than 100 years")),
        Err(malformed) => match text.trim_start().strip_prefix('-') {
            Some(positive) if text::parse_duration(positive).is_ok() => {
                Err(format!("`{text}` is below zero; durations are not negative"))
            }
            _ => Err(malformed),
        },
        read => read,
    }
}

/// Reads a name or id by its rule.
pub(super) fn name<T: std::str::FromStr<Err = Error>>(text: &str) -> Result<T, String> {
    text.parse().map_err(|error: Error| match error.remedy() {
        Some(remedy) => format!("{}; {remedy}", error.message()),
        None => error.message().to_owned(),
    })
}

/// Reads `KEY=VALUE`.
pub(super) fn pair(text: &str) -> Result<(String, String), String> {
    match text.split_once('=') {
        Some((key, value)) if !key.is_empty() => Ok((key.to_owned(), value.to_owned())),
        _ => Err(format!("`{text}` is not of the form KEY=VALUE")),
    }
}

/// The value of an option that takes JSON: the text itself, `@FILE`, or `@-` for standard input.
pub(super) fn json(option: &'static str, text: &str) -> Result<Value> {
    parsed(option, &source(text)?)
}

/// The text itself, or what `@FILE` or `@-` stands for.
fn source(text: &str) -> Result<Cow<'_, str>> {
    text.strip_prefix('@').map_or(Ok(Cow::Borrowed(text)), |path| read(path).map(Cow::Owned))
}

fn parsed<'a, T: Deserialize<'a>>(option: &str, text: &'a str) -> Result<T> {
    serde_json::from_str(text)
        .map_err(|source| misuse(format!("the value of `{option}` is no JSON")).caused_by(source))
}

/// The arguments of a call: one JSON document for all, or one text for each.
pub(super) fn arguments(document: Option<&str>, each: &[String]) -> Result<Payload> {
    let builder = ArgumentsBuilder::default();
    let Some(document) = document.map(source).transpose()? else {
        different(each.iter().filter_map(|text| Some(named(text)?.0)))?;
        let builder = each.iter().enumerate().try_fold(builder, |builder, (at, text)| match named(text) {
            Some((name, value)) => builder.named(name, &argument(value, || format!("`{name}`"))?),
            None => builder.positional(&argument(text, || (at + 1).to_string())?),
        })?;
        return Ok(builder.finish());
    };
    let builder = match parsed("--args", &document)? {
        Value::Object(named) => {
            let Names(names) = parsed("--args", &document)?;
            different(names.iter().map(String::as_str))?;
            named.iter().try_fold(builder, |builder, (name, value)| builder.named(name, value))?
        }
        Value::Array(positional) => positional.iter().try_fold(builder, ArgumentsBuilder::positional)?,
        _ => {
            return Err(misuse("the value of `--args` is neither an object nor a list")
                .hint("an object gives arguments by name, a list by position"));
        }
    };
    Ok(builder.finish())
}

/// Refuses a name that is given twice, of which only one value could be kept.
fn different<'a>(mut names: impl Iterator<Item = &'a str>) -> Result<()> {
    let mut seen = BTreeSet::new();
    match names.find(|name| !seen.insert(*name)) {
        Some(twice) => {
            Err(misuse(format!("argument `{twice}` is given more than once")).hint("give each argument once"))
        }
        None => Ok(()),
    }
}

/// The names of an object as they are written, since a [`Value`] keeps each only once.
struct Names(Vec<String>);

impl<'de> Deserialize<'de> for Names {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct OfObject;
        impl<'de> Visitor<'de> for OfObject {
            type Value = Names;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("an object")
            }

            fn visit_map<M: MapAccess<'de>>(self, mut map: M) -> Result<Names, M::Error> {
                let mut names = Vec::new();
                while let Some((name, IgnoredAny)) = map.next_entry()? {
                    names.push(name);
                }
                Ok(Names(names))
            }
        }
        deserializer.deserialize_map(OfObject)
    }
}

/// `NAME=VALUE`, where the name is one a parameter may have.
fn named(text: &str) -> Option<(&str, &str)> {
    let (name, value) = text.split_once('=')?;
    let starts = name.starts_with(|c: char| c.is_ascii_alphabetic() || c == '_');
    (starts && name.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'_')).then_some((name, value))
}

/// JSON where it is JSON, else the text itself. What begins as a list, object or JSON text must be one.
fn argument(text: &str, which: impl FnOnce() -> String) -> Result<Value> {
    match serde_json::from_str(text) {
        Ok(value) => Ok(value),
        Err(source) if text.trim_start().starts_with(['[', '{', '"']) => {
            Err(misuse(format!("argument {} begins as JSON and is none", which())).caused_by(source))
        }
        Err(_) => Ok(Value::String(text.to_owned())),
    }
}

/// The text of a file, or of standard input for `-`.
pub(super) fn read(path: &str) -> Result<String> {
    let source: Box<dyn Read> = if path == "-" {
        Box::new(std::io::stdin().lock())
    } else {
        Box::new(std::fs::File::open(path).map_err(|source| unreadable(path, source))?)
    };
    let mut text = String::new();
    source.take(BYTES_MAX + 1).read_to_string(&mut text).map_err(|source| unreadable(path, source))?;
    if text.len() as u64 > BYTES_MAX {
        return Err(Error::new(
            &codes::PAYLOAD_TOO_LARGE,
            "read file",
            format!("`{path}` is larger than {} MiB", BYTES_MAX >> 20),
        ));
    }
    Ok(text)
}

/// Writes a file that must not exist yet.
pub(super) fn write_new(path: &Path, text: &str) -> Result<()> {
    use std::io::Write;
    let failed = |source: std::io::Error| {
        let error =
            Error::new(&codes::FILE_IO, "write file", format!("`{}` cannot be created", path.display()));
        match source.kind() {
            std::io::ErrorKind::AlreadyExists => {
                error.caused_by(source).hint("move it away first; nothing is overwritten")
            }
            _ => error.caused_by(source),
        }
    };
    let mut file = std::fs::File::create_new(path).map_err(failed)?;
    file.write_all(text.as_bytes()).and_then(|()| file.sync_all()).map_err(failed)
}

fn unreadable(path: &str, source: std::io::Error) -> Error {
    Error::new(&codes::FILE_IO, "read file", format!("`{path}` cannot be read")).caused_by(source)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(each: &[&str], expected: &str) {
        let each: Vec<String> = each.iter().map(|text| (*text).to_owned()).collect();
        assert_eq!(arguments(None, &each).unwrap().bytes, expected, "{each:?}");
    }

    #[test]
    fn arguments_are_json_where_they_can_be_and_text_otherwise() {
        check(&[], "[[],{}]");
        check(&["title=Q3", "pages=12"], r#"[[],{"title":"Q3","pages":12}]"#);
        check(&["Q3", "[1,2]", r#"id="007""#], r#"[["Q3",[1,2]],{"id":"007"}]"#);
        check(&["a=b=c", "--x=1"], r#"[["--x=1"],{"a":"b=c"}]"#);
        check(&["url=https://host/?q=1"], r#"[[],{"url":"https://host/?q=1"}]"#);
        assert_eq!(arguments(None, &[r#"x={"a":"#.to_owned()]).unwrap_err().code(), &codes::USAGE);
    }

    #[test]
    fn an_argument_given_twice_is_refused_by_name() {
        for error in [
            arguments(None, &["a=1".to_owned(), "b=1".to_owned(), "a=2".to_owned()]).unwrap_err(),
            arguments(Some(r#"{"a":1,"b":{"a":1},"a":2}"#), &[]).unwrap_err(),
        ] {
            assert_eq!(error.message(), "argument `a` is given more than once");
        }
        assert!(arguments(Some(r#"{"a":{"x":1},"b":{"x":1}}"#), &[]).is_ok());
    }

    #[test]
    fn durations_have_a_limit_and_are_never_negative() {
        assert_eq!(duration("36525d"), Ok(DURATION_MAX));
        assert_eq!(duration("36526d"), Err("`36526d` is longer than 100 years".to_owned()));
        assert!(duration("-5s").unwrap_err().ends_with("durations are not negative"));
    }

    #[test]
    fn one_document_gives_all_arguments_by_name_or_by_position() {
        assert_eq!(arguments(Some(r#"{"a":1}"#), &[]).unwrap().bytes, r#"[[],{"a":1}]"#);
        assert_eq!(arguments(Some("[1,null]"), &[]).unwrap().bytes, "[[1,null],{}]");
        for bad in ["3", "{", "@/nonexistent/file"] {
            assert!(arguments(Some(bad), &[]).is_err(), "{bad}");
        }
    }
}
