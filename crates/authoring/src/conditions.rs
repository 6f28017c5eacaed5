//! `match` to compiled conditions.

use holdgate_engine::{
    Atom, Attribute, Conditions, Template, Test,
    conditions::{List, Literal, ValueTest},
};
use holdgate_protocol::Pointer;

use crate::{
    node::{Member, Node, Value},
    reader::{Reader, Scalar, Shape, describe},
};

const ENTRY: Shape =
    Shape { what: "an entry of `match`", keys: &["agent", "http", "body"], later: &["mcp", "tags", "rate", "time"] };
const HTTP: Shape = Shape { what: "`http`", keys: &["methods", "host", "path"], later: &["headers", "query"] };
const AGENT: Shape = Shape { what: "`agent`", keys: &["exists", "id", "issuer", "owner", "claims"], later: &[] };
const VALUE: Shape = Shape {
    what: "a value's tests",
    keys: &["equals", "in", "notIn", "exists", "lt", "lte", "gt", "gte", "prefix", "suffix", "contains"],
    later: &["matches"],
};

/// What kind of attribute a value condition is about.
#[derive(Clone, Copy, PartialEq)]
enum Kind {
    /// Any JSON value.
    Any,
    /// A text that may be missing.
    Text,
    /// The host: a text in lower case that is always there.
    Host,
}

/// Reads the list of entries. The order of atoms does not depend on the order of keys.
pub(crate) fn read(reader: &mut Reader<'_>, node: &Node) -> Option<Conditions> {
    let entries = reader.filled_list(node, "`match`")?;
    let any: Vec<_> = entries.iter().map(|entry| read_entry(reader, entry)).collect();
    Some(Conditions { any: any.into_iter().collect::<Option<_>>()?, when: None })
}

fn read_entry(reader: &mut Reader<'_>, node: &Node) -> Option<Vec<Atom>> {
    let before = reader.problems.len();
    let fields = reader.fields(node, &ENTRY)?;
    let mut atoms = Vec::new();
    if let Some(http) = fields.get("http") {
        read_http(reader, http, &mut atoms);
    }
    if let Some(agent) = fields.get("agent") {
        read_agent(reader, agent, &mut atoms);
    }
    if let Some(body) = fields.get("body") {
        for Member { key, at, value } in reader.members(body, "`body`").unwrap_or_default() {
            let tests = read_value(reader, value, Kind::Any);
            if let Some(pointer) = reader.pointer(key, *at) {
                atoms.extend(tests.into_iter().map(|is| test(Attribute::Body(pointer.clone()), is)));
            }
        }
    }
    if reader.problems.len() > before {
        return None;
    }
    if atoms.is_empty() {
        let help = "name what it matches; `http: {path: /**}` is every request";
        return reader.error_with_help(node.span, "an entry of `match` without a condition".into(), help);
    }
    Some(atoms)
}

fn read_http(reader: &mut Reader<'_>, node: &Node, atoms: &mut Vec<Atom>) -> Option<()> {
    let fields = reader.fields(node, &HTTP)?;
    if let Some(methods) = fields.get("methods") {
        let methods = read_methods(reader, methods);
        atoms.extend(methods.map(|methods| test(Attribute::Method, Test::In(List::strings(methods)))));
    }
    if let Some(path) = fields.get("path") {
        let template = read_template(reader, path);
        atoms.extend(template.map(|template| test(Attribute::Path, Test::Template(template))));
    }
    if let Some(host) = fields.get("host") {
        atoms.extend(read_value(reader, host, Kind::Host).into_iter().map(|is| test(Attribute::Host, is)));
    }
    if fields.is_empty() { reader.error(node.span, "`http` is empty") } else { Some(()) }
}

fn test(of: Attribute, is: Test) -> Atom {
    Atom::Value(ValueTest { of, is })
}

fn read_methods(reader: &mut Reader<'_>, node: &Node) -> Option<Vec<String>> {
    let items = reader.filled_list(node, "`methods`")?;
    let mut methods = Vec::new();
    for item in items {
        let Some(method) = reader.text(item, "a method") else { continue };
        // What the canonical form of a request allows; `*` would look like "any" and match nothing.
        let upper = |byte: u8| byte.is_ascii_uppercase() || byte == b'-';
        if !method.bytes().all(upper) {
            let help = "write a method in upper case, such as `POST`; leave out `methods` to match every method";
            reader.error_with_help::<()>(item.span, format!("`{method}` is not a method"), help);
        } else if methods.contains(&method) {
            reader.error::<()>(item.span, format!("the method `{method}` stands there twice"));
        } else {
            methods.push(method);
        }
    }
    (methods.len() == items.len()).then_some(methods)
}

fn read_template(reader: &mut Reader<'_>, node: &Node) -> Option<Template> {
    let text = match &node.value {
        Value::Scalar { text, .. } => text,
        // `path: {user}` without quotes is a map.
        other => {
            let help = "put a path template in quotes if it starts with `{` or `*`";
            return reader.error_with_help(node.span, format!("`path` must be a text, not {}", describe(other)), help);
        }
    };
    match text.parse() {
        Ok(template) => Some(template),
        Err(error) => reader.error(node.span, format!("`{text}` is not a path template: {error}")),
    }
}

fn read_agent(reader: &mut Reader<'_>, node: &Node, atoms: &mut Vec<Atom>) -> Option<()> {
    let fields = reader.fields(node, &AGENT)?;
    if let Some(exists) = fields.get("exists") {
        atoms.extend(reader.bool(exists, "`exists`").map(|exists| test(Attribute::Agent, Test::Exists(exists))));
    }
    for (key, of) in [("id", Attribute::AgentId), ("issuer", Attribute::AgentIssuer), ("owner", Attribute::AgentOwner)]
    {
        let tests = fields.get(key).map(|value| read_value(reader, value, Kind::Text)).unwrap_or_default();
        atoms.extend(tests.into_iter().map(|is| test(of.clone(), is)));
    }
    if let Some(claims) = fields.get("claims") {
        for Member { key, value: node, .. } in reader.members(claims, "`claims`")? {
            let tests = read_value(reader, node, Kind::Any);
            let claim = Attribute::Claim(Pointer::of([key]));
            atoms.extend(tests.into_iter().map(|is| test(claim.clone(), is)));
        }
    }
    if fields.is_empty() { reader.error(node.span, "`agent` is empty") } else { Some(()) }
}

/// A plain value (equals) or a map of operators, each of which is a test of its own.
fn read_value(reader: &mut Reader<'_>, node: &Node, kind: Kind) -> Vec<Test> {
    match &node.value {
        Value::Scalar { .. } => read_literal(reader, node, kind).map(Test::Equals).into_iter().collect(),
        Value::List(_) => {
            let help = "write `{in: [...]}` for one of several values";
            reader.error_with_help::<()>(node.span, "a value cannot be compared with a list".into(), help);
            Vec::new()
        }
        Value::Map(_) => {
            let Some(fields) = reader.fields(node, &VALUE) else { return Vec::new() };
            if fields.is_empty() {
                reader.error::<()>(node.span, "a condition without an operator");
            }
            let operators = VALUE.keys.iter().filter_map(|key| Some((*key, fields.get(key)?)));
            operators.filter_map(|(operator, node)| read_test(reader, operator, node, kind)).collect()
        }
    }
}

fn read_test(reader: &mut Reader<'_>, operator: &str, node: &Node, kind: Kind) -> Option<Test> {
    if kind == Kind::Host && operator == "exists" {
        return reader.error(node.span, "every request has a host; remove `exists`");
    }
    match operator {
        "equals" => read_literal(reader, node, kind).map(Test::Equals),
        "in" => read_list(reader, node, kind).map(Test::In),
        "notIn" => read_list(reader, node, kind).map(Test::NotIn),
        "exists" => reader.bool(node, "`exists`").map(Test::Exists),
        "prefix" => read_text(reader, node, operator, kind).map(Test::Prefix),
        "suffix" => read_text(reader, node, operator, kind).map(Test::Suffix),
        "contains" => read_text(reader, node, operator, kind).map(Test::Contains),
        _ if kind != Kind::Any => {
            reader.error(node.span, format!("`{operator}` compares numbers, and this attribute is a text"))
        }
        _ => {
            let Scalar::Number(limit) = reader.scalar(node, &format!("`{operator}`"))? else {
                return reader.error(node.span, format!("`{operator}` compares with a number"));
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

fn read_text(reader: &mut Reader<'_>, node: &Node, operator: &str, kind: Kind) -> Option<String> {
    let text = reader.text(node, &format!("`{operator}`"))?;
    Some(if kind == Kind::Host { text.to_lowercase() } else { text })
}

fn read_literal(reader: &mut Reader<'_>, node: &Node, kind: Kind) -> Option<Literal> {
    let literal = match reader.scalar(node, "a value")? {
        Scalar::Text(text) if kind == Kind::Host && has_port(&text) => {
            return reader
                .error(node.span, format!("a host is compared without its port; leave out the port of `{text}`"));
        }
        Scalar::Null => {
            let help = "ask whether the value is there with `{exists: true}` or `{exists: false}`";
            return reader.error_with_help(node.span, "nothing can be compared with null".into(), help);
        }
        Scalar::Text(text) if kind == Kind::Host => Literal::String(text.to_lowercase()),
        Scalar::Text(text) => Literal::String(text),
        Scalar::Number(number) => Literal::Number(number),
        Scalar::Bool(value) => Literal::Bool(value),
    };
    if kind != Kind::Any && !matches!(literal, Literal::String(_)) {
        let help = "put the value in quotes";
        return reader.error_with_help(node.span, "this attribute is a text".into(), help);
    }
    Some(literal)
}

fn read_list(reader: &mut Reader<'_>, node: &Node, kind: Kind) -> Option<List> {
    let items = reader.filled_list(node, "a list of values")?;
    let (mut strings, mut numbers) = (Vec::new(), Vec::new());
    for item in items {
        match read_literal(reader, item, kind)? {
            Literal::String(text) => strings.push(text),
            Literal::Number(number) => numbers.push(number),
            Literal::Bool(_) => return reader.error(item.span, "a list of values has texts or numbers"),
        }
    }
    match (strings.is_empty(), numbers.is_empty()) {
        (false, true) => Some(List::strings(strings)),
        (true, false) => Some(List::numbers(numbers)),
        _ => {
            let help = "write two entries of `match`, or put the numbers in quotes if they are texts";
            reader.error_with_help(node.span, "a list of values has one type: all texts or all numbers".into(), help)
        }
    }
}

/// An IPv6 address has its colons in brackets.
fn has_port(host: &str) -> bool {
    host.rsplit_once(']').map_or(host, |(_, port)| port).contains(':')
}
