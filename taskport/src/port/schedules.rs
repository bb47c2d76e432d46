//! Schedules of this program: rules that submit its calls again and again.

use std::time::Duration;

use taskport_abstraction::backend::{Backend, Scope};
use taskport_abstraction::schedule::{CatchUp, Put, ScheduleDefinition, ScheduleRule, Schedules};
use taskport_abstraction::{
    Call, Capability, Error, Feature, IntoCall, Result, ScheduleName, Timestamp, codes,
};
use taskport_registry::effective_options;

use super::Taskport;
use super::prepare::{Scopes, Warned, admit};
use crate::config::{Loaded, OnUnsupported, ScheduleConfig};

/// A rule and the call that each of its ticks submits, to be handed to [`Taskport::schedule`].
///
/// # Examples
/// ```
/// # #[tokio::main(flavor = "current_thread")]
/// # async fn main() -> taskport::Result<()> {
/// use taskport::config::Config;
/// use taskport::prelude::*;
/// use taskport::Schedule;
///
/// #[task]
/// async fn render(title: String, pages: u32) -> TaskResult<u32> {
///     Ok(pages)
/// }
///
/// let config = Config::from_toml("[backends.main]\nkind = \"native\"\nurl = \"memory:\"")?;
/// let port = Taskport::builder().config(config).registry(registry![render]).open().await?;
/// let nightly = Schedule::cron("nightly", "0 3 * * *", render("Q3".into(), 12)).time_zone("Europe/Berlin");
/// port.schedule(nightly).await?;
/// assert_eq!(port.schedules()?.get(&"nightly".parse()?).await?.unwrap().fired, 0);
/// # Ok(())
/// # }
/// ```
#[derive(Debug)]
#[must_use = "a schedule does nothing until it is put"]
pub struct Schedule<T> {
    name: Result<ScheduleName>,
    rule: Result<ScheduleRule>,
    call: Call<T>,
    catch_up: CatchUp,
    jitter: Duration,
    starts_at: Option<Timestamp>,
    ends_at: Option<Timestamp>,
}

impl<T> Schedule<T> {
    /// Ticks at the wall-clock times of a cron expression, in UTC unless told otherwise.
    pub fn cron(name: &str, expression: &str, call: impl IntoCall<Output = T>) -> Self {
        Self::of(name, ScheduleRule::Cron { expression: expression.to_owned(), time_zone: None }, call)
    }

    /// Ticks at every multiple of a period since 1970, unless told otherwise.
    pub fn every(name: &str, period: Duration, call: impl IntoCall<Output = T>) -> Self {
        Self::of(name, ScheduleRule::Every { period, anchor: None }, call)
    }

    /// Ticks by a rule.
    pub fn of(name: &str, rule: ScheduleRule, call: impl IntoCall<Output = T>) -> Self {
        Self {
            name: ScheduleName::new(name),
            rule: Ok(rule),
            call: call.into_call(),
            catch_up: CatchUp::default(),
            jitter: Duration::ZERO,
            starts_at: None,
            ends_at: None,
        }
    }

    /// Reads a cron expression by the clocks of an IANA time zone such as `Europe/Berlin`.
    pub fn time_zone(mut self, name: &str) -> Self {
        match &mut self.rule {
            Ok(ScheduleRule::Cron { time_zone, .. }) => *time_zone = Some(name.to_owned()),
            Ok(ScheduleRule::Every { .. }) => self.rule = Err(misplaced("an interval has no time zone")),
            Err(_) => {}
        }
        self
    }

    /// Lets an interval tick at this moment.
    pub fn anchor(mut self, moment: Timestamp) -> Self {
        match &mut self.rule {
            Ok(ScheduleRule::Every { anchor, .. }) => *anchor = Some(moment),
            Ok(ScheduleRule::Cron { .. }) => self.rule = Err(misplaced("a cron expression has no anchor")),
            Err(_) => {}
        }
        self
    }

    /// Says what becomes of ticks that could not fire in time. Left out, the newest of them fires.
    pub fn catch_up(mut self, policy: CatchUp) -> Self {
        self.catch_up = policy;
        self
    }

    /// Lets each job start up to so long after its tick.
    pub fn jitter(mut self, span: Duration) -> Self {
        self.jitter = span;
        self
    }

    /// Lets no tick be before this moment.
    pub fn starts_at(mut self, moment: Timestamp) -> Self {
        self.starts_at = Some(moment);
        self
    }

    /// Lets no tick be at this moment or after it.
    pub fn ends_at(mut self, moment: Timestamp) -> Self {
        self.ends_at = Some(moment);
        self
    }
}

impl Taskport {
    /// Puts a schedule on the default backend. The one of its name becomes this one; ticks that have fired stay fired,
    /// and none before now fires by the new rule.
    ///
    /// A schedule fires as long as any process has the backend open, and each tick once, however many have.
    ///
    /// # Errors
    /// `InvalidInput`: E-050 for a rule that cannot be read or never ticks; what a [`submit`](Self::submit) of the call
    /// would answer; `Unsupported` (E-005) where the backend fires no schedules.
    pub async fn schedule<T>(&self, schedule: Schedule<T>) -> Result<Put> {
        let target = self.default_backend();
        let definition = self.define_schedule(schedule)?;
        let backend = &target.backend;
        of(&**backend)?.put(definition).await.map_err(|error| error.in_backend(backend.name()))
    }

    /// The schedules of the default backend, to be listed, paused, resumed, triggered, backfilled and removed.
    ///
    /// # Errors
    /// `Unsupported` (E-005) where the backend fires none.
    pub fn schedules(&self) -> Result<&dyn Schedules> {
        of(&*self.default_backend().backend)
    }

    /// What is put for a schedule: with the options its task declares.
    pub(crate) fn define_schedule<T>(&self, schedule: Schedule<T>) -> Result<ScheduleDefinition> {
        let target = self.default_backend();
        let (name, rule) = (schedule.name?, schedule.rule?);
        if schedule.call.clone().into_raw()?.0.is_some() {
            let message =
                format!("the call of the schedule `{name}` has an id, and would be one job for ever");
            return Err(Error::new(&codes::BAD_OPTION, "schedule", message).hint("leave the id out"));
        }
        let submission = self.prepare(&mut Scopes::new(target), schedule.call)?;
        let definition = ScheduleDefinition {
            name,
            rule,
            call: submission.call,
            options: submission.options,
            catch_up: schedule.catch_up,
            jitter: schedule.jitter,
            starts_at: schedule.starts_at,
            ends_at: schedule.ends_at,
        };
        require(&definition, &target.backend.capabilities(Scope::default()))?;
        Ok(definition)
    }

    /// Puts the schedules of the configuration on the default backend. Those that are as they were are left alone.
    ///
    /// # Errors
    /// As [`schedule`](Self::schedule), for the first that cannot be put.
    pub(crate) async fn put_configured_schedules(&self) -> Result<()> {
        for (name, config) in &self.configuration().config.schedules {
            let put = self.schedule(config.schedule(name)?).await.map_err(|error| named(&error, name))?;
            if put != Put::Unchanged {
                tracing::info!(schedule = %name, ?put, "put a schedule of the configuration");
            }
        }
        Ok(())
    }
}

/// The schedules of a backend.
///
/// # Errors
/// `Unsupported` (E-005) where it fires none.
pub(crate) fn of(backend: &dyn Backend) -> Result<&dyn Schedules> {
    backend.schedules().ok_or_else(|| {
        Error::new(&codes::UNSUPPORTED, "schedule", "the backend fires no schedules")
            .in_backend(backend.name())
            .hint("a backend of kind `native` does")
    })
}

/// What is wrong with the schedules of a configuration, without touching a backend.
pub(super) fn check_configured(
    loaded: &Loaded,
    registry: &taskport_registry::Registry,
    capability: &Capability,
    on_unsupported: OnUnsupported,
) -> Vec<Error> {
    let check = |name: &ScheduleName, config: &ScheduleConfig| -> Result<()> {
        let schedule = config.schedule(name)?;
        let (_, call, asked) = schedule.call.into_raw()?;
        let task = registry.check_call(&call)?;
        let mut options = effective_options(task, asked)?;
        admit(task, &mut options, capability, on_unsupported, &Warned::default())?;
        let (catch_up, jitter) = (schedule.catch_up, schedule.jitter);
        let (name, rule) = (schedule.name?, schedule.rule?);
        let (starts_at, ends_at) = (schedule.starts_at, schedule.ends_at);
        let definition =
            ScheduleDefinition { name, rule, call, options, catch_up, jitter, starts_at, ends_at };
        require(&definition, capability)?;
        next_ticks(&definition, Timestamp::default(), 0).map(drop)
    };
    let schedules = loaded.config.schedules.iter();
    schedules.filter_map(|(name, config)| Some(named(&check(name, config).err()?, name))).collect()
}

/// The first `count` ticks of a schedule after a moment; none where this program has no engine to ask.
///
/// # Errors
/// `InvalidInput` for a definition that no engine takes.
pub(crate) fn next_ticks(
    definition: &ScheduleDefinition,
    after: Timestamp,
    count: usize,
) -> Result<Vec<Timestamp>> {
    #[cfg(feature = "native")]
    {
        let ticks = taskport_engine_runtime::schedule::check(definition)?;
        Ok(ticks.after(after).take(count).collect())
    }
    #[cfg(not(feature = "native"))]
    {
        let _nothing_to_ask = (definition, after, count);
        Ok(Vec::new())
    }
}

fn require(definition: &ScheduleDefinition, capability: &Capability) -> Result<()> {
    let by_rule = match &definition.rule {
        ScheduleRule::Cron { time_zone, .. } => {
            [Some(Feature::ScheduleCron), time_zone.as_ref().map(|_| Feature::ScheduleTimeZone)]
        }
        ScheduleRule::Every { .. } => [Some(Feature::ScheduleInterval), None],
    };
    let catch_up = (definition.catch_up != CatchUp::default()).then_some(Feature::ScheduleCatchUp);
    let jitter = (!definition.jitter.is_zero()).then_some(Feature::ScheduleJitter);
    let needs = [Some(Feature::Schedules), catch_up, jitter].into_iter().chain(by_rule);
    needs.flatten().try_for_each(|feature| capability.require(feature, "schedule"))
}

fn named(error: &Error, name: &ScheduleName) -> Error {
    let message = format!("schedule `{name}`: {}", error.message());
    let named = Error::new(error.code(), error.operation(), message);
    match error.remedy() {
        Some(remedy) => named.hint(remedy.to_owned()),
        None => named,
    }
}

fn misplaced(message: &'static str) -> Error {
    Error::new(&codes::BAD_SCHEDULE, "schedule", message)
}
