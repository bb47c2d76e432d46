//! From text to tokens.

use serde_json::{Number, Value};

#[derive(Debug, Clone, PartialEq)]
pub(super) enum Token {
    Name(String),
    Literal(Value),
    /// An integer literal: kept apart so that a minus sign before the smallest number works.
    Integer(u64),
    Symbol(&'static str),
    End,
}

impl std::fmt::Display for Token {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Name(name) => write!(f, "`{name}`"),
            Self::Literal(value) => write!(f, "`{value}`"),
            Self::Integer(number) => write!(f, "`{number}`"),
            Self::Symbol(symbol) => write!(f, "`{symbol}`"),
            Self::End => f.write_str("the end"),
        }
    }
}

/// Longer symbols first.
const SYMBOLS: [&str; 25] = [
    "&&", "||", "==", "!=", "<=", ">=", "<", ">", "!", "?", ":", ",", ".", "(", ")", "[", "]", "{", "}", "+",
    "-", "*", "/", "%", "=",
];

/// The tokens with the place each starts at, in bytes.
pub(super) fn tokens(text: &str) -> Result<Vec<(usize, Token)>, String> {
    let mut found = Vec::new();
    let mut at = 0;
    loop {
        let rest = &text[at..];
        let blank = rest.len() - rest.trim_start().len();
        at += blank;
        let rest = &rest[blank..];
        let Some(first) = rest.chars().next() else {
            found.push((at, Token::End));
            return Ok(found);
        };
        let (token, len) = match first {
            '/' if rest.starts_with("//") => {
                at += rest.find('\n').unwrap_or(rest.len());
                continue;
            }
            '"' | '\'' => quoted(rest, false)?,
            'r' if rest[1..].starts_with(['"', '\'']) => {
                quoted(&rest[1..], true).map(|(t, len)| (t, len + 1))?
            }
            '0'..='9' => number(rest)?,
            'a'..='z' | 'A'..='Z' | '_' => name(rest),
            _ => match SYMBOLS.into_iter().find(|symbol| rest.starts_with(symbol)) {
                Some(symbol) => (Token::Symbol(symbol), symbol.len()),
                None => return Err(format!("`{}` has no meaning here", first.escape_debug())),
            },
        };
        found.push((at, token));
        at += len;
    }
}

fn name(rest: &str) -> (Token, usize) {
    let len = rest.find(|c: char| !c.is_ascii_alphanumeric() && c != '_').unwrap_or(rest.len());
    let token = match &rest[..len] {
        "true" => Token::Literal(Value::Bool(true)),
        "false" => Token::Literal(Value::Bool(false)),
        "null" => Token::Literal(Value::Null),
        "in" => Token::Symbol("in"),
        name => Token::Name(name.to_owned()),
    };
    (token, len)
}

fn number(rest: &str) -> Result<(Token, usize), String> {
    let bytes = rest.as_bytes();
    let digits = |from: usize| from + bytes[from..].iter().take_while(|b| b.is_ascii_digit()).count();
    let mut len = digits(0);
    let mut double = false;
    if bytes.get(len) == Some(&b'.') && bytes.get(len + 1).is_some_and(u8::is_ascii_digit) {
        double = true;
        len = digits(len + 1);
    }
    if matches!(bytes.get(len), Some(b'e' | b'E')) {
        let sign = usize::from(matches!(bytes.get(len + 1), Some(b'+' | b'-')));
        double = true;
        len = digits(len + 1 + sign);
    }
    let hexadecimal = len == 1 && bytes[0] == b'0' && matches!(bytes.get(1), Some(b'x' | b'X'));
    if hexadecimal {
        len = 2 + bytes[2..].iter().take_while(|b| b.is_ascii_hexdigit()).count();
    }
    let end =
        rest[len..].find(|c: char| !c.is_ascii_alphanumeric() && c != '_').map_or(rest.len(), |e| len + e);
    let malformed = || format!("`{}` is not a number", &rest[..end]);
    if end != len {
        return Err(malformed());
    }
    let token = if hexadecimal {
        Token::Integer(u64::from_str_radix(&rest[2..len], 16).map_err(|_| malformed())?)
    } else if double {
        let number = rest[..len].parse().ok().and_then(Number::from_f64).ok_or_else(malformed)?;
        Token::Literal(Value::Number(number))
    } else {
        Token::Integer(rest[..len].parse().map_err(|_| malformed())?)
    };
    Ok((token, len))
}

fn quoted(rest: &str, raw: bool) -> Result<(Token, usize), String> {
    let mut chars = rest.char_indices();
    let quote = chars.next().map_or('"', |(_, quote)| quote);
    let mut text = String::new();
    while let Some((at, c)) = chars.next() {
        match c {
            c if c == quote => return Ok((Token::Literal(Value::String(text)), at + 1)),
            '\n' => break,
            '\\' if !raw => {
                let escape = chars.next().map_or(' ', |(_, escape)| escape);
                text.push(match escape {
                    'n' => '\n',
                    't' => '\t',
                    'r' => '\r',
                    '\\' | '\'' | '"' | '`' | '?' => escape,
                    'u' => {
                        let digits: String = chars.by_ref().take(4).map(|(_, digit)| digit).collect();
                        let code =
                            if digits.len() == 4 { u32::from_str_radix(&digits, 16).ok() } else { None };
                        code.and_then(char::from_u32)
                            .ok_or_else(|| format!("`\\u{digits}` is no character"))?
                    }
                    other => return Err(format!("`\\{}` is not an escape", other.escape_debug())),
                });
            }
            other => text.push(other),
        }
    }
    Err("a text is not closed".to_owned())
}
