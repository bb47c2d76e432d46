use std::time::Duration;

use taskport_abstraction::options::{Idempotency, OnConflict, Priority, Start, Unique};
use taskport_abstraction::{QueueName, RetryPolicy};

use super::*;

/// What version 1 wrote. It must stay readable as long as version 1 is.
const OPTIONS_V1: &str = r#"{"v":1,"value":{"queue":"reports","priority":9,"start":{"in":1000000},"timeout_hard":5000,"retry":{"attempts_max":3,"backoff":"exponential(1s, max 5m, jitter)","age_max":3600000000},"idempotency":{"key":"q3","unique":{"for":60000000},"on_conflict":"replace"},"tags":["a","b"],"metadata":{"k":"v"},"parent":"job-1","trace":"00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01"}}"#;
const FAILURE_V1: &str = r#"{"v":1,"value":{"kind":"timed_out","type":"timed_out","message":"too slow","traceback":"line 1","attempt":2,"retryable":true}}"#;

fn options() -> JobOptions {
    JobOptions {
        queue: Some(QueueName::new("reports").unwrap()),
        priority: Some(Priority::MAX),
        start: Some(Start::In(Duration::from_secs(1))),
        timeout_hard: Some(Duration::from_millis(5)),
        retry: Some(RetryPolicy {
            attempts_max: 3,
            backoff: "exponential(1s, max 5m, jitter)".parse().unwrap(),
            age_max: Some(Duration::from_secs(3_600)),
        }),
        idempotency: Some(Idempotency {
            key: "q3".into(),
            unique: Unique::For(Duration::from_secs(60)),
            on_conflict: OnConflict::Replace,
        }),
        tags: vec!["a".into(), "b".into()],
        metadata: [("k".into(), "v".into())].into(),
        parent: Some("job-1".parse().unwrap()),
        trace: Some(
            taskport_abstraction::options::TraceContext::new(
                "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01",
            )
            .unwrap(),
        ),
        ..JobOptions::default()
    }
}

#[test]
fn version_1_is_read_and_written_as_it_was() {
    assert_eq!(decode::<JobOptions>(OPTIONS_V1.as_bytes(), "options").unwrap(), options());
    assert_eq!(encode(&options()).unwrap(), OPTIONS_V1.as_bytes());
    let failure = Failure::new(FailureKind::TimedOut, "too slow").with_traceback("line 1").at_attempt(2);
    assert_eq!(super::failure(FAILURE_V1.as_bytes()), failure);
    assert_eq!(encode(&failure).unwrap(), FAILURE_V1.as_bytes());
}

#[test]
fn other_versions_and_other_bytes_are_refused() {
    let check = |bytes: &str, code| {
        assert_eq!(decode::<JobOptions>(bytes.as_bytes(), "options").unwrap_err().code(), code, "{bytes}");
    };
    check(r#"{"v":2,"value":{"anything":1}}"#, &codes::BAD_VERSION);
    check(r#"{"v":0,"value":{}}"#, &codes::BAD_VERSION);
    check(r#"{"v":1,"value":{"anything":1}}"#, &codes::UNDECODABLE);
    check(r#"{"value":{}}"#, &codes::UNDECODABLE);
    check("", &codes::UNDECODABLE);
    assert_eq!(failure(b"x").kind, FailureKind::Undecodable);
}

#[test]
fn the_codec_keeps_defaults_out_and_repeats_what_it_knows() {
    let mut codec = OptionsCodec::default();
    assert_eq!(codec.encode(&JobOptions::default()).unwrap(), None);
    assert_eq!(*codec.decode(None).unwrap(), JobOptions::default());
    let other = JobOptions { priority: Some(Priority::MAX), ..JobOptions::default() };
    for options in [options(), options(), other, options()] {
        let bytes = codec.encode(&options).unwrap();
        assert_eq!(*codec.decode(bytes.as_ref()).unwrap(), options);
    }
}
