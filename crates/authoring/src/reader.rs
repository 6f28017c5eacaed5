//! From tree to values: each function takes a node, and reports what is wrong with it where it stands.

use std::{collections::HashMap, ops::Range, str::FromStr};

use holdgate_engine::{Pattern, decimal::Number};
use holdgate_protocol::{Json, Pointer, duration, json::Object};

use crate::{
    codes::Code,
    diagnostic::{Diagnostic, Findings, Quoted, Source, Span},
    node::{self, Member, Node, Value},
    regex::{self, RegexError},
    shape::{self, Shape},
};

/// Collects the mistakes of one file. `None` from its functions means that a mistake was reported.
pub(crate) struct Reader<'s> {
    source: &'s Source<'s>,
    findings: Findings<'s>,
    patterns: HashMap<String, Pattern>,
    /// What the file weighs in a bundle beyond its own size, in bytes.
    weight: usize,
}

/// What a scalar stands for.
#[derive(Clone, Debug, PartialEq)]
pub(crate) enum Scalar {
    Null,
    Bool(bool),
    Number(Number),
    Text(String),
}

/// The members of a map whose keys have been checked.
#[derive(Clone, Copy)]
pub(crate) struct Fields<'n> {
    pub(crate) span: Span,
    members: &'n [Member],
    shape: &'static Shape,
}

impl<'n> Fields<'n> {
    pub(crate) fn get(&self, key: &str) -> Option<&'n Node> {
        self.members.iter().find(|member| member.key == key).map(|member| &member.value)
    }

    /// The place of a key.
    pub(crate) fn at(&self, key: &str) -> Span {
        self.members.iter().find(|member| member.key == key).map_or(self.span, |member| member.at)
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.members.is_empty()
    }
}

impl<'s> Reader<'s> {
    pub(crate) fn new(source: &'s Source<'s>) -> Self {
        Reader { source, findings: Findings::new(source), patterns: HashMap::new(), weight: 0 }
    }

    /// Reads the tree of the file.
    pub(crate) fn parse(&mut self) -> Option<Node> {
        node::parse(self.source, &mut self.findings)
    }

    /// The name of the file.
    pub(crate) fn file(&self) -> &'s str {
        self.source.name
    }

    /// How many mistakes there were so far.
    pub(crate) fn found(&self) -> usize {
        self.findings.count()
    }

    /// Whether there are so many mistakes that further ones would not be shown.
    pub(crate) fn is_full(&self) -> bool {
        self.findings.full()
    }

    /// All that is wrong, in the order of the places.
    pub(crate) fn finish(self) -> Vec<Diagnostic> {
        self.findings.finish()
    }

    pub(crate) fn report(&mut self, span: Span, code: Code, message: String, help: Option<String>) {
        self.findings.report(span, code, message, help);
    }

    pub(crate) fn error<T>(&mut self, span: Span, code: Code, message: impl Into<String>) -> Option<T> {
        self.findings.report(span, code, message, None);
        None
    }

    pub(crate) fn error_with_help<T>(
        &mut self,
        span: Span,
        code: Code,
        message: impl Into<String>,
        help: impl Into<String>,
    ) -> Option<T> {
        self.findings.report(span, code, message, Some(help.into()));
        None
    }

    /// A map with any keys.
    pub(crate) fn members<'n>(&mut self, node: &'n Node, what: &str) -> Option<&'n [Member]> {
        match &node.value {
            Value::Map(members) => Some(members),
            other => {
                let message = format!("{what} must be a map of keys and values, not {}", describe(other));
                let help = "write `{key: value}`, or each key on a line of its own";
                self.error_with_help(node.span, Code::WrongType, message, help)
            }
        }
    }

    /// A map with the keys of `shape`; each other key is reported, and the rest is read all the same.
    pub(crate) fn fields<'n>(&mut self, node: &'n Node, shape: &'static Shape) -> Option<Fields<'n>> {
        let members = self.members(node, shape.what)?;
        for Member { key, at, .. } in members {
            if !shape.has(key) {
                self.unknown_key(key, *at, shape);
            }
        }
        Some(Fields { span: node.span, members, shape })
    }

    fn unknown_key(&mut self, key: &str, at: Span, shape: &Shape) {
        let what = shape.what;
        if self.findings.full() {
            self.findings.report(at, Code::UnknownKey, String::new(), None);
        } else if shape.later.contains(&key) {
            let help = "remove it and say what you mean with the keys that there are; \
                        a file whose keys were left out in silence would not say what happens";
            let message = format!("this version does not evaluate `{key}` in {what}");
            self.findings.report(at, Code::LaterKey, message, Some(help.into()));
        } else {
            let known = shape.names();
            let meant = alias(key).filter(|word| shape.has(word) && shape.has("equals"));
            let homes = shape.homes(key);
            let help = match meant.or_else(|| nearest(key, &known)) {
                _ if meant.is_none() && !homes.is_empty() => {
                    let homes: Vec<String> =
                        homes.iter().map(|(home, name)| format!("`{name}` is a key of `{home}`")).collect();
                    format!("{}: put it there, one level down", homes.join(", and "))
                }
                Some(known) => format!("did you mean `{known}`?"),
                None => format!("the keys are {}", list(&known)),
            };
            let message = format!("unknown key {} in {what}", Quoted(key));
            self.findings.report(at, Code::UnknownKey, message, Some(help));
        }
    }

    /// A member that must be there.
    pub(crate) fn require<'n>(&mut self, fields: Fields<'n>, key: &str) -> Option<&'n Node> {
        self.require_or(fields, key, Code::MissingKey)
    }

    /// A member whose absence is a finding of its own.
    pub(crate) fn require_or<'n>(&mut self, fields: Fields<'n>, key: &str, code: Code) -> Option<&'n Node> {
        let found = fields.get(key);
        if found.is_none() {
            // A key that was misspelled has been reported already.
            let known = fields.shape.names();
            let unknown = fields.members.iter().filter(|member| !fields.shape.has(&member.key)).take(UNKNOWN_KEYS);
            let misspelled = |member: &Member| nearest(&member.key, &known) == Some(key);
            if !unknown.into_iter().any(misspelled) {
                let message = format!("{} needs the key `{key}`", fields.shape.what);
                let help = fields.shape.about(key).map(|about| format!("`{key}`: {about}"));
                self.findings.report(fields.span, code, message, help);
            }
        }
        found
    }

    pub(crate) fn list<'n>(&mut self, node: &'n Node, what: &str) -> Option<&'n [Node]> {
        match &node.value {
            Value::List(items) => Some(items),
            other => {
                let message = format!("{what} must be a list, not {}", describe(other));
                let help = "write `[first, second]`, or each item on a line of its own behind `- `";
                self.error_with_help(node.span, Code::WrongType, message, help)
            }
        }
    }

    /// A list that must not be empty.
    pub(crate) fn filled_list<'n>(&mut self, node: &'n Node, what: &str) -> Option<&'n [Node]> {
        let items = self.list(node, what)?;
        if items.is_empty() {
            return self.error(node.span, Code::Empty, format!("{what} must not be empty"));
        }
        Some(items)
    }

    /// Reports a value of the wrong type.
    pub(crate) fn wrong<T>(&mut self, span: Span, message: impl Into<String>) -> Option<T> {
        self.error(span, Code::WrongType, message)
    }

    /// What a scalar stands for by JSON's rules; a plain scalar that other readers of YAML read otherwise is refused.
    pub(crate) fn scalar(&mut self, node: &Node, what: &str) -> Option<Scalar> {
        let Value::Scalar { text, plain } = &node.value else {
            return self.wrong(node.span, format!("{what} must be a single value, not {}", describe(&node.value)));
        };
        if !plain {
            return Some(Scalar::Text(text.clone()));
        }
        match text.as_str() {
            "" | "~" | "null" => return Some(Scalar::Null),
            "true" => return Some(Scalar::Bool(true)),
            "false" => return Some(Scalar::Bool(false)),
            _ => {}
        }
        if let Ok(number) = Number::try_from(text.clone()) {
            return Some(Scalar::Number(number));
        }
        let lower = text.to_ascii_lowercase();
        let two_readings = || format!("{} has two readings in YAML", Quoted(text));
        if ["null", "true", "false", "yes", "no", "on", "off"].contains(&lower.as_str()) {
            let help = "write `true`, `false` or `null`, or put the text in quotes";
            return self.error_with_help(node.span, Code::TwoReadings, two_readings(), help);
        }
        if Json::parse(text.as_bytes()).is_ok() {
            let help = "write one with a shorter exponent, or put the text in quotes";
            let message = format!("{} is too large to be compared", Quoted(text));
            return self.error_with_help(node.span, Code::NumberTooLarge, message, help);
        }
        if looks_like_number(&lower) {
            let help = "write a number as JSON does (`12`, `-0.5`, `1e3`), or put the text in quotes";
            return self.error_with_help(node.span, Code::TwoReadings, two_readings(), help);
        }
        Some(Scalar::Text(text.clone()))
    }

    pub(crate) fn text(&mut self, node: &Node, what: &str) -> Option<String> {
        let found = match self.scalar(node, what)? {
            Scalar::Text(text) if text.is_empty() => {
                return self.error(node.span, Code::Empty, format!("{what} must not be empty"));
            }
            Scalar::Text(text) => return Some(text),
            Scalar::Null => "nothing".to_owned(),
            Scalar::Bool(value) => format!("the truth value `{value}`"),
            Scalar::Number(number) => format!("the number {}", Quoted(number.as_str())),
        };
        let help = "put it in quotes if it is meant as text";
        self.error_with_help(node.span, Code::WrongType, format!("{what} must be a text, not {found}"), help)
    }

    pub(crate) fn texts(&mut self, node: &Node, what: &str) -> Option<Vec<String>> {
        let items = self.list(node, what)?;
        let one = format!("each of {what}");
        items.iter().map(|item| self.text(item, &one)).collect()
    }

    pub(crate) fn bool(&mut self, node: &Node, what: &str) -> Option<bool> {
        match self.scalar(node, what)? {
            Scalar::Bool(value) => Some(value),
            _ => self.wrong(node.span, format!("{what} must be `true` or `false`")),
        }
    }

    /// A whole number from 1.
    pub(crate) fn count<T: FromStr>(&mut self, node: &Node, what: &str) -> Option<T> {
        let number = match self.scalar(node, what)? {
            Scalar::Number(number) if number.as_str() != "0" => number.as_str().parse().ok(),
            _ => None,
        };
        number.or_else(|| self.wrong(node.span, format!("{what} must be a whole number from 1")))
    }

    /// A whole number from 0.
    pub(crate) fn whole(&mut self, node: &Node, what: &str) -> Option<u64> {
        let number = match self.scalar(node, what)? {
            Scalar::Number(number) => number.as_str().parse().ok(),
            _ => None,
        };
        number.or_else(|| self.wrong(node.span, format!("{what} must be a whole number")))
    }

    /// One of a few words.
    pub(crate) fn word<T: Copy>(&mut self, node: &Node, what: &str, words: &[(&'static str, T)]) -> Option<T> {
        let text = match &node.value {
            Value::Scalar { text, .. } => text.as_str(),
            other => return self.wrong(node.span, format!("{what} must be a word, not {}", describe(other))),
        };
        let found = words.iter().find(|(word, _)| *word == text);
        if found.is_none() && self.is_full() {
            return self.error(node.span, Code::UnknownWord, "");
        }
        if found.is_none() {
            let known = shape::words(words);
            let help = nearest(text, &known)
                .map_or_else(|| format!("write one of {}", list(&known)), |word| format!("did you mean `{word}`?"));
            self.error_with_help::<()>(node.span, Code::UnknownWord, format!("{} is not {what}", Quoted(text)), help);
        }
        found.map(|(_, value)| *value)
    }

    /// Seconds of a duration such as `45s`, `10m`, `1h` or `7d`.
    pub(crate) fn duration(&mut self, node: &Node, what: &str, most: u64) -> Option<u64> {
        let Value::Scalar { text, .. } = &node.value else {
            return self.wrong(node.span, format!("{what} must be a duration, not {}", describe(&node.value)));
        };
        match duration::seconds(text) {
            Some(seconds) if seconds <= most => Some(seconds),
            Some(_) => {
                let message = format!("{} is too long: {what} is at most `{}d`", Quoted(text), most / DAY);
                self.error(node.span, Code::DurationTooLong, message)
            }
            None => {
                let help = "write a whole number from 1 and a unit: `45s`, `10m`, `1h`, `7d`";
                let message = format!("{} is not a duration", Quoted(text));
                self.error_with_help(node.span, Code::NotADuration, message, help)
            }
        }
    }

    /// Milliseconds of a time such as `50ms`, `2s` or `10m`.
    pub(crate) fn time(&mut self, node: &Node, what: &str) -> Option<u64> {
        let Value::Scalar { text, .. } = &node.value else {
            return self.wrong(node.span, format!("{what} must be a time, not {}", describe(&node.value)));
        };
        let milliseconds = text.strip_suffix("ms").map_or_else(
            || duration::seconds(text).and_then(|seconds| seconds.checked_mul(1000)),
            |count| count.bytes().all(|byte| byte.is_ascii_digit()).then(|| count.parse().ok())?,
        );
        milliseconds.filter(|milliseconds| *milliseconds <= 366 * DAY * 1000).or_else(|| {
            let help = "write a whole number and a unit: `50ms`, `2s`, `10m`, `1h`";
            self.error_with_help(node.span, Code::NotADuration, format!("{} is not a time", Quoted(text)), help)
        })
    }

    pub(crate) fn pointer(&mut self, text: &str, span: Span) -> Option<Pointer> {
        match text.parse() {
            Ok(pointer) => Some(pointer),
            Err(error) => {
                let help =
                    format!("write {} to name a member of the whole", Quoted(&format!("/{}", text.replace('.', "/"))));
                self.error_with_help(span, Code::NotAPointer, format!("{}: {error}", Quoted(text)), help)
            }
        }
    }

    /// Compiles a regular expression.
    pub(crate) fn pattern(&mut self, source: &str, span: Span) -> Option<Pattern> {
        if self.is_full() {
            // Whatever is wrong with it would not be shown.
            return self.error(span, Code::BadRegex, "");
        }
        match self.compile(source) {
            Ok(pattern) => Some(pattern),
            Err(RegexError { message, help, too_large }) => {
                let code = if too_large { Code::RegexTooLarge } else { Code::BadRegex };
                self.findings.report(span, code, format!("{}: {message}", Quoted(source)), help);
                None
            }
        }
    }

    /// Compiles a regular expression, each of them once.
    pub(crate) fn compile(&mut self, source: &str) -> Result<Pattern, RegexError> {
        if self.weight > MAX_WEIGHT {
            return Err(regex::too_many());
        }
        if let Some(pattern) = self.patterns.get(source) {
            self.weight += regex::weight(pattern);
            return Ok(pattern.clone());
        }
        match regex::compile(source) {
            Ok((pattern, effort)) => {
                self.weight += regex::weight(&pattern) + effort.0 * EFFORT_WEIGHT;
                self.patterns.insert(source.to_owned(), pattern.clone());
                Ok(pattern)
            }
            Err(error) => {
                // That it is too large was found out with effort.
                self.weight += if error.too_large { MAX_WEIGHT / 8 } else { 0 };
                Err(error)
            }
        }
    }

    /// Adds to what the file weighs in a bundle; a small file must not become a huge one.
    pub(crate) fn weigh(&mut self, bytes: usize, span: Span) -> Option<()> {
        self.weight += bytes;
        if self.weight <= MAX_WEIGHT {
            return Some(());
        }
        let message = "the regular expressions and time zones of this file are too large together";
        self.error_with_help(span, Code::TooLarge, message, "write fewer of them, or divide the file into several")
    }

    /// The place of some characters of a text; that of the whole where the text is folded or has escapes.
    pub(crate) fn within(&self, node: &Node, text: &str, range: Range<usize>) -> Span {
        let before: String = text.chars().take(range.start).collect();
        let (index, column) = (before.matches('\n').count(), before.chars().rev().take_while(|c| *c != '\n').count());
        let Some(line) = text.lines().nth(index).filter(|line| !line.is_empty()) else { return node.span };
        for number in node.span.line..node.span.line + index + 2 {
            let source = self.source.line(number);
            let skipped = if number == node.span.line { node.span.column - 1 } else { 0 };
            let from: usize = source.chars().take(skipped).map(char::len_utf8).sum();
            if let Some(at) = source.get(from..).and_then(|rest| rest.find(line)) {
                let start = source.get(..from + at).unwrap_or_default().chars().count();
                let width = range.len().clamp(1, line.chars().count().saturating_sub(column).max(1));
                return Span { line: number, column: start + column + 1, width };
            }
        }
        node.span
    }

    pub(crate) fn pointers(&mut self, node: &Node, what: &str) -> Option<Vec<Pointer>> {
        let items = self.list(node, what)?;
        let mut pointers = Vec::new();
        for item in items {
            let Value::Scalar { text, .. } = &item.value else {
                self.wrong::<()>(item.span, format!("{what} lists JSON pointers, not {}", describe(&item.value)));
                continue;
            };
            pointers.extend(self.pointer(text, item.span));
        }
        (pointers.len() == items.len()).then_some(pointers)
    }

    /// The node as JSON; numbers keep their spelling.
    pub(crate) fn json(&mut self, node: &Node, what: &str) -> Option<Json> {
        match &node.value {
            Value::Scalar { .. } => Some(match self.scalar(node, what)? {
                Scalar::Null => Json::Null,
                Scalar::Bool(value) => Json::Bool(value),
                Scalar::Text(text) => Json::String(text),
                Scalar::Number(number) => Json::parse(number.as_str().as_bytes()).ok()?,
            }),
            Value::List(items) => items.iter().map(|item| self.json(item, what)).collect(),
            Value::Map(members) => {
                // In the order of the object, so that each member is put behind the others.
                let mut sorted: Vec<&Member> = members.iter().collect();
                sorted.sort_by(|a, b| a.key.encode_utf16().cmp(b.key.encode_utf16()));
                let mut object = Object::default();
                for Member { key, value, .. } in sorted {
                    object.set(key.clone(), self.json(value, what)?);
                }
                Some(Json::Object(object))
            }
        }
    }
}

/// The test of values that goes by another name elsewhere.
fn alias(key: &str) -> Option<&'static str> {
    let key: String = key.chars().filter(|c| !matches!(c, '_' | '-' | ' ')).collect::<String>().to_lowercase();
    Some(match key.as_str() {
        "eq" | "=" | "==" | "is" | "equal" | "equalto" => "equals",
        "ne" | "neq" | "!=" | "<>" | "not" | "notequals" | "nin" => "notIn",
        "oneof" | "anyof" | "any" | "values" => "in",
        ">" | "greater" | "greaterthan" | "more" | "morethan" | "above" | "over" => "gt",
        ">=" | "ge" | "atleast" | "min" | "minimum" | "greaterorequal" => "gte",
        "<" | "less" | "lessthan" | "below" | "under" => "lt",
        "<=" | "le" | "atmost" | "max" | "maximum" | "lessorequal" => "lte",
        "startswith" | "starts" | "beginswith" => "prefix",
        "endswith" | "ends" => "suffix",
        "includes" | "has" | "like" => "contains",
        "regex" | "regexp" | "pattern" | "match" | "=~" => "matches",
        "present" | "there" | "defined" => "exists",
        _ => return None,
    })
}

/// Of how many unknown keys of one map it is asked which key was meant.
const UNKNOWN_KEYS: usize = 32;

/// Effort as bytes, so that one limit bounds time and size.
const EFFORT_WEIGHT: usize = 4;

/// The most that a file may weigh in a bundle beyond its own size.
const MAX_WEIGHT: usize = 32 * 1024 * 1024;

pub(crate) const DAY: u64 = 24 * 60 * 60;

/// What YAML 1.1 or 1.2 may read as a number, although JSON does not.
fn looks_like_number(lower: &str) -> bool {
    let unsigned = lower.strip_prefix(['+', '-']).unwrap_or(lower);
    if matches!(unsigned, ".inf" | ".nan") {
        return true;
    }
    let numeric = |c: char| c.is_ascii_hexdigit() || matches!(c, '.' | '_' | 'x' | 'o' | '+' | '-' | ':');
    let plain = |c: char| c.is_ascii_digit() || matches!(c, '.' | '_' | 'e' | '+' | '-');
    let digits = unsigned.strip_prefix('.').unwrap_or(unsigned);
    let starts = digits.starts_with(|c: char| c.is_ascii_digit());
    let based = unsigned.starts_with("0x") || unsigned.starts_with("0o");
    // Dates and versions (`2026-01-01`, `1.2.3`) are texts in every reading.
    let text = unsigned.matches('.').count() > 1 || (unsigned.contains('-') && !unsigned.contains('e'));
    starts && !text && ((based && unsigned.chars().all(numeric)) || unsigned.chars().all(plain))
}

pub(crate) fn describe(value: &Value) -> &'static str {
    match value {
        Value::Scalar { text, plain: true } if text.is_empty() => "nothing",
        Value::Scalar { .. } => "a single value",
        Value::List(_) => "a list",
        Value::Map(_) => "a map",
    }
}

/// Words in a message; of very many only some.
pub(crate) fn list(words: &[&str]) -> String {
    let shown: Vec<String> = words.iter().take(MOST_WORDS).map(|word| Quoted(word).to_string()).collect();
    match words.len().saturating_sub(MOST_WORDS) {
        0 => shown.join(", "),
        more => format!("{} and {more} more", shown.join(", ")),
    }
}

const MOST_WORDS: usize = 20;

/// Longer texts are no misspelled words.
const LONGEST_WORD: usize = 48;

/// The known word that was probably meant.
pub(crate) fn nearest<'k>(word: &str, known: &[&'k str]) -> Option<&'k str> {
    if word.len() > LONGEST_WORD {
        return None;
    }
    let near = known.iter().filter(|other| other.len() <= LONGEST_WORD).map(|other| (distance(word, other), *other));
    let (distance, other) = near.min_by_key(|(distance, _)| *distance)?;
    (distance <= 1 + other.chars().count() / 4).then_some(other)
}

/// The edit distance of two words in which swapped neighbours count as one edit.
fn distance(a: &str, b: &str) -> usize {
    let (a, b): (Vec<char>, Vec<char>) = (a.to_lowercase().chars().collect(), b.to_lowercase().chars().collect());
    let mut before: Vec<usize> = Vec::new();
    let mut row: Vec<usize> = (0..=b.len()).collect();
    for (i, x) in a.iter().enumerate() {
        let mut next = vec![i + 1];
        for (j, y) in b.iter().enumerate() {
            let at = |row: &[usize], index: usize| row.get(index).copied().unwrap_or(usize::MAX / 2);
            let mut best = (at(&row, j) + usize::from(x != y)).min(at(&row, j + 1) + 1).min(at(&next, j) + 1);
            let swapped = i > 0 && j > 0 && a.get(i - 1) == Some(y) && b.get(j - 1) == Some(x);
            if swapped {
                best = best.min(at(&before, j - 1) + 1);
            }
            next.push(best);
        }
        before = std::mem::replace(&mut row, next);
    }
    row.last().copied().unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_nearest_word_is_proposed_only_where_it_is_near() {
        let known = ["effect", "approval", "id", "match"];
        assert_eq!(nearest("efect", &known), Some("effect"));
        assert_eq!(nearest("Aproval", &known), Some("approval"));
        assert_eq!(nearest("macth", &known), Some("match"));
        assert_eq!(nearest("condition", &known), None);
    }

    #[test]
    fn numbers_with_two_readings_are_recognised() {
        for text in ["0x1f", "0o17", "+1", ".5", "1.", "010", "1_000", ".inf", "-.inf", ".nan", "1e", "+.5"] {
            assert!(looks_like_number(text), "{text}");
        }
        for text in ["admin", "2026-01-01", "1.2.3", "10.0.0.1", "7d", "deadbeef", "v1", "-", "group/iam", "a-1", "e5"]
        {
            assert!(!looks_like_number(text), "{text}");
        }
    }
}
