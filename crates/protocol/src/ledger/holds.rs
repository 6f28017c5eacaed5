//! Whether the entries of each hold tell a course that a hold can take, and who decided what they can have decided.

use std::collections::HashMap;

use super::finding::{FindingKind, Findings};
use crate::Json;

/// How far each hold has come. This is what verifying keeps in memory: about a hundred bytes a hold, more while it waits.
#[derive(Debug, Default)]
pub(super) struct Holds(HashMap<Box<str>, Stage>);

#[derive(Debug)]
enum Stage {
    Pending(Box<Open>),
    Approved,
    Used,
    Over,
}

/// What is known of a hold that waits.
#[derive(Debug)]
struct Open {
    /// What an approval needs: roles, and how often each. Empty where the entry does not tell, as older ones do not.
    factors: Vec<(String, u64)>,
    /// Until when it can be decided on, in Unix seconds.
    decide_by: u64,
    approved_by: Vec<String>,
}

/// What an entry says of a hold.
#[derive(Clone, Copy)]
pub(super) struct Said<'a> {
    pub(super) kind: &'a str,
    pub(super) hold: &'a str,
    pub(super) decided_by: Option<&'a str>,
    pub(super) time: u64,
    pub(super) data: &'a Json,
}

impl Holds {
    /// Takes what an entry says of a hold. Kinds that belong to no course say nothing here.
    pub(super) fn take(&mut self, said: Said<'_>, line: u64, seq: u64, findings: &mut Findings) {
        let Said { kind, hold, .. } = said;
        let deciders: &[&str] = match kind {
            "hold.opened" => &["policy", "model"],
            "hold.approval" | "hold.approved" | "hold.denied" | "hold.withdrawn" | "hold.used" => &["human"],
            "hold.expired" => &["timeout"],
            "hold.cancelled" => &["human", "policy"],
            "hold.reminded" | "hold.escalated" | "hold.approval_lost" | "hold.outcome" | "hold.outcome_unknown" => &[],
            _ => return,
        };
        let wrong = !deciders.is_empty() && !said.decided_by.is_some_and(|by| deciders.contains(&by));
        let decider = wrong.then_some("was not decided on by whom it is said to be");
        let mut stage = self.0.get_mut(hold);
        for problem in course(said, stage.as_deref_mut()).into_iter().chain(decider) {
            let shown: String = hold.chars().take(64).collect();
            findings.add(FindingKind::Course, line, Some(seq), || {
                format!("entry {seq} is `{kind}` of hold `{}`, which {problem}", shown.escape_debug())
            });
        }
        let next = match kind {
            "hold.opened" => Stage::Pending(Box::new(Open::read(said.data))),
            "hold.approved" => Stage::Approved,
            "hold.used" => Stage::Used,
            "hold.denied" | "hold.expired" | "hold.cancelled" => Stage::Over,
            _ => return,
        };
        match stage {
            Some(known) => *known = next,
            None => drop(self.0.insert(hold.into(), next)),
        }
    }
}

/// Why a hold cannot have come from its stage to what an entry says.
fn course(said: Said<'_>, stage: Option<&mut Stage>) -> Option<&'static str> {
    match (said.kind, stage) {
        ("hold.opened", None) => None,
        ("hold.opened", Some(_)) => Some("was opened before"),
        (_, None) => Some("was never opened"),
        ("hold.outcome" | "hold.outcome_unknown", Some(Stage::Used)) => None,
        ("hold.outcome" | "hold.outcome_unknown", Some(_)) => Some("was not used"),
        ("hold.used", Some(Stage::Used)) => Some("was used before; an approval is used once"),
        ("hold.used", Some(Stage::Pending(_))) => Some("was not approved"),
        (_, Some(Stage::Used | Stage::Over)) => Some("had ended before"),
        ("hold.used" | "hold.expired" | "hold.cancelled", Some(Stage::Approved)) => None,
        (_, Some(Stage::Approved)) => Some("was approved before"),
        ("hold.approval", Some(Stage::Pending(open))) => open.approve(said),
        ("hold.approved", Some(Stage::Pending(open))) => open.approve(said).or_else(|| open.quorum(said.data)),
        ("hold.withdrawn", Some(Stage::Pending(open))) => open.withdraw(said),
        ("hold.denied", Some(Stage::Pending(open))) => open.decides(said, "deny"),
        (_, Some(Stage::Pending(_))) => None,
    }
}

impl Open {
    fn read(data: &Json) -> Self {
        let number = |json: &Json, name: &str| json.member(&[name]).and_then(Json::as_u64);
        let factors = elements(data, "factors").iter();
        let factors = factors.filter_map(|one| Some((text(one, "role")?.to_owned(), number(one, "approvals")?)));
        let decide_by = number(data, "decide_by").unwrap_or(u64::MAX);
        Open { factors: factors.collect(), decide_by, approved_by: Vec::new() }
    }

    fn decides(&self, said: Said<'_>, verdict: &str) -> Option<&'static str> {
        if text(said.data, "person").is_none() || text(said.data, "verdict") != Some(verdict) {
            return Some("nobody is named to have decided on so");
        }
        (said.time >= self.decide_by).then_some("could not be decided on any more")
    }

    fn approve(&mut self, said: Said<'_>) -> Option<&'static str> {
        self.approved_by.extend(text(said.data, "person").map(ToOwned::to_owned));
        self.decides(said, "approve")
    }

    fn withdraw(&mut self, said: Said<'_>) -> Option<&'static str> {
        let person = text(said.data, "person");
        let before = self.approved_by.len();
        self.approved_by.retain(|by| Some(by.as_str()) != person);
        (self.approved_by.len() == before).then_some("this person had not approved")
    }

    /// Whether those who are said to fill the factors do so, each one, and have approved.
    fn quorum(&self, data: &Json) -> Option<&'static str> {
        let filled: Vec<_> =
            elements(data, "factors").iter().map(|one| (text(one, "role"), text(one, "person"))).collect();
        let approved = |person: Option<&str>| self.approved_by.iter().any(|by| Some(by.as_str()) == person);
        let again = |at: usize, person| filled.iter().take(at).any(|(_, other)| *other == person);
        if filled.iter().enumerate().any(|(at, (_, person))| !approved(*person) || again(at, *person)) {
            return Some("somebody did not approve who is said to fill a factor, or fills two");
        }
        let count = |role: &str| filled.iter().filter(|(by, _)| *by == Some(role)).count() as u64;
        let short = self.factors.iter().any(|(role, approvals)| count(role) < *approvals);
        short.then_some("was not approved by as many as it needs")
    }
}

fn text<'a>(data: &'a Json, name: &str) -> Option<&'a str> {
    data.member(&[name]).and_then(Json::as_str)
}

fn elements<'a>(data: &'a Json, name: &str) -> &'a [Json] {
    match data.member(&[name]) {
        Some(Json::Array(elements)) => elements,
        _ => &[],
    }
}
