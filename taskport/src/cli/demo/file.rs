//! What is found in one file. A file that cannot be read is a finding too, never a failure.

use std::fs::{self, File};
use std::io::{self, Read};
use std::path::Path;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};

use super::language::{self, BINARY, HEAD_BYTES};
use super::words::TextCounter;

/// At most so many bytes of a file are read.
pub(super) const READ_BYTES_MAX: u64 = 16 << 20;
/// So many bytes are held in memory at once.
const PIECE_BYTES: usize = 64 << 10;
/// At most so many terms of a file are reported.
const TERMS_MAX: usize = 24;

/// What an attempt at one file came to.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub(crate) enum Finding {
    /// It was read.
    Read(FileFacts),
    /// It was not.
    Unread(Unread),
}

/// What a file that was read holds.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub(crate) struct FileFacts {
    /// Its path below the scanned directory.
    pub(super) path: String,
    /// Its language.
    pub(super) language: String,
    /// Its length in bytes.
    pub(super) bytes: u64,
    /// Its lines; 0 for a binary file, as are the words.
    pub(super) lines: u64,
    /// Its words.
    pub(super) words: u64,
    /// Its most frequent terms.
    pub(super) terms: Vec<(String, u64)>,
    /// The first 128 bits of the SHA-256 of what was read, in hexadecimal.
    pub(super) digest: String,
    /// Whether it is text in UTF-8, or binary.
    pub(super) utf8: bool,
    /// Whether it is longer than what was read.
    pub(super) truncated: bool,
}

/// A file that was listed and not read.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub(crate) struct Unread {
    /// Its path below the scanned directory.
    pub(super) path: String,
    /// Why.
    pub(super) reason: UnreadReason,
}

/// Why a file was not read.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub(crate) enum UnreadReason {
    /// It was gone.
    Vanished,
    /// The system refused access.
    Denied,
    /// It is no ordinary file any more.
    NotAFile,
    /// Reading failed.
    Unreadable,
}

impl UnreadReason {
    pub(super) const fn as_str(self) -> &'static str {
        match self {
            Self::Vanished => "vanished before it was read",
            Self::Denied => "access was denied",
            Self::NotAFile => "no ordinary file any more",
            Self::Unreadable => "could not be read",
        }
    }

    fn of(error: &io::Error) -> Self {
        match error.kind() {
            io::ErrorKind::NotFound | io::ErrorKind::NotADirectory => Self::Vanished,
            io::ErrorKind::PermissionDenied => Self::Denied,
            _ => Self::Unreadable,
        }
    }
}

/// Reads the file `path` below `root`, piece by piece, and says what it holds.
pub(super) fn examine(root: &Path, path: &str) -> Finding {
    let read = open(&root.join(path)).and_then(|(mut file, bytes)| read_facts(&mut file, bytes, path));
    match read {
        Ok(facts) => Finding::Read(facts),
        Err(reason) => Finding::Unread(Unread { path: path.to_owned(), reason }),
    }
}

/// Opens an ordinary file and nothing else: no link is followed, and a pipe cannot hold the attempt up, not even one
/// that takes the file's place at the last moment.
fn open(path: &Path) -> Result<(File, u64), UnreadReason> {
    let seen = fs::symlink_metadata(path).map_err(|error| UnreadReason::of(&error))?;
    if !seen.is_file() {
        return Err(UnreadReason::NotAFile);
    }
    let mut options = fs::OpenOptions::new();
    options.read(true);
    #[cfg(unix)]
    {
        use rustix::fs::OFlags;
        use std::os::unix::fs::OpenOptionsExt;
        options.custom_flags((OFlags::NOFOLLOW | OFlags::NONBLOCK).bits().cast_signed());
    }
    let file = options.open(path).map_err(|error| UnreadReason::of(&error))?;
    let metadata = file.metadata().map_err(|error| UnreadReason::of(&error))?;
    if metadata.is_file() { Ok((file, metadata.len())) } else { Err(UnreadReason::NotAFile) }
}

fn read_facts(source: &mut impl Read, bytes: u64, path: &str) -> Result<FileFacts, UnreadReason> {
    let mut source = source.take(READ_BYTES_MAX);
    let mut piece = vec![0; PIECE_BYTES];
    let mut held = 0;
    let mut read = 0;
    let mut digest = Sha256::new();
    let mut text: Option<TextCounter> = None;
    let mut language = None;
    loop {
        let added = fill(&mut source, &mut piece[held..])?;
        digest.update(&piece[held..held + added]);
        read += added as u64;
        held += added;
        let last = held < piece.len();
        let language = *language.get_or_insert_with(|| {
            let language = language::detect(path, &piece[..held.min(HEAD_BYTES)]);
            text = (language != BINARY).then(TextCounter::new);
            language
        });
        let used = text.as_mut().map_or(held, |text| text.feed(&piece[..held], last));
        piece.copy_within(used..held, 0);
        held -= used;
        if last {
            let counts = text.map(|text| text.finish(TERMS_MAX));
            return Ok(FileFacts {
                path: path.to_owned(),
                language: language.to_owned(),
                bytes: bytes.max(read),
                lines: counts.as_ref().map_or(0, |counts| counts.lines),
                words: counts.as_ref().map_or(0, |counts| counts.words),
                utf8: counts.as_ref().is_none_or(|counts| counts.utf8),
                terms: counts.map(|counts| counts.terms).unwrap_or_default(),
                digest: digest.finalize()[..16].iter().map(|byte| format!("{byte:02x}")).collect(),
                truncated: bytes > read,
            });
        }
    }
}

/// Fills `buffer` as far as the source goes, so that pieces do not depend on how much one read returns.
fn fill(source: &mut impl Read, buffer: &mut [u8]) -> Result<usize, UnreadReason> {
    let mut filled = 0;
    while filled < buffer.len() {
        match source.read(&mut buffer[filled..]) {
            Ok(0) => break,
            Ok(read) => filled += read,
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return Err(UnreadReason::of(&error)),
        }
    }
    Ok(filled)
}

#[cfg(test)]
mod tests {
    use std::path::PathBuf;

    use super::*;

    fn facts(root: &Path, path: &str) -> FileFacts {
        match examine(root, path) {
            Finding::Read(facts) => facts,
            Finding::Unread(unread) => panic!("{unread:?}"),
        }
    }

    fn reason(root: &Path, path: &str) -> UnreadReason {
        match examine(root, path) {
            Finding::Unread(unread) => unread.reason,
            Finding::Read(facts) => panic!("{facts:?}"),
        }
    }

    fn with_file(name: &str, content: &[u8]) -> (tempfile::TempDir, PathBuf) {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join(name);
        fs::write(&path, content).unwrap();
        (dir, path)
    }

    #[test]
    fn a_text_is_counted_and_hashed() {
        let (dir, _) = with_file("a.rs", b"fn lease() {}\n// lease\n");
        let facts = facts(dir.path(), "a.rs");
        assert_eq!((facts.language.as_str(), facts.bytes, facts.lines, facts.words), ("Rust", 23, 2, 3));
        assert_eq!(facts.terms, [("lease".to_owned(), 2)]);
        assert_eq!(facts.digest.len(), 32);
        assert!(facts.utf8 && !facts.truncated);
    }

    #[test]
    fn empty_binary_and_foreign_texts_are_read() {
        for (content, language, lines, utf8) in [
            (&b""[..], "Plain text", 0, true),
            (b"\0\x01\x02", "Binary", 0, true),
            (b"gr\xf6\xdfe\n", "Plain text", 1, false),
        ] {
            let (dir, _) = with_file("x", content);
            let facts = facts(dir.path(), "x");
            assert_eq!((facts.language.as_str(), facts.lines, facts.utf8), (language, lines, utf8));
            assert_eq!(facts.bytes, content.len() as u64);
        }
    }

    #[test]
    fn a_huge_file_is_read_up_to_its_bound() {
        let (dir, path) = with_file("huge.txt", b"start ");
        File::options().write(true).open(&path).unwrap().set_len(READ_BYTES_MAX + 5).unwrap();
        let facts = facts(dir.path(), "huge.txt");
        assert_eq!((facts.bytes, facts.truncated), (READ_BYTES_MAX + 5, true));
    }

    #[test]
    fn a_word_across_two_pieces_is_one_word() {
        let mut content = vec![b' '; PIECE_BYTES - 3];
        content.extend_from_slice(b"heartbeat lease");
        let (dir, _) = with_file("a.txt", &content);
        let facts = facts(dir.path(), "a.txt");
        assert_eq!((facts.words, facts.lines), (2, 1));
        assert_eq!(facts.terms[0].0, "heartbeat");
    }

    #[test]
    fn a_file_that_is_gone_is_a_finding() {
        let (dir, path) = with_file("a.txt", b"x");
        fs::remove_file(path).unwrap();
        assert_eq!(reason(dir.path(), "a.txt"), UnreadReason::Vanished);
        assert_eq!(reason(dir.path(), "no/such/folder"), UnreadReason::Vanished);
    }

    #[cfg(unix)]
    #[test]
    fn what_took_a_files_place_is_not_followed_and_cannot_hang() {
        let (dir, path) = with_file("a.txt", b"x");
        std::os::unix::fs::symlink(&path, dir.path().join("link")).unwrap();
        fs::create_dir(dir.path().join("folder")).unwrap();
        let pipe = dir.path().join("pipe");
        rustix::fs::mknodat(rustix::fs::CWD, &pipe, rustix::fs::FileType::Fifo, rustix::fs::Mode::RUSR, 0)
            .unwrap();
        for path in ["link", "folder", "pipe"] {
            assert_eq!(reason(dir.path(), path), UnreadReason::NotAFile, "{path}");
        }
    }

    #[test]
    fn a_source_that_fails_midway_is_a_finding() {
        struct Failing;
        impl Read for Failing {
            fn read(&mut self, _: &mut [u8]) -> io::Result<usize> {
                Err(io::Error::other("bad sector"))
            }
        }
        let mut source = io::Cursor::new(b"start").chain(Failing);
        assert_eq!(read_facts(&mut source, 9, "a.txt"), Err(UnreadReason::Unreadable));
        let denied = io::Error::from(io::ErrorKind::PermissionDenied);
        assert_eq!(UnreadReason::of(&denied), UnreadReason::Denied);
    }
}
