//! `schedule`: rules that submit jobs again and again.

use std::time::Duration;

use clap::{Args, Subcommand};
use serde::Serialize;

use super::call::{Arguments, Options};
use super::listing::Paging;
use super::report::Report;
use super::session::Session;
use super::table::{Facts, Table};
use super::usage::misuse;
use super::{value, wire};
use crate::abstraction::backend::Backend;
use crate::abstraction::schedule::{
    CatchUp, Put, ScheduleDefinition, ScheduleRule, ScheduleStatus, Schedules,
};
use crate::abstraction::text::{format_duration, nearest};
use crate::abstraction::{Clock, ScheduleName, SystemClock, TaskName, codes};
use crate::config::{is_configured, parse_catch_up};
use crate::port::{next_ticks, schedules_of};
use crate::{Error, JobId, Result, Schedule, Timestamp};

/// Make and look after schedules, which submit jobs again and again.
#[derive(Debug, Subcommand)]
pub(super) enum Command {
    /// List the schedules with their next ticks
    List {
        #[command(flatten)]
        paging: Paging,
    },
    /// Show a schedule with its next ticks
    Show {
        /// The schedule
        #[arg(value_parser = value::name::<ScheduleName>)]
        schedule: ScheduleName,
        #[command(flatten)]
        preview: Preview,
    },
    /// Make a schedule, or change the one of its name
    Add(Box<Add>),
    /// Remove schedules; jobs they have submitted stay
    Remove {
        /// The schedules
        #[arg(required = true, value_parser = value::name::<ScheduleName>)]
        schedules: Vec<ScheduleName>,
    },
    /// Stop a schedule from firing; ticks that pass meanwhile are gone
    Pause {
        /// The schedule
        #[arg(value_parser = value::name::<ScheduleName>)]
        schedule: ScheduleName,
        /// Why, for those who look at it later
        #[arg(long)]
        reason: Option<String>,
    },
    /// Let a schedule fire again
    Resume {
        /// The schedule
        #[arg(value_parser = value::name::<ScheduleName>)]
        schedule: ScheduleName,
    },
    /// Submit a schedule's job now, beside its ticks
    Trigger {
        /// The schedule
        #[arg(value_parser = value::name::<ScheduleName>)]
        schedule: ScheduleName,
    },
    /// Submit a job for each past tick of a span, unless it has fired
    Backfill(Backfill),
}

/// How many ticks to look ahead.
#[derive(Debug, Args)]
pub(super) struct Preview {
    /// How many of the next ticks to show
    #[arg(long, value_name = "N", default_value_t = 5, value_parser = clap::value_parser!(u16).range(0..=1_000))]
    next: u16,
}

/// A schedule to make.
#[derive(Debug, Args)]
pub(super) struct Add {
    /// The schedule's name
    #[arg(value_parser = value::name::<ScheduleName>)]
    schedule: ScheduleName,
    /// The task of its jobs
    #[arg(value_parser = value::name::<TaskName>)]
    task: TaskName,
    #[command(flatten)]
    arguments: Arguments,
    #[command(flatten)]
    rule: Rule,
    /// What becomes of ticks that could not fire in time
    #[arg(long, value_name = "latest|skip|all:N", default_value = "latest", value_parser = catch_up)]
    catch_up: CatchUp,
    /// Let each job start up to so long after its tick, such as 10m
    #[arg(long, value_name = "DURATION", value_parser = value::duration)]
    jitter: Option<Duration>,
    /// No tick is before this moment
    #[arg(long, value_name = "TIME", value_parser = str::parse::<Timestamp>)]
    starts_at: Option<Timestamp>,
    /// No tick is at this moment or after it
    #[arg(long, value_name = "TIME", value_parser = str::parse::<Timestamp>)]
    ends_at: Option<Timestamp>,
    /// Only show what would be made
    #[arg(long)]
    dry_run: bool,
    #[command(flatten)]
    preview: Preview,
    #[command(flatten)]
    options: Options,
}

/// When it ticks.
#[derive(Debug, Args)]
struct Rule {
    /// Minute, hour, day of month, month and day of week, or six fields with seconds first, or such as @daily
    #[arg(long, value_name = "EXPRESSION", required_unless_present = "every", conflicts_with = "every")]
    cron: Option<String>,
    /// The IANA time zone of the expression, such as Europe/Berlin; left out, UTC
    #[arg(long, value_name = "ZONE", requires = "cron")]
    time_zone: Option<String>,
    /// The period at whose multiples it ticks, such as 5m
    #[arg(long, value_name = "DURATION", value_parser = value::duration)]
    every: Option<Duration>,
    /// A moment at which the interval ticks
    #[arg(long, value_name = "TIME", requires = "every", value_parser = str::parse::<Timestamp>)]
    anchor: Option<Timestamp>,
}

/// Past ticks to make up for.
#[derive(Debug, Args)]
pub(super) struct Backfill {
    /// The schedule
    #[arg(value_parser = value::name::<ScheduleName>)]
    schedule: ScheduleName,
    /// Where the span begins, such as 2026-01-31T09:30:00Z
    #[arg(long, value_name = "TIME", value_parser = str::parse::<Timestamp>)]
    from: Timestamp,
    /// Where it ends; a tick at this moment is not part of it
    #[arg(long, value_name = "TIME", value_parser = str::parse::<Timestamp>)]
    until: Timestamp,
    /// Submit nothing where there are more ticks
    #[arg(long, value_name = "N", default_value_t = 1_000, value_parser = clap::value_parser!(u32).range(1..=10_000))]
    max: u32,
    /// Only show the ticks of the span
    #[arg(long)]
    dry_run: bool,
}

fn catch_up(text: &str) -> Result<CatchUp, String> {
    parse_catch_up(text).map_err(|message| format!("`{text}` {message}"))
}

impl Rule {
    fn read(self) -> ScheduleRule {
        match (self.cron, self.every) {
            (Some(expression), _) => ScheduleRule::Cron { expression, time_zone: self.time_zone },
            (None, period) => ScheduleRule::Every { period: period.unwrap_or_default(), anchor: self.anchor },
        }
    }
}

pub(super) async fn run(session: &Session, command: Command) -> Result<Report> {
    let backend = session.backend().await?;
    let schedules = schedules_of(&*backend)?;
    match command {
        Command::List { paging } => list(session, &*backend, schedules, &paging).await,
        Command::Show { schedule, preview } => {
            show(session, &*backend, &known(schedules, &schedule).await?, preview.next)
        }
        Command::Add(add) => make(session, &*backend, schedules, *add).await,
        Command::Remove { schedules: names } => remove(&*backend, schedules, &names).await,
        Command::Pause { schedule, reason } => {
            known(schedules, &schedule).await?;
            schedules.pause(&schedule, reason.as_deref()).await?;
            one(session, &*backend, schedules, &schedule, "paused").await
        }
        Command::Resume { schedule } => {
            known(schedules, &schedule).await?;
            schedules.resume(&schedule).await?;
            one(session, &*backend, schedules, &schedule, "resumed").await
        }
        Command::Trigger { schedule } => {
            known(schedules, &schedule).await?;
            let id = schedules.trigger(&schedule).await?;
            let job = job_ref(&*backend, &id);
            Report::new(&job, &Triggered { schedule: schedule.to_string(), job: job.clone() })
        }
        Command::Backfill(backfill) => fill(&*backend, schedules, backfill).await,
    }
}

/// A schedule for programs.
#[derive(Debug, Serialize)]
struct Wire {
    schedule: String,
    backend: String,
    #[serde(flatten)]
    rule: WireRule,
    task: String,
    arguments: wire::Body,
    options: wire::Options,
    catch_up: String,
    jitter: String,
    starts_at: Option<Timestamp>,
    ends_at: Option<Timestamp>,
    /// `configuration`, or nothing for what was put by hand or by code.
    source: Option<&'static str>,
    in_configuration: bool,
    next: Vec<Timestamp>,
    #[serde(flatten)]
    account: Option<Account>,
}

#[derive(Debug, Serialize)]
#[serde(untagged)]
enum WireRule {
    Cron { cron: String, time_zone: String },
    Every { every: String, anchor: Option<Timestamp> },
}

/// What only a schedule that exists has.
#[derive(Debug, Serialize)]
struct Account {
    paused: bool,
    paused_reason: Option<String>,
    next_at: Option<Timestamp>,
    last_at: Option<Timestamp>,
    last_job: Option<String>,
    fired: u64,
    missed: u64,
    problem: Option<String>,
    created_at: Timestamp,
    updated_at: Timestamp,
}

#[derive(Serialize)]
struct Listed {
    schedules: Vec<Wire>,
    next: Option<String>,
}

#[derive(Serialize)]
struct Made {
    put: Option<Put>,
    #[serde(flatten)]
    schedule: Wire,
}

#[derive(Serialize)]
struct Removed {
    backend: String,
    removed: Vec<String>,
}

#[derive(Serialize)]
struct Triggered {
    schedule: String,
    job: String,
}

#[derive(Serialize)]
struct Filled {
    schedule: String,
    jobs: Vec<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    ticks: Option<Vec<Timestamp>>,
}

impl Wire {
    fn of(
        session: &Session,
        backend: &dyn Backend,
        definition: &ScheduleDefinition,
        next: Vec<Timestamp>,
    ) -> Self {
        let configured =
            session.loaded().is_ok_and(|loaded| loaded.config.schedules.contains_key(&definition.name));
        Self {
            schedule: definition.name.to_string(),
            backend: backend.name().to_string(),
            rule: match &definition.rule {
                ScheduleRule::Cron { expression, time_zone } => WireRule::Cron {
                    cron: expression.clone(),
                    time_zone: time_zone.clone().unwrap_or_else(|| "UTC".to_owned()),
                },
                ScheduleRule::Every { period, anchor } => {
                    WireRule::Every { every: format_duration(*period), anchor: *anchor }
                }
            },
            task: definition.call.task.to_string(),
            arguments: wire::Body::new(&definition.call.arguments),
            options: wire::Options::new(&definition.options),
            catch_up: match definition.catch_up {
                CatchUp::Latest => "latest".to_owned(),
                CatchUp::Skip => "skip".to_owned(),
                CatchUp::All { max } => format!("all:{max}"),
            },
            jitter: format_duration(definition.jitter),
            starts_at: definition.starts_at,
            ends_at: definition.ends_at,
            source: is_configured(&definition.options).then_some("configuration"),
            in_configuration: configured,
            next,
            account: None,
        }
    }

    fn with(session: &Session, backend: &dyn Backend, status: &ScheduleStatus, next: u16) -> Result<Self> {
        let account = Account {
            paused: status.paused,
            paused_reason: status.paused_reason.clone(),
            next_at: status.next_at,
            last_at: status.last_at,
            last_job: status.last_job.as_ref().map(|job| job_ref(backend, job)),
            fired: status.fired,
            missed: status.missed,
            problem: status.problem.clone(),
            created_at: status.created_at,
            updated_at: status.updated_at,
        };
        let next = match status.next_at.filter(|_| next > 0) {
            Some(first) => {
                let later = next_ticks(&status.definition, first, usize::from(next) - 1)?;
                [vec![first], later].concat()
            }
            None => Vec::new(),
        };
        Ok(Self { account: Some(account), ..Self::of(session, backend, &status.definition, next) })
    }

    fn rule(&self) -> String {
        match &self.rule {
            WireRule::Cron { cron, time_zone } => format!("{cron} ({time_zone})"),
            WireRule::Every { every, .. } => format!("every {every}"),
        }
    }

    fn state(&self) -> String {
        let Some(account) = &self.account else { return "not made".to_owned() };
        match (&account.problem, &account.paused_reason) {
            (_, Some(reason)) => format!("paused: {reason}"),
            _ if account.paused => "paused".to_owned(),
            (Some(problem), _) => problem.clone(),
            _ if account.next_at.is_none() => "ended".to_owned(),
            _ if self.source.is_some() && !self.in_configuration => {
                "no longer in the configuration".to_owned()
            }
            _ => "active".to_owned(),
        }
    }
}

async fn list(
    session: &Session,
    backend: &dyn Backend,
    schedules: &dyn Schedules,
    paging: &Paging,
) -> Result<Report> {
    let page = paging.collect(backend, async |page| schedules.list(page).await).await?;
    let mut table = Table::new(["schedule", "rule", "task", "next", "last", "fired", "missed", "state"]);
    let mut listed = Vec::new();
    for status in &page.items {
        let wire = Wire::with(session, backend, status, 1)?;
        let moment =
            |moment: Option<Timestamp>| moment.map_or_else(|| "-".to_owned(), |moment| moment.to_string());
        table.row([
            wire.schedule.clone(),
            wire.rule(),
            wire.task.clone(),
            moment(status.next_at),
            moment(status.last_at),
            status.fired.to_string(),
            status.missed.to_string(),
            wire.state(),
        ]);
        listed.push(wire);
    }
    session.remark_on(listed.is_empty(), page.next.as_ref(), "schedules");
    let stray = listed.iter().filter(|wire| wire.source.is_some() && !wire.in_configuration);
    for wire in stray {
        session.terminal.note(format_args!(
            "the schedule `{0}` is no longer in the configuration and still fires; `{1} schedule remove {0}` ends it",
            wire.schedule,
            session.program()
        ));
    }
    Report::new(table, &Listed { schedules: listed, next: page.next.map(|next| next.0) })
}

fn show(session: &Session, backend: &dyn Backend, status: &ScheduleStatus, next: u16) -> Result<Report> {
    let wire = Wire::with(session, backend, status, next)?;
    Report::new(facts(&wire), &wire)
}

fn facts(wire: &Wire) -> Facts {
    let mut facts = Facts::default();
    facts.add("schedule", &wire.schedule);
    facts.add("rule", wire.rule());
    facts.add("task", &wire.task);
    facts.add("arguments", wire.arguments.text());
    facts.add("catch up", &wire.catch_up);
    facts.add("jitter", &wire.jitter);
    facts.maybe("starts at", wire.starts_at);
    facts.maybe("ends at", wire.ends_at);
    facts.maybe("source", wire.source);
    facts.add("state", wire.state());
    if let Some(account) = &wire.account {
        facts.add("fired", account.fired);
        facts.add("missed", account.missed);
        facts.maybe("last tick", account.last_at);
        facts.maybe("last job", account.last_job.as_ref());
    }
    for tick in &wire.next {
        facts.add("next", tick);
    }
    facts
}

async fn make(
    session: &Session,
    backend: &dyn Backend,
    schedules: &dyn Schedules,
    add: Add,
) -> Result<Report> {
    let call = add.arguments.call(add.task, add.options, session).await?;
    let mut schedule = Schedule::of(add.schedule.as_str(), add.rule.read(), call)
        .catch_up(add.catch_up)
        .jitter(add.jitter.unwrap_or_default());
    if let Some(moment) = add.starts_at {
        schedule = schedule.starts_at(moment);
    }
    if let Some(moment) = add.ends_at {
        schedule = schedule.ends_at(moment);
    }
    let definition = session.port().await?.define_schedule(schedule)?;
    let next = next_ticks(&definition, SystemClock.now(), add.preview.next.into())?;
    if add.dry_run {
        let wire = Wire::of(session, backend, &definition, next);
        return Report::new(facts(&wire), &Made { put: None, schedule: wire });
    }
    let put = schedules.put(definition.clone()).await?;
    let status = known(schedules, &definition.name).await?;
    let wire = Wire::with(session, backend, &status, add.preview.next)?;
    if wire.in_configuration {
        session.terminal.note(format_args!(
            "the configuration has a schedule `{}` too, which is put back when a worker starts",
            wire.schedule
        ));
    }
    Report::new(facts(&wire), &Made { put: Some(put), schedule: wire })
}

async fn remove(backend: &dyn Backend, schedules: &dyn Schedules, names: &[ScheduleName]) -> Result<Report> {
    // All of them are looked up first, so that a slip in one name removes nothing.
    for name in names {
        known(schedules, name).await?;
    }
    for name in names {
        schedules.remove(name).await?;
    }
    let removed: Vec<String> = names.iter().map(ScheduleName::to_string).collect();
    Report::new(
        format_args!("{}  removed", removed.join(", ")),
        &Removed { backend: backend.name().to_string(), removed },
    )
}

async fn fill(backend: &dyn Backend, schedules: &dyn Schedules, span: Backfill) -> Result<Report> {
    let Backfill { schedule, from, until, max, dry_run } = span;
    if until <= from {
        return Err(misuse(format!("the span ends at {until}, which is not after its start at {from}")));
    }
    let status = known(schedules, &schedule).await?;
    let name = schedule.to_string();
    if dry_run {
        let before = Timestamp::from_micros(from.as_micros().saturating_sub(1));
        let mut ticks = next_ticks(&status.definition, before, max as usize + 1)?;
        ticks.retain(|tick| *tick < until);
        let text: String = ticks.iter().map(|tick| format!("{tick}\n")).collect();
        return Report::new(text, &Filled { schedule: name, jobs: Vec::new(), ticks: Some(ticks) });
    }
    let jobs = schedules.backfill(&schedule, from, until, max as usize).await?;
    let jobs: Vec<String> = jobs.iter().map(|job| job_ref(backend, job)).collect();
    let text: String = jobs.iter().map(|job| format!("{job}\n")).collect();
    Report::new(text, &Filled { schedule: name, jobs, ticks: None })
}

async fn one(
    session: &Session,
    backend: &dyn Backend,
    schedules: &dyn Schedules,
    name: &ScheduleName,
    word: &str,
) -> Result<Report> {
    let status = known(schedules, name).await?;
    Report::new(format_args!("{name}  {word}"), &Wire::with(session, backend, &status, 1)?)
}

/// The schedule of a name, or the error that suggests the nearest one.
async fn known(schedules: &dyn Schedules, name: &ScheduleName) -> Result<ScheduleStatus> {
    if let Some(status) = schedules.get(name).await? {
        return Ok(status);
    }
    let error =
        Error::new(&codes::SCHEDULE_NOT_FOUND, "find schedule", format!("there is no schedule `{name}`"));
    let first = crate::abstraction::backend::PageRequest { after: None, len: 1_000 };
    let known = schedules.list(first).await?.items;
    Err(match nearest(name.as_str(), known.iter().map(|status| status.definition.name.as_str())) {
        Some(near) => error.hint(format!("did you mean `{near}`?")),
        None => error.hint("`taskport schedule list` shows the schedules there are"),
    })
}

fn job_ref(backend: &dyn Backend, job: &JobId) -> String {
    format!("{}:{job}", backend.name())
}
