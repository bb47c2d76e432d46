//! Running one program in an empty folder, and what is made of several runs of it.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result};
use serde_json::Value;

use crate::process::output;

/// Runs programs, each in a folder of its own under `target/bench`, which is the disk that is measured.
#[derive(Debug)]
pub(crate) struct Runner {
    folder: PathBuf,
}

/// The figures of one program, by name, of each of its runs.
#[derive(Debug, Default)]
pub(crate) struct Figures(BTreeMap<String, Vec<f64>>);

impl Runner {
    pub(crate) fn new(folder: &Path) -> Self {
        Self { folder: folder.join("run") }
    }

    /// Runs a program with `--dir` and the arguments, and keeps the figures it prints.
    pub(crate) fn run(&self, command: &mut Command, figures: &mut Figures) -> Result<()> {
        if self.folder.exists() {
            fs::remove_dir_all(&self.folder)?;
        }
        fs::create_dir_all(&self.folder)?;
        command.arg("--dir").arg(&self.folder);
        let text = output(command);
        fs::remove_dir_all(&self.folder)?;
        figures.add(&text?)
    }
}

impl Figures {
    /// Takes what a program printed: one JSON object.
    pub(crate) fn add(&mut self, text: &str) -> Result<()> {
        let printed: BTreeMap<String, Value> =
            serde_json::from_str(text).with_context(|| format!("no figures: {text}"))?;
        for (name, value) in printed {
            if let Some(number) = value.as_f64() {
                self.0.entry(name).or_default().push(number);
            }
        }
        Ok(())
    }

    /// The median of a figure over all runs.
    pub(crate) fn median(&self, name: &str) -> Result<f64> {
        let samples = self.0.get(name).with_context(|| format!("no figure `{name}`"))?;
        median(samples).with_context(|| format!("no figure `{name}`"))
    }
}

fn median(samples: &[f64]) -> Option<f64> {
    let mut sorted = samples.to_vec();
    sorted.sort_by(f64::total_cmp);
    let middle = sorted.len() / 2;
    let upper = *sorted.get(middle)?;
    Some(if sorted.len() % 2 == 1 { upper } else { f64::midpoint(sorted[middle - 1], upper) })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_median_is_the_middle_or_between_the_two() {
        assert_eq!(median(&[]), None);
        assert_eq!(median(&[3.0, 1.0, 2.0]), Some(2.0));
        assert_eq!(median(&[4.0, 1.0, 2.0, 3.0]), Some(2.5));
    }

    #[test]
    fn figures_are_gathered_by_name() {
        let mut figures = Figures::default();
        figures.add(r#"{"peer": "a", "rate": 1.0}"#).unwrap();
        figures.add(r#"{"peer": "a", "rate": 3}"#).unwrap();
        assert_eq!(figures.median("rate").unwrap(), 2.0);
        assert!(figures.median("peer").is_err());
        assert!(figures.add("thread panicked").is_err());
    }
}
