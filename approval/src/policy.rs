//! The published policy as the service reads it: what rules hold and what their approval needs.

use holdgate_protocol::{
    Hash, Json, Requirement, RuleRef,
    bundle::{self, Bundle, BundleError, Effect, Mode, PolicyRef},
};

/// A published bundle. Its conditions stay opaque; their hashes were checked when it was read.
#[derive(Clone, Debug)]
pub struct Published {
    pub reference: PolicyRef,
    pub bundle: Bundle<Json>,
}

impl Published {
    pub fn read(bytes: &[u8]) -> Result<Self, BundleError> {
        let bundle = bundle::read::<Json>(bytes)?;
        let reference = PolicyRef { id: bundle.id.clone(), rev: bundle::revision(bytes), serial: bundle.serial };
        Ok(Published { reference, bundle })
    }

    /// The united requirement of these rules and its hash; `Err` names a rule that is not known so, or does not hold.
    pub fn requirement<'r>(&self, rules: &'r [RuleRef]) -> Result<(Requirement, Hash), &'r str> {
        let holds = |wanted: &RuleRef| {
            self.bundle.rules.iter().any(|rule| {
                rule.id == wanted.id
                    && rule.hash == wanted.hash
                    && rule.effect == Effect::Hold
                    && rule.mode == Mode::Enforce
            })
        };
        if let Some(unknown) = rules.iter().find(|rule| !holds(rule)) {
            return Err(&unknown.id);
        }
        let ids: Vec<&str> = rules.iter().map(|rule| rule.id.as_str()).collect();
        let requirement = self.bundle.united(&ids).ok_or("")?;
        let hash = requirement.hash(rules);
        Ok((requirement, hash))
    }

    /// The reason that a rule gives for holding.
    pub fn reason(&self, rule: &str) -> Option<&str> {
        self.bundle.rules.iter().find(|known| known.id == rule)?.reason.as_deref()
    }
}
