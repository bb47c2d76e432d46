use std::fs;
use std::path::Path;

use serde_json::{Value, json};

use super::*;

const NATIVE: &str = "[backends.main]\nkind = \"native\"\nurl = \"memory:\"\n";

fn variables(pairs: &[(&str, &str)]) -> Variables {
    pairs.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect()
}

fn load(text: &str, pairs: &[(&str, &str)]) -> Result<Loaded> {
    Loader::new().text(text).variables(variables(pairs)).load()
}

fn message(result: Result<impl Sized>) -> String {
    match result {
        Ok(_) => "nothing wrong".to_owned(),
        Err(error) => match error.remedy() {
            Some(remedy) => format!("{error} | {remedy}"),
            None => error.to_string(),
        },
    }
}

#[test]
fn later_layers_win_and_every_value_knows_its_origin() {
    let text = "[worker]\nconcurrency = 2\nprefetch = 3\ngrace = \"5s\"\n\
                [profile.production.worker]\nconcurrency = 20\ngrace = \"6s\"\n";
    let environment = variables(&[
        ("TASKPORT_WORKER__CONCURRENCY", "200"),
        ("TASKPORT_PROFILE", "production"),
        ("HOME", "/"),
    ]);
    let loaded = Loader::new().text(text).variables(environment).load().unwrap();
    let worker = &loaded.config.worker;
    assert_eq!((worker.concurrency, worker.prefetch, worker.grace.as_secs()), (200, 3, 6));

    let entries = loaded.entries();
    let shown = |key: &str| {
        let entry = entries.iter().find(|entry| entry.key == key).unwrap_or_else(|| panic!("no {key}"));
        format!("{} ({})", entry.value, entry.origin)
    };
    assert_eq!(shown("worker.concurrency"), "200 (TASKPORT_WORKER__CONCURRENCY)");
    assert_eq!(shown("worker.grace"), "\"6s\" (configuration:7 (profile production))");
    assert_eq!(shown("worker.prefetch"), "3 (configuration:3)");
    assert_eq!(shown("worker.lease"), "\"30s\" (default)");
    assert_eq!(shown("log.format"), "\"text\" (default)");

    let unselected = Loader::new().text(text).load().unwrap();
    assert_eq!(unselected.config.worker.concurrency, 2);
}

#[test]
fn a_mistake_names_line_key_and_remedy() {
    let check = |text: &str, expected: &str| assert_eq!(message(load(text, &[])), expected, "{text}");
    check(
        "[worker]\n\nconcurency = 4",
        "load configuration: configuration:3: `worker.concurency` is no known key [E-019] | did you mean `concurrency`?",
    );
    check(
        "[wroker]\nx = 1",
        "load configuration: configuration:1: `wroker` is no known key [E-019] | did you mean `worker`?",
    );
    check(
        "[routing]\nflags = \"flags.toml\"",
        "load configuration: configuration:2: `routing.flags` is no known key [E-019] | one of: default",
    );
    check(
        "[worker]\nconcurrency = \"four\"",
        "load configuration: configuration:2: `worker.concurrency` is text, and a whole number from 0 is expected [E-020]",
    );
    check(
        "[worker]\nconcurrency = -1",
        "load configuration: configuration:2: `worker.concurrency` is a whole number, and a whole number from 0 is expected \
         [E-020]",
    );
    check(
        "[worker]\nconcurrency = 0",
        "load configuration: configuration:2: `worker.concurrency` is 0, not within 1 to 10000 [E-020]",
    );
    check(
        "[worker]\nlease = 30",
        "load configuration: configuration:2: `worker.lease` is a whole number, and a duration such as 250ms, 30s or 5m is \
         expected [E-020]",
    );
    check(
        "[worker]\nlease = \"30 parsecs\"",
        "load configuration: configuration:2: `worker.lease` will not do: `30 parsecs` is not a duration such as 250ms, \
         30s, 5m, 12h or 1h30m [E-020]",
    );
    check(
        "[worker]\nqueues = [\"ok\", \"not ok\"]",
        "load configuration: configuration:2: `worker.queues.1` will not do: `not ok` is not a queue name [E-020]",
    );
    check(
        "[worker.profiles.heavy]\nmemory = \"512MiB\"",
        "load configuration: configuration:1: `worker.profiles.heavy.tasks` names no task [E-020]",
    );
    check(
        "[worker]\ngrace = \"1s\"\ngrace = \"2s\"",
        "load configuration: configuration:3: duplicate key [E-018] | a configuration is a TOML file; see `taskport config schema`",
    );
    check(
        "[log]\nformat = \"xml\"",
        "load configuration: configuration:2: `log.format` is none of the words it may be [E-020] | one of: text, json",
    );
    check(
        "[profile.p.worker]\nconcurency = 1",
        "load configuration: configuration:2 (profile p): `worker.concurency` is no known key [E-019] | did you mean \
         `concurrency`?",
    );
    check(
        "profile = 3",
        "load configuration: configuration:1: `profile` is not a table [E-020] | write the keys of a profile under \
         `[profile.NAME.…]`",
    );
}

#[test]
fn a_mistake_in_a_backend_is_found_before_it_is_opened() {
    let check = |text: &str, expected: &str| assert_eq!(message(load(text, &[])), expected, "{text}");
    check(
        "[backends.main]\nkind = \"natve\"",
        "load configuration: configuration:2: `backends.main.kind` is `natve`, which is no kind [E-022] | did you mean \
         `native`?",
    );
    check(
        "[backends.main]\nurl = \"memory:\"",
        "load configuration: configuration:1: `backends.main.kind` is missing [E-020] | one of: native",
    );
    check(
        "[backends.main]\nkind = \"native\"\nurl = \"memory:\"\nsyncronous = \"full\"",
        "load configuration: configuration:4: `backends.main.syncronous` is no known key [E-019] | did you mean \
         `synchronous`?",
    );
    check(
        "[backends.Main]\nkind = \"native\"\nurl = \"memory:\"",
        "load configuration: configuration:1: `backends.Main` will not do: `Main` is not a backend name [E-020] | a \
         backend name is lower-case words joined by single underscores, such as `legacy_eu`",
    );
    let two = format!("{NATIVE}[backends.other]\nkind = \"native\"\nurl = \"memory:\"\n");
    check(
        &two,
        "load configuration: `routing.default` is missing, and there are several backends [E-020] | one of: main, other",
    );
    check(
        &format!("{two}[routing]\ndefault = \"mian\""),
        "load configuration: configuration:8: `routing.default` is `mian`, and there is no such backend [E-022] | did \
         you mean `main`?",
    );
    assert!(load(&format!("{two}[routing]\ndefault = \"other\""), &[]).is_ok());
}

#[test]
fn a_mistake_in_a_task_is_found_before_it_runs() {
    let check = |lines: &str, expected: &str| {
        let found = message(load(&format!("[tasks.t]\n{lines}"), &[]));
        assert_eq!(found, format!("load configuration: configuration:{expected}"), "{lines}");
    };
    check("command = [\"a\"]", "1: `tasks.t.kind` is missing [E-020] | one of: exec, http");
    check("kind = \"exec\"", "1: `tasks.t.command` is missing [E-020]");
    check(
        "kind = \"exec\"\ncommand = [\"a\"]\nmaxattempts = 2",
        "4: `tasks.t.maxattempts` is no known key [E-019] | did you mean `max_attempts`?",
    );
    check(
        "kind = \"exec\"\ncommand = \"a | b\"",
        "3: `tasks.t.command` is one text, and it is not for the shell [E-020] | write a list such as \
         [\"convert\", \"-\"], or set `shell = true`",
    );
    check("kind = \"exec\"\ncommand = []", "3: `tasks.t.command` names no program [E-020]");
    check(
        "kind = \"exec\"\ncommand = [\"a\"]\nbackoff = \"cubic(1s)\"",
        "4: `tasks.t.backoff` will not do: `cubic(1s)` is not a backoff such as fixed(5s), linear(5s, max 1m) or \
         exponential(1s, max 5m, jitter) [E-020]",
    );
    check(
        "kind = \"exec\"\ncommand = [\"a\"]\npriority = 12",
        "4: `tasks.t.priority` will not do: priority 12 is not within 0 to 9 [E-020]",
    );
    check("kind = \"http\"\nurl = \"ftp://x\"", "3: `tasks.t.url` is no http or https address [E-020]");
}

#[test]
fn variables_that_set_nothing_are_refused_and_others_are_left_alone() {
    let check = |name: &str, value: &str, expected: &str| {
        assert_eq!(message(load(NATIVE, &[(name, value)])), expected, "{name}={value}");
    };
    check(
        "TASKPORT_WORKER__CONCURENCY",
        "4",
        "load configuration: TASKPORT_WORKER__CONCURENCY: `worker.concurency` is no known key [E-019] | did you mean \
         `concurrency`?",
    );
    check(
        "TASKPORT_WORKR__CONCURRENCY",
        "4",
        "load configuration: TASKPORT_WORKR__CONCURRENCY: `workr` is no known key [E-019] | did you mean `worker`?",
    );
    check(
        "TASKPORT_WORKER_CONCURRENCY",
        "4",
        "load configuration: the variable `TASKPORT_WORKER_CONCURRENCY` names no key [E-019] | did you mean \
         `TASKPORT_WORKER__CONCURRENCY`? levels are joined with two underscores",
    );
    check(
        "TASKPORT_WORKER__QUEUES",
        "a, b",
        "load configuration: TASKPORT_WORKER__QUEUES: `worker.queues` is text, and a list is expected [E-020] | a \
         variable holds a value as TOML writes it: 32, true, [\"a\", \"b\"]; other text is text",
    );
    for (name, value) in [
        ("TASKPORT_CHILD", "x"),
        ("TASKPORT_WORKER__QUEUES", "[\"a\", \"b\"]"),
        ("TASKPORT_BACKENDS__MAIN__PAYLOAD_BYTES_MAX", "1000"),
        ("TASKPORT_WORKER__NAME", "w-007"),
    ] {
        check(name, value, "nothing wrong");
    }
}

#[test]
fn a_variable_loses_no_digit() {
    let loaded = load(
        "[tasks.t]\nkind = \"exec\"\ncommand = [\"a\"]\n[tasks.t.env]\nPIN = \"x\"",
        &[("TASKPORT_TASKS__T__ENV__PIN", "007")],
    );
    let Action::Exec(exec) = &loaded.as_ref().unwrap().config.tasks["t"].action else { panic!("no command") };
    // Variables name keys in lower case; the file's own key stands beside it.
    assert_eq!(exec.env["pin"].reveal(&Variables::default()).unwrap(), "007");
}

#[test]
fn unreadable_files_are_one_clear_line() {
    let dir = tempfile::tempdir().unwrap();
    let write = |name: &str, bytes: &[u8]| {
        let path = dir.path().join(name);
        fs::write(&path, bytes).unwrap();
        path
    };
    let code = |path: &Path| Loader::new().file(path).load().map(|_| 0).map_err(|error| error.code().number);
    assert_eq!(code(&dir.path().join("missing.toml")), Err(codes::FILE_IO.number));
    assert_eq!(code(dir.path()), Err(codes::FILE_IO.number), "a directory");
    assert_eq!(code(&write("empty.toml", b"")), Ok(0));
    assert_eq!(code(&write("bom.toml", b"\xef\xbb\xbf[worker]\nconcurrency = 2")), Ok(0));
    assert_eq!(code(&write("crlf.toml", b"[worker]\r\nconcurrency = 2\r\n")), Ok(0));
    assert_eq!(code(&write("latin.toml", b"[worker]\nname = \"\xe9\"")), Err(codes::CONFIG_SYNTAX.number));
    assert_eq!(code(&write("nul.toml", b"[worker]\n\0")), Err(codes::CONFIG_SYNTAX.number));
    assert_eq!(code(&write("json.toml", b"{\"worker\": 1}")), Err(codes::CONFIG_SYNTAX.number));
    let deep = format!("x = {}{}", "[".repeat(10_000), "]".repeat(10_000));
    assert_eq!(code(&write("deep.toml", deep.as_bytes())), Err(codes::CONFIG_SYNTAX.number));

    let large = dir.path().join("large.toml");
    fs::File::create(&large).unwrap().set_len(100 << 20).unwrap();
    assert_eq!(code(&large), Err(codes::CONFIG_SYNTAX.number));

    let many: String = (0..40_000).map(|key| format!("k{key} = 1\n")).collect();
    assert_eq!(code(&write("many.toml", many.as_bytes())), Err(codes::CONFIG_KEY.number));
}

#[test]
fn paths_of_a_file_are_relative_to_it() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("taskport.toml");
    fs::write(&path, "[workflows]\nfiles = [\"flows/*.yaml\"]").unwrap();
    let loaded = Loader::new().file(&path).load().unwrap();
    assert_eq!(loaded.config.workflows.files, [dir.path().join("flows/*.yaml")]);
}

#[test]
fn an_unknown_profile_suggests_the_nearest() {
    let result =
        Loader::new().text("[profile.production.worker]\nconcurrency = 1").profile("prodution").load();
    assert_eq!(
        message(result),
        "load configuration: there is no profile `prodution` in the configuration [E-019] | did you mean `production`?"
    );
}

#[test]
fn secrets_are_shown_nowhere() {
    const CANARY: &str = "c4n4ry";
    let dir = tempfile::tempdir().unwrap();
    let secret_file = dir.path().join("secret");
    fs::write(&secret_file, format!("{CANARY}\r\n")).unwrap();
    let text = format!(
        "[tasks.call]\nkind = \"exec\"\ncommand = [\"a\"]\n\
         env = {{ LITERAL = \"{CANARY}\", VARIABLE = \"env:CANARY\", FILE = \"file:{}\" }}\n",
        secret_file.display(),
    );
    let loaded = load(&text, &[("CANARY", CANARY), ("TASKPORT_TASKS__CALL__ENV__OTHER", CANARY)]).unwrap();
    let mut config = loaded.config.clone();
    let backend = BackendConfig::new("celery")
        .option("broker", format!("amqp://guest:{CANARY}@127.0.0.1:5672//?token={CANARY}&heartbeat=3"))
        .option("api_token", CANARY)
        .option("nodes", json!([{ "password": CANARY }, format!("redis://:{CANARY}@h")]));
    config.backends.insert(BackendName::new("legacy").unwrap(), backend.clone());
    let http = HttpAction {
        method: HttpMethod::Post,
        url: SecretUrl::new(format!("https://user:{CANARY}@example.com/hook?api_key={CANARY}")),
        headers: BTreeMap::from([("authorization".to_owned(), Secret::new(CANARY))]),
        output: OutputFormat::Json,
        output_max: 1,
    };
    let task = TaskConfig { options: TaskOptions::default(), action: Action::Http(http) };
    config.tasks.insert(TaskName::new("hook").unwrap(), task);
    let all = Loaded { config, ..loaded };

    let shown = [format!("{all:?}"), format!("{all:#?}"), format!("{:?}", all.entries())].concat();
    assert!(!shown.contains(CANARY), "{shown}");
    assert!(shown.contains("amqp://[redacted]@127.0.0.1:5672//?token=[redacted]&heartbeat=3"), "{shown}");
    assert!(shown.contains("env:CANARY"), "{shown}");

    let Action::Exec(exec) = &all.config.tasks["call"].action else { panic!("no command") };
    for secret in exec.env.values() {
        assert_eq!(secret.reveal(&all.variables).unwrap(), CANARY);
    }
    assert_eq!(backend.scrub(format!("{CANARY} is wrong")), "[redacted] is wrong");

    // A secret in the wrong place is not repeated either.
    for wrong in [
        format!("[worker]\nconcurrency = \"{CANARY}\""),
        format!("[log]\nformat = \"{CANARY}\""),
        format!("[tasks.t]\nkind = \"exec\"\ncommand = [\"a\"]\nenv = \"{CANARY}\""),
        format!("[backends.main]\nkind = \"native\"\nurl = [\"{CANARY}\"]"),
        format!("[backends.main]\nkind = \"native\"\nurl = \"memory:\"\nsynchronous = \"{CANARY}\""),
        format!("[worker]\nconcurrency = \"{CANARY}"),
    ] {
        let error = load(&wrong, &[]).unwrap_err();
        assert!(!format!("{error} {error:?}").contains(CANARY), "{error:?}");
    }
}

#[test]
fn a_secret_that_cannot_be_read_says_where_it_was_looked_for() {
    let none = Variables::default();
    assert_eq!(
        message(Secret::new("env:NOPE").reveal(&none)),
        "read secret: the variable `NOPE` is not set [E-021] | set `NOPE` in the environment of this program"
    );
    let error = Secret::new("file:/nowhere/secret").reveal(&none).unwrap_err();
    assert_eq!(error.code(), &codes::CONFIG_SECRET);
    assert!(error.to_string().contains("/nowhere/secret"), "{error}");
}

#[test]
fn the_schema_knows_every_key_and_when_it_came() {
    let schema = schema();
    let definitions = schema["$defs"].as_object().unwrap();
    let mut described = 0;
    for (name, definition) in definitions.iter().chain([(&"Config".to_owned(), &schema)]) {
        for (key, property) in definition["properties"].as_object().into_iter().flatten() {
            let text =
                property["description"].as_str().unwrap_or_else(|| panic!("{name}.{key} has no description"));
            assert!(text.contains("Since v0."), "{name}.{key}: {text}");
            described += 1;
        }
    }
    assert!(described > 20, "{described}");
    let options = schemars::schema_for!(TaskOptions).to_value();
    let mut keys: Vec<&str> = options["properties"].as_object().unwrap().keys().map(String::as_str).collect();
    let mut known = TaskOptions::KEYS;
    keys.sort_unstable();
    known.sort_unstable();
    assert_eq!(keys, known);
}

#[test]
fn shown_values_load_again() {
    let text = format!(
        "{NATIVE}[worker]\nqueues = [\"a\"]\n[worker.profiles.heavy]\ntasks = [\"r*\"]\nmemory = \"512MiB\"\n\
         rate_limit = \"5/10m\"\nisolation = \"process\"\n[tasks.t]\nkind = \"exec\"\ncommand = [\"a\", \"b\"]\n\
         max_attempts = 3\ntimeout = \"90s\"\noutput_max = \"2MiB\"\n"
    );
    let config = Config::from_toml(&text).unwrap();
    let mut shown = serde_json::to_value(&config).unwrap();
    let rewritten = toml::to_string(&shown).unwrap();
    let again = serde_json::to_value(Config::from_toml(&rewritten).unwrap()).unwrap();
    assert_eq!(again, shown);
    assert_eq!(shown["worker"]["profiles"]["heavy"]["rate_limit"].take(), Value::from("5/10m"));
}
