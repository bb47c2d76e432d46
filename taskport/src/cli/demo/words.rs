//! Lines, words and frequent terms of a text that arrives in pieces, within a bound of memory.

use std::cmp::Reverse;
use std::collections::{HashMap, HashSet};
use std::sync::LazyLock;

/// How many different terms of one text are counted exactly.
const TERMS_KEPT: usize = 8_192;
/// A term has at least so many characters; shorter words say little.
const TERM_CHARS_MIN: usize = 3;
/// A term has at most so many bytes; longer words are encoded data.
const TERM_BYTES_MAX: usize = 32;

/// Counts the lines and words of one text.
#[derive(Debug)]
pub(super) struct TextCounter {
    lines: u64,
    words: u64,
    invalid: bool,
    line_open: bool,
    terms: BoundedCounts,
    lowered: String,
}

/// What a [`TextCounter`] found.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct TextCounts {
    /// Lines, a last one without a line feed included.
    pub(super) lines: u64,
    /// Runs of letters and digits.
    pub(super) words: u64,
    /// Whether every byte was UTF-8.
    pub(super) utf8: bool,
    /// The most frequent terms, the most frequent first.
    pub(super) terms: Vec<(String, u64)>,
}

impl TextCounter {
    pub(super) fn new() -> Self {
        Self {
            lines: 0,
            words: 0,
            invalid: false,
            line_open: false,
            terms: BoundedCounts::new(TERMS_KEPT),
            lowered: String::new(),
        }
    }

    /// Counts what stands in `bytes` and returns how many of them it used. The rest is the start of a word that may
    /// go on: hand it over again in front of what follows, or call with `last`, which uses every byte.
    ///
    /// Bytes that are no UTF-8 separate words.
    pub(super) fn feed(&mut self, bytes: &[u8], last: bool) -> usize {
        let used = if last { bytes.len() } else { end_of_last_word(bytes) };
        for chunk in bytes[..used].utf8_chunks() {
            self.text(chunk.valid());
            self.invalid |= !chunk.invalid().is_empty();
        }
        if let Some(byte) = bytes[..used].last() {
            self.line_open = *byte != b'\n';
        }
        used
    }

    fn text(&mut self, text: &str) {
        self.lines += text.bytes().filter(|byte| *byte == b'\n').count() as u64;
        for word in text.split(|c: char| !c.is_alphanumeric()).filter(|word| !word.is_empty()) {
            self.words += 1;
            if word.len() <= TERM_BYTES_MAX && word.starts_with(char::is_alphabetic) {
                self.lower(word);
                self.terms.add(&self.lowered, 1);
            }
        }
    }

    fn lower(&mut self, word: &str) {
        self.lowered.clear();
        if word.is_ascii() {
            self.lowered.push_str(word);
            self.lowered.make_ascii_lowercase();
        } else {
            self.lowered.extend(word.chars().flat_map(char::to_lowercase));
        }
    }

    /// The counts, with the `terms_max` most frequent terms that are no stop words.
    pub(super) fn finish(self, terms_max: usize) -> TextCounts {
        TextCounts {
            lines: self.lines + u64::from(self.line_open),
            words: self.words,
            utf8: !self.invalid,
            terms: self.terms.top(terms_max, is_term),
        }
    }
}

/// The end of the last byte that surely ends a word: an ASCII byte that is no letter or digit. A piece without one is
/// used up to its last whole character, so that an endless word cannot stop the reading.
fn end_of_last_word(bytes: &[u8]) -> usize {
    let ends = |byte: &u8| byte.is_ascii() && !byte.is_ascii_alphanumeric();
    let starts = |byte: &u8| *byte & 0b1100_0000 != 0b1000_0000;
    let word_end = bytes.iter().rposition(ends).map(|at| at + 1);
    let last_start = || bytes.iter().rposition(starts).filter(|at| *at > 0 && !bytes[*at].is_ascii());
    word_end.or_else(last_start).unwrap_or(bytes.len())
}

fn is_term(word: &str) -> bool {
    word.chars().nth(TERM_CHARS_MIN - 1).is_some() && !STOP_WORDS.contains(word)
}

/// Counts texts within a bound of memory. Where more than twice `kept` are known, the rarest are forgotten; so a count
/// may be too low for rare texts and is exact for the frequent ones of any ordinary input. The result depends only on
/// what was added, in which order.
#[derive(Debug)]
pub(super) struct BoundedCounts {
    counts: HashMap<Box<str>, u64>,
    kept: usize,
}

impl BoundedCounts {
    pub(super) fn new(kept: usize) -> Self {
        Self { counts: HashMap::new(), kept }
    }

    pub(super) fn add(&mut self, text: &str, count: u64) {
        if let Some(known) = self.counts.get_mut(text) {
            *known += count;
            return;
        }
        if self.counts.len() >= 2 * self.kept {
            self.forget_the_rarest();
        }
        self.counts.insert(text.into(), count);
    }

    fn forget_the_rarest(&mut self) {
        let mut all: Vec<_> = self.counts.drain().collect();
        all.select_nth_unstable_by(self.kept, |(a, m), (b, n)| (Reverse(m), a).cmp(&(Reverse(n), b)));
        all.truncate(self.kept);
        self.counts.extend(all);
    }

    /// The `max` most frequent texts that pass `filter`, the most frequent first, ties in order of text.
    pub(super) fn top(self, max: usize, filter: impl Fn(&str) -> bool) -> Vec<(String, u64)> {
        let mut all: Vec<_> = self.counts.into_iter().filter(|(text, _)| filter(text)).collect();
        all.sort_unstable_by(|(a, m), (b, n)| (Reverse(m), a).cmp(&(Reverse(n), b)));
        all.truncate(max);
        all.into_iter().map(|(text, count)| (text.into(), count)).collect()
    }
}

/// Words that are frequent in every text or every program and so tell nothing about one.
static STOP_WORDS: LazyLock<HashSet<&str>> = LazyLock::new(|| {
    const ENGLISH: &str = "about after all also an and any are as at be because been before being between both but \
        by can cannot could did do does doing don down during each either few for from further had has have having \
        he her here hers him his how however i if in into is it its itself just like made make may me might more \
        most must my no nor not now of off on once one only or other our ours out over own same shall she should \
        since so some such than that the their theirs them then there these they this those through thus to too \
        two under until up upon use used using very was we were what when where which while who whom why will with \
        within without would you your yours";
    const PROGRAMS: &str = "abstract args argument async auto await bool boolean break case catch char class const \
        continue def default define defined del delete double dyn elif else endif enum err except export extends \
        extern false final finally float fmt fn func function goto ifdef ifndef impl implements import include \
        inline instanceof int interface lambda let long loop match mod module mut namespace new nil none null \
        object operator package pass print private protected pub public raise ref register return self short \
        signed sizeof some static std str string struct super switch template test throw throws trait true try \
        type typedef typename typeof undef undefined union unit unsafe unsigned usize value var virtual void \
        volatile yield";
    ENGLISH.split_whitespace().chain(PROGRAMS.split_whitespace()).collect()
});

#[cfg(test)]
mod tests {
    use super::*;

    fn count(text: &[u8]) -> TextCounts {
        let mut counter = TextCounter::new();
        assert_eq!(counter.feed(text, true), text.len());
        counter.finish(3)
    }

    #[test]
    fn lines_words_and_terms_are_counted() {
        for (text, lines, words) in [
            (&b""[..], 0, 0),
            (b"\n", 1, 0),
            (b"one", 1, 1),
            (b"one two\nthree\n", 2, 3),
            (b"one_two three-four\r\n\r\n", 2, 4),
            ("größe naïve 日本語".as_bytes(), 1, 3),
        ] {
            let counts = count(text);
            assert_eq!((counts.lines, counts.words), (lines, words), "{:?}", text.utf8_chunks());
            assert!(counts.utf8);
        }
        let terms = count(b"Queue queue, the THE the QUEUE_worker fn fn fn ab 42 worker lease").terms;
        let expected = [("queue", 3), ("worker", 2), ("lease", 1)];
        assert_eq!(terms, expected.map(|(term, count)| (term.to_owned(), count)));
    }

    #[test]
    fn bytes_that_are_no_utf8_separate_words_and_are_noted() {
        let counts = count(b"alpha\xff\xfebeta \xe2\x82 gamma");
        assert_eq!((counts.words, counts.utf8), (3, false));
    }

    #[test]
    fn pieces_of_any_length_count_as_the_whole() {
        let text = "naïve queue-worker größe\nlease 日本語 queue\n".repeat(20).into_bytes();
        let whole = count(&text);
        for len in 24..80 {
            let mut counter = TextCounter::new();
            let mut rest: Vec<u8> = Vec::new();
            for piece in text.chunks(len) {
                rest.extend_from_slice(piece);
                let used = counter.feed(&rest, false);
                rest.drain(..used);
            }
            counter.feed(&rest, true);
            assert_eq!(counter.finish(3), whole, "pieces of {len}");
        }
    }

    #[test]
    fn an_endless_word_is_used_whole() {
        let mut counter = TextCounter::new();
        assert_eq!(counter.feed(&[b'x'; 4096], false), 4096);
        assert_eq!(counter.feed("日本語".repeat(100).as_bytes(), false), 897);
        let counts = counter.finish(3);
        assert_eq!((counts.terms.len(), counts.utf8), (0, true));
    }

    #[test]
    fn counts_stay_within_their_bound_and_keep_the_frequent() {
        let mut counts = BoundedCounts::new(100);
        for round in 0..10_000 {
            counts.add("often", 1);
            counts.add(&format!("rare{round}"), 1);
            assert!(counts.counts.len() <= 200);
        }
        assert_eq!(counts.top(1, |_| true), [("often".to_owned(), 10_000)]);
    }

    #[test]
    fn ties_are_in_order_of_text() {
        let mut counts = BoundedCounts::new(10);
        for text in ["c", "a", "b"] {
            counts.add(text, 2);
        }
        let texts: Vec<_> = counts.top(3, |_| true).into_iter().map(|(text, _)| text).collect();
        assert_eq!(texts, ["a", "b", "c"]);
    }
}
