//! What a file must say to be ours, and how a new one comes to say it.

use rusqlite::{Connection, TransactionBehavior};
use taskport_abstraction::{Error, Result, codes};

use crate::error::InStore;

/// `Tskp`, in the place of the header where `file` and SQLite look for the owner of a database.
pub(crate) const APPLICATION_ID: i64 = 0x5473_6b70;
/// The version of the schema this program writes.
pub(crate) const VERSION: i64 = 1;

/// The step from each version to the next.
const MIGRATIONS: [&str; VERSION as usize] = [include_str!("schema.sql")];

/// Checks that the file is ours or empty and returns the version of its schema, 0 for an empty one. Changes nothing.
///
/// # Errors
/// `STORE_FOREIGN`, `STORE_NEWER`; those of reading it.
pub(crate) fn identify(connection: &Connection) -> Result<i64> {
    // One snapshot: between two of the questions another process could make the file ours.
    let tx = connection.unchecked_transaction().during("open")?;
    identify_within(&tx)
}

fn identify_within(connection: &Connection) -> Result<i64> {
    let owner = pragma(connection, "application_id")?;
    let version = pragma(connection, "user_version")?;
    let objects: i64 =
        connection.query_row("SELECT count(*) FROM sqlite_schema", [], |row| row.get(0)).during("open")?;
    match (owner, version) {
        (APPLICATION_ID, 1..=VERSION) => Ok(version),
        (APPLICATION_ID, newer) if newer > VERSION => Err(Error::new(
            &codes::STORE_NEWER,
            "open",
            format!("the database has schema {newer}, and this program knows {VERSION}"),
        )
        .hint("update this program to the version that wrote the database")),
        (0, 0) if objects == 0 => Ok(0),
        _ => Err(Error::new(&codes::STORE_FOREIGN, "open", "the file is another program's database")
            .hint("give a new path, or the path of a Taskport database; the file was left as it is")),
    }
}

/// Brings the schema to this program's version, in one transaction.
///
/// # Errors
/// As [`identify`]; those of writing.
pub(crate) fn migrate(connection: &mut Connection) -> Result<()> {
    if identify(connection)? == VERSION {
        return Ok(());
    }
    let tx = connection.transaction_with_behavior(TransactionBehavior::Immediate).during("open")?;
    // Another process may have been faster.
    let version = identify_within(&tx)?;
    for step in MIGRATIONS.iter().skip(usize::try_from(version).unwrap_or(0)) {
        tx.execute_batch(step).during("open")?;
    }
    tx.pragma_update(None, "application_id", APPLICATION_ID).during("open")?;
    tx.pragma_update(None, "user_version", VERSION).during("open")?;
    tx.commit().during("open")
}

fn pragma(connection: &Connection, name: &str) -> Result<i64> {
    connection.pragma_query_value(None, name, |row| row.get(0)).during("open")
}
