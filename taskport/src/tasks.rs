//! Tasks and workflows that a configuration declares.

use std::fs::{self, File};
use std::io::{self, Read};
use std::path::{Path, PathBuf};

use taskport_abstraction::{Error, Result, codes, text};
use taskport_registry::{RegistryBuilder, WORKFLOW_BYTES_MAX, workflow_from_text};

use crate::config::Loaded;
use crate::stock;

/// Adds what the configuration declares to what the program does.
///
/// # Errors
/// `InvalidConfig` for a pattern of workflow files that matches nothing, `Unavailable` (E-037) for a file that cannot
/// be read, `InvalidInput` (E-016) for a malformed workflow.
pub(crate) fn add_configured(mut builder: RegistryBuilder, loaded: &Loaded) -> Result<RegistryBuilder> {
    for (name, config) in &loaded.config.tasks {
        let location = loaded.location(&["tasks", name.as_str()]);
        builder = builder.task(stock::definition(name.clone(), config, location, &loaded.variables)?);
    }
    for pattern in &loaded.config.workflows.files {
        for file in matching_files(pattern)? {
            let (workflow, location) =
                workflow_from_text(&read_workflow(&file)?, &file.display().to_string())?;
            builder = builder.workflow_at(workflow, location);
        }
    }
    Ok(builder)
}

/// The files a pattern stands for, by name; `*` is known in the last part only.
fn matching_files(pattern: &Path) -> Result<Vec<PathBuf>> {
    let name = pattern.file_name().map(|name| name.to_string_lossy().into_owned()).unwrap_or_default();
    if !name.contains('*') {
        return Ok(vec![pattern.to_owned()]);
    }
    let directory = match pattern.parent() {
        Some(parent) if !parent.as_os_str().is_empty() => parent,
        _ => Path::new("."),
    };
    let entries = fs::read_dir(directory).map_err(|source| unreadable(directory, source))?;
    let mut files = Vec::new();
    for entry in entries {
        let path = entry.map_err(|source| unreadable(directory, source))?.path();
        if path.file_name().is_some_and(|file| text::glob_matches(&name, &file.to_string_lossy())) {
            files.push(path);
        }
    }
    if files.is_empty() {
        let message = format!("no file matches `{}` of `workflows.files`", pattern.display());
        return Err(Error::new(&codes::CONFIG_VALUE, "load configuration", message));
    }
    files.sort();
    Ok(files)
}

fn read_workflow(path: &Path) -> Result<String> {
    let mut text = String::new();
    File::open(path)
        .and_then(|file| file.take(WORKFLOW_BYTES_MAX as u64 + 1).read_to_string(&mut text))
        .map_err(|source| unreadable(path, source))?;
    Ok(text)
}

fn unreadable(path: &Path, source: io::Error) -> Error {
    Error::new(&codes::FILE_IO, "load configuration", format!("`{}` cannot be read", path.display()))
        .caused_by(source)
}
