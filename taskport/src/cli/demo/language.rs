//! Which language a file is written in: by its name, its first line, or what its content looks like.

/// How many bytes from the start of a file tell its language.
pub(super) const HEAD_BYTES: usize = 8 << 10;

/// What a file is called that holds no text.
pub(super) const BINARY: &str = "Binary";
/// What a text is called that nothing tells more about.
pub(super) const PLAIN_TEXT: &str = "Plain text";

/// The language of the file called `path` that begins with `head`.
pub(super) fn detect(path: &str, head: &[u8]) -> &'static str {
    if is_binary(head) {
        return BINARY;
    }
    let name = path.rsplit('/').next().unwrap_or(path);
    by_name(name).map(|language| refine(language, head)).or_else(|| by_content(head)).unwrap_or(PLAIN_TEXT)
}

/// A NUL byte, or more than a tenth of control characters, is no text in any encoding that is counted here.
fn is_binary(head: &[u8]) -> bool {
    let control = |byte: &&u8| **byte < 0x20 && !matches!(**byte, b'\t' | b'\n' | 0x0c | b'\r' | 0x1b);
    head.contains(&0) || head.iter().filter(control).count() * 10 > head.len()
}

fn by_name(name: &str) -> Option<&'static str> {
    let lower = name.to_ascii_lowercase();
    let whole = match lower.as_str() {
        "makefile" | "gnumakefile" | "kbuild" => Some("Makefile"),
        "dockerfile" | "containerfile" => Some("Dockerfile"),
        "cmakelists.txt" => Some("CMake"),
        "cargo.lock" => Some("TOML"),
        "configure" | ".bashrc" | ".profile" => Some("Shell"),
        "gemfile" | "rakefile" => Some("Ruby"),
        ".gitignore" | ".gitattributes" | ".gitmodules" | ".editorconfig" => Some("Configuration"),
        _ => None,
    };
    whole.or_else(|| by_extension(lower.rsplit_once('.')?.1))
}

fn by_extension(extension: &str) -> Option<&'static str> {
    Some(match extension {
        "rs" => "Rust",
        "c" | "h" => "C",
        "cc" | "cpp" | "cxx" | "c++" | "hh" | "hpp" | "hxx" | "ipp" | "tcc" => "C++",
        "go" => "Go",
        "py" | "pyi" | "pyx" => "Python",
        "js" | "mjs" | "cjs" | "jsx" => "JavaScript",
        "ts" | "tsx" | "mts" => "TypeScript",
        "java" => "Java",
        "kt" | "kts" => "Kotlin",
        "cs" => "C#",
        "swift" => "Swift",
        "rb" => "Ruby",
        "php" => "PHP",
        "pl" | "pm" | "t" => "Perl",
        "lua" => "Lua",
        "sh" | "bash" | "zsh" | "ksh" => "Shell",
        "ps1" | "psm1" => "PowerShell",
        "bat" | "cmd" => "Batch",
        "s" | "asm" => "Assembly",
        "sql" => "SQL",
        "proto" => "Protocol Buffers",
        "html" | "htm" | "xhtml" => "HTML",
        "css" | "scss" | "less" => "CSS",
        "xml" | "xsd" | "xsl" | "svg" | "plist" => "XML",
        "json" | "jsonl" | "geojson" => "JSON",
        "yaml" | "yml" => "YAML",
        "toml" => "TOML",
        "ini" | "cfg" | "conf" | "properties" => "Configuration",
        "md" | "markdown" => "Markdown",
        "rst" => "reStructuredText",
        "tex" | "sty" | "bib" => "TeX",
        "cmake" => "CMake",
        "mk" | "mak" => "Makefile",
        "m4" | "ac" | "am" => "Autotools",
        "diff" | "patch" => "Diff",
        "csv" | "tsv" => "Table",
        "hs" => "Haskell",
        "ml" | "mli" => "OCaml",
        "ex" | "exs" | "erl" | "hrl" => "Erlang and Elixir",
        "clj" | "el" | "lisp" | "scm" => "Lisp",
        "zig" => "Zig",
        "def" | "list" | "log" | "txt" | "text" => PLAIN_TEXT,
        _ => return None,
    })
}

/// Headers are shared by two languages; only their content tells.
fn refine(language: &'static str, head: &[u8]) -> &'static str {
    const CPP_ONLY: [&str; 5] = ["namespace ", "template <", "template<", "class ", "std::"];
    if language != "C" {
        return language;
    }
    let is_cpp = head.utf8_chunks().any(|chunk| {
        let mut lines = chunk.valid().lines().map(str::trim_start);
        lines.any(|line| CPP_ONLY.iter().any(|start| line.starts_with(start)))
    });
    if is_cpp { "C++" } else { "C" }
}

fn by_content(head: &[u8]) -> Option<&'static str> {
    let text = head.utf8_chunks().next()?.valid().trim_start_matches('\u{feff}');
    let first = text.lines().next()?;
    if let Some(command) = first.strip_prefix("#!") {
        return by_interpreter(command);
    }
    let start = text.trim_start();
    let lower: String = start.chars().take(32).flat_map(char::to_lowercase).collect();
    if lower.starts_with("<!doctype html") || lower.starts_with("<html") {
        Some("HTML")
    } else if lower.starts_with("<?xml") {
        Some("XML")
    } else if lower.starts_with("<?php") {
        Some("PHP")
    } else if start.starts_with("{\"") || start.starts_with("{\n") || start.starts_with("[{") {
        Some("JSON")
    } else if start.starts_with("#include") || start.starts_with("#ifndef") || start.starts_with("#pragma") {
        Some(refine("C", head))
    } else if start.starts_with("diff --git ") || (start.starts_with("--- ") && start.contains("\n+++ ")) {
        Some("Diff")
    } else {
        None
    }
}

/// The language of a `#!` line: `/usr/bin/env -S python3 -u` and `/bin/sh` alike.
fn by_interpreter(command: &str) -> Option<&'static str> {
    let mut words = command.split_whitespace().map(|word| word.rsplit('/').next().unwrap_or(word));
    let program = words.find(|word| *word != "env" && !word.starts_with('-') && !word.contains('='))?;
    match program.trim_end_matches(|c: char| c.is_ascii_digit() || c == '.') {
        "sh" | "bash" | "dash" | "zsh" | "ksh" => Some("Shell"),
        "python" | "pypy" => Some("Python"),
        "node" | "deno" | "bun" => Some("JavaScript"),
        "perl" => Some("Perl"),
        "ruby" => Some("Ruby"),
        "lua" | "luajit" => Some("Lua"),
        "php" => Some("PHP"),
        "make" => Some("Makefile"),
        "awk" | "gawk" => Some("Awk"),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn languages_are_told_by_name_first_line_and_content() {
        for (path, head, expected) in [
            ("src/lib.rs", "", "Rust"),
            ("a/B.RS", "fn main() {}", "Rust"),
            ("Makefile", "all:", "Makefile"),
            ("x/CMakeLists.txt", "", "CMake"),
            ("a.h", "int main(void);", "C"),
            ("a.h", "#pragma once\n  namespace a {", "C++"),
            ("run", "#!/bin/sh\n", "Shell"),
            ("run", "#!/usr/bin/env -S python3.12 -u\n", "Python"),
            ("run", "#!/usr/bin/env A=b node", "JavaScript"),
            ("run", "#!/opt/unheard-of\n", PLAIN_TEXT),
            ("run", "#!", PLAIN_TEXT),
            ("page", "\u{feff}<!DOCTYPE HTML>", "HTML"),
            ("data", "  {\"a\": 1}", "JSON"),
            ("vector", "#include <list>\ntemplate<class T>", "C++"),
            ("notes.unknown", "once upon a time", PLAIN_TEXT),
            ("", "", PLAIN_TEXT),
            (".hidden", "", PLAIN_TEXT),
        ] {
            assert_eq!(detect(path, head.as_bytes()), expected, "{path} {head:?}");
        }
    }

    #[test]
    fn bytes_that_are_no_text_are_binary_whatever_the_name() {
        assert_eq!(detect("a.rs", b"\x7fELF\x02\x01\x01\0\0"), BINARY);
        assert_eq!(detect("a.txt", &[1; 64]), BINARY);
        assert_eq!(detect("latin1.txt", b"gr\xf6\xdfe und \xe4hnliches"), PLAIN_TEXT);
        assert_eq!(detect("notes", b"\xff\xfd no name, no UTF-8"), PLAIN_TEXT);
    }
}
