//! A rule file as a whole: its head, the rules, the tests and the proofs.

use std::collections::{BTreeMap, HashMap};

use holdgate_protocol::bundle::Mode;

use crate::{
    accept::{self, Acceptance},
    codes::Code,
    diagnostic::{Diagnostic, Quoted, Source, Span},
    example::{self, Example},
    node::{Member, Node, Value},
    proof::{self, Proof},
    reader::{self, Fields, Reader},
    rule::{self, Common, MODES, Rule},
    shape::{Key, Kind, Shape, words},
    tags::{TAG, Tags},
};

pub(crate) const FILE: Shape = Shape {
    what: "a rule file",
    keys: &[
        Key::required("format", Kind::Format(FORMAT), "The format of the file: `1`."),
        Key::required("policy", Kind::Name, "The policy's name, unique among the files that are compiled together."),
        Key::optional("owner", Kind::Text, "Who answers for the file; it does not go into the bundle."),
        Key::optional(
            "controls",
            Kind::List(&Kind::Text),
            "Controls that all rules serve, each as `standard/control`.",
        ),
        Key::optional("mode", Kind::Word(|| words(&MODES)), "For all rules that do not say otherwise."),
        Key::optional("approvers", Kind::Each(&Kind::Map(&APPROVER)), "The roles that rules may name."),
        Key::optional(
            "tags",
            Kind::Each(&Kind::Map(&TAG)),
            "Where tags come from; one that is not here is the header `x-agent-NAME`.",
        ),
        Key::optional(
            "accept",
            Kind::Each(&Kind::Text),
            "Warnings of `check` that are meant so in the whole file, each with the reason.",
        ),
        Key::required(
            "rules",
            Kind::Filled(&Kind::Map(&rule::RULE)),
            "At least one rule; the strictest one that matches wins.",
        ),
        Key::optional("tests", Kind::List(&Kind::Map(&example::TEST)), "Requests with the verdict that is expected."),
        Key::optional(
            "prove",
            Kind::List(&Kind::Map(&proof::PROOF)),
            "What never or always happens, for every request.",
        ),
    ],
    later: &[],
};
const APPROVER: Shape = Shape {
    what: "a role",
    keys: &[
        Key::optional("description", Kind::Text, "What its holders may decide."),
        Key::optional("people", Kind::Count, "How many persons hold the role."),
    ],
    later: &[],
};

/// The format of rule files that this version reads.
const FORMAT: &str = "1";

/// A rule file without its mistakes.
#[derive(Clone, Debug)]
pub struct PolicyFile {
    /// The name of the file.
    pub name: String,
    /// The name of the policy.
    pub policy: String,
    /// The place of the policy's name.
    pub at: Span,
    pub owner: Option<String>,
    pub approvers: BTreeMap<String, Approver>,
    /// The place of the key `tests`.
    pub tests_at: Option<Span>,
    /// What was read.
    pub text: String,
    pub(crate) rules: Vec<Rule>,
    pub(crate) tests: Vec<Example>,
    pub(crate) proofs: Vec<Proof>,
    pub(crate) tags: Tags,
    pub(crate) acceptances: Vec<Acceptance>,
}

/// A role that rules may name.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Approver {
    /// The place of its name.
    pub at: Span,
    pub description: Option<String>,
    /// How many persons hold it, where the file tells.
    pub people: Option<u32>,
}

/// Reads one file, or reports all that is wrong with it.
pub(crate) fn read(source: &Source<'_>) -> Result<PolicyFile, Vec<Diagnostic>> {
    let mut reader = Reader::new(source);
    let root = reader.parse();
    let file = root.and_then(|root| read_root(&mut reader, &root, source));
    match file {
        Some(file) if reader.found() == 0 => Ok(file),
        _ => {
            if reader.found() == 0 {
                let start = Span { line: 1, column: 1, width: 1 };
                reader.error::<()>(start, Code::Internal, "this file cannot be read, and holdgate cannot say why");
            }
            Err(reader.finish())
        }
    }
}

/// Reads a rule file from its tree, which may be part of another file.
pub(crate) fn read_root(reader: &mut Reader<'_>, root: &Node, source: &Source<'_>) -> Option<PolicyFile> {
    let fields = reader.fields(root, &FILE)?;
    if let Some(format) = reader.require(fields, "format") {
        let text = match &format.value {
            Value::Scalar { text, .. } => text.as_str(),
            other => reader::describe(other),
        };
        if text != FORMAT {
            let message = format!("{} is not a format that this version reads; write `format: {FORMAT}`", Quoted(text));
            reader.error::<()>(format.span, Code::UnknownFormat, message);
        }
    }
    let policy = reader.require(fields, "policy");
    let policy = policy.and_then(|node| Some((rule::read_name(reader, node, "a policy's name")?, node.span)));
    let owner = fields.get("owner").and_then(|owner| reader.text(owner, "`owner`"));
    let controls = fields.get("controls").and_then(|node| rule::read_controls(reader, node)).unwrap_or_default();
    let mode = fields.get("mode").and_then(|node| reader.word(node, "a mode", &MODES)).unwrap_or(Mode::Enforce);
    let approvers = fields.get("approvers").map(|node| read_approvers(reader, node)).unwrap_or_default();
    let tags = fields.get("tags").map(|node| Tags::read(reader, node)).unwrap_or_default();
    let acceptances = fields.get("accept").map(|node| accept::read(reader, node, None)).unwrap_or_default();
    let mut common = Common { mode, controls, approvers, tags, acceptances };

    let (rules, complete) = read_rules(reader, fields, &mut common);
    let listed = |reader: &mut Reader<'_>, key: &str| {
        fields.get(key).and_then(|node| reader.list(node, &format!("`{key}`"))).unwrap_or_default()
    };
    let examples = listed(reader, "tests");
    let mut tests: Vec<Example> = Vec::new();
    let mut lines: HashMap<String, usize> = HashMap::new();
    for node in examples {
        if reader.is_full() {
            break;
        }
        let Some(test) = example::read(reader, node, &mut common.tags) else { continue };
        if let Some(first) = lines.insert(test.name.clone(), test.at.line) {
            let name = Quoted(&test.name);
            let message = format!("the test {name} stands there twice; the first is in line {first}");
            reader.error_with_help::<()>(test.at, Code::DuplicateTest, message, "give each test a name of its own");
        }
        tests.push(test);
    }
    let claims = listed(reader, "prove");
    let mut proofs: Vec<Proof> = Vec::new();
    let mut lines: HashMap<String, usize> = HashMap::new();
    for node in claims {
        if reader.is_full() {
            break;
        }
        let Some(proof) = proof::read(reader, node, &mut common.tags) else { continue };
        if let Some(first) = lines.insert(proof.id.clone(), proof.at.line) {
            let id = Quoted(&proof.id);
            let message = format!("the proof {id} stands there twice; the first is in line {first}");
            reader.error_with_help::<()>(proof.at, Code::DuplicateProof, message, "give each proof an id of its own");
        }
        proofs.push(proof);
    }
    let (policy, at) = policy?;
    // Nothing of a file is ever left out in silence.
    let all = complete && tests.len() == examples.len() && proofs.len() == claims.len();
    if !all && reader.found() == 0 {
        return reader.error(at, Code::Internal, "a rule, a test or a proof of this file cannot be read");
    }
    let tests_at = fields.get("tests").map(|_| fields.at("tests"));
    let Common { approvers, tags, acceptances, .. } = common;
    let (name, text) = (source.name.to_owned(), source.text.to_owned());
    Some(PolicyFile { name, policy, at, owner, approvers, tests_at, text, rules, tests, proofs, tags, acceptances })
}

/// The rules that can be read, and whether that is all of them.
fn read_rules(reader: &mut Reader<'_>, fields: Fields<'_>, common: &mut Common) -> (Vec<Rule>, bool) {
    let nodes = reader.require_or(fields, "rules", Code::NoRules).and_then(|node| reader.list(node, "`rules`"));
    if let Some([]) = nodes {
        let help = "without a rule every request is denied; write at least one";
        let at = fields.get("rules").map_or(fields.span, |node| node.span);
        reader.error_with_help::<()>(at, Code::NoRules, "`rules` must not be empty", help);
    }
    let nodes = nodes.unwrap_or_default();
    let mut rules = Vec::new();
    let mut lines: HashMap<String, usize> = HashMap::new();
    for node in nodes {
        // What is found further on would not be shown.
        if reader.is_full() {
            break;
        }
        let (id, rule) = rule::read(reader, node, common);
        rules.extend(rule);
        let Some((id, at)) = id else { continue };
        match lines.get(&id) {
            Some(first) => {
                let message = format!("the rule id `{id}` stands there twice; the first is in line {first}");
                reader.error_with_help::<()>(at, Code::DuplicateRule, message, "give each rule an id of its own");
            }
            None => {
                lines.insert(id, at.line);
            }
        }
    }
    let complete = rules.len() == nodes.len();
    (rules, complete)
}

fn read_approvers(reader: &mut Reader<'_>, node: &Node) -> BTreeMap<String, Approver> {
    let mut approvers = BTreeMap::new();
    for Member { key, at, value } in reader.members(node, "`approvers`").unwrap_or_default() {
        let mut approver = Approver { at: *at, description: None, people: None };
        if let Some(fields) = reader.fields(value, &APPROVER) {
            approver.description = fields.get("description").and_then(|text| reader.text(text, "`description`"));
            approver.people = fields.get("people").and_then(|count| reader.count(count, "`people`"));
        }
        let name = Node { span: *at, value: Value::Scalar { text: key.clone(), plain: false } };
        if rule::read_name(reader, &name, "a role").is_some() {
            approvers.insert(key.clone(), approver);
        }
    }
    approvers
}
