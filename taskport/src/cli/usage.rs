//! A misused command line, said in the form of every other error.

use clap::error::ErrorKind;

use crate::Error;
use crate::abstraction::codes;

/// What parsing the arguments came to, when it came to no command.
#[derive(Debug)]
pub(super) enum Refusal {
    /// Help or version was asked for: a result.
    Asked(String),
    /// A command is missing: the help of what there is, then the error.
    Missing(String, Error),
    /// A mistake.
    Mistake(Error),
}

impl From<clap::Error> for Refusal {
    fn from(error: clap::Error) -> Self {
        let text = error.render().to_string();
        match error.kind() {
            ErrorKind::DisplayHelp | ErrorKind::DisplayVersion => Self::Asked(text),
            ErrorKind::DisplayHelpOnMissingArgumentOrSubcommand => {
                Self::Missing(text, misuse("a command is missing").hint("choose one of the commands above"))
            }
            _ => Self::Mistake(read(&text)),
        }
    }
}

/// An error of the command line.
pub(crate) fn misuse(message: impl Into<std::borrow::Cow<'static, str>>) -> Error {
    Error::new(&codes::USAGE, "read arguments", message)
}

/// Takes clap's paragraphs apart: what is wrong, tips, usage.
fn read(text: &str) -> Error {
    let mut paragraphs = text.split("\n\n").map(joined);
    let first = paragraphs.next().unwrap_or_default();
    let error = misuse(first.strip_prefix("error: ").unwrap_or(&first).to_owned());
    let rest: Vec<String> = paragraphs.collect();
    let tips: Vec<&str> = rest.iter().filter_map(|line| line.strip_prefix("tip: ")).collect();
    if !tips.is_empty() {
        return error.hint(tips.join("; ").replace(" tip: ", "; "));
    }
    match rest.iter().find(|line| line.starts_with("Usage: ")) {
        Some(usage) => error.hint(format!("u{}", &usage[1..])),
        None => error.hint("`--help` lists what is possible"),
    }
}

fn joined(paragraph: &str) -> String {
    paragraph.lines().map(str::trim).filter(|line| !line.is_empty()).collect::<Vec<_>>().join(" ")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_wrong_becomes_one_line_and_the_tip_its_hint() {
        let text = "error: unrecognized subcommand 'sbmit'\n\n  tip: a similar subcommand exists: 'submit'\n\nUsage: taskport <COMMAND>\n\nFor more information, try '--help'.\n";
        let error = read(text);
        assert_eq!(error.message(), "unrecognized subcommand 'sbmit'");
        assert_eq!(error.remedy(), Some("a similar subcommand exists: 'submit'"));
    }

    #[test]
    fn without_a_tip_the_usage_is_the_hint() {
        let text = "error: the following required arguments were not provided:\n  <TASK>\n\nUsage: taskport submit <TASK>\n\nFor more information, try '--help'.\n";
        let error = read(text);
        assert_eq!(error.message(), "the following required arguments were not provided: <TASK>");
        assert_eq!(error.remedy(), Some("usage: taskport submit <TASK>"));
    }
}
