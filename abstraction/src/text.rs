//! Small text helpers shared by error messages and option parsers.

use std::time::Duration;

/// The candidate nearest to `given` by edit distance, where it is near enough to be a typing error.
pub fn nearest<'a>(given: &str, candidates: impl IntoIterator<Item = &'a str>) -> Option<&'a str> {
    let limit = (given.chars().count() / 3).max(1);
    candidates
        .into_iter()
        .map(|candidate| (distance(given, candidate), candidate))
        .filter(|(distance, _)| *distance <= limit)
        .min_by_key(|(distance, _)| *distance)
        .map(|(_, candidate)| candidate)
}

/// The number of characters to insert, delete, replace or swap with a neighbor.
fn distance(left: &str, right: &str) -> usize {
    let (left, right): (Vec<char>, Vec<char>) = (left.chars().collect(), right.chars().collect());
    let mut before: Vec<usize> = Vec::new();
    let mut above: Vec<usize> = (0..=right.len()).collect();
    for i in 0..left.len() {
        let mut row = vec![i + 1];
        for j in 0..right.len() {
            let replaced = above[j] + usize::from(left[i] != right[j]);
            let mut best = replaced.min(above[j + 1] + 1).min(row[j] + 1);
            if i > 0 && j > 0 && left[i] == right[j - 1] && left[i - 1] == right[j] {
                best = best.min(before[j - 1] + 1);
            }
            row.push(best);
        }
        before = std::mem::replace(&mut above, row);
    }
    above[right.len()]
}

/// Parses a duration such as `250ms`, `30s`, `5m`, `12h`, `7d` or `1h30m`. A bare number is refused: its unit is unknown.
pub fn parse_duration(text: &str) -> Result<Duration, String> {
    let malformed = || format!("`{text}` is not a duration such as 250ms, 30s, 5m, 12h or 1h30m");
    let mut rest = text.trim();
    let mut total = Duration::ZERO;
    if rest.is_empty() {
        return Err(malformed());
    }
    while !rest.is_empty() {
        let digits = rest.find(|c: char| !c.is_ascii_digit()).ok_or_else(malformed)?;
        let number: u64 = rest[..digits].parse().map_err(|_| malformed())?;
        let unit_and_more = &rest[digits..];
        let end = unit_and_more.find(|c: char| c.is_ascii_digit()).unwrap_or(unit_and_more.len());
        let millis = match unit_and_more[..end].trim() {
            "ms" => 1,
            "s" => 1_000,
            "m" | "min" => 60_000,
            "h" => 3_600_000,
            "d" => 86_400_000,
            _ => return Err(malformed()),
        };
        let part = number.checked_mul(millis).ok_or_else(malformed)?;
        total = total.checked_add(Duration::from_millis(part)).ok_or_else(malformed)?;
        rest = &unit_and_more[end..];
    }
    Ok(total)
}

/// Writes a duration so that [`parse_duration`] reads it back, rounded to milliseconds.
pub fn format_duration(duration: Duration) -> String {
    let millis = duration.as_millis();
    match millis {
        0 => "0s".to_owned(),
        m if m % 86_400_000 == 0 => format!("{}d", m / 86_400_000),
        m if m % 3_600_000 == 0 => format!("{}h", m / 3_600_000),
        m if m % 60_000 == 0 => format!("{}m", m / 60_000),
        m if m % 1_000 == 0 => format!("{}s", m / 1_000),
        m => format!("{m}ms"),
    }
}

/// Parses a size such as `64KiB`, `512MiB`, `2GB` or `1000B` into bytes.
pub fn parse_bytes(text: &str) -> Result<u64, String> {
    let malformed = || format!("`{text}` is not a size such as 64KiB, 512MiB or 2GB");
    let trimmed = text.trim();
    let digits = trimmed.find(|c: char| !c.is_ascii_digit()).ok_or_else(malformed)?;
    let number: u64 = trimmed[..digits].parse().map_err(|_| malformed())?;
    let factor: u64 = match trimmed[digits..].trim() {
        "B" => 1,
        "kB" | "KB" => 1_000,
        "MB" => 1_000_000,
        "GB" => 1_000_000_000,
        "KiB" => 1 << 10,
        "MiB" => 1 << 20,
        "GiB" => 1 << 30,
        _ => return Err(malformed()),
    };
    number.checked_mul(factor).ok_or_else(malformed)
}

/// The text with every `user:password@` of a URL removed, fit for a log or an error.
pub fn redact_url(url: &str) -> String {
    let Some(scheme_end) = url.find("://") else { return url.to_owned() };
    let (scheme, rest) = url.split_at(scheme_end + 3);
    let authority_end = rest.find(['/', '?', '#']).unwrap_or(rest.len());
    match rest[..authority_end].rfind('@') {
        Some(at) => format!("{scheme}[redacted]@{}", &rest[at + 1..]),
        None => url.to_owned(),
    }
}

/// Whether `name` matches `pattern`, in which `*` stands for any run of characters. Linear time.
pub fn glob_matches(pattern: &str, name: &str) -> bool {
    let mut parts = pattern.split('*');
    let first = parts.next().unwrap_or_default();
    let Some(mut rest) = name.strip_prefix(first) else { return false };
    let mut last = None;
    for part in parts {
        if let Some(previous) = last.replace(part) {
            match rest.find(previous) {
                Some(at) => rest = &rest[at + previous.len()..],
                None => return false,
            }
        }
    }
    match last {
        None => rest.is_empty(),
        Some(tail) => rest.ends_with(tail),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nearest_suggests_only_near_names() {
        assert_eq!(nearest("rendr", ["archive", "render"]), Some("render"));
        assert_eq!(nearest("mian", ["other", "main"]), Some("main"));
        assert_eq!(nearest("zzz", ["archive", "render"]), None);
    }

    #[test]
    fn durations_round_trip_and_need_a_unit() {
        for (text, millis) in [("250ms", 250), ("30s", 30_000), ("1h30m", 5_400_000), ("7d", 604_800_000)] {
            let parsed = parse_duration(text).unwrap();
            assert_eq!(parsed, Duration::from_millis(millis));
            assert_eq!(parse_duration(&format_duration(parsed)).unwrap(), parsed);
        }
        for bad in ["", "30", "s", "5 parsecs", "-1s", "99999999999999999999s"] {
            assert!(parse_duration(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn sizes_need_a_unit() {
        assert_eq!(parse_bytes("512MiB").unwrap(), 512 << 20);
        assert_eq!(parse_bytes("2GB").unwrap(), 2_000_000_000);
        assert!(parse_bytes("512").is_err());
    }

    #[test]
    fn urls_lose_their_user_info() {
        assert_eq!(redact_url("amqp://u:p@host:1/v@h"), "amqp://[redacted]@host:1/v@h");
        assert_eq!(redact_url("sqlite://a@b.db"), "sqlite://[redacted]@b.db");
        assert_eq!(redact_url("plain"), "plain");
    }

    #[test]
    fn globs_match_whole_names() {
        for (pattern, name, matches) in [
            ("render*", "render.page", true),
            ("*", "x", true),
            ("a*b*c", "aXbYc", true),
            ("a*b*c", "aXcYb", false),
            ("render", "renderer", false),
            ("*page", "render.page", true),
        ] {
            assert_eq!(glob_matches(pattern, name), matches, "{pattern} {name}");
        }
    }
}
