//! What the templates show.

use askama::Template;
use holdgate_protocol::{Agent, from_b64, gateway::HoldState};

use crate::{
    domain::{Cause, Refusal, Stage, Verdict},
    http::{
        session::SignedIn,
        text::{self, Html, body, distance, grouped, line, lines, moment, span},
    },
    service::read::{Detail, Line},
    store::holds::Decision,
};

/// Who reads the page.
pub(super) struct Reader {
    pub(super) name: String,
    pub(super) csrf: String,
}

impl Reader {
    pub(super) fn new(signed: &SignedIn) -> Self {
        Reader { name: signed.session.person.name.clone(), csrf: signed.csrf().unwrap_or_default() }
    }
}

#[derive(Template)]
#[template(path = "signin.html")]
pub(super) struct SignInPage {
    pub(super) csrf: String,
    pub(super) problem: Option<String>,
    pub(super) person: String,
    pub(super) next: String,
    /// How the provider is called, where people can sign in at one.
    pub(super) provider: Option<String>,
    pub(super) again: bool,
}

#[derive(Template)]
#[template(path = "signin_failed.html")]
pub(super) struct FailedSignInPage {
    pub(super) detail: Html,
}

#[derive(Template)]
#[template(path = "signed_in.html")]
pub(super) struct SignedInPage {
    pub(super) next: String,
}

#[derive(Template)]
#[template(path = "error.html")]
pub(super) struct ErrorPage {
    pub(super) title: &'static str,
    pub(super) detail: Html,
}

#[derive(Template)]
#[template(path = "refused.html")]
pub(super) struct RefusedPage {
    reader: Reader,
    done: usize,
    refused: Vec<(String, Html)>,
}

impl RefusedPage {
    pub(super) fn new(signed: &SignedIn, done: usize, refused: Vec<(String, String)>) -> Self {
        let refused = refused.into_iter().map(|(hold, why)| (hold, line(&why))).collect();
        RefusedPage { reader: Reader::new(signed), done, refused }
    }
}

#[derive(Template)]
#[template(path = "holds.html")]
pub(super) struct ListPage {
    reader: Reader,
    state: &'static str,
    states: [&'static str; 6],
    open: bool,
    total: String,
    rows: Vec<Row>,
    first: bool,
    next: Option<String>,
    limit: u32,
}

/// A hold in the list.
struct Row {
    id: String,
    method: Html,
    target: Html,
    query: Option<Html>,
    agent: Html,
    issuer: Html,
    /// Subject and issuer of whom the agent acts for, where it acts for somebody.
    behalf: Option<(Html, Html)>,
    owner: Option<Html>,
    rules: Vec<String>,
    deadline: u64,
    deadline_text: String,
    deadline_moment: String,
    urgent: bool,
    cause: Option<&'static str>,
}

impl ListPage {
    pub(super) fn new(signed: &SignedIn, state: HoldState, lines: Vec<Line>, total: u64, now: u64) -> Self {
        let open = matches!(state, HoldState::Pending | HoldState::Approved);
        let row = |Line { listed, .. }: Line| {
            let deadline = listed.hold.stage.deadline().unwrap_or(listed.hold.since);
            let terms = listed.hold.terms;
            let agent = &terms.agent;
            let caller = agent.caller();
            Row {
                method: line(&listed.method),
                target: line(&format!("{}{}", listed.authority, listed.path)),
                query: listed.query.map(|query| text::line_with_rest(&query.text, query.rest)),
                agent: line(&caller.sub),
                issuer: line(&caller.iss),
                behalf: (!agent.act.is_empty()).then(|| (line(&agent.sub), line(&agent.iss))),
                owner: agent.owner.as_deref().map(line),
                rules: terms.rules.into_iter().map(|rule| rule.id).collect(),
                deadline,
                deadline_text: distance(deadline, now),
                deadline_moment: moment(deadline),
                urgent: open && deadline < now.saturating_add(300),
                cause: listed.hold.stage.cause().map(|cause| cause.as_str()),
                id: terms.id,
            }
        };
        ListPage {
            reader: Reader::new(signed),
            state: state.as_str(),
            states: ["pending", "approved", "used", "denied", "expired", "cancelled"],
            open,
            total: grouped(total),
            rows: lines.into_iter().map(row).collect(),
            first: true,
            next: None,
            limit: 0,
        }
    }

    pub(super) fn paged(self, behind: bool, next: Option<String>, limit: u32) -> Self {
        ListPage { first: !behind, next, limit, ..self }
    }
}

#[derive(Template)]
#[template(path = "hold.html")]
pub(super) struct HoldPage {
    reader: Reader,
    id: String,
    state: &'static str,
    pending: bool,
    revocable: bool,
    summary: String,
    deadline: u64,
    headline: Headline,
    rules: Vec<(String, Option<Html>)>,
    agent: Vec<(&'static str, Html)>,
    facts: Vec<(&'static str, Html)>,
    factors: Vec<FactorView>,
    requirement: Vec<(&'static str, String)>,
    request: Option<RequestView>,
    agent_reason: Option<Html>,
    owner_unknown: Option<Html>,
    decisions: Vec<DecisionView>,
    outcomes: Vec<String>,
    hindrance: Option<Html>,
    sign_in_again: bool,
    reason_required: bool,
    /// The reason codes of which a decision names one.
    codes: Vec<String>,
    can_withdraw: bool,
    problem: Option<Html>,
    reason: String,
}

struct Headline {
    method: Html,
    authority: Html,
    path: Html,
    query: Option<Html>,
}

struct FactorView {
    role: String,
    needed: u32,
    missing: u32,
}

struct RequestView {
    scheme: Html,
    fields: Vec<(Html, Html)>,
    size: String,
    body: Option<text::BodyView>,
    differs: Option<String>,
    redacted: Vec<Html>,
}

struct DecisionView {
    verb: &'static str,
    approve: bool,
    name: Html,
    person: String,
    role: String,
    when: String,
    signed_in: String,
    escalated: bool,
    code: Option<Html>,
    reason: Option<Html>,
    /// When it was withdrawn.
    withdrawn: Option<String>,
}

impl HoldPage {
    pub(super) fn new(signed: &SignedIn, detail: Detail, now: u64) -> Self {
        let hold = detail.hold;
        let terms = &hold.terms;
        let requirement = &terms.requirement;
        let deadline = hold.stage.deadline().unwrap_or(hold.since);
        let missing_of = |role: &str| detail.missing.iter().find(|(r, _)| r == role).map_or(0, |(_, count)| *count);
        let factors = requirement.factors.iter().map(|factor| FactorView {
            role: factor.role.clone(),
            needed: factor.approvals,
            missing: missing_of(&factor.role),
        });
        let captured = detail.captured.as_ref();
        let text_of = |get: fn(&holdgate_protocol::gateway::CapturedRequest) -> &str| {
            captured.map(|request| line(get(request))).unwrap_or_default()
        };
        let headline = Headline {
            method: text_of(|request| &request.method),
            authority: text_of(|request| &request.authority),
            path: text_of(|request| &request.path),
            query: captured.and_then(|request| request.query.as_deref()).map(line),
        };
        let sign_in_again = detail.hindrance == Some(Refusal::SignInAgain);
        let facts = vec![
            ("Hold", line(&terms.id)),
            ("Gateway group", line(&terms.group)),
            ("Policy", line(&format!("{} (serial {})", terms.policy.id, terms.policy.serial))),
            ("Revision", line(&terms.policy.rev.to_string())),
            ("Request digest", line(&terms.digest.to_string())),
            ("Digest covers", line(&terms.components.join(", "))),
            ("Requirement", line(&terms.requirement_hash.to_string())),
            ("Opened", line(&moment(hold.opened_at))),
        ];
        let mut terms_of_approval = vec![
            ("Decide within", span(requirement.decide_within)),
            ("Use within", format!("{} of the last approval", span(requirement.use_within))),
            ("Reason", if requirement.reason { "required" } else { "optional" }.to_owned()),
        ];
        if let Some((escalate, from)) = requirement.escalate.as_ref().zip(requirement.escalates_at(hold.opened_at)) {
            terms_of_approval.push(("May step in", format!("{}, from {} on", escalate.role, moment(from))));
        }
        if !requirement.unbind.is_empty() {
            terms_of_approval.push(("Headers not covered", requirement.unbind.join(", ")));
        }
        HoldPage {
            reader: Reader::new(signed),
            id: terms.id.clone(),
            state: hold.stage.state().as_str(),
            pending: matches!(hold.stage, Stage::Pending(_)),
            revocable: matches!(hold.stage, Stage::Approved(_)),
            summary: summary(&hold.stage, hold.since, now),
            deadline,
            headline,
            rules: detail.rules.into_iter().map(|(id, why)| (id, why.as_deref().map(line))).collect(),
            agent: agent_facts(&terms.agent),
            facts,
            factors: factors.collect(),
            requirement: terms_of_approval,
            request: detail.captured.as_ref().map(request_view),
            agent_reason: detail.agent_reason.as_deref().map(lines),
            owner_unknown: detail.accountable.unknown.as_deref().map(line),
            decisions: detail.decisions.iter().map(decision_view).collect(),
            outcomes: outcomes(&hold.stage, &detail.outcomes),
            hindrance: detail.hindrance.filter(|why| *why != Refusal::SignInAgain).map(|why| line(&why.to_string())),
            sign_in_again,
            reason_required: requirement.reason,
            codes: requirement.codes.clone(),
            can_withdraw: detail.can_withdraw,
            problem: None,
            reason: String::new(),
        }
    }

    pub(super) fn with_problem(self, problem: Option<String>, reason: &str) -> Self {
        HoldPage { problem: problem.as_deref().map(line), reason: reason.to_owned(), ..self }
    }
}

fn agent_facts(agent: &Agent) -> Vec<(&'static str, Html)> {
    let caller = agent.caller();
    let mut facts = vec![("Agent", line(&caller.sub)), ("Issuer", line(&caller.iss))];
    for actor in agent.act.iter().skip(1) {
        facts.push(("On behalf of agent", line(&format!("{} at {}", actor.sub, actor.iss))));
    }
    if !agent.act.is_empty() {
        facts.push(("On behalf of", line(&format!("{} at {}", agent.sub, agent.iss))));
    }
    facts.push(("Owner", agent.owner.as_deref().map_or_else(|| line("none"), line)));
    facts
}

fn request_view(request: &holdgate_protocol::gateway::CapturedRequest) -> RequestView {
    let bytes = request.body.b64.as_deref().and_then(from_b64);
    let captured = bytes.as_ref().map_or(0, |bytes| bytes.len() as u64);
    let differs = bytes.is_some() && captured != request.body.size;
    let note = || format!("{} bytes were captured of it after redaction", grouped(captured));
    RequestView {
        scheme: line(&request.scheme),
        fields: request.fields.iter().map(|(name, value)| (line(name), line(value))).collect(),
        size: grouped(request.body.size),
        body: bytes.filter(|bytes| !bytes.is_empty()).map(|bytes| body(&bytes)),
        differs: differs.then(note),
        redacted: request.body.redacted.iter().map(|pointer| line(pointer.as_str())).collect(),
    }
}

fn decision_view(decision: &Decision) -> DecisionView {
    let approve = decision.verdict == Verdict::Approve;
    DecisionView {
        verb: if approve { "approved" } else { "denied" },
        approve,
        name: line(&decision.name),
        person: decision.person.clone(),
        role: decision.role.clone(),
        when: moment(decision.decided_at),
        signed_in: moment(decision.signed_in_at),
        escalated: decision.escalated,
        code: decision.code.as_deref().map(line),
        withdrawn: decision.withdrawn_at.map(moment),
        reason: Some(decision.reason.trim()).filter(|reason| !reason.is_empty()).map(lines),
    }
}

/// A redemption without a report is unknown, and said to be so.
fn outcomes(stage: &Stage, reported: &[holdgate_protocol::gateway::Outcome]) -> Vec<String> {
    if matches!(stage, Stage::Used(_)) && reported.is_empty() {
        return vec!["No outcome was reported: whether it reached the upstream is unknown.".to_owned()];
    }
    reported.iter().map(outcome).collect()
}

fn outcome(outcome: &holdgate_protocol::gateway::Outcome) -> String {
    match (outcome.forwarded, outcome.status) {
        (true, Some(status)) => format!("It went upstream, which answered {status}."),
        (true, None) => "It went upstream; no answer is known.".to_owned(),
        (false, _) => "The gateway did not let it go on.".to_owned(),
    }
}

fn summary(stage: &Stage, since: u64, now: u64) -> String {
    match stage {
        Stage::Pending(pending) => format!("Waits for a decision. Expires {}.", distance(pending.decide_by, now)),
        Stage::Approved(approved) => {
            format!("Approved, not used yet. The approval ends {}.", distance(approved.use_by, now))
        }
        Stage::Denied => format!("Denied {}.", distance(since, now)),
        Stage::Expired => format!("Expired {}: nobody decided or used it in time.", distance(since, now)),
        Stage::Cancelled(cause) => {
            let why = match cause {
                Cause::Revoked => "a reviewer took it back",
                Cause::Policy => "a newer policy asks for something else",
                Cause::Suspended => "its agent was suspended",
                Cause::Authority => "those who approved it have not the authority any more",
                Cause::Gateway => "its gateway was taken out of service",
                Cause::Restored => "the service was restored from an older state",
            };
            format!("Cancelled {}: {why}.", distance(since, now))
        }
        Stage::Used(_) => format!("Used {}. An approval counts once.", distance(since, now)),
    }
}
