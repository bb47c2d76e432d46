//! The tasks that parent and child know.

use std::sync::Arc;

use taskport_abstraction::journal::LogLevel;
use taskport_abstraction::task::{Execution, Handler, Location};
use taskport_abstraction::{
    ArgumentsView, Payload, TaskContext, TaskDefinition, TaskError, TaskName, TaskResult,
};
use taskport_registry::Registry;

/// Makes this program greet.
pub(crate) const GREET: &str = "--greet";

type Plain = fn(&TaskContext, &Payload) -> TaskResult<Payload>;

pub(crate) fn registry() -> Registry {
    let plain: &[(&str, Plain)] = &[
        ("pid", |_, _| Ok(Payload::encode(&std::process::id())?)),
        ("add", add),
        ("fails", |_, _| Err(TaskError::fatal("on purpose"))),
        ("panics", |_, _| panic!("on purpose")),
        ("spin", spin),
        ("hog", hog),
        ("abort", |_, _| std::process::abort()),
        ("exit", exit),
        ("watchful", watchful),
        ("deaf", |context, _| {
            context.progress(0.5, None);
            loop {
                std::hint::spin_loop();
            }
        }),
        ("says", |context, _| {
            for line in 0..50 {
                context.log(LogLevel::Info, format!("line {line}"));
            }
            context.progress(1.0, None);
            context.partial(&[50])?;
            Ok(Payload::encode(&50)?)
        }),
        ("reads_upstream", |context, _| {
            let all: Vec<u32> = context.blocking().upstream_all("list")?;
            let missing: u32 = context.blocking().upstream_or("missing", 7)?;
            Ok(Payload::encode(&(all, missing))?)
        }),
        ("starts_itself", |_, _| {
            let output = crate::program(GREET).output()?;
            Ok(Payload::encode(&String::from_utf8_lossy(&output.stdout))?)
        }),
    ];
    let sleepy = definition(
        "sleepy",
        Handler::Async(Arc::new(|context, _| {
            Box::pin(async move {
                context.progress(0.25, Some("asleep"));
                let reason = context.cancelled().await;
                Err(format!("woken by {reason:?}").into())
            })
        })),
    );
    let builder = plain.iter().fold(Registry::builder(), |builder, (name, handler)| {
        builder.task(definition(name, Handler::Sync(Arc::new(*handler))))
    });
    builder.task(sleepy).build().unwrap()
}

fn definition(name: &str, handler: Handler) -> TaskDefinition {
    let execution = match handler {
        Handler::Async(_) => Execution::Async,
        Handler::Sync(_) => Execution::Isolated,
    };
    let location = Location { file: file!().into(), line: line!() };
    TaskDefinition {
        execution,
        handler: Some(handler),
        ..TaskDefinition::new(TaskName::new(name).unwrap(), location)
    }
}

fn add(context: &TaskContext, arguments: &Payload) -> TaskResult<Payload> {
    let view =
        ArgumentsView::bind(arguments, &["a", "b"]).map_err(|error| TaskError::bad_arguments(&error))?;
    let sum = view.required::<i64>(0)? + view.required::<i64>(1)?;
    Ok(Payload::encode(&(sum, context.job().as_str(), context.attempt()))?)
}

/// Starts a process that outlives it, tells its number, and never ends.
fn spin(context: &TaskContext, _: &Payload) -> TaskResult<Payload> {
    let started = std::process::Command::new("sleep").arg("1000").spawn()?;
    context.progress(0.1, Some(&format!("{} {}", std::process::id(), started.id())));
    loop {
        std::hint::spin_loop();
    }
}

fn hog(_: &TaskContext, _: &Payload) -> TaskResult<Payload> {
    let mut held = Vec::new();
    loop {
        held.push(vec![1_u8; 1 << 20]);
        std::hint::black_box(&held);
        assert!(held.len() < 1 << 10, "nobody stopped it");
        std::thread::sleep(std::time::Duration::from_millis(1));
    }
}

#[expect(clippy::exit, reason = "the case is a handler that ends its process")]
fn exit(_: &TaskContext, _: &Payload) -> TaskResult<Payload> {
    std::process::exit(3)
}

fn watchful(context: &TaskContext, _: &Payload) -> TaskResult<Payload> {
    while !context.is_cancelled() {
        std::hint::spin_loop();
    }
    Err(format!("{:?}", context.stop_reason()).into())
}
