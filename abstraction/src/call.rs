//! A task name with arguments, and how arguments find their parameters.
//!
//! Arguments travel as one JSON document, `[[positional, …], {"name": value, …}]`, because Python producers use both
//! forms. A typed call writes every value by name, in declared order.

use std::fmt;

use serde::Serialize;
use serde::de::{DeserializeSeed, Deserializer, Error as _, IgnoredAny, MapAccess, SeqAccess, Visitor};
use serde_json::value::RawValue;

use crate::codes;
use crate::error::Error;
use crate::id::TaskName;
use crate::payload::Payload;
use crate::text::nearest;

/// A task name with encoded arguments.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RawCall {
    /// The task.
    pub task: TaskName,
    /// The arguments, as described in this module.
    pub arguments: Payload,
}

/// Writes the arguments document.
#[derive(Debug)]
pub struct ArgumentsBuilder {
    positional: Vec<u8>,
    named: Vec<u8>,
}

const NAMED_ONLY: &[u8] = b"[[],{";

impl Default for ArgumentsBuilder {
    fn default() -> Self {
        let mut named = Vec::with_capacity(128);
        named.extend_from_slice(NAMED_ONLY);
        Self { positional: Vec::new(), named }
    }
}

impl ArgumentsBuilder {
    /// Adds a positional value.
    ///
    /// # Errors
    /// `InvalidInput` where the value has no JSON form.
    pub fn positional<T: Serialize + ?Sized>(mut self, value: &T) -> Result<Self, Error> {
        if !self.positional.is_empty() {
            self.positional.push(b',');
        }
        write_json(&mut self.positional, value)?;
        Ok(self)
    }

    /// Adds a named value.
    ///
    /// # Errors
    /// `InvalidInput` where the value has no JSON form.
    pub fn named<T: Serialize + ?Sized>(mut self, name: &str, value: &T) -> Result<Self, Error> {
        if self.named.len() > NAMED_ONLY.len() {
            self.named.push(b',');
        }
        write_json(&mut self.named, name)?;
        self.named.push(b':');
        write_json(&mut self.named, value)?;
        Ok(self)
    }

    /// The document.
    pub fn finish(mut self) -> Payload {
        self.named.extend_from_slice(b"}]");
        if self.positional.is_empty() {
            return Payload::json(self.named);
        }
        let mut document = Vec::with_capacity(self.positional.len() + self.named.len());
        document.extend_from_slice(b"[[");
        document.append(&mut self.positional);
        document.extend_from_slice(&self.named[2..]);
        Payload::json(document)
    }
}

fn write_json<T: Serialize + ?Sized>(out: &mut Vec<u8>, value: &T) -> Result<(), Error> {
    serde_json::to_writer(out, value).map_err(|source| {
        Error::new(&codes::BAD_ARGUMENTS, "encode", "an argument has no JSON form").caused_by(source)
    })
}

/// Arguments matched with the `N` parameters of a task, not yet decoded.
#[derive(Debug)]
pub struct ArgumentsView<'a, const N: usize> {
    names: &'a [&'a str; N],
    values: [Option<&'a RawValue>; N],
}

impl<'a, const N: usize> ArgumentsView<'a, N> {
    /// Matches the document `arguments` with parameters called `names`, by position and by name. Allocates nothing.
    ///
    /// # Errors
    /// `InvalidInput` (E-002) that names the surplus, unknown or repeated argument; `Corrupt` (E-033) where the
    /// document is malformed.
    pub fn bind(arguments: &'a Payload, names: &'a [&'a str; N]) -> Result<Self, Error> {
        let json = arguments.as_json()?;
        let mut view = Self { names, values: [None; N] };
        let mut deserializer = serde_json::Deserializer::from_slice(json);
        let mut problem = None;
        let parsed = DocumentSeed { view: &mut view, problem: &mut problem }
            .deserialize(&mut deserializer)
            .and_then(|()| deserializer.end());
        match (problem, parsed) {
            (Some(problem), _) => Err(problem.into_error(names)),
            (None, Ok(())) => Ok(view),
            (None, Err(source)) => Err(Error::new(
                &codes::UNDECODABLE,
                "bind",
                "the arguments are not of the form [[positional], {named}]",
            )
            .caused_by(source)),
        }
    }

    /// The argument of parameter `index`, decoded.
    ///
    /// # Errors
    /// `InvalidInput` (E-002) where it is missing or of another type.
    pub fn required<T: serde::de::DeserializeOwned>(&self, index: usize) -> Result<T, Error> {
        match self.values[index] {
            Some(raw) => self.decode(index, raw),
            None => Err(bad(format!("argument `{}` is missing", self.names[index]))),
        }
    }

    /// The argument of parameter `index`, decoded, or `default()` where none is given.
    ///
    /// # Errors
    /// `InvalidInput` (E-002) where it is of another type.
    pub fn optional<T: serde::de::DeserializeOwned>(
        &self,
        index: usize,
        default: impl FnOnce() -> T,
    ) -> Result<T, Error> {
        self.values[index].map_or_else(|| Ok(default()), |raw| self.decode(index, raw))
    }

    fn decode<T: serde::de::DeserializeOwned>(&self, index: usize, raw: &RawValue) -> Result<T, Error> {
        serde_json::from_str(raw.get()).map_err(|source| {
            bad(format!("argument `{}` is not a `{}`", self.names[index], std::any::type_name::<T>()))
                .caused_by(source)
        })
    }
}

fn bad(message: String) -> Error {
    Error::new(&codes::BAD_ARGUMENTS, "bind", message)
}

enum Problem {
    Surplus(usize),
    Repeated(usize),
    Unknown(String),
}

impl Problem {
    fn into_error<const N: usize>(self, names: &[&str; N]) -> Error {
        match self {
            Self::Surplus(given) => {
                bad(format!("{given} positional arguments were given, and the task takes {N}"))
            }
            Self::Repeated(index) => bad(format!("argument `{}` is given twice", names[index])),
            Self::Unknown(name) => {
                let error = bad(format!("there is no parameter `{name}`"));
                match nearest(&name, names.iter().copied()) {
                    Some(near) => error.hint(format!("did you mean `{near}`?")),
                    None if N == 0 => error.hint("the task takes no arguments"),
                    None => error.hint(format!("the parameters are: {}", names.join(", "))),
                }
            }
        }
    }
}

/// Reads `[[…], {…}]` into the view; a problem with an argument is kept apart from malformed JSON.
struct DocumentSeed<'v, 'a, const N: usize> {
    view: &'v mut ArgumentsView<'a, N>,
    problem: &'v mut Option<Problem>,
}

impl<'a, const N: usize> DeserializeSeed<'a> for DocumentSeed<'_, 'a, N> {
    type Value = ();

    fn deserialize<D: Deserializer<'a>>(self, deserializer: D) -> Result<(), D::Error> {
        deserializer.deserialize_seq(self)
    }
}

impl<'a, const N: usize> Visitor<'a> for DocumentSeed<'_, 'a, N> {
    type Value = ();

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("[[positional], {named}]")
    }

    fn visit_seq<A: SeqAccess<'a>>(self, mut seq: A) -> Result<(), A::Error> {
        let (view, problem) = (self.view, self.problem);
        seq.next_element_seed(PositionalSeed { view, problem })?
            .ok_or_else(|| A::Error::custom("no positional part"))?;
        seq.next_element_seed(NamedSeed { view, problem })?
            .ok_or_else(|| A::Error::custom("no named part"))?;
        match seq.next_element::<IgnoredAny>()? {
            None => Ok(()),
            Some(_) => Err(A::Error::custom("more than two parts")),
        }
    }
}

struct PositionalSeed<'v, 'a, const N: usize> {
    view: &'v mut ArgumentsView<'a, N>,
    problem: &'v mut Option<Problem>,
}

impl<'a, const N: usize> DeserializeSeed<'a> for PositionalSeed<'_, 'a, N> {
    type Value = ();

    fn deserialize<D: Deserializer<'a>>(self, deserializer: D) -> Result<(), D::Error> {
        deserializer.deserialize_seq(self)
    }
}

impl<'a, const N: usize> Visitor<'a> for PositionalSeed<'_, 'a, N> {
    type Value = ();

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a list of positional arguments")
    }

    fn visit_seq<A: SeqAccess<'a>>(self, mut seq: A) -> Result<(), A::Error> {
        let mut given = 0;
        while let Some(value) = seq.next_element::<&'a RawValue>()? {
            if let Some(slot) = self.view.values.get_mut(given) {
                *slot = Some(value);
            }
            given += 1;
        }
        if given > N {
            self.problem.get_or_insert(Problem::Surplus(given));
        }
        Ok(())
    }
}

struct NamedSeed<'v, 'a, const N: usize> {
    view: &'v mut ArgumentsView<'a, N>,
    problem: &'v mut Option<Problem>,
}

impl<'a, const N: usize> DeserializeSeed<'a> for NamedSeed<'_, 'a, N> {
    type Value = ();

    fn deserialize<D: Deserializer<'a>>(self, deserializer: D) -> Result<(), D::Error> {
        deserializer.deserialize_map(self)
    }
}

impl<'a, const N: usize> Visitor<'a> for NamedSeed<'_, 'a, N> {
    type Value = ();

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a map of named arguments")
    }

    fn visit_map<A: MapAccess<'a>>(self, mut map: A) -> Result<(), A::Error> {
        while let Some(found) = map.next_key_seed(NameSeed(self.view.names))? {
            let value = map.next_value::<&'a RawValue>()?;
            match found {
                Ok(index) if self.view.values[index].is_some() => {
                    self.problem.get_or_insert(Problem::Repeated(index));
                }
                Ok(index) => self.view.values[index] = Some(value),
                Err(name) => {
                    self.problem.get_or_insert(Problem::Unknown(name));
                }
            }
        }
        Ok(())
    }
}

struct NameSeed<'a, const N: usize>(&'a [&'a str; N]);

impl<'de, const N: usize> DeserializeSeed<'de> for NameSeed<'_, N> {
    type Value = Result<usize, String>;

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<Self::Value, D::Error> {
        deserializer.deserialize_str(self)
    }
}

impl<const N: usize> Visitor<'_> for NameSeed<'_, N> {
    type Value = Result<usize, String>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a parameter name")
    }

    fn visit_str<E>(self, name: &str) -> Result<Self::Value, E> {
        Ok(self.0.iter().position(|known| *known == name).ok_or_else(|| name.chars().take(64).collect()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn bind(document: &str) -> Result<(String, u32), Error> {
        let payload = Payload::json(document.to_owned());
        let view = ArgumentsView::bind(&payload, &["title", "pages"])?;
        Ok((view.required(0)?, view.optional(1, || 7)?))
    }

    #[test]
    fn arguments_bind_by_position_and_by_name_with_defaults() {
        for document in [r#"[["Q3",12],{}]"#, r#"[["Q3"],{"pages":12}]"#, r#"[[],{"pages":12,"title":"Q3"}]"#]
        {
            assert_eq!(bind(document).unwrap(), ("Q3".to_owned(), 12), "{document}");
        }
        assert_eq!(bind(r#"[["Q3"],{}]"#).unwrap().1, 7);
    }

    #[test]
    fn the_wrong_argument_is_named() {
        for (document, message) in [
            (r#"[[],{}]"#, "argument `title` is missing"),
            (r#"[["a",1,2],{}]"#, "3 positional arguments were given, and the task takes 2"),
            (r#"[["a"],{"title":"b"}]"#, "argument `title` is given twice"),
            (r#"[["a"],{"pages":1,"pages":2}]"#, "argument `pages` is given twice"),
            (r#"[["a"],{"page":1}]"#, "there is no parameter `page`"),
            (r#"[["a","b"],{}]"#, "argument `pages` is not a `u32`"),
        ] {
            assert_eq!(bind(document).unwrap_err().message(), message, "{document}");
        }
        assert_eq!(bind(r#"[["a"],{"page":1}]"#).unwrap_err().remedy(), Some("did you mean `pages`?"));
    }

    #[test]
    fn malformed_documents_are_corrupt() {
        for document in
            ["", "{}", "[]", "[[]]", "[[],{},1]", "[{},[]]", "[[],{}] x", "[[1,{}]", "\u{feff}[[],{}]"]
        {
            assert_eq!(bind(document).unwrap_err().code(), &codes::UNDECODABLE, "{document}");
        }
    }

    #[test]
    fn the_builder_writes_what_bind_reads() {
        let named = ArgumentsBuilder::default().named("title", "a\"b").unwrap().named("pages", &3).unwrap();
        assert_eq!(named.finish().bytes, r#"[[],{"title":"a\"b","pages":3}]"#);
        let mixed = ArgumentsBuilder::default().positional("x").unwrap().positional(&1).unwrap();
        assert_eq!(mixed.finish().bytes, r#"[["x",1],{}]"#);
        assert_eq!(ArgumentsBuilder::default().finish().bytes, "[[],{}]");
    }
}
