//! What the page of one hold shows.

use std::collections::{BTreeSet, HashMap};

use askama::Template;
use holdgate_protocol::{
    Agent, Requirement, from_b64,
    gateway::{CapturedRequest, Outcome},
};
use serde_json::Value;

use super::{
    Form, Typed,
    history::{Line, history},
};
use crate::{
    domain::{Cause, Hold, Refusal, Stage, Terms, Verdict},
    http::{
        pages::views::Reader,
        text::{self, Html, body, distance, grouped, line, lines, moment, span},
    },
    service::detail::{Detail, Happened, Standing, Taken},
};

/// The most names of those who answer for an agent; the others are counted.
const MOST_NAMES: usize = 8;

#[derive(Template)]
#[template(path = "hold.html")]
pub(super) struct HoldPage {
    reader: Reader,
    id: String,
    state: &'static str,
    /// What the script compares with `/api/holds/{id}`.
    stamp: String,
    summary: Summary,
    /// What was said when it was taken back.
    ended_reason: Option<Html>,
    headline: Headline,
    rules: Vec<(String, Option<Html>)>,
    agent: Vec<(&'static str, Html)>,
    answering: Option<(&'static str, Html)>,
    facts: Vec<(&'static str, Html)>,
    factors: Vec<FactorView>,
    requirement: Vec<(&'static str, String)>,
    request: Option<RequestView>,
    agent_reason: Option<Html>,
    owner_unknown: Option<Html>,
    decisions: Vec<DecisionView>,
    outcomes: Vec<String>,
    history: Vec<Line>,
    /// Which form the page has; empty where it has none.
    form: &'static str,
    hindrance: Option<Html>,
    sign_in_again: bool,
    /// Until when the sign-in is recent enough.
    fresh: (u64, String),
    standing: Option<StandingView>,
    digest: String,
    reason_required: bool,
    /// The reason codes of which a decision names one, and whether it is the one that was chosen.
    codes: Vec<(String, bool)>,
    problem: Option<Html>,
    reason: String,
}

struct Headline {
    method: Html,
    authority: Html,
    path: Html,
    query: Option<Html>,
}

/// A sentence with a time in it.
struct Summary {
    before: String,
    at: u64,
    text: String,
    moment: String,
    after: Html,
}

struct FactorView {
    role: String,
    needed: u32,
    /// While the hold is pending.
    missing: u32,
    met: bool,
    by: Vec<(Html, bool)>,
}

struct RequestView {
    scheme: Html,
    fields: Vec<(Html, Html)>,
    /// Fields that the digest covers and nobody sees.
    hidden: Vec<Html>,
    size: String,
    body: Option<text::BodyView>,
    is_bytes: bool,
    differs: Option<String>,
    redacted: Vec<Html>,
    /// What a reviewer has to know of what they do not see.
    cautions: Vec<Html>,
}

struct DecisionView {
    verb: &'static str,
    approve: bool,
    name: Html,
    person: String,
    role: String,
    when: String,
    looked: Option<String>,
    signed_in: String,
    escalated: bool,
    code: Option<Html>,
    reason: Option<Html>,
    /// When it was withdrawn, and why.
    withdrawn: Option<(String, Option<Html>)>,
    /// Whether it stands and yet counts for nothing.
    lost: bool,
}

struct StandingView {
    role: String,
    escalated: bool,
    held_as: String,
    granted_by: Html,
    granted: String,
    until: Option<String>,
    others: Option<String>,
}

impl HoldPage {
    pub(super) fn new(reader: Reader, detail: Detail, now: u64, typed: Option<Typed>) -> Self {
        let hold = &detail.hold;
        let terms = &hold.terms;
        let requirement = &terms.requirement;
        let pending = matches!(hold.stage, Stage::Pending(_));
        let stale = detail.fresh_until < now;
        let form = form(&detail, pending);
        let kept = typed.as_ref().filter(|typed| Some(typed.form) == form);
        let code = kept.map_or("", |typed| typed.code.as_str());
        let is_hindrance = |why: &Refusal| pending && *why != Refusal::SignInAgain && !detail.can_withdraw;
        let captured = detail.captured.as_ref();
        let text_of =
            |get: fn(&CapturedRequest) -> &str| captured.map(|request| line(get(request))).unwrap_or_default();
        let headline = Headline {
            method: text_of(|request| &request.method),
            authority: text_of(|request| &request.authority),
            path: text_of(|request| &request.path),
            query: captured.and_then(|request| request.query.as_deref()).map(line),
        };
        HoldPage {
            id: terms.id.clone(),
            state: hold.stage.state().as_str(),
            stamp: stamp(&detail),
            summary: summary(hold, &detail.history, &detail.names, now),
            ended_reason: cancelled(&detail.history).and_then(|one| one.reason.as_deref()).map(lines),
            headline,
            rules: detail.rules.iter().map(|(id, why)| (id.clone(), why.as_deref().map(line))).collect(),
            agent: agent_facts(&terms.agent, &detail.names),
            answering: answering(&detail, pending),
            facts: facts(hold),
            factors: factors(&detail, pending),
            requirement: terms_of_approval(hold),
            request: captured.map(|request| request_view(request, terms)),
            agent_reason: detail.agent_reason.as_deref().map(lines),
            owner_unknown: detail.accountable.unknown.as_deref().filter(|_| pending).map(line),
            decisions: detail.decisions.iter().map(|taken| decision_view(taken, &detail)).collect(),
            outcomes: outcomes(&detail),
            history: history(&detail.history, &detail.names, terms),
            form: form.map_or("", Form::as_str),
            hindrance: detail.hindrance.as_ref().filter(|why| is_hindrance(why)).map(|why| line(&why.to_string())),
            sign_in_again: stale,
            fresh: (detail.fresh_until, moment(detail.fresh_until)),
            standing: detail.standing.as_ref().map(|standing| standing_view(standing, &detail.names)),
            digest: terms.digest.to_string(),
            reason_required: requirement.reason,
            codes: requirement.codes.iter().map(|one| (one.clone(), one == code)).collect(),
            reason: kept.map(|typed| typed.reason.clone()).unwrap_or_default(),
            problem: typed.map(|typed| line(&typed.problem)),
            reader,
        }
    }
}

fn form(detail: &Detail, pending: bool) -> Option<Form> {
    match &detail.hindrance {
        _ if detail.can_withdraw => Some(Form::Withdraw),
        _ if detail.can_revoke => Some(Form::Revoke),
        None | Some(Refusal::SignInAgain) if pending => Some(Form::Decide),
        _ => None,
    }
}

/// As the script makes it of the API's answer: what a reviewer would want to know of.
fn stamp(detail: &Detail) -> String {
    let missing: u32 = detail.missing.iter().map(|(_, count)| count).sum();
    let withdrawn = detail.decisions.iter().filter(|taken| taken.decision.withdrawn_at.is_some()).count();
    let (state, decisions) = (detail.hold.stage.state().as_str(), detail.decisions.len());
    format!("{state} {missing} {decisions} {withdrawn} {} {}", detail.outcomes.len(), detail.outcome.unwrap_or("none"))
}

/// A person by name; by id where the directory has none.
pub(super) fn called(person: &str, names: &HashMap<String, String>) -> Html {
    names.get(person).map_or_else(|| line(person), |name| line(name))
}

fn facts(hold: &Hold) -> Vec<(&'static str, Html)> {
    let terms = &hold.terms;
    vec![
        ("Hold", line(&terms.id)),
        ("Gateway group", line(&terms.group)),
        ("Policy", line(&format!("{} (serial {})", terms.policy.id, terms.policy.serial))),
        ("Revision", line(&terms.policy.rev.to_string())),
        ("Request digest", line(&terms.digest.to_string())),
        ("Digest covers", line(&terms.components.join(", "))),
        ("Requirement", line(&terms.requirement_hash.to_string())),
        ("Opened", line(&moment(hold.opened_at))),
    ]
}

fn terms_of_approval(hold: &Hold) -> Vec<(&'static str, String)> {
    let requirement = &hold.terms.requirement;
    let mut terms = vec![
        ("Decide within", span(requirement.decide_within)),
        ("Use within", format!("{} of the last approval", span(requirement.use_within))),
        ("Reason", if requirement.reason { "required" } else { "optional" }.to_owned()),
    ];
    if let Some((escalate, from)) = requirement.escalate.as_ref().zip(requirement.escalates_at(hold.opened_at)) {
        terms.push(("May step in", format!("{}, from {} on", escalate.role, moment(from))));
    }
    if let Some(shown) = shown(requirement) {
        terms.push(("Body shown", format!("only {shown}")));
    }
    if !requirement.redact.is_empty() {
        terms.push(("Body hidden", pointers(&requirement.redact)));
    }
    if !requirement.unbind.is_empty() {
        terms.push(("Headers not covered", requirement.unbind.join(", ")));
    }
    terms
}

/// What the policy lets reviewers see of a body, where it does not let them see all.
fn shown(requirement: &Requirement) -> Option<String> {
    let shown = requirement.show.as_ref()?;
    Some(if shown.is_empty() { "none of it".to_owned() } else { pointers(shown) })
}

fn pointers(pointers: &[holdgate_protocol::Pointer]) -> String {
    let all: Vec<&str> =
        pointers.iter().map(|pointer| if pointer.as_str().is_empty() { "all" } else { pointer.as_str() }).collect();
    all.join(", ")
}

fn factors(detail: &Detail, pending: bool) -> Vec<FactorView> {
    let factors = detail.hold.terms.requirement.factors.iter().filter(|factor| factor.approvals > 0);
    let view = |factor: &holdgate_protocol::Factor| {
        let by = detail.filled.iter().filter(|filled| filled.role == factor.role);
        let by: Vec<_> = by.map(|filled| (called(&filled.person, &detail.names), filled.escalated)).collect();
        let missing = detail.missing.iter().find(|(role, _)| *role == factor.role).map_or(0, |(_, count)| *count);
        let met = if pending { missing == 0 } else { by.len() as u64 >= u64::from(factor.approvals) };
        FactorView { role: factor.role.clone(), needed: factor.approvals, missing, met, by }
    };
    factors.map(view).collect()
}

fn agent_facts(agent: &Agent, names: &HashMap<String, String>) -> Vec<(&'static str, Html)> {
    let caller = agent.caller();
    let mut facts = vec![("Agent", line(&caller.sub)), ("Issuer", line(&caller.iss))];
    for actor in agent.act.iter().skip(1) {
        facts.push(("On behalf of agent", line(&format!("{} at {}", actor.sub, actor.iss))));
    }
    if !agent.act.is_empty() {
        facts.push(("On behalf of", line(&format!("{} at {}", agent.sub, agent.iss))));
    }
    let owner = agent.owner.as_deref().map_or_else(
        || "none".to_owned(),
        |owner| match names.get(owner) {
            Some(group) if owner.starts_with("group/") => format!("{owner} ({group})"),
            _ => owner.to_owned(),
        },
    );
    facts.push(("Owner", line(&owner)));
    facts
}

/// Who answers for the agent, by name: they do not decide.
fn answering(detail: &Detail, pending: bool) -> Option<(&'static str, Html)> {
    let persons = &detail.accountable.persons;
    let name = |person: &String| {
        let name = detail.names.get(person).map_or(person.as_str(), String::as_str);
        format!("{name} ({person})")
    };
    let mut names: Vec<String> = persons.iter().take(MOST_NAMES).map(name).collect();
    if persons.len() > MOST_NAMES {
        names.push(format!("{} more", persons.len() - MOST_NAMES));
    }
    let label = if pending { "Answer for it" } else { "Answer for it today" };
    (!names.is_empty()).then(|| (label, line(&names.join(", "))))
}

fn request_view(request: &CapturedRequest, terms: &Terms) -> RequestView {
    let requirement = &terms.requirement;
    let bytes = request.body.b64.as_deref().and_then(from_b64);
    let captured = bytes.as_ref().map_or(0, |bytes| bytes.len() as u64);
    let withheld = bytes.is_none() && request.body.size > 0;
    let body = bytes.filter(|bytes| !bytes.is_empty()).map(|bytes| body(&bytes));
    let seen: BTreeSet<&str> = request.fields.iter().map(|(name, _)| name.as_str()).collect();
    let computed = |name: &str| name.starts_with('@') || name == "content-digest";
    let hidden = terms.components.iter().map(String::as_str).filter(|name| !computed(name) && !seen.contains(name));
    let hidden: BTreeSet<&str> = hidden.collect();
    let count = grouped(captured);
    let replaced = request.body.redacted.len();
    let differs = (!withheld && captured != request.body.size).then(|| match shown(requirement) {
        Some(shown) => format!("The policy shows only {shown}; of all else an HMAC stands here, {count} bytes in all"),
        None if replaced > 0 => format!("{count} bytes stand here, since values were replaced"),
        None if !requirement.redact.is_empty() => format!("{count} bytes stand here: the same JSON, written anew"),
        None => format!("Only {count} bytes of it were captured"),
    });
    let mut cautions = Vec::new();
    if withheld {
        cautions.push(line("The body is not shown"));
    }
    if body.as_ref().is_some_and(|body| body.html.is_cut()) {
        cautions.push(line("Not all of the body is shown"));
    }
    match shown(requirement) {
        Some(shown) if !withheld && request.body.size > 0 => {
            cautions.push(line(&format!("The policy shows only {shown} of the body")));
        }
        _ if !withheld && replaced > 0 => {
            cautions.push(line(&format!("{replaced} values of the body are replaced by an HMAC")));
        }
        _ if !withheld && requirement.redact.is_empty() && captured < request.body.size => {
            cautions.push(line("The body was not captured as a whole"));
        }
        _ => {}
    }
    if !hidden.is_empty() {
        let names: Vec<&str> = hidden.iter().copied().collect();
        cautions.push(line(&format!("Headers that are not shown: {}", names.join(", "))));
    }
    RequestView {
        scheme: line(&request.scheme),
        fields: request.fields.iter().map(|(name, value)| (line(name), line(value))).collect(),
        hidden: hidden.into_iter().map(line).collect(),
        size: grouped(request.body.size),
        is_bytes: body.as_ref().is_some_and(|body| body.form == "bytes"),
        body,
        differs,
        redacted: request.body.redacted.iter().map(|pointer| line(pointer.as_str())).collect(),
        cautions,
    }
}

fn decision_view(taken: &Taken, detail: &Detail) -> DecisionView {
    let decision = &taken.decision;
    let approve = decision.verdict == Verdict::Approve;
    let filled = detail.filled.iter().find(|filled| approve && filled.person == decision.person);
    let filled = filled.filter(|_| decision.approval().is_some());
    let looked = match taken.looked {
        _ if decision.withdrawn_at.is_some() => None,
        None => Some("decided without opening this page".to_owned()),
        Some(seconds) => Some(format!("first opened {} before", span(seconds))),
    };
    DecisionView {
        verb: if approve { "approved" } else { "denied" },
        approve,
        name: line(&decision.name),
        person: decision.person.clone(),
        role: filled.map_or(&decision.role, |filled| &filled.role).clone(),
        when: moment(decision.decided_at),
        looked,
        signed_in: signed_in(decision.signed_in_at, taken.via.as_ref()),
        escalated: filled.map_or(decision.escalated, |filled| filled.escalated),
        code: decision.code.as_deref().map(line),
        withdrawn: decision.withdrawn_at.map(|at| (moment(at), taken.withdrawn_reason.as_deref().map(lines))),
        lost: approve && decision.withdrawn_at.is_none() && filled.is_none(),
        reason: Some(decision.reason.trim()).filter(|reason| !reason.is_empty()).map(lines),
    }
}

fn signed_in(at: u64, via: Option<&Value>) -> String {
    let at = moment(at);
    let part = |name: &str| via.and_then(|via| via.get("provider")?.get(name)?.as_str());
    match (via, part("iss"), part("client")) {
        (_, Some(iss), Some(client)) => format!("{at} at {} by {}", text::plain(iss, 200), text::plain(client, 100)),
        (Some(via), ..) if via == "local" => format!("{at} with a password of this service"),
        _ => at,
    }
}

fn standing_view(standing: &Standing, names: &HashMap<String, String>) -> StandingView {
    let Standing { by, eligibility, until, others } = standing;
    StandingView {
        role: by.role.clone(),
        escalated: by.escalated,
        held_as: eligibility.role.clone(),
        granted_by: called(&eligibility.granted_by, names),
        granted: moment(eligibility.granted_at),
        until: until.map(moment),
        others: (!others.is_empty()).then(|| others.join(", ")),
    }
}

/// What became of the request. A redemption without a report is unknown, and said to be so once the time for one is over.
fn outcomes(detail: &Detail) -> Vec<String> {
    if matches!(detail.hold.stage, Stage::Used(_)) && detail.outcomes.is_empty() {
        let text = match detail.outcome {
            Some("unknown") => "No outcome was reported: whether it reached the upstream is unknown.",
            _ => "The gateway has not reported yet what became of it.",
        };
        return vec![text.to_owned()];
    }
    detail.outcomes.iter().map(outcome).collect()
}

pub(in crate::http::pages) fn outcome(outcome: &Outcome) -> String {
    match (outcome.forwarded, outcome.status) {
        (true, Some(status)) => format!("It went upstream, which answered {status}."),
        (true, None) => "It went upstream; no answer is known.".to_owned(),
        (false, _) => "The gateway did not let it go on.".to_owned(),
    }
}

/// Why a hold was cancelled, in words.
pub(super) fn cause(cause: Cause) -> &'static str {
    match cause {
        Cause::Revoked => "a reviewer took it back",
        Cause::Policy => "a newer policy asks for something else",
        Cause::Suspended => "its agent was suspended",
        Cause::Authority => "those who approved it have not the authority any more",
        Cause::Gateway => "its gateway was taken out of service",
        Cause::Restored => "the service was restored from an older state",
    }
}

fn cancelled(history: &[Happened]) -> Option<&Happened> {
    history.iter().rev().find(|one| one.kind == "hold.cancelled")
}

fn summary(hold: &Hold, history: &[Happened], names: &HashMap<String, String>, now: u64) -> Summary {
    let of = |before: &str, at: u64, after: Html| Summary {
        before: before.to_owned(),
        at,
        text: distance(at, now),
        moment: moment(at),
        after,
    };
    match &hold.stage {
        Stage::Pending(pending) => of("Waits for a decision. Expires", pending.decide_by, line(".")),
        Stage::Approved(approved) => of("Approved, not used yet. The approval ends", approved.use_by, line(".")),
        Stage::Denied => of("Denied", hold.since, line(".")),
        Stage::Expired => {
            let approved = history.iter().any(|one| one.kind == "hold.approved");
            let why = if approved { "the approval was not used" } else { "not all who were asked decided" };
            of("Expired", hold.since, line(&format!(": {why} in time.")))
        }
        Stage::Cancelled(why) => {
            let person = cancelled(history).and_then(|one| one.person.as_deref()).filter(|_| *why == Cause::Revoked);
            let why = person.map_or_else(
                || format!(": {}.", cause(*why)),
                |person| format!(": {} took it back.", names.get(person).map_or(person, String::as_str)),
            );
            of("Cancelled", hold.since, line(&why))
        }
        Stage::Used(_) => of("Used", hold.since, line(". An approval counts once.")),
    }
}
