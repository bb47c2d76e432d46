//! Charts as inline SVG: no script, no network, readable by a screen reader.

use std::fmt::Write;

use super::text::Escaped;

const WIDTH: u64 = 720;
const ROW_HEIGHT: u64 = 24;
const LABEL_WIDTH: u64 = 150;
const VALUE_WIDTH: u64 = 90;
const LABEL_CHARS_MAX: usize = 22;
const COLUMN_HEIGHT: u64 = 180;

/// One bar or column.
#[derive(Debug)]
pub(super) struct Mark {
    /// What it stands for.
    pub(super) label: String,
    /// How long it is, relative to the others.
    pub(super) value: u64,
    /// How long it is, in words.
    pub(super) text: String,
}

/// Which of the page's two colors a chart has.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Color {
    First,
    Second,
}

impl Color {
    const fn class(self) -> &'static str {
        match self {
            Self::First => "bar",
            Self::Second => "bar second",
        }
    }
}

/// Horizontal bars below one another.
pub(super) fn bars(title: &str, marks: &[Mark], color: Color) -> String {
    let most = most(marks);
    let mut rows = String::new();
    for (row, mark) in (0..).zip(marks) {
        let top = row * ROW_HEIGHT;
        let length = share(mark.value, most, WIDTH - LABEL_WIDTH - VALUE_WIDTH);
        let (text_y, label_x, value_x) = (top + 16, LABEL_WIDTH - 10, LABEL_WIDTH + length + 8);
        let (bar_y, bar_height, class) = (top + 4, ROW_HEIGHT - 8, color.class());
        let (label, text) = (shortened(&mark.label), Escaped(&mark.text));
        put(
            &mut rows,
            format_args!(
                "<text x=\"{label_x}\" y=\"{text_y}\" text-anchor=\"end\">{}</text>\
                 <rect class=\"{class}\" x=\"{LABEL_WIDTH}\" y=\"{bar_y}\" width=\"{length}\" height=\"{bar_height}\" rx=\"2\"/>\
                 <text class=\"value\" x=\"{value_x}\" y=\"{text_y}\">{text}</text>\n",
                Escaped(&label)
            ),
        );
    }
    frame(title, ROW_HEIGHT * marks.len() as u64, &rows)
}

/// Upright columns side by side.
pub(super) fn columns(title: &str, marks: &[Mark], color: Color) -> String {
    let most = most(marks);
    let step = WIDTH / (marks.len() as u64).max(1);
    let base = COLUMN_HEIGHT + 20;
    let mut body = String::new();
    for (column, mark) in (0..).zip(marks) {
        let height = share(mark.value, most, COLUMN_HEIGHT);
        let (left, middle, top) = (column * step + 6, column * step + step / 2, base - height);
        let (width, class, value_y, label_y) = (step - 12, color.class(), top - 5, base + 17);
        put(
            &mut body,
            format_args!(
                "<rect class=\"{class}\" x=\"{left}\" y=\"{top}\" width=\"{width}\" height=\"{height}\" rx=\"2\"/>\
                 <text class=\"value\" x=\"{middle}\" y=\"{value_y}\" text-anchor=\"middle\">{}</text>\
                 <text x=\"{middle}\" y=\"{label_y}\" text-anchor=\"middle\">{}</text>\n",
                Escaped(&mark.text),
                Escaped(&mark.label)
            ),
        );
    }
    put(
        &mut body,
        format_args!("<line class=\"axis\" x1=\"0\" y1=\"{base}\" x2=\"{WIDTH}\" y2=\"{base}\"/>\n"),
    );
    frame(title, base + 26, &body)
}

fn frame(title: &str, height: u64, body: &str) -> String {
    let title = Escaped(title);
    format!("<svg viewBox=\"0 0 {WIDTH} {height}\" role=\"img\" aria-label=\"{title}\">\n{body}</svg>\n")
}

fn most(marks: &[Mark]) -> u64 {
    marks.iter().map(|mark| mark.value).max().unwrap_or(0).max(1)
}

/// The share of `length` that `value` of `most` takes; what is there at all is seen.
fn share(value: u64, most: u64, length: u64) -> u64 {
    let exact = u128::from(value) * u128::from(length) / u128::from(most);
    u64::try_from(exact).unwrap_or(length).max(u64::from(value > 0))
}

fn shortened(label: &str) -> String {
    match label.char_indices().nth(LABEL_CHARS_MAX) {
        None => label.to_owned(),
        Some((end, _)) => format!("{}…", &label[..end]),
    }
}

/// Appends formatted text; a `String` takes all of it.
pub(super) fn put(out: &mut String, text: std::fmt::Arguments<'_>) {
    let _ = out.write_fmt(text);
}

#[cfg(test)]
mod tests {
    use super::*;

    fn mark(label: &str, value: u64) -> Mark {
        Mark { label: label.to_owned(), value, text: value.to_string() }
    }

    #[test]
    fn bars_are_as_long_as_their_share_and_never_vanish() {
        for (value, most, expected) in [(0, 10, 0), (10, 10, 480), (5, 10, 240), (1, u64::MAX, 1)] {
            assert_eq!(share(value, most, 480), expected, "{value} of {most}");
        }
        let chart = bars("files", &[mark("Rust", 10), mark("C", 0)], Color::First);
        assert_eq!(chart.matches("<rect").count(), 2);
        assert!(chart.contains("viewBox=\"0 0 720 48\""), "{chart}");
    }

    #[test]
    fn charts_without_marks_are_empty_and_well_formed() {
        for chart in [bars("none", &[], Color::First), columns("none", &[], Color::Second)] {
            assert!(chart.starts_with("<svg ") && chart.ends_with("</svg>\n"), "{chart}");
            assert!(!chart.contains("<rect"));
        }
    }

    #[test]
    fn labels_are_escaped_and_shortened() {
        let chart = bars("a\"b", &[mark("<script>", 1), mark(&"é".repeat(40), 2)], Color::First);
        assert!(!chart.contains("<script>") && chart.contains("aria-label=\"a&quot;b\""));
        assert!(chart.contains(&format!(">{}…<", "é".repeat(LABEL_CHARS_MAX))));
    }
}
