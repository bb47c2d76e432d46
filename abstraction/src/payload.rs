//! Bytes with a content type, carried without being decoded.

use std::fmt;
use std::sync::Arc;

use bytes::Bytes;
use serde::Serialize;
use serde::de::DeserializeOwned;

use crate::codes;
use crate::error::Error;

/// What the bytes of a payload are.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Default)]
#[non_exhaustive]
pub enum ContentType {
    /// `application/json`, the default.
    #[default]
    Json,
    /// `application/msgpack`.
    MessagePack,
    /// Anything else, kept verbatim and never decoded here.
    Other(Arc<str>),
}

impl ContentType {
    /// The MIME type.
    pub fn as_str(&self) -> &str {
        match self {
            Self::Json => "application/json",
            Self::MessagePack => "application/msgpack",
            Self::Other(name) => name,
        }
    }
}

impl From<&str> for ContentType {
    fn from(text: &str) -> Self {
        match text {
            "application/json" => Self::Json,
            "application/msgpack" | "application/x-msgpack" => Self::MessagePack,
            other => Self::Other(Arc::from(other)),
        }
    }
}

/// Bytes with a content type. Clones share the bytes; `Debug` shows only their number (I7).
#[derive(Clone, PartialEq, Eq, Default)]
pub struct Payload {
    /// What the bytes are.
    pub content_type: ContentType,
    /// The bytes.
    pub bytes: Bytes,
}

impl Payload {
    /// A payload that is already JSON text.
    pub fn json(bytes: impl Into<Bytes>) -> Self {
        Self { content_type: ContentType::Json, bytes: bytes.into() }
    }

    /// The JSON form of `value`.
    ///
    /// # Errors
    /// `InvalidInput` where the value has no JSON form (a map with keys that are no text, say).
    pub fn encode<T: Serialize + ?Sized>(value: &T) -> Result<Self, Error> {
        serde_json::to_vec(value).map(Self::json).map_err(|source| {
            Error::new(&codes::BAD_ARGUMENTS, "encode", "the value has no JSON form").caused_by(source)
        })
    }

    /// Reads the payload as a `T`.
    ///
    /// # Errors
    /// `Corrupt` where the content type is not JSON; `InvalidInput` (E-013) where the JSON is no `T`.
    pub fn decode<T: DeserializeOwned>(&self) -> Result<T, Error> {
        serde_json::from_slice(self.as_json()?).map_err(|source| {
            Error::new(
                &codes::RESULT_TYPE,
                "decode",
                format!("the value is not a `{}`", std::any::type_name::<T>()),
            )
            .caused_by(source)
        })
    }

    /// The bytes, where they are JSON.
    ///
    /// # Errors
    /// `Corrupt` (E-033) for every other content type.
    pub fn as_json(&self) -> Result<&[u8], Error> {
        match self.content_type {
            ContentType::Json => Ok(&self.bytes),
            ref other => Err(Error::new(
                &codes::UNDECODABLE,
                "decode",
                format!("content type `{}` cannot be decoded here", other.as_str()),
            )),
        }
    }

    /// The number of bytes.
    pub fn len(&self) -> usize {
        self.bytes.len()
    }

    /// Whether there are no bytes.
    pub fn is_empty(&self) -> bool {
        self.bytes.is_empty()
    }
}

impl fmt::Debug for Payload {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Payload({}, {} bytes)", self.content_type.as_str(), self.bytes.len())
    }
}
