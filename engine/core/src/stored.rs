//! The stored forms of options and failures: JSON in an envelope that carries a version.

#[cfg(test)]
mod tests;

use std::collections::HashMap;
use std::sync::Arc;

use crate::limits::is_bound;
use bytes::Bytes;
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};
use serde_json::value::RawValue;
use taskport_abstraction::{Error, Failure, FailureKind, JobOptions, Result, codes};

/// The version written. Readers accept this one and, once there is one, the one before.
pub(crate) const VERSION: u32 = 1;

#[derive(Serialize)]
struct Writing<'a, T> {
    v: u32,
    value: &'a T,
}

#[derive(Deserialize)]
struct Reading<'a> {
    v: u32,
    #[serde(borrow)]
    value: &'a RawValue,
}

/// The stored form of `value`.
///
/// # Errors
/// `Internal` where it has no JSON form.
pub(crate) fn encode<T: Serialize>(value: &T) -> Result<Bytes> {
    match serde_json::to_vec(&Writing { v: VERSION, value }) {
        Ok(bytes) => Ok(bytes.into()),
        Err(source) => {
            Err(Error::new(&codes::INTERNAL, "store", "a record has no JSON form").caused_by(source))
        }
    }
}

/// The value of a stored form called `what`.
///
/// # Errors
/// `Corrupt`: E-032 for a version we do not know, E-033 for what is no stored form.
pub(crate) fn decode<T: DeserializeOwned>(bytes: &[u8], what: &'static str) -> Result<T> {
    let undecodable = |source| {
        Error::new(&codes::UNDECODABLE, "read", format!("the stored {what} cannot be decoded"))
            .caused_by(source)
    };
    let envelope: Reading<'_> = serde_json::from_slice(bytes).map_err(undecodable)?;
    if envelope.v != VERSION {
        return Err(Error::new(
            &codes::BAD_VERSION,
            "read",
            format!("the stored {what} has version {}, and this program knows {VERSION}", envelope.v),
        )
        .hint("update this program to the version that wrote the database"));
    }
    serde_json::from_str(envelope.value.get()).map_err(undecodable)
}

/// The failure a job keeps. One that cannot be read says so in its place.
pub(crate) fn failure(bytes: &[u8]) -> Failure {
    decode(bytes, "failure").unwrap_or_else(|error| Failure::new(FailureKind::Undecodable, error.to_string()))
}

/// Remembers the options written and read lately, since the jobs of one task mostly ask for the same.
#[derive(Debug, Default)]
pub(crate) struct OptionsCodec {
    written: Option<(JobOptions, Bytes)>,
    last: Option<(Bytes, Arc<JobOptions>)>,
    read: HashMap<Bytes, Arc<JobOptions>>,
    default: Arc<JobOptions>,
}

/// How many options are remembered: about as many as there are keys in use.
const OPTIONS_MAX: usize = 1_024;
/// Larger ones are not remembered.
const OPTIONS_BYTES_MAX: usize = 4 << 10;

impl OptionsCodec {
    /// The stored form, or `None` for the default options.
    pub(crate) fn encode(&mut self, options: &JobOptions) -> Result<Option<Bytes>> {
        if *options == *self.default {
            return Ok(None);
        }
        match &self.written {
            Some((known, bytes)) if known == options => Ok(Some(bytes.clone())),
            _ => {
                let bytes = encode(options)?;
                if is_bound(options) || options.fair.is_some() {
                    self.remember(bytes.clone(), Arc::new(options.clone()));
                }
                self.written = Some((options.clone(), bytes.clone()));
                Ok(Some(bytes))
            }
        }
    }

    /// The options of a stored form.
    ///
    /// # Errors
    /// As [`decode`].
    pub(crate) fn decode(&mut self, bytes: Option<&Bytes>) -> Result<Arc<JobOptions>> {
        let Some(bytes) = bytes else { return Ok(self.default.clone()) };
        if let Some((known, options)) = &self.last
            && known == bytes
        {
            return Ok(options.clone());
        }
        let options = match self.read.get(bytes) {
            Some(options) => options.clone(),
            None => {
                let options: Arc<JobOptions> = Arc::new(decode(bytes, "options")?);
                self.remember(bytes.clone(), options.clone());
                options
            }
        };
        self.last = Some((bytes.clone(), options.clone()));
        Ok(options)
    }

    fn remember(&mut self, bytes: Bytes, options: Arc<JobOptions>) {
        if bytes.len() > OPTIONS_BYTES_MAX {
            return;
        }
        if self.read.len() >= OPTIONS_MAX {
            self.read.clear();
        }
        self.read.insert(bytes, options);
    }
}
