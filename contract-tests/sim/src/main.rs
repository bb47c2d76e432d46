//! Plays seeds until one breaks a promise, and says how to play it again. `cargo xtask sim` starts it.

#![expect(clippy::print_stdout, clippy::print_stderr, reason = "a command line tool speaks on its streams")]

use std::process::ExitCode;
use std::time::{Duration, Instant};

use anyhow::{Result, bail};
use clap::Parser;
use serde::Serialize;
use taskport_sim::{Failure, Figures, On, Options, find};

/// Every so many seeds, one is played on SQLite too, and one on both stores without faults.
const SQLITE_EVERY: u64 = 20;
/// How many broken promises end a campaign.
const FAILURES_MAX: usize = 10;

/// Simulates the engine by seed
#[derive(Parser)]
#[command(name = "cargo xtask sim")]
struct Arguments {
    /// How many seeds to play
    #[arg(long, default_value_t = 300, conflicts_with = "seed")]
    seeds: u64,
    /// Only this seed
    #[arg(long)]
    seed: Option<u64>,
    /// The first seed; left out, a fresh one is drawn
    #[arg(long, conflicts_with = "seed")]
    from: Option<u64>,
    /// Play seeds for so many minutes, however many they are
    #[arg(long, conflicts_with = "seed")]
    minutes: Option<f64>,
    /// How many steps, where not as many as the seed asks for
    #[arg(long, requires = "seed")]
    steps: Option<usize>,
    /// Only on this store: memory, sqlite or both
    #[arg(long)]
    store: Option<On>,
    /// One JSON object on standard output
    #[arg(long)]
    json: bool,
}

/// What a campaign shows.
#[derive(Debug, Serialize)]
struct Report {
    seeds: u64,
    #[serde(flatten)]
    figures: Figures,
    seconds: f64,
    failures: Vec<Failure>,
}

fn main() -> ExitCode {
    let arguments = Arguments::parse();
    // A broken assertion is a failure like others, and told with its seed.
    std::panic::set_hook(Box::new(|_| {}));
    match play(&arguments) {
        Ok(report) => {
            print(&report, arguments.json);
            ExitCode::from(u8::from(!report.failures.is_empty()))
        }
        Err(error) => {
            eprintln!("error: {error:#}");
            ExitCode::from(2)
        }
    }
}

fn play(arguments: &Arguments) -> Result<Report> {
    if arguments.minutes.is_some_and(|minutes| !(0.0..=100_000.0).contains(&minutes)) {
        bail!("`--minutes` is a number from 0 to 100000");
    }
    #[expect(clippy::disallowed_methods, reason = "a campaign ends by the clock on the wall")]
    let start = Instant::now();
    // Short seeds are easier to pass on.
    let first = arguments.seed.or(arguments.from).unwrap_or_else(|| fastrand::u64(0..1_000_000_000) * 1_000);
    let time_max = arguments.minutes.map(|minutes| Duration::from_secs_f64(minutes * 60.0));
    let seeds_max = if arguments.seed.is_some() { 1 } else { arguments.seeds };
    let mut report = Report { seeds: 0, figures: Figures::default(), seconds: 0.0, failures: Vec::new() };
    while match time_max {
        Some(max) => start.elapsed() < max,
        None => report.seeds < seeds_max,
    } {
        let seed = first + report.seeds;
        report.seeds += 1;
        for on in stores(arguments, report.seeds) {
            match find(seed, Options { on, steps: arguments.steps, bug: None })? {
                Ok(good) => report.figures += good.figures,
                Err(failure) => {
                    eprintln!("{failure}\n");
                    report.failures.push(failure);
                }
            }
        }
        if report.failures.len() >= FAILURES_MAX {
            break;
        }
    }
    report.seconds = start.elapsed().as_secs_f64();
    Ok(report)
}

/// On which stores the seed is played: all in memory, some on SQLite as well.
fn stores(arguments: &Arguments, number: u64) -> Vec<On> {
    if arguments.store.is_some() || arguments.seed.is_some() {
        return vec![arguments.store.unwrap_or_default()];
    }
    match number % SQLITE_EVERY {
        0 => vec![On::Memory, On::Both],
        10 => vec![On::Memory, On::Sqlite],
        _ => vec![On::Memory],
    }
}

fn print(report: &Report, json: bool) {
    if json {
        match serde_json::to_string(report) {
            Ok(text) => println!("{text}"),
            Err(error) => eprintln!("error: the report has no JSON form: {error}"),
        }
        return;
    }
    let Report { seeds, figures, seconds, failures } = report;
    let Figures { steps, commits, jobs, runs, attempts, faults } = figures;
    println!(
        "{seeds} seeds in {seconds:.1} s: {steps} steps, {commits} commits, {jobs} jobs, {runs} runs, \
         {attempts} attempts, {faults} faults, {} broken promises",
        failures.len()
    );
}
