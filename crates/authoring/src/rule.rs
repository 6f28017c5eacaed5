//! One rule of a file.

use std::collections::BTreeMap;

use holdgate_engine::Conditions;
use holdgate_protocol::{
    Factor, Requirement,
    bundle::{Effect, Mode},
};

use crate::{
    conditions,
    diagnostic::Span,
    node::Node,
    reader::{DAY, Reader, Shape, list, nearest},
};

const RULE: Shape = Shape {
    what: "a rule",
    keys: &["id", "effect", "mode", "reason", "match", "controls", "approval"],
    later: &["when"],
};
const APPROVAL: Shape = Shape {
    what: "`approval`",
    keys: &["factors", "decide_within", "use_within", "wait", "reason", "show", "redact", "unbind"],
    later: &["reuse"],
};
const FACTOR: Shape = Shape { what: "a factor", keys: &["role", "approvals"], later: &[] };

/// The inline wait of a rule that names none, in seconds: clients give up after 60.
const DEFAULT_WAIT: u64 = 45;

pub(crate) const EFFECTS: [(&str, Effect); 3] =
    [("allow", Effect::Allow), ("hold", Effect::Hold), ("deny", Effect::Deny)];
pub(crate) const MODES: [(&str, Mode); 2] = [("enforce", Mode::Enforce), ("shadow", Mode::Shadow)];

/// A rule whose keys have been resolved.
#[derive(Clone, Debug)]
pub(crate) struct Rule {
    pub(crate) id: String,
    /// The place of the id.
    pub(crate) at: Span,
    pub(crate) effect: Effect,
    pub(crate) mode: Mode,
    pub(crate) reason: Option<String>,
    pub(crate) controls: Vec<String>,
    pub(crate) conditions: Conditions,
    pub(crate) approval: Option<Approval>,
}

#[derive(Clone, Debug)]
pub(crate) struct Approval {
    pub(crate) requirement: Requirement,
    pub(crate) wait: u64,
}

/// What the file says for all its rules.
pub(crate) struct Common {
    pub(crate) mode: Mode,
    pub(crate) controls: Vec<String>,
    /// Declared roles with their places.
    pub(crate) approvers: BTreeMap<String, Span>,
}

/// Reads a rule. The id comes out even if the rest is wrong, so that duplicates are found all the same.
pub(crate) fn read(reader: &mut Reader<'_>, node: &Node, common: &Common) -> (Option<(String, Span)>, Option<Rule>) {
    let before = reader.problems.len();
    let Some(fields) = reader.fields(node, &RULE) else { return (None, None) };
    let id = reader
        .require(fields, "id", "a rule")
        .and_then(|node| Some((read_name(reader, node, "a rule's id")?, node.span)));
    let effect = reader.require(fields, "effect", "a rule").and_then(|node| reader.word(node, "an effect", &EFFECTS));
    let mode = fields.get("mode").map_or(Some(common.mode), |node| reader.word(node, "a mode", &MODES));
    let reason = fields.get("reason").map(|node| reader.text(node, "`reason`"));
    let conditions = reader.require(fields, "match", "a rule").and_then(|node| conditions::read(reader, node));
    let own = fields.get("controls").map_or(Some(Vec::new()), |node| read_controls(reader, node));
    let approval = match (effect, fields.get("approval")) {
        (Some(Effect::Hold), Some(node)) => Some(read_approval(reader, node, common)),
        (Some(Effect::Hold), None) => {
            let help = "add `approval: {factors: [{role: ..., approvals: 1}], decide_within: 30m, use_within: 10m}`";
            reader.error_with_help::<()>(node.span, "a rule that holds needs the key `approval`".into(), help);
            None
        }
        (Some(_), Some(_)) => {
            let help = "remove it, or write `effect: hold`";
            let message = "`approval` belongs to rules that hold".to_owned();
            reader.error_with_help::<()>(fields.at("approval"), message, help);
            None
        }
        (None, Some(node)) => {
            read_approval(reader, node, common);
            None
        }
        (Some(_), None) | (None, None) => None,
    };
    let complete = || {
        let (id, at) = id.clone()?;
        let mut controls = common.controls.clone();
        controls.extend(own?.into_iter().filter(|control| !common.controls.contains(control)));
        let (effect, mode, conditions) = (effect?, mode?, conditions?);
        let (reason, approval) =
            (reason.map_or(Some(None), |r| r.map(Some))?, approval.map_or(Some(None), |a| a.map(Some))?);
        Some(Rule { id, at, effect, mode, reason, controls, conditions, approval })
    };
    let rule = complete().filter(|_| reader.problems.len() == before);
    (id, rule)
}

/// A name of letters, digits, `.`, `_` and `-`, as rules, policies and roles have it.
pub(crate) fn read_name(reader: &mut Reader<'_>, node: &Node, what: &str) -> Option<String> {
    let name = reader.text(node, what)?;
    let plain = |byte: u8| byte.is_ascii_alphanumeric() || b"._-".contains(&byte);
    let starts = name.starts_with(|c: char| c.is_ascii_alphanumeric());
    if starts && name.len() <= 128 && name.bytes().all(plain) {
        return Some(name);
    }
    let message = format!(
        "`{name}` is not a name: {what} has at most 128 letters, digits, `.`, `_` and `-`, \
         and starts with a letter or a digit"
    );
    reader.error(node.span, message)
}

/// Controls in the form `standard/control`.
pub(crate) fn read_controls(reader: &mut Reader<'_>, node: &Node) -> Option<Vec<String>> {
    let items = reader.list(node, "`controls`")?;
    let mut controls = Vec::new();
    for item in items {
        let Some(control) = reader.text(item, "a control") else { continue };
        let plain = |part: &str| !part.is_empty() && !part.contains(|c: char| c.is_whitespace() || c.is_control());
        let sound = control.split_once('/').is_some_and(|(standard, rest)| plain(standard) && plain(rest));
        if !sound {
            let help = "write the standard, a slash and the control: `nist-csf-2.0/PR.AA-05`";
            reader.error_with_help::<()>(item.span, format!("`{control}` is not a control"), help);
        } else if controls.contains(&control) {
            reader.error::<()>(item.span, format!("the control `{control}` stands there twice"));
        } else {
            controls.push(control);
        }
    }
    (controls.len() == items.len()).then_some(controls)
}

fn read_approval(reader: &mut Reader<'_>, node: &Node, common: &Common) -> Option<Approval> {
    let fields = reader.fields(node, &APPROVAL)?;
    let factors = reader.require(fields, "factors", "`approval`").and_then(|node| read_factors(reader, node, common));
    let mut limit = |key: &str| {
        let node = reader.require(fields, key, "`approval`")?;
        reader.duration(node, &format!("`{key}`"), 30 * DAY)
    };
    let (decide_within, use_within) = (limit("decide_within"), limit("use_within"));
    let wait = fields.get("wait").map_or(Some(DEFAULT_WAIT), |node| reader.duration(node, "`wait`", DAY));
    let words = [("required", true), ("optional", false)];
    let reason = fields.get("reason").map_or(Some(false), |node| reader.word(node, "a value of `reason`", &words));
    let show = fields.get("show").map(|node| reader.pointers(node, "`show`"));
    let redact = fields.get("redact").map_or(Some(Vec::new()), |node| reader.pointers(node, "`redact`"));
    let unbind = fields.get("unbind").map_or(Some(Vec::new()), |node| read_unbind(reader, node));
    let requirement = Requirement {
        factors: factors?,
        decide_within: decide_within?,
        use_within: use_within?,
        reason: reason?,
        show: show.map_or(Some(None), |show| show.map(Some))?,
        redact: redact?,
        unbind: unbind?,
    };
    Some(Approval { requirement: requirement.normalise(), wait: wait? })
}

fn read_factors(reader: &mut Reader<'_>, node: &Node, common: &Common) -> Option<Vec<Factor>> {
    let items = reader.filled_list(node, "`factors`")?;
    let mut factors: Vec<Factor> = Vec::new();
    for item in items {
        let Some(fields) = reader.fields(item, &FACTOR) else { continue };
        let role = reader.require(fields, "role", "a factor");
        let approvals = reader.require(fields, "approvals", "a factor");
        let approvals = approvals.and_then(|node| reader.count(node, "`approvals`"));
        let Some(node) = role else { continue };
        let Some(role) = reader.text(node, "`role`") else { continue };
        if !common.approvers.contains_key(&role) {
            let known: Vec<&str> = common.approvers.keys().map(String::as_str).collect();
            let help = match (nearest(&role, &known), known.is_empty()) {
                (Some(known), _) => format!("did you mean `{known}`?"),
                (None, true) => format!("declare it at the top of the file: `approvers: {{{role}: {{}}}}`"),
                (None, false) => format!("the roles are {}; declare it there if it is another one", list(&known)),
            };
            let message = format!("the role `{role}` is not declared under `approvers`");
            reader.error_with_help::<()>(node.span, message, help);
            continue;
        }
        if factors.iter().any(|factor| factor.role == role) {
            let help = "write one factor with a higher number of approvals";
            reader.error_with_help::<()>(node.span, format!("the role `{role}` stands there twice"), help);
            continue;
        }
        factors.extend(approvals.map(|approvals| Factor { role, approvals }));
    }
    (factors.len() == items.len()).then_some(factors)
}

fn read_unbind(reader: &mut Reader<'_>, node: &Node) -> Option<Vec<String>> {
    let items = reader.texts(node, "`unbind`")?;
    let token = |name: &String| name.bytes().all(|b| b.is_ascii_alphanumeric() || b"!#$%&'*+-.^`|~".contains(&b));
    if let Some(name) = items.iter().find(|name| !token(name)) {
        return reader.error(node.span, format!("`{name}` is not the name of a header"));
    }
    Some(items.into_iter().map(|name| name.to_ascii_lowercase()).collect())
}
