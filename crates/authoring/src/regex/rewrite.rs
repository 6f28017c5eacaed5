//! RE2's syntax in that of the `regex-syntax` crate.

use std::ops::Range;

use regex_syntax::ast::{
    self, AssertionKind, Ast, ClassPerlKind, ClassSetBinaryOp, ClassSetItem, Flag, Flags, FlagsItemKind,
    HexLiteralKind, LiteralKind, Span, Visitor, parse::ParserBuilder,
};

use super::RegexError;

/// The deepest nesting of groups.
pub(super) const MAX_DEPTH: u32 = 64;

/// Writes perl classes and word boundaries out as what RE2 means by them, and refuses what RE2 has not or reads
/// otherwise.
pub(super) fn rewrite(source: &str) -> Result<String, RegexError> {
    let parsed = ParserBuilder::new().nest_limit(MAX_DEPTH).build().parse(source);
    let tree = parsed.map_err(|error| {
        let at = place(source, error.span());
        refused(format!("not a regular expression: at {at}: {}", error.kind()), help(error.kind()))
    })?;
    let mut edits = ast::visit(&tree, Edits { source, edits: Vec::new() })?;
    edits.sort_by_key(|(range, _)| range.start);
    let mut text = String::new();
    let mut last = 0;
    for (range, new) in edits {
        text.push_str(source.get(last..range.start).unwrap_or_default());
        text.push_str(new);
        last = range.end;
    }
    text.push_str(source.get(last..).unwrap_or_default());
    Ok(text)
}

struct Edits<'s> {
    source: &'s str,
    edits: Vec<(Range<usize>, &'static str)>,
}

impl Visitor for Edits<'_> {
    type Output = Vec<(Range<usize>, &'static str)>;
    type Err = RegexError;

    fn finish(self) -> Result<Self::Output, RegexError> {
        Ok(self.edits)
    }

    fn visit_pre(&mut self, ast: &Ast) -> Result<(), RegexError> {
        match ast {
            Ast::ClassPerl(class) => self.replace(&class.span, perl_class(&class.kind, class.negated)),
            Ast::Assertion(assertion) => match assertion.kind {
                AssertionKind::WordBoundary => self.replace(&assertion.span, "(?-u:\\b)"),
                AssertionKind::NotWordBoundary => self.replace(&assertion.span, "(?-u:\\B)"),
                AssertionKind::StartLine
                | AssertionKind::EndLine
                | AssertionKind::StartText
                | AssertionKind::EndText => Ok(()),
                _ => self.foreign(&assertion.span, "RE2 has the boundaries `\\b` and `\\B` only"),
            },
            Ast::Flags(set) => self.flags(&set.flags),
            Ast::Group(group) => group.flags().map_or(Ok(()), |flags| self.flags(flags)),
            Ast::Literal(literal) => self.literal(literal),
            _ => Ok(()),
        }
    }

    fn visit_class_set_item_pre(&mut self, item: &ClassSetItem) -> Result<(), RegexError> {
        match item {
            ClassSetItem::Perl(class) => self.replace(&class.span, perl_class(&class.kind, class.negated)),
            ClassSetItem::Bracketed(class) => {
                self.foreign(&class.span, "RE2 has no classes within classes; write `\\[` for a bracket")
            }
            ClassSetItem::Literal(literal) => self.literal(literal),
            _ => Ok(()),
        }
    }

    fn visit_class_set_binary_op_pre(&mut self, op: &ClassSetBinaryOp) -> Result<(), RegexError> {
        self.foreign(&op.span, "RE2 reads `&&`, `--` and `~~` as characters; escape them")
    }
}

impl Edits<'_> {
    fn replace(&mut self, span: &Span, new: &'static str) -> Result<(), RegexError> {
        self.edits.push((range(span), new));
        Ok(())
    }

    fn flags(&self, flags: &Flags) -> Result<(), RegexError> {
        let known = [Flag::CaseInsensitive, Flag::MultiLine, Flag::DotMatchesNewLine, Flag::SwapGreed];
        let foreign = |kind: &FlagsItemKind| matches!(kind, FlagsItemKind::Flag(flag) if !known.contains(flag));
        match flags.items.iter().find(|item| foreign(&item.kind)) {
            Some(item) => self.foreign(&item.span, "RE2 has the flags `i`, `m`, `s` and `U`"),
            None => Ok(()),
        }
    }

    fn literal(&self, literal: &ast::Literal) -> Result<(), RegexError> {
        match literal.kind {
            LiteralKind::HexFixed(HexLiteralKind::UnicodeShort | HexLiteralKind::UnicodeLong)
            | LiteralKind::HexBrace(HexLiteralKind::UnicodeShort | HexLiteralKind::UnicodeLong) => {
                self.foreign(&literal.span, "write a character as itself or as `\\x{1F600}`")
            }
            _ => Ok(()),
        }
    }

    /// Refuses what is not RE2.
    fn foreign(&self, span: &Span, help: &str) -> Result<(), RegexError> {
        let text = self.source.get(range(span)).unwrap_or_default();
        let at = place(self.source, span);
        Err(refused(format!("not a regular expression of RE2: at {at}: `{text}`"), Some(help)))
    }
}

fn perl_class(kind: &ClassPerlKind, negated: bool) -> &'static str {
    match (kind, negated) {
        (ClassPerlKind::Digit, false) => "[0-9]",
        (ClassPerlKind::Digit, true) => "[^0-9]",
        (ClassPerlKind::Space, false) => "[\\t\\n\\f\\r ]",
        (ClassPerlKind::Space, true) => "[^\\t\\n\\f\\r ]",
        (ClassPerlKind::Word, false) => "[0-9A-Za-z_]",
        (ClassPerlKind::Word, true) => "[^0-9A-Za-z_]",
    }
}

fn range(span: &Span) -> Range<usize> {
    span.start.offset..span.end.offset
}

fn place(source: &str, span: &Span) -> String {
    let before = source.get(..span.start.offset).unwrap_or_default();
    format!("character {}", before.chars().count() + 1)
}

/// What cannot be translated although its form is right, such as a class with an unknown name.
pub(super) fn unsupported(error: &regex_syntax::Error) -> RegexError {
    match error {
        regex_syntax::Error::Translate(error) => {
            let help = "write a name such as `\\p{L}`, `\\p{Lu}` or `\\p{Greek}`";
            refused(format!("not a regular expression: {}", error.kind()), Some(help))
        }
        other => refused(format!("not a regular expression: {other}"), None),
    }
}

fn refused(message: String, help: Option<&str>) -> RegexError {
    RegexError { message, help: help.map(str::to_owned), too_large: false }
}

fn help(kind: &ast::ErrorKind) -> Option<&'static str> {
    match kind {
        ast::ErrorKind::UnsupportedLookAround => {
            Some("there is no looking ahead or back; say it with several tests, such as `matches` and `notIn`")
        }
        ast::ErrorKind::UnsupportedBackreference => Some("a regular expression cannot refer to what it matched before"),
        ast::ErrorKind::RepetitionCountDecimalEmpty => Some("write `{0,3}` for at most three, and `\\{` for a brace"),
        ast::ErrorKind::RepetitionMissing => Some("put a backslash before the character, or write `.*` for any text"),
        ast::ErrorKind::GroupUnclosed | ast::ErrorKind::GroupUnopened | ast::ErrorKind::ClassUnclosed => {
            Some("close it, or put a backslash before the bracket")
        }
        ast::ErrorKind::EscapeUnrecognized => {
            Some("write two backslashes for a backslash; in double quotes YAML takes one of them away")
        }
        _ => None,
    }
}
