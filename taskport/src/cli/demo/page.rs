//! The summary as a page: one file, no script, no network, for screen and paper, light and dark.

use super::chart::{self, Color, Mark, put};
use super::summary::{LanguageFacts, SizeClass, Summary, TermFacts};
use super::text::{Bytes, Escaped, Grouped};

/// How many languages the chart has; the table has all.
const LANGUAGES_CHARTED: usize = 12;
/// How many terms the chart has.
const TERMS_CHARTED: usize = 25;

/// The page. It depends on the summary alone.
pub(super) fn render(summary: &Summary) -> String {
    let mut page = String::with_capacity(64 << 10);
    page.push_str("<!DOCTYPE html>\n<html lang=\"en\">\n<head>\n<meta charset=\"utf-8\">\n");
    page.push_str("<meta http-equiv=\"Content-Security-Policy\" content=\"default-src 'none'; style-src 'unsafe-inline'\">\n");
    page.push_str("<meta name=\"viewport\" content=\"width=device-width, initial-scale=1\">\n");
    page.push_str("<title>What the files hold</title>\n<style>\n");
    page.push_str(include_str!("page.css"));
    page.push_str("</style>\n</head>\n<body>\n");
    head(&mut page, summary);
    languages(&mut page, &summary.languages);
    sizes(&mut page, &summary.sizes);
    terms(&mut page, &summary.terms);
    duplicates(&mut page, summary);
    largest(&mut page, summary);
    unread(&mut page, summary);
    page.push_str("<footer>Made by <code>taskport demo</code>: one durable job for each file, merged in the order of the listing. ");
    page.push_str("The same files give the same page, byte for byte.</footer>\n</body>\n</html>\n");
    page
}

fn head(page: &mut String, summary: &Summary) {
    let files = &summary.files;
    page.push_str("<h1>What the files hold</h1>\n");
    let languages = summary.languages.len() as u64;
    put(
        page,
        format_args!(
            "<p class=\"soft\">{} read, in {}.</p>\n<dl class=\"figures\">\n",
            counted(files.read, "file"),
            counted(languages, "language")
        ),
    );
    for (name, value) in [
        ("Files", Grouped(files.read).to_string()),
        ("Size", Bytes(summary.bytes).to_string()),
        ("Lines", Grouped(summary.lines).to_string()),
        ("Words", Grouped(summary.words).to_string()),
        ("Could be saved", Bytes(summary.duplicates.bytes).to_string()),
    ] {
        put(page, format_args!("<div><dt>{name}</dt><dd>{value}</dd></div>\n"));
    }
    page.push_str("</dl>\n");
}

fn languages(page: &mut String, languages: &[LanguageFacts]) {
    page.push_str("<h2>Languages</h2>\n");
    if languages.is_empty() {
        page.push_str("<p>There was no file to read.</p>\n");
        return;
    }
    let mark = |language: &LanguageFacts| Mark {
        label: language.name.clone(),
        value: language.files,
        text: Grouped(language.files).to_string(),
    };
    let marks: Vec<_> = languages.iter().take(LANGUAGES_CHARTED).map(mark).collect();
    figure(page, &chart::bars("Files by language", &marks, Color::First), "Files by language");
    let rows = languages.iter().map(|language| {
        let numbers =
            [language.files, language.lines, language.words].map(|n| Cell::Number(Grouped(n).to_string()));
        let [files, lines, words] = numbers;
        vec![Cell::Text(&language.name), files, lines, words, Cell::Number(Bytes(language.bytes).to_string())]
    });
    table(page, "Every language found", &["Language", "Files", "Lines", "Words", "Size"], rows);
}

fn sizes(page: &mut String, sizes: &[SizeClass]) {
    page.push_str("<h2>Sizes</h2>\n");
    let mark = |class: &SizeClass| Mark {
        label: class.bytes_max.map_or("more".to_owned(), |bytes| format!("≤ {}", Bytes(bytes))),
        value: class.files,
        text: Grouped(class.files).to_string(),
    };
    let marks: Vec<_> = sizes.iter().map(mark).collect();
    figure(page, &chart::columns("Files by size", &marks, Color::Second), "How many files are of which size");
}

fn terms(page: &mut String, terms: &[TermFacts]) {
    page.push_str("<h2>Frequent terms</h2>\n");
    if terms.is_empty() {
        page.push_str("<p>There was no text to count.</p>\n");
        return;
    }
    let mark = |term: &TermFacts| Mark {
        label: term.term.clone(),
        value: term.count,
        text: Grouped(term.count).to_string(),
    };
    let marks: Vec<_> = terms.iter().take(TERMS_CHARTED).map(mark).collect();
    let caption = "The most frequent terms of each file, added up; common words and keywords are left out";
    figure(page, &chart::bars("Most frequent terms", &marks, Color::First), caption);
    let rest: Vec<_> = terms.iter().skip(TERMS_CHARTED).map(|term| term.term.as_str()).collect();
    if !rest.is_empty() {
        put(page, format_args!("<p class=\"soft\">Then: {}.</p>\n", Escaped(&rest.join(", "))));
    }
}

fn duplicates(page: &mut String, summary: &Summary) {
    let found = &summary.duplicates;
    page.push_str("<h2>Duplicates</h2>\n");
    if found.groups == 0 {
        page.push_str("<p>No two files have the same content.</p>\n");
        return;
    }
    put(
        page,
        format_args!(
            "<p>{} in more than one file. {} could go, which would save {}.</p>\n",
            if found.groups == 1 {
                "1 content stands".to_owned()
            } else {
                format!("{} contents stand", Grouped(found.groups))
            },
            counted(found.files, "file"),
            Bytes(found.bytes)
        ),
    );
    let rows = found.largest.iter().map(|group| {
        vec![
            Cell::Path(&group.first),
            Cell::Number(Grouped(group.copies).to_string()),
            Cell::Number(Bytes(group.bytes).to_string()),
            Cell::Number(Bytes((group.copies - 1) * group.bytes).to_string()),
        ]
    });
    table(page, "Those that would save most", &["First file", "Copies", "Size", "Saves"], rows);
}

fn largest(page: &mut String, summary: &Summary) {
    if summary.largest.is_empty() {
        return;
    }
    page.push_str("<h2>Largest files</h2>\n");
    let rows = summary.largest.iter().map(|file| {
        vec![Cell::Path(&file.path), Cell::Text(&file.language), Cell::Number(Bytes(file.bytes).to_string())]
    });
    table(page, "By size", &["File", "Language", "Size"], rows);
}

fn unread(page: &mut String, summary: &Summary) {
    let (files, left_out) = (&summary.files, &summary.left_out);
    page.push_str("<h2>Not counted</h2>\n");
    let remarks = [
        (files.failed, "listed, and its job failed for good"),
        (files.truncated, "too long: only the beginning was counted"),
        (files.not_utf8, "not all UTF-8: the foreign bytes separate words"),
        (left_out.links, "a symbolic link, which is not followed"),
        (left_out.special, "a device, pipe or socket"),
        (left_out.hidden, "hidden: its name starts with a dot"),
        (left_out.names_not_utf8, "with a name that is not UTF-8"),
        (left_out.directories, "a directory that could not be read or is nested too deep"),
    ];
    let reasons = summary.unread.iter().map(|unread| {
        let examples = unread.examples.join(", ");
        let more = if unread.files > unread.examples.len() as u64 { ", …" } else { "" };
        (unread.files, format!("{}: {examples}{more}", unread.reason.as_str()))
    });
    let remarks =
        remarks.into_iter().filter(|(count, _)| *count > 0).map(|(count, why)| (count, why.to_owned()));
    let mut rows = reasons.chain(remarks).peekable();
    if rows.peek().is_none() {
        page.push_str("<p>Everything that was met was counted in full.</p>\n");
        return;
    }
    page.push_str("<div class=\"scroll\"><table>\n<thead><tr><th scope=\"col\">What</th>");
    page.push_str("<th scope=\"col\" class=\"number\">How many</th></tr></thead>\n<tbody>\n");
    for (count, why) in rows {
        let (why, count) = (Escaped(&why), Grouped(count));
        put(page, format_args!("<tr><td>{why}</td><td class=\"number\">{count}</td></tr>\n"));
    }
    page.push_str("</tbody>\n</table></div>\n");
}

enum Cell<'a> {
    Text(&'a str),
    Path(&'a str),
    Number(String),
}

fn table<'a>(page: &mut String, caption: &str, columns: &[&str], rows: impl Iterator<Item = Vec<Cell<'a>>>) {
    put(
        page,
        format_args!("<div class=\"scroll\"><table>\n<caption>{}</caption>\n<thead><tr>", Escaped(caption)),
    );
    let mut head = String::new();
    let mut body = String::new();
    for (at, cells) in rows.enumerate() {
        body.push_str("<tr>");
        for (column, cell) in columns.iter().zip(cells) {
            let (class, content) = match &cell {
                Cell::Text(text) => ("", *text),
                Cell::Path(path) => (" class=\"path\"", *path),
                Cell::Number(number) => (" class=\"number\"", number.as_str()),
            };
            if at == 0 {
                let class = if matches!(cell, Cell::Number(_)) { class } else { "" };
                put(&mut head, format_args!("<th scope=\"col\"{class}>{}</th>", Escaped(column)));
            }
            put(&mut body, format_args!("<td{class}>{}</td>", Escaped(content)));
        }
        body.push_str("</tr>\n");
    }
    put(page, format_args!("{head}</tr></thead>\n<tbody>\n{body}</tbody>\n</table></div>\n"));
}

fn figure(page: &mut String, chart: &str, caption: &str) {
    put(page, format_args!("<figure>\n{chart}<figcaption>{}</figcaption>\n</figure>\n", Escaped(caption)));
}

fn counted(count: u64, noun: &str) -> String {
    if count == 1 { format!("1 {noun}") } else { format!("{} {noun}s", Grouped(count)) }
}

#[cfg(test)]
mod tests {
    use super::super::file::{FileFacts, Finding, Unread, UnreadReason};
    use super::super::scan::LeftOut;
    use super::super::summary::Merger;
    use super::super::summary::tests::facts;
    use super::*;

    fn page(findings: Vec<Finding>) -> String {
        let mut merger = Merger::new();
        let listed = findings.len() as u64;
        findings.into_iter().for_each(|finding| merger.add(finding));
        render(&merger.finish(listed, LeftOut { links: 2, ..LeftOut::default() }))
    }

    /// Every element that is opened is closed, in order.
    fn assert_well_formed(page: &str) {
        let mut open = Vec::new();
        let (_, body) = page.split_once("<body>").unwrap();
        let (body, _) = body.rsplit_once("</body>").unwrap();
        for tag in body.split('<').skip(1) {
            let (tag, _) = tag.split_once('>').unwrap();
            match tag.strip_prefix('/') {
                Some(name) => assert_eq!(open.pop(), Some(name)),
                None if tag.ends_with('/') => {}
                None => open.push(tag.split_whitespace().next().unwrap()),
            }
        }
        assert!(open.is_empty(), "{open:?}");
    }

    #[test]
    fn a_page_shows_every_part_and_needs_nothing_else() {
        let page = page(vec![
            Finding::Read(facts("a/one.rs", 70_000, "1")),
            Finding::Read(facts("a/two.rs", 70_000, "1")),
            Finding::Unread(Unread { path: "gone.txt".into(), reason: UnreadReason::Vanished }),
        ]);
        assert_well_formed(&page);
        for part in ["2 files read, in 1 language", "Duplicates", "a/one.rs", "gone.txt", "lease", "68.3 KiB"]
        {
            assert!(page.contains(part), "{part}");
        }
        for foreign in ["http:", "https:", "<script", "src=", "@import", "url("] {
            assert!(!page.contains(foreign), "{foreign}");
        }
        assert_eq!(page.matches("<svg ").count(), 3);
    }

    #[test]
    fn a_page_about_nothing_says_so() {
        let page = page(Vec::new());
        assert_well_formed(&page);
        assert!(page.contains("There was no file to read") && page.contains("No two files"));
    }

    #[test]
    fn hostile_names_stay_text() {
        let hostile = "<script>alert(1)</script>\"' onload=\u{202e}x.rs";
        let facts = |path: &str| FileFacts {
            language: hostile.to_owned(),
            terms: vec![(hostile.to_owned(), 3)],
            ..facts(path, 9, "1")
        };
        let page = page(vec![
            Finding::Read(facts(hostile)),
            Finding::Read(facts("b")),
            Finding::Unread(Unread { path: hostile.to_owned(), reason: UnreadReason::Denied }),
        ]);
        assert_well_formed(&page);
        assert!(!page.contains("<script") && !page.contains('\u{202e}'));
    }
}
