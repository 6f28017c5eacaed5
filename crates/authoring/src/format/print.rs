//! From the layout to text.

use super::layout::{Comment, Item, Items, Layout, Tree};

/// The longest line that a list or a map in brackets may make, comments not counted.
const WIDTH: usize = 120;

const FILE: &[&str] =
    &["format", "policy", "owner", "controls", "mode", "approvers", "tags", "accept", "rules", "tests", "prove"];
const RULE: &[&str] = &["id", "effect", "mode", "reason", "controls", "accept", "match", "when", "approval"];
const TEST: &[&str] = &["name", "request", "expect"];

pub(super) fn print(layout: &Layout) -> String {
    let mut printer = Printer { text: String::new() };
    match &layout.root {
        Tree::Items(items) => printer.items(items, 0, true, Known::File),
        root => printer.value(root, 0, None, Known::Other),
    }
    layout.tail.iter().for_each(|comment| printer.comment(comment, 0, false));
    printer.text
}

/// Which map of the language a map is, as far as its keys have an order.
#[derive(Clone, Copy)]
enum Known {
    File,
    Rules,
    Tests,
    Rule,
    Test,
    Other,
}

impl Known {
    fn order(self) -> &'static [&'static str] {
        match self {
            Known::File => FILE,
            Known::Rule => RULE,
            Known::Test => TEST,
            Known::Rules | Known::Tests | Known::Other => &[],
        }
    }

    fn inside(self, key: &str) -> Known {
        match (self, key) {
            (Known::File, "rules") => Known::Rules,
            (Known::File, "tests") => Known::Tests,
            (Known::Rules, "") => Known::Rule,
            (Known::Tests, "") => Known::Test,
            _ => Known::Other,
        }
    }
}

/// The items in the order in which they are printed.
///
/// Where a comment stands above the first key, it may be about the whole map: then nothing is moved before that key.
fn ordered(items: &Items, known: Known) -> Vec<&Item> {
    let place = |item: &&Item| {
        let order = known.order();
        order.iter().position(|key| *key == item.key).unwrap_or(order.len())
    };
    let mut sorted: Vec<&Item> = items.items.iter().collect();
    sorted.sort_by_key(place);
    match (items.items.first(), sorted.first()) {
        (Some(first), Some(new)) if first.key != new.key && !first.above.is_empty() => items.items.iter().collect(),
        _ => sorted,
    }
}

struct Printer {
    text: String,
}

impl Printer {
    /// Prints a collection line by line. `fresh` is false where the first item goes on behind the dash of a list.
    fn items(&mut self, items: &Items, indent: usize, fresh: bool, known: Known) {
        for (index, item) in ordered(items, known).into_iter().enumerate() {
            let known = known.inside(&item.key);
            let one_line = fits(item, indent);
            if index > 0 || fresh {
                self.above(item, indent, index == 0, known);
                self.indent(indent);
            }
            if items.is_map {
                self.text.push_str(&item.key);
                self.text.push(':');
                self.value(&item.value, indent + 2, Some((item, one_line)), known);
                continue;
            }
            self.text.push('-');
            match &item.value {
                Tree::Items(inner) if !one_line => {
                    self.text.push(' ');
                    self.items(inner, indent + 2, false, known);
                }
                value => self.value(value, indent + 2, Some((item, one_line)), known),
            }
        }
        items.tail.iter().for_each(|comment| self.comment(comment, indent, items.items.is_empty()));
    }

    /// Prints what stands behind a colon or a dash, and ends the line.
    fn value(&mut self, value: &Tree, indent: usize, item: Option<(&Item, bool)>, known: Known) {
        let comment = item.and_then(|(item, one_line)| beside(item, one_line));
        match value {
            Tree::Line(line) => {
                if !line.is_empty() {
                    self.text.push_str(if item.is_some() { " " } else { "" });
                    self.text.push_str(line);
                }
                self.end(comment);
            }
            Tree::Lines { head, lines } if head.is_empty() => {
                for (index, line) in lines.iter().enumerate() {
                    self.text.push_str(if index == 0 { " " } else { "\n" });
                    if index > 0 && !line.is_empty() {
                        self.indent(indent);
                    }
                    self.text.push_str(line);
                }
                self.end(comment);
            }
            Tree::Lines { head, lines } => {
                self.text.push(' ');
                self.text.push_str(head);
                self.end(comment);
                for line in lines {
                    if !line.is_empty() {
                        self.indent(indent);
                    }
                    self.text.push_str(line);
                    self.text.push('\n');
                }
            }
            Tree::Items(_) if item.is_some_and(|(_, one_line)| one_line) => {
                self.text.push(' ');
                self.text.push_str(&flow(value));
                self.end(comment);
            }
            Tree::Items(inner) => {
                self.end(comment);
                self.items(inner, indent, true, known);
            }
        }
    }

    /// Prints what stands above an item: in a list also what stands above the first item inside, which goes on its line.
    fn above(&mut self, item: &Item, indent: usize, first: bool, known: Known) {
        for (index, comment) in item.above.iter().enumerate() {
            self.comment(comment, indent, first && index == 0);
        }
        if item.spaced && !(first && item.above.is_empty()) {
            self.space();
        }
        let (mut item, mut known, mut inner_indent) = (item, known, indent);
        loop {
            let one_line = fits(item, inner_indent);
            if let Some(comment) = displaced(item, one_line) {
                self.indent(indent);
                self.end_with(comment);
            }
            let Tree::Items(inner) = &item.value else { return };
            if !item.key.is_empty() || one_line {
                return;
            }
            let Some(next) = ordered(inner, known).first().copied() else { return };
            next.above.iter().for_each(|comment| self.comment(comment, indent, true));
            (item, known, inner_indent) = (next, known.inside(&next.key), inner_indent + 2);
        }
    }

    fn comment(&mut self, comment: &Comment, indent: usize, first: bool) {
        if comment.spaced && !first {
            self.space();
        }
        self.indent(indent);
        self.end_with(&comment.text);
    }

    fn end(&mut self, comment: Option<&str>) {
        match comment {
            Some(comment) => {
                self.text.push(' ');
                self.end_with(comment);
            }
            None => self.text.push('\n'),
        }
    }

    fn end_with(&mut self, text: &str) {
        self.text.push_str(text);
        self.text.push('\n');
    }

    fn indent(&mut self, indent: usize) {
        self.text.extend(std::iter::repeat_n(' ', indent));
    }

    /// An empty line, but never two.
    fn space(&mut self) {
        if !self.text.is_empty() && !self.text.ends_with("\n\n") {
            self.text.push('\n');
        }
    }
}

/// The comment that goes on the line of the item's key or dash.
fn beside(item: &Item, one_line: bool) -> Option<&str> {
    let (first, second) = match &item.value {
        Tree::Items(_) if !one_line => (&item.beside_key, &item.beside),
        _ => (&item.beside, &item.beside_key),
    };
    first.as_deref().or(second.as_deref())
}

/// The comment that stood beside an item and has no line there any more: of two one stays.
fn displaced(item: &Item, one_line: bool) -> Option<&str> {
    let in_list = item.key.is_empty() && matches!(item.value, Tree::Items(_)) && !one_line;
    if in_list {
        return item.beside.as_deref();
    }
    match (&item.beside_key, &item.beside) {
        (Some(key), Some(value)) => Some(if matches!(item.value, Tree::Items(_)) && !one_line { value } else { key }),
        _ => None,
    }
}

/// Whether the value of an item is a collection that goes on the item's line.
fn fits(item: &Item, indent: usize) -> bool {
    match &item.value {
        Tree::Items(items) if items.items.is_empty() && items.tail.is_empty() => true,
        Tree::Items(items) if items.flow && is_flat(&item.value) => {
            let before = if item.key.is_empty() { 2 } else { item.key.chars().count() + 2 };
            indent + before + flow(&item.value).chars().count() <= WIDTH
        }
        Tree::Items(_) | Tree::Line(_) | Tree::Lines { .. } => false,
    }
}

/// Whether a value has no comment and no line break inside.
fn is_flat(value: &Tree) -> bool {
    match value {
        Tree::Line(_) => true,
        Tree::Lines { .. } => false,
        Tree::Items(Items { items, tail, .. }) => {
            let bare = |item: &Item| item.above.is_empty() && item.beside.is_none() && item.beside_key.is_none();
            tail.is_empty() && items.iter().all(|item| bare(item) && is_flat(&item.value))
        }
    }
}

/// A value on one line.
fn flow(value: &Tree) -> String {
    let Items { is_map, items, .. } = match value {
        Tree::Line(line) => return line.clone(),
        Tree::Lines { lines, .. } => return lines.join(" "),
        Tree::Items(items) => items,
    };
    let one = |item: &Item| match flow(&item.value) {
        value if item.key.is_empty() => value,
        value if value.is_empty() => item.key.clone(),
        value => format!("{}: {value}", item.key),
    };
    let all = items.iter().map(one).collect::<Vec<_>>().join(", ");
    if *is_map { format!("{{{all}}}") } else { format!("[{all}]") }
}
