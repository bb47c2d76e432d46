//! Workflows written in YAML or JSON.

use taskport_abstraction::task::Location;
use taskport_abstraction::text::nearest;
use taskport_abstraction::{Error, Result, WorkflowDefinition, codes};

use crate::shown;

/// The largest number of bytes of one written workflow.
pub const WORKFLOW_BYTES_MAX: usize = 32 << 20;

/// Reads a workflow, written in JSON where `file` ends in `.json`, else in YAML. Its graph and its tasks are checked
/// with the registry it goes into.
///
/// # Errors
/// `InvalidInput` (E-016) with file and line.
pub fn workflow_from_text(text: &str, file: &str) -> Result<(WorkflowDefinition, Location)> {
    let bad = |line: Option<usize>, message: String| {
        let place = line.map_or_else(|| file.to_owned(), |line| format!("{file}:{line}"));
        Error::new(&codes::BAD_WORKFLOW, "read workflow", format!("{place}: {message}"))
    };
    if text.len() > WORKFLOW_BYTES_MAX {
        let message = format!("{} bytes are more than the largest number, {WORKFLOW_BYTES_MAX}", text.len());
        return Err(bad(None, message));
    }
    let parsed = if file.ends_with(".json") {
        serde_json::from_str(text).map_err(|error| {
            let line = Some(error.line()).filter(|line| *line > 0);
            (line, error.to_string())
        })
    } else {
        serde_norway::from_str(text)
            .map_err(|error| (error.location().map(|at| at.line()), error.to_string()))
    };
    match parsed {
        Ok(workflow) => Ok((workflow, Location { file: file.to_owned().into(), line: 1 })),
        Err((line, message)) => {
            let error = bad(line, shown(without_place(&message)));
            Err(match suggestion(&message) {
                Some(near) => error.hint(format!("did you mean `{near}`?")),
                None => error,
            })
        }
    }
}

/// The message without the parser's own ` at line 3 column 5`.
fn without_place(message: &str) -> &str {
    message.rfind(" at line ").map_or(message, |at| &message[..at])
}

/// The expected key nearest to the unknown one, out of serde's "unknown field `x`, expected one of `a`, `b`".
fn suggestion(message: &str) -> Option<&str> {
    let mut quoted = message.split_once("unknown ")?.1.split('`').skip(1).step_by(2);
    let unknown = quoted.next()?;
    nearest(unknown, quoted)
}

#[cfg(test)]
mod tests {
    use super::*;

    const YAML: &str = "
name: nightly
steps:
  - id: extract
    task: extract
    args: {path: $input.path}
    timeout: 30s
  - {id: load, task: load, args: [$steps.extract.output], on_failure: continue}
";

    #[test]
    fn yaml_and_json_give_the_same_definition() {
        let (from_yaml, location) = workflow_from_text(YAML, "flows/nightly.yaml").unwrap();
        assert_eq!(location.to_string(), "flows/nightly.yaml:1");
        let json = serde_json::to_string_pretty(&from_yaml).unwrap().replace("  ", "\t");
        assert_eq!(workflow_from_text(&json, "nightly.json").unwrap().0, from_yaml);
        assert_eq!(workflow_from_text(&json, "nightly.yml").unwrap().0, from_yaml);
    }

    #[test]
    fn a_mistake_is_named_with_its_file_and_line() {
        let refused = |text: &str, file: &str| {
            let error = workflow_from_text(text, file).unwrap_err();
            assert_eq!(error.code(), &codes::BAD_WORKFLOW);
            (error.message().to_owned(), error.remedy().map(str::to_owned))
        };
        let (message, hint) = refused(&YAML.replace("timeout:", "timout:"), "n.yaml");
        assert!(message.starts_with("n.yaml:7: steps[0]: unknown field `timout`"), "{message}");
        assert_eq!(hint.as_deref(), Some("did you mean `timeout`?"));
        let (message, _) = refused("{\"name\": \"n\",\n \"steps\": 3}", "n.json");
        assert!(message.starts_with("n.json:2: invalid type: integer `3`"), "{message}");
        let (message, _) = refused(&YAML.replace("30s", "30"), "n.yaml");
        assert!(message.contains("is not a duration") || message.contains("expected a string"), "{message}");
        let (message, _) = refused("name: n\n\"\\e[2J\\n\": 1", "n.yaml");
        assert!(message.contains("unknown field `\\u{1b}[2J\\n`"), "{message}");
        for text in ["", "]", "name: [", "\u{feff}", "a: &a [*a, *a]", "name: n\nname: n\nsteps: []"] {
            refused(text, "n.yaml");
        }
        let deep = "[".repeat(10_000);
        refused(&deep, "n.yaml");
        refused(&deep, "n.json");
        refused(&" ".repeat(WORKFLOW_BYTES_MAX + 1), "n.yaml");
    }
}
