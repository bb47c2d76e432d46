//! Schedules from the command line and from the configuration.

use crate::sandbox::{Sandbox, TASKS};

fn world(schedules: &str) -> Sandbox {
    let sandbox = Sandbox::empty();
    sandbox.write("taskport.toml", &format!("{TASKS}\n{schedules}"));
    sandbox
}

const NIGHTLY: &[&str] = &[
    "schedule",
    "add",
    "nightly",
    "echo",
    "title=Q3",
    "--cron",
    "0 3 * * *",
    "--time-zone",
    "Europe/Berlin",
];

#[test]
fn a_schedule_is_made_shown_changed_and_removed() {
    let sandbox = world("");
    let dry = sandbox.json(&[NIGHTLY, &["--dry-run", "--next", "2"]].concat());
    assert_eq!((dry["put"].as_str(), dry["next"].as_array().unwrap().len()), (None, 2));
    assert_eq!(sandbox.json(&["schedule", "list"])["schedules"].as_array().unwrap().len(), 0);

    assert_eq!(sandbox.json(NIGHTLY)["put"], "created");
    assert_eq!(sandbox.json(NIGHTLY)["put"], "unchanged");
    let changed =
        sandbox.json(&[NIGHTLY, &["--catch-up", "all:3", "--jitter", "10m", "--queue", "slow"]].concat());
    assert_eq!((changed["put"].as_str(), changed["catch_up"].as_str()), (Some("updated"), Some("all:3")));
    let shown = sandbox.json(&["schedule", "show", "nightly", "--next", "3"]);
    assert_eq!(shown["next"].as_array().unwrap().len(), 3);
    assert_eq!(shown["next"][0], shown["next_at"]);
    assert_eq!((shown["jitter"].as_str(), shown["time_zone"].as_str()), (Some("10m"), Some("Europe/Berlin")));
    assert_eq!(shown["arguments"]["title"].as_str().or(shown["arguments"][1]["title"].as_str()), Some("Q3"));

    sandbox.fine(&["schedule", "pause", "nightly", "--reason", "holiday"]);
    let paused = &sandbox.json(&["schedule", "list"])["schedules"][0];
    assert_eq!((paused["paused"].as_bool(), paused["paused_reason"].as_str()), (Some(true), Some("holiday")));
    assert!(paused["next_at"].is_null());
    let job = sandbox.json(&["schedule", "trigger", "nightly"])["job"].as_str().unwrap().to_owned();
    assert_eq!(sandbox.json(&["job", "get", &job])["options"]["metadata"]["schedule"], "nightly");
    sandbox.fine(&["schedule", "resume", "nightly"]);
    sandbox.fine(&["schedule", "remove", "nightly"]);
    assert_eq!(sandbox.run(&["schedule", "remove", "nightly"]).code, 1);
}

#[test]
fn a_backfill_submits_past_ticks_once() {
    let sandbox = world("");
    sandbox.fine(&["schedule", "add", "hourly", "echo", "--every", "1h"]);
    let span = ["--from", "2026-01-01T00:00:00Z", "--until", "2026-01-01T05:00:00Z"];
    let fill = |more: &[&str]| sandbox.json(&[&["schedule", "backfill", "hourly"], &span[..], more].concat());
    assert_eq!(fill(&["--dry-run"])["ticks"].as_array().unwrap().len(), 5);
    assert_eq!(fill(&["--max", "4"])["error"]["code"], "E-004");
    assert_eq!(fill(&[])["jobs"].as_array().unwrap().len(), 5);
    assert_eq!(fill(&[])["jobs"].as_array().unwrap().len(), 0);
}

#[test]
fn bad_input_is_refused_with_a_way_out_and_changes_nothing() {
    let sandbox = world("");
    sandbox.fine(NIGHTLY);
    let add = |more: &[&str]| sandbox.run(&[&["schedule", "add", "s", "echo"], more].concat());
    for (more, expected) in [
        (&["--cron", "61 * * * *"][..], "`61` in the minute of the cron expression"),
        (&["--cron", "0 0 30 2 *"], "the schedule never ticks"),
        (&["--cron", "0 3 * * *", "--time-zone", "Europe/Berln"], "did you mean `Europe/Berlin`?"),
        (&["--every", "10ms"], "shorter than 100ms"),
        (&["--every", "1h", "--at", "2026-01-01T00:00:00Z"], "cannot all start at one moment"),
        (&["--every", "1h", "--id", "one"], "would be one job for ever"),
        (&["--every", "1h", "--cron", "@daily"], "cannot be used with"),
        (&["--every", "1h", "--catch-up", "some"], "all:N"),
        (&[], "--cron"),
    ] {
        let ran = add(more);
        assert_eq!(ran.code, 2, "{more:?}: {ran:?}");
        assert!(ran.stderr.contains(expected), "{more:?}: {ran:?}");
    }
    assert_eq!(sandbox.json(&["schedule", "list"])["schedules"].as_array().unwrap().len(), 1);
    let near = sandbox.run(&["schedule", "show", "nigthly"]);
    assert_eq!(near.code, 1);
    assert!(near.stderr.contains("[E-051]") && near.stderr.contains("did you mean `nightly`?"), "{near:?}");
}

const OFTEN: &str = r#"
[schedules.often]
every = "200ms"
task = "echo"
args = { title = "Q3" }
tags = ["often"]
"#;

#[test]
fn a_schedule_of_the_configuration_is_put_by_the_worker_and_outlives_the_file() {
    let sandbox = world(OFTEN);
    sandbox.fine(&["check"]);
    let worker = sandbox.worker(&[]);
    let fired = |seen: &serde_json::Value| seen["schedules"][0]["fired"].as_u64().unwrap_or(0) >= 3;
    let seen = sandbox.eventually(&["schedule", "list"], fired);
    assert_eq!(seen["schedules"][0]["source"], "configuration");
    assert_eq!(seen["schedules"][0]["in_configuration"], true);
    worker.drain();
    let ended = sandbox.json(&["job", "list", "--tag", "often", "--state", "succeeded"]);
    assert!(!ended["jobs"].as_array().unwrap().is_empty());

    sandbox.write("taskport.toml", TASKS);
    let ran = sandbox.run(&["schedule", "list"]);
    assert!(ran.stdout.contains("no longer in the configuration"), "{ran:?}");
    assert!(ran.stderr.contains("taskport schedule remove often"), "{ran:?}");
}

#[test]
fn schedules_of_the_configuration_are_checked_offline() {
    for (schedules, code, expected) in [
        (
            "[schedules.s]\ncron = \"0 0 31 2 *\"\ntask = \"echo\"",
            1,
            "schedule `s`: the schedule never ticks",
        ),
        ("[schedules.s]\ncron = \"@daily\"\ntask = \"eco\"", 1, "`eco`"),
        ("[schedules.s]\ncron = \"@daily\"\ntime_zone = \"Mars/Base\"\ntask = \"echo\"", 1, "`Mars/Base`"),
        ("[schedules.s]\ntask = \"echo\"", 2, "`schedules.s.cron` is missing"),
        ("[schedules.s]\ncron = \"@daily\"\nevery = \"1h\"\ntask = \"echo\"", 2, "`schedules.s.every`"),
        (
            "[schedules.s]\ncron = \"@daily\"\ntask = \"echo\"\ncatchup = \"skip\"",
            2,
            "did you mean `catch_up`?",
        ),
        ("[schedules.s]\ncron = \"@daily\"\ntask = \"echo\"\ncatch_up = \"some\"", 2, "all:N"),
    ] {
        let sandbox = world(schedules);
        let ran = sandbox.run(&["check"]);
        assert_eq!(ran.code, code, "{schedules}: {ran:?}");
        assert!(ran.stdout.contains(expected) || ran.stderr.contains(expected), "{schedules}: {ran:?}");
        assert!(!sandbox.path("taskport.db").exists(), "nothing was touched");
    }
}
