//! Numbers and foreign text as people read them.

use std::fmt;

/// Text from elsewhere, safe in the content and the attributes of HTML and SVG. Characters that a page may not hold,
/// or that change the direction of what follows, are replaced.
#[derive(Debug, Clone, Copy)]
pub(super) struct Escaped<'a>(pub(super) &'a str);

impl fmt::Display for Escaped<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.chars().try_for_each(|c| match c {
            '&' => f.write_str("&amp;"),
            '<' => f.write_str("&lt;"),
            '>' => f.write_str("&gt;"),
            '"' => f.write_str("&quot;"),
            '\'' => f.write_str("&#39;"),
            '\u{200e}' | '\u{200f}' | '\u{202a}'..='\u{202e}' | '\u{2066}'..='\u{2069}' => {
                f.write_str("\u{fffd}")
            }
            c if c.is_control() => f.write_str("\u{fffd}"),
            c => fmt::Write::write_char(f, c),
        })
    }
}

/// A number with its thousands apart: `12,345`.
#[derive(Debug, Clone, Copy)]
pub(super) struct Grouped(pub(super) u64);

impl fmt::Display for Grouped {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let digits = self.0.to_string();
        for (at, digit) in digits.char_indices() {
            if at > 0 && (digits.len() - at).is_multiple_of(3) {
                f.write_str(",")?;
            }
            write!(f, "{digit}")?;
        }
        Ok(())
    }
}

/// A number of bytes in its best unit: `1.5 MiB`.
#[derive(Debug, Clone, Copy)]
pub(super) struct Bytes(pub(super) u64);

impl fmt::Display for Bytes {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        const UNITS: [&str; 6] = ["KiB", "MiB", "GiB", "TiB", "PiB", "EiB"];
        let Some(step) = (self.0.max(1).ilog2() / 10).checked_sub(1) else {
            return write!(f, "{} B", self.0);
        };
        let unit = 1_u128 << (10 * (step + 1));
        let tenths = u128::from(self.0) * 10 / unit;
        let name = UNITS[step as usize];
        match tenths % 10 {
            0 => write!(f, "{} {name}", tenths / 10),
            tenth => write!(f, "{}.{tenth} {name}", tenths / 10),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn foreign_text_cannot_leave_its_place() {
        for (text, expected) in [
            ("<img src=x onerror='a()'>", "&lt;img src=x onerror=&#39;a()&#39;&gt;"),
            ("a & \"b\"", "a &amp; &quot;b&quot;"),
            ("a\0\u{1b}[2J\u{202e}b\n", "a\u{fffd}\u{fffd}[2J\u{fffd}b\u{fffd}"),
            ("größe 日本語", "größe 日本語"),
        ] {
            assert_eq!(Escaped(text).to_string(), expected);
        }
    }

    #[test]
    fn numbers_read_well() {
        for (number, expected) in [(0, "0"), (999, "999"), (1_000, "1,000"), (12_345_678, "12,345,678")] {
            assert_eq!(Grouped(number).to_string(), expected);
        }
        for (bytes, expected) in [
            (0, "0 B"),
            (1023, "1023 B"),
            (1024, "1 KiB"),
            (1536, "1.5 KiB"),
            (16 << 20, "16 MiB"),
            (u64::MAX, "15.9 EiB"),
        ] {
            assert_eq!(Bytes(bytes).to_string(), expected);
        }
    }
}
