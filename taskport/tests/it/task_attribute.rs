//! What `#[task]` makes of a function.

use std::sync::Arc;
use std::time::Duration;

use serde::{Deserialize, Serialize};
use serde_json::{Value, json};
use taskport::abstraction::context::{AttemptInfo, StopReason};
use taskport::abstraction::job::Progress;
use taskport::abstraction::journal::Note;
use taskport::abstraction::options::{ConcurrencyLimit, Priority, RateLimit};
use taskport::abstraction::task::{BoxFuture, Execution, Handler};
use taskport::abstraction::{
    AttemptControl, Backoff, FailureKind, JobId, JobOptions, Payload, QueueName, RetryPolicy, TaskDefinition,
    TaskName, Timestamp,
};
use taskport::{Call, IntoCall, Registry, TaskContext, TaskError, TaskResult, WithOptions, registry, task};

/// Renders a
/// report.
///
/// Takes long.
#[task(
    name = "reports.render",
    queue = "reports",
    priority = 7,
    max_attempts = 5,
    backoff = "exponential(1s, max 5m, jitter)",
    max_age = "1h30m",
    timeout = "30s",
    soft_timeout = "2500ms",
    concurrency = 2,
    rate_limit = "10/1s",
    tags = ["pdf", "slow"],
    idempotent
)]
async fn render(
    ctx: &TaskContext,
    title: String,
    /// How many pages.
    #[default(7)]
    pages: u32,
    #[default] r#type: Option<String>,
) -> TaskResult<String> {
    std::future::ready(()).await;
    if title.is_empty() {
        return Err(TaskError::fatal("no title"));
    }
    Ok(
        format!("{title} {pages} {type} {attempt}", type = r#type.unwrap_or_default(), attempt = ctx.attempt()),
    )
}

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
struct Point {
    x: i32,
}

#[task(blocking, detach_on_timeout, timeout = "1m")]
fn mirror(mut point: Point, times: Vec<u8>) -> Result<Point, std::num::TryFromIntError> {
    point.x *= i32::from(i8::try_from(times.len())?);
    Ok(point)
}

#[task(max_attempts = 3)]
fn nothing() {}

#[task(isolated)]
async fn answer() -> u8 {
    42
}

/// Charges a customer.
#[task(name = "billing.tasks.charge", remote)]
async fn charge(customer: String, cents: i64, #[default] note: Option<String>) -> Value;

#[derive(Debug)]
struct Quiet;

impl AttemptControl for Quiet {
    fn stop(&self, _: StopReason) {}

    fn stop_reason(&self) -> Option<StopReason> {
        None
    }

    fn stopped(&self) -> BoxFuture<'static, StopReason> {
        Box::pin(std::future::pending())
    }

    fn report(&self, _: Progress) {}

    fn note(&self, _: Note) {}
}

fn context() -> TaskContext {
    let attempt = AttemptInfo {
        job: JobId::new("job-1").unwrap(),
        task: TaskName::new("any").unwrap(),
        queue: QueueName::default_queue(),
        attempt: 2,
        submitted_at: Timestamp::default(),
        options: Arc::new(JobOptions::default()),
        step: None,
        upstream: None,
    };
    TaskContext::new(Arc::new(attempt), Arc::new(Quiet))
}

async fn handle(task: TaskDefinition, arguments: &str) -> Result<Value, TaskError> {
    let arguments = Payload::json(arguments.to_owned());
    let result = match task.handler.unwrap() {
        Handler::Async(run) => run(context(), arguments).await?,
        Handler::Sync(run) => run(&context(), &arguments)?,
    };
    Ok(result.decode().unwrap())
}

fn arguments<T>(call: impl IntoCall<Output = T>) -> (String, String, JobOptions) {
    let (_, raw, options) = call.into_call().into_raw().unwrap();
    (raw.task.to_string(), String::from_utf8(raw.arguments.bytes.to_vec()).unwrap(), options)
}

#[tokio::test]
async fn the_function_itself_runs_without_a_backend() {
    assert_eq!(render::run(&context(), "Q3".into(), 3, None).await.unwrap(), "Q3 3  2");
    assert_eq!(mirror::run(Point { x: 4 }, vec![0; 2]).unwrap(), Point { x: 8 });
    assert_eq!(answer::run().await, 42);
}

#[test]
fn a_call_writes_its_arguments_by_name_in_declared_order() {
    let call: Call<Point> = mirror(Point { x: 1 }, vec![1, 2]);
    assert_eq!(arguments(call).1, r#"[[],{"point":{"x":1},"times":[1,2]}]"#);
    assert_eq!(arguments(nothing()), ("nothing".into(), "[[],{}]".into(), JobOptions::default()));
    let (task, document, _) = arguments(charge("c-1".into(), 500).arg_note(Some("late".into())));
    assert_eq!(task, "billing.tasks.charge");
    assert_eq!(document, r#"[[],{"customer":"c-1","cents":500,"note":"late"}]"#);
}

#[test]
fn defaults_that_are_not_set_are_left_out_of_the_call() {
    assert_eq!(arguments(render("Q3".into())).1, r#"[[],{"title":"Q3"}]"#);
    let call = render("Q3".into()).arg_type(Some("pdf".into())).arg_pages(3);
    assert_eq!(arguments(call).1, r#"[[],{"title":"Q3","pages":3,"type":"pdf"}]"#);
    assert_eq!(
        arguments(render("Q3".into()).arg_pages(1).arg_pages(2)).1,
        r#"[[],{"title":"Q3","pages":2}]"#
    );
}

#[test]
fn a_call_carries_its_own_options_and_starts_from_the_declared_retry_policy() {
    let (_, _, options) = arguments(render("Q3".into()).queue("urgent").max_attempts(9).arg_pages(3));
    assert_eq!(options.queue, Some(QueueName::new("urgent").unwrap()));
    let retry = options.retry.unwrap();
    assert_eq!(retry.attempts_max, 9);
    assert_eq!(retry.backoff, "exponential(1s, max 5m, jitter)".parse::<Backoff>().unwrap());
    assert_eq!(arguments(nothing().backoff("fixed(1s)".parse().unwrap())).2.retry.unwrap().attempts_max, 3);
    assert!(render("Q3".into()).priority(12).into_call().into_raw().is_err());
}

#[test]
fn a_value_without_a_json_form_is_an_error_of_the_submit() {
    use std::collections::HashMap;

    type Weights = HashMap<Vec<u8>, u8>;

    #[task]
    fn weigh(#[default] weights: Weights) {
        drop(weights);
    }

    let error = weigh().arg_weights(HashMap::from([(vec![1], 1)])).into_call().into_raw().unwrap_err();
    assert_eq!(error.message(), "argument `weights` has no JSON form");
}

#[test]
fn debug_output_shows_no_argument() {
    let shown = format!("{:?}", render("Q3-secret".into()).arg_type(Some("pdf-secret".into())));
    assert!(shown.contains("reports.render") && !shown.contains("secret"), "{shown}");
}

#[tokio::test]
async fn the_handler_binds_arguments_runs_and_encodes() {
    for (document, expected) in [
        (r#"[["Q3"],{}]"#, json!("Q3 7  2")),
        (r#"[["Q3",1],{"type":"pdf"}]"#, json!("Q3 1 pdf 2")),
        (r#"[[],{"pages":2,"title":"Q3","type":null}]"#, json!("Q3 2  2")),
    ] {
        assert_eq!(handle(render::definition(), document).await.unwrap(), expected, "{document}");
    }
    let mirrored = handle(mirror::definition(), r#"[[{"x":2},[1,1,1]],{}]"#).await.unwrap();
    assert_eq!(mirrored, json!({"x": 6}));
    assert_eq!(handle(nothing::definition(), "[[],{}]").await.unwrap(), Value::Null);
    assert_eq!(handle(answer::definition(), "[[],{}]").await.unwrap(), 42);
}

#[tokio::test]
async fn wrong_arguments_end_the_job_and_name_the_argument() {
    for (document, message) in [
        ("[[],{}]", "argument `title` is missing"),
        (r#"[["Q3"],{"page":1}]"#, "there is no parameter `page`"),
        (r#"[["Q3","x"],{}]"#, "argument `pages` is not a `u32`"),
        ("{}", "the arguments are not of the form"),
    ] {
        let error = handle(render::definition(), document).await.unwrap_err();
        assert!(matches!(error, TaskError::Fatal(_)), "{document}");
        assert_eq!(error.failure().kind, FailureKind::BadArguments);
        assert!(error.failure().message.contains(message), "{}", error.failure());
    }
    assert!(handle(nothing::definition(), "[[1],{}]").await.is_err());
}

#[tokio::test]
async fn failures_keep_what_the_handler_said() {
    let fatal = handle(render::definition(), r#"[[""],{}]"#).await.unwrap_err();
    assert!(matches!(&fatal, TaskError::Fatal(failure) if failure.message == "no title"));
    let many = format!(r#"[[{{"x":1}},{:?}],{{}}]"#, vec![0; 200]);
    let error = handle(mirror::definition(), &many).await.unwrap_err();
    assert!(matches!(error, TaskError::Error(_)));
    assert_eq!(error.failure().type_name, "core::num::error::TryFromIntError");
}

#[test]
fn the_definition_says_what_was_declared() {
    let task = render::definition();
    assert_eq!((render::NAME, task.name.as_str()), ("reports.render", "reports.render"));
    assert_eq!(task.summary.as_deref(), Some("Renders a report."));
    assert_eq!((task.execution, task.idempotent, task.detach_on_timeout), (Execution::Async, true, false));
    assert!(task.location.to_string().contains("task_attribute.rs:"), "{}", task.location);
    let expected = JobOptions {
        queue: Some(QueueName::new("reports").unwrap()),
        priority: Some(Priority::new(7).unwrap()),
        timeout_soft: Some(Duration::from_millis(2_500)),
        timeout_hard: Some(Duration::from_secs(30)),
        retry: Some(RetryPolicy {
            attempts_max: 5,
            backoff: "exponential(1s, max 5m, jitter)".parse().unwrap(),
            age_max: Some(Duration::from_secs(5_400)),
        }),
        // The task's name is the key.
        concurrency: Some(ConcurrencyLimit { key: "reports.render".into(), max: 2 }),
        rate_limit: Some(RateLimit {
            key: "reports.render".into(),
            count: 10,
            period: Duration::from_secs(1),
        }),
        tags: vec!["pdf".into(), "slow".into()],
        ..JobOptions::default()
    };
    assert_eq!(task.options, expected);
    let executions =
        [mirror::definition(), nothing::definition(), answer::definition(), charge::definition()];
    assert_eq!(
        executions.map(|task| task.execution),
        [Execution::Blocking, Execution::Inline, Execution::Isolated, Execution::Remote]
    );
    assert!(mirror::definition().detach_on_timeout);
    assert!(charge::definition().handler.is_none());
    assert_eq!(
        nothing::definition().options.retry,
        Some(RetryPolicy { attempts_max: 3, ..RetryPolicy::default() })
    );
    assert_eq!(answer::definition().options, JobOptions::default());
}

#[test]
fn parameters_are_described_as_far_as_their_types_are() {
    let described = |task: TaskDefinition| {
        let parameters = task.parameters.into_iter();
        parameters.map(|parameter| (parameter.name, parameter.required, parameter.schema)).collect::<Vec<_>>()
    };
    assert_eq!(
        described(render::definition()),
        [
            ("title".into(), true, json!({"type": "string"})),
            (
                "pages".into(),
                false,
                json!({"type": "integer", "format": "uint32", "minimum": 0, "description": "How many pages."}),
            ),
            ("type".into(), false, json!({"type": ["string", "null"]})),
        ]
    );
    assert_eq!(described(mirror::definition())[0], ("point".into(), true, json!(true)));
    assert_eq!(mirror::definition().result_schema, json!(true));
    assert_eq!(nothing::definition().result_schema, json!({"type": "null"}));
}

#[test]
fn what_is_linked_is_collected_and_what_is_listed_is_registered_once() {
    let listed = registry![render, mirror, nothing, answer, charge].build().unwrap();
    assert_eq!(listed.tasks().count(), 5);
    let collected = Registry::collected().build().unwrap();
    for task in listed.tasks() {
        assert_eq!(collected.task(task.name.as_str()).unwrap().location, task.location);
    }
    let twice = registry![render, render].build().unwrap_err();
    assert!(twice.message().ends_with("is listed twice"), "{}", twice.message());
}
