//! How captured text is shown: nothing is hidden, nothing acts.
//!
//! Characters that a reader cannot see or that reorder what is beside them are shown as `\u{...}`; what does not fit is
//! counted.

use std::fmt::Write as _;

use holdgate_protocol::{
    json::MAX_DEPTH,
    shown::{MAX_MARKS, is_mark, is_unseen, laid_out},
};
use jiff::Timestamp;

/// The most bytes of a body that a page shows: all that a filter captures unless its `max_body` is raised, since it is approved
/// by this page. What is left of a larger one is counted there, and stands in `/api/holds/{id}`.
const MAX_BODY: usize = 1024 * 1024;

/// The most bytes of a JSON body that is laid out anew; beyond that its text is shown as it came.
const MAX_LAID_OUT: usize = 2 * MAX_BODY;

/// The most bytes of one header, path or reason that a page shows.
const MAX_TEXT: usize = 8 * 1024;

/// The most blanks of one kind in a row that are shown as they are; more of them push what follows out of sight.
const MAX_RUN: usize = 8;

/// The most spaces in a row where a line begins: the deepest indent of a JSON text that is laid out.
const MAX_INDENT: usize = 2 * MAX_DEPTH;

/// Of so many bytes one may be no text in a body that is shown as text all the same.
const TEXT_PER_BYTE: usize = 8;

/// How a count ends; the text itself cannot, since its `<` is escaped.
const REST_END: &str = " bytes more</span>";

/// HTML that is safe to put into a page: every character of the source was escaped.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Html(String);

impl askama::filters::HtmlSafe for Html {}

impl std::fmt::Display for Html {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(&self.0)
    }
}

impl Html {
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// Whether some of the text did not fit and was counted instead.
    pub fn is_cut(&self) -> bool {
        self.0.ends_with(REST_END)
    }
}

/// One line of text; line breaks and tabs are shown as escapes too.
pub fn line(text: &str) -> Html {
    shown(text, MAX_TEXT, false)
}

/// One line of text of which `rest` bytes were left off before.
pub fn line_with_rest(text: &str, rest: u64) -> Html {
    let mut html = line(text);
    count_rest(&mut html.0, usize::try_from(rest).unwrap_or(usize::MAX));
    html
}

/// One line of text outside of HTML: what cannot be seen is shown as `\u{...}`, and what does not fit is left off.
pub fn plain(text: &str, limit: usize) -> String {
    let mut line = String::with_capacity(text.len().min(limit));
    let mut marks = 0;
    for c in text.chars() {
        if line.len() + c.len_utf8() > limit {
            line.push('…');
            break;
        }
        marks = if is_mark(c) { marks + 1 } else { 0 };
        if is_unseen(c) || marks > MAX_MARKS {
            let _ = write!(line, "\\u{{{:x}}}", u32::from(c));
        } else {
            line.push(c);
        }
    }
    line
}

/// Text of several lines.
pub fn lines(text: &str) -> Html {
    shown(text, MAX_TEXT, true)
}

/// How a body is shown, and what was made of it.
pub struct BodyView {
    /// Ends with a count where not all is shown; [`Html::is_cut`] tells.
    pub html: Html,
    /// `JSON`, `text`, `bytes`, or text with some bytes in it that are none.
    pub form: &'static str,
}

/// A body: JSON is laid out anew (order, spelling and escapes stay as they are), other text as it is, with `\x{..}` for few bytes that
/// are none; the rest in hex.
pub fn body(bytes: &[u8]) -> BodyView {
    match std::str::from_utf8(bytes) {
        Ok(text) if holdgate_protocol::Json::parse(bytes).is_ok() => {
            // Where not all fits, what is left is counted in the bytes that arrived, not in our indents.
            let html = match laid_out(text, MAX_LAID_OUT).filter(|_| text.len() <= MAX_BODY) {
                Some(laid_out) => shown(&laid_out, MAX_LAID_OUT, true),
                None => shown(text, MAX_BODY, true),
            };
            BodyView { html, form: "JSON" }
        }
        Ok(text) => BodyView { html: shown(text, MAX_BODY, true), form: "text" },
        Err(_) => match mostly_text(bytes) {
            Some(html) => BodyView { html, form: "text, with bytes that are no UTF-8" },
            None => BodyView { html: hex(bytes), form: "bytes" },
        },
    }
}

/// Text in which few bytes are none.
fn mostly_text(bytes: &[u8]) -> Option<Html> {
    let controls = |text: &str| text.chars().filter(|c| c.is_control() && !c.is_ascii_whitespace()).count();
    let strange = bytes.utf8_chunks().map(|chunk| chunk.invalid().len() + controls(chunk.valid()));
    if bytes.len() > MAX_BODY || strange.sum::<usize>() * TEXT_PER_BYTE > bytes.len() {
        return None;
    }
    let mut html = String::with_capacity(bytes.len() + 64);
    for chunk in bytes.utf8_chunks() {
        write_shown(&mut html, chunk.valid(), MAX_BODY, true);
        for byte in chunk.invalid() {
            let _ = write!(html, "<span class=\"escape\">\\x{{{byte:02x}}}</span>");
        }
    }
    Some(Html(html))
}

fn hex(bytes: &[u8]) -> Html {
    let mut html = String::new();
    let shown = bytes.len().min(MAX_BODY);
    for (row, chunk) in bytes.chunks(16).take(MAX_BODY / 16).enumerate() {
        let _ = write!(html, "{:08x} ", row * 16);
        chunk.iter().for_each(|byte| {
            let _ = write!(html, " {byte:02x}");
        });
        html.extend(std::iter::repeat_n(' ', 3 * (16 - chunk.len()) + 2));
        html.push('|');
        for byte in chunk {
            let c = char::from(*byte);
            write_escaped(&mut html, if c.is_ascii_graphic() || c == ' ' { c } else { '.' });
        }
        html.push_str("|\n");
    }
    count_rest(&mut html, bytes.len() - shown);
    Html(html)
}

fn shown(text: &str, limit: usize, many_lines: bool) -> Html {
    let mut html = String::with_capacity(text.len().min(limit) + 64);
    let done = write_shown(&mut html, text, limit, many_lines);
    count_rest(&mut html, text.len() - done);
    Html(html)
}

/// Writes text of at most `limit` bytes; says of how many it was.
fn write_shown(html: &mut String, text: &str, limit: usize, many_lines: bool) -> usize {
    let (mut done, mut marks, mut line_begins) = (0, 0, many_lines);
    let mut characters = text.chars().peekable();
    while let Some(c) = characters.next() {
        if done + c.len_utf8() > limit {
            break;
        }
        done += c.len_utf8();
        marks = if is_mark(c) { marks + 1 } else { 0 };
        if matches!(c, ' ' | '\n' | '\t') {
            let mut run = 1;
            while done < limit && characters.next_if_eq(&c).is_some() {
                (run, done) = (run + 1, done + 1);
            }
            let most = if c == ' ' && line_begins { MAX_INDENT } else { MAX_RUN };
            let plain = c == ' ' || many_lines;
            if run > most {
                let (code, run) = (u32::from(c), grouped(run as u64));
                let _ = write!(html, "<span class=\"escape\">\\u{{{code:x}}} × {run}</span>");
            } else if plain {
                html.extend(std::iter::repeat_n(c, run));
            } else {
                (0..run).for_each(|_| write_code(html, c));
            }
            line_begins = many_lines && c == '\n';
            continue;
        }
        line_begins = false;
        if is_unseen(c) || marks > MAX_MARKS { write_code(html, c) } else { write_escaped(html, c) }
    }
    done
}

fn write_code(html: &mut String, c: char) {
    let _ = write!(html, "<span class=\"escape\">\\u{{{:x}}}</span>", u32::from(c));
}

fn write_escaped(html: &mut String, c: char) {
    match c {
        '&' => html.push_str("&amp;"),
        '<' => html.push_str("&lt;"),
        '>' => html.push_str("&gt;"),
        '"' => html.push_str("&quot;"),
        '\'' => html.push_str("&#39;"),
        c => html.push(c),
    }
}

fn count_rest(html: &mut String, bytes: usize) {
    if bytes > 0 {
        let _ = write!(html, "<span class=\"rest\">… {}{REST_END}", grouped(bytes as u64));
    }
}

/// A number with its thousands apart.
pub fn grouped(number: u64) -> String {
    let digits = number.to_string();
    let mut out = String::new();
    for (index, digit) in digits.chars().enumerate() {
        if index > 0 && (digits.len() - index).is_multiple_of(3) {
            out.push(',');
        }
        out.push(digit);
    }
    out
}

/// A moment in UTC.
pub fn moment(seconds: u64) -> String {
    let time = i64::try_from(seconds).ok().and_then(|seconds| Timestamp::from_second(seconds).ok());
    time.map_or_else(|| seconds.to_string(), |time| time.strftime("%Y-%m-%d %H:%M:%S UTC").to_string())
}

/// Seconds after which something was not just now.
const JUST_NOW: u64 = 5;

/// How far a moment is from now: `in 12 min`, `3 h ago`.
pub fn distance(moment: u64, now: u64) -> String {
    match now.checked_sub(moment) {
        None => format!("in {}", span(moment - now)),
        Some(0..JUST_NOW) => "just now".to_owned(),
        Some(ago) => format!("{} ago", span(ago)),
    }
}

/// A span of time in its two largest units.
pub fn span(seconds: u64) -> String {
    let units = [(86_400, "d"), (3_600, "h"), (60, "min"), (1, "s")];
    let at = units.iter().position(|(size, _)| seconds >= *size).unwrap_or(units.len() - 1);
    let parts = units.iter().skip(at).take(2).scan(seconds, |rest, (size, name)| {
        let count = *rest / size;
        *rest %= size;
        Some((count, name))
    });
    let parts: Vec<String> = parts
        .enumerate()
        .filter(|(i, (count, _))| *i == 0 || *count > 0)
        .map(|(_, (count, name))| format!("{count} {name}"))
        .collect();
    parts.join(" ")
}

#[cfg(test)]
mod tests;
