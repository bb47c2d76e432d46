//! The file layer: TOML with the line of every key.

use std::collections::BTreeMap;
use std::fs::File;
use std::io::Read;
use std::ops::Range;
use std::path::Path;
use std::sync::Arc;

use figment::value::{Dict, Value};
use taskport_abstraction::{Error, Result, codes, text};
use toml::Spanned;
use toml::de::{DeTable, DeValue};

use super::origin::{KeyPath, Origin, Origins};

/// A configuration file larger than this is none.
const BYTES_MAX: u64 = 1 << 20;
/// The table that holds the profiles.
const PROFILES: &str = "profile";

/// One parsed file.
#[derive(Debug, Default)]
pub(super) struct FileLayer {
    /// Everything outside the profiles.
    pub(super) base: Dict,
    /// What each profile overlays.
    pub(super) profiles: BTreeMap<String, Dict>,
    name: Arc<str>,
    lines: Vec<Line>,
}

/// Where one key stands.
#[derive(Debug)]
struct Line {
    path: KeyPath,
    number: u32,
    is_table: bool,
}

impl FileLayer {
    /// Reads a file.
    ///
    /// # Errors
    /// `Unavailable` (E-037) where it cannot be read; as [`parse`](Self::parse).
    pub(super) fn read(path: &Path) -> Result<Self> {
        let name = path.display().to_string();
        let mut bytes = Vec::new();
        File::open(path).and_then(|file| file.take(BYTES_MAX + 1).read_to_end(&mut bytes)).map_err(
            |source| {
                Error::new(&codes::FILE_IO, "load configuration", format!("`{name}` cannot be read"))
                    .caused_by(source)
                    .hint("name another file with --config, or make one with `taskport init`")
            },
        )?;
        if bytes.len() as u64 > BYTES_MAX {
            return Err(syntax(format!("`{name}` has more than {BYTES_MAX} bytes")));
        }
        let text = String::from_utf8(bytes).map_err(|error| {
            let line = LineStarts::of(error.as_bytes()).line_of(error.utf8_error().valid_up_to());
            syntax(format!("{name}:{line}: the file is not UTF-8"))
        })?;
        Self::parse(&name, &text)
    }

    /// Parses text; `name` stands in errors for the file.
    ///
    /// # Errors
    /// `InvalidConfig` (E-018) with the line, and without what stands on it.
    pub(super) fn parse(name: &str, text: &str) -> Result<Self> {
        let text = text.strip_prefix('\u{feff}').unwrap_or(text);
        let starts = LineStarts::of(text.as_bytes());
        let table = DeTable::parse(text).map_err(|error| {
            let line = starts.line_of(error.span().map_or(0, |span| span.start));
            syntax(format!("{name}:{line}: {}", error.message().replace('\n', ", ")))
        })?;
        let mut layer = Self { name: Arc::from(name), ..Self::default() };
        let mut base = layer.table(&starts, &[], table.get_ref());
        if let Some(profiles) = base.remove(PROFILES) {
            layer.profiles = layer.split_profiles(profiles)?;
        }
        layer.base = base;
        Ok(layer)
    }

    /// Adds where this layer's keys stand, outside the profiles or in one of them.
    pub(super) fn note_origins(&self, profile: Option<&str>, origins: &mut Origins) {
        let profile_name: Option<Arc<str>> = profile.map(Arc::from);
        for line in &self.lines {
            let within = match (profile, line.path.as_slice()) {
                (None, [first, ..]) if first != PROFILES => &line.path[..],
                (Some(profile), [first, name, rest @ ..])
                    if first == PROFILES && name == profile && !rest.is_empty() =>
                {
                    rest
                }
                _ => continue,
            };
            let origin =
                Origin::File { file: self.name.clone(), line: line.number, profile: profile_name.clone() };
            if line.is_table {
                origins.join(within.to_vec(), origin);
            } else {
                origins.set(within.to_vec(), origin);
            }
        }
    }

    /// The error for a profile that the file does not have.
    pub(super) fn unknown_profile(&self, name: &str) -> Error {
        let error = Error::new(
            &codes::CONFIG_KEY,
            "load configuration",
            format!("there is no profile `{name}` in the configuration"),
        );
        match text::nearest(name, self.profiles.keys().map(String::as_str)) {
            Some(near) => error.hint(format!("did you mean `{near}`?")),
            None => error.hint(format!("add a table `[profile.{name}]`")),
        }
    }

    fn split_profiles(&self, profiles: Value) -> Result<BTreeMap<String, Dict>> {
        let wrong = |path: &[&str]| {
            let place = self.lines.iter().find(|line| line.path == path).map_or(1, |line| line.number);
            let message = format!("{}:{place}: `{}` is not a table", self.name, path.join("."));
            Error::new(&codes::CONFIG_VALUE, "load configuration", message)
                .hint("write the keys of a profile under `[profile.NAME.…]`")
        };
        let profiles = profiles.into_dict().ok_or_else(|| wrong(&[PROFILES]))?;
        profiles
            .into_iter()
            .map(|(name, overlay)| match overlay {
                Value::Dict(_, overlay) => Ok((name, overlay)),
                _ => Err(wrong(&[PROFILES, &name])),
            })
            .collect()
    }

    fn table(&mut self, starts: &LineStarts, path: &[String], table: &DeTable<'_>) -> Dict {
        let mut dict = Dict::new();
        for (key, value) in table {
            let name = key.get_ref().to_string();
            let path = [path, std::slice::from_ref(&name)].concat();
            let value = self.value(starts, &path, key.span(), value);
            dict.insert(name, value);
        }
        dict
    }

    fn value(
        &mut self,
        starts: &LineStarts,
        path: &[String],
        at: Range<usize>,
        value: &Spanned<DeValue<'_>>,
    ) -> Value {
        let number = starts.line_of(at.start);
        let is_table = matches!(value.get_ref(), DeValue::Table(_));
        self.lines.push(Line { path: path.to_vec(), number, is_table });
        match value.get_ref() {
            DeValue::Table(table) => self.table(starts, path, table).into(),
            DeValue::Array(items) => {
                let items = items.iter().enumerate().map(|(index, item)| {
                    let path = [path, &[index.to_string()]].concat();
                    self.value(starts, &path, item.span(), item)
                });
                items.collect::<Vec<_>>().into()
            }
            scalar => scalar_value(scalar),
        }
    }
}

/// Reads one value as a file would write it.
pub(super) fn parse_value(text: &str) -> Option<Value> {
    let document = format!("value = {text}");
    let table = DeTable::parse(&document).ok()?;
    let mut layer = FileLayer::default();
    let mut dict = layer.table(&LineStarts::default(), &[], table.get_ref());
    (dict.len() == 1).then(|| dict.remove("value")).flatten()
}

fn scalar_value(value: &DeValue<'_>) -> Value {
    match value {
        DeValue::String(text) => text.to_string().into(),
        DeValue::Boolean(boolean) => (*boolean).into(),
        DeValue::Integer(number) => match i64::from_str_radix(number.as_str(), number.radix()) {
            Ok(number) => number.into(),
            Err(_) => number.to_string().into(),
        },
        DeValue::Float(number) => number.as_str().parse::<f64>().unwrap_or(f64::NAN).into(),
        DeValue::Datetime(moment) => moment.to_string().into(),
        DeValue::Array(_) | DeValue::Table(_) => Value::from(Dict::new()),
    }
}

fn syntax(message: String) -> Error {
    Error::new(&codes::CONFIG_SYNTAX, "load configuration", message)
        .hint("a configuration is a TOML file; see `taskport config schema`")
}

/// Where each line begins, so that the line of an offset is found without reading the text again.
#[derive(Debug, Default)]
struct LineStarts(Vec<usize>);

impl LineStarts {
    fn of(text: &[u8]) -> Self {
        Self(text.iter().enumerate().filter(|(_, byte)| **byte == b'\n').map(|(at, _)| at + 1).collect())
    }

    fn line_of(&self, offset: usize) -> u32 {
        1 + u32::try_from(self.0.partition_point(|start| *start <= offset)).unwrap_or(u32::MAX - 1)
    }
}
