//! The command line, for a program's own binary: `fn main() -> ExitCode { taskport::main(registry![…]) }`.
//!
//! Results go to standard output and all else to standard error. The exit code is 0 where all is well, 1 where the
//! command was carried out and fell short, 2 where it was misused or something could not be loaded. With `--json` the
//! result is one JSON document on one line, whose fields are a contract.

mod backend;
mod call;
mod check;
mod completions;
mod config;
mod dead;
#[cfg(feature = "demo")]
mod demo;
mod doctor;
mod graph;
mod init;
mod job;
mod listing;
mod logging;
mod logs;
mod maintain;
mod outbox;
mod progress;
mod queue;
mod registry;
mod report;
mod run;
mod runs;
mod schedule;
mod session;
mod submit;
mod table;
mod terminal;
mod usage;
mod value;
mod wire;
mod worker;

use std::ffi::OsString;
use std::process::ExitCode;

use clap::Parser;
use taskport_registry::RegistryBuilder;
#[cfg(feature = "otel")]
use tracing_subscriber::Layer;

use self::report::{Format, Report, conclude};
use self::session::{Global, Session};
use self::terminal::Terminal;
use self::usage::Refusal;
use crate::abstraction::codes;
#[cfg(feature = "otel")]
use crate::telemetry::SpanExport;
use crate::{Error, Result};

/// Tasks and workflows on any task queue
#[derive(Debug, Parser)]
#[command(name = "taskport", version, max_term_width = 100)]
struct Cli {
    #[command(flatten)]
    global: Global,
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, clap::Subcommand)]
enum Command {
    Init(init::Init),
    Worker(worker::Worker),
    Submit(Box<submit::Submit>),
    #[command(subcommand)]
    Job(job::Command),
    Run(run::Run),
    #[command(subcommand)]
    Runs(runs::Command),
    #[command(subcommand)]
    Queue(queue::Command),
    #[command(subcommand)]
    Schedule(schedule::Command),
    #[command(subcommand)]
    Dead(dead::Command),
    #[command(subcommand)]
    Maintain(maintain::Command),
    #[command(subcommand)]
    Outbox(outbox::Command),
    #[command(subcommand)]
    Registry(registry::Command),
    #[command(subcommand)]
    Backend(backend::Command),
    #[command(subcommand)]
    Config(config::Command),
    Check(check::Check),
    Doctor(doctor::Doctor),
    #[cfg(feature = "demo")]
    Demo(demo::Demo),
    Completions(completions::Completions),
}

/// Runs the command line with the tasks and workflows of `registry`, usually `registry![…]`, and those of the
/// configuration.
///
/// It also serves as [`child_hook`](crate::child_hook), so that isolated tasks work where it is the first thing in
/// `main`.
pub fn main(registry: impl Into<RegistryBuilder>) -> ExitCode {
    let registry = registry.into();
    crate::child_hook(&registry);
    let terminal = Terminal::detect();
    let arguments: Vec<OsString> = std::env::args_os().collect();
    match Cli::try_parse_from(&arguments) {
        Ok(cli) => {
            let session = Session::new(program(&arguments), cli.global, terminal, registry);
            conclude(execute(&session, cli.command), session.format(), terminal)
        }
        Err(error) => refuse(error.into(), &arguments, terminal),
    }
}

fn refuse(refusal: Refusal, arguments: &[OsString], terminal: Terminal) -> ExitCode {
    // The arguments could not be read, so that this is all that is known of the wish for JSON.
    let json = arguments.iter().take_while(|argument| *argument != "--").any(|argument| argument == "--json");
    let format = if json { Format::Json } else { Format::Text };
    match refusal {
        Refusal::Asked(text) => conclude(Report::new(&text, &text), Format::Text, terminal),
        Refusal::Missing(help, error) => {
            terminal.line(help);
            conclude(Err(error), format, terminal)
        }
        Refusal::Mistake(error) => conclude(Err(error), format, terminal),
    }
}

fn execute(session: &Session, command: Command) -> Result<Report> {
    let log = match &command {
        // Only these stay long enough for their log to be of use.
        Command::Worker(_) => session.loaded()?.config.log.clone(),
        _ => logging::quiet(),
    };
    #[cfg(feature = "otel")]
    let export = match &command {
        // Only these submit or run jobs; the others may have nothing to load.
        Command::Worker(_) | Command::Submit(_) | Command::Run(_) => SpanExport::start(session.loaded()?)?,
        _ => None,
    };
    #[cfg(feature = "otel")]
    let other = export.as_ref().map(|export| export.layer().boxed());
    #[cfg(not(feature = "otel"))]
    let other = None;
    logging::start(session.log_filter().unwrap_or(&log.filter), log.format, session.terminal, other)?;
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build().map_err(|source| {
        Error::new(&codes::INTERNAL, "start", "the runtime cannot be started").caused_by(source)
    })?;
    let answer = runtime.block_on(async {
        let answer = dispatch(session, command).await;
        let closed = session.close().await;
        let report = answer?;
        closed.map(|()| report)
    });
    #[cfg(feature = "otel")]
    if let Some(export) = export {
        export.close();
    }
    answer
}

async fn dispatch(session: &Session, command: Command) -> Result<Report> {
    match command {
        Command::Worker(worker) => worker::run(session, worker).await,
        Command::Submit(submit) => submit::run(session, *submit).await,
        Command::Job(command) => job::run(session, command).await,
        Command::Run(run) => run::run(session, run).await,
        Command::Runs(command) => runs::run(session, command).await,
        Command::Queue(command) => queue::run(session, command).await,
        Command::Schedule(command) => schedule::run(session, command).await,
        Command::Dead(command) => dead::run(session, command).await,
        Command::Maintain(command) => maintain::run(session, command).await,
        Command::Outbox(command) => outbox::run(session, command).await,
        Command::Registry(command) => registry::run(session, command),
        Command::Backend(command) => backend::run(session, command).await,
        Command::Config(command) => config::run(session, &command),
        Command::Check(check) => check::run(session, &check),
        Command::Doctor(doctor) => doctor::run(session, &doctor).await,
        #[cfg(feature = "demo")]
        Command::Demo(demo) => demo::run(session, demo).await,
        Command::Init(init) => init::run(&init),
        Command::Completions(completions) => completions::run(session, &completions),
    }
}

/// The name the program was called by.
fn program(arguments: &[OsString]) -> String {
    let path = arguments.first().map(std::path::Path::new).and_then(std::path::Path::file_name);
    path.map_or_else(|| "taskport".to_owned(), |name| name.to_string_lossy().into_owned())
}

#[cfg(test)]
mod tests {
    use clap::CommandFactory;

    use super::*;

    #[test]
    fn the_command_line_is_consistent() {
        Cli::command().debug_assert();
    }

    #[test]
    fn every_command_is_in_the_reference() {
        const REFERENCE: &str = include_str!("../../docs/reference/command-line.md");
        fn check(command: &clap::Command, path: &str) {
            let commands: Vec<_> =
                command.get_subcommands().filter(|command| command.get_name() != "help").collect();
            if commands.is_empty() {
                let open = format!("`{}", path.trim_start());
                let named =
                    REFERENCE.contains(&format!("{open}`")) || REFERENCE.contains(&format!("{open} "));
                assert!(named, "`{path}` is not in docs/reference/command-line.md");
                assert!(command.get_about().is_some(), "`{path}` does not say what it does");
            }
            commands.iter().for_each(|command| check(command, &format!("{path} {}", command.get_name())));
        }
        check(&Cli::command(), "");
    }
}
