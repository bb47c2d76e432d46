//! The merge: many findings become one summary of bounded size, in bounded memory.

use std::cmp::Reverse;
use std::collections::{BTreeMap, HashMap};

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::file::{FileFacts, Finding, Unread, UnreadReason};
use super::scan::LeftOut;
use super::words::BoundedCounts;

/// The version of the report's form.
const REPORT_VERSION: u32 = 1;
/// How many different terms are counted exactly over all files.
const TERMS_KEPT: usize = 32_768;
/// How many terms a summary shows.
const TERMS_SHOWN: usize = 40;
/// How many groups of duplicates a summary shows.
const DUPLICATES_SHOWN: usize = 25;
/// How many large files a summary shows.
const LARGEST_SHOWN: usize = 15;
/// How many paths a summary shows for each reason why files were not read.
const EXAMPLES_SHOWN: usize = 5;
/// The upper bounds of the size classes, in bytes; a last class has what is larger.
const SIZE_BOUNDS: [u64; 9] =
    [256, 1 << 10, 4 << 10, 16 << 10, 64 << 10, 256 << 10, 1 << 20, 4 << 20, 16 << 20];

/// What a directory holds. It depends on the files alone: no time, no id, no path from outside the directory.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub(crate) struct Summary {
    /// The version of this form.
    pub(super) version: u32,
    /// What came of the files.
    pub(super) files: FileCounts,
    /// Entries that were met and not listed.
    pub(super) left_out: LeftOut,
    /// Bytes of all files that were read, as long as they are.
    pub(super) bytes: u64,
    /// Lines of all texts.
    pub(super) lines: u64,
    /// Words of all texts.
    pub(super) words: u64,
    /// The languages, by files.
    pub(super) languages: Vec<LanguageFacts>,
    /// How many files there are of each size.
    pub(super) sizes: Vec<SizeClass>,
    /// The most frequent terms: those most frequent in each file, added up.
    pub(super) terms: Vec<TermFacts>,
    /// Files of the same content.
    pub(super) duplicates: Duplicates,
    /// The largest files.
    pub(super) largest: Vec<LargeFile>,
    /// Why files were not read.
    pub(super) unread: Vec<UnreadFacts>,
}

/// What came of the files.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub(crate) struct FileCounts {
    /// Listed by the scan: the sum of the next three.
    pub(super) listed: u64,
    /// Read and counted.
    pub(super) read: u64,
    /// Not read, for the reasons under `unread`.
    pub(super) unread: u64,
    /// Without a finding, because their job failed for good.
    pub(super) failed: u64,
    /// Read and found without content.
    pub(super) empty: u64,
    /// Read as text though not all of it is UTF-8.
    pub(super) not_utf8: u64,
    /// Longer than what is read of one file.
    pub(super) truncated: u64,
}

/// The files of one language.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub(crate) struct LanguageFacts {
    /// Its name.
    pub(super) name: String,
    /// How many there are.
    pub(super) files: u64,
    /// Their bytes.
    pub(super) bytes: u64,
    /// Their lines.
    pub(super) lines: u64,
    /// Their words.
    pub(super) words: u64,
}

/// Files of similar size.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub(crate) struct SizeClass {
    /// At most so many bytes each; left out for the class without a bound.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(super) bytes_max: Option<u64>,
    /// How many there are.
    pub(super) files: u64,
}

/// One frequent term.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub(crate) struct TermFacts {
    /// The term.
    pub(super) term: String,
    /// How often it stands.
    pub(super) count: u64,
}

/// Files of the same content.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub(crate) struct Duplicates {
    /// How many contents stand in more than one file.
    pub(super) groups: u64,
    /// How many files could go.
    pub(super) files: u64,
    /// How many bytes that would save.
    pub(super) bytes: u64,
    /// The groups that would save most.
    pub(super) largest: Vec<DuplicateGroup>,
}

/// Files of one content.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub(crate) struct DuplicateGroup {
    /// How many there are.
    pub(super) copies: u64,
    /// The bytes of each.
    pub(super) bytes: u64,
    /// The first of them in the order of the listing.
    pub(super) first: String,
}

/// One of the largest files.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub(crate) struct LargeFile {
    /// Its path.
    pub(super) path: String,
    /// Its language.
    pub(super) language: String,
    /// Its bytes.
    pub(super) bytes: u64,
}

/// Files that were not read for one reason.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub(crate) struct UnreadFacts {
    /// The reason.
    pub(super) reason: UnreadReason,
    /// How many there are.
    pub(super) files: u64,
    /// The first of them.
    pub(super) examples: Vec<String>,
}

/// Adds findings up in the order of the listing.
///
/// Per file it keeps a content's digest and its first path; everything else is bounded.
#[derive(Debug)]
pub(super) struct Merger {
    files: FileCounts,
    bytes: u64,
    lines: u64,
    words: u64,
    languages: BTreeMap<String, LanguageFacts>,
    sizes: [u64; SIZE_BOUNDS.len() + 1],
    terms: BoundedCounts,
    contents: HashMap<Box<str>, Content>,
    largest: Vec<LargeFile>,
    unread: BTreeMap<UnreadReason, UnreadFacts>,
}

#[derive(Debug)]
struct Content {
    bytes: u64,
    copies: u64,
    first: Box<str>,
}

impl Merger {
    pub(super) fn new() -> Self {
        Self {
            files: FileCounts::default(),
            bytes: 0,
            lines: 0,
            words: 0,
            languages: BTreeMap::new(),
            sizes: [0; SIZE_BOUNDS.len() + 1],
            terms: BoundedCounts::new(TERMS_KEPT),
            contents: HashMap::new(),
            largest: Vec::new(),
            unread: BTreeMap::new(),
        }
    }

    pub(super) fn add(&mut self, finding: Finding) {
        match finding {
            Finding::Read(facts) => self.add_facts(facts),
            Finding::Unread(unread) => self.add_unread(unread),
        }
    }

    fn add_facts(&mut self, facts: FileFacts) {
        self.files.read += 1;
        self.files.empty += u64::from(facts.bytes == 0);
        self.files.not_utf8 += u64::from(!facts.utf8);
        self.files.truncated += u64::from(facts.truncated);
        self.bytes += facts.bytes;
        self.lines += facts.lines;
        self.words += facts.words;
        self.sizes[SIZE_BOUNDS.partition_point(|bound| *bound < facts.bytes)] += 1;
        for (term, count) in &facts.terms {
            self.terms.add(term, *count);
        }
        let language = self.languages.entry(facts.language.clone()).or_default();
        language.files += 1;
        language.bytes += facts.bytes;
        language.lines += facts.lines;
        language.words += facts.words;
        // A file that was read in part may differ in the rest, and empty files waste nothing.
        if !facts.truncated && facts.bytes > 0 {
            self.contents
                .entry(facts.digest.into())
                .and_modify(|content| content.copies += 1)
                .or_insert_with(|| Content {
                    bytes: facts.bytes,
                    copies: 1,
                    first: facts.path.as_str().into(),
                });
        }
        self.add_large(LargeFile { path: facts.path, language: facts.language, bytes: facts.bytes });
    }

    fn add_large(&mut self, file: LargeFile) {
        let at = self.largest.partition_point(|known| known.bytes >= file.bytes);
        if at < LARGEST_SHOWN {
            self.largest.insert(at, file);
            self.largest.truncate(LARGEST_SHOWN);
        }
    }

    fn add_unread(&mut self, unread: Unread) {
        self.files.unread += 1;
        let facts = self.unread.entry(unread.reason).or_insert_with(|| UnreadFacts {
            reason: unread.reason,
            files: 0,
            examples: Vec::new(),
        });
        facts.files += 1;
        if facts.examples.len() < EXAMPLES_SHOWN {
            facts.examples.push(unread.path);
        }
    }

    /// The summary, for a listing of `listed` files.
    pub(super) fn finish(self, listed: u64, left_out: LeftOut) -> Summary {
        let found = self.files.read + self.files.unread;
        let bounds = SIZE_BOUNDS.into_iter().map(Some).chain([None]);
        let mut languages: Vec<_> =
            self.languages.into_iter().map(|(name, facts)| LanguageFacts { name, ..facts }).collect();
        languages.sort_by(|a, b| (Reverse(a.files), &a.name).cmp(&(Reverse(b.files), &b.name)));
        let terms = self.terms.top(TERMS_SHOWN, |_| true);
        Summary {
            version: REPORT_VERSION,
            files: FileCounts { listed, failed: listed.saturating_sub(found), ..self.files },
            left_out,
            bytes: self.bytes,
            lines: self.lines,
            words: self.words,
            languages,
            sizes: bounds.zip(self.sizes).map(|(bytes_max, files)| SizeClass { bytes_max, files }).collect(),
            terms: terms.into_iter().map(|(term, count)| TermFacts { term, count }).collect(),
            duplicates: duplicates(self.contents),
            largest: self.largest,
            unread: self.unread.into_values().collect(),
        }
    }
}

fn duplicates(contents: HashMap<Box<str>, Content>) -> Duplicates {
    let mut found = Duplicates::default();
    for content in contents.into_values().filter(|content| content.copies > 1) {
        found.groups += 1;
        found.files += content.copies - 1;
        found.bytes += (content.copies - 1) * content.bytes;
        let Content { bytes, copies, first } = content;
        found.largest.push(DuplicateGroup { copies, bytes, first: first.into() });
    }
    let saved = |group: &DuplicateGroup| (group.copies - 1) * group.bytes;
    found.largest.sort_by(|a, b| (Reverse(saved(a)), &a.first).cmp(&(Reverse(saved(b)), &b.first)));
    found.largest.truncate(DUPLICATES_SHOWN);
    found
}

#[cfg(test)]
pub(super) mod tests {
    use super::*;

    pub(in crate::cli::demo) fn facts(path: &str, bytes: u64, digest: &str) -> FileFacts {
        FileFacts {
            path: path.to_owned(),
            language: "Rust".to_owned(),
            bytes,
            lines: 2,
            words: 3,
            terms: vec![("lease".to_owned(), 2)],
            digest: digest.to_owned(),
            utf8: true,
            truncated: false,
        }
    }

    fn merge(findings: impl IntoIterator<Item = Finding>) -> Summary {
        let mut merger = Merger::new();
        let mut listed = 0;
        for finding in findings {
            merger.add(finding);
            listed += 1;
        }
        merger.finish(listed, LeftOut::default())
    }

    #[test]
    fn findings_add_up() {
        let summary = merge([
            Finding::Read(facts("a.rs", 100, "1")),
            Finding::Read(FileFacts { language: "C".into(), utf8: false, ..facts("b.c", 300, "2") }),
            Finding::Read(facts("c.rs", 0, "3")),
            Finding::Unread(Unread { path: "d".into(), reason: UnreadReason::Vanished }),
        ]);
        let files = summary.files;
        assert_eq!((files.listed, files.read, files.unread, files.failed), (4, 3, 1, 0));
        assert_eq!((files.empty, files.not_utf8, files.truncated), (1, 1, 0));
        assert_eq!((summary.bytes, summary.lines, summary.words), (400, 6, 9));
        let languages: Vec<_> = summary.languages.iter().map(|l| (l.name.as_str(), l.files)).collect();
        assert_eq!(languages, [("Rust", 2), ("C", 1)]);
        assert_eq!(summary.terms, [TermFacts { term: "lease".into(), count: 6 }]);
        assert_eq!(summary.sizes.iter().map(|class| class.files).collect::<Vec<_>>()[..3], [2, 1, 0]);
        assert_eq!(summary.largest[0].path, "b.c");
        assert_eq!(summary.unread[0].examples, ["d"]);
    }

    #[test]
    fn a_file_without_a_finding_is_a_failed_one() {
        let mut merger = Merger::new();
        merger.add(Finding::Read(facts("a.rs", 1, "1")));
        assert_eq!(merger.finish(3, LeftOut::default()).files.failed, 2);
    }

    #[test]
    fn a_size_on_the_bound_belongs_to_the_class_below() {
        for (bytes, class) in [(0, 0), (256, 0), (257, 1), (16 << 20, 8), ((16 << 20) + 1, 9)] {
            let summary = merge([Finding::Read(facts("a", bytes, "1"))]);
            assert_eq!(summary.sizes[class].files, 1, "{bytes}");
        }
    }

    #[test]
    fn duplicates_are_groups_of_one_content_by_what_they_waste() {
        let truncated = |path| FileFacts { truncated: true, ..facts(path, 900, "4") };
        let summary = merge(
            [
                facts("small1", 10, "1"),
                facts("large1", 500, "2"),
                facts("single", 100, "3"),
                facts("small2", 10, "1"),
                facts("large2", 500, "2"),
                facts("small3", 10, "1"),
                facts("empty1", 0, "0"),
                facts("empty2", 0, "0"),
                truncated("cut1"),
                truncated("cut2"),
            ]
            .map(Finding::Read),
        );
        let duplicates = summary.duplicates;
        assert_eq!((duplicates.groups, duplicates.files, duplicates.bytes), (2, 3, 520));
        let largest: Vec<_> = duplicates.largest.iter().map(|g| (g.first.as_str(), g.copies)).collect();
        assert_eq!(largest, [("large1", 2), ("small1", 3)]);
    }

    #[test]
    fn a_summary_of_many_files_is_of_bounded_size() {
        let many = (0..3_000).flat_map(|n| {
            let pair = |copy| {
                let mut facts = facts(&format!("{n}/{copy}"), n, &n.to_string());
                facts.terms = vec![(format!("term{n}"), 1)];
                Finding::Read(facts)
            };
            [pair(1), pair(2)]
        });
        let summary = merge(many);
        assert_eq!(summary.files.read, 6_000);
        assert_eq!(summary.terms.len(), TERMS_SHOWN);
        assert_eq!(summary.duplicates.largest.len(), DUPLICATES_SHOWN);
        assert_eq!(summary.largest.len(), LARGEST_SHOWN);
        assert!(serde_json::to_vec(&summary).unwrap().len() < 16 << 10);
    }

    #[test]
    fn the_same_findings_give_the_same_bytes() {
        let findings = || {
            (0..500).map(|n| {
                let mut facts = facts(&format!("f{n}"), n % 7, &(n % 11).to_string());
                facts.terms = (0..n % 5).map(|t| (format!("t{t}"), 1)).collect();
                Finding::Read(facts)
            })
        };
        let bytes = || serde_json::to_vec(&merge(findings())).unwrap();
        assert_eq!(bytes(), bytes());
    }
}
