//! The text of a file as a tree that still has its comments, empty lines and spelling.

use serde_saphyr::granit_parser::{Event, Parser, Placement, ScalarStyle, ScanError, Span, StructureStyle};

/// A file with what stands around its values.
pub(super) struct Layout {
    pub(super) root: Tree,
    /// Comments behind the last value.
    pub(super) tail: Vec<Comment>,
}

/// A value as it was written.
pub(super) enum Tree {
    /// One line of source, or none.
    Line(String),
    /// A text that goes on over several lines: what stands before its lines (such as `|-`), and the lines.
    Lines {
        head: String,
        lines: Vec<String>,
    },
    Items(Items),
}

/// A list or a map.
pub(super) struct Items {
    pub(super) is_map: bool,
    /// In brackets or braces.
    pub(super) flow: bool,
    pub(super) items: Vec<Item>,
    /// Comments behind the last item.
    pub(super) tail: Vec<Comment>,
}

/// An item of a list, or a member of a map.
pub(super) struct Item {
    pub(super) above: Vec<Comment>,
    /// Whether an empty line stands before it, and behind the comments above it.
    pub(super) spaced: bool,
    /// As it was written, in quotes or not; empty in lists.
    pub(super) key: String,
    /// A comment behind the colon.
    pub(super) beside_key: Option<String>,
    pub(super) value: Tree,
    /// A comment behind the value.
    pub(super) beside: Option<String>,
}

/// A comment on a line of its own, with its `#`.
pub(super) struct Comment {
    pub(super) text: String,
    /// Whether an empty line stands before it.
    pub(super) spaced: bool,
    column: usize,
}

impl Tree {
    pub(super) fn is_flow(&self) -> bool {
        matches!(self, Tree::Items(Items { flow: true, .. }))
    }
}

/// Reads a text that is known to be one document without anchors and tags; `None` where the layout is beyond this reader.
pub(super) fn read(text: &str) -> Option<Layout> {
    let blank = text.lines().map(|line| line.trim().is_empty()).collect();
    let mut reader =
        Reader { text, events: Parser::new_from_str(text), blank, above: Vec::new(), beside: None, last_line: 0 };
    loop {
        let (event, span) = reader.next()?;
        if !matches!(event, Event::StreamStart | Event::DocumentStart(..)) {
            let root = reader.tree(event, span, None)?;
            while !matches!(reader.next()?.0, Event::StreamEnd) {}
            reader.keep_beside();
            return Some(Layout { root, tail: reader.above });
        }
    }
}

struct Reader<'s, I> {
    text: &'s str,
    events: I,
    /// Of each line, whether it is empty.
    blank: Vec<bool>,
    /// Comments on lines of their own that no item has taken yet.
    above: Vec<Comment>,
    /// The comment behind the last value that was read.
    beside: Option<String>,
    last_line: usize,
}

impl<'s, I: Iterator<Item = Result<(Event<'s>, Span), ScanError>>> Reader<'s, I> {
    /// The next event that is not a comment; comments on the way are put aside.
    fn next(&mut self) -> Option<(Event<'s>, Span)> {
        loop {
            let (event, span) = self.events.next()?.ok()?;
            let Event::Comment(text, placement) = event else {
                // The end of a block has no place of its own.
                if span.start.byte_offset() != span.end.byte_offset() {
                    self.last_line = span.end.line();
                }
                return Some((event, span));
            };
            let text = format!("#{}", text.trim_end());
            let line = span.start.line();
            if placement == Placement::Right && line == self.last_line && self.beside.is_none() {
                self.beside = Some(text);
            } else {
                self.above.push(Comment { text, spaced: self.is_spaced(line), column: span.start.col() });
            }
        }
    }

    fn is_spaced(&self, line: usize) -> bool {
        line.checked_sub(2).and_then(|before| self.blank.get(before)).copied().unwrap_or(false)
    }

    /// A comment beside nothing that could keep it goes to a line of its own.
    fn keep_beside(&mut self) {
        let kept = self.beside.take().map(|text| Comment { text, spaced: false, column: 0 });
        self.above.splice(0..0, kept);
    }

    /// `parent` is the column of the collection around; `None` at the root.
    fn tree(&mut self, event: Event<'s>, span: Span, parent: Option<usize>) -> Option<Tree> {
        match event {
            Event::Scalar(value, style, ..) => self.scalar(&value, style, span),
            Event::SequenceStart(style, ..) => self.items(false, style, span, parent),
            Event::MappingStart(style, ..) => self.items(true, style, span, parent),
            _ => None,
        }
    }

    fn source(&self, span: Span) -> Option<&'s str> {
        self.text.get(span.start.byte_offset()?..span.end.byte_offset()?)
    }

    fn scalar(&self, value: &str, style: ScalarStyle, span: Span) -> Option<Tree> {
        let source = self.source(span)?;
        let block = match style {
            ScalarStyle::Literal => Some('|'),
            ScalarStyle::Folded => Some('>'),
            _ => None,
        };
        let Some(mark) = block else {
            if !source.contains('\n') {
                return Some(Tree::Line(source.to_owned()));
            }
            // The line breaks inside of these count as spaces, whatever the indentation.
            let lines = source.lines().map(|line| line.trim().to_owned()).collect();
            return Some(Tree::Lines { head: String::new(), lines });
        };
        let cut = match (value.ends_with('\n'), value.ends_with("\n\n") || value == "\n") {
            (false, _) => "-",
            (true, false) => "",
            (true, true) => "+",
        };
        let start = " ".repeat(span.start.col());
        let mut lines = Vec::new();
        for (index, line) in source.lines().enumerate() {
            // The span starts behind the indentation of the first line.
            let line = if index == 0 { line } else { line.strip_prefix(&start).unwrap_or(line.trim_start()) };
            lines.push(if line.trim().is_empty() { String::new() } else { line.to_owned() });
        }
        if cut != "+" {
            while lines.last().is_some_and(String::is_empty) {
                lines.pop();
            }
        }
        Some(Tree::Lines { head: format!("{mark}{cut}"), lines })
    }

    fn items(&mut self, is_map: bool, style: StructureStyle, span: Span, parent: Option<usize>) -> Option<Tree> {
        let flow = style == StructureStyle::Flow;
        let column = span.start.col();
        let mut items: Vec<Item> = Vec::new();
        loop {
            let (event, span) = self.next()?;
            match (items.last_mut(), self.beside.is_some()) {
                (Some(last), true) => last.beside = self.beside.take(),
                _ => self.keep_beside(),
            }
            if matches!(event, Event::SequenceEnd | Event::MappingEnd) {
                // What stands at the column of the collection around belongs to what comes next there.
                let inner = |comment: &Comment| flow || parent.is_none_or(|parent| comment.column > parent);
                let ends = self.above.iter().position(|comment| !inner(comment)).unwrap_or(self.above.len());
                let tail = self.above.drain(..ends).collect();
                return Some(Tree::Items(Items { is_map, flow, items, tail }));
            }
            let mut above = std::mem::take(&mut self.above);
            let spaced = self.is_spaced(span.start.line());
            let (key, beside_key, value) = if is_map {
                let Event::Scalar(..) = event else { return None };
                let key = self.source(span)?.to_owned();
                let (event, span) = self.next()?;
                let beside_key = self.beside.take();
                (key, beside_key, self.tree(event, span, Some(column))?)
            } else {
                (String::new(), None, self.tree(event, span, Some(column))?)
            };
            // Comments between a key and a single value.
            if !matches!(value, Tree::Items(_)) {
                above.append(&mut self.above);
            }
            items.push(Item { above, spaced, key, beside_key, value, beside: None });
        }
    }
}
