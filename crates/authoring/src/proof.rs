//! The `prove` of rule files: what must hold for every request of a region.

use holdgate_engine::Atom;
use holdgate_protocol::bundle::Effect;

use crate::{
    codes::Code,
    conditions::{self, ENTRY},
    diagnostic::{Quoted, Span},
    node::Node,
    reader::Reader,
    rule::EFFECTS,
    shape::{Key, Kind, Shape, words},
    tags::Tags,
};

pub(crate) const PROOF: Shape = Shape {
    what: "a proof",
    keys: &[
        Key::required("id", Kind::Text, "What is to be shown, in a few words; unique in the file."),
        Key::optional("given", Kind::Map(&ENTRY), "Of which requests, as in an entry of `match`: every one."),
        Key::optional("never", Kind::Word(|| words(&EFFECTS)), "The effect that none of them has."),
        Key::optional("always", Kind::Word(|| words(&EFFECTS)), "The effect that each of them has."),
    ],
    later: &[],
};

/// A claim about all requests of a region.
#[derive(Clone, Debug, PartialEq)]
pub struct Proof {
    pub id: String,
    /// The place of the id.
    pub at: Span,
    /// All of these; `None` is every request.
    pub given: Option<Vec<Atom>>,
    pub claim: Claim,
}

/// What is claimed of the verdict.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Claim {
    Never(Effect),
    Always(Effect),
}

pub(crate) fn read(reader: &mut Reader<'_>, node: &Node, tags: &mut Tags) -> Option<Proof> {
    let fields = reader.fields(node, &PROOF)?;
    let id = reader.require(fields, "id").and_then(|node| Some((reader.text(node, "`id`")?, node.span)));
    let given = fields.get("given").map(|node| conditions::read_entry(reader, node, tags));
    let claim = match (fields.get("never"), fields.get("always")) {
        (Some(never), None) => reader.word(never, "an effect", &EFFECTS).map(Claim::Never),
        (None, Some(always)) => reader.word(always, "an effect", &EFFECTS).map(Claim::Always),
        _ => {
            let id = id.as_ref().map_or("", |(id, _)| id.as_str());
            let help = "write `never: allow` for what no request may get, or `always: hold` for what each one gets";
            let message = format!("the proof {} has either `never` or `always`", Quoted(id));
            reader.error_with_help(node.span, Code::EitherOr, message, help)
        }
    };
    let given = match given {
        None => None,
        Some(entry) => Some(entry?.atoms.into_iter().map(|(atom, _)| atom).collect()),
    };
    let (id, at) = id?;
    Some(Proof { id, at, given, claim: claim? })
}
