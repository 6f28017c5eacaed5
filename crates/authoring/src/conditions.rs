//! `match` and `when` to compiled conditions.

use std::collections::BTreeSet;

use holdgate_engine::{
    Atom, Attribute, Conditions, MAX_STEPS, Template, TemplateError, Test,
    conditions::{List, Order, ValueTest},
};
use holdgate_protocol::{Pointer, bundle::Effect};

use crate::{
    codes::Code,
    diagnostic::{Quoted, Span},
    node::{Member, Node, Value},
    reader::{Reader, describe},
    rule::EntryPlaces,
    shape::{Key, Kind, Shape},
    tags::{self, Tags},
};

mod circumstances;
mod values;
mod when;

pub(crate) use values::VALUE;
use values::{Of, read_value};

pub(crate) const ENTRY: Shape = Shape {
    what: "an entry of `match`",
    keys: &[
        Key::optional("http", Kind::Map(&HTTP), "The request's method, host, path, query and headers."),
        Key::optional("agent", Kind::Map(&AGENT), "The verified agent."),
        Key::optional("mcp", Kind::Map(&MCP), "The message to an MCP server."),
        Key::optional("body", Kind::Pointers(&Kind::Value), "Parts of the JSON body by pointer."),
        Key::optional(
            "tags",
            Kind::Each(&Kind::Value),
            "What is said about the request, such as a model's confidence.",
        ),
        Key::optional("rate", Kind::Map(&circumstances::RATE), "More requests than so many in a time."),
        Key::optional("time", Kind::Map(&circumstances::TIME), "Hours of some days of the week."),
    ],
    later: &[],
};
const HTTP: Shape = Shape {
    what: "`http`",
    keys: &[
        Key::optional("methods", Kind::Filled(&Kind::Text), "The method is one of these, in upper case."),
        Key::optional("path", Kind::Text, "A path template: `/users/{user}`, `/files/*.json`, `/iam/**`."),
        Key::optional("host", Kind::Value, "The host without its port."),
        Key::optional("query", Kind::Each(&Kind::Value), "Parameters of the query by name."),
        Key::optional("headers", Kind::Each(&Kind::Value), "Headers by name."),
    ],
    later: &[],
};
const AGENT: Shape = Shape {
    what: "`agent`",
    keys: &[
        Key::optional("exists", Kind::Bool, "Whether the request has a verified agent."),
        Key::optional(
            "id",
            Kind::Value,
            "The agent's id: the current actor of a delegation, else the token's subject.",
        ),
        Key::optional("issuer", Kind::Value, "The issuer of that id."),
        Key::optional("owner", Kind::Value, "The accountable owner."),
        Key::optional("claims", Kind::Each(&Kind::Value), "Claims of the verified token by name."),
    ],
    later: &[],
};
const MCP: Shape = Shape {
    what: "`mcp`",
    keys: &[
        Key::optional("method", Kind::Value, "The JSON-RPC method, such as `tools/call`."),
        Key::optional(
            "tool",
            Kind::Value,
            "The tool that is called; a plain text may have `*` for any run of characters.",
        ),
        Key::optional("args", Kind::Pointers(&Kind::Value), "Parts of the tool's arguments by pointer."),
    ],
    later: &[],
};

/// An entry of `match`, in canonical order.
pub(crate) struct Entry {
    pub(crate) span: Span,
    /// Each with the key that says it.
    pub(crate) atoms: Vec<(Atom, Span)>,
}

/// Reads `match` and `when`, and where their parts stand.
pub(crate) fn read(
    reader: &mut Reader<'_>,
    entries: Option<&Node>,
    when: Option<&Node>,
    effect: Option<Effect>,
    tags: &mut Tags,
) -> Option<(Conditions, Vec<EntryPlaces>)> {
    let before = reader.found();
    let expression = when.map(|node| (node.span, when::read(reader, node, tags)));
    let nodes = reader.filled_list(entries?, "`match`")?;
    too_many(reader, entries?.span, nodes.len())?;
    let mut entries = Vec::with_capacity(nodes.len());
    for entry in nodes {
        if reader.is_full() {
            return None;
        }
        entries.extend(read_entry(reader, entry, tags));
    }
    if entries.len() < nodes.len() {
        return None;
    }
    let mut rest = None;
    if let Some((span, found)) = expression {
        let (atoms, more) = found?;
        // What must be true anyhow stands in every entry, where the index and the proofs see it.
        let steps = entries.iter().map(|entry| entry.atoms.len() + atoms.len()).sum();
        too_many(reader, span, steps)?;
        for entry in &mut entries {
            entry.atoms.extend(atoms.iter().cloned().map(|atom| (atom, span)));
            sort(&mut entry.atoms);
        }
        rest = more;
    }
    if effect == Some(Effect::Allow) {
        let atoms = entries.iter().flat_map(|entry| &entry.atoms).map(|(atom, at)| (atom, *at));
        let more = rest.iter().zip(when).flat_map(|(rest, node)| rest.atoms().map(|atom| (atom, node.span)));
        let asserted: BTreeSet<(Span, String)> = atoms.chain(more).filter_map(asserted_tag).collect();
        for (at, name) in asserted {
            allow_on_tag(reader, &name, at);
        }
    }
    let places = entries
        .iter()
        .map(|entry| EntryPlaces { span: entry.span, atoms: entry.atoms.iter().map(|(_, at)| *at).collect() });
    let places = places.collect();
    let any = entries.into_iter().map(|entry| entry.atoms.into_iter().map(|(atom, _)| atom).collect()).collect();
    let conditions = Conditions { any, when: rest };
    if effect != Some(Effect::Allow) && !conditions.asks_for_mcp_in_entries() {
        let at = when.map_or(nodes.first()?.span, |node| node.span);
        let message = "`when` asks for MCP, and an entry of `match` does not";
        let help = "say which messages the rule is about: `mcp: {tool: \"*\"}` in each entry for the calls of tools, \
                    `mcp: {method: {exists: true}}` for all messages";
        return reader.error_with_help(at, Code::McpInWhen, message, help);
    }
    too_many(reader, nodes.first()?.span, conditions.steps())?;
    (reader.found() == before).then_some((conditions, places))
}

fn too_many(reader: &mut Reader<'_>, at: Span, steps: usize) -> Option<()> {
    if steps <= MAX_STEPS {
        return Some(());
    }
    let message =
        format!("the rule has {steps} tests or more, those of `when` once for each entry; the most is {MAX_STEPS}");
    reader.error_with_help(at, Code::TooLarge, message, "divide it into several rules")
}

fn asserted_tag((atom, at): (&Atom, Span)) -> Option<(Span, String)> {
    atom.attributes().find_map(|attribute| match attribute {
        Attribute::Tag(tag) if attribute.is_asserted() => Some((at, tag.name.clone())),
        _ => None,
    })
}

fn allow_on_tag(reader: &mut Reader<'_>, name: &str, at: Span) {
    let message = format!("an `allow` cannot rest on the tag `{name}`: it is a header, and the agent may lie in it");
    let help = format!(
        "hold or deny by it, or take the tag from a claim of the verified token: `tags: {{{name}: {{claim: {name}}}}}`"
    );
    reader.error_with_help::<()>(at, Code::AllowOnAssertedTag, message, help);
}

/// Reads one entry; neither the order of keys nor that of members matters.
pub(crate) fn read_entry(reader: &mut Reader<'_>, node: &Node, tags: &mut Tags) -> Option<Entry> {
    let before = reader.found();
    let fields = reader.fields(node, &ENTRY)?;
    let mut atoms = Vec::new();
    if let Some(http) = fields.get("http") {
        read_http(reader, http, &mut atoms);
    }
    if let Some(agent) = fields.get("agent") {
        read_agent(reader, agent, &mut atoms);
    }
    if let Some(mcp) = fields.get("mcp") {
        read_mcp(reader, mcp, &mut atoms);
    }
    if let Some(body) = fields.get("body") {
        read_pointers(reader, body, "`body`", Attribute::Body, &mut atoms);
    }
    if let Some(node) = fields.get("tags") {
        for Member { key, at, value } in reader.members(node, "`tags`").unwrap_or_default() {
            let source = tags.source(reader, key, *at);
            let tests = read_value(reader, value, *at, Of::Any);
            let Some(source) = source else { continue };
            atoms.extend(tests.into_iter().map(|(is, at)| (test(tags::attribute(key, source.clone()), is), at)));
        }
    }
    if let Some(rate) = fields.get("rate") {
        let rate = circumstances::read_rate(reader, rate);
        atoms.extend(rate.map(|rate| (Atom::Rate(rate), fields.at("rate"))));
    }
    if let Some(time) = fields.get("time") {
        let window = circumstances::read_time(reader, time);
        atoms.extend(window.map(|window| (Atom::Time(window), fields.at("time"))));
    }
    if reader.found() > before {
        return None;
    }
    if atoms.is_empty() {
        let help = "name what it matches; `http: {path: /**}` is every request";
        let message = "an entry of `match` without a condition";
        return reader.error_with_help(node.span, Code::NoCondition, message, help);
    }
    sort(&mut atoms);
    Some(Entry { span: node.span, atoms })
}

type Atoms = Vec<(Atom, Span)>;

fn read_http(reader: &mut Reader<'_>, node: &Node, atoms: &mut Atoms) -> Option<()> {
    let fields = reader.fields(node, &HTTP)?;
    if let Some(methods) = fields.get("methods") {
        let methods = read_methods(reader, methods);
        let is_one = |methods| (test(Attribute::Method, Test::In(List::strings(methods))), fields.at("methods"));
        atoms.extend(methods.map(is_one));
    }
    if let Some(path) = fields.get("path") {
        let template = read_template(reader, path);
        atoms.extend(template.map(|template| (test(Attribute::Path, Test::Template(template)), fields.at("path"))));
    }
    if let Some(host) = fields.get("host") {
        let tests = read_value(reader, host, fields.at("host"), Of::Host);
        atoms.extend(tests.into_iter().map(|(is, at)| (test(Attribute::Host, is), at)));
    }
    if let Some(query) = fields.get("query") {
        for Member { key, at, value } in reader.members(query, "`query`").unwrap_or_default() {
            let tests = read_value(reader, value, *at, Of::Any);
            atoms.extend(tests.into_iter().map(|(is, at)| (test(Attribute::Query(key.clone()), is), at)));
        }
    }
    if let Some(headers) = fields.get("headers") {
        for Member { key, at, value } in reader.members(headers, "`headers`").unwrap_or_default() {
            let tests = read_value(reader, value, *at, Of::Any);
            let Some(name) = tags::read_header(reader, key, *at) else { continue };
            atoms.extend(tests.into_iter().map(|(is, at)| (test(Attribute::Header(name.clone()), is), at)));
        }
    }
    not_empty(reader, fields.is_empty(), node, "http")
}

fn test(of: Attribute, is: Test) -> Atom {
    Atom::Value(ValueTest { of, is })
}

fn not_empty(reader: &mut Reader<'_>, empty: bool, node: &Node, key: &str) -> Option<()> {
    if !empty {
        return Some(());
    }
    let help = format!("say what it must be, or leave `{key}` out");
    reader.error_with_help(node.span, Code::NoCondition, format!("`{key}` is empty"), help)
}

fn read_methods(reader: &mut Reader<'_>, node: &Node) -> Option<Vec<String>> {
    let items = reader.filled_list(node, "`methods`")?;
    let mut methods = BTreeSet::new();
    for item in items {
        let Some(method) = reader.text(item, "a method") else { continue };
        // What the canonical form of a request allows; `*` would look like "any" and match nothing.
        let upper = |byte: u8| byte.is_ascii_uppercase() || byte == b'-';
        if !method.bytes().all(upper) {
            let help = "write a method in upper case, such as `POST`; leave out `methods` to match every method";
            let message = format!("{} is not a method", Quoted(&method));
            reader.error_with_help::<()>(item.span, Code::NotAMethod, message, help);
        } else if !methods.insert(method.clone()) {
            let message = format!("the method {} stands there twice", Quoted(&method));
            reader.error::<()>(item.span, Code::Repeated, message);
        }
    }
    (methods.len() == items.len()).then(|| methods.into_iter().collect())
}

fn read_template(reader: &mut Reader<'_>, node: &Node) -> Option<Template> {
    let text = match &node.value {
        Value::Scalar { text, .. } => text,
        // `path: {user}` without quotes is a map.
        other => {
            let help = "put a path template in quotes if it starts with `{` or `*`";
            let message = format!("`path` must be a text, not {}", describe(other));
            return reader.error_with_help(node.span, Code::WrongType, message, help);
        }
    };
    let error = match text.parse() {
        Ok(template) => return Some(template),
        Err(error) => error,
    };
    let message = format!("{} is not a path template: {error}", Quoted(text));
    match error {
        TemplateError::RestNotLast => {
            let help = "write `*` or `{name}` for one segment, and end the template with the `**`";
            reader.error_with_help(node.span, Code::RestNotLast, message, help)
        }
        _ => reader.error(node.span, Code::NotATemplate, message),
    }
}

fn read_agent(reader: &mut Reader<'_>, node: &Node, atoms: &mut Atoms) -> Option<()> {
    let fields = reader.fields(node, &AGENT)?;
    if let Some(exists) = fields.get("exists") {
        let is = reader.bool(exists, "`exists`").map(Test::Exists);
        atoms.extend(is.map(|is| (test(Attribute::Agent, is), fields.at("exists"))));
    }
    for (key, of) in [("id", Attribute::AgentId), ("issuer", Attribute::AgentIssuer), ("owner", Attribute::AgentOwner)]
    {
        let tests = fields.get(key).map(|value| read_value(reader, value, fields.at(key), Of::Text));
        atoms.extend(tests.into_iter().flatten().map(|(is, at)| (test(of.clone(), is), at)));
    }
    if let Some(claims) = fields.get("claims") {
        for Member { key, at, value } in reader.members(claims, "`claims`").unwrap_or_default() {
            let claim = Attribute::Claim(Pointer::of([key]));
            let tests = read_value(reader, value, *at, Of::Any);
            atoms.extend(tests.into_iter().map(|(is, at)| (test(claim.clone(), is), at)));
        }
    }
    not_empty(reader, fields.is_empty(), node, "agent")
}

fn read_mcp(reader: &mut Reader<'_>, node: &Node, atoms: &mut Atoms) -> Option<()> {
    let fields = reader.fields(node, &MCP)?;
    for (key, of, kind) in [("method", Attribute::McpMethod, Of::Text), ("tool", Attribute::McpTool, Of::Tool)] {
        let tests = fields.get(key).map(|value| read_value(reader, value, fields.at(key), kind));
        atoms.extend(tests.into_iter().flatten().map(|(is, at)| (test(of.clone(), is), at)));
    }
    if let Some(args) = fields.get("args") {
        read_pointers(reader, args, "`args`", Attribute::McpArg, atoms);
    }
    not_empty(reader, fields.is_empty(), node, "mcp")
}

fn read_pointers(reader: &mut Reader<'_>, node: &Node, what: &str, of: fn(Pointer) -> Attribute, atoms: &mut Atoms) {
    for Member { key, at, value } in reader.members(node, what).unwrap_or_default() {
        let tests = read_value(reader, value, *at, Of::Any);
        let Some(pointer) = reader.pointer(key, *at) else { continue };
        atoms.extend(tests.into_iter().map(|(is, at)| (test(of(pointer.clone()), is), at)));
    }
}

/// Puts atoms in the one order that a bundle has, each of them once.
fn sort(atoms: &mut Atoms) {
    atoms.sort_by_cached_key(|(atom, _)| rank(atom));
    atoms.dedup_by(|(later, _), (first, _)| later == first);
}

fn rank(atom: &Atom) -> (u8, String, u8) {
    match atom {
        Atom::Value(ValueTest { of, is }) => {
            let (kind, name) = attribute_rank(of);
            (kind, name, test_rank(is))
        }
        Atom::Compare(comparison) => {
            let (left, right) = (attribute_rank(&comparison.left), attribute_rank(&comparison.right));
            let order = match comparison.is {
                Order::Eq => 0,
                Order::Ne => 1,
                Order::Lt => 2,
                Order::Lte => 3,
                Order::Gt => 4,
                Order::Gte => 5,
            };
            (100, format!("{:03} {} {:03} {}", left.0, left.1, right.0, right.1), order)
        }
        Atom::Rate(_) => (101, String::new(), 0),
        Atom::Time(_) => (102, String::new(), 0),
    }
}

fn attribute_rank(of: &Attribute) -> (u8, String) {
    match of {
        Attribute::Method => (0, String::new()),
        Attribute::Path => (1, String::new()),
        Attribute::Host => (2, String::new()),
        Attribute::Query(name) => (3, name.clone()),
        Attribute::Header(name) => (4, name.clone()),
        Attribute::Agent => (5, String::new()),
        Attribute::AgentId => (6, String::new()),
        Attribute::AgentIssuer => (7, String::new()),
        Attribute::AgentOwner => (8, String::new()),
        Attribute::Claim(pointer) => (9, pointer.to_string()),
        Attribute::McpMethod => (10, String::new()),
        Attribute::McpTool => (11, String::new()),
        Attribute::McpArg(pointer) => (12, pointer.to_string()),
        Attribute::Body(pointer) => (13, pointer.to_string()),
        Attribute::Tag(tag) => (14, tag.name.clone()),
    }
}

fn test_rank(is: &Test) -> u8 {
    match is {
        Test::Equals(_) => 0,
        Test::In(_) => 1,
        Test::NotIn(_) => 2,
        Test::Exists(_) => 3,
        Test::Lt(_) => 4,
        Test::Lte(_) => 5,
        Test::Gt(_) => 6,
        Test::Gte(_) => 7,
        Test::Prefix(_) => 8,
        Test::Suffix(_) => 9,
        Test::Contains(_) => 10,
        Test::Matches(_) => 11,
        Test::Glob(_) => 12,
        Test::Template(_) => 13,
        Test::Size(_) => 14,
        Test::Includes(_) => 15,
    }
}
