//! What a file must say to be ours, and how a new one comes to say it.

mod shape;

use rusqlite::{Connection, OptionalExtension, TransactionBehavior};
use taskport_abstraction::{Error, Result, codes};

use crate::error::InStore;

/// `Tskp`, in the place of the header where `file` and SQLite look for the owner of a database.
pub(crate) const APPLICATION_ID: i64 = 0x5473_6b70;
/// The version of the schema this program writes.
pub(crate) const VERSION: i64 = 2;

/// What a new file begins with: the tables of version 1, under their names since version 2.
const BASE: &str = include_str!("schema/base.sql");
/// What a file of version 1 begins with, to be the same.
const RENAME: &str = include_str!("schema/v2/rename.sql");
/// What both are followed by.
const INDEXES: &str = include_str!("schema/indexes.sql");
/// What version 2 adds.
const V2: [&str; 6] = [
    include_str!("schema/v2/runs.sql"),
    include_str!("schema/v2/limits.sql"),
    include_str!("schema/v2/schedules.sql"),
    include_str!("schema/v2/inbox.sql"),
    include_str!("schema/v2/journal.sql"),
    include_str!("schema/v2/upkeep.sql"),
];

/// What a file is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Identity {
    /// The version of the schema, 0 where there is none yet.
    pub(crate) version: i64,
    /// Whether the file as a whole is ours, so that its header is.
    pub(crate) owned: bool,
}

/// Checks that the file is ours, empty or, where it is to be shared, anybody's. Changes nothing.
///
/// # Errors
/// `STORE_FOREIGN`, `STORE_NEWER`; those of reading it.
pub(crate) fn identify(connection: &Connection, shared_file: bool) -> Result<Identity> {
    // One snapshot: between two of the questions another process could make the file ours.
    let tx = connection.unchecked_transaction().during("open")?;
    identify_within(&tx, shared_file)
}

fn identify_within(connection: &Connection, shared_file: bool) -> Result<Identity> {
    let owner = pragma(connection, "application_id")?;
    let header_version = pragma(connection, "user_version")?;
    let objects: i64 =
        connection.query_row("SELECT count(*) FROM sqlite_schema", [], |row| row.get(0)).during("open")?;
    let owned = owner == APPLICATION_ID || (owner == 0 && header_version == 0 && objects == 0);
    let version = table_version(connection)?.unwrap_or(0).max(if owned { header_version } else { 0 });
    match version {
        newer if newer > VERSION => Err(Error::new(
            &codes::STORE_NEWER,
            "open",
            format!("the database has schema {newer}, and this program knows {VERSION}"),
        )
        .hint("update this program to the version that wrote the database")),
        0 if !owned && !shared_file => {
            Err(Error::new(&codes::STORE_FOREIGN, "open", "the file is another program's database").hint(
                "give a new path, or say `shared_file = true` to keep jobs beside that program's tables; the file \
                 was left as it is",
            ))
        }
        version => Ok(Identity { version, owned: owned && !(shared_file && version == 0) }),
    }
}

/// The version since the second, which does not need the header.
fn table_version(connection: &Connection) -> Result<Option<i64>> {
    let sql = "SELECT 1 FROM sqlite_schema WHERE type = 'table' AND name = 'taskport_schema'";
    if connection.query_row(sql, [], |_| Ok(())).optional().during("open")?.is_none() {
        return Ok(None);
    }
    connection
        .query_row("SELECT version FROM taskport_schema", [], |row| row.get(0))
        .optional()
        .during("open")
}

/// Brings the schema to this program's version, in one transaction, and checks that it is whole.
///
/// # Errors
/// As [`identify`]; `STORE_CORRUPT`; those of writing.
pub(crate) fn migrate(connection: &mut Connection, shared_file: bool) -> Result<()> {
    if identify(connection, shared_file)?.version != VERSION {
        advance(connection, shared_file)?;
    }
    shape::check(connection)
}

fn advance(connection: &mut Connection, shared_file: bool) -> Result<()> {
    let tx = connection.transaction_with_behavior(TransactionBehavior::Immediate).during("open")?;
    // Another process may have been faster.
    let Identity { version, owned } = identify_within(&tx, shared_file)?;
    if version == VERSION {
        return Ok(());
    }
    write(&tx, version)?;
    tx.execute("UPDATE taskport_schema SET version = ?1", [VERSION]).during("open")?;
    if owned {
        tx.pragma_update(None, "application_id", APPLICATION_ID).during("open")?;
        // Programs from before the second version look here, and see that they are too old.
        tx.pragma_update(None, "user_version", VERSION).during("open")?;
    }
    tx.commit().during("open")
}

/// Makes of a file of `version`, or of an empty one, what this version has.
fn write(connection: &Connection, version: i64) -> Result<()> {
    let begin = if version == 0 { BASE } else { RENAME };
    [begin, INDEXES].iter().chain(&V2).try_for_each(|script| connection.execute_batch(script).during("open"))
}

fn pragma(connection: &Connection, name: &str) -> Result<i64> {
    connection.pragma_query_value(None, name, |row| row.get(0)).during("open")
}
