//! A run of many steps against as many plain jobs, all through the API that users have: one step over a long list, and
//! a graph of many steps, each after the one that stands one row above it.

use std::path::PathBuf;
use std::time::Duration;

use anyhow::{Result, ensure};
use clap::Args;
use serde_json::{Value, json};
use taskport::prelude::*;

use crate::facade::{self, Running, fast, noop, ran, submit_batch, until_succeeded};
use crate::load::{BATCH, Durability, payload};
use crate::statistics::rate;
use crate::stopwatch::Stopwatch;

/// How many steps of the graph stand side by side.
const COLUMNS: usize = 100;

/// One run.
#[derive(Debug, Args)]
pub(crate) struct Workflow {
    #[arg(long)]
    dir: PathBuf,
    #[arg(long)]
    durability: Durability,
    /// Jobs, and items of the list
    #[arg(long)]
    steps: usize,
    /// Steps of the graph
    #[arg(long)]
    graph: usize,
}

impl Workflow {
    pub(crate) async fn run(&self) -> Result<Value> {
        let plain = self.plain_jobs().await?;
        let fan_out = WorkflowDefinition::new("fan-out").step(
            StepDefinition::new("each".parse()?, noop::NAME.parse()?).map("$input").arg("payload", "$item"),
        );
        let list = vec![payload(); self.steps];
        let listed = self.run_of("list.db", fan_out, &list, self.steps).await?;
        let graph = self.run_of("graph.db", self.graph()?, &payload(), self.graph).await?;
        Ok(json!({
            "durability": self.durability.name(),
            "steps": self.steps,
            "plain_per_second": rate(self.steps, plain),
            "list_per_second": rate(self.steps, listed),
            "graph_steps": self.graph,
            "graph_per_second": rate(self.graph, graph),
        }))
    }

    /// Enqueued, then worked.
    async fn plain_jobs(&self) -> Result<Duration> {
        let port = facade::open(&self.dir.join("plain.db"), self.durability, registry![noop]).await?;
        let watch = Stopwatch::start();
        for first in (0..self.steps).step_by(BATCH) {
            submit_batch(&port, BATCH.min(self.steps - first)).await?;
        }
        let worker = Running::start(fast(port.worker()));
        until_succeeded(&port, self.steps as u64).await?;
        let time = watch.elapsed();
        worker.stop().await?;
        port.close().await?;
        Ok(time)
    }

    /// Started, then worked.
    async fn run_of(
        &self,
        file: &str,
        definition: WorkflowDefinition,
        input: &(impl serde::Serialize + Sync),
        steps: usize,
    ) -> Result<Duration> {
        let port = facade::open(&self.dir.join(file), self.durability, registry![noop]).await?;
        let before = ran();
        let watch = Stopwatch::start();
        let run = port.run(&definition, input).await?;
        let worker = Running::start(fast(port.worker()));
        run.wait::<Value>().await?;
        let time = watch.elapsed();
        worker.stop().await?;
        port.close().await?;
        ensure!(ran() - before == steps, "{} attempts ran for {steps} steps", ran() - before);
        Ok(time)
    }

    fn graph(&self) -> Result<WorkflowDefinition> {
        let mut definition = WorkflowDefinition::new("graph");
        for number in 0..self.graph {
            let mut step = StepDefinition::new(format!("s{number}").parse()?, noop::NAME.parse()?);
            step = step.arg("payload", "$input");
            if let Some(above) = number.checked_sub(COLUMNS) {
                step = step.after(format!("s{above}").parse()?);
            }
            definition = definition.step(step);
        }
        Ok(definition)
    }
}
