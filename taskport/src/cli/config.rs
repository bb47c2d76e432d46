//! `config`: what is configured, and by whom.

use clap::Subcommand;
use serde::Serialize;

use super::report::Report;
use super::session::Session;
use super::table::Table;
use crate::Result;
use crate::config::{Entry, schema};

/// Look at the configuration.
#[derive(Debug, Subcommand)]
pub(super) enum Command {
    /// Print every value with where it comes from; secrets are not shown
    Show,
    /// Load the configuration and say whether it is sound
    Check,
    /// Print the JSON Schema of the configuration file
    Schema,
}

pub(super) fn run(session: &Session, command: &Command) -> Result<Report> {
    match command {
        Command::Show => show(session),
        Command::Check => {
            let loaded = session.loaded()?;
            loaded.config.default_backend()?;
            session.remark_on_defaults(loaded);
            #[derive(Serialize)]
            struct Checked {
                ok: bool,
                file: Option<String>,
                profile: Option<String>,
            }
            let file = loaded.file.as_ref().map(|file| file.display().to_string());
            let text = match &file {
                Some(file) => format!("{file} is sound"),
                None => "the defaults are sound".to_owned(),
            };
            Report::new(text, &Checked { ok: true, file, profile: loaded.profile.clone() })
        }
        Command::Schema => {
            let schema = schema();
            Report::new(serde_json::to_string_pretty(&schema).unwrap_or_default(), &schema)
        }
    }
}

fn show(session: &Session) -> Result<Report> {
    let loaded = session.loaded()?;
    session.remark_on_defaults(loaded);
    let entries = loaded.entries();
    let mut table = Table::new(["key", "value", "origin"]);
    for entry in &entries {
        table.row([entry.key.clone(), entry.value.to_string(), entry.origin.to_string()]);
    }
    #[derive(Serialize)]
    struct Shown<'a> {
        file: Option<String>,
        profile: Option<&'a str>,
        entries: &'a [Entry],
    }
    let document = Shown {
        file: loaded.file.as_ref().map(|file| file.display().to_string()),
        profile: loaded.profile.as_deref(),
        entries: &entries,
    };
    Report::new(table, &document)
}
