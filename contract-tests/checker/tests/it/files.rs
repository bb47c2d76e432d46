//! What is read, what is refused, and which runs show nothing.

use taskport_checker::{Checker, Demands, Event, LINE_BYTES_MAX, Operation};

use crate::history::{good, judge};

const LINE: &str = r#"{"v":1,"at_us":1,"wall_us":1,"process":"c","op":"submit","event":"invoke","key":"a"}"#;

fn refused(text: &str) -> String {
    Checker::new(Demands::default()).read("c.jsonl", text.as_bytes()).unwrap_err().to_string()
}

#[test]
fn a_line_that_makes_no_sense_is_an_error_with_its_place() {
    // proves R-201, R-204, R-205
    let check = |from: &str, to: &str, expected: &str| {
        let error = refused(&format!("{LINE}\n{}\n{LINE}\n", LINE.replace(from, to)));
        assert!(error.starts_with("c.jsonl:2: ") && error.contains(expected), "{error}");
    };
    check(r#""v":1"#, r#""v":2,"new":true"#, "version 2 of the format is unknown");
    check(r#""v":1"#, r#""v":2"#, "version 2 of the format is unknown");
    check(r#""v":1"#, r#""v":1,"new":true"#, "unknown field `new`");
    check(r#","key":"a"}"#, "}", "lacks `key`");
    check(r#""op":"submit""#, r#""op":"settle""#, "lacks `outcome`");
    check(r#""invoke""#, r#""start""#, "events of an effect");
    check(r#""op":"submit""#, r#""op":"effect""#, "events of an effect");
    check(r#""submit","event":"invoke""#, r#""read","event":"ok""#, "lacks `state`");
    check(r#""key":"a"}"#, r#""key":"a","order":"t"}"#, "lacks `sequence`");
    check(r#""key":"a"}"#, r#""key""#, "not a line of a history");
    check(LINE, "", "not a line of a history");
    check(r#""a""#, &format!("\"{}\"", "a".repeat(LINE_BYTES_MAX)), "longer than");
}

#[test]
fn a_torn_last_line_is_counted_and_left_out_and_a_whole_one_is_read() {
    // proves R-206
    for cut in 1..LINE.len() {
        let mut checker = Checker::new(Demands::default());
        checker.read("c.jsonl", format!("{LINE}\n{}", &LINE[..cut]).as_bytes()).unwrap();
        let verdict = checker.verdict();
        assert_eq!((verdict.lines, verdict.torn), (1, 1), "cut at {cut}");
    }
    let mut checker = Checker::new(Demands::default());
    checker.read("c.jsonl", format!("{LINE}\n{LINE}").as_bytes()).unwrap();
    let verdict = checker.verdict();
    assert_eq!((verdict.lines, verdict.torn), (2, 0));
    assert!(refused(&format!("{}\n{LINE}\n", &LINE[..20])).starts_with("c.jsonl:1: "), "torn, but not last");
}

#[test]
fn a_job_has_a_greatest_number_of_attempts() {
    // proves R-207
    let start = |token: usize| {
        LINE.replace("submit", "effect")
            .replace("invoke", "start")
            .replace('}', &format!(",\"token\":{token}}}\n"))
    };
    let text: String = (0..=taskport_checker::ATTEMPTS_MAX).map(start).collect();
    assert_eq!(refused(&text), "c.jsonl:1001: the job has more than 1000 attempts");
}

#[test]
fn a_run_without_jobs_or_faults_or_end_fails() {
    // proves R-240, R-241, R-242
    let without = |op: Operation| {
        let mut history = good(1);
        history.retain(|line| line.op != op);
        judge(&history)
    };
    let objections = |op| without(op).objections;
    assert_eq!(objections(Operation::Fault), ["0 faults were injected, 3 demanded"]);
    assert_eq!(objections(Operation::Drain), ["nobody waited for the end"]);
    assert_eq!(objections(Operation::Submit), ["no job was acknowledged"]);
    let empty = Checker::new(Demands::default()).verdict();
    assert!(!empty.passed && empty.objections.len() == 2, "{empty:?}");

    let mut history = good(1);
    history.last_mut().unwrap().event = Event::Fail;
    assert_eq!(judge(&history).objections, ["the queues were not drained at the deadline"]);
    assert!(!judge(&history).passed);
}

#[test]
fn examples_are_the_first_by_key_and_bounded() {
    // proves R-243
    let mut history = good(1);
    history.retain(|line| line.op != Operation::Read);
    let mut checker = Checker::new(Demands { examples_max: 2, ..Demands::default() });
    let text: String = history.iter().map(|line| serde_json::to_string(line).unwrap() + "\n").collect();
    checker.read("run.jsonl", text.as_bytes()).unwrap();
    let verdict = serde_json::to_value(checker.verdict()).unwrap();
    assert_eq!(verdict["lost"], 48);
    let keys: Vec<_> = verdict["examples"]["lost"].as_array().unwrap().iter().map(|e| &e["key"]).collect();
    assert_eq!(keys, ["asked-to-stop-0", "asked-to-stop-1"]);
}
