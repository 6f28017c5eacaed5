//! Text of others on a terminal: escape sequences, and characters that are not seen or reorder what is, are shown as
//! escapes; what does not fit is counted.

use std::fmt::Write as _;

use holdgate_protocol::{
    Json,
    shown::{MAX_MARKS, is_mark, is_unseen, laid_out},
};
use jiff::Timestamp;

/// The most bytes of one line.
const MAX_LINE: usize = 8 * 1024;

/// The most bytes of a body: all that a filter captures unless its `max_body` is raised.
const MAX_BODY: usize = 1024 * 1024;

/// One line; line breaks and tabs are shown as escapes too.
pub(super) fn line(text: &str) -> String {
    shown(text, MAX_LINE, None)
}

/// Text of several lines, each behind an indent, so that none of them can look like one of ours.
pub(super) fn lines(text: &str, indent: &str) -> String {
    shown(text, MAX_LINE, Some(indent))
}

/// A body, indented: JSON is laid out anew, other text as it is, the rest in hex.
pub(super) fn body(bytes: &[u8], indent: &str) -> String {
    let Ok(text) = std::str::from_utf8(bytes) else { return hex(bytes, indent) };
    let json = text.len() <= MAX_BODY && Json::parse(bytes).is_ok();
    match json.then(|| laid_out(text, 2 * MAX_BODY)).flatten() {
        Some(text) => shown(&text, 2 * MAX_BODY, Some(indent)),
        None => shown(text, MAX_BODY, Some(indent)),
    }
}

fn shown(text: &str, limit: usize, indent: Option<&str>) -> String {
    let mut out = String::with_capacity(text.len().min(limit));
    out.push_str(indent.unwrap_or_default());
    let (mut done, mut marks) = (0, 0);
    for c in text.chars() {
        if done + c.len_utf8() > limit {
            break;
        }
        done += c.len_utf8();
        marks = if is_mark(c) { marks + 1 } else { 0 };
        match (c, indent) {
            ('\n', Some(indent)) => {
                out.push('\n');
                out.push_str(indent);
            }
            // Our own escapes start with a backslash: one that came is told apart from them.
            ('\\', None) => out.push_str("\\\\"),
            (c, _) if is_unseen(c) || marks > MAX_MARKS => out.extend(c.escape_unicode()),
            (c, _) => out.push(c),
        }
    }
    rest(&mut out, text.len() - done);
    out
}

fn hex(bytes: &[u8], indent: &str) -> String {
    let mut out = String::new();
    for (row, chunk) in bytes.chunks(16).take(MAX_BODY / 16).enumerate() {
        let _ = write!(out, "{}{indent}{:08x} ", if row > 0 { "\n" } else { "" }, row * 16);
        chunk.iter().for_each(|byte| {
            let _ = write!(out, " {byte:02x}");
        });
    }
    rest(&mut out, bytes.len().saturating_sub(MAX_BODY));
    out
}

fn rest(out: &mut String, bytes: usize) {
    if bytes > 0 {
        let _ = write!(out, " ... {bytes} bytes more");
    }
}

/// A moment in UTC.
pub(super) fn moment(seconds: u64) -> String {
    let time = i64::try_from(seconds).ok().and_then(|seconds| Timestamp::from_second(seconds).ok());
    time.map_or_else(|| seconds.to_string(), |time| time.strftime("%Y-%m-%d %H:%M:%S UTC").to_string())
}

/// A span of time in its largest unit.
pub(super) fn span(seconds: u64) -> String {
    let units = [(86_400, "d"), (3_600, "h"), (60, "min")];
    let unit = units.into_iter().find(|(size, _)| seconds >= 2 * size);
    unit.map_or_else(|| format!("{seconds} s"), |(size, name)| format!("{} {name}", seconds / size))
}

/// How far a deadline is away.
pub(super) fn until(deadline: u64, now: u64) -> String {
    if deadline >= now { format!("in {}", span(deadline - now)) } else { format!("{} ago", span(now - deadline)) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nothing_that_a_terminal_acts_on_is_left() {
        let attacks = [
            "\u{1b}]0;approved\u{7}",
            "\u{1b}[2J\u{1b}[1;1Happroved",
            "\u{9b}2J",
            "a\rb\u{8}\u{8}c",
            "user\u{202e}nimda\u{202c}",
            "a\u{200b}b\u{feff}",
            "\u{e0041}\u{fff9}",
        ];
        for attack in attacks {
            for text in [line(attack), lines(attack, "  "), body(attack.as_bytes(), "  ")] {
                assert!(text.chars().all(|c| !is_unseen(c)), "{text:?}");
                assert!(text.contains("\\u{"), "{text:?}");
            }
        }
        assert_eq!(line("a\nb\tc\\u{1b}"), "a\\u{a}b\\u{9}c\\\\u{1b}");
        // A body cannot bring a line that looks like one of ours.
        assert_eq!(lines("x\nstate: approved", "  | "), "  | x\n  | state: approved");
        assert_eq!(line(&format!("o{}", "\u{301}".repeat(5))), "o\u{301}\u{301}\\u{301}\\u{301}\\u{301}");
    }

    #[test]
    fn bodies_are_laid_out_and_what_does_not_fit_is_counted() {
        assert_eq!(
            body(br#"{"a":[1,2.50],"b":"\u001b"}"#, "  "),
            "  {\n    \"a\": [\n      1,\n      2.50\n    ],\n    \"b\": \"\\u001b\"\n  }"
        );
        assert_eq!(body(&[0xff, 0x1b], ""), "00000000  ff 1b");
        assert!(line(&"a".repeat(MAX_LINE + 7)).ends_with("a ... 7 bytes more"));
        let long = "b".repeat(MAX_BODY + 3);
        assert!(body(long.as_bytes(), "").ends_with("b ... 3 bytes more"));
    }

    #[test]
    fn times_are_told_in_their_largest_unit() {
        assert_eq!([span(5), span(130), span(7200), span(200_000)], ["5 s", "2 min", "2 h", "2 d"]);
        assert_eq!((until(160, 100), until(100, 7300)), ("in 60 s".into(), "2 h ago".into()));
    }
}
