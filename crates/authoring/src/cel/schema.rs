//! The attributes of a request, as `when` names them.

use std::ops::Range;

use holdgate_engine::conditions::{Attribute, Literal, Source};
use holdgate_protocol::Pointer;

use super::{
    CelError, CelErrorKind, Tags,
    parser::{Node, Term},
};
use crate::reader::{list, nearest};

/// What a name with its members stands for.
#[derive(Clone, Debug, PartialEq)]
pub(super) enum Name {
    /// `agent.exists`: a condition, not a value.
    AgentExists,
    Value(Attribute, Type),
    /// Values by name, such as `http.query`.
    Group,
}

/// What is known of an attribute's values before there is a request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Type {
    Text,
    /// A text that is read as what it is compared with: of a query, a header or an asserted tag.
    Wire,
    /// Any JSON value.
    Any,
}

/// The groups of attributes with their members; `body` and `tags` have whatever a request brings.
const GROUPS: [(&str, &[&str]); 5] = [
    ("agent", &["claims", "exists", "id", "issuer", "owner"]),
    ("body", &[]),
    ("http", &["headers", "host", "method", "path", "query"]),
    ("mcp", &["args", "method", "tool"]),
    ("tags", &[]),
];

/// Finds what a name with its members stands for.
pub(super) fn resolve(node: &Node, tags: Tags<'_>) -> Result<Name, CelError> {
    resolve_steps(&steps(node)?, tags)
}

/// The same for one member more, which is asked for as in `"x" in http.query`.
pub(super) fn resolve_member(node: &Node, member: &str, tags: Tags<'_>) -> Result<Name, CelError> {
    let mut steps = steps(node)?;
    steps.push(Step { name: member.to_owned(), range: node.range.clone() });
    resolve_steps(&steps, tags)
}

/// A name, a member or an index; the range includes those before it.
struct Step {
    name: String,
    range: Range<usize>,
}

fn steps(node: &Node) -> Result<Vec<Step>, CelError> {
    let (mut steps, mut next) = (Vec::new(), Some(node));
    while let Some(Node { term, range, .. }) = next {
        let (name, of) = match term {
            Term::Name(name) => (name.clone(), None),
            Term::Member(of, name) => (name.clone(), Some(&**of)),
            Term::Index(of, index) => (index_name(index)?, Some(&**of)),
            _ => {
                let message = "only an attribute has members here";
                return Err(CelError::new(CelErrorKind::Unsupported, range.clone(), message));
            }
        };
        steps.push(Step { name, range: range.clone() });
        next = of;
    }
    steps.reverse();
    Ok(steps)
}

fn index_name(index: &Node) -> Result<String, CelError> {
    match &index.term {
        Term::Literal(Literal::String(name)) => Ok(name.clone()),
        Term::Literal(Literal::Number(number)) if number.as_str().parse::<u64>().is_ok() => {
            Ok(number.as_str().to_owned())
        }
        Term::Literal(_) | Term::Null => {
            let message = "an index is a name in quotes or a whole number from 0";
            Err(CelError::new(CelErrorKind::WrongType, index.range.clone(), message))
        }
        _ => {
            let message = "an index that a request brings is CEL, but not in the subset of `when`";
            let error = CelError::new(CelErrorKind::Unsupported, index.range.clone(), message);
            Err(error.with_help("write a name in quotes or a whole number from 0"))
        }
    }
}

fn resolve_steps(steps: &[Step], tags: Tags<'_>) -> Result<Name, CelError> {
    let names: Vec<&str> = steps.iter().map(|step| step.name.as_str()).collect();
    let text = |attribute| Name::Value(attribute, Type::Text);
    let (name, rest): (Name, &[&str]) = match names.as_slice() {
        ["agent", "exists", rest @ ..] => (Name::AgentExists, rest),
        ["agent", "id", rest @ ..] => (text(Attribute::AgentId), rest),
        ["agent", "issuer", rest @ ..] => (text(Attribute::AgentIssuer), rest),
        ["agent", "owner", rest @ ..] => (text(Attribute::AgentOwner), rest),
        ["agent", "claims", claim @ ..] if !claim.is_empty() => {
            (Name::Value(Attribute::Claim(Pointer::of(claim)), Type::Any), &[])
        }
        ["http", "method", rest @ ..] => (text(Attribute::Method), rest),
        ["http", "host", rest @ ..] => (text(Attribute::Host), rest),
        ["http", "path", rest @ ..] => (text(Attribute::Path), rest),
        ["http", "query", name, rest @ ..] => (Name::Value(Attribute::Query((*name).to_owned()), Type::Wire), rest),
        ["http", "headers", name, rest @ ..] => {
            (Name::Value(Attribute::Header(name.to_ascii_lowercase()), Type::Wire), rest)
        }
        ["mcp", "method", rest @ ..] => (text(Attribute::McpMethod), rest),
        ["mcp", "tool", rest @ ..] => (text(Attribute::McpTool), rest),
        ["mcp", "args", path @ ..] => (Name::Value(Attribute::McpArg(Pointer::of(path)), Type::Any), &[]),
        ["body", path @ ..] => (Name::Value(Attribute::Body(Pointer::of(path)), Type::Any), &[]),
        ["tags", name, rest @ ..] => {
            let tag = tags(name);
            let kind = if matches!(tag.source, Source::Header(_)) { Type::Wire } else { Type::Any };
            (Name::Value(Attribute::Tag(tag), kind), rest)
        }
        ["agent", "claims"] | ["http", "query" | "headers"] | ["tags"] => (Name::Group, &[]),
        _ => return Err(unknown(steps)),
    };
    if rest.is_empty() {
        return Ok(name);
    }
    let whole = names.get(..names.len() - rest.len()).unwrap_or_default().join(".");
    let range = steps.last().map_or(0..0, |step| step.range.clone());
    Err(CelError::new(CelErrorKind::WrongType, range, format!("`{whole}` is a single value and has no members")))
}

fn unknown(steps: &[Step]) -> CelError {
    let mut steps = steps.iter();
    let (root, root_range) = steps.next().map_or(("", 0..0), |step| (step.name.as_str(), step.range.clone()));
    let error =
        |range, name: &str| CelError::new(CelErrorKind::UnknownAttribute, range, format!("unknown attribute `{name}`"));
    let Some((_, members)) = GROUPS.iter().find(|(group, _)| *group == root) else {
        if ["rate", "time"].contains(&root) {
            let message = format!("`when` cannot ask for `{root}`");
            let error = CelError::new(CelErrorKind::Unsupported, root_range, message);
            return error.with_help(format!("write `{root}` as a key of the entries of `match`"));
        }
        if ["true", "false", "null"].contains(&root.to_ascii_lowercase().as_str()) {
            return error(root_range, root).with_help(format!("write `{}`", root.to_ascii_lowercase()));
        }
        let groups = GROUPS.map(|(group, _)| group);
        let home = GROUPS.iter().find(|(_, members)| members.contains(&root));
        let help = match (home, nearest(root, &groups)) {
            (Some((group, _)), _) => format!("did you mean `{group}.{root}`?"),
            (None, Some(group)) => format!("did you mean `{group}`?"),
            (None, None) => format!("attributes stand below {}", list(&groups)),
        };
        return error(root_range, root).with_help(help);
    };
    let names = || list(members);
    match steps.next() {
        Some(Step { name, range }) => error(range.clone(), &format!("{root}.{name}")).with_help(
            nearest(name, members)
                .map_or_else(|| format!("`{root}` has {}", names()), |near| format!("did you mean `{root}.{near}`?")),
        ),
        None => {
            let message = format!("`{root}` is a group of attributes, not a value");
            CelError::new(CelErrorKind::WrongType, root_range, message).with_help(format!("it has {}", names()))
        }
    }
}
