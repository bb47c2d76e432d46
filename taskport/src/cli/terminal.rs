//! What the program may do with the terminal it was started from.

use std::fmt;
use std::io::{self, IsTerminal, Write};

use crate::Error;

/// How standard error looks: everything that is no result goes there.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Terminal {
    /// Whether colours may be used.
    pub(crate) color: bool,
    /// Whether a line may be written over, as a progress bar does.
    pub(crate) live: bool,
}

/// The few meanings that have a colour.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Tone {
    /// Something failed.
    Bad,
    /// Something went well.
    Good,
    /// Worth a look, or the way out of a failure.
    Notice,
}

impl Terminal {
    /// Looks at standard error, `NO_COLOR` and `TERM`, once.
    pub(crate) fn detect() -> Self {
        let set = |name| std::env::var_os(name).is_some_and(|value| !value.is_empty());
        let dumb = std::env::var_os("TERM").is_some_and(|term| term == "dumb");
        let live = io::stderr().is_terminal() && !dumb;
        Self { color: live && !set("NO_COLOR"), live }
    }

    /// Writes one line to standard error. A reader that has gone is no reason to fail.
    pub(crate) fn line(self, text: impl fmt::Display) {
        let _ = writeln!(io::stderr().lock(), "{text}");
    }

    /// Writes a remark beside the result.
    pub(crate) fn note(self, text: impl fmt::Display) {
        self.line(format_args!("{} {text}", self.paint(Tone::Notice, "note:")));
    }

    /// Writes errors, and their remedies after an empty line.
    pub(crate) fn errors(self, errors: &[Error]) {
        for error in errors {
            self.line(format_args!("{} {}", self.paint(Tone::Bad, "error:"), Printable(&error.to_string())));
        }
        let mut remedies: Vec<&str> = errors.iter().filter_map(Error::remedy).collect();
        remedies.dedup();
        for remedy in remedies {
            self.line(format_args!("\n{} {}", self.paint(Tone::Notice, "hint:"), Printable(remedy)));
        }
    }

    /// The text in the colour of its meaning, where colours may be used.
    pub(crate) fn paint(self, tone: Tone, text: &str) -> String {
        let code = match tone {
            Tone::Bad => "1;31",
            Tone::Good => "32",
            Tone::Notice => "1;36",
        };
        if self.color { format!("\u{1b}[{code}m{text}\u{1b}[0m") } else { text.to_owned() }
    }
}

/// Text from elsewhere on one line, with everything escaped that a terminal would obey.
pub(crate) struct Printable<'a>(pub(crate) &'a str);

impl fmt::Display for Printable<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        use fmt::Write;
        self.0.chars().try_for_each(|c| {
            if is_printable(c) { f.write_char(c) } else { write!(f, "{}", c.escape_default()) }
        })
    }
}

/// Control characters, and the marks that turn the direction of writing, are not.
fn is_printable(c: char) -> bool {
    !c.is_control()
        && !matches!(c, '\u{200e}' | '\u{200f}' | '\u{202a}'..='\u{202e}' | '\u{2066}'..='\u{2069}')
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn text_from_elsewhere_cannot_command_the_terminal() {
        let hostile = "a\u{1b}[31mb\nc\u{202e}d é →";
        assert_eq!(Printable(hostile).to_string(), "a\\u{1b}[31mb\\nc\\u{202e}d é →");
    }

    #[test]
    fn colours_need_a_terminal() {
        let plain = Terminal { color: false, live: false };
        assert_eq!(plain.paint(Tone::Bad, "x"), "x");
        let colored = Terminal { color: true, live: true };
        assert_eq!(colored.paint(Tone::Good, "x"), "\u{1b}[32mx\u{1b}[0m");
    }
}
