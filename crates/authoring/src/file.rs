//! One rule file: what it says for all its rules, the rules and the tests.

use std::collections::BTreeMap;

use holdgate_protocol::bundle::Mode;

use crate::{
    diagnostic::{Diagnostic, Source, Span},
    example::{self, Example},
    node::{Member, Node},
    reader::{Reader, Shape},
    rule::{self, Common, MODES, Rule},
};

const FILE: Shape = Shape {
    what: "a rule file",
    keys: &["format", "policy", "owner", "controls", "mode", "approvers", "rules", "tests"],
    later: &["prove"],
};
const APPROVER: Shape = Shape { what: "a role", keys: &["description"], later: &[] };

/// The format of rule files that this version reads.
const FORMAT: &str = "1";

/// A rule file without its mistakes.
#[derive(Clone, Debug)]
pub(crate) struct PolicyFile {
    pub(crate) name: String,
    pub(crate) policy: String,
    /// The place of the policy's name.
    pub(crate) at: Span,
    pub(crate) rules: Vec<Rule>,
    pub(crate) tests: Vec<Example>,
}

/// Reads one file, or reports all that is wrong with it.
pub(crate) fn read(source: Source<'_>) -> Result<PolicyFile, Vec<Diagnostic>> {
    let mut reader = Reader::new(source);
    let root = reader.parse();
    let file = root.and_then(|root| read_root(&mut reader, &root, source.name));
    match file {
        Some(file) if reader.problems.is_empty() => Ok(file),
        _ => {
            let mut problems = reader.problems;
            if problems.is_empty() {
                let start = Span { line: 1, column: 1, width: 1 };
                problems.push(source.diagnostic(start, "this file cannot be read".into(), None));
            }
            problems.sort_by_key(|problem| problem.place.as_ref().map(|place| (place.span.line, place.span.column)));
            Err(problems)
        }
    }
}

fn read_root(reader: &mut Reader<'_>, root: &Node, name: &str) -> Option<PolicyFile> {
    let fields = reader.fields(root, &FILE)?;
    if let Some(format) = reader.require(fields, "format", "a rule file") {
        let text = match &format.value {
            crate::node::Value::Scalar { text, .. } => text.as_str(),
            other => crate::reader::describe(other),
        };
        if text != FORMAT {
            let message = format!("`{text}` is not a format that this version reads; write `format: {FORMAT}`");
            reader.error::<()>(format.span, message);
        }
    }
    let policy = reader.require(fields, "policy", "a rule file");
    let policy = policy.and_then(|node| Some((rule::read_name(reader, node, "a policy's name")?, node.span)));
    if let Some(owner) = fields.get("owner") {
        reader.text(owner, "`owner`");
    }
    let controls = fields.get("controls").and_then(|node| rule::read_controls(reader, node)).unwrap_or_default();
    let mode = fields.get("mode").and_then(|node| reader.word(node, "a mode", &MODES)).unwrap_or(Mode::Enforce);
    let approvers = fields.get("approvers").map(|node| read_approvers(reader, node)).unwrap_or_default();
    let common = Common { mode, controls, approvers };

    let rules = reader.require(fields, "rules", "a rule file").and_then(|node| reader.filled_list(node, "`rules`"));
    let mut read = Vec::new();
    let mut ids: BTreeMap<String, Span> = BTreeMap::new();
    for node in rules.unwrap_or_default() {
        let (id, rule) = rule::read(reader, node, &common);
        read.extend(rule);
        let Some((id, at)) = id else { continue };
        if let Some(first) = ids.get(&id) {
            reader
                .error::<()>(at, format!("the rule id `{id}` stands there twice; the first is in line {}", first.line));
        } else {
            ids.insert(id, at);
        }
    }
    let mut tests: Vec<Example> = Vec::new();
    let examples = fields.get("tests").and_then(|node| reader.list(node, "`tests`")).unwrap_or_default();
    for node in examples {
        let Some(test) = example::read(reader, node) else { continue };
        if let Some(first) = tests.iter().find(|other| other.name == test.name) {
            let message =
                format!("the test `{}` stands there twice; the first is in line {}", test.name, first.at.line);
            reader.error::<()>(test.at, message);
        }
        tests.push(test);
    }
    let (policy, at) = policy?;
    // Nothing of a file is ever left out in silence.
    let all = read.len() == rules?.len() && tests.len() == examples.len();
    if !all && reader.problems.is_empty() {
        return reader.error(at, "a rule or a test of this file cannot be read");
    }
    Some(PolicyFile { name: name.to_owned(), policy, at, rules: read, tests })
}

fn read_approvers(reader: &mut Reader<'_>, node: &Node) -> BTreeMap<String, Span> {
    let mut approvers = BTreeMap::new();
    for Member { key, at, value } in reader.members(node, "`approvers`").unwrap_or_default() {
        let name = Node { span: *at, value: crate::node::Value::Scalar { text: key.clone(), plain: false } };
        if rule::read_name(reader, &name, "a role").is_some() {
            approvers.insert(key.clone(), *at);
        }
        if let Some(fields) = reader.fields(value, &APPROVER)
            && let Some(description) = fields.get("description")
        {
            reader.text(description, "`description`");
        }
    }
    approvers
}
