//! `cargo xtask bench`: side by side with peers and with the raw law, in one run on one machine.

mod build;
mod cases;
mod participants;
mod plot;
mod report;
mod runner;

use std::fs;

use anyhow::{Context, Result};
use clap::{Args, ValueEnum, value_parser};

use self::build::Built;
use self::cases::Soak;
use self::report::Report;
use crate::Verdict;
use crate::process::root;

/// What is measured, and for how long.
#[derive(Debug, Args)]
pub(crate) struct Bench {
    /// What is measured
    subject: Subject,
    /// Less of everything, in under three minutes once all is built
    #[arg(long)]
    quick: bool,
    /// One JSON object on standard output
    #[arg(long)]
    json: bool,
    /// And a steady load at 70 % of what was measured, for so many minutes
    #[arg(long, value_name = "MINUTES", value_parser = value_parser!(u32).range(1..))]
    soak: Option<u32>,
    /// The rate of that load instead
    #[arg(long, value_name = "JOBS_PER_SECOND", value_parser = value_parser!(u32).range(1..), requires = "soak")]
    soak_rate: Option<u32>,
}

#[derive(Debug, Clone, Copy, ValueEnum)]
enum Subject {
    Engine,
}

impl Subject {
    fn name(self) -> &'static str {
        match self {
            Self::Engine => "engine",
        }
    }
}

/// Builds what is missing, measures, writes `target/bench/<subject>.{json,svg}` and says whether every target holds.
pub(crate) fn run(bench: &Bench) -> Result<Verdict> {
    let folder = root().join("target/bench");
    fs::create_dir_all(&folder).with_context(|| format!("could not make {}", folder.display()))?;
    let built = Built::all(&folder)?;
    let soak = bench.soak.map(|minutes| Soak { minutes, per_second: bench.soak_rate });
    let cases = match bench.subject {
        Subject::Engine => cases::engine(&built, &folder, bench.quick, soak)?,
    };
    let report = Report::new(&folder, cases)?;
    let text = serde_json::to_string(&report)?;
    let name = bench.subject.name();
    fs::write(folder.join(format!("{name}.json")), &text)?;
    fs::write(folder.join(format!("{name}.svg")), plot::svg(&report))?;
    if bench.json {
        println!("{text}");
    } else {
        print!("{}", report.table());
    }
    Ok(Verdict::from_bool(report.holds()))
}
