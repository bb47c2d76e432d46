//! Whether a file has every column and index that its version has.
//!
//! SQLite reads its schema as text, and one wrong bit there can make it pass by every waiting job without a word.

use std::collections::BTreeSet;
use std::sync::OnceLock;

use rusqlite::Connection;
use taskport_abstraction::Result;

use crate::error::{InStore, damaged};

/// Columns by what they hold, since an older file that was migrated has them in another order; indexes by their text.
const PARTS: &str = "
    SELECT 'column `' || columns.name || '` of `' || tables.name || '`',
           concat_ws(',', columns.type, columns.\"notnull\", columns.dflt_value, columns.pk)
        FROM sqlite_schema AS tables, pragma_table_info(tables.name) AS columns
        WHERE tables.type = 'table' AND tables.name GLOB 'taskport_*'
    UNION ALL
    SELECT 'index `' || name || '`', sql FROM sqlite_schema
        WHERE type = 'index' AND tbl_name GLOB 'taskport_*' AND sql IS NOT NULL";

/// What a part is, and how it is made.
type Parts = BTreeSet<(String, String)>;

/// Checks that nothing of what a new file has is missing or another in this one. More may be there.
///
/// # Errors
/// `STORE_CORRUPT`; those of reading it.
pub(super) fn check(connection: &Connection) -> Result<()> {
    static EXPECTED: OnceLock<Parts> = OnceLock::new();
    let expected = match EXPECTED.get() {
        Some(expected) => expected,
        None => {
            let made = of_new_file()?;
            EXPECTED.get_or_init(|| made)
        }
    };
    match expected.difference(&parts(connection)?).next() {
        None => Ok(()),
        Some((part, _)) => Err(damaged(format!("{part} is not as this version of the schema has it"))),
    }
}

fn of_new_file() -> Result<Parts> {
    let new = Connection::open_in_memory().during("open")?;
    super::write(&new, 0)?;
    parts(&new)
}

fn parts(connection: &Connection) -> Result<Parts> {
    let mut statement = connection.prepare(PARTS).during("open")?;
    let rows = statement.query_map([], |row| Ok((row.get(0)?, row.get(1)?))).during("open")?;
    rows.collect::<rusqlite::Result<_>>().during("open")
}
