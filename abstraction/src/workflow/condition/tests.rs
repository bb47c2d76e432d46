use serde_json::json;

use super::*;

fn holds(text: &str) -> Result<bool, String> {
    let condition = Condition::parse(text)?;
    let input = json!({
        "n": 3, "x": 1.5, "name": "taskport", "on": true, "none": null, "big": u64::MAX,
        "list": [1, 2, 3], "people": [{"age": 20}, {"age": 40}], "map": {"a": {"b": [10]}},
    });
    let output = json!({"files": ["a.txt", "b.txt"]});
    let known: Vec<Option<Value>> = condition
        .facts()
        .iter()
        .map(|fact| match fact {
            Fact::Input(path) => path.follow(&input).cloned(),
            Fact::Output(_, path) => path.follow(&output).cloned(),
            Fact::State(_) => Some(json!("succeeded")),
        })
        .collect();
    condition.holds(&known)
}

#[test]
fn conditions_mean_what_cel_says() {
    for (text, expected) in [
        ("true", true),
        ("input.on", true),
        ("!input.on", false),
        ("!!input.on", true),
        ("input.n == 3", true),
        ("input.n == 3.0", true),
        ("input.n == \"3\"", false),
        ("input.n != 3", false),
        ("input.n > 2 && input.n < 4", true),
        ("input.n >= 3 && input.n <= 3", true),
        ("input.x < 2", true),
        ("input.big > 9223372036854775807", true),
        ("9007199254740993 > 9007199254740992.0", true),
        ("1 + 2 * 3 == 7", true),
        ("(1 + 2) * 3 == 9", true),
        ("7 / 2 == 3 && 7 % 2 == 1 && -7 / 2 == -3", true),
        ("7.0 / 2.0 == 3.5", true),
        ("-9223372036854775808 < 0", true),
        ("0x10 == 16", true),
        ("1e3 == 1000", true),
        ("'a' + \"b\" == 'ab'", true),
        (r#""\u0041\n" == 'A\n'"#, true),
        (r"r'\d' == '\\d'", true),
        ("[1, 2] + [3] == input.list", true),
        ("2 in input.list", true),
        ("4 in input.list", false),
        ("'a' in input.map", true),
        ("input.list[0] == 1 && input.map['a'].b[0] == 10", true),
        ("{'a': 1}.a == 1", true),
        ("size(input.list) == 3 && input.name.size() == 8", true),
        ("size('é') == 1", true),
        ("input.name.startsWith('task') && input.name.endsWith('port') && input.name.contains('kp')", true),
        ("has(input.name) && !has(input.nmae)", true),
        ("has(input.map.a.b) && !has(input.map.c)", true),
        ("input.none == null", true),
        ("input.list.all(i, i > 0)", true),
        ("input.list.exists(i, i > 2)", true),
        ("input.list.exists_one(i, i > 2)", true),
        ("input.list.filter(i, i > 1) == [2, 3]", true),
        ("input.list.map(i, i * 2) == [2, 4, 6]", true),
        ("input.people.exists(p, p.age > 30 && has(p.age))", true),
        ("input.list.all(i, input.list.exists(j, j == i))", true),
        ("input.map.all(k, k == 'a')", true),
        ("input.on ? input.n > 2 : input.missing", true),
        ("string(12) == '12' && int('12') == 12 && double(3) == 3.0 && int(3.9) == 3", true),
        ("steps.scan.state == 'succeeded'", true),
        ("size(steps.scan.output.files) == 2", true),
        ("steps.scan.output.files[1].endsWith('.txt')", true),
        ("false && input.missing", false),
        ("input.missing && false", false),
        ("input.missing || true", true),
        ("[2, 0].exists(i, 4 / i == 2)", true),
        ("// why\ninput.on", true),
    ] {
        assert_eq!(holds(text), Ok(expected), "{text}");
    }
}

#[test]
fn what_does_not_fit_is_named() {
    for (text, message) in [
        ("", "a value is missing before the end at character 1"),
        ("inpt.n == 1", "the name `inpt` is unknown; did you mean `input`?"),
        ("now() > 3", "the name `now` is unknown: there is no such function"),
        ("tomorrow", "the name `tomorrow` is unknown: a condition knows `input` and `steps`"),
        ("input.list.all(i, j > 0)", "the name `j` is unknown: a condition knows `input` and `steps`"),
        ("steps.scan", "a step is asked as `steps.NAME.output` or `steps.NAME.state`"),
        ("steps['scan'].state == ''", "a step is asked as `steps.NAME.output` or `steps.NAME.state`"),
        ("1 +", "a value is missing before the end at character 4"),
        ("(1", "`)` is missing before the end at character 3"),
        ("1 2", "`2` at character 3 is one too many"),
        ("input.n = 3", "`=` at character 9 is one too many"),
        ("'open", "a text is not closed"),
        ("#", "`#` has no meaning here"),
        ("3u", "`3u` is not a number"),
        ("99999999999999999999", "`99999999999999999999` is not a number"),
        ("9223372036854775808", "9223372036854775808 is no 64-bit integer"),
        ("has(1)", "`has` asks for a member, as in has(input.name)"),
        ("'a'.startsWith()", "`startsWith` takes 1 values, not 0"),
        ("input.n", "a condition is true or false, and this one is an integer"),
        ("input.missing", "there is no `input.missing`"),
        ("input.n && true", "an integer is used as true or false"),
        (
            "input.n + input.x == 1",
            "no arithmetic joins an integer and a double; int(…) or double(…) makes them alike",
        ),
        ("9223372036854775807 + 1 == 0", "a number is beyond 64 bits"),
        ("1 / 0 == 0", "division by zero"),
        ("input.list[3] == 0", "the list has no element 3"),
        ("input.list[-1] == 0", "the list has no element -1"),
        ("input.n < 'a'", "an integer cannot be compared with a text"),
        ("{'a': 1, 'a': 2} == {}", "a map has the key `a` twice"),
    ] {
        assert_eq!(holds(text), Err(message.to_owned()), "{text}");
    }
}

#[test]
fn hostile_conditions_are_refused_before_they_cost_anything() {
    let deep = |open: &str, close: &str| format!("{}1{} == 1", open.repeat(500), close.repeat(500));
    for text in
        [deep("(", ")"), deep("[", "]"), deep("-", ""), deep("1+", ""), format!("{}true", "!".repeat(500))]
    {
        assert!(holds(&text).unwrap_err().contains("levels deep"), "{text}");
    }
    assert!(holds(&" ".repeat(CONDITION_BYTES_MAX + 1)).unwrap_err().contains("bytes"));
    let list = format!("[{}]", "1,".repeat(200));
    let cubed = format!("{list}.all(a, {list}.all(b, {list}.all(c, a == b)))");
    assert!(holds(&cubed).unwrap_err().contains("operations"));
    assert_eq!(holds(&["input.on"; 300].join(" && ")), Ok(true), "a long chain is not deep");
}

#[test]
fn whatever_is_written_is_read_or_refused() {
    let whole = r#"has(input.a) && (steps.s.output.n >= 0x1F || 'é\u00e9'.contains("x")) ? [1.5e3, -2][0] : {'k': !true}"#;
    let places: Vec<usize> = whole.char_indices().map(|(place, _)| place).collect();
    for place in &places {
        let _ = Condition::parse(&whole[*place..]);
        let _ = Condition::parse(&whole[..*place]);
        for other in ["", "'", "\\", "(", ".", "0x", "1e", "é", "r'", "!", "-", "in", "//"] {
            let _ = Condition::parse(&format!("{}{other}{}", &whole[..*place], &whole[*place..]));
        }
    }
    assert!(Condition::parse(whole).is_ok());
}

#[test]
fn each_fact_is_asked_for_once() {
    let condition =
        Condition::parse("input.a == 1 && input.a != 2 && steps.s.output.b && steps.s.state != ''").unwrap();
    let facts: Vec<String> = condition.facts().iter().map(Fact::to_string).collect();
    assert_eq!(facts, ["input.a", "steps.s.output.b", "steps.s.state"]);
}
