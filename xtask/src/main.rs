//! Project automation. `cargo xtask test` installs and starts what is missing, then runs every test.

#![expect(clippy::print_stdout, clippy::print_stderr, reason = "a command line tool speaks on its streams")]

mod bench;
mod contract;
mod faults;
mod generate;
mod lint;
mod process;
mod sim;
mod test;
mod tidy;

use std::process::ExitCode;

use clap::{Parser, Subcommand};

#[derive(Parser)]
#[command(name = "cargo xtask", about = "Lint, check and test the project")]
struct Arguments {
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    /// Format, tidy, clippy, licences and sources, docs
    Lint,
    /// The rules of the house: arrows between rooms, adapter folders, error pages, generated files
    Tidy,
    /// Installs what is missing, then runs every test
    Test {
        /// Only the adapter of this name
        #[arg(long)]
        adapter: Option<String>,
        /// Unit tests and the contract suite in memory, in a few minutes
        #[arg(long)]
        quick: bool,
    },
    /// The contract suite against every backend, or one kind
    Contract {
        /// Only this kind
        #[arg(long)]
        backend: Option<String>,
        /// One JSON object a kind on standard output
        #[arg(long)]
        json: bool,
    },
    /// Side by side with peers and a hand-written loop, in one run
    Bench(bench::Bench),
    /// The engine in a made-up world by seed, with faults; prints how to play a broken promise again
    #[command(disable_help_flag = true)]
    Sim {
        /// Those of the simulation: `--help` tells them
        #[arg(trailing_var_arg = true, allow_hyphen_values = true)]
        arguments: Vec<String>,
    },
    /// Breaks real processes and has the checker judge what came of it
    Faults(faults::Options),
    /// Writes the generated documents anew
    Generate,
}

fn main() -> ExitCode {
    let done = match Arguments::parse().command {
        Command::Lint => lint::run(),
        Command::Tidy => tidy::run(),
        Command::Test { adapter, quick } => test::run(adapter.as_deref(), quick),
        Command::Contract { backend, json } => contract::run(backend.as_deref(), json),
        Command::Bench(bench) => bench::run(&bench),
        Command::Sim { arguments } => sim::run(&arguments),
        Command::Faults(options) => faults::run(&options),
        Command::Generate => generate::write(),
    };
    match done {
        Ok(Verdict::Holds) => ExitCode::SUCCESS,
        Ok(Verdict::FallsShort) => ExitCode::from(1),
        Err(error) => {
            eprintln!("error: {error:#}");
            ExitCode::from(2)
        }
    }
}

/// What a command found: exit code 0 or 1. An `Err` is 2: misused, or it could not run.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Verdict {
    Holds,
    FallsShort,
}

impl Verdict {
    fn from_bool(holds: bool) -> Self {
        if holds { Self::Holds } else { Self::FallsShort }
    }
}
