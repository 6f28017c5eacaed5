//! One layout for rule files: `holdgate fmt`.
//!
//! The formatter moves white space, and the keys of a few well-known maps; it never touches a value or a comment. What
//! comes out is read again and compared with what went in. Where the two differ, nothing comes out.

mod layout;
mod print;

use std::collections::BTreeMap;

use serde_saphyr::granit_parser::{Event, Parser};

use crate::{
    diagnostic::{Diagnostic, Findings, Source},
    node::{self, Node, Value},
};

/// Why a file is not formatted.
#[derive(Clone, Debug, PartialEq)]
pub enum FormatError {
    /// It is not a tree of keys and values that has one reading.
    Mistakes(Vec<Diagnostic>),
    /// It is laid out in a way that the formatter cannot keep the meaning or the comments of.
    NotKept,
}

/// Lays out the text of a rule file: two spaces for each level, one space inside of lists and maps, at most one empty line
/// in a row, keys of rules and tests in the order of the reference. Formatting twice changes nothing.
///
/// JSON, and whatever else has its outermost map in braces, stays as it is.
pub fn format(name: &str, bytes: &[u8]) -> Result<String, FormatError> {
    let text = node::decode(name, bytes).map_err(|finding| FormatError::Mistakes(vec![finding]))?;
    let text = text.strip_prefix('\u{feff}').unwrap_or(text).replace("\r\n", "\n");
    let before = tree(name, &text).map_err(FormatError::Mistakes)?;
    let layout = layout::read(&text).ok_or(FormatError::NotKept)?;
    if layout.root.is_flow() {
        return Ok(text);
    }
    let formatted = print::print(&layout);
    let kept =
        tree(name, &formatted).is_ok_and(|after| same(&before, &after)) && comments(&formatted) == comments(&text);
    if kept { Ok(formatted) } else { Err(FormatError::NotKept) }
}

fn tree(name: &str, text: &str) -> Result<Node, Vec<Diagnostic>> {
    let source = Source::new(name, text);
    let mut findings = Findings::new(&source);
    match node::parse(&source, &mut findings) {
        Some(node) if findings.count() == 0 => Ok(node),
        _ => Err(findings.finish()),
    }
}

/// Whether two trees mean the same: maps have no order.
fn same(a: &Node, b: &Node) -> bool {
    match (&a.value, &b.value) {
        (Value::Scalar { text: a, plain }, Value::Scalar { text: b, plain: other }) => a == b && plain == other,
        (Value::List(a), Value::List(b)) => a.len() == b.len() && a.iter().zip(b).all(|(a, b)| same(a, b)),
        (Value::Map(a), Value::Map(b)) => {
            let twin = |member: &node::Member| b.iter().find(|other| other.key == member.key);
            a.len() == b.len()
                && a.iter().all(|member| twin(member).is_some_and(|twin| same(&member.value, &twin.value)))
        }
        _ => false,
    }
}

/// Every comment with the number of times that it stands there.
fn comments(text: &str) -> BTreeMap<String, usize> {
    let mut comments = BTreeMap::new();
    for event in Parser::new_from_str(text) {
        if let Ok((Event::Comment(comment, _), _)) = event {
            *comments.entry(comment.trim_end().to_owned()).or_default() += 1;
        }
    }
    comments
}
