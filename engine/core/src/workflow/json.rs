//! JSON text, taken apart without being decoded.

use std::collections::HashMap;
use std::fmt;

use bytes::Bytes;
use serde::de::{DeserializeSeed, Deserializer, IgnoredAny, MapAccess, SeqAccess, Visitor};
use serde_json::value::RawValue;

/// JSON that is not what it should be. The reason is not kept: it could quote a payload (I7).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct NotJson;

impl From<serde_json::Error> for NotJson {
    fn from(_: serde_json::Error) -> Self {
        Self
    }
}

/// What sort of value a JSON text is, for messages.
pub(super) fn kind(json: &[u8]) -> &'static str {
    match json.trim_ascii_start().first() {
        Some(b'{') => "an object",
        Some(b'[') => "a list",
        Some(b'"') => "a text",
        Some(b't' | b'f') => "a truth value",
        Some(b'n') => "null",
        _ => "a number",
    }
}

/// The value at the end of a path, or `None` where there is none.
pub(super) fn follow<'a, 'k>(
    json: &'a [u8],
    keys: impl IntoIterator<Item = &'k str>,
) -> Result<Option<&'a [u8]>, NotJson> {
    let mut at: &'a RawValue = serde_json::from_slice(json)?;
    for key in keys {
        let mut deserializer = serde_json::Deserializer::from_str(at.get());
        let found = match at.get().as_bytes().first() {
            Some(b'{') => deserializer.deserialize_map(Find(key))?,
            Some(b'[') => deserializer.deserialize_seq(Find(key))?,
            _ => None,
        };
        match found {
            Some(found) => at = found,
            None => return Ok(None),
        }
    }
    Ok(Some(at.get().as_bytes()))
}

struct Find<'k>(&'k str);

impl<'a> Visitor<'a> for Find<'_> {
    type Value = Option<&'a RawValue>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("an object or a list")
    }

    fn visit_map<A: MapAccess<'a>>(self, mut map: A) -> Result<Self::Value, A::Error> {
        let mut found = None;
        while let Some(is_it) = map.next_key_seed(Same(self.0))? {
            if is_it {
                found = Some(map.next_value()?);
            } else {
                map.next_value::<IgnoredAny>()?;
            }
        }
        Ok(found)
    }

    fn visit_seq<A: SeqAccess<'a>>(self, mut list: A) -> Result<Self::Value, A::Error> {
        let wanted = self.0.parse::<usize>().ok();
        let (mut place, mut found) = (0, None);
        while let Some(element) = list.next_element::<&'a RawValue>()? {
            if Some(place) == wanted {
                found = Some(element);
            }
            place += 1;
        }
        Ok(found)
    }
}

struct Same<'k>(&'k str);

impl<'de> DeserializeSeed<'de> for Same<'_> {
    type Value = bool;

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<bool, D::Error> {
        deserializer.deserialize_str(self)
    }
}

impl Visitor<'_> for Same<'_> {
    type Value = bool;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a key")
    }

    fn visit_str<E>(self, key: &str) -> Result<bool, E> {
        Ok(key == self.0)
    }
}

/// A JSON document that is asked for many of its members.
#[derive(Debug)]
pub(super) struct Document {
    whole: Bytes,
    members: HashMap<String, Bytes>,
}

impl Document {
    pub(super) fn new(whole: Bytes) -> Result<Self, NotJson> {
        let top: &RawValue = serde_json::from_slice(&whole)?;
        let members: HashMap<String, &RawValue> =
            if top.get().starts_with('{') { serde_json::from_str(top.get())? } else { HashMap::new() };
        let share = |(key, value): (String, &RawValue)| (key, whole.slice_ref(value.get().as_bytes()));
        let members = members.into_iter().map(share).collect();
        Ok(Self { whole, members })
    }

    pub(super) fn follow<'k>(
        &self,
        mut keys: impl Iterator<Item = &'k str>,
    ) -> Result<Option<Bytes>, NotJson> {
        let share = |found: &[u8]| self.whole.slice_ref(found);
        let Some(first) = keys.next() else { return Ok(follow(&self.whole, [])?.map(share)) };
        match self.members.get(first) {
            Some(member) => Ok(follow(member, keys)?.map(share)),
            None if self.members.is_empty() => {
                Ok(follow(&self.whole, std::iter::once(first).chain(keys))?.map(share))
            }
            None => Ok(None),
        }
    }
}

/// The elements of a JSON list, found by place.
#[derive(Debug)]
pub(super) struct Elements {
    whole: Bytes,
    ends: Vec<(u32, u32)>,
}

impl Elements {
    /// Takes the list apart, or answers `None` where the value is no list.
    pub(super) fn split(whole: Bytes) -> Result<Option<Self>, NotJson> {
        let list: &RawValue = serde_json::from_slice(&whole)?;
        if !list.get().starts_with('[') {
            return Ok(None);
        }
        let elements: Vec<&RawValue> = serde_json::from_str(list.get())?;
        let start = whole.as_ptr().addr();
        let place = |element: &&RawValue| {
            let from = element.get().as_ptr().addr() - start;
            let end = |at: usize| u32::try_from(at).map_err(|_| NotJson);
            Ok((end(from)?, end(from + element.get().len())?))
        };
        let ends = elements.iter().map(place).collect::<Result<_, NotJson>>()?;
        Ok(Some(Self { whole, ends }))
    }

    pub(super) fn len(&self) -> usize {
        self.ends.len()
    }

    pub(super) fn get(&self, place: usize) -> Bytes {
        let (from, to) = self.ends[place];
        self.whole.slice(from as usize..to as usize)
    }

    pub(super) fn weight(&self) -> usize {
        self.whole.len() + self.ends.len() * size_of::<(u32, u32)>()
    }
}
