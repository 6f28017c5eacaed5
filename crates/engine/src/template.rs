//! Path templates: segments that are literal, `{name}`, a glob with `*`, or a last `**`.
//!
//! Matching is on the segments of the canonical path as they stand, case-sensitively. `{name}` and `*` match a segment
//! that is not empty; `*` inside a segment matches any run of characters, an escape such as `%C3` being one of them. A
//! trailing slash makes one more, empty segment, which only `**` matches; the template `/` matches the path `/`.

use std::{fmt, str::FromStr};

use holdgate_protocol::json::{FromJson, Place, ShapeError};
use serde::Serialize;

/// A compiled path template; its text form is canonical: literals are percent-encoded where a path requires it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(into = "String")]
pub struct Template {
    text: String,
    segments: Vec<Segment>,
    /// Whether `**` follows the segments.
    open: bool,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(crate) enum Segment {
    Literal(String),
    /// `{name}` or `*`.
    One,
    /// The pieces between the stars, in order; the first and the last one are anchored.
    Glob {
        first: String,
        middle: Vec<String>,
        last: String,
    },
}

/// Why a text is not a path template.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum TemplateError {
    #[error("a path template starts with `/`")]
    NoLeadingSlash,
    #[error("a path template has no query: leave out what follows the `{0}`")]
    Query(char),
    #[error("`**` stands for all further segments: it must be the whole of the last segment")]
    RestNotLast,
    #[error("a template has no empty segment: write one `/`, and none at the end (`/**` matches a trailing slash)")]
    EmptySegment,
    #[error("no canonical path has the segment `{0}`: write the path that it leads to")]
    DotSegment(String),
    #[error("`{0}` must be a whole segment of the form `{{name}}`, with a name of letters, digits, `_` and `-`")]
    Name(String),
    #[error("the name `{0}` stands there twice: two segments are never compared with one another")]
    RepeatedName(String),
    #[error("`{0}` is not an escape: write `%` and two hex digits, or `%25` for the character itself")]
    Escape(String),
    #[error("no canonical path has `{0}` in a segment")]
    Forbidden(String),
    #[error("the template is not in canonical form; it reads `{0}`")]
    NotCanonical(String),
}

impl Template {
    /// The canonical text.
    pub fn as_str(&self) -> &str {
        &self.text
    }

    pub(crate) fn segments(&self) -> &[Segment] {
        &self.segments
    }

    /// Whether `**` follows the segments.
    pub(crate) fn is_open(&self) -> bool {
        self.open
    }

    /// Whether the template matches a canonical path.
    pub fn matches(&self, path: &str) -> bool {
        let Some(path) = path.strip_prefix('/') else { return false };
        // The path "/" has no segment for `**`, so that `/**` matches it, and an empty one for `/`.
        let mut rest = path.split('/');
        for segment in &self.segments {
            match rest.next() {
                Some(part) if segment.matches(part) => {}
                _ => return false,
            }
        }
        self.open || rest.next().is_none()
    }
}

impl Segment {
    pub(crate) fn matches(&self, part: &str) -> bool {
        match self {
            Segment::Literal(literal) => literal == part,
            Segment::One => !part.is_empty(),
            Segment::Glob { first, middle, last } => matches_glob(first, middle, last, part).unwrap_or(false),
        }
    }
}

/// Each middle piece is taken at its first place: a later one would leave less for those behind it.
fn matches_glob(first: &str, middle: &[String], last: &str, part: &str) -> Option<bool> {
    let mut rest = part.strip_prefix(first)?;
    for piece in middle {
        let at = starts(rest).find(|at| rest.get(*at..).is_some_and(|tail| tail.starts_with(piece.as_str())))?;
        rest = rest.get(at + piece.len()..)?;
    }
    let at = rest.len().checked_sub(last.len())?;
    Some(rest.ends_with(last) && starts(rest).any(|start| start == at))
}

/// The places where a character starts, and the end; an escape is one character.
fn starts(text: &str) -> impl Iterator<Item = usize> {
    let bytes = text.as_bytes();
    let step = |at: &usize| {
        let width = if bytes.get(*at) == Some(&b'%') { 3 } else { 1 };
        Some(at + width).filter(|next| *next <= bytes.len())
    };
    std::iter::successors(Some(0), step)
}

impl FromStr for Template {
    type Err = TemplateError;

    fn from_str(source: &str) -> Result<Self, TemplateError> {
        let rest = source.strip_prefix('/').ok_or(TemplateError::NoLeadingSlash)?;
        if let Some(sign) = rest.chars().find(|sign| matches!(sign, '?' | '#')) {
            return Err(TemplateError::Query(sign));
        }
        if rest.is_empty() {
            let root = Segment::Literal(String::new());
            return Ok(Template { text: source.to_owned(), segments: vec![root], open: false });
        }
        let mut template = Template { text: String::new(), segments: Vec::new(), open: false };
        let mut names: Vec<&str> = Vec::new();
        for part in rest.split('/') {
            if template.open {
                return Err(TemplateError::RestNotLast);
            }
            template.text.push('/');
            if part == "**" {
                template.open = true;
                template.text.push_str("**");
                continue;
            }
            let (segment, text) = parse_segment(part)?;
            if part.starts_with('{') {
                if names.contains(&part) {
                    return Err(TemplateError::RepeatedName(part.to_owned()));
                }
                names.push(part);
            }
            template.segments.push(segment);
            template.text.push_str(&text);
        }
        Ok(template)
    }
}

fn parse_segment(part: &str) -> Result<(Segment, String), TemplateError> {
    if part.is_empty() {
        return Err(TemplateError::EmptySegment);
    }
    if part.contains("**") {
        return Err(TemplateError::RestNotLast);
    }
    if part == "*" {
        return Ok((Segment::One, part.to_owned()));
    }
    if part.contains(['{', '}']) {
        let name = part.strip_prefix('{').and_then(|part| part.strip_suffix('}')).unwrap_or_default();
        let plain = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'_' | b'-');
        if name.is_empty() || !name.bytes().all(plain) {
            return Err(TemplateError::Name(part.to_owned()));
        }
        return Ok((Segment::One, part.to_owned()));
    }
    let pieces: Vec<String> = part.split('*').map(canonical_literal).collect::<Result<_, _>>()?;
    // A star of the path itself is written `%2A`, so that the text form can be read again.
    let text = pieces.iter().map(|piece| piece.replace('*', "%2A")).collect::<Vec<_>>().join("*");
    let segment = match pieces.as_slice() {
        [literal] if matches!(literal.as_str(), "." | "..") => return Err(TemplateError::DotSegment(part.to_owned())),
        [literal] => Segment::Literal(literal.clone()),
        [first, middle @ .., last] => {
            Segment::Glob { first: first.clone(), middle: middle.to_vec(), last: last.clone() }
        }
        [] => return Err(TemplateError::EmptySegment),
    };
    Ok((segment, text))
}

/// Percent-encodes what may not stand in a path (RFC 3986 section 3.3) and decodes what may; hex digits in upper case.
fn canonical_literal(text: &str) -> Result<String, TemplateError> {
    let mut out = String::new();
    let mut bytes = text.bytes();
    while let Some(byte) = bytes.next() {
        let (octet, spelled) = if byte == b'%' {
            let pair = [bytes.next(), bytes.next()].map(Option::unwrap_or_default);
            let digits = str::from_utf8(&pair).ok().filter(|_| pair.iter().all(u8::is_ascii_hexdigit));
            let octet = digits.and_then(|digits| u8::from_str_radix(digits, 16).ok());
            let shown = || format!("%{}", String::from_utf8_lossy(&pair).trim_end_matches('\0'));
            (octet.ok_or_else(|| TemplateError::Escape(shown()))?, format!("%{}", digits.unwrap_or_default()))
        } else {
            (byte, char::from(byte).to_string())
        };
        match octet {
            b'/' | b'\\' | b';' | 0..=0x1f | 0x7f => return Err(TemplateError::Forbidden(spelled)),
            _ if may_stand_in_a_path(octet) => out.push(char::from(octet)),
            _ => out.push_str(&format!("%{octet:02X}")),
        }
    }
    Ok(out)
}

fn may_stand_in_a_path(octet: u8) -> bool {
    octet.is_ascii_alphanumeric() || b"-._~!$&'()*+,=:@".contains(&octet)
}

impl TryFrom<String> for Template {
    type Error = TemplateError;

    /// Reads the text of a bundle, which must be canonical.
    fn try_from(text: String) -> Result<Self, TemplateError> {
        let template: Template = text.parse()?;
        if template.text == text { Ok(template) } else { Err(TemplateError::NotCanonical(template.text)) }
    }
}

impl FromJson for Template {
    fn from_json(place: &Place<'_>) -> Result<Self, ShapeError> {
        Template::try_from(place.read::<String>()?).map_err(|error| place.error(&error.to_string()))
    }
}

impl From<Template> for String {
    fn from(template: Template) -> String {
        template.text
    }
}

impl fmt::Display for Template {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.text)
    }
}

#[cfg(test)]
mod tests;
