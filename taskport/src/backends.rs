//! The kinds of backends in this build. Adding one is one line in [`KINDS`] and one cargo feature.
#![cfg_attr(not(feature = "native"), expect(dead_code, unused_macros, reason = "a build without backends"))]

use std::collections::BTreeMap;
use std::sync::Arc;

use schemars::{JsonSchema, Schema, SchemaGenerator};
use serde::de::DeserializeOwned;
use taskport_abstraction::factory::{Factory, OpenBackend};
use taskport_abstraction::{Backend, BackendName, Capability, Environment, Error, Result, codes, text};

use crate::config::BackendConfig;

/// The row of an adapter crate, which has a `KIND` and a `factory()`.
macro_rules! kind {
    ($adapter:ident) => {
        Kind {
            name: $adapter::KIND,
            schema: |generator| schema($adapter::factory, generator),
            check: |options| decode($adapter::factory, options).map(drop),
            capability: |options| capability($adapter::factory(), options),
            open: |name, options, environment| {
                Box::pin(open($adapter::factory(), name, options, environment))
            },
        }
    };
}

/// Every kind in this build.
pub(crate) const KINDS: &[Kind] = &[
    #[cfg(feature = "native")]
    kind!(taskport_native),
];

/// One kind of backend: what it is called, what it is configured with, what it can do and how it is opened.
pub(crate) struct Kind {
    pub(crate) name: &'static str,
    pub(crate) schema: fn(&mut SchemaGenerator) -> Schema,
    pub(crate) check: fn(Options) -> Result<(), Box<figment::Error>>,
    pub(crate) capability: fn(Options) -> Result<Capability>,
    pub(crate) open: OpenBackend<Options>,
}

/// The options of an adapter, as a configuration writes them.
pub(crate) type Options = BTreeMap<String, serde_json::Value>;

/// The kind called `name`.
///
/// # Errors
/// `InvalidConfig` (E-022) with the nearest kind.
pub(crate) fn find(name: &str) -> Result<&'static Kind> {
    KINDS.iter().find(|kind| kind.name == name).ok_or_else(|| {
        let error = Error::new(
            &codes::UNKNOWN_BACKEND,
            "choose a backend",
            format!("this program was built without the kind `{name}`"),
        );
        match text::nearest(name, KINDS.iter().map(|kind| kind.name)) {
            Some(near) => error.hint(format!("did you mean `{near}`?")),
            None => error.hint("each kind is a cargo feature of the crate `taskport`"),
        }
    })
}

/// The backends of a configuration that names none.
pub(crate) fn default_backends() -> BTreeMap<BackendName, BackendConfig> {
    if cfg!(not(feature = "native")) {
        return BTreeMap::new();
    }
    let main = BackendConfig::new("native").option("url", "sqlite://taskport.db");
    BackendName::new("main").into_iter().map(|name| (name, main.clone())).collect()
}

fn schema<C: JsonSchema>(_: fn() -> Factory<C>, generator: &mut SchemaGenerator) -> Schema {
    C::json_schema(generator)
}

async fn open<C: DeserializeOwned>(
    factory: Factory<C>,
    name: BackendName,
    options: Options,
    environment: Environment,
) -> Result<Arc<dyn Backend>> {
    (factory.open)(name, plain(options)?, environment).await
}

fn capability<C: DeserializeOwned>(factory: Factory<C>, options: Options) -> Result<Capability> {
    (factory.capability)(&plain(options)?)
}

/// The options of a configuration made by a program, which has no lines to name.
fn plain<C: DeserializeOwned>(options: Options) -> Result<C> {
    serde_json::from_value(options.into_iter().collect()).map_err(|source| {
        Error::new(&codes::CONFIG_VALUE, "open", "the options do not fit the kind of backend")
            .caused_by(source)
    })
}

/// The options of a file, so read that a mistake names its key.
fn decode<C: DeserializeOwned>(_: fn() -> Factory<C>, options: Options) -> Result<C, Box<figment::Error>> {
    Ok(figment::value::Value::serialize(options)?.deserialize()?)
}
