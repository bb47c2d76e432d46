//! Which JSON types a schema allows, as far as that is certain. What a schema says in other ways counts as "anything":
//! a check built on this reports only what can never work.

use std::fmt;

use serde_json::Value;

/// Chains of references longer than this count as "anything".
const REFERENCES_MAX: usize = 32;
/// Schemas may refer to themselves: what lies beyond so many steps of one comparison counts as "anything".
const STEPS_MAX: usize = 1_000;

/// A set of JSON types.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Types(u8);

const NAMES: [(&str, &str); 7] = [
    ("null", "null"),
    ("boolean", "a boolean"),
    ("integer", "an integer"),
    ("number", "a number"),
    ("string", "a string"),
    ("array", "a list"),
    ("object", "an object"),
];

impl Types {
    const ANY: Self = Self(0x7f);
    const NONE: Self = Self(0);
    pub(crate) const INTEGER: Self = Self(1 << 2);
    const NUMBER: Self = Self(1 << 2 | 1 << 3);
    const NESTED: Self = Self(1 << 5 | 1 << 6);
    pub(crate) const ARRAY: Self = Self(1 << 5);
    pub(crate) const OBJECT: Self = Self(1 << 6);

    /// An integer is a number; a type of another name is unknown here.
    fn named(name: &str) -> Self {
        match NAMES.iter().position(|(known, _)| *known == name) {
            Some(3) => Self::NUMBER,
            Some(place) => Self(1 << place),
            None => Self::ANY,
        }
    }

    fn of_value(value: &Value) -> Self {
        match value {
            Value::Null => Self::named("null"),
            Value::Bool(_) => Self::named("boolean"),
            Value::Number(number) if number.is_f64() => Self(1 << 3),
            Value::Number(_) => Self::INTEGER,
            Value::String(_) => Self::named("string"),
            Value::Array(_) => Self::ARRAY,
            Value::Object(_) => Self::OBJECT,
        }
    }

    /// The type of a JSON text that is known to be well-formed.
    pub(crate) fn of_json(text: &str) -> Self {
        match text.as_bytes().first() {
            Some(b'n') => Self::named("null"),
            Some(b't' | b'f') => Self::named("boolean"),
            Some(b'"') => Self::named("string"),
            Some(b'[') => Self::ARRAY,
            Some(b'{') => Self::OBJECT,
            _ if text.contains(['.', 'e', 'E']) => Self(1 << 3),
            _ => Self::INTEGER,
        }
    }

    fn union(self, other: Self) -> Self {
        Self(self.0 | other.0)
    }

    fn intersection(self, other: Self) -> Self {
        Self(self.0 & other.0)
    }
}

impl fmt::Display for Types {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let is_number = self.intersection(Self::NUMBER) == Self::NUMBER;
        let names = NAMES.iter().enumerate().filter(|(place, _)| self.0 & (1 << place) != 0);
        let mut names = names.filter(|(place, _)| *place != 2 || !is_number).map(|(_, (_, name))| *name);
        f.write_str(names.next().unwrap_or("nothing"))?;
        names.try_for_each(|name| write!(f, " or {name}"))
    }
}

/// A schema inside the document whose definitions it refers to.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Shape<'a> {
    schema: &'a Value,
    root: &'a Value,
}

/// What is known of a value before it exists.
#[derive(Debug, Clone)]
pub(crate) enum Known<'a> {
    /// Nothing.
    Anything,
    /// Itself.
    Literal(&'a Value),
    /// That it fits a schema.
    Fits(Shape<'a>),
    /// That it is a list of such values.
    ListOf(Box<Known<'a>>),
    /// Its type.
    Of(Types),
}

/// A value that can never be what is asked for.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Mismatch {
    /// The way to the value inside, such as `.pages` or `[]`; empty for the value itself.
    pub(crate) path: String,
    pub(crate) expected: String,
    pub(crate) found: String,
}

impl fmt::Display for Mismatch {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} takes {}, and is given {}", self.path, self.expected, self.found)
    }
}

impl<'a> Shape<'a> {
    pub(crate) fn new(schema: &'a Value) -> Self {
        Self { schema, root: schema }
    }

    fn at(self, schema: &'a Value) -> Self {
        Self { schema, root: self.root }
    }

    /// The schema behind a chain of references within the document.
    fn resolved(mut self) -> Option<Self> {
        for _ in 0..REFERENCES_MAX {
            let Some(reference) = self.schema.get("$ref") else { return Some(self) };
            let pointer = reference.as_str()?.strip_prefix('#')?;
            self = self.at(self.root.pointer(pointer)?);
        }
        None
    }

    fn types(self) -> Types {
        self.types_within(&mut { STEPS_MAX })
    }

    fn types_within(self, steps: &mut usize) -> Types {
        let Some(Self { schema: Value::Object(schema), .. }) = self.resolved() else { return Types::ANY };
        let Some(left) = steps.checked_sub(1) else { return Types::ANY };
        *steps = left;
        let by_type = match schema.get("type") {
            Some(Value::String(name)) => Types::named(name),
            Some(Value::Array(names)) => {
                let types = names.iter().map(|name| name.as_str().map_or(Types::ANY, Types::named));
                types.fold(Types::NONE, Types::union)
            }
            _ => Types::ANY,
        };
        let of_values = |values: &[Value]| values.iter().map(Types::of_value).fold(Types::NONE, Types::union);
        let by_value = match (schema.get("const"), schema.get("enum")) {
            (Some(value), _) => Types::of_value(value),
            (None, Some(Value::Array(values))) => of_values(values),
            _ => Types::ANY,
        };
        let by_choice = ["anyOf", "oneOf"].into_iter().filter_map(|key| schema.get(key)?.as_array());
        let by_choice = by_choice.map(|choices| {
            let types = choices.iter().map(|choice| self.at(choice).types_within(steps));
            types.fold(Types::NONE, Types::union)
        });
        by_choice.fold(by_type.intersection(by_value), Types::intersection)
    }

    /// The schema of the elements, where the value can only be a list of one kind.
    fn items(self) -> Option<Self> {
        let shape = self.resolved()?;
        let uniform = shape.types() == Types::ARRAY && shape.schema.get("prefixItems").is_none();
        shape.schema.get("items").filter(|_| uniform).map(|items| shape.at(items))
    }

    fn property(self, name: &str) -> Option<Self> {
        let shape = self.resolved()?;
        shape.schema.get("properties")?.get(name).map(|property| shape.at(property))
    }

    /// Whether the value is an object that certainly has no property `name`.
    fn lacks(self, name: &str) -> bool {
        let Some(shape) = self.resolved() else { return false };
        shape.types() == Types::OBJECT
            && shape.schema.get("additionalProperties") == Some(&Value::Bool(false))
            && shape.schema.get("patternProperties").is_none()
            && shape.property(name).is_none()
    }
}

impl<'a> Known<'a> {
    /// What is known of the value at `key` inside; `Err` says what there is in its place.
    pub(crate) fn inside(self, key: &str) -> Result<Self, String> {
        let index = key.parse::<usize>().ok();
        match self {
            Self::Anything | Self::Literal(_) => Ok(Self::Anything),
            Self::ListOf(element) if index.is_some() => Ok(*element),
            Self::ListOf(_) => Err(Types::ARRAY.to_string()),
            Self::Of(types) if types.intersection(Types::NESTED) == Types::NONE => Err(types.to_string()),
            Self::Of(_) => Ok(Self::Anything),
            Self::Fits(shape) => {
                let types = shape.types();
                if types.intersection(Types::NESTED) == Types::NONE {
                    return Err(types.to_string());
                }
                if shape.lacks(key) {
                    return Err(format!("an object without `{key}`"));
                }
                let found = shape.property(key).or_else(|| index.and_then(|_| shape.items()));
                Ok(found.map_or(Self::Anything, Self::Fits))
            }
        }
    }

    /// What is known of the elements; `Err` says what there is in place of a list.
    pub(crate) fn element(self) -> Result<Self, String> {
        match self {
            Self::Anything | Self::Literal(Value::Array(_)) | Self::Of(Types::ARRAY) => Ok(Self::Anything),
            Self::ListOf(element) => Ok(*element),
            Self::Fits(shape) if shape.types().intersection(Types::ARRAY) != Types::NONE => {
                Ok(shape.items().map_or(Self::Anything, Self::Fits))
            }
            other => Err(other.types().to_string()),
        }
    }

    /// Why the value can never fit `wanted`, where that is certain.
    pub(crate) fn mismatch(&self, wanted: Shape<'_>) -> Option<Mismatch> {
        self.mismatch_at(wanted, &mut String::new(), &mut { STEPS_MAX })
    }

    fn mismatch_at(&self, wanted: Shape<'_>, path: &mut String, steps: &mut usize) -> Option<Mismatch> {
        *steps = steps.checked_sub(1)?;
        let (found, expected) = (self.types(), wanted.types());
        if found.intersection(expected) == Types::NONE {
            let (expected, found) = (expected.to_string(), found.to_string());
            return Some(Mismatch { path: path.clone(), expected, found });
        }
        let mut within = |step: &str, inner: &Known<'_>, wanted: Shape<'_>| {
            let len = path.len();
            path.push_str(step);
            let mismatch = inner.mismatch_at(wanted, path, steps);
            path.truncate(len);
            mismatch
        };
        if let Some(items) = wanted.items() {
            return match self {
                Self::Literal(Value::Array(list)) => {
                    list.iter().find_map(|element| within("[]", &Known::Literal(element), items))
                }
                Self::ListOf(element) => within("[]", element, items),
                Self::Fits(shape) => within("[]", &Known::Fits(shape.items()?), items),
                _ => None,
            };
        }
        let properties = wanted.resolved()?.schema.get("properties")?.as_object()?;
        properties.keys().find_map(|name| {
            let inner = match self {
                Self::Literal(value) => Known::Literal(value.get(name)?),
                Self::Fits(shape) if shape.types() == Types::OBJECT => Known::Fits(shape.property(name)?),
                _ => return None,
            };
            within(&format!(".{name}"), &inner, wanted.property(name)?)
        })
    }

    fn types(&self) -> Types {
        match self {
            Self::Anything => Types::ANY,
            Self::Literal(value) => Types::of_value(value),
            Self::Fits(shape) => shape.types(),
            Self::ListOf(_) => Types::ARRAY,
            Self::Of(types) => *types,
        }
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn mismatch(known: &Known<'_>, wanted: &Value) -> Option<String> {
        known.mismatch(Shape::new(wanted)).map(|mismatch| mismatch.to_string())
    }

    #[test]
    fn only_what_can_never_fit_is_a_mismatch() {
        let pages = json!({"type": "object", "properties": {"pages": {"type": "integer"}}});
        let words = json!({"$ref": "#/$defs/Words", "$defs": {"Words": {"type": "array", "items": {"type": "string"}}}});
        for (wanted, value, expected) in [
            (json!(true), json!(1), None),
            (json!({}), json!("x"), None),
            (json!({"type": "integer"}), json!(1), None),
            (json!({"type": "number"}), json!(1), None),
            (json!({"type": "integer"}), json!(1.5), Some(" takes an integer, and is given a number")),
            (json!({"type": "number"}), json!("x"), Some(" takes a number, and is given a string")),
            (
                json!({"type": ["string", "null"]}),
                json!(1),
                Some(" takes null or a string, and is given an integer"),
            ),
            (json!({"anyOf": [{"type": "string"}, {"type": "null"}]}), json!(null), None),
            (
                json!({"oneOf": [{"const": "a"}, {"const": "b"}]}),
                json!(true),
                Some(" takes a string, and is given a boolean"),
            ),
            (json!({"enum": ["a", 1]}), json!(2), None),
            (json!({"allOf": [{"type": "string"}]}), json!(1), None),
            (json!({"type": "decimal"}), json!(1), None),
            (json!({"$ref": "https://elsewhere"}), json!(1), None),
            (pages.clone(), json!({"pages": 1}), None),
            (pages.clone(), json!({"pages": "x"}), Some(".pages takes an integer, and is given a string")),
            (pages, json!({}), None),
            (words.clone(), json!(["a", 1]), Some("[] takes a string, and is given an integer")),
            (words, json!("a"), Some(" takes a list, and is given a string")),
        ] {
            assert_eq!(mismatch(&Known::Literal(&value), &wanted).as_deref(), expected, "{wanted} {value}");
            assert_eq!(Types::of_json(&value.to_string()), Types::of_value(&value));
        }
    }

    #[test]
    fn two_schemas_are_compared_as_far_as_both_are_certain() {
        let list = |of: &str| json!({"type": "array", "items": {"type": of}});
        for (given, wanted, expected) in [
            (json!({"type": "number"}), json!({"type": "integer"}), None),
            (json!({"type": ["string", "null"]}), json!({"type": "string"}), None),
            (list("string"), list("integer"), Some("[] takes an integer, and is given a string")),
            (list("string"), json!({"type": "array"}), None),
            (json!({"type": "array"}), list("string"), None),
            (
                json!({"type": "object", "properties": {"at": {"type": "string"}}}),
                json!({"type": "object", "properties": {"at": {"type": "null"}}}),
                Some(".at takes null, and is given a string"),
            ),
        ] {
            let known = Known::Fits(Shape::new(&given));
            assert_eq!(mismatch(&known, &wanted).as_deref(), expected, "{given} {wanted}");
        }
    }

    #[test]
    fn schemas_that_refer_to_themselves_are_compared_in_bounded_steps() {
        let node = json!({"type": "array", "items": {"$ref": "#/$defs/Node"}});
        let tree = json!({
            "$ref": "#/$defs/Node",
            "$defs": {
                "Node": {"type": "object", "properties": {"left": node, "right": node, "middle": node}},
                "Loop": {"$ref": "#/$defs/Loop"},
            },
        });
        assert_eq!(mismatch(&Known::Fits(Shape::new(&tree)), &tree), None);
        let loops = json!({"$ref": "#/$defs/Loop", "$defs": {"Loop": {"$ref": "#/$defs/Loop"}}});
        assert_eq!(mismatch(&Known::Literal(&json!(1)), &loops), None);
        let wide = json!({"anyOf": [{"$ref": "#"}, {"$ref": "#"}, {"$ref": "#"}]});
        assert_eq!(mismatch(&Known::Literal(&json!(1)), &wide), None);
    }

    #[test]
    fn paths_lead_inside_what_is_known() {
        let page = json!({
            "type": "object",
            "properties": {"number": {"type": "integer"}, "words": {"type": "array", "items": {"type": "string"}}},
            "additionalProperties": false,
        });
        let page = Known::Fits(Shape::new(&page));
        let types = |known: Result<Known<'_>, String>| known.map(|known| known.types().to_string());
        assert_eq!(types(page.clone().inside("number")).unwrap(), "an integer");
        assert_eq!(types(page.clone().inside("words").unwrap().inside("0")).unwrap(), "a string");
        assert_eq!(types(page.clone().inside("word")).unwrap_err(), "an object without `word`");
        assert_eq!(types(page.clone().inside("number").unwrap().inside("x")).unwrap_err(), "an integer");
        assert_eq!(types(page.clone().element()).unwrap_err(), "an object");
        assert_eq!(types(Known::ListOf(Box::new(page)).inside("3")).unwrap(), "an object");
    }
}
