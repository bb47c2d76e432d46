//! Our side of the benchmarks, and the raw law. Each subcommand is one run and prints one line of JSON; what the runs
//! mean is in `benches/README.md` and `docs/performance.md`, and `cargo xtask bench engine` alternates and judges them.
#![expect(clippy::print_stdout, reason = "a benchmark prints its figures")]

mod backlog;
mod engine;
mod facade;
mod limits;
mod load;
mod pickup;
mod processor;
mod pruning;
mod raw;
mod singles;
mod soak;
mod statistics;
mod stopwatch;
mod workflow;

use anyhow::Result;
use clap::{Parser, Subcommand};
use serde_json::Value;

#[derive(Parser)]
#[command(about = "One run of a benchmark, as one line of JSON")]
struct Arguments {
    #[command(subcommand)]
    run: Run,
}

#[derive(Subcommand)]
enum Run {
    /// The load of every participant, through the API users have
    Ours(load::Load),
    /// The same load through the engine's own verbs
    Engine(load::Load),
    /// The same load as a hand-written loop of the same statements
    Raw(load::Load),
    /// Single enqueues from many tasks, with latencies, one commit for each, and the time of an fsync
    Singles(load::Given),
    /// How soon an idle worker starts a job, in this process and in another one
    Pickup(load::Given),
    /// The worker in the other process
    #[command(hide = true)]
    PickupWorker(pickup::PickupWorker),
    /// What a job costs while few and while many others wait
    Backlog(backlog::Backlog),
    /// A workflow of many steps against as many plain jobs
    Workflow(workflow::Workflow),
    /// What limits cost queues that use them and queues that do not
    Limits(load::Given),
    /// What it costs to remove what ended long ago while jobs run
    Pruning(load::Given),
    /// A steady load for a long time
    Soak(soak::Soak),
}

fn main() -> Result<()> {
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build()?;
    let figures: Value = runtime.block_on(async {
        match Arguments::parse().run {
            Run::Ours(load) => facade::run(&load).await,
            Run::Engine(load) => engine::run(&load).await,
            Run::Raw(load) => raw::run(&load),
            Run::Singles(given) => singles::run(&given).await,
            Run::Pickup(given) => pickup::run(&given).await,
            Run::PickupWorker(worker) => worker.run().await,
            Run::Backlog(backlog) => backlog.run().await,
            Run::Workflow(workflow) => workflow.run().await,
            Run::Limits(given) => limits::run(&given).await,
            Run::Pruning(given) => pruning::run(&given).await,
            Run::Soak(soak) => soak.run().await,
        }
    })?;
    println!("{figures}");
    Ok(())
}
