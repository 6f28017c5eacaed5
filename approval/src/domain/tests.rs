use std::collections::BTreeSet;

use holdgate_protocol::{Agent, Factor, Hash, Requirement, bundle::PolicyRef, gateway::RedemptionError};
use proptest::prelude::*;

use super::{
    decision::{FRESH, decide, missing},
    redemption::redeem,
    *,
};

const NOW: u64 = 1_790_000_000;

fn requirement(factors: &[(&str, u32)], reason: bool) -> Requirement {
    let factors = factors.iter().map(|(role, approvals)| Factor { role: (*role).into(), approvals: *approvals });
    let (decide_within, use_within) = (1800, 600);
    let (show, redact, unbind) = (None, vec![], vec![]);
    let (factors, escalate, codes) = (factors.collect(), None, vec![]);
    Requirement { factors, decide_within, use_within, reason, show, redact, unbind, escalate, codes }.normalise()
}

fn hold(requirement: &Requirement) -> Hold {
    let agent = Agent { iss: "i".into(), sub: "s".into(), act: vec![], owner: Some("o".into()) };
    let terms = Terms {
        id: "h".into(),
        group: "edge".into(),
        agent_key: agent.key(),
        agent,
        digest: Hash::of(b"digest"),
        components: vec!["@method".into()],
        requirement: requirement.clone(),
        requirement_hash: requirement.hash(&[]),
        rules: vec![],
        policy: PolicyRef { id: "p".into(), rev: Hash::of(b"rev"), serial: 1 },
    };
    Hold::open(terms, NOW)
}

fn claim(hold: &Hold) -> Claim {
    Claim {
        group: "edge".into(),
        attempt: "a".into(),
        agent_key: hold.terms.agent_key,
        digest: hold.terms.digest,
        requirement: hold.terms.requirement_hash,
    }
}

fn reviewer(person: &str, roles: &[&str]) -> Reviewer {
    let roles = roles.iter().map(|role| (*role).to_owned()).collect();
    Reviewer { person: person.into(), roles, signed_in_at: NOW }
}

const APPROVE: Ballot<'_> = Ballot { verdict: Verdict::Approve, reason: "" };

/// Lets persons approve one after another; says how often it took, or `None` if it never was approved.
fn approve_all(requirement: &Requirement, persons: &[BTreeSet<String>]) -> Option<usize> {
    let mut earlier = Vec::new();
    for (number, roles) in persons.iter().enumerate() {
        let person = format!("p{number}");
        let reviewer = Reviewer { person: person.clone(), roles: roles.clone(), signed_in_at: NOW };
        let pending = Pending { decide_by: NOW + 1800 };
        match decide(pending, requirement, &Accountability::default(), &earlier, &reviewer, APPROVE, NOW) {
            Ok(Ruling::Approved { factors, .. }) => {
                let distinct: BTreeSet<&String> = factors.iter().map(|(_, person)| person).collect();
                assert_eq!(distinct.len(), factors.len(), "one person fills one factor");
                for factor in &requirement.factors {
                    let count = factors.iter().filter(|(role, _)| *role == factor.role).count();
                    assert_eq!(count, factor.approvals as usize);
                }
                return Some(number + 1);
            }
            Ok(Ruling::Counted { .. }) => earlier.push(Approval { person, roles: roles.clone() }),
            Ok(Ruling::Denied { .. }) => panic!("nobody denied"),
            Err(refusal) => assert!(matches!(refusal, Refusal::NotEligible | Refusal::FactorsMet), "{refusal}"),
        }
    }
    None
}

/// Whether the persons can fill all places at once, by trying every choice.
fn can_fill(places: &[&str], persons: &[BTreeSet<String>]) -> bool {
    let Some((place, rest)) = places.split_first() else { return true };
    (0..persons.len()).any(|index| {
        let mut others = persons.to_vec();
        others.remove(index).contains(*place) && can_fill(rest, &others)
    })
}

fn persons() -> impl Strategy<Value = Vec<BTreeSet<String>>> {
    let role = prop::sample::select(vec!["iam", "sec", "ops"]).prop_map(String::from);
    prop::collection::vec(prop::collection::btree_set(role, 0..3), 0..6)
}

proptest! {
    #[test]
    fn a_hold_is_approved_exactly_if_distinct_persons_can_fill_its_factors(
        iam in 0..3_u32, sec in 0..3_u32, ops in 0..2_u32, persons in persons()
    ) {
        prop_assume!(iam + sec + ops > 0);
        let requirement = requirement(&[("iam", iam), ("sec", sec), ("ops", ops)], false);
        let places: Vec<&str> = [("iam", iam), ("sec", sec), ("ops", ops)]
            .iter()
            .flat_map(|(role, count)| std::iter::repeat_n(*role, *count as usize))
            .collect();
        prop_assert_eq!(approve_all(&requirement, &persons).is_some(), can_fill(&places, &persons));
    }

    #[test]
    fn a_redemption_passes_only_for_the_same_request_while_the_approval_lasts(
        group in any::<bool>(), agent in any::<bool>(), digest in any::<bool>(), required in any::<bool>(),
        elapsed in 0..1200_u64
    ) {
        let mut hold = hold(&requirement(&[("iam", 1)], false));
        let mut claim = claim(&hold);
        hold.stage = Stage::Approved(Pending { decide_by: NOW + 1800 }.approve(NOW, 600));
        let other = Hash::of(b"other");
        if group { claim.group = "other".into(); }
        if agent { claim.agent_key = other; }
        if digest { claim.digest = other; }
        if required { claim.requirement = other; }
        let same = !group && !agent && !digest && !required;
        let redeemed = redeem(hold, &claim, NOW + elapsed);
        prop_assert_eq!(redeemed.is_ok(), same && elapsed < 600);
        if let Err(refusal) = redeemed {
            prop_assert_eq!(refusal.error, if same { RedemptionError::Expired } else { RedemptionError::NotApproved });
        }
    }

    #[test]
    fn a_deadline_counts_at_its_very_second(elapsed in 0..4000_u64) {
        let hold = hold(&requirement(&[("iam", 1)], false));
        let over = elapsed >= 1800;
        prop_assert_eq!(hold.overdue(NOW + elapsed).is_some(), over);
        prop_assert_eq!(hold.at(NOW + elapsed).stage == Stage::Expired, over);
    }
}

#[test]
fn a_reviewer_with_two_roles_does_not_take_the_place_that_only_another_could_fill() {
    let requirement = requirement(&[("iam", 1), ("sec", 1)], false);
    let both = Approval { person: "both".into(), roles: ["iam", "sec"].map(String::from).into() };
    assert_eq!(missing(&requirement, std::slice::from_ref(&both)).len(), 1);
    for role in ["iam", "sec"] {
        let pending = Pending { decide_by: NOW + 1800 };
        let second = reviewer("second", &[role]);
        let earlier = std::slice::from_ref(&both);
        let ruling = decide(pending, &requirement, &Accountability::default(), earlier, &second, APPROVE, NOW);
        let Ok(Ruling::Approved { factors, .. }) = ruling else { panic!("{role}: {ruling:?}") };
        assert!(factors.contains(&(role.to_owned(), "second".to_owned())), "{factors:?}");
    }
}

#[test]
fn refusals_come_before_anything_counts() {
    let requirement = requirement(&[("iam", 1)], true);
    let owner = Accountability { persons: ["olivia".to_owned()].into(), unknown: None };
    let nobody = Accountability { persons: BTreeSet::new(), unknown: Some("why".into()) };
    let check = |accountable: &Accountability, reviewer: &Reviewer, verdict, reason, now| {
        let pending = Pending { decide_by: NOW + 1800 };
        decide(pending, &requirement, accountable, &[], reviewer, Ballot { verdict, reason }, now)
    };
    let (alice, olivia) = (reviewer("alice", &["iam"]), reviewer("olivia", &["iam"]));
    let denied = Ok(Ruling::Denied { role: "iam".into() });
    for verdict in [Verdict::Approve, Verdict::Deny] {
        assert_eq!(check(&owner, &olivia, verdict, "r", NOW), Err(Refusal::OwnAgent));
        assert_eq!(check(&owner, &reviewer("x", &["sec"]), verdict, "r", NOW), Err(Refusal::NotEligible));
        assert_eq!(check(&owner, &alice, verdict, " \n", NOW), Err(Refusal::ReasonRequired));
        assert!(check(&owner, &alice, verdict, "r", NOW + FRESH).is_ok());
        assert_eq!(check(&owner, &alice, verdict, "r", NOW + FRESH + 1), Err(Refusal::SignInAgain));
    }
    assert_eq!(check(&nobody, &alice, Verdict::Approve, "r", NOW), Err(Refusal::OwnerUnknown("why".into())));
    assert_eq!(check(&nobody, &alice, Verdict::Deny, "r", NOW), denied);
}

#[test]
fn a_requirement_without_factors_can_be_met_by_nobody() {
    for factors in [&[][..], &[("iam", 0)]] {
        let pending = Pending { decide_by: NOW + 1800 };
        let (requirement, alice) = (requirement(factors, false), reviewer("alice", &["iam"]));
        let ruling = decide(pending, &requirement, &Accountability::default(), &[], &alice, APPROVE, NOW);
        assert_eq!(ruling, Err(Refusal::NotEligible));
    }
}

#[test]
fn only_open_stages_are_cancelled() {
    let used = Used { attempt: "a".into(), grant: "g".into(), grant_expires_at: NOW };
    for stage in [Stage::Denied, Stage::Expired, Stage::Cancelled(Cause::Policy), Stage::Used(used)] {
        assert_eq!(stage.clone().cancel(Cause::Revoked, DecidedBy::Human), Err(stage));
    }
    for stage in [Stage::Pending(Pending { decide_by: 1 }), Stage::Approved(Approved { use_by: 1 })] {
        let change = stage.cancel(Cause::Revoked, DecidedBy::Human).unwrap();
        assert_eq!(change.stage, Stage::Cancelled(Cause::Revoked));
    }
}
