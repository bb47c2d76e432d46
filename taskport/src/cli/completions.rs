//! `completions`: what a shell needs to complete commands and options.

use clap::{Args, CommandFactory};
use clap_complete::Shell;
use serde::Serialize;

use super::report::Report;
use super::session::Session;
use crate::Result;

/// Print completions for a shell.
#[derive(Debug, Args)]
pub(super) struct Completions {
    /// The shell
    #[arg(value_enum)]
    shell: Shell,
}

pub(super) fn run(session: &Session, completions: &Completions) -> Result<Report> {
    let mut script = Vec::new();
    clap_complete::generate(completions.shell, &mut super::Cli::command(), session.program(), &mut script);
    let script = String::from_utf8_lossy(&script);
    #[derive(Serialize)]
    struct Script<'a> {
        shell: String,
        script: &'a str,
    }
    Report::new(&script, &Script { shell: completions.shell.to_string(), script: &script })
}
