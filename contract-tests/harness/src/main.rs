//! `taskport-harness`: the campaign, and the processes it breaks.

#![expect(clippy::print_stdout, clippy::print_stderr, reason = "a command line tool speaks on its streams")]

use std::path::PathBuf;
use std::process::ExitCode;

use anyhow::{Context, Result};
use clap::{Parser, Subcommand};
use taskport_harness::campaign::{Campaign, Plan};
use taskport_harness::victim;

#[derive(Parser)]
#[command(name = "taskport-harness", about = "Breaks real processes of the engine")]
struct Arguments {
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    /// Runs rounds of faults until the time is over and says what came of them
    Campaign {
        /// How long
        #[arg(long, default_value_t = 5.0)]
        minutes: f64,
        /// What everything random is drawn from; left out, a fresh one
        #[arg(long)]
        seed: Option<u64>,
        /// Ends early once so many jobs were judged
        #[arg(long)]
        jobs: Option<u64>,
        /// Only rounds of this scenario, one of them
        #[arg(long)]
        scenario: Option<String>,
        /// A release from before, to run beside this program
        #[arg(long)]
        old_binary: Option<PathBuf>,
        /// Where failures and the report are kept
        #[arg(long)]
        out: PathBuf,
        /// The commit, for the record of a failure
        #[arg(long, default_value = "unknown")]
        commit: String,
        /// One JSON object on standard output
        #[arg(long)]
        json: bool,
    },
    /// One of the processes; started by the campaign
    #[command(hide = true)]
    Victim {
        /// What it is to do, as JSON
        settings: String,
    },
}

fn main() -> ExitCode {
    taskport::child_hook(&victim::registry());
    match run(Arguments::parse().command) {
        Ok(code) => code,
        Err(error) => {
            eprintln!("error: {error:#}");
            ExitCode::from(2)
        }
    }
}

fn run(command: Command) -> Result<ExitCode> {
    match command {
        Command::Victim { settings } => {
            tracing_subscriber::fmt()
                .with_max_level(tracing_subscriber::filter::LevelFilter::WARN)
                .with_writer(std::io::stderr)
                .with_ansi(false)
                .init();
            victim::run(serde_json::from_str(&settings).context("settings of a victim")?)
        }
        Command::Campaign { minutes, seed, jobs, scenario, old_binary, out, commit, json } => {
            let seed = seed.unwrap_or_else(|| fastrand::u64(1..1_000_000_000));
            let plan = Plan { minutes, seed, jobs, scenario, old_binary, out, commit };
            let report = Campaign::new(plan)?.run()?;
            if json {
                println!("{}", serde_json::to_string(&report)?);
            } else {
                print!("{report}");
            }
            Ok(ExitCode::from(u8::from(!report.passed())))
        }
    }
}
