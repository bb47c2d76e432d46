//! `init`: a place to start from.

use std::path::{Path, PathBuf};

use clap::Args;
use serde::Serialize;

use super::report::Report;
use super::value;
use crate::abstraction::codes;
use crate::config::DEFAULT_FILE;
use crate::{Error, Result};

/// Write a configuration with an example task and workflow.
#[derive(Debug, Args)]
pub(super) struct Init {
    /// The directory, which is created where it does not exist
    #[arg(default_value = ".")]
    directory: PathBuf,
}

const FILES: [(&str, &str); 2] = [
    (DEFAULT_FILE, include_str!("init/taskport.toml")),
    ("workflows/greetings.yaml", include_str!("init/greetings.yaml")),
];

pub(super) fn run(init: &Init) -> Result<Report> {
    // All or nothing: what is in the way is found before anything is written.
    for (name, _) in FILES {
        let path = init.directory.join(name);
        if path.symlink_metadata().is_ok() {
            let message = format!("`{}` is there already", path.display());
            return Err(Error::new(&codes::FILE_IO, "write file", message)
                .hint("nothing is overwritten: move it away, or name another directory"));
        }
    }
    let mut written = Vec::new();
    for (name, text) in FILES {
        let path = init.directory.join(name);
        if let Some(folder) = path.parent() {
            create(folder)?;
        }
        value::write_new(&path, text)?;
        written.push(path.display().to_string());
    }
    #[derive(Serialize)]
    struct Written<'a> {
        written: &'a [String],
    }
    let text = format!(
        "{}\n\nTry it, in two terminals:\n  taskport worker\n  taskport submit greet name=Ada --wait\n",
        written.join("\n")
    );
    Report::new(text, &Written { written: &written })
}

fn create(folder: &Path) -> Result<()> {
    std::fs::create_dir_all(folder).map_err(|source| {
        let message = format!("the directory `{}` cannot be created", folder.display());
        Error::new(&codes::FILE_IO, "write file", message).caused_by(source)
    })
}
