//! Conditions and values in the words of rule files.

use holdgate_engine::{
    Atom, Attribute, Body, Mcp, Request, Test, Truth, Window,
    conditions::{By, Comparison, List, Literal, Order, Rate, Size, Source, Tag, ValueTest},
};
use holdgate_protocol::Json;

use crate::names;

/// The longest value that is shown, in characters.
const LONG: usize = 80;

/// What an atom looks at, and what it wants of it.
pub fn condition(atom: &Atom, negated: bool) -> (String, String) {
    let not = if negated { "not " } else { "" };
    match atom {
        Atom::Value(ValueTest { of, is }) => (name(of), format!("{not}{}", test(is))),
        Atom::Compare(Comparison { left, is, right }) => {
            let order = match is {
                Order::Eq => "equal to",
                Order::Ne => "different from",
                Order::Lt => "less than",
                Order::Lte => "at most",
                Order::Gt => "more than",
                Order::Gte => "at least",
            };
            (format!("{} and {}", name(left), name(right)), format!("the first {not}{order} the second"))
        }
        Atom::Rate(Rate { over, per, by, .. }) => {
            let whose = match by {
                By::Agent => "of the agent",
                By::Rule => "of this rule",
            };
            ("rate".into(), format!("{not}more than {over} requests {whose} in {per} s"))
        }
        Atom::Time(window) => {
            let days: Vec<String> = window.days.iter().map(|day| format!("{day:?}").to_lowercase()).collect();
            let clock = |minute: u16| format!("{:02}:{:02}", minute / 60, minute % 60);
            let within = if window.outside != negated { "outside of" } else { "within" };
            let (from, to) = (clock(window.from), clock(window.to));
            ("time".into(), format!("{within} {} {from} to {to} in {}", days.join(" "), window.zone))
        }
    }
}

/// An attribute by its name; a tag with where it comes from.
fn name(attribute: &Attribute) -> String {
    let name = names::attribute(attribute);
    match attribute {
        Attribute::Tag(Tag { source: Source::Header(header), .. }) => format!("{name} (header {header})"),
        Attribute::Tag(Tag { source: Source::Claim(claim), .. }) => format!("{name} (claim {claim})"),
        _ => name,
    }
}

fn test(test: &Test) -> String {
    match test {
        Test::Equals(value) => literal(value),
        Test::In(List::Strings(one)) if one.len() == 1 => one.iter().map(|text| quoted(text)).collect(),
        Test::In(values) => format!("one of {}", list(values)),
        Test::NotIn(values) => format!("none of {}", list(values)),
        Test::Exists(true) => "to be there".into(),
        Test::Exists(false) => "not to be there".into(),
        Test::Lt(number) => format!("less than {number}"),
        Test::Lte(number) => format!("at most {number}"),
        Test::Gt(number) => format!("more than {number}"),
        Test::Gte(number) => format!("at least {number}"),
        Test::Prefix(text) => format!("a text that starts with {}", quoted(text)),
        Test::Suffix(text) => format!("a text that ends with {}", quoted(text)),
        Test::Contains(text) => format!("a text with {} in it", quoted(text)),
        Test::Matches(pattern) => format!("a text in which `{}` matches", pattern.source()),
        Test::Glob(glob) => format!("`{glob}`"),
        Test::Template(template) => format!("`{template}`"),
        Test::Size(Size { min, max: None }) => format!("a size of at least {min}"),
        Test::Size(Size { min, max: Some(max) }) if min == max => format!("a size of {min}"),
        Test::Size(Size { min, max: Some(max) }) => format!("a size from {min} to {max}"),
        Test::Includes(value) => format!("a list with {} in it", literal(value)),
    }
}

fn literal(value: &Literal) -> String {
    match value {
        Literal::String(text) => quoted(text),
        Literal::Number(number) => format!("the number {number}"),
        Literal::Bool(value) => format!("`{value}`"),
    }
}

fn list(values: &List) -> String {
    match values {
        List::Strings(texts) => join(texts.iter().map(|text| quoted(text))),
        List::Numbers(numbers) => join(numbers.iter().map(ToString::to_string)),
    }
}

fn join(values: impl Iterator<Item = String>) -> String {
    let values: Vec<String> = values.collect();
    let shown = values.iter().take(8).cloned().collect::<Vec<_>>().join(", ");
    if values.len() > 8 { format!("{shown} and {} more", values.len() - 8) } else { shown }
}

/// A text in quotes, on one line, cut where it is long.
fn quoted(text: &str) -> String {
    let cut: String = text.chars().take(LONG).collect();
    let more = if cut.len() < text.len() { "..." } else { "" };
    format!("\"{}\"{more}", cut.escape_debug())
}

/// What a request has of an attribute.
pub fn actual(attribute: &Attribute, request: &Request<'_>) -> String {
    let text = |text: Option<&str>| text.map_or("missing".into(), quoted);
    let json = |json: Option<&Json>| json.map_or("missing".into(), value);
    let agent = request.agent;
    let fields = |fields: &[holdgate_engine::Field<'_>], name: &str| {
        let values = fields.iter().filter(|field| field.name == name);
        match join(values.map(|field| field.value.map_or("unreadable".into(), quoted))) {
            none if none.is_empty() => "missing".into(),
            values => values,
        }
    };
    match attribute {
        Attribute::Method => quoted(request.method),
        Attribute::Host => quoted(request.host),
        Attribute::Path => quoted(request.path),
        Attribute::Agent => if agent.is_some() { "there" } else { "missing" }.into(),
        Attribute::AgentId => text(agent.map(|agent| agent.id)),
        Attribute::AgentIssuer => text(agent.map(|agent| agent.iss)),
        Attribute::AgentOwner => text(agent.and_then(|agent| agent.owner)),
        Attribute::Claim(pointer) | Attribute::Tag(Tag { source: Source::Claim(pointer), .. }) => {
            json(agent.and_then(|agent| agent.claims.at(pointer)))
        }
        Attribute::Body(pointer) => match request.body {
            Body::Unread => "unreadable".into(),
            Body::Empty => "missing".into(),
            Body::Json(body) => json(body.at(pointer)),
        },
        Attribute::Query(name) => fields(request.query, name),
        Attribute::Header(name) | Attribute::Tag(Tag { source: Source::Header(name), .. }) => {
            fields(request.headers, name)
        }
        Attribute::McpMethod | Attribute::McpTool | Attribute::McpArg(_) => match (request.mcp, attribute) {
            (Mcp::None, _) => "no MCP message".into(),
            (Mcp::Unread, _) => "unreadable".into(),
            (Mcp::Tool(_), Attribute::McpMethod) => quoted("tools/call"),
            (Mcp::Tool(_), Attribute::McpArg(_)) => "not known".into(),
            (Mcp::Tool(tool), _) => quoted(tool),
            (Mcp::Message { method, .. }, Attribute::McpMethod) => quoted(method),
            (Mcp::Message { method: "tools/call", args, .. }, Attribute::McpArg(pointer)) => {
                json(args.and_then(|args| args.at(pointer)))
            }
            (Mcp::Message { method: "tools/call", tool, .. }, _) => text(tool),
            (Mcp::Message { method, .. }, _) => format!("no tool call, but {}", quoted(method)),
        },
    }
}

fn value(json: &Json) -> String {
    match json {
        Json::Null => "`null`".into(),
        Json::Bool(value) => format!("`{value}`"),
        Json::Number(number) => format!("the number {}", number.as_str()),
        Json::String(text) => quoted(text),
        Json::Array(items) => format!("a list of {}", items.len()),
        Json::Object(members) => format!("a map of {}", members.iter().count()),
    }
}

pub(super) fn time(window: &Window, time: Option<i64>) -> String {
    let Some(time) = time else { return "not known".into() };
    match (window.truth(Some(time)), local(window, time)) {
        (Truth::Unknown | Truth::Pending, _) | (_, None) => {
            let moment = jiff::Timestamp::from_second(time).map_or_else(|_| time.to_string(), |time| time.to_string());
            format!("{moment}, for which the zone has no offset")
        }
        (truth, Some(local)) => {
            let outside = (truth == Truth::True) == window.outside;
            format!("{local} in {}, which is {}", window.zone, if outside { "outside of it" } else { "within it" })
        }
    }
}

/// The weekday, date and time that clocks of the zone show.
fn local(window: &Window, time: i64) -> Option<String> {
    let offset = window.offsets.iter().rev().find(|offset| offset.from <= time)?;
    let offset = jiff::tz::Offset::from_seconds(offset.seconds).ok()?;
    let local = offset.to_datetime(jiff::Timestamp::from_second(time).ok()?);
    Some(local.strftime("%A %Y-%m-%d %H:%M:%S").to_string())
}

/// `first`, `second`, `21st`.
pub(super) fn ordinal(number: u64) -> String {
    let ending = match (number % 10, number % 100) {
        _ if number == 1 => return "first".into(),
        _ if number == 2 => return "second".into(),
        _ if number == 3 => return "third".into(),
        (1, rest) if rest != 11 => "st",
        (2, rest) if rest != 12 => "nd",
        (3, rest) if rest != 13 => "rd",
        _ => "th",
    };
    format!("{number}{ending}")
}
