//! A configuration as Envoy reads it, as a tree that knows its places.
//!
//! Envoy turns YAML into JSON and JSON into protobuf messages. So aliases stand for what they name, keys tagged `!ignore`
//! are not there, `yes` is true, `normalizePath` is `normalize_path`, and numbers may stand in quotes.

use std::collections::{HashMap, HashSet};

use holdgate_authoring::{Quoted, Source, Span};
use serde_saphyr::granit_parser::{Event, Parser, ScalarStyle, ScanError, Span as YamlSpan};

use super::codes::Code;

/// The deepest nesting, which is that of protobuf's JSON.
const MAX_DEPTH: usize = 100;

/// The most values after aliases were written out; it bounds the memory of the tree.
const MAX_VALUES: usize = 1_000_000;

const START: Span = Span { line: 1, column: 1, width: 1 };

#[derive(Clone, Debug)]
pub(super) struct Node {
    pub(super) span: Span,
    value: Value,
}

#[derive(Clone, Debug)]
enum Value {
    Scalar { text: String, style: ScalarStyle },
    List(Vec<Node>),
    Map(Vec<Member>),
}

#[derive(Clone, Debug)]
pub(super) struct Member {
    /// As it is written.
    pub(super) key: String,
    pub(super) at: Span,
    pub(super) value: Node,
}

/// What keeps a file from being read as one tree.
pub(super) struct Problem {
    pub(super) span: Span,
    pub(super) code: Code,
    pub(super) message: String,
    pub(super) help: &'static str,
}

impl Node {
    /// The member of a message, by its name in snake case. `null` is as good as nothing.
    pub(super) fn get(&self, name: &str) -> Option<&Node> {
        let member = self.members().iter().find(|member| is_named(&member.key, name))?;
        (!member.value.is_null()).then_some(&member.value)
    }

    /// The member at the end of a way through messages.
    pub(super) fn at(&self, way: &[&str]) -> Option<&Node> {
        way.iter().try_fold(self, |node, name| node.get(name))
    }

    pub(super) fn members(&self) -> &[Member] {
        if let Value::Map(members) = &self.value { members } else { &[] }
    }

    /// The items of a repeated field; none where it is not there.
    pub(super) fn list(&self, name: &str) -> &[Node] {
        self.get(name).map_or(&[], Node::items)
    }

    pub(super) fn items(&self) -> &[Node] {
        if let Value::List(items) = &self.value { items } else { &[] }
    }

    pub(super) fn text(&self) -> Option<&str> {
        if let Value::Scalar { text, .. } = &self.value { Some(text) } else { None }
    }

    /// The text of a member.
    pub(super) fn text_of(&self, name: &str) -> Option<&str> {
        self.get(name).and_then(Node::text)
    }

    /// Whether a member is there and says yes, in one of the words that Envoy's YAML takes for it.
    pub(super) fn says_yes(&self, name: &str) -> bool {
        self.get(name).is_some_and(Node::is_yes)
    }

    pub(super) fn is_yes(&self) -> bool {
        let Value::Scalar { text, style } = &self.value else { return false };
        let lower = text.to_ascii_lowercase();
        lower == "true" || (*style == ScalarStyle::Plain && matches!(lower.as_str(), "yes" | "y" | "on"))
    }

    pub(super) fn number(&self) -> Option<u64> {
        let text = self.text()?;
        // A protobuf number may be spelled as a float, as long as it is a whole one.
        #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "checked to be whole and in range")]
        let whole = |value: f64| ((0.0..1e18).contains(&value) && value.fract() == 0.0).then_some(value as u64);
        text.parse().ok().or_else(|| text.parse().ok().and_then(whole))
    }

    /// A protobuf duration, such as `45s` or `0.5s`, in milliseconds.
    pub(super) fn milliseconds(&self) -> Option<u64> {
        let seconds: f64 = self.text()?.strip_suffix('s')?.parse().ok()?;
        #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "cut to what is in range")]
        Some((seconds * 1000.0).clamp(0.0, 1e15) as u64)
    }

    /// Whether an enumeration has this value, which may stand there by its number.
    pub(super) fn is_word(&self, word: &str, number: u64) -> bool {
        self.text() == Some(word) || self.number() == Some(number)
    }

    /// The type of an `Any`, without the address before it, and the message. A `TypedStruct` is looked through.
    pub(super) fn typed(&self) -> Option<(&str, &Node)> {
        let name = type_name(self.text_of("@type")?);
        if name.ends_with(".TypedStruct") {
            let url = self.text_of("type_url").map(type_name)?;
            return Some((url, self.get("value").unwrap_or(self)));
        }
        Some((name, self))
    }

    /// Whether this, or something in it, is such a node.
    pub(super) fn any(&self, test: &mut dyn FnMut(&Node) -> bool) -> bool {
        test(self)
            || match &self.value {
                Value::Scalar { .. } => false,
                Value::List(items) => items.iter().any(|item| item.any(test)),
                Value::Map(members) => members.iter().any(|member| member.value.any(test)),
            }
    }

    /// As JSON; numbers and words without quotes become what Envoy makes of them.
    pub(super) fn to_json(&self) -> serde_json::Value {
        match &self.value {
            Value::Scalar { text, style: ScalarStyle::Plain } => {
                serde_json::from_str(text).unwrap_or_else(|_| text.as_str().into())
            }
            Value::Scalar { text, .. } => text.as_str().into(),
            Value::List(items) => items.iter().map(Node::to_json).collect(),
            Value::Map(members) => members.iter().map(|member| (member.key.clone(), member.value.to_json())).collect(),
        }
    }

    /// Whether it is text in one line.
    fn is_short(&self) -> bool {
        matches!(&self.value, Value::Scalar { style, .. } if !matches!(style, ScalarStyle::Literal | ScalarStyle::Folded))
    }

    fn is_null(&self) -> bool {
        let Value::Scalar { text, style: ScalarStyle::Plain } = &self.value else { return false };
        matches!(text.as_str(), "" | "~" | "null" | "Null" | "NULL")
    }
}

fn type_name(url: &str) -> &str {
    url.rsplit('/').next().unwrap_or(url)
}

/// Whether a key is that of a field: protobuf's JSON takes `snake_case` and `lowerCamelCase`.
fn is_named(key: &str, name: &str) -> bool {
    key == name || (!key.contains('_') && snake(key) == name)
}

fn snake(key: &str) -> String {
    let mut snake = String::with_capacity(key.len() + 4);
    for character in key.chars() {
        if character.is_ascii_uppercase() && !snake.is_empty() {
            snake.push('_');
        }
        snake.push(character.to_ascii_lowercase());
    }
    snake
}

/// Reads the one document of a file.
pub(super) fn parse(source: &Source<'_>) -> Result<Node, Box<Problem>> {
    let events = Parser::new_from_str(source.text()).filter(|event| !matches!(event, Ok((Event::Comment(..), _))));
    Builder { events, anchors: HashMap::new(), values: 0 }.document()
}

type Built<T> = Result<T, Box<Problem>>;

fn problem<T>(span: Span, code: Code, message: impl Into<String>, help: &'static str) -> Built<T> {
    Err(Box::new(Problem { span, code, message: message.into(), help }))
}

struct Builder<I> {
    events: I,
    /// What aliases stand for, with its number of values.
    anchors: HashMap<usize, (Node, usize)>,
    values: usize,
}

impl<'t, I: Iterator<Item = Result<(Event<'t>, YamlSpan), ScanError>>> Builder<I> {
    fn document(&mut self) -> Built<Node> {
        let mut root = None;
        loop {
            let (event, span) = self.next()?;
            match event {
                Event::StreamStart | Event::DocumentStart(..) | Event::DocumentEnd => {}
                Event::StreamEnd => {
                    let help = "name a bootstrap file of Envoy, such as envoy/envoy.yaml";
                    return root.map_or_else(|| problem(START, Code::Unreadable, "the file is empty", help), Ok);
                }
                _ if root.is_some() => {
                    let message = "a second document: Envoy reads the first one only, and does not say so";
                    return problem(span, Code::TwoReadings, message, "write one document to a file");
                }
                event => root = Some(self.node(event, span, 0)?),
            }
        }
    }

    fn next(&mut self) -> Built<(Event<'t>, Span)> {
        match self.events.next() {
            Some(Ok((event, span))) => Ok((event, convert(span))),
            Some(Err(error)) => {
                let span = Span { line: error.marker().line(), column: error.marker().col() + 1, width: 1 };
                let help = "look for a bracket or quote that is not closed and for wrong indentation here or before";
                problem(span, Code::Unreadable, format!("not YAML or JSON: {}", error.info()), help)
            }
            None => problem(START, Code::Unreadable, "not YAML or JSON: the document does not end", "mend its end"),
        }
    }

    fn count(&mut self, span: Span, values: usize) -> Built<()> {
        self.values = self.values.saturating_add(values);
        if self.values <= MAX_VALUES {
            return Ok(());
        }
        let message = format!("more than {MAX_VALUES} values, aliases written out");
        problem(span, Code::Unreadable, message, "look for aliases of aliases; Envoy writes them out, too")
    }

    fn node(&mut self, event: Event<'t>, span: Span, depth: usize) -> Built<Node> {
        if depth > MAX_DEPTH {
            let message = format!("nested deeper than {MAX_DEPTH} levels");
            return problem(
                span,
                Code::Unreadable,
                message,
                "Envoy takes no such file either; look for an open bracket",
            );
        }
        let before = self.values;
        self.count(span, 1)?;
        let anchor = event.anchor_id();
        let value = match event {
            Event::Alias(id) => {
                let Some((node, values)) = self.anchors.get(&id).cloned() else {
                    return problem(span, Code::Unreadable, "an alias of itself", "write the value out");
                };
                self.count(span, values)?;
                return Ok(node);
            }
            Event::Scalar(text, style, ..) => Value::Scalar { text: text.into_owned(), style },
            Event::SequenceStart(..) => {
                let mut items = Vec::new();
                loop {
                    match self.next()? {
                        (Event::SequenceEnd, _) => break Value::List(items),
                        (event, span) => {
                            let item = self.node(event, span, depth + 1)?;
                            // A message in a list is best shown by its first key.
                            let first = item.members().first().map_or(item.span, |member| member.at);
                            items.push(Node { span: first, ..item });
                        }
                    }
                }
            }
            Event::MappingStart(..) => Value::Map(self.map(depth)?),
            _ => return problem(span, Code::Unreadable, "not YAML or JSON: a value is missing", "write one"),
        };
        let node = Node { span, value };
        if let Some(anchor) = anchor {
            self.anchors.insert(anchor, (node.clone(), self.values - before));
        }
        Ok(node)
    }

    fn map(&mut self, depth: usize) -> Built<Vec<Member>> {
        let mut members: Vec<Member> = Vec::new();
        let mut seen = HashSet::new();
        loop {
            let (event, at) = self.next()?;
            if matches!(event, Event::MappingEnd) {
                return Ok(members);
            }
            let ignored = event.tag().is_some_and(|tag| [tag.handle(), tag.suffix()].concat() == "!ignore");
            let Node { value: Value::Scalar { text: key, .. }, span: at } = self.node(event, at, depth + 1)? else {
                return problem(at, Code::Unreadable, "a key must be a text", "put it in quotes");
            };
            let (event, span) = self.next()?;
            let value = self.node(event, span, depth + 1)?;
            if ignored {
                continue;
            }
            if key == "<<" {
                let message = "a merge key: versions of Envoy differ in whether they know it";
                return problem(at, Code::TwoReadings, message, "write out what is to be merged");
            }
            // Both spellings of a field are one field.
            let spelled = if key.contains('_') { key.clone() } else { snake(&key) };
            if !seen.insert(spelled) {
                let message = format!("the key {} stands there twice", Quoted(&key));
                return problem(at, Code::TwoReadings, message, "keep one of them: what Envoy takes is the other");
            }
            // What goes on over more lines is best shown by its key.
            let span = if value.is_short() { value.span } else { at };
            members.push(Member { key, at, value: Node { span, ..value } });
        }
    }
}

fn convert(span: YamlSpan) -> Span {
    let (start, end) = (span.start, span.end);
    // The width of what goes on over more lines is cut at the end of its first line when it is shown.
    let width = if start.line() == end.line() { end.col().saturating_sub(start.col()).max(1) } else { usize::MAX };
    Span { line: start.line(), column: start.col() + 1, width }
}
