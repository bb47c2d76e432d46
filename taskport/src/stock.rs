//! Tasks that need no code: a command or a request, declared under `[tasks.NAME]`.

mod exec;
#[cfg(feature = "http")]
mod http;

use std::collections::BTreeMap;

use serde_json::value::RawValue;
use taskport_abstraction::task::{Execution, Location};
use taskport_abstraction::{Payload, Result, TaskDefinition, TaskError, TaskName, TaskResult, codes};

use crate::Error;
use crate::config::{Action, TaskConfig, Variables};

/// The task that a `[tasks.NAME]` table declares.
///
/// Its secrets are read from `variables` when an attempt needs them.
///
/// # Errors
/// `InvalidConfig` where this build lacks what the task needs, and `InvalidInput` (E-015) where its declaration can't
/// be carried out.
pub(crate) fn definition(
    name: TaskName,
    config: &TaskConfig,
    location: Location,
    variables: &Variables,
) -> Result<TaskDefinition> {
    let mut definition = TaskDefinition::new(name, location);
    definition.summary.clone_from(&config.options.summary);
    definition.options = config.options.job_options(&definition.name);
    definition.idempotent = config.options.idempotent;
    definition.extra_arguments = true;
    definition.execution = Execution::Async;
    definition.handler = Some(match &config.action {
        Action::Exec(action) => exec::handler(&definition.name, action, variables)?,
        #[cfg(feature = "http")]
        Action::Http(action) => {
            definition.options.timeout_hard.get_or_insert(http::TIMEOUT);
            http::handler(&definition.name, action, variables)?
        }
        #[cfg(not(feature = "http"))]
        Action::Http(_) => {
            return Err(malformed(&definition.name, "this program was built without `http` tasks")
                .hint("build with the cargo feature `http`"));
        }
    });
    Ok(definition)
}

fn malformed(task: &TaskName, why: &str) -> Error {
    Error::new(&codes::BAD_DEFINITION, "define task", format!("task `{task}`: {why}"))
}

/// The arguments of a call: by position, and by name.
type Arguments<'a> = (Vec<&'a RawValue>, BTreeMap<String, &'a RawValue>);

/// The arguments of a call, taken apart.
fn arguments(payload: &Payload) -> TaskResult<Arguments<'_>> {
    let json = payload.as_json().map_err(|error| TaskError::bad_arguments(&error))?;
    serde_json::from_slice(json).map_err(|source| {
        let error = Error::new(&codes::UNDECODABLE, "bind", "the arguments are malformed").caused_by(source);
        TaskError::bad_arguments(&error)
    })
}

/// The arguments as one document: the object of those given by name, or the list of those given by position.
fn document(payload: &Payload) -> TaskResult<Vec<u8>> {
    let document = match arguments(payload)? {
        (positional, named) if positional.is_empty() => serde_json::to_vec(&named),
        (positional, named) if named.is_empty() => serde_json::to_vec(&positional),
        _ => return Err(mixed()),
    };
    Ok(document?)
}

fn mixed() -> TaskError {
    let message = "the task takes its arguments by name or by position, not both";
    TaskError::bad_arguments(&Error::new(&codes::BAD_ARGUMENTS, "bind", message))
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use taskport_abstraction::context::AttemptInfo;
    use taskport_abstraction::{JobId, JobOptions, QueueName, TaskContext, Timestamp};
    use taskport_worker::Control;

    use super::*;

    /// The second attempt of `job-1`.
    pub(super) fn context(control: Arc<Control>) -> TaskContext {
        let attempt = AttemptInfo {
            job: JobId::new("job-1").unwrap(),
            task: TaskName::new("t").unwrap(),
            queue: QueueName::default_queue(),
            attempt: 2,
            submitted_at: Timestamp::default(),
            options: Arc::new(JobOptions::default()),
            step: None,
            upstream: None,
        };
        TaskContext::new(Arc::new(attempt), control)
    }

    #[test]
    fn arguments_become_one_document() {
        let check = |arguments: &'static str, expected: &str| {
            assert_eq!(document(&Payload::json(arguments)).unwrap(), expected.as_bytes(), "{arguments}");
        };
        check("[[],{}]", "{}");
        check(r#"[[],{"b":1,"a":[2, 3]}]"#, r#"{"a":[2, 3],"b":1}"#);
        check(r#"[["x",1.50],{}]"#, r#"["x",1.50]"#);
        assert!(document(&Payload::json(r#"[[1],{"a":2}]"#)).is_err());
        assert!(document(&Payload::json("{}")).is_err());
    }
}
