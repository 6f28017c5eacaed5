//! From tree to values: each function takes a node, and reports what is wrong with it where it stands.

use holdgate_engine::decimal::Number;
use holdgate_protocol::{Json, Pointer, duration, json::Object};

use crate::{
    diagnostic::{Diagnostic, Source, Span},
    node::{Member, Node, Value},
};

/// Collects the mistakes of one file. `None` from its functions means that a mistake was reported.
pub(crate) struct Reader<'s> {
    source: Source<'s>,
    pub(crate) problems: Vec<Diagnostic>,
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
    known: &'static [&'static str],
}

/// What a map may hold: its name in messages, its keys, and keys of the language that this version does not evaluate.
pub(crate) struct Shape {
    pub(crate) what: &'static str,
    pub(crate) keys: &'static [&'static str],
    pub(crate) later: &'static [&'static str],
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
    pub(crate) fn new(source: Source<'s>) -> Self {
        Reader { source, problems: Vec::new() }
    }

    /// Reads the tree of the file.
    pub(crate) fn parse(&mut self) -> Option<Node> {
        crate::node::parse(self.source, &mut self.problems)
    }

    pub(crate) fn error<T>(&mut self, span: Span, message: impl Into<String>) -> Option<T> {
        self.problems.push(self.source.diagnostic(span, message.into(), None));
        None
    }

    pub(crate) fn error_with_help<T>(&mut self, span: Span, message: String, help: impl Into<String>) -> Option<T> {
        self.problems.push(self.source.diagnostic(span, message, Some(help.into())));
        None
    }

    /// A map with any keys.
    pub(crate) fn members<'n>(&mut self, node: &'n Node, what: &str) -> Option<&'n [Member]> {
        match &node.value {
            Value::Map(members) => Some(members),
            other => self.error(node.span, format!("{what} must be a map of keys and values, not {}", describe(other))),
        }
    }

    /// A map with the keys of `shape`; each other key is reported, and the rest is read all the same.
    pub(crate) fn fields<'n>(&mut self, node: &'n Node, shape: &Shape) -> Option<Fields<'n>> {
        let Shape { what, keys, later } = shape;
        let members = self.members(node, what)?;
        for Member { key, at, .. } in members {
            if keys.contains(&key.as_str()) {
                continue;
            }
            let message = format!("this version does not evaluate `{key}` in {what}");
            if later.contains(&key.as_str()) {
                let help = match key.as_str() {
                    "prove" => "remove it, and show with `tests` what the rules do",
                    _ => {
                        "remove it and say what you mean with the keys that there are; \
                         a rule that silently left a condition out would decide wrongly"
                    }
                };
                self.error_with_help::<()>(*at, message, help);
                continue;
            }
            let message = format!("unknown key `{key}` in {what}");
            let help = match nearest(key, keys) {
                Some(known) => format!("did you mean `{known}`?"),
                None => format!("the keys are {}", list(keys)),
            };
            self.error_with_help::<()>(*at, message, help);
        }
        Some(Fields { span: node.span, members, known: keys })
    }

    /// A member that must be there.
    pub(crate) fn require<'n>(&mut self, fields: Fields<'n>, key: &str, what: &str) -> Option<&'n Node> {
        let found = fields.get(key);
        // A key that was misspelled has been reported already.
        let misspelled = |member: &Member| {
            !fields.known.contains(&member.key.as_str()) && nearest(&member.key, fields.known) == Some(key)
        };
        if found.is_none() && !fields.members.iter().any(misspelled) {
            self.error::<()>(fields.span, format!("{what} needs the key `{key}`"));
        }
        found
    }

    pub(crate) fn list<'n>(&mut self, node: &'n Node, what: &str) -> Option<&'n [Node]> {
        match &node.value {
            Value::List(items) => Some(items),
            other => self.error(node.span, format!("{what} must be a list, not {}", describe(other))),
        }
    }

    /// A list that must not be empty.
    pub(crate) fn filled_list<'n>(&mut self, node: &'n Node, what: &str) -> Option<&'n [Node]> {
        let items = self.list(node, what)?;
        if items.is_empty() { self.error(node.span, format!("{what} must not be empty")) } else { Some(items) }
    }

    /// What a scalar stands for by JSON's rules; a plain scalar that other readers of YAML read otherwise is refused.
    pub(crate) fn scalar(&mut self, node: &Node, what: &str) -> Option<Scalar> {
        let Value::Scalar { text, plain } = &node.value else {
            return self.error(node.span, format!("{what} must be a single value, not {}", describe(&node.value)));
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
        if ["null", "true", "false", "yes", "no", "on", "off"].contains(&lower.as_str()) {
            let help = "write `true`, `false` or `null`, or put the text in quotes";
            return self.error_with_help(node.span, format!("`{text}` has two readings in YAML"), help);
        }
        if Json::parse(text.as_bytes()).is_ok() {
            let help = "write one with a shorter exponent, or put the text in quotes";
            return self.error_with_help(node.span, format!("`{text}` is too large to be compared"), help);
        }
        if looks_like_number(&lower) {
            let help = "write a number as JSON does (`12`, `-0.5`, `1e3`), or put the text in quotes";
            return self.error_with_help(node.span, format!("`{text}` has two readings in YAML"), help);
        }
        Some(Scalar::Text(text.clone()))
    }

    pub(crate) fn text(&mut self, node: &Node, what: &str) -> Option<String> {
        let found = match self.scalar(node, what)? {
            Scalar::Text(text) if text.is_empty() => return self.error(node.span, format!("{what} must not be empty")),
            Scalar::Text(text) => return Some(text),
            Scalar::Null => "nothing".to_owned(),
            Scalar::Bool(value) => format!("the truth value `{value}`"),
            Scalar::Number(number) => format!("the number `{number}`"),
        };
        let help = "put it in quotes if it is meant as text";
        self.error_with_help(node.span, format!("{what} must be a text, not {found}"), help)
    }

    pub(crate) fn texts(&mut self, node: &Node, what: &str) -> Option<Vec<String>> {
        let items = self.list(node, what)?;
        let one = format!("each of {what}");
        items.iter().map(|item| self.text(item, &one)).collect()
    }

    pub(crate) fn bool(&mut self, node: &Node, what: &str) -> Option<bool> {
        match self.scalar(node, what)? {
            Scalar::Bool(value) => Some(value),
            _ => self.error(node.span, format!("{what} must be `true` or `false`")),
        }
    }

    pub(crate) fn count(&mut self, node: &Node, what: &str) -> Option<u32> {
        let number = match self.scalar(node, what)? {
            Scalar::Number(number) => number.as_str().parse().ok().filter(|number| *number > 0),
            _ => None,
        };
        if number.is_none() {
            self.error::<()>(node.span, format!("{what} must be a whole number from 1"));
        }
        number
    }

    /// One of a few words.
    pub(crate) fn word<T: Copy>(&mut self, node: &Node, what: &str, words: &[(&'static str, T)]) -> Option<T> {
        let text = match &node.value {
            Value::Scalar { text, .. } => text.as_str(),
            other => return self.error(node.span, format!("{what} must be a word, not {}", describe(other))),
        };
        let found = words.iter().find(|(word, _)| *word == text);
        if found.is_none() {
            let known: Vec<&str> = words.iter().map(|(word, _)| *word).collect();
            let help = nearest(text, &known)
                .map_or_else(|| format!("write one of {}", list(&known)), |word| format!("did you mean `{word}`?"));
            self.error_with_help::<()>(node.span, format!("`{text}` is not {what}"), help);
        }
        found.map(|(_, value)| *value)
    }

    /// Seconds of a duration such as `45s`, `10m`, `1h` or `7d`.
    pub(crate) fn duration(&mut self, node: &Node, what: &str, most: u64) -> Option<u64> {
        let Value::Scalar { text, .. } = &node.value else {
            return self.error(node.span, format!("{what} must be a duration, not {}", describe(&node.value)));
        };
        match duration::seconds(text) {
            Some(seconds) if seconds <= most => Some(seconds),
            Some(_) => self.error(node.span, format!("`{text}` is too long: {what} is at most `{}d`", most / DAY)),
            None => {
                let help = "write a whole number from 1 and a unit: `45s`, `10m`, `1h`, `7d`";
                self.error_with_help(node.span, format!("`{text}` is not a duration"), help)
            }
        }
    }

    pub(crate) fn pointer(&mut self, text: &str, span: Span) -> Option<Pointer> {
        match text.parse() {
            Ok(pointer) => Some(pointer),
            Err(error) => {
                let help = format!("write `/{}` to name a member of the whole", text.replace('.', "/"));
                self.error_with_help(span, format!("`{text}`: {error}"), help)
            }
        }
    }

    pub(crate) fn pointers(&mut self, node: &Node, what: &str) -> Option<Vec<Pointer>> {
        let items = self.list(node, what)?;
        let mut pointers = Vec::new();
        for item in items {
            let Value::Scalar { text, .. } = &item.value else {
                self.error::<()>(item.span, format!("{what} lists JSON pointers, not {}", describe(&item.value)));
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
                let mut object = Object::default();
                for Member { key, value, .. } in members {
                    object.set(key.clone(), self.json(value, what)?);
                }
                Some(Json::Object(object))
            }
        }
    }
}

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

pub(crate) fn list(words: &[&str]) -> String {
    words.iter().map(|word| format!("`{word}`")).collect::<Vec<_>>().join(", ")
}

/// The known word that was probably meant.
pub(crate) fn nearest<'k>(word: &str, known: &[&'k str]) -> Option<&'k str> {
    let near = known.iter().map(|other| (distance(word, other), *other));
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
