//! Short keys of names and runs, remembered.

use std::collections::HashMap;
use std::sync::Arc;

use rusqlite::types::{ToSql, ToSqlOutput, ValueRef};
use rusqlite::{Connection, OptionalExtension};
use taskport_abstraction::id::{uuid_bytes, uuid_text};
use taskport_abstraction::{Error, Result, RunId, codes};

use crate::error::{InStore, damaged};

/// How many names or runs are remembered.
const REMEMBERED_MAX: usize = 10_000;

/// The table `names`, as far as it was used.
#[derive(Debug, Default)]
pub(crate) struct Names {
    keys: HashMap<Arc<str>, i64>,
    texts: HashMap<i64, Arc<str>>,
}

impl Names {
    /// The key of a name, given one where it has none.
    pub(crate) fn key_or_insert(&mut self, connection: &Connection, text: &str) -> Result<i64> {
        if let Some(key) = self.key(connection, text)? {
            return Ok(key);
        }
        let mut insert =
            connection.prepare_cached("INSERT INTO taskport_names (text) VALUES (?1)").during("write")?;
        let key = insert.insert([text]).during("write")?;
        self.remember(key, text);
        Ok(key)
    }

    /// The key of a name, where it has one.
    pub(crate) fn key(&mut self, connection: &Connection, text: &str) -> Result<Option<i64>> {
        if let Some(key) = self.keys.get(text) {
            return Ok(Some(*key));
        }
        let mut select =
            connection.prepare_cached("SELECT key FROM taskport_names WHERE text = ?1").during("read")?;
        let key = select.query_row([text], |row| row.get(0)).optional().during("read")?;
        if let Some(key) = key {
            self.remember(key, text);
        }
        Ok(key)
    }

    /// The name of a key.
    pub(crate) fn text(&mut self, connection: &Connection, key: i64) -> Result<Arc<str>> {
        if let Some(text) = self.texts.get(&key) {
            return Ok(text.clone());
        }
        let mut select =
            connection.prepare_cached("SELECT text FROM taskport_names WHERE key = ?1").during("read")?;
        let text: Option<String> = select.query_row([key], |row| row.get(0)).optional().during("read")?;
        let text = text.ok_or_else(|| damaged(format!("no name has the key {key}")))?;
        Ok(self.remember(key, &text))
    }

    /// Forgets everything, since a transaction that wrote names was rolled back.
    pub(crate) fn forget(&mut self) {
        self.keys.clear();
        self.texts.clear();
    }

    fn remember(&mut self, key: i64, text: &str) -> Arc<str> {
        if self.keys.len() >= REMEMBERED_MAX {
            self.forget();
        }
        let text: Arc<str> = text.into();
        self.keys.insert(text.clone(), key);
        self.texts.insert(key, text.clone());
        text
    }
}

/// The runs whose jobs were seen lately, by their short key.
#[derive(Debug, Default)]
pub(crate) struct RunKeys {
    keys: HashMap<RunId, i64>,
    ids: HashMap<i64, RunId>,
}

impl RunKeys {
    /// The key of a run that must exist.
    pub(crate) fn key(&mut self, connection: &Connection, run: &RunId) -> Result<i64> {
        self.find(connection, run)?
            .ok_or_else(|| Error::new(&codes::RUN_NOT_FOUND, "store", format!("there is no run `{run}`")))
    }

    /// The key of a run.
    pub(crate) fn find(&mut self, connection: &Connection, run: &RunId) -> Result<Option<i64>> {
        if let Some(key) = self.keys.get(run) {
            return Ok(Some(*key));
        }
        let mut select =
            connection.prepare_cached("SELECT seq FROM taskport_runs WHERE id = ?1").during("read")?;
        let key =
            select.query_row([StoredId::new(run.as_str())], |row| row.get(0)).optional().during("read")?;
        if let Some(key) = key {
            self.remember(key, run.clone());
        }
        Ok(key)
    }

    /// The id of a run.
    pub(crate) fn id(&mut self, connection: &Connection, key: i64) -> Result<RunId> {
        if let Some(id) = self.ids.get(&key) {
            return Ok(id.clone());
        }
        let mut select =
            connection.prepare_cached("SELECT id FROM taskport_runs WHERE seq = ?1").during("read")?;
        let id = select
            .query_row([key], |row| Ok(id_text(row.get_ref(0)?)))
            .optional()
            .during("read")?
            .ok_or_else(|| damaged(format!("no run has the key {key}")))??;
        let id = RunId::new(id)?;
        self.remember(key, id.clone());
        Ok(id)
    }

    pub(crate) fn forget(&mut self) {
        self.keys.clear();
        self.ids.clear();
    }

    fn remember(&mut self, key: i64, run: RunId) {
        if self.keys.len() >= REMEMBERED_MAX {
            self.forget();
        }
        self.keys.insert(run.clone(), key);
        self.ids.insert(key, run);
    }
}

/// An id as the tables hold it: 16 bytes where it is a lower-case UUID, else its text.
pub(crate) struct StoredId<'a> {
    text: &'a str,
    uuid: Option<[u8; 16]>,
}

impl<'a> StoredId<'a> {
    pub(crate) fn new(text: &'a str) -> Self {
        Self { text, uuid: uuid_bytes(text) }
    }
}

impl ToSql for StoredId<'_> {
    fn to_sql(&self) -> rusqlite::Result<ToSqlOutput<'_>> {
        Ok(ToSqlOutput::Borrowed(match &self.uuid {
            Some(bytes) => ValueRef::Blob(bytes),
            None => ValueRef::Text(self.text.as_bytes()),
        }))
    }
}

/// The text of an id as the tables hold it.
pub(crate) fn id_text(value: ValueRef<'_>) -> Result<Arc<str>> {
    match value {
        ValueRef::Blob(bytes) => match bytes.try_into() {
            Ok(bytes) => Ok(uuid_text(bytes)),
            Err(_) => Err(damaged("an id has the wrong length")),
        },
        ValueRef::Text(text) => {
            std::str::from_utf8(text).map(Arc::from).map_err(|_| damaged("an id is no text"))
        }
        _ => Err(damaged("an id is neither bytes nor text")),
    }
}
