//! Value tests: a plain value, or a map of operators.

use holdgate_engine::{
    Glob, Test,
    conditions::{List, Literal},
};

use crate::{
    codes::Code,
    diagnostic::{Quoted, Span},
    node::{Node, Value},
    reader::{Reader, Scalar},
    shape::{Key, Kind, Shape},
};

pub(crate) const VALUE: Shape = Shape {
    what: "a value's tests",
    keys: &[
        Key::optional("equals", Kind::Literal, "The value is this one."),
        Key::optional("in", Kind::Filled(&Kind::Literal), "The value is one of the list: all texts or all numbers."),
        Key::optional("notIn", Kind::Filled(&Kind::Literal), "The value has the list's type and is none of the list."),
        Key::optional("exists", Kind::Bool, "Whether the value is there; null is there."),
        Key::optional("lt", Kind::Number, "The value is a number below this one."),
        Key::optional("lte", Kind::Number, "The value is a number of at most this one."),
        Key::optional("gt", Kind::Number, "The value is a number above this one."),
        Key::optional("gte", Kind::Number, "The value is a number of at least this one."),
        Key::optional("prefix", Kind::Text, "The value is a text with this start."),
        Key::optional("suffix", Kind::Text, "The value is a text with this end."),
        Key::optional("contains", Kind::Text, "The value is a text in which this one occurs."),
        Key::optional(
            "matches",
            Kind::Text,
            "The value is a text of which a part matches this regular expression (RE2).",
        ),
    ],
    later: &[],
};

/// What kind of attribute a test is about.
#[derive(Clone, Copy, PartialEq)]
pub(super) enum Of {
    /// Any JSON value, or a text of the wire that may be read as one.
    Any,
    /// A text that may be missing.
    Text,
    /// The host: a text in lower case that is always there.
    Host,
    /// The name of an MCP tool: a plain text may have stars.
    Tool,
}

/// Reads the tests of one attribute, each with the place of its operator or, for a plain value, of the attribute.
pub(super) fn read_value(reader: &mut Reader<'_>, node: &Node, key: Span, of: Of) -> Vec<(Test, Span)> {
    match &node.value {
        Value::Scalar { text, .. } if of == Of::Tool && text.contains('*') => {
            vec![(Test::Glob(Glob::from(text.clone())), key)]
        }
        Value::Scalar { .. } => {
            read_literal(reader, node, of).map(|literal| (Test::Equals(literal), key)).into_iter().collect()
        }
        Value::List(_) => {
            let help = "write `{in: [...]}` for one of several values";
            let message = "a value cannot be compared with a list";
            reader.error_with_help::<()>(node.span, Code::NotComparable, message, help);
            Vec::new()
        }
        Value::Map(_) => {
            let Some(fields) = reader.fields(node, &VALUE) else { return Vec::new() };
            if fields.is_empty() {
                let help = "write a value, or an operator such as `{exists: true}`";
                reader.error_with_help::<()>(node.span, Code::NoCondition, "a condition without an operator", help);
            }
            let operators = VALUE.keys.iter().filter_map(|key| Some((key.name, fields.get(key.name)?)));
            operators
                .filter_map(|(operator, node)| Some((read_test(reader, operator, node, of)?, fields.at(operator))))
                .collect()
        }
    }
}

fn read_test(reader: &mut Reader<'_>, operator: &str, node: &Node, of: Of) -> Option<Test> {
    if of == Of::Host && operator == "exists" {
        return reader.error(node.span, Code::AlwaysThere, "every request has a host; remove `exists`");
    }
    match operator {
        "equals" => read_literal(reader, node, of).map(Test::Equals),
        "in" => read_list(reader, node, of).map(Test::In),
        "notIn" => read_list(reader, node, of).map(Test::NotIn),
        "exists" => reader.bool(node, "`exists`").map(Test::Exists),
        "prefix" => read_text(reader, node, operator, of).map(Test::Prefix),
        "suffix" => read_text(reader, node, operator, of).map(Test::Suffix),
        "contains" => read_text(reader, node, operator, of).map(Test::Contains),
        "matches" => {
            let source = reader.text(node, "`matches`")?;
            reader.pattern(&source, node.span).map(Test::Matches)
        }
        _ if of != Of::Any => {
            let message = format!("`{operator}` compares numbers, and this attribute is a text");
            let help = "compare a text with `equals`, `in`, `notIn`, `prefix`, `suffix`, `contains` or `matches`";
            reader.error_with_help(node.span, Code::TextAttribute, message, help)
        }
        _ => {
            let Scalar::Number(limit) = reader.scalar(node, &format!("`{operator}`"))? else {
                return reader.wrong(node.span, format!("`{operator}` compares with a number"));
            };
            Some(match operator {
                "lt" => Test::Lt(limit),
                "lte" => Test::Lte(limit),
                "gt" => Test::Gt(limit),
                _ => Test::Gte(limit),
            })
        }
    }
}

fn read_text(reader: &mut Reader<'_>, node: &Node, operator: &str, of: Of) -> Option<String> {
    let text = reader.text(node, &format!("`{operator}`"))?;
    Some(if of == Of::Host { text.to_lowercase() } else { text })
}

fn read_literal(reader: &mut Reader<'_>, node: &Node, of: Of) -> Option<Literal> {
    let literal = match reader.scalar(node, "a value")? {
        Scalar::Text(text) if of == Of::Host && has_port(&text) => {
            let message = match text.split_once("://") {
                Some((scheme, _)) => {
                    format!("a host is compared without its scheme; leave out `{scheme}://` of {}", Quoted(&text))
                }
                None => format!("a host is compared without its port; leave out the port of {}", Quoted(&text)),
            };
            return reader.error(node.span, Code::HostWithPort, message);
        }
        Scalar::Null => {
            let help = "ask whether the value is there with `{exists: true}` or `{exists: false}`";
            let message = "nothing can be compared with null";
            return reader.error_with_help(node.span, Code::NotComparable, message, help);
        }
        Scalar::Text(text) if of == Of::Host => Literal::String(text.to_lowercase()),
        Scalar::Text(text) => Literal::String(text),
        Scalar::Number(number) => Literal::Number(number),
        Scalar::Bool(value) => Literal::Bool(value),
    };
    if of != Of::Any && !matches!(literal, Literal::String(_)) {
        let help = "put the value in quotes";
        return reader.error_with_help(node.span, Code::TextAttribute, "this attribute is a text", help);
    }
    Some(literal)
}

fn read_list(reader: &mut Reader<'_>, node: &Node, of: Of) -> Option<List> {
    let items = reader.filled_list(node, "a list of values")?;
    let (mut strings, mut numbers) = (Vec::new(), Vec::new());
    for item in items {
        match read_literal(reader, item, of)? {
            Literal::String(text) => strings.push(text),
            Literal::Number(number) => numbers.push(number),
            Literal::Bool(_) => {
                let help = "`true` and `false` are compared with `equals`";
                let message = "a list of values has texts or numbers";
                return reader.error_with_help(item.span, Code::MixedList, message, help);
            }
        }
    }
    match (strings.is_empty(), numbers.is_empty()) {
        (false, true) => Some(List::strings(strings)),
        (true, false) => Some(List::numbers(numbers)),
        _ => {
            let help = "write two entries of `match`, or put the numbers in quotes if they are texts";
            let message = "a list of values has one type: all texts or all numbers";
            reader.error_with_help(node.span, Code::MixedList, message, help)
        }
    }
}

/// An IPv6 address has its colons in brackets.
fn has_port(host: &str) -> bool {
    host.rsplit_once(']').map_or(host, |(_, port)| port).contains(':')
}
