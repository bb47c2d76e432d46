//! Where a step's values come from.

use serde_json::Value;

use crate::id::StepId;

/// A value with places to fill in.
#[derive(Debug, Clone, PartialEq)]
pub enum Binding {
    /// A value as it stands.
    Literal(Value),
    /// A value from elsewhere.
    From(Source, Path),
    /// A list of bindings.
    List(Vec<Binding>),
    /// An object of bindings.
    Object(Vec<(String, Binding)>),
}

/// Where a bound value comes from.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Source {
    /// `$input`: the run's input.
    Input,
    /// `$steps.NAME.output`: the result of a step; of a fan-out, the list of its results.
    Step(StepId),
    /// `$item`: the element of a fan-out.
    Item,
    /// `$index`: its place in the list, from 0.
    Index,
}

/// The way from a value to one inside it: `.name` or `.0` for each level.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Path(pub(super) Vec<String>);

impl Path {
    /// The value at the end of the path.
    pub fn follow<'a>(&self, value: &'a Value) -> Option<&'a Value> {
        self.0.iter().try_fold(value, |value, key| match value {
            Value::Object(map) => map.get(key),
            Value::Array(list) => list.get(key.parse::<usize>().ok()?),
            _ => None,
        })
    }

    /// The key of each level.
    pub fn keys(&self) -> impl ExactSizeIterator<Item = &str> {
        self.0.iter().map(String::as_str)
    }

    /// Whether the path ends where it starts.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }
}

impl std::fmt::Display for Path {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        self.0.iter().try_for_each(|key| write!(f, ".{key}"))
    }
}

/// Bindings deeper than this are refused.
const DEPTH_MAX: usize = 64;

impl Binding {
    /// Reads a binding from its written form, in which a text that starts with `$` names a source, and `$$` stands for
    /// a text that starts with `$`.
    ///
    /// # Errors
    /// A message that names the malformed text.
    pub fn parse(written: &Value) -> Result<Self, String> {
        Self::parse_at(written, 0)
    }

    fn parse_at(written: &Value, depth: usize) -> Result<Self, String> {
        if depth > DEPTH_MAX {
            return Err(format!("a binding is nested more than {DEPTH_MAX} levels deep"));
        }
        Ok(match written {
            Value::String(text) => match text.strip_prefix('$') {
                None => Self::Literal(written.clone()),
                Some(escaped) if escaped.starts_with('$') => Self::Literal(Value::String(escaped.to_owned())),
                Some(reference) => Self::reference(reference)?,
            },
            Value::Array(list) => {
                let parts: Vec<_> =
                    list.iter().map(|part| Self::parse_at(part, depth + 1)).collect::<Result<_, _>>()?;
                if parts.iter().all(Self::is_literal) {
                    Self::Literal(written.clone())
                } else {
                    Self::List(parts)
                }
            }
            Value::Object(map) => {
                let parts: Vec<_> = map
                    .iter()
                    .map(|(key, part)| Ok((key.clone(), Self::parse_at(part, depth + 1)?)))
                    .collect::<Result<_, String>>()?;
                Self::Object(parts)
            }
            other => Self::Literal(other.clone()),
        })
    }

    fn is_literal(&self) -> bool {
        matches!(self, Self::Literal(Value::String(text)) if !text.starts_with('$'))
            || matches!(self, Self::Literal(value) if !value.is_string())
    }

    fn reference(text: &str) -> Result<Self, String> {
        let malformed = || {
            format!(
                "`${text}` is not a binding such as $input.x, $steps.extract.output.path, $item or $index"
            )
        };
        let mut keys = text.split('.').map(str::to_owned);
        let source = match keys.next().as_deref() {
            Some("input") => Source::Input,
            Some("item") => Source::Item,
            Some("index") => Source::Index,
            Some("steps") => {
                let step = keys.next().and_then(|name| StepId::new(name).ok()).ok_or_else(malformed)?;
                if keys.next().as_deref() != Some("output") {
                    return Err(malformed());
                }
                Source::Step(step)
            }
            _ => return Err(malformed()),
        };
        let path: Vec<String> = keys.collect();
        if path.iter().any(String::is_empty) || (source == Source::Index && !path.is_empty()) {
            return Err(malformed());
        }
        Ok(Self::From(source, Path(path)))
    }

    /// Calls `visit` with every source the binding reads.
    pub fn sources<'a>(&'a self, visit: &mut dyn FnMut(&'a Source)) {
        match self {
            Self::Literal(_) => {}
            Self::From(source, _) => visit(source),
            Self::List(parts) => parts.iter().for_each(|part| part.sources(visit)),
            Self::Object(parts) => parts.iter().for_each(|(_, part)| part.sources(visit)),
        }
    }

    /// Fills in every place by asking `resolve` for the value of a source at a path.
    ///
    /// # Errors
    /// That of `resolve`.
    pub fn fill<E>(&self, resolve: &mut dyn FnMut(&Source, &Path) -> Result<Value, E>) -> Result<Value, E> {
        Ok(match self {
            Self::Literal(value) => value.clone(),
            Self::From(source, path) => resolve(source, path)?,
            Self::List(parts) => {
                Value::Array(parts.iter().map(|part| part.fill(resolve)).collect::<Result<_, E>>()?)
            }
            Self::Object(parts) => Value::Object(
                parts
                    .iter()
                    .map(|(key, part)| Ok((key.clone(), part.fill(resolve)?)))
                    .collect::<Result<_, E>>()?,
            ),
        })
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn written_forms_are_told_apart() {
        let step = || StepId::new("extract").unwrap();
        let path = |keys: &[&str]| Path(keys.iter().map(|k| (*k).to_owned()).collect());
        for (written, expected) in [
            (json!("plain"), Binding::Literal(json!("plain"))),
            (json!("$$price"), Binding::Literal(json!("$price"))),
            (json!(3), Binding::Literal(json!(3))),
            (json!("$input"), Binding::From(Source::Input, path(&[]))),
            (json!("$input.a.0"), Binding::From(Source::Input, path(&["a", "0"]))),
            (json!("$steps.extract.output"), Binding::From(Source::Step(step()), path(&[]))),
            (json!("$item.x"), Binding::From(Source::Item, path(&["x"]))),
        ] {
            assert_eq!(Binding::parse(&written).unwrap(), expected, "{written}");
        }
        for bad in
            ["$", "$inputs", "$steps", "$steps.Extract.output", "$steps.a.result", "$input..x", "$index.x"]
        {
            assert!(Binding::parse(&json!(bad)).is_err(), "{bad}");
        }
    }

    #[test]
    fn places_are_filled_at_any_depth() {
        let binding = Binding::parse(&json!({"a": ["$input.n", 1, "$$x"], "b": {"c": "$index"}})).unwrap();
        let input = json!({"n": 7});
        let filled = binding.fill::<()>(&mut |source, path| match source {
            Source::Input => path.follow(&input).cloned().ok_or(()),
            _ => Ok(json!(0)),
        });
        assert_eq!(filled.unwrap(), json!({"a": [7, 1, "$x"], "b": {"c": 0}}));
    }
}
