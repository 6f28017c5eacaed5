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

/// A further role that may fill any factor once a share of the time limit is over.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Escalation {
    pub role: String,
    /// Percent of `decide_within`, from 1 to 99.
    pub after: u8,
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
    /// Who may step in where the factors are not met in time. In JSON left out where there is nobody.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub escalate: Option<Escalation>,
    /// The reason codes of which a decision names one; none: no code is asked for. In JSON left out where there are none.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub codes: Vec<String>,
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

impl FromJson for Escalation {
    fn from_json(place: &Place<'_>) -> Result<Self, ShapeError> {
        let [role, after] = place.members(&["role", "after"])?;
        match (role.read()?, after.whole()?) {
            (role, percent @ 1..=99) => Ok(Escalation { role, after: percent }),
            _ => Err(after.error("expected a percentage from 1 to 99")),
        }
    }
}

impl FromJson for Requirement {
    fn from_json(place: &Place<'_>) -> Result<Self, ShapeError> {
        let [factors, decide_within, use_within, reason, show, redact, unbind, escalate, codes] = place.members(&[
            "factors",
            "decide_within",
            "use_within",
            "reason",
            "show",
            "redact",
            "unbind",
            "escalate",
            "codes",
        ])?;
        Ok(Requirement {
            factors: factors.list()?,
            decide_within: decide_within.whole()?,
            use_within: use_within.whole()?,
            reason: reason.flag()?,
            show: show.given().map(Place::list).transpose()?,
            redact: redact.list()?,
            unbind: unbind.list()?,
            escalate: escalate.optional()?,
            codes: codes.given().map_or(Ok(Vec::new()), Place::list)?,
        })
    }
}

impl FromJson for RuleRef {
    fn from_json(place: &Place<'_>) -> Result<Self, ShapeError> {
        let [id, hash] = place.members(&["id", "hash"])?;
        Ok(RuleRef { id: id.read()?, hash: hash.read()? })
    }
}

deserialize_from_json!(Escalation, Factor, Requirement, RuleRef);

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
            codes: sorted_set(self.codes),
            ..self
        }
    }

    /// The strictest combination of two requirements: whoever satisfies it satisfies both. An escalation is in it where both
    /// name the same role, with the later share of the time limit; a decision may name a reason code of either.
    #[must_use]
    pub fn union(self, other: Self) -> Self {
        let show = match (self.show, other.show) {
            (Some(a), Some(b)) => Some(shown_by_both(&a, &b)),
            (one, None) | (None, one) => one,
        };
        let escalate = match (self.escalate, other.escalate) {
            (Some(a), Some(b)) if a.role == b.role => Some(Escalation { after: a.after.max(b.after), ..a }),
            _ => None,
        };
        Requirement {
            factors: [self.factors, other.factors].concat(),
            decide_within: self.decide_within.min(other.decide_within),
            use_within: self.use_within.min(other.use_within),
            reason: self.reason || other.reason,
            show,
            redact: [self.redact, other.redact].concat(),
            unbind: self.unbind.into_iter().filter(|name| other.unbind.contains(name)).collect(),
            escalate,
            codes: [self.codes, other.codes].concat(),
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

    /// The moment from which the escalation's role may fill factors of a hold that was opened then; the division is rounded
    /// up.
    pub fn escalates_at(&self, opened_at: u64) -> Option<u64> {
        let Escalation { after, .. } = self.escalate.as_ref()?;
        let (whole, rest) = (self.decide_within / 100, self.decide_within % 100);
        let share = whole.saturating_mul((*after).into()) + (rest * u64::from(*after)).div_ceil(100);
        Some(opened_at.saturating_add(share))
    }

    fn to_json(&self) -> Json {
        let factor = |factor: &Factor| {
            Json::object([("role", (&*factor.role).into()), ("approvals", Json::integer(factor.approvals.into()))])
        };
        let pointers = |list: &Vec<Pointer>| list.iter().map(|pointer| Json::from(pointer.as_str())).collect::<Json>();
        let names = |list: &Vec<String>| list.iter().map(|name| Json::from(name.as_str())).collect::<Json>();
        let escalation = |escalation: &Escalation| {
            Json::object([("role", (&*escalation.role).into()), ("after", Json::integer(escalation.after.into()))])
        };
        let mut json = Json::object([
            ("factors", self.factors.iter().map(factor).collect()),
            ("decide_within", Json::integer(self.decide_within)),
            ("use_within", Json::integer(self.use_within)),
            ("reason", Json::Bool(self.reason)),
            ("show", self.show.as_ref().map_or(Json::Null, pointers)),
            ("redact", pointers(&self.redact)),
            ("unbind", names(&self.unbind)),
        ]);
        // What is not asked for is left out, so that requirements without it keep their hash.
        if let Json::Object(members) = &mut json {
            if let Some(escalate) = &self.escalate {
                members.set("escalate".into(), escalation(escalate));
            }
            if !self.codes.is_empty() {
                members.set("codes".into(), names(&self.codes));
            }
        }
        json
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
        let codes = prop::collection::vec(prop::sample::select(vec!["ticket", "incident", "drill"]), 0..3);
        let escalate = prop::option::of((prop::sample::select(vec!["lead", "sec"]), 1..=99_u8));
        let limits = (1..900_u64, 1..9_u64, any::<bool>());
        (factors, limits, prop::option::of(pointers.clone()), pointers, names, escalate, codes).prop_map(
            |(factors, (decide_within, use_within, reason), show, redact, unbind, escalate, codes)| {
                let factors = factors.into_iter().map(|(role, approvals)| Factor { role: role.into(), approvals });
                let factors = factors.collect();
                let unbind = unbind.into_iter().map(Into::into).collect();
                let escalate = escalate.map(|(role, after)| Escalation { role: role.into(), after });
                let codes = codes.into_iter().map(Into::into).collect();
                Requirement { factors, decide_within, use_within, reason, show, redact, unbind, escalate, codes }
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
        fn a_requirement_is_read_as_it_is_written(one in requirement()) {
            let json = Json::from_serialize(&one).unwrap();
            prop_assert_eq!(json.to_jcs(), one.to_json().to_jcs());
            prop_assert_eq!(json.read::<Requirement>().unwrap(), one);
        }

        #[test]
        fn an_escalation_begins_after_the_opening_and_before_the_end(one in requirement(), opened_at in 0..1000_u64) {
            if let Some(at) = one.escalates_at(opened_at) {
                let share = u64::from(one.escalate.as_ref().unwrap().after);
                prop_assert!(opened_at < at && at <= opened_at + one.decide_within);
                prop_assert_eq!(at - opened_at, (one.decide_within * share).div_ceil(100));
            }
        }

        #[test]
        fn union_is_at_least_as_strict_as_both(a in requirement(), b in requirement()) {
            let both = a.clone().union(b.clone());
            for one in [&a, &b] {
                prop_assert!(both.decide_within <= one.decide_within && both.use_within <= one.use_within);
                prop_assert!(both.reason || !one.reason);
                prop_assert!(one.redact.iter().all(|pointer| both.redact.contains(pointer)));
                prop_assert!(both.unbind.iter().all(|name| one.unbind.contains(name)));
                prop_assert!(both.codes.is_empty() == (a.codes.is_empty() && b.codes.is_empty()));
                prop_assert!(both.codes.iter().all(|code| a.codes.contains(code) || b.codes.contains(code)));
                prop_assert!(one.codes.iter().all(|code| both.codes.contains(code)));
                // Whoever may step in may do so by either, and by neither at an earlier share of its limit.
                if let Some(escalate) = &both.escalate {
                    let other = one.escalate.as_ref().unwrap();
                    prop_assert!(escalate.role == other.role && escalate.after >= other.after);
                }
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
            escalate: None,
            codes: vec![],
        };
        let escalate = |role: &str, after| Some(Escalation { role: role.into(), after });
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
            Requirement { escalate: escalate("lead", 50), ..base.clone() },
            Requirement { codes: vec!["ticket".into()], ..base.clone() },
        ];
        assert!(others.iter().all(|other| other.hash(&[rule("a"), rule("b")]) != hash));
        assert_ne!(base.hash(&[rule("a")]), hash);
        let half = Requirement { escalate: escalate("lead", 50), ..base.clone() };
        assert_ne!(half.hash(&[]), Requirement { escalate: escalate("lead", 51), ..base.clone() }.hash(&[]));
        assert_ne!(half.hash(&[]), Requirement { escalate: escalate("iam", 50), ..base }.hash(&[]));
    }

    #[test]
    fn an_escalation_that_no_share_of_the_limit_can_be_is_refused() {
        let read = |after: &str| {
            let text = format!(r#"{{"role":"lead","after":{after}}}"#);
            serde_json::from_str::<Escalation>(&text).map_err(|error| error.to_string())
        };
        assert_eq!(read("99").unwrap().after, 99);
        for wrong in ["0", "100", "255"] {
            assert!(read(wrong).unwrap_err().starts_with("`after`: expected a percentage from 1 to 99"), "{wrong}");
        }
        assert!(read("256").is_err() && read("-1").is_err() && read("1.5").is_err() && read("\"50%\"").is_err());
    }

    #[test]
    fn an_escalation_of_the_longest_limit_does_not_overflow() {
        let escalate = Some(Escalation { role: "lead".into(), after: 99 });
        let (factors, show, redact, unbind, codes) = (vec![], None, vec![], vec![], vec![]);
        let (decide_within, use_within) = (u64::MAX, 0);
        let most =
            Requirement { factors, decide_within, use_within, reason: false, show, redact, unbind, escalate, codes };
        assert_eq!(most.escalates_at(0), Some(u64::MAX / 100 * 99 + 15));
        assert_eq!(most.escalates_at(u64::MAX), Some(u64::MAX));
    }
}
