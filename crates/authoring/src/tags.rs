//! Where tags come from, and which headers rules may look at.

use std::collections::{BTreeMap, BTreeSet};

use holdgate_engine::{
    Atom, Conditions, Policy,
    conditions::{Attribute, Source, Tag},
};

use crate::{
    codes::Code,
    diagnostic::{Quoted, Span},
    node::{Member, Node, Value},
    reader::Reader,
    rule::read_name,
    shape::{Key, Kind, Shape},
};

pub(crate) const TAG: Shape = Shape {
    what: "a tag",
    keys: &[
        Key::optional(
            "header",
            Kind::Text,
            "The header that carries it: asserted, as the agent may say what it likes.",
        ),
        Key::optional("claim", Kind::Text, "The claim of the verified token that carries it: a name or a pointer."),
    ],
    later: &[],
};

/// The tags that a file declares or names.
#[derive(Clone, Debug, Default)]
pub(crate) struct Tags {
    known: BTreeMap<String, (Source, Span)>,
    /// Those of `known` that the file declares.
    declared: BTreeSet<String>,
}

impl Tags {
    /// Reads the declarations of a file.
    pub(crate) fn read(reader: &mut Reader<'_>, node: &Node) -> Self {
        let mut tags = Tags::default();
        for Member { key, at, value } in reader.members(node, "`tags`").unwrap_or_default() {
            let source = read_source(reader, value);
            let name = Node { span: *at, value: Value::Scalar { text: key.clone(), plain: false } };
            if let (Some(name), Some(source)) = (read_name(reader, &name, "a tag"), source) {
                tags.declared.insert(name.clone());
                tags.known.insert(name, (source, *at));
            }
        }
        tags
    }

    /// The tags that the rules of a policy look at.
    pub(crate) fn of(policy: &Policy) -> Self {
        let conditions = policy.rules().iter().map(|rule| &rule.conditions);
        let attributes = conditions.flat_map(Conditions::atoms).flat_map(Atom::attributes);
        let nowhere = Span { line: 1, column: 1, width: 1 };
        let tag = |attribute: &Attribute| match attribute {
            Attribute::Tag(Tag { name, source }) => Some((name.clone(), (source.clone(), nowhere))),
            _ => None,
        };
        Tags { known: attributes.filter_map(tag).collect(), declared: BTreeSet::new() }
    }

    /// The source of a tag that is named at a place; one that is not declared is asserted.
    pub(crate) fn source(&mut self, reader: &mut Reader<'_>, name: &str, at: Span) -> Option<Source> {
        if let Some((source, _)) = self.known.get(name) {
            return Some(source.clone());
        }
        let node = Node { span: at, value: Value::Scalar { text: name.to_owned(), plain: false } };
        let source = Source::Header(default_header(&read_name(reader, &node, "a tag")?));
        self.known.insert(name.to_owned(), (source.clone(), at));
        Some(source)
    }

    /// As `source`, without taking note of it.
    pub(crate) fn declared(&self, name: &str) -> Source {
        self.known.get(name).map_or_else(|| Source::Header(default_header(name)), |(source, _)| source.clone())
    }

    /// The tags that the file declares.
    pub(crate) fn declared_names(&self) -> impl Iterator<Item = &str> {
        self.declared.iter().map(String::as_str)
    }

    pub(crate) fn iter(&self) -> impl Iterator<Item = (&str, &Source, Span)> {
        self.known.iter().map(|(name, (source, at))| (name.as_str(), source, *at))
    }
}

/// The header of a tag that is not declared. No header that passes the gateway has a `_` in its name.
fn default_header(name: &str) -> String {
    format!("x-agent-{}", name.to_ascii_lowercase().replace('_', "-"))
}

/// A source as it is declared.
pub(crate) fn describe(source: &Source) -> String {
    match source {
        Source::Header(header) => format!("{{header: {header}}}"),
        Source::Claim(pointer) => format!("{{claim: {pointer}}}"),
    }
}

fn read_source(reader: &mut Reader<'_>, node: &Node) -> Option<Source> {
    let fields = reader.fields(node, &TAG)?;
    match (fields.get("header"), fields.get("claim")) {
        (Some(header), None) => {
            let name = reader.text(header, "`header`")?;
            read_header(reader, &name, header.span).map(Source::Header)
        }
        (None, Some(claim)) => {
            let text = reader.text(claim, "`claim`")?;
            let pointer = if text.starts_with('/') { text } else { format!("/{}", escape(&text)) };
            reader.pointer(&pointer, claim.span).map(Source::Claim)
        }
        _ => {
            let help = "write `{claim: risk_score}` for a claim of the verified token, or `{header: x-model-confidence}` \
                        for what the agent says";
            reader.error_with_help(node.span, Code::EitherOr, "a tag has either a header or a claim", help)
        }
    }
}

/// One name as a token of a JSON pointer.
pub(crate) fn escape(name: &str) -> String {
    name.replace('~', "~0").replace('/', "~1")
}

/// A tag as an attribute.
pub(crate) fn attribute(name: &str, source: Source) -> Attribute {
    Attribute::Tag(Tag { name: name.to_owned(), source })
}

/// Whether a text is the name of a header (RFC 9110 section 5.6.2).
pub(crate) fn is_header(name: &str) -> bool {
    let token = |byte: u8| byte.is_ascii_alphanumeric() || b"!#$%&'*+-.^`|~".contains(&byte);
    !name.is_empty() && name.bytes().all(token)
}

/// The name of a header that rules may look at, in lower case.
pub(crate) fn read_header(reader: &mut Reader<'_>, name: &str, at: Span) -> Option<String> {
    let lower = name.to_ascii_lowercase();
    if let Err((why, help)) = visible(&lower) {
        let message = format!("rules cannot look at the header {}: {why}", Quoted(name));
        return reader.error_with_help(at, Code::ForbiddenHeader, message, help);
    }
    if !is_header(name) {
        let help = if name.contains('_') {
            "names with `_` are refused by the gateway; no request has one"
        } else {
            "a name has letters, digits and `-`, such as `x-trace-id`"
        };
        let message = format!("{} is not the name of a header", Quoted(name));
        return reader.error_with_help(at, Code::NotAHeader, message, help);
    }
    Some(lower)
}

/// Why a header is not visible to rules, and what to write in its place.
pub(crate) fn visible(lower: &str) -> Result<(), (&'static str, &'static str)> {
    match lower {
        "authorization" | "proxy-authorization" | "cookie" => {
            Err(("it carries credentials", "ask for the verified agent and its claims: `agent: {claims: {...}}`"))
        }
        "host" => Err(("its canonical form is the host", "write `http: {host: ...}`")),
        _ if lower.starts_with(':') => {
            Err(("it is a part of the request line", "write `http: {methods: [...], host: ..., path: ...}`"))
        }
        _ if lower.starts_with("holdgate-") || lower.starts_with("x-envoy-") => {
            Err(("the gateway removes it from what agents send", "remove the condition"))
        }
        _ => Ok(()),
    }
}
