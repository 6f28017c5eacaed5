//! JSON with one reading only, and its canonical form (JCS, RFC 8785).
//!
//! Where two parsers can disagree about a text, an attacker chooses which of them is right: one with a duplicate key,
//! a lone surrogate, a byte-order mark or text behind the value is refused. Numbers keep the spelling of
//! their source, in the canonical form too.

mod by_serde;
mod reading;
mod shape;

use std::{cmp::Ordering, fmt, str::FromStr};

use serde::{Deserialize, Deserializer, Serialize, Serializer};

use crate::sort::sort_by;

pub use self::{
    by_serde::deserialize,
    reading::folded,
    shape::{FromJson, Place, ShapeError, Variant},
};

/// The deepest nesting of arrays and objects that is read.
pub const MAX_DEPTH: usize = 64;

/// A JSON value. Objects are sorted by the UTF-16 code units of their keys, which are unique.
#[derive(Clone, Debug, PartialEq)]
pub enum Json {
    Null,
    Bool(bool),
    Number(Number),
    String(String),
    Array(Vec<Json>),
    Object(Object),
}

/// A number as its source spelled it, within the grammar of RFC 8259.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Number(String);

/// The members of an object, sorted and unique.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Object(Vec<(String, Json)>);

/// Why a text is not JSON with a single reading, and the byte at which that shows.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{kind} at byte {at}")]
pub struct JsonError {
    pub kind: JsonErrorKind,
    pub at: usize,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum JsonErrorKind {
    #[error("the text is not UTF-8")]
    NotUtf8,
    #[error("the text starts with a byte-order mark")]
    ByteOrderMark,
    #[error("the text ends before the value does")]
    Truncated,
    #[error("unexpected character")]
    Unexpected,
    #[error("a control character in a string must be escaped")]
    Control,
    #[error("not an escape that JSON knows")]
    Escape,
    #[error("half of a surrogate pair")]
    Surrogate,
    #[error("an object has the same key twice")]
    DuplicateKey,
    #[error("an object has two keys that differ in case only")]
    TwinKeys,
    #[error("an object has the key `__proto__`")]
    Prototype,
    #[error("a text has a NUL character")]
    Nul,
    #[error("a number has more digits, or another size, than a double can hold")]
    Number,
    #[error("nested deeper than 64 levels")]
    TooDeep,
    #[error("there is text behind the value")]
    Trailing,
}

impl Json {
    /// Reads one JSON text.
    pub fn parse(bytes: &[u8]) -> Result<Json, JsonError> {
        let text = std::str::from_utf8(bytes)
            .map_err(|error| JsonError { kind: JsonErrorKind::NotUtf8, at: error.valid_up_to() })?;
        if text.starts_with('\u{feff}') {
            return Err(JsonError { kind: JsonErrorKind::ByteOrderMark, at: 0 });
        }
        let mut reader = Reader { text, at: 0 };
        let value = reader.value(0)?;
        reader.white_space();
        if reader.at == text.len() { Ok(value) } else { Err(reader.error(JsonErrorKind::Trailing)) }
    }

    /// Reads what serde makes of a value of ours. Fails where serde does: a map whose keys are not strings.
    pub fn from_serialize<T: Serialize + ?Sized>(value: &T) -> Result<Json, serde_json::Error> {
        let bytes = serde_json::to_vec(value)?;
        Json::parse(&bytes).map_err(serde::ser::Error::custom)
    }

    /// Makes an object of members with distinct keys; of two with one key the later stays.
    pub fn object<const N: usize>(members: [(&str, Json); N]) -> Json {
        let mut object = Object::default();
        members.into_iter().for_each(|(key, value)| object.set(key.to_owned(), value));
        Json::Object(object)
    }

    /// Makes a number of an integer.
    pub fn integer(value: u64) -> Json {
        Json::Number(Number(value.to_string()))
    }

    /// The canonical bytes of the value (RFC 8785, but numbers are spelled as in the source).
    pub fn to_jcs(&self) -> Vec<u8> {
        let mut out = String::new();
        self.append_jcs(&mut out);
        out.into_bytes()
    }

    /// The member of objects that these names lead to.
    pub fn member(&self, names: &[&str]) -> Option<&Json> {
        names.iter().try_fold(self, |value, name| value.as_object()?.get(name))
    }

    /// Takes out the member of objects that these names lead to.
    pub fn remove(&mut self, names: &[&str]) -> Option<Json> {
        let Json::Object(Object(members)) = self else { return None };
        let (name, rest) = names.split_first()?;
        let at = members.binary_search_by(|(other, _)| utf16_order(other, name)).ok()?;
        if rest.is_empty() {
            return Some(members.remove(at).1);
        }
        members.get_mut(at)?.1.remove(rest)
    }

    /// The value at a pointer (RFC 6901), if there is one.
    pub fn at(&self, pointer: &Pointer) -> Option<&Json> {
        pointer.steps.iter().try_fold(self, |value, step| value.step(step))
    }

    /// The member of an object, or the element of an array, that one step of a pointer names.
    pub fn step(&self, step: &str) -> Option<&Json> {
        match self {
            Json::Object(object) => object.get(step),
            Json::Array(items) => items.get(array_index(step)?),
            _ => None,
        }
    }

    pub fn as_str(&self) -> Option<&str> {
        if let Json::String(text) = self { Some(text) } else { None }
    }

    pub fn as_object(&self) -> Option<&Object> {
        if let Json::Object(object) = self { Some(object) } else { None }
    }

    /// The number as whole seconds or another count; `None` for a fraction, an exponent or a sign.
    pub fn as_u64(&self) -> Option<u64> {
        if let Json::Number(number) = self { number.0.parse().ok() } else { None }
    }

    /// Appends the canonical form to a text.
    pub(crate) fn append_jcs(&self, out: &mut String) {
        match self {
            Json::Null => out.push_str("null"),
            Json::Bool(value) => out.push_str(if *value { "true" } else { "false" }),
            Json::Number(number) => out.push_str(&number.0),
            Json::String(text) => write_string(text, out),
            Json::Array(items) => {
                out.push('[');
                for (index, item) in items.iter().enumerate() {
                    if index > 0 {
                        out.push(',');
                    }
                    item.append_jcs(out);
                }
                out.push(']');
            }
            Json::Object(object) => {
                out.push('{');
                for (index, (key, value)) in object.iter().enumerate() {
                    if index > 0 {
                        out.push(',');
                    }
                    write_string(key, out);
                    out.push(':');
                    value.append_jcs(out);
                }
                out.push('}');
            }
        }
    }
}

impl Number {
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl Object {
    /// The object of these members; `None` where two have one key.
    fn of(mut members: Vec<(String, Json)>) -> Option<Object> {
        sort_by(&mut members, |(a, _), (b, _)| utf16_order(a, b));
        let twice = members.windows(2).any(|pair| matches!(pair, [(a, _), (b, _)] if a == b));
        if twice { None } else { Some(Object(members)) }
    }

    pub fn get(&self, key: &str) -> Option<&Json> {
        let index = self.0.binary_search_by(|(other, _)| utf16_order(other, key)).ok()?;
        self.0.get(index).map(|(_, value)| value)
    }

    /// Sets a member, in place of one with the same key.
    pub fn set(&mut self, key: String, value: Json) {
        match self.0.binary_search_by(|(other, _)| utf16_order(other, &key)) {
            Ok(index) => {
                if let Some(member) = self.0.get_mut(index) {
                    member.1 = value;
                }
            }
            Err(index) => self.0.insert(index, (key, value)),
        }
    }

    /// The members in canonical order.
    pub fn iter(&self) -> impl Iterator<Item = (&str, &Json)> {
        self.0.iter().map(|(key, value)| (key.as_str(), value))
    }
}

impl From<&str> for Json {
    fn from(text: &str) -> Self {
        Json::String(text.to_owned())
    }
}

impl FromIterator<Json> for Json {
    fn from_iter<I: IntoIterator<Item = Json>>(items: I) -> Self {
        Json::Array(items.into_iter().collect())
    }
}

/// The order of UTF-16 code units. It is that of the bytes, except that U+E000 to U+FFFF (which begin with 0xee and 0xef)
/// stand behind the characters that take two units.
fn utf16_order(a: &str, b: &str) -> Ordering {
    let rank = |byte: u8| if matches!(byte, 0xee | 0xef) { byte | 0x10 } else { byte };
    match a.bytes().zip(b.bytes()).find(|(a, b)| a != b) {
        Some((a, b)) => rank(a).cmp(&rank(b)),
        None => a.len().cmp(&b.len()),
    }
}

/// An index as RFC 6901 spells it: no sign, no leading zero.
fn array_index(step: &str) -> Option<usize> {
    let plain = step == "0" || (!step.starts_with('0') && step.bytes().all(|byte| byte.is_ascii_digit()));
    if plain { step.parse().ok() } else { None }
}

fn write_string(text: &str, out: &mut String) {
    out.push('"');
    for character in text.chars() {
        match character {
            '"' => out.push_str("\\\""),
            '\\' => out.push_str("\\\\"),
            '\u{8}' => out.push_str("\\b"),
            '\t' => out.push_str("\\t"),
            '\n' => out.push_str("\\n"),
            '\u{c}' => out.push_str("\\f"),
            '\r' => out.push_str("\\r"),
            control if control < ' ' => out.push_str(&format!("\\u{:04x}", u32::from(control))),
            other => out.push(other),
        }
    }
    out.push('"');
}

struct Reader<'a> {
    text: &'a str,
    at: usize,
}

impl Reader<'_> {
    fn error(&self, kind: JsonErrorKind) -> JsonError {
        JsonError { kind, at: self.at }
    }

    fn peek(&self) -> Option<u8> {
        self.text.as_bytes().get(self.at).copied()
    }

    fn unexpected(&self) -> JsonError {
        self.error(if self.peek().is_none() { JsonErrorKind::Truncated } else { JsonErrorKind::Unexpected })
    }

    /// Steps over `byte` if it is next.
    fn skip(&mut self, byte: u8) -> bool {
        let found = self.peek() == Some(byte);
        self.at += usize::from(found);
        found
    }

    fn expect(&mut self, byte: u8) -> Result<(), JsonError> {
        if self.skip(byte) { Ok(()) } else { Err(self.unexpected()) }
    }

    fn white_space(&mut self) {
        while matches!(self.peek(), Some(b' ' | b'\t' | b'\n' | b'\r')) {
            self.at += 1;
        }
    }

    fn value(&mut self, depth: usize) -> Result<Json, JsonError> {
        self.white_space();
        match self.peek() {
            Some(b'{') => self.object(depth),
            Some(b'[') => self.array(depth),
            Some(b'"') => self.string().map(Json::String),
            Some(b'-' | b'0'..=b'9') => self.number(),
            Some(b't') => self.literal("true", Json::Bool(true)),
            Some(b'f') => self.literal("false", Json::Bool(false)),
            Some(b'n') => self.literal("null", Json::Null),
            _ => Err(self.unexpected()),
        }
    }

    fn literal(&mut self, word: &str, value: Json) -> Result<Json, JsonError> {
        word.bytes().try_for_each(|byte| self.expect(byte))?;
        Ok(value)
    }

    fn enter(&mut self, depth: usize) -> Result<(), JsonError> {
        if depth >= MAX_DEPTH {
            return Err(self.error(JsonErrorKind::TooDeep));
        }
        self.at += 1;
        self.white_space();
        Ok(())
    }

    fn array(&mut self, depth: usize) -> Result<Json, JsonError> {
        self.enter(depth)?;
        let mut items = Vec::new();
        if self.skip(b']') {
            return Ok(Json::Array(items));
        }
        loop {
            items.push(self.value(depth + 1)?);
            self.white_space();
            if self.skip(b']') {
                return Ok(Json::Array(items));
            }
            self.expect(b',')?;
        }
    }

    fn object(&mut self, depth: usize) -> Result<Json, JsonError> {
        let start = self.at;
        self.enter(depth)?;
        let mut members = Vec::new();
        if self.skip(b'}') {
            return Ok(Json::Object(Object(members)));
        }
        loop {
            self.white_space();
            if self.peek() != Some(b'"') {
                return Err(self.unexpected());
            }
            let key = self.string()?;
            self.white_space();
            self.expect(b':')?;
            members.push((key, self.value(depth + 1)?));
            self.white_space();
            if self.skip(b'}') {
                break;
            }
            self.expect(b',')?;
        }
        let object = Object::of(members).ok_or(JsonError { kind: JsonErrorKind::DuplicateKey, at: start })?;
        Ok(Json::Object(object))
    }

    fn digits(&mut self) -> Result<(), JsonError> {
        if !matches!(self.peek(), Some(b'0'..=b'9')) {
            return Err(self.unexpected());
        }
        while matches!(self.peek(), Some(b'0'..=b'9')) {
            self.at += 1;
        }
        Ok(())
    }

    fn number(&mut self) -> Result<Json, JsonError> {
        let start = self.at;
        self.skip(b'-');
        if !self.skip(b'0') {
            self.digits()?;
        }
        if self.skip(b'.') {
            self.digits()?;
        }
        if self.skip(b'e') || self.skip(b'E') {
            let _sign = self.skip(b'+') || self.skip(b'-');
            self.digits()?;
        }
        let spelling = self.text.get(start..self.at).unwrap_or_default();
        Ok(Json::Number(Number(spelling.to_owned())))
    }

    fn string(&mut self) -> Result<String, JsonError> {
        self.expect(b'"')?;
        let mut out = String::new();
        loop {
            let plain = self.at;
            while self.peek().is_some_and(|byte| byte >= b' ' && byte != b'"' && byte != b'\\') {
                self.at += 1;
            }
            out.push_str(self.text.get(plain..self.at).unwrap_or_default());
            match self.peek() {
                None => return Err(self.error(JsonErrorKind::Truncated)),
                Some(b'"') => {
                    self.at += 1;
                    return Ok(out);
                }
                Some(b'\\') => {
                    self.at += 1;
                    out.push(self.escape()?);
                }
                Some(_) => return Err(self.error(JsonErrorKind::Control)),
            }
        }
    }

    fn escape(&mut self) -> Result<char, JsonError> {
        let character = match self.peek() {
            Some(b'"') => '"',
            Some(b'\\') => '\\',
            Some(b'/') => '/',
            Some(b'b') => '\u{8}',
            Some(b'f') => '\u{c}',
            Some(b'n') => '\n',
            Some(b'r') => '\r',
            Some(b't') => '\t',
            Some(b'u') => return self.unicode_escape(),
            None => return Err(self.error(JsonErrorKind::Truncated)),
            Some(_) => return Err(self.error(JsonErrorKind::Escape)),
        };
        self.at += 1;
        Ok(character)
    }

    fn unicode_escape(&mut self) -> Result<char, JsonError> {
        let first = self.code_unit()?;
        let code = match first {
            0xd800..=0xdbff => {
                if !self.skip(b'\\') {
                    return Err(self.error(JsonErrorKind::Surrogate));
                }
                match self.code_unit()? {
                    second @ 0xdc00..=0xdfff => 0x10000 + ((first - 0xd800) << 10) + (second - 0xdc00),
                    _ => return Err(self.error(JsonErrorKind::Surrogate)),
                }
            }
            other => other,
        };
        char::from_u32(code).ok_or_else(|| self.error(JsonErrorKind::Surrogate))
    }

    fn code_unit(&mut self) -> Result<u32, JsonError> {
        if !self.skip(b'u') {
            return Err(self.error(JsonErrorKind::Surrogate));
        }
        let digits = self.text.get(self.at..self.at + 4).filter(|digits| digits.bytes().all(|b| b.is_ascii_hexdigit()));
        let unit = digits.and_then(|digits| u32::from_str_radix(digits, 16).ok());
        let unit = unit.ok_or_else(|| self.error(JsonErrorKind::Escape))?;
        self.at += 4;
        Ok(unit)
    }
}

/// A JSON pointer (RFC 6901): "" is the whole value, `/a/0` an element of the member `a`.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Pointer {
    text: String,
    steps: Vec<String>,
}

/// The text is not a JSON pointer.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("not a JSON pointer: it must be empty or start with `/`, and `~` stands only in `~0` and `~1`")]
pub struct PointerError;

impl Pointer {
    pub fn as_str(&self) -> &str {
        &self.text
    }

    /// The names and indexes that lead to the value.
    pub fn steps(&self) -> &[String] {
        &self.steps
    }

    /// The pointer of these names and indexes.
    pub fn of<S: AsRef<str>>(steps: impl IntoIterator<Item = S>) -> Pointer {
        let steps: Vec<String> = steps.into_iter().map(|step| step.as_ref().to_owned()).collect();
        let text = steps.iter().map(|step| format!("/{}", step.replace('~', "~0").replace('/', "~1"))).collect();
        Pointer { text, steps }
    }

    /// Whether this pointer addresses `other` or something that contains it.
    pub fn contains(&self, other: &Pointer) -> bool {
        other.steps.starts_with(&self.steps)
    }

    /// The pointer to the whole value.
    pub fn root() -> Pointer {
        Pointer { text: String::new(), steps: Vec::new() }
    }
}

impl FromStr for Pointer {
    type Err = PointerError;

    fn from_str(text: &str) -> Result<Self, PointerError> {
        let Some(rest) = text.strip_prefix('/') else {
            return if text.is_empty() { Ok(Pointer::root()) } else { Err(PointerError) };
        };
        let steps = rest.split('/').map(unescape_step).collect::<Result<_, _>>()?;
        Ok(Pointer { text: text.to_owned(), steps })
    }
}

fn unescape_step(step: &str) -> Result<String, PointerError> {
    let mut parts = step.split('~');
    let mut out = parts.next().unwrap_or_default().to_owned();
    for part in parts {
        let (character, rest) = match (part.strip_prefix('0'), part.strip_prefix('1')) {
            (Some(rest), _) => ('~', rest),
            (_, Some(rest)) => ('/', rest),
            _ => return Err(PointerError),
        };
        out.push(character);
        out.push_str(rest);
    }
    Ok(out)
}

impl fmt::Display for Pointer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.text)
    }
}

impl FromJson for Pointer {
    fn from_json(place: &Place<'_>) -> Result<Self, ShapeError> {
        place.text()?.parse().map_err(|_| place.error(&PointerError.to_string()))
    }
}

impl Serialize for Pointer {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(&self.text)
    }
}

impl<'de> Deserialize<'de> for Pointer {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        String::deserialize(deserializer)?.parse().map_err(serde::de::Error::custom)
    }
}

#[cfg(test)]
mod tests;
