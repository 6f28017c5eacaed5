//! What is read as it stands and was probably meant otherwise, and what is declared and never used.

use std::collections::BTreeSet;

use holdgate_engine::{
    Atom, Attribute, CompiledRule, Test,
    conditions::{List, Literal, Tag, ValueTest},
};
use holdgate_protocol::Pointer;

use super::{Found, Lint};
use crate::{
    codes::Code,
    prove::is_vacuous,
    reader::nearest,
    rule::{Approval, RulePlaces},
};

/// Shorter names are near to too many others.
const SHORTEST_NAME: usize = 4;

impl<'c> Lint<'c> {
    /// Roles and tags that nothing uses, tags that are probably misspelled, and proofs about no request.
    pub(super) fn declarations(&mut self) {
        let files = self.compilation.files();
        let rules = || files.iter().flat_map(|file| &file.rules);
        let proofs = || files.iter().flat_map(|file| &file.proofs);
        let roles: BTreeSet<&str> = rules()
            .filter_map(|rule| rule.approval.as_ref())
            .flat_map(|Approval { requirement: asked, .. }| {
                let factors = asked.factors.iter().map(|factor| factor.role.as_str());
                factors.chain(asked.escalate.as_ref().map(|escalate| escalate.role.as_str()))
            })
            .collect();
        let given = proofs().flat_map(|proof| proof.given.iter().flatten());
        let tags: BTreeSet<&str> = rules()
            .flat_map(|rule| rule.conditions.atoms())
            .chain(given)
            .flat_map(Atom::attributes)
            .filter_map(tag)
            .collect();
        let declared: Vec<&str> = files.iter().flat_map(|file| file.tags.declared_names()).collect();
        for file in files {
            let mut report = |at, code, message: String, help: String| {
                self.found.push(Found { rule: None, file: &file.name, at, code, message, help: Some(help) });
            };
            for (role, approver) in file.approvers.iter().filter(|(role, _)| !roles.contains(role.as_str())) {
                let help = "remove it, or name it in the factors of an approval".to_owned();
                report(approver.at, Code::NotUsed, format!("no approval asks for the role `{role}`"), help);
            }
            for (name, _, at) in file.tags.iter() {
                if file.tags.declared_names().any(|declared| declared == name) {
                    if !tags.contains(name) {
                        let help = "remove it, or ask for it in a rule: `tags: {NAME: {gt: 3}}`".to_owned();
                        report(at, Code::NotUsed, format!("no rule looks at the tag `{name}`"), help);
                    }
                } else if name.len() >= SHORTEST_NAME
                    && !declared.contains(&name)
                    && let Some(near) = nearest(name, &declared)
                {
                    let message =
                        format!("the tag `{name}` is not declared, and `{near}` is: an agent says itself what it is");
                    report(
                        at,
                        Code::NearTag,
                        message,
                        format!("did you mean `{near}`? Otherwise declare `{name}` too"),
                    );
                }
            }
            for proof in &file.proofs {
                if is_vacuous(&self.solver, proof) {
                    let help =
                        "its conditions exclude one another, so that the proof says nothing; mend them".to_owned();
                    report(
                        proof.at,
                        Code::VacuousProof,
                        format!("no request is `given` in the proof `{}`", proof.id),
                        help,
                    );
                }
            }
        }
    }

    /// Signs that mean something elsewhere and stand for themselves here.
    pub(super) fn signs(&mut self, rule: &'c CompiledRule, places: &'c RulePlaces) {
        let in_entries = rule.conditions.any.iter().zip(&places.entries);
        let in_entries = in_entries.flat_map(|(entry, places)| entry.iter().zip(places.atoms.iter().copied()));
        let in_when = rule.conditions.when.iter().flat_map(|when| when.atoms());
        let in_when = in_when.map(|atom| (atom, places.when.unwrap_or(places.rule)));
        let mut told = BTreeSet::new();
        for (atom, at) in in_entries.chain(in_when).collect::<Vec<_>>() {
            for (code, what, help) in atom.attributes().find_map(pointer_like).into_iter().chain(literal_sign(atom)) {
                if told.insert((at.line, at.column, what.clone())) {
                    self.report_at(at, places, rule, code, what, &help);
                }
            }
        }
    }
}

fn tag(attribute: &Attribute) -> Option<&str> {
    if let Attribute::Tag(Tag { name, .. }) = attribute { Some(name) } else { None }
}

type Sign = (Code, String, String);

/// A member whose name is a pointer: in `when` members are written one by one.
fn pointer_like(attribute: &Attribute) -> Option<Sign> {
    let (root, pointer): (&str, &Pointer) = match attribute {
        Attribute::Body(pointer) => ("body", pointer),
        Attribute::McpArg(pointer) => ("mcp.args", pointer),
        Attribute::Claim(pointer) => ("agent.claims", pointer),
        _ => return None,
    };
    let step = pointer.steps().iter().find(|step| step.starts_with('/') && step.len() > 1)?;
    let meant = step.trim_start_matches('/').replace('/', ".");
    let what = format!("`{step}` is the name of a member here, with its slash");
    Some((
        Code::PointerMember,
        what,
        format!("write `{root}.{meant}` in `when`, and `/{}` in `match`", meant.replace('.', "/")),
    ))
}

/// A placeholder or a star in a text that has none.
fn literal_sign(atom: &Atom) -> Option<Sign> {
    let Atom::Value(ValueTest { of, is }) = atom else { return None };
    match (of, is) {
        (Attribute::Path, Test::Template(template)) => {
            let segment = template.as_str().split('/').find(|segment| segment.len() > 1 && segment.starts_with(':'))?;
            let what = format!("`{segment}` is a text in a path template: only a request with the colon matches");
            let name = segment.trim_start_matches(':');
            Some((Code::ColonSegment, what, format!("write `{{{name}}}` for any segment")))
        }
        (Attribute::Query(name) | Attribute::Header(name), Test::Equals(_) | Test::In(_)) => {
            let texts: &[String] = match is {
                Test::Equals(Literal::String(text)) => std::slice::from_ref(text),
                Test::In(List::Strings(texts)) => texts,
                _ => &[],
            };
            // Stars of HTTP itself: `accept: */*`, `if-match: *`.
            let own = name.starts_with("accept") || name.starts_with("if-");
            let text = texts.iter().find(|text| text.contains('*') && !own)?;
            let what = format!("the `*` in `{text}` is a text: only a request with the star matches");
            Some((Code::LiteralStar, what, "write `prefix`, `suffix`, `contains` or `matches`".into()))
        }
        _ => None,
    }
}
