//! Messages about a place in a file.

use std::fmt::{self, Write as _};

use crate::codes::{Code, Severity};

/// A stretch of one line. Line and column count from 1, the column and the width in characters.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Span {
    pub line: usize,
    pub column: usize,
    pub width: usize,
}

/// A place with the line that it lies in.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Place {
    pub span: Span,
    /// The line, or of a long one the part around the place.
    pub source_line: String,
    /// How many characters of the line stand before that part.
    pub hidden: usize,
}

/// One mistake in a rule file: where it is, what is wrong and how to mend it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Diagnostic {
    pub code: Code,
    pub severity: Severity,
    pub file: String,
    /// `None` where the mistake is not at one place, such as two files that do not go together.
    pub place: Option<Place>,
    pub message: String,
    /// What to do, where the message does not say it already.
    pub help: Option<String>,
}

impl Diagnostic {
    /// A finding about a file as a whole.
    pub fn of_file(file: &str, code: Code, message: impl Into<String>, help: Option<String>) -> Self {
        let (file, message) = (file.to_owned(), message.into());
        Diagnostic { code, severity: code.severity(), file, place: None, message, help }
    }
}

impl fmt::Display for Diagnostic {
    /// As [`Shown`].
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Diagnostic { code, severity, file, place, message, help } = self;
        let (place, help) = (place.as_ref(), help.as_deref());
        Shown { code: code.id(), severity: *severity, file, place, message, help }.fmt(f)
    }
}

/// A finding as people see it, whatever family its code is of.
pub struct Shown<'a> {
    pub code: &'a str,
    pub severity: Severity,
    pub file: &'a str,
    pub place: Option<&'a Place>,
    pub message: &'a str,
    pub help: Option<&'a str>,
}

impl fmt::Display for Shown<'_> {
    /// Writes `file:line:column: severity[code]: message`, the line with a caret below, and the help; no line break at
    /// the end.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Shown { code, severity, file, place, message, help } = self;
        let Some(Place { span, source_line, hidden }) = place else {
            write!(f, "{file}: {severity}[{code}]: {message}")?;
            return help.iter().try_for_each(|help| write!(f, "\n  = help: {help}"));
        };
        let Span { line, column, width } = *span;
        let gutter = line.to_string().len();
        let before = (column - 1).saturating_sub(*hidden);
        let indent: String = source_line.chars().take(before).map(|c| if c == '\t' { '\t' } else { ' ' }).collect();
        let carets = "^".repeat(width.clamp(1, source_line.chars().count().saturating_sub(before).max(1)));
        writeln!(f, "{file}:{line}:{column}: {severity}[{code}]: {message}")?;
        writeln!(f, "{:gutter$} |", "")?;
        writeln!(f, "{line} | {source_line}")?;
        write!(f, "{:gutter$} | {indent}{carets}", "")?;
        help.iter().try_for_each(|help| write!(f, "\n{:gutter$} = help: {help}", ""))
    }
}

/// A text of the user in a message: in backticks, cut where it is long, and without characters that play tricks on a
/// terminal.
pub struct Quoted<'a>(pub &'a str);

impl fmt::Display for Quoted<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_char('`')?;
        let mut rest = self.0.chars();
        for c in rest.by_ref().take(LONG_TEXT) {
            if is_hidden(c) { write!(f, "{}", c.escape_unicode())? } else { f.write_char(c)? }
        }
        f.write_str(if rest.next().is_some() { "…`" } else { "`" })
    }
}

/// Control characters, and those that turn the direction of a text.
fn is_hidden(c: char) -> bool {
    c.is_control() || matches!(c, '\u{200e}' | '\u{200f}' | '\u{2028}'..='\u{202e}' | '\u{2066}'..='\u{2069}')
}

/// The most characters of a line that are shown.
const LONG_LINE: usize = 160;

/// The most characters of a text that a message repeats.
const LONG_TEXT: usize = 120;

/// The most findings that are shown of one file.
const MOST_FINDINGS: usize = 100;

/// A file while it is read.
#[derive(Debug)]
pub struct Source<'a> {
    pub(crate) name: &'a str,
    pub(crate) text: &'a str,
    /// Where each line starts.
    lines: Vec<u32>,
}

impl<'a> Source<'a> {
    pub fn new(name: &'a str, text: &'a str) -> Self {
        let mut lines = vec![0];
        let mut bytes = text.bytes().enumerate().peekable();
        while let Some((at, byte)) = bytes.next() {
            let ends = byte == b'\n' || (byte == b'\r' && bytes.peek().is_none_or(|(_, next)| *next != b'\n'));
            if ends {
                lines.extend(u32::try_from(at + 1));
            }
        }
        Source { name, text, lines }
    }

    pub fn text(&self) -> &'a str {
        self.text
    }

    /// A line by its number, which counts from 1.
    pub fn line(&self, number: usize) -> &'a str {
        let start = |number: usize| self.lines.get(number).map_or(self.text.len(), |start| *start as usize);
        self.text.get(start(number - 1)..start(number)).unwrap_or_default().trim_end_matches(['\n', '\r'])
    }

    /// A stretch with the line that it lies in.
    pub fn place(&self, span: Span) -> Place {
        let span = Span { line: span.line.max(1), column: span.column.max(1), ..span };
        let line = self.line(span.line);
        // Of a long line, such as minified JSON, the part around the place.
        let long = line.chars().nth(LONG_LINE).is_some();
        let hidden = if long { (span.column - 1).saturating_sub(LONG_LINE / 2) } else { 0 };
        let shown = |c: char| if is_hidden(c) && c != '\t' { char::REPLACEMENT_CHARACTER } else { c };
        let source_line = line.chars().skip(hidden).take(LONG_LINE).map(shown).collect();
        Place { span, source_line, hidden }
    }

    /// A finding at a place.
    pub(crate) fn diagnostic(&self, span: Span, code: Code, message: String, help: Option<String>) -> Diagnostic {
        Diagnostic { place: Some(self.place(span)), ..Diagnostic::of_file(self.name, code, message, help) }
    }
}

/// The findings of one file while it is read; of very many only the first are kept.
pub(crate) struct Findings<'s> {
    source: &'s Source<'s>,
    kept: Vec<Diagnostic>,
    count: usize,
}

impl<'s> Findings<'s> {
    pub(crate) fn new(source: &'s Source<'s>) -> Self {
        Findings { source, kept: Vec::new(), count: 0 }
    }

    pub(crate) fn report(&mut self, span: Span, code: Code, message: impl Into<String>, help: Option<String>) {
        if !self.full() {
            self.kept.push(self.source.diagnostic(span, code, message.into(), help));
        }
        self.count += 1;
    }

    /// How many there were so far.
    pub(crate) fn count(&self) -> usize {
        self.count
    }

    /// Whether further ones are only counted, so that no effort for their wording is needed.
    pub(crate) fn full(&self) -> bool {
        self.kept.len() >= MOST_FINDINGS
    }

    /// The findings in the order of their places.
    pub(crate) fn finish(mut self) -> Vec<Diagnostic> {
        self.kept.sort_by_key(|found| found.place.as_ref().map(|place| (place.span.line, place.span.column)));
        let more = self.count - self.kept.len();
        if self.full() {
            let message = match more {
                0 => "there may be more findings in this file; mend these first".to_owned(),
                _ => format!("and {more} more findings in this file, at least; mend these first"),
            };
            self.kept.push(Diagnostic::of_file(self.source.name, Code::MoreFindings, message, None));
        }
        self.kept
    }
}
