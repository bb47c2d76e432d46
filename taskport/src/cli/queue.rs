//! `queue`: the lines in which jobs wait.

use std::fmt::Display;
use std::str::FromStr;
use std::time::Duration;

use clap::{Args, Subcommand};
use serde::Serialize;

use super::report::Report;
use super::session::{Session, admin};
use super::table::{Facts, Table};
use super::usage::misuse;
use super::{value, wire};
use crate::abstraction::backend::{Admin, Backend, QueueOrder, QueueStats, Rate as QueueRate};
use crate::abstraction::text::{format_duration, nearest};
use crate::abstraction::{QueueName, codes};
use crate::config::Rate;
use crate::{Error, Result};

/// Look at queues, stop and start them, empty them.
#[derive(Debug, Subcommand)]
pub(super) enum Command {
    /// List the queues with their depths
    List,
    /// Account for every job a queue has ever held
    Stats {
        /// The queues; all where none is named
        #[arg(value_parser = value::name::<QueueName>)]
        queues: Vec<QueueName>,
    },
    /// Stop handing out a queue's jobs; what runs goes on
    Pause {
        /// The queue
        #[arg(value_parser = value::name::<QueueName>)]
        queue: QueueName,
        /// Why, for those who look at it later
        #[arg(long)]
        reason: Option<String>,
    },
    /// Hand out a queue's jobs again
    Resume {
        /// The queue
        #[arg(value_parser = value::name::<QueueName>)]
        queue: QueueName,
    },
    /// Show what is set of a queue, with its account
    Show {
        /// The queue
        #[arg(value_parser = value::name::<QueueName>)]
        queue: QueueName,
    },
    /// Set a queue's order and limits, for jobs that wait too; what is left out stays
    Set {
        /// The queue
        #[arg(value_parser = value::name::<QueueName>)]
        queue: QueueName,
        #[command(flatten)]
        settings: Settings,
    },
    /// Delete a queue's waiting jobs
    Purge {
        /// The queue
        #[arg(value_parser = value::name::<QueueName>)]
        queue: QueueName,
        #[command(flatten)]
        consent: Consent,
    },
}

/// What can be set of a queue.
#[derive(Debug, Clone, Args)]
#[group(required = true, multiple = true)]
pub(super) struct Settings {
    /// The order in which jobs start: by priority, oldest first, newest first, or shared fairly between keys
    #[arg(long, value_name = "priority|fifo|lifo|fair", value_parser = order)]
    order: Option<QueueOrder>,
    /// How many of its jobs run at once, over all workers, or none for as many as they like
    #[arg(long, value_name = "N|none", value_parser = optional::<u32>)]
    concurrency: Option<Setting<u32>>,
    /// At what rate its jobs start, over all workers, such as 100/s, or none
    #[arg(long, value_name = "COUNT/PERIOD|none", value_parser = optional::<Rate>)]
    rate: Option<Setting<Rate>>,
    /// In priority order: how much longer a wait makes up for one level of priority, such as 10m, or none
    #[arg(long, value_name = "DURATION|none", value_parser = ageing)]
    ageing: Option<Setting<Duration>>,
}

/// A value to set, or nothing to set in its place.
#[derive(Debug, Clone, Copy)]
struct Setting<T>(Option<T>);

fn optional<T: FromStr<Err: Display>>(text: &str) -> Result<Setting<T>, String> {
    match text {
        "none" => Ok(Setting(None)),
        text => text.parse().map(|value| Setting(Some(value))).map_err(|error: T::Err| error.to_string()),
    }
}

fn ageing(text: &str) -> Result<Setting<Duration>, String> {
    match text {
        "none" => Ok(Setting(None)),
        text => value::duration(text).map(|duration| Setting(Some(duration))),
    }
}

fn order(text: &str) -> Result<QueueOrder, String> {
    let orders = [QueueOrder::Priority, QueueOrder::Fifo, QueueOrder::Lifo, QueueOrder::Fair];
    orders
        .into_iter()
        .find(|order| wire::queue_order(*order) == text)
        .ok_or_else(|| format!("`{text}` is none of priority, fifo, lifo and fair"))
}

impl Settings {
    async fn apply(&self, admin: &dyn Admin, queue: &QueueName) -> Result<()> {
        let before = admin.queues().await?;
        let mut limits = known(&before, queue).map(|stats| stats.limits).unwrap_or_default();
        if let Some(Setting(max)) = self.concurrency {
            limits.concurrency_max = max;
        }
        if let Some(Setting(rate)) = self.rate {
            limits.rate = rate.map(|rate| QueueRate { count: rate.count, period: rate.period });
        }
        if let Some(Setting(ageing)) = self.ageing {
            limits.ageing = ageing;
        }
        if self.concurrency.is_some() || self.rate.is_some() || self.ageing.is_some() {
            admin.set_limits(queue, limits).await?;
        }
        match self.order {
            Some(order) => admin.set_order(queue, order).await,
            None => Ok(()),
        }
    }
}

/// The consent to delete.
#[derive(Debug, Clone, Args)]
#[group(multiple = false)]
pub(super) struct Consent {
    /// Go on if the command touches exactly N jobs
    #[arg(long, value_name = "N")]
    yes: Option<u64>,
    /// Go on whatever the number
    #[arg(long)]
    force: bool,
}

impl Consent {
    /// Nothing, where deleting `count` jobs is what was meant.
    pub(super) fn check(&self, count: u64, what: &str) -> Result<()> {
        let jobs = if count == 1 { "1 job".to_owned() } else { format!("{count} jobs") };
        match self.yes {
            _ if self.force => Ok(()),
            None if count == 0 => Ok(()),
            Some(expected) if expected == count => Ok(()),
            Some(expected) => Err(misuse(format!("{what} would delete {jobs}, and --yes says {expected}"))),
            None => Err(misuse(format!("{what} would delete {jobs}"))),
        }
        .map_err(|error| {
            error.hint(format!("repeat with `--yes {count}` if that is meant, or with `--force`"))
        })
    }
}

pub(super) async fn run(session: &Session, command: Command) -> Result<Report> {
    let backend = session.backend().await?;
    let admin = admin(&*backend)?;
    match command {
        Command::List => list(session, &*backend, &admin.queues().await?),
        Command::Stats { queues } => {
            let mut stats = admin.queues().await?;
            for queue in &queues {
                known(&stats, queue)?;
            }
            stats.retain(|stats| queues.is_empty() || queues.contains(&stats.name));
            account(&*backend, &stats)
        }
        Command::Pause { queue, reason } => {
            let before = admin.queues().await?;
            admin.pause(&queue, reason.as_deref()).await?;
            if let Err(unknown) = known(&before, &queue) {
                let hint = unknown.remedy().unwrap_or_default();
                session.terminal.note(format_args!("the queue `{queue}` is new; {hint}"));
            }
            one(&*backend, admin, &queue, "paused").await
        }
        Command::Resume { queue } => {
            known(&admin.queues().await?, &queue)?;
            admin.resume(&queue).await?;
            one(&*backend, admin, &queue, "resumed").await
        }
        Command::Show { queue } => {
            let stats = admin.queues().await?;
            account(&*backend, std::slice::from_ref(known(&stats, &queue)?))
        }
        Command::Set { queue, settings } => {
            settings.apply(admin, &queue).await?;
            one(&*backend, admin, &queue, "set").await
        }
        Command::Purge { queue, consent } => {
            let waiting = known(&admin.queues().await?, &queue)?.counts.waiting();
            consent.check(waiting, "purge")?;
            let purged = admin.purge(&queue).await?;
            Report::new(
                format_args!("{queue}  {purged} purged"),
                &Purged { queue: queue.to_string(), backend: backend.name().to_string(), purged },
            )
        }
    }
}

#[derive(Serialize)]
struct Purged {
    queue: String,
    backend: String,
    purged: u64,
}

#[derive(Serialize)]
struct Queues {
    queues: Vec<wire::Queue>,
}

fn wires(backend: &dyn Backend, stats: &[QueueStats]) -> Queues {
    Queues { queues: stats.iter().map(|stats| wire::Queue::new(backend.name(), stats)).collect() }
}

fn known<'a>(stats: &'a [QueueStats], queue: &QueueName) -> Result<&'a QueueStats> {
    stats.iter().find(|stats| stats.name == *queue).ok_or_else(|| {
        let error = Error::new(&codes::QUEUE_NOT_FOUND, "find queue", format!("there is no queue `{queue}`"));
        match nearest(queue.as_str(), stats.iter().map(|stats| stats.name.as_str())) {
            Some(near) => error.hint(format!("did you mean `{near}`?")),
            None => error.hint("`taskport queue list` shows the queues there are"),
        }
    })
}

fn list(session: &Session, backend: &dyn Backend, stats: &[QueueStats]) -> Result<Report> {
    let mut table = Table::new(["queue", "queued", "scheduled", "retrying", "running", "failed", "state"]);
    for queue in stats {
        let counts = &queue.counts;
        let numbers = [counts.queued, counts.scheduled, counts.retrying, counts.running, counts.failed];
        let [queued, scheduled, retrying, running, failed] = numbers.map(|number| number.to_string());
        let state = match (&queue.paused_reason, queue.paused) {
            (Some(reason), true) => format!("paused: {reason}"),
            (None, true) => "paused".to_owned(),
            (_, false) => "open".to_owned(),
        };
        table.row([queue.name.to_string(), queued, scheduled, retrying, running, failed, state]);
    }
    session.remark_on(stats.is_empty(), None, "queues");
    Report::new(table, &wires(backend, stats))
}

fn account(backend: &dyn Backend, stats: &[QueueStats]) -> Result<Report> {
    let mut text = String::new();
    for queue in stats {
        let mut facts = Facts::default();
        facts.add("queue", &queue.name);
        facts.add("order", wire::queue_order(queue.order));
        facts.maybe("concurrency", queue.limits.concurrency_max);
        facts.maybe("rate", queue.limits.rate.map(wire::queue_rate));
        facts.maybe("ageing", queue.limits.ageing.map(format_duration));
        facts.add("paused", if queue.paused { "yes" } else { "no" });
        facts.maybe("oldest queued", queue.oldest_queued_at);
        facts.add("submitted", queue.counts.submitted);
        for (state, jobs) in queue.counts.by_state() {
            facts.add(state.as_str(), jobs);
        }
        if !text.is_empty() {
            text.push('\n');
        }
        text.push_str(&facts.to_string());
    }
    Report::new(text, &wires(backend, stats))
}

async fn one(backend: &dyn Backend, admin: &dyn Admin, queue: &QueueName, word: &str) -> Result<Report> {
    let stats = admin.queues().await?;
    Report::new(format_args!("{queue}  {word}"), &wire::Queue::new(backend.name(), known(&stats, queue)?))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn deleting_needs_the_right_number_or_force() {
        let check = |yes, force| Consent { yes, force }.check(3, "purge");
        assert!(check(Some(3), false).is_ok());
        assert!(check(None, true).is_ok());
        let error = check(None, false).unwrap_err();
        assert_eq!(error.message(), "purge would delete 3 jobs");
        assert_eq!(
            check(Some(2), false).unwrap_err().message(),
            "purge would delete 3 jobs, and --yes says 2"
        );
        assert!(error.remedy().unwrap().contains("--yes 3"));
        assert!(Consent { yes: None, force: false }.check(0, "purge").is_ok());
    }
}
