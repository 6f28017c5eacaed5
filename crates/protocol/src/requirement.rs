//! What an approval needs, the union over several holds, and its hash.

use serde::Serialize;

use crate::{
    Hash, Json, Pointer, deserialize_from_json,
    json::{FromJson, Place, ShapeError},
    sort::{sort_by, sorted_set},
};

/// So many approvals by different persons who hold one role.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Factor {
    pub role: String,
    pub approvals: u32,
}

/// What an approval needs: factors, limits in seconds, what reviewers see and what the digest leaves out.
///
/// Lists are sorted and without repeats: [`Requirement::normalise`] makes them so, and the hash relies on it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Requirement {
    pub factors: Vec<Factor>,
    /// Seconds from the opening of the hold to its last decision.
    pub decide_within: u64,
    /// Seconds from the last factor to the redemption.
    pub use_within: u64,
    /// Whether a reviewer must give a reason.
    pub reason: bool,
    /// The parts of the body that a reviewer sees; `None` is all of it.
    pub show: Option<Vec<Pointer>>,
    /// The parts of the body that are replaced by an HMAC.
    pub redact: Vec<Pointer>,
    /// Header names that the request digest leaves out.
    pub unbind: Vec<String>,
}

/// A rule by name, pinned to its conditions.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct RuleRef {
    pub id: String,
    pub hash: Hash,
}

impl FromJson for Factor {
    fn from_json(place: &Place<'_>) -> Result<Self, ShapeError> {
        let [role, approvals] = place.members(&["role", "approvals"])?;
        Ok(Factor { role: role.read()?, approvals: approvals.whole()? })
    }
}

impl FromJson for Requirement {
    fn from_json(place: &Place<'_>) -> Result<Self, ShapeError> {
        let [factors, decide_within, use_within, reason, show, redact, unbind] =
            place.members(&["factors", "decide_within", "use_within", "reason", "show", "redact", "unbind"])?;
        Ok(Requirement {
            factors: factors.list()?,
            decide_within: decide_within.whole()?,
            use_within: use_within.whole()?,
            reason: reason.flag()?,
            show: show.given().map(Place::list).transpose()?,
            redact: redact.list()?,
            unbind: unbind.list()?,
        })
    }
}

impl FromJson for RuleRef {
    fn from_json(place: &Place<'_>) -> Result<Self, ShapeError> {
        let [id, hash] = place.members(&["id", "hash"])?;
        Ok(RuleRef { id: id.read()?, hash: hash.read()? })
    }
}

deserialize_from_json!(Factor, Requirement, RuleRef);

impl Requirement {
    /// Sorts the lists and drops repeats; of two factors with one role the higher count stays.
    #[must_use]
    pub fn normalise(self) -> Self {
        let mut factors = self.factors;
        sort_by(&mut factors, |a, b| a.role.cmp(&b.role).then(b.approvals.cmp(&a.approvals)));
        factors.dedup_by(|a, b| a.role == b.role);
        Requirement {
            factors,
            show: self.show.map(sorted_set),
            redact: sorted_set(self.redact),
            unbind: sorted_set(self.unbind),
            ..self
        }
    }

    /// The strictest combination of two requirements: whoever satisfies it satisfies both.
    #[must_use]
    pub fn union(self, other: Self) -> Self {
        let show = match (self.show, other.show) {
            (Some(a), Some(b)) => Some(shown_by_both(&a, &b)),
            (one, None) | (None, one) => one,
        };
        Requirement {
            factors: [self.factors, other.factors].concat(),
            decide_within: self.decide_within.min(other.decide_within),
            use_within: self.use_within.min(other.use_within),
            reason: self.reason || other.reason,
            show,
            redact: [self.redact, other.redact].concat(),
            unbind: self.unbind.into_iter().filter(|name| other.unbind.contains(name)).collect(),
        }
        .normalise()
    }

    /// SHA-256 of the JCS of {requirement, rules: [[id, rule hash], ...] by id}.
    pub fn hash(&self, rules: &[RuleRef]) -> Hash {
        let by_id = sorted_set(rules.iter().map(|rule| (rule.id.as_str(), &rule.hash)).collect());
        let rules = by_id.into_iter().map(|(id, hash)| [Json::from(id), Json::String(hash.to_string())]);
        let rules = rules.map(|pair| pair.into_iter().collect()).collect();
        Hash::of(&Json::object([("requirement", self.to_json()), ("rules", rules)]).to_jcs())
    }

    fn to_json(&self) -> Json {
        let factor = |factor: &Factor| {
            Json::object([("role", (&*factor.role).into()), ("approvals", Json::integer(factor.approvals.into()))])
        };
        let pointers = |list: &Vec<Pointer>| list.iter().map(|pointer| Json::from(pointer.as_str())).collect::<Json>();
        Json::object([
            ("factors", self.factors.iter().map(factor).collect()),
            ("decide_within", Json::integer(self.decide_within)),
            ("use_within", Json::integer(self.use_within)),
            ("reason", Json::Bool(self.reason)),
            ("show", self.show.as_ref().map_or(Json::Null, pointers)),
            ("redact", pointers(&self.redact)),
            ("unbind", self.unbind.iter().map(|name| Json::from(name.as_str())).collect()),
        ])
    }
}

/// The intersection of two sets of subtrees: of two that lie in one another the inner one.
fn shown_by_both(a: &[Pointer], b: &[Pointer]) -> Vec<Pointer> {
    let inner = |these: &[Pointer], those: &[Pointer]| -> Vec<Pointer> {
        these.iter().filter(|this| those.iter().any(|that| that.contains(this))).cloned().collect()
    };
    [inner(a, b), inner(b, a)].concat()
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn requirement() -> impl Strategy<Value = Requirement> {
        let pointer = prop::sample::select(vec!["", "/a", "/a/b", "/c"]).prop_map(|text| text.parse().unwrap());
        let pointers = prop::collection::vec(pointer, 0..3);
        let names = prop::collection::vec(prop::sample::select(vec!["x-a", "x-b", "x-c"]), 0..3);
        let factors = prop::collection::vec((prop::sample::select(vec!["iam", "sec"]), 1..3_u32), 1..3);
        (factors, 1..9_u64, 1..9_u64, any::<bool>(), prop::option::of(pointers.clone()), pointers, names).prop_map(
            |(factors, decide_within, use_within, reason, show, redact, unbind)| {
                let factors = factors.into_iter().map(|(role, approvals)| Factor { role: role.into(), approvals });
                let unbind = unbind.into_iter().map(Into::into).collect();
                Requirement { factors: factors.collect(), decide_within, use_within, reason, show, redact, unbind }
                    .normalise()
            },
        )
    }

    fn shows(requirement: &Requirement, pointer: &str) -> bool {
        let pointer = pointer.parse().unwrap();
        let shown = requirement.show.as_ref();
        shown.is_none_or(|list| list.iter().any(|shown| shown.contains(&pointer)))
    }

    proptest! {
        #[test]
        fn union_is_commutative_associative_idempotent(a in requirement(), b in requirement(), c in requirement()) {
            prop_assert_eq!(a.clone().union(b.clone()), b.clone().union(a.clone()));
            prop_assert_eq!(a.clone().union(a.clone()), a.clone());
            prop_assert_eq!(a.clone().union(b.clone()).union(c.clone()), a.clone().union(b.clone().union(c.clone())));
        }

        #[test]
        fn union_is_at_least_as_strict_as_both(a in requirement(), b in requirement()) {
            let both = a.clone().union(b.clone());
            for one in [&a, &b] {
                prop_assert!(both.decide_within <= one.decide_within && both.use_within <= one.use_within);
                prop_assert!(both.reason || !one.reason);
                prop_assert!(one.redact.iter().all(|pointer| both.redact.contains(pointer)));
                prop_assert!(both.unbind.iter().all(|name| one.unbind.contains(name)));
                for factor in &one.factors {
                    prop_assert!(both.factors.iter().any(|f| f.role == factor.role && f.approvals >= factor.approvals));
                }
            }
            for pointer in ["", "/a", "/a/b", "/c", "/d"] {
                prop_assert_eq!(shows(&both, pointer), shows(&a, pointer) && shows(&b, pointer));
            }
        }
    }

    #[test]
    fn hash_depends_on_each_member_and_not_on_the_order_of_rules() {
        let base = Requirement {
            factors: vec![Factor { role: "iam".into(), approvals: 1 }],
            decide_within: 60,
            use_within: 30,
            reason: false,
            show: None,
            redact: vec![],
            unbind: vec![],
        };
        let rule = |id: &str| RuleRef { id: id.into(), hash: Hash::of(id.as_bytes()) };
        let hash = base.hash(&[rule("a"), rule("b")]);
        assert_eq!(hash, base.hash(&[rule("b"), rule("a")]));
        let wire = format!(
            r#"{{"requirement":{},"rules":[["a","{}"],["b","{}"]]}}"#,
            String::from_utf8(Json::from_serialize(&base).unwrap().to_jcs()).unwrap(),
            rule("a").hash,
            rule("b").hash
        );
        assert_eq!(hash, Hash::of(wire.as_bytes()));
        let others = [
            Requirement { factors: vec![Factor { role: "iam".into(), approvals: 2 }], ..base.clone() },
            Requirement { decide_within: 61, ..base.clone() },
            Requirement { use_within: 31, ..base.clone() },
            Requirement { reason: true, ..base.clone() },
            Requirement { show: Some(vec![]), ..base.clone() },
            Requirement { redact: vec![Pointer::root()], ..base.clone() },
            Requirement { unbind: vec!["x".into()], ..base.clone() },
        ];
        assert!(others.iter().all(|other| other.hash(&[rule("a"), rule("b")]) != hash));
        assert_ne!(base.hash(&[rule("a")]), hash);
    }
}
