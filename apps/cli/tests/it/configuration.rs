//! Configuration, registry, workflows and backends, as far as they can be looked at without a database.

use std::os::unix::fs::PermissionsExt;

use crate::sandbox::{Sandbox, TASKS};

#[test]
fn init_writes_a_configuration_that_works_and_never_overwrites() {
    let sandbox = Sandbox::empty();
    let told = sandbox.fine(&["init"]);
    assert!(told.starts_with("./taskport.toml\n./workflows/greetings.yaml\n"), "{told}");
    assert_eq!(sandbox.fine(&["check"]), "no problems found\n");
    sandbox.write("taskport.toml", "# mine\n");
    sandbox.refuses(
        &["init"],
        1,
        "error: write file: `./taskport.toml` is there already [E-037]\n\n\
         hint: nothing is overwritten: move it away, or name another directory\n",
    );
    assert_eq!(std::fs::read_to_string(sandbox.path("taskport.toml")).unwrap(), "# mine\n");
    assert_eq!(sandbox.json(&["init", "new/place"])["written"][0], "new/place/taskport.toml");
}

#[test]
fn mistakes_in_the_file_name_line_and_key() {
    let check = |text: &str, stderr: &str| {
        let sandbox = Sandbox::empty();
        sandbox.write("taskport.toml", text);
        let ran = sandbox.run(&["config", "check"]);
        assert_eq!(ran.code, 2, "{text}: {ran:?}");
        assert!(
            ran.stderr.starts_with(&format!("error: load configuration: taskport.toml:{stderr}")),
            "{}",
            ran.stderr
        );
        assert_eq!(ran.stdout, "");
    };
    check("[worker\n", "1: ");
    check("[worker]\nconcurency = 3\n", "2: `worker.concurency`");
    check("[worker]\nconcurrency = \"many\"\n", "2: `worker.concurrency`");
    check("[backends.main]\nkind = \"natve\"\n", "2: `backends.main.kind`");
    check("[worker]\nlease = 30\n", "2: `worker.lease`");
}

#[test]
fn a_configuration_that_cannot_be_read_is_never_replaced_by_defaults() {
    let sandbox = Sandbox::empty();
    let ran = sandbox.run(&["config", "show", "--config", "missing.toml"]);
    assert_eq!(ran.code, 2);
    assert!(
        ran.stderr.contains("`missing.toml` cannot be read") && ran.stderr.contains("[E-037]"),
        "{}",
        ran.stderr
    );
    std::fs::create_dir(sandbox.path("taskport.toml")).unwrap();
    assert_eq!(sandbox.run(&["config", "check"]).code, 2);
}

#[test]
fn show_gives_each_value_with_its_origin_and_no_secret() {
    let sandbox = Sandbox::empty();
    sandbox.write(
        "taskport.toml",
        "[worker]\nconcurrency = 3\n[profile.big.worker]\nconcurrency = 64\n[tasks.t]\nkind = \"exec\"\n\
         command = [\"true\"]\nenv = { PASSWORD = \"s3cret\" }\n",
    );
    let output =
        sandbox.command(&["config", "show", "--json"]).env("TASKPORT_WORKER__GRACE", "5s").output().unwrap();
    let text = sandbox.ran(output).stdout;
    assert!(!text.contains("s3cret"), "{text}");
    let shown: serde_json::Value = serde_json::from_str(&text).unwrap();
    let entry = |key: &str| {
        let entries = shown["entries"].as_array().unwrap();
        let entry = entries.iter().find(|entry| entry["key"] == key).unwrap();
        (entry["value"].clone(), entry["origin"].as_str().unwrap().to_owned())
    };
    assert_eq!(entry("worker.concurrency"), (3.into(), "taskport.toml:2".to_owned()));
    assert_eq!(entry("worker.grace"), ("5s".into(), "TASKPORT_WORKER__GRACE".to_owned()));
    assert_eq!(entry("worker.lease"), ("30s".into(), "default".to_owned()));
    assert_eq!(entry("tasks.t.env.PASSWORD").0, "[redacted]");
    let big = sandbox.fine(&["config", "show", "--profile", "big"]);
    assert!(big.lines().any(|line| line.starts_with("worker.concurrency") && line.contains("64")), "{big}");
    assert_eq!(sandbox.run(&["config", "show", "--profile", "bigg"]).code, 2);
}

#[test]
fn without_a_file_the_defaults_are_named() {
    let sandbox = Sandbox::empty();
    let ran = sandbox.run(&["config", "show"]);
    assert_eq!(ran.code, 0);
    assert_eq!(
        ran.stderr,
        "note: there is no `taskport.toml` here: the defaults give one native backend in `taskport.db`\n"
    );
    assert!(ran.stdout.contains("\"sqlite://taskport.db\""), "{}", ran.stdout);
    assert!(!sandbox.exists("taskport.db"));
}

#[test]
fn the_schema_is_a_json_schema() {
    let schema = Sandbox::empty().json(&["config", "schema"]);
    assert!(schema["$schema"].as_str().unwrap().contains("json-schema.org"));
    assert!(schema["properties"]["backends"].is_object());
}

#[test]
fn the_registry_lists_shows_exports_and_checks() {
    let sandbox = Sandbox::with_tasks();
    assert_eq!(
        sandbox.fine(&["registry", "list"]),
        "NAME  KIND  DECLARED AT      SUMMARY\n\
         echo  task  taskport.toml:2  Answers with its arguments\n\
         fail  task  taskport.toml:8\n"
    );
    let shown = sandbox.fine(&["registry", "show", "fail"]);
    assert!(shown.contains("option") && shown.contains("max_attempts = 1"), "{shown}");
    sandbox.refuses(
        &["registry", "show", "eco"],
        2,
        "error: look up: there is no task `eco` [E-001]\n\nhint: did you mean `echo`?\n",
    );
    let manifest = sandbox.json(&["registry", "export"]);
    assert_eq!(manifest["tasks"][0]["name"], "echo");
    assert_eq!(sandbox.fine(&["registry", "export", "--output", "manifest.json"]), "manifest.json\n");
    assert_eq!(sandbox.run(&["registry", "export", "--output", "manifest.json"]).code, 1);
    assert_eq!(sandbox.json(&["registry", "check"])["ok"], true);
}

#[test]
fn check_lists_every_problem_and_exits_with_one() {
    let sandbox = Sandbox::with_tasks();
    sandbox.write(
        "cycle.yaml",
        "name: circle\nsteps:\n  - {id: a, task: echo, after: [b]}\n  - {id: b, task: echo, after: [a]}\n",
    );
    sandbox.write("stray.yaml", "name: stray\nsteps:\n  - {id: a, task: ecko}\n");
    let ran = sandbox.run(&["check", "cycle.yaml", "stray.yaml"]);
    assert_eq!(ran.code, 1);
    assert!(
        ran.stdout.contains("the steps wait for each other") && ran.stdout.contains("[E-016]"),
        "{}",
        ran.stdout
    );
    assert!(ran.stdout.contains("`ecko`"), "{}", ran.stdout);
    assert!(
        ran.stderr.starts_with("error: check: 2 problems were found [E-038]\n\nhint: "),
        "{}",
        ran.stderr
    );
    assert_eq!(sandbox.json(&["check", "cycle.yaml"])["problems"][0]["error"]["code"], "E-016");
    assert!(!sandbox.exists("taskport.db"));
}

#[test]
fn backends_are_listed_and_their_capabilities_shown_without_connecting() {
    let sandbox = Sandbox::with_tasks();
    assert_eq!(sandbox.fine(&["backend", "list"]), "BACKEND  KIND    DEFAULT\nmain     native  yes\n");
    let matrix = sandbox.json(&["backend", "capabilities"]);
    assert_eq!(matrix["main"]["submit"]["support"], "native");
    let memory = Sandbox::empty();
    memory.write("taskport.toml", "[backends.main]\nkind = \"native\"\nurl = \"memory:\"\n");
    let unsupported = &memory.json(&["backend", "capabilities"])["main"]["durable"];
    assert_eq!(unsupported["support"], "unsupported");
    assert!(unsupported["why"].is_string() && unsupported["instead"].is_string());
    assert!(matrix["main"]["page_len_max"]["limit"].is_u64());
    assert!(!sandbox.exists("taskport.db"));
    sandbox.refuses(
        &["backend", "capabilities", "mian"],
        2,
        "error: choose a backend: there is no backend `mian` in the configuration [E-022]\n\n\
         hint: did you mean `main`?\n",
    );
    assert_eq!(sandbox.json(&["backend", "check"])["backends"][0]["ok"], true);
}

#[test]
fn doctor_finds_what_only_the_machine_can_tell() {
    let sandbox = Sandbox::with_tasks();
    let healthy = sandbox.json(&["doctor"]);
    assert_eq!(healthy["ok"], true, "{healthy}");
    assert!(!sandbox.exists("taskport.db"));
    let file = sandbox.path("taskport.toml");
    std::fs::set_permissions(&file, PermissionsExt::from_mode(0o666)).unwrap();
    let ran = sandbox.run(&["doctor"]);
    assert_eq!(ran.code, 1);
    assert!(ran.stdout.contains("can be written by everybody"), "{}", ran.stdout);
    std::fs::set_permissions(&file, PermissionsExt::from_mode(0o600)).unwrap();
    sandbox.write(
        "taskport.toml",
        &format!("[backends.main]\nkind = \"native\"\nurl = \"sqlite://no/dir/t.db\"\n{TASKS}"),
    );
    assert!(sandbox.run(&["doctor"]).stdout.contains("the directory no/dir does not exist"));
    sandbox.write("taskport.toml", TASKS);
    sandbox.write("taskport.db", "no database at all");
    let foreign = sandbox.run(&["doctor"]);
    assert!(foreign.code == 1 && foreign.stdout.contains("taskport.db is no database"), "{foreign:?}");
    std::fs::remove_file(sandbox.path("taskport.db")).unwrap();
    std::fs::create_dir(sandbox.path("taskport.db")).unwrap();
    assert!(sandbox.run(&["doctor"]).stdout.contains("taskport.db is no database"));
}

#[test]
fn completions_know_the_commands() {
    let sandbox = Sandbox::empty();
    for shell in ["bash", "zsh", "fish"] {
        let script = sandbox.fine(&["completions", shell]);
        assert!(script.contains("submit") && script.contains("idempotency-key"), "{shell}");
    }
}
