//! What differs between two bundles, rule by rule.

use std::{collections::BTreeMap, fmt};

use holdgate_engine::Policy;
use holdgate_protocol::{
    Json, Requirement,
    bundle::{Bundle, Effect, Rule},
};
use serde::Serialize;

/// A bundle whose conditions are only compared.
pub(crate) type AnyBundle = Bundle<Json>;

/// What a newer bundle does otherwise.
#[derive(Debug, Default, PartialEq, Serialize)]
pub(crate) struct Changes {
    /// The policy's old id, where it has another one now.
    renamed_from: Option<String>,
    added: Vec<RuleLine>,
    removed: Vec<RuleLine>,
    changed: Vec<ChangedRule>,
    unchanged: usize,
}

#[derive(Debug, PartialEq, Serialize)]
struct RuleLine {
    id: String,
    effect: Effect,
}

#[derive(Debug, PartialEq, Serialize)]
struct ChangedRule {
    id: String,
    effect: Effect,
    /// The parts that differ: `effect`, `mode`, `conditions`, `approval`, `reason`, `controls`.
    parts: Vec<&'static str>,
}

impl Changes {
    /// From `old` to `new`, in the order of `new`; the order of rules is no difference.
    pub(crate) fn between(old: &AnyBundle, new: &AnyBundle) -> Self {
        Changes::find(old, &new.id, &new.rules, |rule| new.requirements.get(rule.approval?.requirement))
    }

    /// As [`Changes::between`], where the new one is loaded.
    pub(crate) fn to_policy(old: &AnyBundle, new: &Policy) -> Self {
        Changes::find(old, &new.reference().id, new.rules(), |rule| new.requirement(rule))
    }

    /// Nothing changed in so many rules.
    pub(crate) fn none(unchanged: usize) -> Self {
        Changes { unchanged, ..Changes::default() }
    }

    fn find<'n, C>(
        old: &AnyBundle,
        id: &str,
        rules: &'n [Rule<C>],
        requirement: impl Fn(&Rule<C>) -> Option<&'n Requirement>,
    ) -> Self {
        let mut gone: BTreeMap<&str, &Rule<Json>> = old.rules.iter().map(|rule| (rule.id.as_str(), rule)).collect();
        let mut changes = Changes { renamed_from: (old.id != id).then(|| old.id.clone()), ..Changes::default() };
        for rule in rules {
            let Some(was) = gone.remove(rule.id.as_str()) else {
                changes.added.push(RuleLine { id: rule.id.clone(), effect: rule.effect });
                continue;
            };
            let before = was.approval.map(|approval| (old.requirements.get(approval.requirement), approval.wait));
            let after = rule.approval.map(|approval| (requirement(rule), approval.wait));
            let parts = [
                ("effect", was.effect != rule.effect),
                ("mode", was.mode != rule.mode),
                ("conditions", was.hash != rule.hash),
                ("approval", before != after),
                ("reason", was.reason != rule.reason),
                ("controls", was.controls != rule.controls),
            ];
            let parts: Vec<&str> = parts.into_iter().filter(|(_, differs)| *differs).map(|(part, _)| part).collect();
            if parts.is_empty() {
                changes.unchanged += 1;
            } else {
                changes.changed.push(ChangedRule { id: rule.id.clone(), effect: rule.effect, parts });
            }
        }
        let removed = old.rules.iter().filter(|rule| gone.contains_key(rule.id.as_str()));
        changes.removed = removed.map(|rule| RuleLine { id: rule.id.clone(), effect: rule.effect }).collect();
        changes
    }
}

impl fmt::Display for Changes {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Changes { renamed_from, added, removed, changed, unchanged } = self;
        if let Some(id) = renamed_from {
            writeln!(f, "the policy was `{id}`")?;
        }
        for RuleLine { id, effect } in added {
            writeln!(f, "+ `{id}` ({})", word(*effect))?;
        }
        for RuleLine { id, effect } in removed {
            writeln!(f, "- `{id}` ({})", word(*effect))?;
        }
        for ChangedRule { id, effect, parts } in changed {
            writeln!(f, "~ `{id}` ({}): {}", word(*effect), parts.join(", "))?;
        }
        let (added, removed, changed) = (added.len(), removed.len(), changed.len());
        writeln!(f, "rules: {added} added, {removed} removed, {changed} changed, {unchanged} as before")
    }
}

/// An effect as it stands in rule files.
pub(crate) fn word(effect: Effect) -> &'static str {
    match effect {
        Effect::Allow => "allow",
        Effect::Hold => "hold",
        Effect::Deny => "deny",
    }
}
