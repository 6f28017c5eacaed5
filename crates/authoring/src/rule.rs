//! One rule of a file.

use std::collections::{BTreeMap, BTreeSet};

use holdgate_engine::Conditions;
use holdgate_protocol::{
    Escalation, Factor, Requirement,
    bundle::{Effect, Mode},
};

use crate::{
    accept::{self, Acceptance},
    codes::Code,
    conditions,
    diagnostic::{Quoted, Span},
    file::Approver,
    node::{Node, Value},
    reader::{DAY, Reader, describe, list, nearest},
    shape::{Key, Kind, Shape, words},
    tags::{self, Tags},
};

pub(crate) const RULE: Shape = Shape {
    what: "a rule",
    keys: &[
        Key::required("id", Kind::Name, "Unique among all rules that are compiled together."),
        Key::required("effect", Kind::Word(|| words(&EFFECTS)), "What the rule does with a request that it matches."),
        Key::optional("mode", Kind::Word(|| words(&MODES)), "`shadow`: the rule has no part in the verdict."),
        Key::optional("reason", Kind::Text, "A sentence that agents and reviewers are told."),
        Key::required(
            "match",
            Kind::Filled(&Kind::Map(&conditions::ENTRY)),
            "The rule matches if one of the entries does; all that an entry says must be so.",
        ),
        Key::optional("when", Kind::Text, "An expression (a subset of CEL) that must be true besides."),
        Key::optional("controls", Kind::List(&Kind::Text), "Controls that the rule serves, besides those of the file."),
        Key::optional("approval", Kind::Map(&APPROVAL), "Who must approve, and until when; only for `hold`."),
        Key::optional(
            "accept",
            Kind::Each(&Kind::Text),
            "Warnings of `check` that are meant so, each with the reason.",
        ),
    ],
    later: &[],
};
const APPROVAL: Shape = Shape {
    what: "`approval`",
    keys: &[
        Key::required("factors", Kind::Filled(&Kind::Map(&FACTOR)), "Who must approve; one person fills one factor."),
        Key::required(
            "decide_within",
            Kind::Duration,
            "The time from the opening of the hold to the last decision, such as `30m`.",
        ),
        Key::required(
            "use_within",
            Kind::Duration,
            "The time from the last decision to the moment the request goes on, such as `10m`.",
        ),
        Key::optional("wait", Kind::Duration, "How long the request is held open before the agent gets a ticket: 45s."),
        Key::optional("reason", Kind::Word(|| words(&REASONS)), "Whether reviewers must give a reason."),
        Key::optional("show", Kind::List(&Kind::Pointer), "The parts of the body that reviewers see: all."),
        Key::optional(
            "redact",
            Kind::List(&Kind::Pointer),
            "The parts of the body that leave the gateway only as a keyed hash: none.",
        ),
        Key::optional(
            "unbind",
            Kind::List(&Kind::Text),
            "Names of headers that may differ when the agent tries again: none.",
        ),
        Key::optional(
            "escalate",
            Kind::Map(&ESCALATION),
            "Who may step in where the factors are not met in time: nobody.",
        ),
        Key::optional(
            "reason_codes",
            Kind::Filled(&Kind::Text),
            "Codes of which a decision must name one: none is asked for.",
        ),
    ],
    later: &["reuse"],
};
const ESCALATION: Shape = Shape {
    what: "`escalate`",
    keys: &[
        Key::required(
            "role",
            Kind::Name,
            "A role that is declared under `approvers`; its holders may fill any factor.",
        ),
        Key::required("after", Kind::Share, "From when on: a share of `decide_within`, such as `50%`."),
    ],
    later: &[],
};
const FACTOR: Shape = Shape {
    what: "a factor",
    keys: &[
        Key::required("role", Kind::Name, "A role that is declared under `approvers`."),
        Key::required("approvals", Kind::Count, "So many persons who hold the role."),
    ],
    later: &[],
};

/// The inline wait of a rule that names none, in seconds: clients give up after 60.
const DEFAULT_WAIT: u64 = 45;

/// The most reason codes in one list, and the longest one.
const MOST_CODES: usize = 32;
const LONGEST_CODE: usize = 64;

/// The most controls in one list.
const MOST_CONTROLS: usize = 100;

pub(crate) const EFFECTS: [(&str, Effect); 3] =
    [("allow", Effect::Allow), ("hold", Effect::Hold), ("deny", Effect::Deny)];
pub(crate) const MODES: [(&str, Mode); 2] = [("enforce", Mode::Enforce), ("shadow", Mode::Shadow)];
const REASONS: [(&str, bool); 2] = [("required", true), ("optional", false)];

/// A rule whose keys have been resolved.
#[derive(Clone, Debug)]
pub(crate) struct Rule {
    pub(crate) id: String,
    pub(crate) effect: Effect,
    pub(crate) mode: Mode,
    pub(crate) reason: Option<String>,
    pub(crate) controls: Vec<String>,
    pub(crate) conditions: Conditions,
    pub(crate) approval: Option<Approval>,
    pub(crate) places: RulePlaces,
}

#[derive(Clone, Debug)]
pub(crate) struct Approval {
    pub(crate) requirement: Requirement,
    pub(crate) wait: u64,
}

/// Where a rule and its parts stand; entries and atoms are in the order of the compiled conditions.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RulePlaces {
    /// The name of the file.
    pub file: String,
    /// The id.
    pub rule: Span,
    pub entries: Vec<EntryPlaces>,
    /// The expression of `when`.
    pub when: Option<Span>,
    /// The key `approval`.
    pub approval: Option<Span>,
}

/// Where an entry of `match` and its atoms stand.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct EntryPlaces {
    pub span: Span,
    /// For each atom the key that says it, or the expression of `when`.
    pub atoms: Vec<Span>,
}

/// What the file says for all its rules.
pub(crate) struct Common {
    pub(crate) mode: Mode,
    pub(crate) controls: Vec<String>,
    /// Declared roles with their places.
    pub(crate) approvers: BTreeMap<String, Approver>,
    pub(crate) tags: Tags,
    pub(crate) acceptances: Vec<Acceptance>,
}

/// Reads a rule. The id comes out even if the rest is wrong, so that duplicates are found all the same.
pub(crate) fn read(
    reader: &mut Reader<'_>,
    node: &Node,
    common: &mut Common,
) -> (Option<(String, Span)>, Option<Rule>) {
    let before = reader.found();
    let Some(fields) = reader.fields(node, &RULE) else { return (None, None) };
    let id = reader.require(fields, "id").and_then(|node| Some((read_name(reader, node, "a rule's id")?, node.span)));
    let effect = reader.require(fields, "effect").and_then(|node| reader.word(node, "an effect", &EFFECTS));
    let mode = fields.get("mode").map_or(Some(common.mode), |node| reader.word(node, "a mode", &MODES));
    let reason = fields.get("reason").map(|node| reader.text(node, "`reason`"));
    let entries = reader.require(fields, "match");
    let found = conditions::read(reader, entries, fields.get("when"), effect, &mut common.tags);
    let own = fields.get("controls").map_or(Some(Vec::new()), |node| read_controls(reader, node));
    if let (Some(node), Some((id, _))) = (fields.get("accept"), &id) {
        common.acceptances.extend(accept::read(reader, node, Some(id)));
    }
    let approval = match (effect, fields.get("approval")) {
        (Some(Effect::Hold), Some(node)) => Some(read_approval(reader, node, common)),
        (Some(Effect::Hold), None) => {
            let help = "add `approval: {factors: [{role: ..., approvals: 1}], decide_within: 30m, use_within: 10m}`";
            let message = "a rule that holds needs the key `approval`";
            reader.error_with_help::<()>(node.span, Code::NoApproval, message, help);
            None
        }
        (Some(_), Some(_)) => {
            let help = "remove it, or write `effect: hold`";
            let message = "`approval` belongs to rules that hold";
            reader.error_with_help::<()>(fields.at("approval"), Code::SuperfluousApproval, message, help);
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
        let (effect, mode, (conditions, entries)) = (effect?, mode?, found?);
        let (reason, approval) =
            (reason.map_or(Some(None), |r| r.map(Some))?, approval.map_or(Some(None), |a| a.map(Some))?);
        let places = RulePlaces {
            file: reader.file().to_owned(),
            rule: at,
            entries,
            when: fields.get("when").map(|node| node.span),
            approval: fields.get("approval").map(|_| fields.at("approval")),
        };
        Some(Rule { id, effect, mode, reason, controls, conditions, approval, places })
    };
    let rule = complete().filter(|_| reader.found() == before);
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
        "{} is not a name: {what} has at most 128 letters, digits, `.`, `_` and `-`, \
         and starts with a letter or a digit",
        Quoted(&name)
    );
    reader.error(node.span, Code::NotAName, message)
}

/// Controls in the form `standard/control`.
pub(crate) fn read_controls(reader: &mut Reader<'_>, node: &Node) -> Option<Vec<String>> {
    let items = reader.list(node, "`controls`")?;
    if items.len() > MOST_CONTROLS {
        let message = format!("{} controls in one list; the most is {MOST_CONTROLS}", items.len());
        return reader.error(node.span, Code::TooLarge, message);
    }
    let mut controls = Vec::new();
    for item in items {
        let Some(control) = reader.text(item, "a control") else { continue };
        let plain = |part: &str| !part.is_empty() && !part.contains(|c: char| c.is_whitespace() || c.is_control());
        let sound = control.split_once('/').is_some_and(|(standard, rest)| plain(standard) && plain(rest));
        if !sound {
            let help = "write the standard, a slash and the control: `nist-csf-2.0/PR.AA-05`";
            let message = format!("{} is not a control", Quoted(&control));
            reader.error_with_help::<()>(item.span, Code::NotAControl, message, help);
        } else if controls.contains(&control) {
            let message = format!("the control {} stands there twice", Quoted(&control));
            reader.error::<()>(item.span, Code::Repeated, message);
        } else {
            controls.push(control);
        }
    }
    (controls.len() == items.len()).then_some(controls)
}

fn read_approval(reader: &mut Reader<'_>, node: &Node, common: &Common) -> Option<Approval> {
    let fields = reader.fields(node, &APPROVAL)?;
    let factors = reader.require(fields, "factors").and_then(|node| read_factors(reader, node, common));
    let mut limit = |key: &str| {
        let node = reader.require_or(fields, key, Code::NoTimeLimit)?;
        reader.duration(node, &format!("`{key}`"), 30 * DAY)
    };
    let (decide_within, use_within) = (limit("decide_within"), limit("use_within"));
    let wait = fields.get("wait").map_or(Some(DEFAULT_WAIT), |node| read_wait(reader, node));
    let reason = fields.get("reason").map_or(Some(false), |node| reader.word(node, "a value of `reason`", &REASONS));
    let show = fields.get("show").map(|node| reader.pointers(node, "`show`"));
    let redact = fields.get("redact").map_or(Some(Vec::new()), |node| reader.pointers(node, "`redact`"));
    let unbind = fields.get("unbind").map_or(Some(Vec::new()), |node| read_unbind(reader, node));
    let escalate = fields.get("escalate").map(|node| read_escalation(reader, node, common));
    let codes = fields.get("reason_codes").map_or(Some(Vec::new()), |node| read_codes(reader, node));
    let requirement = Requirement {
        factors: factors?,
        decide_within: decide_within?,
        use_within: use_within?,
        reason: reason?,
        show: show.map_or(Some(None), |show| show.map(Some))?,
        redact: redact?,
        unbind: unbind?,
        escalate: escalate.map_or(Some(None), |escalate| escalate.map(Some))?,
        codes: codes?,
    };
    Some(Approval { requirement: requirement.normalise(), wait: wait? })
}

/// Unlike other durations `wait` may be nothing: the agent gets its ticket at once.
fn read_wait(reader: &mut Reader<'_>, node: &Node) -> Option<u64> {
    match &node.value {
        Value::Scalar { text, .. } if text == "0s" => Some(0),
        _ => reader.duration(node, "`wait`", DAY),
    }
}

fn read_factors(reader: &mut Reader<'_>, node: &Node, common: &Common) -> Option<Vec<Factor>> {
    let items = reader.filled_list(node, "`factors`")?;
    let mut factors: Vec<Factor> = Vec::new();
    let mut roles: BTreeSet<String> = BTreeSet::new();
    for item in items {
        let Some(fields) = reader.fields(item, &FACTOR) else { continue };
        let role = reader.require(fields, "role");
        let approvals = reader.require(fields, "approvals");
        let approvals = approvals.and_then(|node| reader.count(node, "`approvals`"));
        let Some(node) = role else { continue };
        let Some(role) = read_role(reader, node, common) else { continue };
        if !roles.insert(role.clone()) {
            let help = "write one factor with a higher number of approvals";
            let message = format!("the role `{role}` stands there twice");
            reader.error_with_help::<()>(node.span, Code::Repeated, message, help);
            continue;
        }
        factors.extend(approvals.map(|approvals| Factor { role, approvals }));
    }
    (factors.len() == items.len()).then_some(factors)
}

/// A role that is declared.
fn read_role(reader: &mut Reader<'_>, node: &Node, common: &Common) -> Option<String> {
    let role = reader.text(node, "`role`")?;
    if !common.approvers.contains_key(&role) {
        undeclared_role(reader, &role, node.span, common);
        return None;
    }
    Some(role)
}

fn read_escalation(reader: &mut Reader<'_>, node: &Node, common: &Common) -> Option<Escalation> {
    let fields = reader.fields(node, &ESCALATION)?;
    let role = reader.require(fields, "role").and_then(|node| read_role(reader, node, common));
    let after = reader.require(fields, "after").and_then(|node| read_share(reader, node));
    Some(Escalation { role: role?, after: after? })
}

/// A whole percentage of the time limit, neither nothing nor all of it.
fn read_share(reader: &mut Reader<'_>, node: &Node) -> Option<u8> {
    let help = "write a whole percentage of `decide_within` from 1 to 99: `50%`";
    let Value::Scalar { text, .. } = &node.value else {
        let message = format!("`after` must be a share of the time limit, not {}", describe(&node.value));
        return reader.error_with_help(node.span, Code::NotAShare, message, help);
    };
    let digits = text.strip_suffix('%').filter(|digits| digits.starts_with(|c| matches!(c, '1'..='9')));
    match digits.and_then(|digits| digits.parse().ok()) {
        Some(after @ 1..=99) => Some(after),
        _ => {
            let message = format!("{} is not a share of the time limit", Quoted(text));
            reader.error_with_help(node.span, Code::NotAShare, message, help)
        }
    }
}

fn read_codes(reader: &mut Reader<'_>, node: &Node) -> Option<Vec<String>> {
    let items = reader.filled_list(node, "`reason_codes`")?;
    if items.len() > MOST_CODES {
        let message = format!("{} reason codes in one list; the most is {MOST_CODES}", items.len());
        let help = "ask for fewer; what else there is to say belongs into the reason";
        return reader.error_with_help(node.span, Code::TooLarge, message, help);
    }
    let mut codes: Vec<String> = Vec::new();
    for item in items {
        let Some(code) = reader.text(item, "a reason code") else { continue };
        let plain = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit() || b"._-".contains(&byte);
        if code.len() > LONGEST_CODE || !code.bytes().all(plain) {
            let message = format!("{} is not a reason code", Quoted(&code));
            let help = "a code has at most 64 of `a` to `z`, digits, `.`, `_` and `-`, such as `incident`";
            reader.error_with_help::<()>(item.span, Code::NotACode, message, help);
        } else if codes.contains(&code) {
            let message = format!("the reason code `{code}` stands there twice");
            reader.error_with_help::<()>(item.span, Code::Repeated, message, "name it once");
        } else {
            codes.push(code);
        }
    }
    (codes.len() == items.len()).then_some(codes)
}

fn undeclared_role(reader: &mut Reader<'_>, role: &str, at: Span, common: &Common) {
    if reader.is_full() {
        reader.error::<()>(at, Code::UndeclaredRole, "");
        return;
    }
    let known: Vec<&str> = common.approvers.keys().take(MOST_ROLES).map(String::as_str).collect();
    let help = match (nearest(role, &known), known.is_empty()) {
        (Some(known), _) => format!("did you mean `{known}`?"),
        (None, true) => {
            format!("declare it at the top of the file: {}", Quoted(&format!("approvers: {{{role}: {{}}}}")))
        }
        (None, false) => format!("the roles are {}; declare it there if it is another one", list(&known)),
    };
    let message = format!("the role {} is not declared under `approvers`", Quoted(role));
    reader.error_with_help::<()>(at, Code::UndeclaredRole, message, help);
}

/// Among how many roles the one that was meant is looked for.
const MOST_ROLES: usize = 100;

fn read_unbind(reader: &mut Reader<'_>, node: &Node) -> Option<Vec<String>> {
    let items = reader.texts(node, "`unbind`")?;
    if let Some(name) = items.iter().find(|name| !tags::is_header(name)) {
        let message = format!("{} is not the name of a header", Quoted(name));
        let help = "a name has letters, digits and `-`, such as `x-trace-id`";
        return reader.error_with_help(node.span, Code::NotAHeader, message, help);
    }
    Some(items.into_iter().map(|name| name.to_ascii_lowercase()).collect())
}
