//! The tasks of the suite, and the stage on which a case sees and steers them.

use std::collections::HashMap;
use std::fmt;
use std::io::Write;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use serde::de::DeserializeOwned;
use serde_json::{Value, json};
use taskport_abstraction::call::ArgumentsView;
use taskport_abstraction::context::StopReason;
use taskport_abstraction::journal::LogLevel;
use taskport_abstraction::task::{Execution, Handler, Location, Parameter};
use taskport_abstraction::{
    Call, Clock, Error, Executor, Failure, FailureKind, Payload, SystemClock, TaskContext, TaskDefinition,
    TaskError, TaskName, TaskResult, Timestamp,
};
use taskport_registry::Registry;
use taskport_worker::{ExecutorOptions, TaskExecutor};
use tokio::sync::watch;

/// What handlers tell a case, and how a case holds them.
#[derive(Default)]
pub(crate) struct Stage {
    starts: Mutex<Vec<Start>>,
    gates: Mutex<HashMap<String, watch::Sender<bool>>>,
    running: Mutex<(usize, usize)>,
    stops: Mutex<Vec<StopReason>>,
    seen: Mutex<Vec<Value>>,
}

/// One start of an attempt.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Start {
    pub(crate) key: Value,
    pub(crate) attempt: u32,
    pub(crate) at: Timestamp,
}

impl fmt::Debug for Stage {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Stage").field("starts", &self.starts).finish_non_exhaustive()
    }
}

impl Stage {
    /// Every start so far, in order.
    pub(crate) fn starts(&self) -> Vec<Start> {
        self.starts.lock().unwrap().clone()
    }

    /// The keys of every start so far, in order.
    pub(crate) fn started(&self) -> Vec<Value> {
        self.starts().into_iter().map(|start| start.key).collect()
    }

    /// How many attempts ran at once at most.
    pub(crate) fn peak(&self) -> usize {
        self.running.lock().unwrap().1
    }

    /// The reasons for which attempts were asked to stop.
    pub(crate) fn stops(&self) -> Vec<StopReason> {
        self.stops.lock().unwrap().clone()
    }

    /// What `suite.describe` saw of its contexts.
    pub(crate) fn seen(&self) -> Vec<Value> {
        self.seen.lock().unwrap().clone()
    }

    /// Lets every present and later attempt at the gate pass.
    pub(crate) fn open_gate(&self, gate: &str) {
        self.gate(gate).send_replace(true);
    }

    fn gate(&self, gate: &str) -> watch::Sender<bool> {
        self.gates.lock().unwrap().entry(gate.to_owned()).or_insert_with(|| watch::Sender::new(false)).clone()
    }

    fn start(&self, ctx: &TaskContext, key: Value) {
        let at = SystemClock.now();
        self.starts.lock().unwrap().push(Start { key, attempt: ctx.attempt(), at });
    }

    /// The suite's tasks, bound to this stage.
    pub(crate) fn registry(self: &Arc<Self>) -> Registry {
        let mut builder = Registry::builder();
        for definition in self.definitions() {
            builder = builder.task(definition);
        }
        builder.build().unwrap()
    }

    pub(crate) fn executor(self: &Arc<Self>) -> Arc<dyn Executor> {
        Arc::new(TaskExecutor::new(&self.registry(), ExecutorOptions::default()).unwrap())
    }

    fn definitions(self: &Arc<Self>) -> Vec<TaskDefinition> {
        let stage = || Arc::clone(self);
        vec![
            task("suite.echo", &["value"], {
                let stage = stage();
                move |ctx, arguments| {
                    let stage = Arc::clone(&stage);
                    async move {
                        let [value] = bind::<Value, 1>(&arguments, &["value"])?;
                        stage.start(&ctx, value.clone());
                        Ok(value)
                    }
                }
            }),
            task("suite.fail", &["key", "times", "how"], {
                let stage = stage();
                move |ctx, arguments| {
                    let stage = Arc::clone(&stage);
                    async move { fail(&stage, &ctx, &arguments) }
                }
            }),
            task("suite.gate", &["gate", "key"], {
                let stage = stage();
                move |ctx, arguments| {
                    let stage = Arc::clone(&stage);
                    async move { wait_at_gate(&stage, &ctx, &arguments).await }
                }
            }),
            task("suite.ledger", &["path", "key"], |ctx, arguments| async move {
                let [path, key] = bind::<String, 2>(&arguments, &["path", "key"])?;
                note(&path, &format!("{key} {}", ctx.attempt()))?;
                Ok(json!(key))
            }),
            task("suite.hold", &["path", "key", "release"], |ctx, arguments| async move {
                let [path, key, release] = bind::<String, 3>(&arguments, &["path", "key", "release"])?;
                note(&path, &format!("{key} {}", ctx.attempt()))?;
                until_file(&ctx, &release).await;
                Ok(json!(format!("attempt {}", ctx.attempt())))
            }),
            task("suite.describe", &[], {
                let stage = stage();
                move |ctx, _| {
                    let stage = Arc::clone(&stage);
                    async move { Ok(describe(&stage, &ctx)) }
                }
            }),
            task("suite.progress", &["gate"], {
                let stage = stage();
                move |ctx, arguments| {
                    let stage = Arc::clone(&stage);
                    async move {
                        let [gate] = bind::<String, 1>(&arguments, &["gate"])?;
                        ctx.progress(0.5, Some("half way"));
                        pass(&stage, &ctx, &gate).await?;
                        Ok(Value::Null)
                    }
                }
            }),
            task("suite.say", &["lines", "gate", "failures"], {
                let stage = stage();
                move |ctx, arguments| {
                    let stage = Arc::clone(&stage);
                    async move { say(&stage, &ctx, &arguments).await }
                }
            }),
            task("suite.large", &["bytes"], |_, arguments| async move {
                let [bytes] = bind::<usize, 1>(&arguments, &["bytes"])?;
                Ok(json!("x".repeat(bytes)))
            }),
            task("suite.list", &["len"], |_, arguments| async move {
                let [len] = bind::<u64, 1>(&arguments, &["len"])?;
                Ok(json!((0..len).collect::<Vec<_>>()))
            }),
            task("suite.sum_of", &["step"], |ctx, arguments| async move {
                let [step] = bind::<String, 1>(&arguments, &["step"])?;
                let mut sum = 0_i64;
                ctx.upstream_each::<i64>(&step, |_, value| sum += value).await?;
                Ok(json!(sum))
            }),
            task("suite.read", &["step", "default"], |ctx, arguments| async move {
                let [step, default] = bind::<Value, 2>(&arguments, &["step", "default"])?;
                let step = step.as_str().unwrap_or_default().to_owned();
                let has = ctx.has_upstream_any(&[&step]);
                Ok(json!({"has": has, "value": ctx.upstream_or(&step, default).await?}))
            }),
            sync_task("suite.add", &["left", "right"], |_, arguments| {
                let [left, right] = bind::<i64, 2>(arguments, &["left", "right"])?;
                Ok(json!(left + right))
            }),
        ]
    }
}

fn fail(stage: &Stage, ctx: &TaskContext, arguments: &Payload) -> TaskResult<Value> {
    let [key, times, how] = bind::<Value, 3>(arguments, &["key", "times", "how"])?;
    stage.start(ctx, key.clone());
    if u64::from(ctx.attempt()) > times.as_u64().unwrap_or(0) {
        return Ok(key);
    }
    let failure = || Failure::new(FailureKind::Error, "asked to fail").of_type("suite.Asked");
    match how.as_str() {
        Some("panic") => panic!("asked to panic"),
        Some("fatal") => Err(TaskError::Fatal(failure())),
        Some("after") => {
            Err(TaskError::Retry { after: Some(Duration::from_millis(300)), failure: failure() })
        }
        _ => Err(TaskError::Error(failure())),
    }
}

async fn wait_at_gate(stage: &Stage, ctx: &TaskContext, arguments: &Payload) -> TaskResult<Value> {
    let [gate, key] = bind::<Value, 2>(arguments, &["gate", "key"])?;
    stage.start(ctx, key.clone());
    {
        let mut running = stage.running.lock().unwrap();
        running.0 += 1;
        running.1 = running.1.max(running.0);
    }
    let passed = pass(stage, ctx, gate.as_str().unwrap_or_default()).await;
    stage.running.lock().unwrap().0 -= 1;
    passed.map(|()| key)
}

async fn pass(stage: &Stage, ctx: &TaskContext, gate: &str) -> TaskResult<()> {
    let mut open = stage.gate(gate).subscribe();
    tokio::select! {
        _ = open.wait_for(|open| *open) => Ok(()),
        reason = ctx.cancelled() => {
            stage.stops.lock().unwrap().push(reason);
            Err(TaskError::from("asked to stop"))
        }
    }
}

async fn say(stage: &Stage, ctx: &TaskContext, arguments: &Payload) -> TaskResult<Value> {
    let [lines, gate, failures] = bind::<Value, 3>(arguments, &["lines", "gate", "failures"])?;
    let lines = lines.as_u64().unwrap_or(0);
    for line in 1..=lines {
        ctx.log(LogLevel::Info, format!("attempt {} line {line}", ctx.attempt()));
    }
    ctx.partial(&json!({"lines": lines}))?;
    if let Some(gate) = gate.as_str() {
        pass(stage, ctx, gate).await?;
    }
    if u64::from(ctx.attempt()) <= failures.as_u64().unwrap_or(0) {
        return Err(TaskError::from("asked to fail"));
    }
    Ok(json!(lines))
}

fn describe(stage: &Stage, ctx: &TaskContext) -> Value {
    let info = ctx.info();
    let seen = json!({
        "job": info.job, "task": info.task, "queue": info.queue, "attempt": info.attempt,
        "options": &*info.options, "step": info.step,
    });
    stage.seen.lock().unwrap().push(seen.clone());
    seen
}

/// Appends one line in one write, so that lines of several processes do not mix.
fn note(path: &str, line: &str) -> std::io::Result<()> {
    let mut file = std::fs::OpenOptions::new().append(true).create(true).open(path)?;
    file.write_all(format!("{line}\n").as_bytes())
}

async fn until_file(ctx: &TaskContext, path: &str) {
    while !std::path::Path::new(path).exists() && !ctx.is_cancelled() {
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
}

fn bind<T: DeserializeOwned, const N: usize>(
    arguments: &Payload,
    names: &[&str; N],
) -> Result<[T; N], TaskError> {
    let bound = || -> Result<[T; N], Error> {
        let view = ArgumentsView::bind(arguments, names)?;
        let values: Result<Vec<T>, Error> = (0..N).map(|index| view.required(index)).collect();
        Ok(values?.try_into().unwrap_or_else(|_| unreachable!("N values were collected")))
    };
    bound().map_err(|error| TaskError::bad_arguments(&error))
}

fn task<F>(
    name: &str,
    parameters: &[&'static str],
    handler: impl Fn(TaskContext, Payload) -> F + Send + Sync + 'static,
) -> TaskDefinition
where
    F: Future<Output = TaskResult<Value>> + Send + 'static,
{
    let handler = Handler::Async(Arc::new(move |ctx, arguments| {
        let running = handler(ctx, arguments);
        Box::pin(async move { Ok(Payload::encode(&running.await?)?) })
    }));
    definition(name, parameters, Execution::Async, handler)
}

fn sync_task(
    name: &str,
    parameters: &[&'static str],
    handler: impl Fn(&TaskContext, &Payload) -> TaskResult<Value> + Send + Sync + 'static,
) -> TaskDefinition {
    let handler =
        Handler::Sync(Arc::new(move |ctx, arguments| Ok(Payload::encode(&handler(ctx, arguments)?)?)));
    definition(name, parameters, Execution::Inline, handler)
}

fn definition(
    name: &str,
    parameters: &[&'static str],
    execution: Execution,
    handler: Handler,
) -> TaskDefinition {
    let name = TaskName::new(name).unwrap();
    let location = Location { file: file!().into(), line: line!() };
    TaskDefinition {
        parameters: parameters
            .iter()
            .map(|name| Parameter { name: (*name).into(), schema: Value::Bool(true), required: true })
            .collect(),
        execution,
        handler: Some(handler),
        ..TaskDefinition::new(name, location)
    }
}

/// Calls of the suite's tasks.
pub(crate) fn echo(value: impl Into<Value>) -> Call {
    Call::dynamic("suite.echo", &[value.into()], &[])
}

/// Fails its first `times` attempts: `how` is `error`, `fatal`, `panic` or `after`.
pub(crate) fn failing(key: &str, times: u32, how: &str) -> Call {
    Call::dynamic("suite.fail", &[json!(key), json!(times), json!(how)], &[])
}

/// Waits until the case opens the gate.
pub(crate) fn gated(gate: &str, key: impl Into<Value>) -> Call {
    Call::dynamic("suite.gate", &[json!(gate), key.into()], &[])
}

/// Says `lines` lines and a partial result, waits at the gate where one is named, and fails its first attempts.
pub(crate) fn saying(lines: u64, gate: Option<&str>, failures: u32) -> Call {
    Call::dynamic("suite.say", &[json!(lines), json!(gate), json!(failures)], &[])
}
