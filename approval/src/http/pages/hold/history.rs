//! What happened to a hold, in words.

use std::collections::HashMap;

use serde_json::Value;

use super::view::{called, cause, outcome};
use crate::{
    domain::{Cause, Terms},
    http::text::{Html, line, lines, moment},
    service::detail::Happened,
};

/// One line of the history.
pub(super) struct Line {
    pub(super) seq: Option<u64>,
    pub(super) when: String,
    pub(super) person: Option<Html>,
    pub(super) what: Html,
    pub(super) reason: Option<Html>,
}

/// All of it, the oldest first.
pub(super) fn history(history: &[Happened], names: &HashMap<String, String>, terms: &Terms) -> Vec<Line> {
    let of = |one: &Happened| Line {
        seq: one.seq,
        when: moment(one.time),
        person: one.person.as_deref().map(|person| called(person, names)),
        what: line(&what(one, terms)),
        reason: one.reason.as_deref().map(lines),
    };
    history.iter().map(of).collect()
}

fn what(one: &Happened, terms: &Terms) -> String {
    let text = |name: &str| one.data.get(name).and_then(Value::as_str);
    let by_escalation = one.data.get("escalated") == Some(&Value::Bool(true));
    let role = || {
        let role = text("role").unwrap_or("a role that is not known");
        if by_escalation { format!("{role}, by escalation") } else { role.to_owned() }
    };
    match one.kind.as_str() {
        "hold.opened" => format!("held by policy {} (serial {})", terms.policy.id, terms.policy.serial),
        "viewed" => "opened this page first".to_owned(),
        "hold.approval" => format!("approved as {}; others are missing", role()),
        "hold.withdrawn" => "withdrew the approval".to_owned(),
        "hold.approval_lost" => "lost the authority to approve".to_owned(),
        "hold.approved" => format!("approved as {}: all that is needed", role()),
        "hold.denied" => format!("denied as {}", role()),
        "hold.expired" => match text("from") {
            Some("approved") => "expired: not used in time".to_owned(),
            _ => "expired: not decided in time".to_owned(),
        },
        "hold.cancelled" => match (&one.person, text("role"), text("cause").and_then(Cause::named)) {
            (Some(_), Some(_), _) => format!("took it back as {}", role()),
            (Some(_), None, _) => "has not the authority any more: cancelled".to_owned(),
            (None, _, Some(why)) => format!("cancelled: {}", cause(why)),
            (None, ..) if one.data.get("agent").is_some() => format!("cancelled: {}", cause(Cause::Suspended)),
            (None, ..) if one.data.get("group").is_some() => format!("cancelled: {}", cause(Cause::Gateway)),
            (None, ..) if one.data.get("policy").is_some() => format!("cancelled: {}", cause(Cause::Policy)),
            (None, ..) => "cancelled".to_owned(),
        },
        "hold.used" => "used: the one request was let through".to_owned(),
        "hold.outcome" => {
            let status = one.data.get("status").and_then(Value::as_u64).and_then(|status| u16::try_from(status).ok());
            let forwarded = one.data.get("forwarded") == Some(&Value::Bool(true));
            let (hold, attempt) = (String::new(), String::new());
            let told = outcome(&holdgate_protocol::gateway::Outcome { hold, attempt, forwarded, status });
            format!("reported: {}", told.trim_end_matches('.'))
        }
        "hold.outcome_unknown" => "no outcome was reported".to_owned(),
        "hold.reminded" => "reviewers were reminded".to_owned(),
        "hold.escalated" => format!("{} may step in", role()),
        other => other.to_owned(),
    }
}
