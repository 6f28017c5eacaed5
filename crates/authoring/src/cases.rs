//! The corpus of cases that several drivers run: `tests/cases/*.yaml`, described in `tests/cases/README.md`.
//!
//! A file names a policy and lists cases. A case is a *verdict*: a request with what the policy says about it; or a *scenario*:
//! requests that are sent, things that happen meanwhile, and what must be seen of it all.

mod expect;
mod request;
mod scenario;
mod shapes;
mod steps;

use std::collections::BTreeSet;

use holdgate_protocol::Json;

use crate::{
    codes::Code,
    diagnostic::{Diagnostic, Quoted, Source, Span},
    example::{self, Example},
    file,
    node::{Node, Value},
    reader::{Fields, Reader},
    tags::Tags,
};

pub use scenario::{
    Act, Behaviour, Bodied, Callout, Chunks, Decision, Expected, ExpectedReply, ExpectedRequest, ExpectedUpstream,
    Hold, Members, Named, Operator, Outcome, Quantity, Restart, Scenario, Script, SentRequest, ServiceCall, Step, Test,
    Token, UpstreamAnswer, UpstreamBehaviour, Version,
};
use shapes::CASE;
pub(crate) use shapes::FILE;

/// One file of the corpus.
#[derive(Clone, Debug, PartialEq)]
pub struct CaseFile {
    pub policy: PolicySource,
    pub cases: Vec<Case>,
}

/// Where the rules of a case stand.
#[derive(Clone, Debug, PartialEq)]
pub enum PolicySource {
    /// The path of a rule file. It is looked for beside the file of cases, and then in each folder above it.
    File(String),
    /// A rule file within the file of cases, as JSON.
    Inline(String),
}

/// One case.
#[derive(Clone, Debug, PartialEq)]
pub struct Case {
    pub name: String,
    /// The place of the name.
    pub at: Span,
    /// What went wrong once, or could.
    pub why: Option<String>,
    pub play: Play,
}

/// What is played.
#[derive(Clone, Debug, PartialEq)]
pub enum Play {
    /// A request with the verdict that every driver must come to.
    Verdict(Box<Example>),
    Scenario(Box<Scenario>),
}

impl CaseFile {
    /// The cases that are requests with their verdicts.
    pub fn verdicts(&self) -> impl Iterator<Item = &Example> {
        self.cases.iter().filter_map(|case| match &case.play {
            Play::Verdict(example) => Some(&**example),
            Play::Scenario(_) => None,
        })
    }
}

/// Reads a file of cases, or reports all that is wrong with it.
pub fn read(name: &str, text: &str) -> Result<CaseFile, Vec<Diagnostic>> {
    let source = Source::new(name, text);
    let mut reader = Reader::new(&source);
    let file = read_file(&mut reader, &source);
    match file {
        Some(file) if reader.found() == 0 => Ok(file),
        _ => Err(reader.finish()),
    }
}

fn read_file(reader: &mut Reader<'_>, source: &Source<'_>) -> Option<CaseFile> {
    let root = reader.parse()?;
    let fields = reader.fields(&root, &FILE)?;
    let policy = reader.require(fields, "policy").and_then(|node| read_policy(reader, node, source));
    let common = Common { source, plugin: read_plugin(reader, fields), requests: fields.get("requests") };
    steps::check_common(reader, common.requests)?;
    let nodes = reader.require(fields, "cases").and_then(|node| reader.filled_list(node, "`cases`"))?;
    let mut cases: Vec<Case> = Vec::new();
    let mut names = BTreeSet::new();
    for node in nodes {
        let Some(case) = read_case(reader, node, &common) else { continue };
        if !names.insert(case.name.clone()) {
            let message = format!("the case {} stands there twice", Quoted(&case.name));
            reader.error::<()>(case.at, Code::DuplicateTest, message);
        }
        cases.push(case);
    }
    Some(CaseFile { policy: policy?, cases })
}

/// What a file says for all of its cases.
struct Common<'f> {
    source: &'f Source<'f>,
    plugin: Option<Json>,
    requests: Option<&'f Node>,
}

fn read_case(reader: &mut Reader<'_>, node: &Node, common: &Common<'_>) -> Option<Case> {
    let fields = reader.fields(node, &CASE)?;
    reader.require(fields, "expect")?;
    let why = fields.get("why").and_then(|node| reader.text(node, "`why`"));
    if !expects_a_verdict(fields) {
        let name = reader.require(fields, "name");
        let (name, at) = name.and_then(|node| Some((reader.text(node, "`name`")?, node.span)))?;
        let scenario = steps::read(reader, fields, common)?;
        return Some(Case { name, at, why, play: Play::Scenario(Box::new(scenario)) });
    }
    let only = ["name", "why", "request", "expect"];
    if let Some(key) = CASE.names().into_iter().find(|key| !only.contains(key) && fields.get(key).is_some()) {
        let message = format!("a case that expects a verdict (`effect`) has no `{key}`");
        let help = "expect what is seen of the request in place of the verdict: `outcome`, `upstream`, `reply`";
        return reader.error_with_help(fields.at(key), Code::EitherOr, message, help);
    }
    let example = example::read_as(reader, node, &CASE, &mut Tags::default())?;
    let (name, at) = (example.name.clone(), example.at);
    Some(Case { name, at, why, play: Play::Verdict(Box::new(example)) })
}

/// Whether a case says what the policy says, and not what is seen.
fn expects_a_verdict(fields: Fields<'_>) -> bool {
    match fields.get("expect").map(|node| &node.value) {
        Some(Value::Map(members)) => members.iter().any(|member| member.key == "effect"),
        _ => false,
    }
}

/// The path of a rule file, or the rules themselves.
fn read_policy(reader: &mut Reader<'_>, node: &Node, source: &Source<'_>) -> Option<PolicySource> {
    if let Value::Scalar { .. } = node.value {
        return reader.text(node, "`policy`").map(PolicySource::File);
    }
    file::read_root(reader, node, source)?;
    let json = reader.json(node, "`policy`")?;
    String::from_utf8(json.to_jcs()).ok().map(PolicySource::Inline)
}

fn read_plugin(reader: &mut Reader<'_>, fields: Fields<'_>) -> Option<Json> {
    let node = fields.get("plugin")?;
    reader.members(node, "`plugin`")?;
    reader.json(node, "`plugin`")
}
