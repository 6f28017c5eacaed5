//! Messages about a place in a file.

use std::fmt;

/// A stretch of one line. Line and column count from 1, the column and the width in characters.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Span {
    pub line: usize,
    pub column: usize,
    pub width: usize,
}

/// A place with the line that it lies in.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Place {
    pub span: Span,
    pub source_line: String,
}

/// One mistake in a rule file: where it is, what is wrong and how to mend it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Diagnostic {
    pub file: String,
    /// `None` where the mistake is not at one place, such as two files that do not go together.
    pub place: Option<Place>,
    pub message: String,
    /// What to do, where the message does not say it already.
    pub help: Option<String>,
}

impl fmt::Display for Diagnostic {
    /// Writes `file:line:column: message`, the line with a caret below, and the help; no line break at the end.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Diagnostic { file, place, message, help } = self;
        let Some(Place { span, source_line }) = place else {
            write!(f, "{file}: {message}")?;
            return help.iter().try_for_each(|help| write!(f, "\n  = help: {help}"));
        };
        let Span { line, column, width } = *span;
        let gutter = line.to_string().len();
        // Of a long line, such as minified JSON, the part around the place.
        let hidden =
            if source_line.chars().count() > LONG_LINE { (column - 1).saturating_sub(LONG_LINE / 2) } else { 0 };
        let shown: Vec<char> = source_line.chars().skip(hidden).take(LONG_LINE).collect();
        let before = column - 1 - hidden;
        let indent: String = shown.iter().take(before).map(|c| if *c == '\t' { '\t' } else { ' ' }).collect();
        let carets = "^".repeat(width.clamp(1, shown.len().saturating_sub(before).max(1)));
        writeln!(f, "{file}:{line}:{column}: {message}")?;
        writeln!(f, "{:gutter$} |", "")?;
        writeln!(f, "{line} | {}", shown.iter().collect::<String>())?;
        write!(f, "{:gutter$} | {indent}{carets}", "")?;
        help.iter().try_for_each(|help| write!(f, "\n{:gutter$} = help: {help}", ""))
    }
}

/// The most characters of a line that are shown.
const LONG_LINE: usize = 160;

/// A file while it is read.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Source<'a> {
    pub(crate) name: &'a str,
    pub(crate) text: &'a str,
}

impl Source<'_> {
    pub(crate) fn diagnostic(&self, span: Span, message: String, help: Option<String>) -> Diagnostic {
        let span = Span { line: span.line.max(1), column: span.column.max(1), ..span };
        let source_line = self.text.lines().nth(span.line - 1).unwrap_or_default().to_owned();
        Diagnostic { file: self.name.to_owned(), place: Some(Place { span, source_line }), message, help }
    }
}
