//! YAML (or JSON, which is YAML) as a tree that knows its places.
//!
//! The tree keeps the spelling of scalars, because numbers are compared as decimals and must never pass through a
//! binary float. What gives a text two readings is refused: duplicate keys, tags, anchors and aliases, a second document.

use std::collections::{HashMap, hash_map::Entry};

use serde_saphyr::granit_parser::{ErrorKind, Event, Parser, ScalarStyle, ScanError, Span as YamlSpan};

use crate::{
    codes::Code,
    diagnostic::{Diagnostic, Findings, Quoted, Source, Span},
};

/// The deepest nesting of lists and maps in a rule file.
const MAX_DEPTH: usize = 64;

/// The most bytes of a rule file; 10,000 ordinary rules have a third of that.
pub const MAX_BYTES: usize = 8 * 1024 * 1024;

/// The most values of a rule file, keys not counted; it bounds the memory of the tree.
const MAX_VALUES: usize = 400_000;

const QUOTE_WHEN: &str = "put the whole expression in quotes: `when: \"!body.reviewed\"`";

const START: Span = Span { line: 1, column: 1, width: 1 };

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

/// A file's bytes as text, if they can be one.
#[expect(clippy::result_large_err, reason = "it is returned once for each file")]
pub(crate) fn decode<'b>(name: &str, bytes: &'b [u8]) -> Result<&'b str, Diagnostic> {
    if bytes.len() > MAX_BYTES {
        let message = format!("the file has more than {MAX_BYTES} bytes, the most that are read");
        let help = "divide it into several files, which are compiled together".to_owned();
        return Err(Diagnostic::of_file(name, Code::TooLarge, message, Some(help)));
    }
    str::from_utf8(bytes).map_err(|error| {
        let sound = bytes.get(..error.valid_up_to()).and_then(|sound| str::from_utf8(sound).ok()).unwrap_or_default();
        let source = Source::new(name, sound);
        let (line, column) = end(sound);
        let byte = bytes.get(sound.len()).copied().unwrap_or_default();
        let message = format!("the byte {byte:#04x} is not UTF-8");
        let help = "save the file as UTF-8".to_owned();
        source.diagnostic(Span { line, column, width: 1 }, Code::NotUtf8, message, Some(help))
    })
}

/// Reads the one document of a file. Findings that leave the tree whole, such as a duplicate key, come beside it.
pub(crate) fn parse(source: &Source<'_>, findings: &mut Findings<'_>) -> Option<Node> {
    let text = source.text;
    if text.len() > MAX_BYTES {
        let message = format!("the file has more than {MAX_BYTES} bytes, the most that are read");
        let help = "divide it into several files, which are compiled together".to_owned();
        findings.report(START, Code::TooLarge, message, Some(help));
        return None;
    }
    let control = |(_, c): &(usize, char)| c.is_control() && !matches!(c, '\t' | '\n' | '\r' | '\u{85}');
    if let Some((at, c)) = text.char_indices().find(control) {
        let (line, column) = end(text.get(..at).unwrap_or_default());
        let help = "remove it, or write it as an escape in a text in double quotes: `\"\\x00\"`".to_owned();
        let message = format!("the control character U+{:04X} cannot stand in a rule file", u32::from(c));
        findings.report(Span { line, column, width: 1 }, Code::ControlCharacter, message, Some(help));
        return None;
    }
    let events = Parser::new_from_str(text).filter(|event| !matches!(event, Ok((Event::Comment(..), _))));
    let mut builder = Builder { source, events, findings, values: 0 };
    match builder.document() {
        Ok(node) => Some(node),
        Err(problem) => {
            let Problem { span, code, message, help } = *problem;
            findings.report(span, code, message, help.map(str::to_owned));
            None
        }
    }
}

/// Line and column behind the last character.
fn end(text: &str) -> (usize, usize) {
    let last = text.rsplit(['\n', '\r']).next().unwrap_or_default();
    (text.replace("\r\n", "\n").matches(['\n', '\r']).count() + 1, last.chars().count() + 1)
}

struct Builder<'t, 'f, 's, I> {
    source: &'t Source<'t>,
    events: I,
    findings: &'f mut Findings<'s>,
    values: usize,
}

/// What ends the reading.
struct Problem {
    span: Span,
    code: Code,
    message: String,
    help: Option<&'static str>,
}

/// Boxed, as the good results beside it are small.
type Built<T> = Result<T, Box<Problem>>;

fn problem(span: Span, code: Code, message: impl Into<String>, help: Option<&'static str>) -> Box<Problem> {
    Box::new(Problem { span, code, message: message.into(), help })
}

fn too_deep(span: Span) -> Box<Problem> {
    let help = "no rule needs so many; look for a bracket that is not closed";
    problem(span, Code::TooDeep, format!("nested deeper than {MAX_DEPTH} levels"), Some(help))
}

impl<'t, I: Iterator<Item = Result<(Event<'t>, YamlSpan), ScanError>>> Builder<'t, '_, '_, I> {
    fn document(&mut self) -> Built<Node> {
        let mut root = None;
        loop {
            let (event, span) = self.next()?;
            match event {
                Event::StreamStart | Event::DocumentStart(..) | Event::DocumentEnd => {}
                Event::StreamEnd => {
                    let help = "write `format: 1`, `policy`, `rules` and `tests`; the reference has an example";
                    return root.ok_or_else(|| problem(START, Code::EmptyFile, "the file is empty", Some(help)));
                }
                _ if root.is_some() => {
                    let help = "write the second one to a file of its own";
                    let message = "a rule file is one document";
                    return Err(problem(span, Code::SeveralDocuments, message, Some(help)));
                }
                event => root = Some(self.node(event, span, 0)?),
            }
        }
    }

    fn next(&mut self) -> Built<(Event<'t>, Span)> {
        match self.events.next() {
            Some(Ok((event, span))) => Ok((event, convert(span))),
            Some(Err(error)) => {
                let at = error.marker();
                let span = Span { line: at.line(), column: at.col() + 1, width: 1 };
                if matches!(error.kind(), ErrorKind::RecursionLimitExceeded) {
                    return Err(too_deep(span));
                }
                let help = if self.unquoted_path(span.line) {
                    "put the path in quotes: `path: \"/iam/{user}\"`"
                } else if self.unquoted_when(span.line) {
                    QUOTE_WHEN
                } else if error.info().contains("tab") || self.indented_by_tab(span.line) {
                    "indent with spaces: YAML takes no tabs there"
                } else {
                    "look for a bracket or quote that is not closed and for wrong indentation here or in the line \
                     before, and put texts with `: `, ` #`, `{` or `*` in quotes"
                };
                Err(problem(span, Code::NotYaml, format!("not YAML: {}", error.info()), Some(help)))
            }
            None => Err(problem(START, Code::NotYaml, "not YAML: the document does not end", None)),
        }
    }

    /// Whether this line, or the one before it, has a path template that YAML does not read as a text: a brace or a
    /// star without quotes is most people's first mistake.
    fn unquoted_path(&self, line: usize) -> bool {
        let near = [line.saturating_sub(1).max(1), line.max(1)];
        near.into_iter().any(|line| {
            let mut paths = self.source.line(line).split("path:").skip(1).map(str::trim_start);
            paths.any(|path| {
                let path = path.split([' ', ',']).next().unwrap_or_default();
                path.starts_with('*') || (path.starts_with('/') && path.contains('{'))
            })
        })
    }

    /// Whether an expression near this line starts with `!` and has no quotes.
    fn unquoted_when(&self, line: usize) -> bool {
        let near = line.saturating_sub(1).max(1)..=line.max(1);
        let starts = |rest: &str| rest.trim_start().starts_with('!');
        near.into_iter().any(|line| self.source.line(line).split("when:").skip(1).any(starts))
    }

    fn indented_by_tab(&self, line: usize) -> bool {
        self.source.line(line).trim_start_matches(' ').starts_with('\t')
    }

    fn node(&mut self, event: Event<'t>, span: Span, depth: usize) -> Built<Node> {
        if depth > MAX_DEPTH {
            return Err(too_deep(span));
        }
        self.values += 1;
        if self.values > MAX_VALUES {
            let message = format!("the file has more than {MAX_VALUES} values");
            let help = "divide it into several files, which are compiled together";
            return Err(problem(span, Code::TooLarge, message, Some(help)));
        }
        if event.tag().is_some() {
            let message = "`!` at the start of a value makes a tag of YAML, and tags are not part of rule files";
            let help =
                if self.unquoted_when(span.line) { QUOTE_WHEN } else { "put a text that starts with `!` in quotes" };
            return Err(problem(span, Code::AnchorOrTag, message, Some(help)));
        }
        if event.is_alias() || event.anchor_id().is_some() {
            let message = "anchors and aliases (`&`, `*`) are not part of rule files; write the value out, \
                           and put a text that starts with one of them in quotes";
            return Err(problem(span, Code::AnchorOrTag, message, None));
        }
        let value = match event {
            Event::Scalar(text, style, ..) => {
                Value::Scalar { text: text.into_owned(), plain: style == ScalarStyle::Plain }
            }
            Event::SequenceStart(..) => {
                let mut items = Vec::new();
                loop {
                    match self.next()? {
                        (Event::SequenceEnd, _) => {
                            items.shrink_to_fit();
                            break Value::List(items);
                        }
                        (event, span) => items.push(self.node(event, span, depth + 1)?),
                    }
                }
            }
            Event::MappingStart(..) => Value::Map(self.members(depth)?),
            _ => return Err(problem(span, Code::NotYaml, "not YAML: a value is missing here", None)),
        };
        Ok(Node { span, value })
    }

    fn members(&mut self, depth: usize) -> Built<Vec<Member>> {
        let mut members: Vec<Member> = Vec::new();
        loop {
            let (event, at) = self.next()?;
            if matches!(event, Event::MappingEnd) {
                self.remove_duplicates(&mut members);
                members.shrink_to_fit();
                return Ok(members);
            }
            let Node { value: Value::Scalar { text: key, .. }, span: at } = self.node(event, at, depth + 1)? else {
                let help = "put a text that starts with `{` or `[` in quotes";
                return Err(problem(at, Code::NotYaml, "a key must be a plain text", Some(help)));
            };
            self.values -= 1;
            let (event, span) = self.next()?;
            let value = self.node(event, span, depth + 1)?;
            members.push(Member { key, at, value });
        }
    }

    /// Reports the keys that stand there twice, and keeps the first of each.
    fn remove_duplicates(&mut self, members: &mut Vec<Member>) {
        let mut first: HashMap<&str, usize> = HashMap::with_capacity(members.len());
        let mut again = Vec::new();
        for (index, Member { key, at, .. }) in members.iter().enumerate() {
            match first.entry(key) {
                Entry::Vacant(entry) => {
                    entry.insert(at.line);
                }
                Entry::Occupied(entry) => {
                    let line = entry.get();
                    let message = format!("the key {} stands there twice; the first is in line {line}", Quoted(key));
                    let help = "a map has each key once; keep one of them".to_owned();
                    self.findings.report(*at, Code::DuplicateKey, message, Some(help));
                    again.push(index);
                }
            }
        }
        let mut again = again.into_iter().peekable();
        let mut index = 0;
        members.retain(|_| {
            let keep = again.next_if_eq(&index).is_none();
            index += 1;
            keep
        });
    }
}

fn convert(span: YamlSpan) -> Span {
    let (start, end) = (span.start, span.end);
    // The width of what goes on over more lines is cut at the end of its first line when it is shown.
    let width = if start.line() == end.line() { end.col().saturating_sub(start.col()).max(1) } else { usize::MAX };
    Span { line: start.line(), column: start.col() + 1, width }
}
