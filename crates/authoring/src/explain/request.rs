//! A request that is not one of the tests.

use holdgate_engine::Policy;

use crate::{
    diagnostic::{Diagnostic, Source},
    example::{self, Example},
    node::{self, Member, Node, Value},
    reader::Reader,
    tags::Tags,
};

/// Reads the `request` of a test, or a map that has one; tags come from where the policy looks for them.
pub fn read_request(policy: &Policy, name: &str, bytes: &[u8]) -> Result<Example, Vec<Diagnostic>> {
    let text = node::decode(name, bytes).map_err(|finding| vec![finding])?;
    let source = Source::new(name, text);
    let mut reader = Reader::new(&source);
    let node = reader.parse();
    let example = node.and_then(|node| example::read(&mut reader, &test(node), &mut Tags::of(policy)));
    match example {
        Some(example) if reader.found() == 0 => Ok(example),
        _ => Err(reader.finish()),
    }
}

/// A test with this request; what it expects is never looked at.
fn test(node: Node) -> Node {
    let at = node.span;
    let request = match &node.value {
        Value::Map(members) => members.iter().find(|member| member.key == "request").map(|member| &member.value),
        _ => None,
    };
    let request = request.cloned().unwrap_or(node);
    let word = |text: &str| Node { span: at, value: Value::Scalar { text: text.into(), plain: true } };
    let map = |members: Vec<(&str, Node)>| {
        let member = |(key, value): (&str, Node)| Member { key: key.into(), at, value };
        Node { span: at, value: Value::Map(members.into_iter().map(member).collect()) }
    };
    let expect = map(vec![("effect", word("deny"))]);
    map(vec![("name", word("request")), ("request", request), ("expect", expect)])
}
