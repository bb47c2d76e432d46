//! Columns for people.

use std::fmt::{self, Write};

use super::terminal::Printable;

/// Rows under a head, each column as wide as its widest cell.
#[derive(Debug)]
pub(super) struct Table {
    rows: Vec<Vec<String>>,
}

impl Table {
    /// A table with the names of its columns.
    pub(super) fn new<const N: usize>(head: [&str; N]) -> Self {
        Self { rows: vec![head.map(str::to_uppercase).to_vec()] }
    }

    /// Adds a row. Cells are made harmless and of one line.
    pub(super) fn row<const N: usize>(&mut self, cells: [String; N]) {
        self.rows.push(cells.map(|cell| Printable(&cell).to_string()).to_vec());
    }
}

impl fmt::Display for Table {
    /// A table without rows is nothing at all.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.rows.len() < 2 {
            return Ok(());
        }
        let columns = self.rows[0].len();
        let widths: Vec<usize> = (0..columns)
            .map(|at| self.rows.iter().map(|row| row[at].chars().count()).max().unwrap_or(0))
            .collect();
        for row in &self.rows {
            let mut line = String::new();
            for (cell, width) in row.iter().zip(&widths) {
                write!(line, "{cell:<width$}  ")?;
            }
            writeln!(f, "{}", line.trim_end())?;
        }
        Ok(())
    }
}

/// Named facts, one on each line.
#[derive(Debug, Default)]
pub(super) struct Facts(Vec<(&'static str, String)>);

impl Facts {
    /// Adds a fact.
    pub(super) fn add(&mut self, name: &'static str, value: impl fmt::Display) {
        self.0.push((name, Printable(&value.to_string()).to_string()));
    }

    /// Adds a fact where there is one.
    pub(super) fn maybe(&mut self, name: &'static str, value: Option<impl fmt::Display>) {
        if let Some(value) = value {
            self.add(name, value);
        }
    }
}

impl fmt::Display for Facts {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let width = self.0.iter().map(|(name, _)| name.len()).max().unwrap_or(0);
        self.0.iter().try_for_each(|(name, value)| writeln!(f, "{name:<width$}  {value}"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn columns_align_and_an_empty_table_is_nothing() {
        let mut table = Table::new(["queue", "queued"]);
        assert_eq!(table.to_string(), "");
        table.row(["reports".into(), "3".into()]);
        table.row(["a\nb".into(), "12".into()]);
        assert_eq!(table.to_string(), "QUEUE    QUEUED\nreports  3\na\\nb     12\n");
    }
}
