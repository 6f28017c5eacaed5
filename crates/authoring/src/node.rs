//! YAML (or JSON, which is YAML) as a tree that knows its places.
//!
//! The tree keeps the spelling of scalars, because numbers are compared as decimals and must never pass through a
//! binary float. What gives a text two readings is refused: duplicate keys, tags, anchors and aliases, a second document.

use serde_saphyr::granit_parser::{Event, Parser, ScalarStyle, ScanError, Span as YamlSpan};

use crate::diagnostic::{Diagnostic, Source, Span};

/// The deepest nesting of lists and maps in a rule file.
const MAX_DEPTH: usize = 64;

#[derive(Clone, Debug)]
pub(crate) struct Node {
    pub(crate) span: Span,
    pub(crate) value: Value,
}

#[derive(Clone, Debug)]
pub(crate) enum Value {
    /// `plain`: without quotes, so that it may be a number, a boolean or null.
    Scalar {
        text: String,
        plain: bool,
    },
    List(Vec<Node>),
    Map(Vec<Member>),
}

#[derive(Clone, Debug)]
pub(crate) struct Member {
    pub(crate) key: String,
    pub(crate) at: Span,
    pub(crate) value: Node,
}

/// Reads the one document of a file. Problems that leave the tree whole, such as a duplicate key, come beside it.
pub(crate) fn parse(source: Source<'_>, problems: &mut Vec<Diagnostic>) -> Option<Node> {
    let events = Parser::new_from_str(source.text).filter(|event| !matches!(event, Ok((Event::Comment(..), _))));
    let mut builder = Builder { source, events, problems };
    match builder.document() {
        Ok(node) => Some(node),
        Err(problem) => {
            builder.problems.push(*problem);
            None
        }
    }
}

struct Builder<'s, 'p, I> {
    source: Source<'s>,
    events: I,
    problems: &'p mut Vec<Diagnostic>,
}

/// Boxed, as the good results beside it are small.
type Built<T> = Result<T, Box<Diagnostic>>;

impl<'s, I: Iterator<Item = Result<(Event<'s>, YamlSpan), ScanError>>> Builder<'s, '_, I> {
    fn document(&mut self) -> Built<Node> {
        let mut root = None;
        loop {
            let (event, span) = self.next()?;
            match event {
                Event::StreamStart | Event::DocumentStart(..) | Event::DocumentEnd => {}
                Event::StreamEnd => {
                    let start = Span { line: 1, column: 1, width: 1 };
                    return root.ok_or_else(|| self.problem(start, "the file is empty".into()));
                }
                _ if root.is_some() => return Err(self.problem(span, "a rule file is one document".into())),
                event => root = Some(self.node(event, span, 0)?),
            }
        }
    }

    fn next(&mut self) -> Built<(Event<'s>, Span)> {
        match self.events.next() {
            Some(Ok((event, span))) => Ok((event, convert(span))),
            Some(Err(error)) => {
                let at = error.marker();
                let span = Span { line: at.line(), column: at.col() + 1, width: 1 };
                Err(self.problem(span, format!("not YAML: {}", error.info())))
            }
            None => Err(self.problem(Span { line: 1, column: 1, width: 1 }, "the document does not end".into())),
        }
    }

    fn node(&mut self, event: Event<'s>, span: Span, depth: usize) -> Built<Node> {
        if depth > MAX_DEPTH {
            return Err(self.problem(span, format!("nested deeper than {MAX_DEPTH} levels")));
        }
        if event.tag().is_some() {
            return Err(self.problem(span, "tags (`!...`) are not part of rule files; remove it".into()));
        }
        if event.is_alias() || event.anchor_id().is_some() {
            let message = "anchors and aliases (`&`, `*`) are not part of rule files; write the value out, \
                           and put a text that starts with one of them in quotes";
            return Err(self.problem(span, message.into()));
        }
        let value = match event {
            Event::Scalar(text, style, ..) => {
                Value::Scalar { text: text.into_owned(), plain: style == ScalarStyle::Plain }
            }
            Event::SequenceStart(..) => {
                let mut items = Vec::new();
                loop {
                    match self.next()? {
                        (Event::SequenceEnd, _) => break Value::List(items),
                        (event, span) => items.push(self.node(event, span, depth + 1)?),
                    }
                }
            }
            Event::MappingStart(..) => Value::Map(self.members(depth)?),
            _ => return Err(self.problem(span, "a value is missing here".into())),
        };
        Ok(Node { span, value })
    }

    fn members(&mut self, depth: usize) -> Built<Vec<Member>> {
        let mut members: Vec<Member> = Vec::new();
        loop {
            let (event, at) = self.next()?;
            if matches!(event, Event::MappingEnd) {
                return Ok(members);
            }
            let Node { value: Value::Scalar { text: key, .. }, span: at } = self.node(event, at, depth + 1)? else {
                return Err(self.problem(at, "a key must be a plain text".into()));
            };
            let (event, span) = self.next()?;
            let value = self.node(event, span, depth + 1)?;
            if let Some(first) = members.iter().find(|member| member.key == key) {
                let message = format!("the key `{key}` stands there twice; the first is in line {}", first.at.line);
                let problem = self.source.diagnostic(at, message, None);
                self.problems.push(problem);
            } else {
                members.push(Member { key, at, value });
            }
        }
    }

    fn problem(&self, span: Span, message: String) -> Box<Diagnostic> {
        Box::new(self.source.diagnostic(span, message, None))
    }
}

fn convert(span: YamlSpan) -> Span {
    let (start, end) = (span.start, span.end);
    // The width of what goes on over more lines is cut at the end of its first line when it is shown.
    let width = if start.line() == end.line() { end.col().saturating_sub(start.col()).max(1) } else { usize::MAX };
    Span { line: start.line(), column: start.col() + 1, width }
}
