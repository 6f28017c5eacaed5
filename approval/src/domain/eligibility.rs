//! What a person may decide on: a role, within a scope and a time.

use std::{collections::BTreeSet, fmt, str::FromStr};

use holdgate_protocol::{Actor, RuleRef};
use serde::{Deserialize, Serialize};

use super::Terms;

/// How long authority lasts without being looked at again, in seconds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Lasting {
    /// How long after the sign-in a person may decide.
    pub fresh: u64,
    /// How long after it was granted or certified an eligibility holds.
    pub recertify_within: u64,
}

/// A role that somebody gave a person.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Eligibility {
    pub id: String,
    pub person: String,
    pub role: String,
    pub scope: Scope,
    pub from: Option<u64>,
    /// The first moment at which it does not hold any more.
    pub until: Option<u64>,
    pub granted_by: String,
    pub granted_at: u64,
    /// When somebody last said that it is still needed; at first, when it was granted.
    pub certified_at: u64,
}

/// The holds that an eligibility is for. What is not named is not limited; an empty list covers nothing.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Scope {
    /// Every rule that holds the request matches one of these.
    pub rules: Option<Vec<RulePattern>>,
    /// Gateway groups.
    pub groups: Option<Vec<String>>,
    /// The agents that make the requests themselves, whoever they act for.
    pub agents: Option<Vec<Actor>>,
    /// A policy's id.
    pub policy: Option<String>,
}

/// A rule's id, or a prefix of ids that ends in `*`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct RulePattern(String);

/// A text that is no pattern.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("`{0}` is neither a rule's id nor the beginning of one with `*` at its end")]
pub struct NotAPattern(String);

impl Default for Lasting {
    fn default() -> Self {
        Lasting { fresh: 15 * 60, recertify_within: 90 * 24 * 60 * 60 }
    }
}

/// The roles that a person with these eligibilities has for a hold at `now`.
pub fn roles<'a>(
    eligibilities: impl IntoIterator<Item = &'a Eligibility>,
    terms: &Terms,
    now: u64,
    recertify_within: u64,
) -> BTreeSet<String> {
    let counts = |one: &&Eligibility| one.holds_at(now, recertify_within) && one.scope.covers(terms);
    eligibilities.into_iter().filter(counts).map(|one| one.role.clone()).collect()
}

impl Eligibility {
    /// Whether it holds at a moment. It ends at `until`, and by itself where nobody certified it within the period.
    pub fn holds_at(&self, now: u64, recertify_within: u64) -> bool {
        let certified = self.granted_at.max(self.certified_at);
        self.from.is_none_or(|from| from <= now)
            && self.until.is_none_or(|until| now < until)
            && now < certified.saturating_add(recertify_within)
    }
}

impl Scope {
    /// Whether a hold lies within the scope.
    pub fn covers(&self, terms: &Terms) -> bool {
        let Scope { rules, groups, agents, policy } = self;
        let matches = |patterns: &Vec<RulePattern>, rule: &RuleRef| patterns.iter().any(|one| one.matches(&rule.id));
        let all = |patterns: &Vec<RulePattern>| {
            !terms.rules.is_empty() && terms.rules.iter().all(|rule| matches(patterns, rule))
        };
        rules.as_ref().is_none_or(all)
            && groups.as_ref().is_none_or(|groups| groups.contains(&terms.group))
            && agents.as_ref().is_none_or(|agents| agents.contains(&terms.agent.caller()))
            && policy.as_ref().is_none_or(|policy| *policy == terms.policy.id)
    }
}

impl RulePattern {
    pub fn matches(&self, rule: &str) -> bool {
        match self.0.strip_suffix('*') {
            Some(start) => rule.starts_with(start),
            None => self.0 == rule,
        }
    }
}

impl FromStr for RulePattern {
    type Err = NotAPattern;

    fn from_str(text: &str) -> Result<Self, NotAPattern> {
        let start = text.strip_suffix('*').unwrap_or(text);
        // The characters of a rule's id: a `*` elsewhere would match nothing and look as if it did.
        let plain = start.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"._-".contains(&byte));
        let sound = plain && !text.is_empty() && text.len() <= 128;
        sound.then(|| RulePattern(text.to_owned())).ok_or_else(|| NotAPattern(text.to_owned()))
    }
}

impl TryFrom<String> for RulePattern {
    type Error = NotAPattern;

    fn try_from(text: String) -> Result<Self, NotAPattern> {
        text.parse()
    }
}

impl From<RulePattern> for String {
    fn from(pattern: RulePattern) -> Self {
        pattern.0
    }
}

impl fmt::Display for RulePattern {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}
