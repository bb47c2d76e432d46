//! What a task's declaration must hold by itself, and what a call may add to it.

use taskport_abstraction::options::Start;
use taskport_abstraction::task::{Execution, Handler};
use taskport_abstraction::{Error, JobOptions, Result, TaskDefinition, codes};

/// What a job of `task` asks for: what its call asks for, then what the task declares.
///
/// # Errors
/// `InvalidInput` (E-004) where the two together contradict each other, or ask for a limit that the way the task is
/// run cannot keep.
pub fn effective_options(task: &TaskDefinition, mut asked: JobOptions) -> Result<JobOptions> {
    asked.or(&task.options);
    asked.validate()?;
    if asked.timeout_hard.is_some() && !can_be_stopped(task) {
        let name = &task.name;
        let message =
            format!("a hard timeout was asked for, and task `{name}` cannot be stopped on its thread");
        return Err(Error::new(&codes::BAD_OPTION, "submit", message).hint(STOPPABLE));
    }
    Ok(asked)
}

const STOPPABLE: &str =
    "declare the task `isolated`, or `blocking` with `detach_on_timeout`, or use a soft timeout";

/// Whether an attempt can be ended from outside, or left behind with the user's consent.
pub(crate) fn can_be_stopped(task: &TaskDefinition) -> bool {
    match task.execution {
        Execution::Async | Execution::Isolated | Execution::Remote => true,
        Execution::Inline => false,
        Execution::Blocking => task.detach_on_timeout,
    }
}

pub(crate) fn check_task(task: &TaskDefinition) -> Result<()> {
    let bad = |message: String| {
        let message = format!("task `{}`, declared at {}: {message}", task.name, task.location);
        Err(Error::new(&codes::BAD_DEFINITION, "register", message))
    };
    if let Err(problem) = task.options.validate() {
        return bad(problem.message().to_owned());
    }
    if let Some(option) = option_of_one_job(&task.options) {
        return bad(format!("{option} belongs to one job, and a declaration is for all"));
    }
    if task.options.timeout_hard.is_some() && !can_be_stopped(task) {
        return bad("it has a hard timeout and cannot be stopped on its thread".into())
            .map_err(|error| error.hint(STOPPABLE));
    }
    if task.detach_on_timeout && task.execution != Execution::Blocking {
        return bad("`detach_on_timeout` leaves a thread behind; it is for blocking tasks".into());
    }
    if !handler_fits(task) {
        return bad(format!("its handler does not fit its execution, {:?}", task.execution));
    }
    let mut optional = false;
    for (place, parameter) in task.parameters.iter().enumerate() {
        if task.parameters[..place].iter().any(|earlier| earlier.name == parameter.name) {
            return bad(format!("parameter `{}` is declared twice", parameter.name));
        }
        if parameter.name.is_empty() {
            return bad("a parameter has no name".into());
        }
        if optional && parameter.required {
            return bad(format!(
                "parameter `{}` is required and stands after one that is not",
                parameter.name
            ));
        }
        optional = !parameter.required;
        if !is_schema(&parameter.schema) {
            return bad(format!("the schema of parameter `{}` is no JSON Schema", parameter.name));
        }
    }
    if !is_schema(&task.result_schema) {
        return bad("the schema of the result is no JSON Schema".into());
    }
    Ok(())
}

fn option_of_one_job(options: &JobOptions) -> Option<&'static str> {
    let moment = |start: Option<Start>| matches!(start, Some(Start::At(_)));
    match () {
        () if options.idempotency.is_some() => Some("an idempotency key"),
        () if options.parent.is_some() => Some("a parent"),
        () if options.trace.is_some() => Some("a trace context"),
        () if moment(options.start) || moment(options.expiry) => Some("a point in time"),
        () => None,
    }
}

fn handler_fits(task: &TaskDefinition) -> bool {
    match (task.execution, &task.handler) {
        (Execution::Remote, None) => true,
        (Execution::Remote, Some(_)) | (_, None) => false,
        (Execution::Async, Some(handler)) => matches!(handler, Handler::Async(_)),
        (Execution::Inline | Execution::Blocking, Some(handler)) => matches!(handler, Handler::Sync(_)),
        (Execution::Isolated, Some(_)) => true,
    }
}

fn is_schema(schema: &serde_json::Value) -> bool {
    schema.is_object() || schema.is_boolean()
}
