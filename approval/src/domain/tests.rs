use std::collections::BTreeSet;

use holdgate_protocol::{Agent, Escalation, Factor, Hash, Requirement, bundle::PolicyRef, gateway::RedemptionError};
use proptest::prelude::*;

use super::{
    decision::{decide, withdraw},
    redemption::redeem,
    *,
};

mod eligibility;
mod escalation;
mod machine;

const FRESH: u64 = 15 * 60;

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
    Reviewer { person: person.into(), roles, signed_in_at: NOW, unfit: None }
}

const APPROVE: Ballot<'_> = Ballot { verdict: Verdict::Approve, reason: "", code: None };
const PENDING: Pending = Pending { decide_by: NOW + 1800 };
static NOBODY: Accountability = Accountability { persons: BTreeSet::new(), unknown: None };

/// A decision on a hold that was opened at `NOW`, for whose agent nobody answers.
fn case<'a>(requirement: &'a Requirement, approvals: &'a [Approval]) -> Case<'a> {
    Case { requirement, opened_at: NOW, accountable: &NOBODY, approvals, now: NOW, fresh: FRESH }
}

fn approval(person: &str, roles: &[&str]) -> Approval {
    let roles: BTreeSet<String> = roles.iter().map(|role| (*role).to_owned()).collect();
    Approval { person: person.into(), at: NOW, given: roles.clone(), now: roles }
}

/// Lets persons approve one after another; says how often it took, or `None` if it never was approved.
fn approve_all(requirement: &Requirement, persons: &[BTreeSet<String>]) -> Option<usize> {
    let mut earlier = Vec::new();
    for (number, roles) in persons.iter().enumerate() {
        let person = format!("p{number}");
        let held: Vec<&str> = roles.iter().map(String::as_str).collect();
        match decide(PENDING, &case(requirement, &earlier), &reviewer(&person, &held), APPROVE) {
            Ok(Ruling::Approved { factors, .. }) => {
                let distinct: BTreeSet<&String> = factors.iter().map(|filled| &filled.person).collect();
                assert_eq!(distinct.len(), factors.len(), "one person fills one factor");
                for factor in &requirement.factors {
                    let count = factors.iter().filter(|filled| filled.role == factor.role).count();
                    assert_eq!(count, factor.approvals as usize);
                }
                return Some(number + 1);
            }
            Ok(Ruling::Counted { .. }) => earlier.push(approval(&person, &held)),
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
        hold.stage = Stage::Approved(PENDING.approve(NOW, 600));
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
    let both = [approval("both", &["iam", "sec"])];
    assert_eq!(case(&requirement, &both).missing().len(), 1);
    for role in ["iam", "sec"] {
        let ruling = decide(PENDING, &case(&requirement, &both), &reviewer("second", &[role]), APPROVE);
        let Ok(Ruling::Approved { factors, .. }) = ruling else { panic!("{role}: {ruling:?}") };
        assert!(factors.iter().any(|filled| filled.role == role && filled.person == "second"), "{factors:?}");
    }
}

#[test]
fn refusals_come_before_anything_counts() {
    let requirement = requirement(&[("iam", 1)], true);
    let owner = Accountability { persons: ["olivia".to_owned()].into(), unknown: None };
    let nobody = Accountability { persons: BTreeSet::new(), unknown: Some("why".into()) };
    let check = |accountable: &Accountability, reviewer: &Reviewer, verdict, reason, now| {
        let case = Case { accountable, now, ..case(&requirement, &[]) };
        decide(PENDING, &case, reviewer, Ballot { verdict, reason, code: None })
    };
    let (alice, olivia) = (reviewer("alice", &["iam"]), reviewer("olivia", &["iam"]));
    let by = Filled { role: "iam".into(), person: "alice".into(), escalated: false };
    let denied = Ok(Ruling::Denied { by });
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
        let escalate = Some(Escalation { role: "lead".into(), after: 1 });
        let requirement = Requirement { escalate, ..requirement(factors, false) };
        for role in ["iam", "lead"] {
            for now in [NOW, NOW + 1700] {
                let case = Case { now, fresh: 1800, ..case(&requirement, &[]) };
                let ruling = decide(PENDING, &case, &reviewer("alice", &[role]), APPROVE);
                assert_eq!(ruling, Err(Refusal::NotEligible));
            }
        }
    }
}

#[test]
fn a_decision_names_one_of_the_reason_codes_that_are_asked_for() {
    let codes = vec!["incident".to_owned(), "ticket".to_owned()];
    let asked = Requirement { codes: codes.clone(), ..requirement(&[("iam", 1)], true) };
    let plain = requirement(&[("iam", 1)], false);
    let check = |requirement: &Requirement, verdict, code, reason| {
        let ballot = Ballot { verdict, reason, code };
        decide(PENDING, &case(requirement, &[]), &reviewer("alice", &["iam"]), ballot)
    };
    for verdict in [Verdict::Approve, Verdict::Deny] {
        assert_eq!(check(&asked, verdict, None, "r"), Err(Refusal::CodeRequired(codes.clone())));
        for wrong in ["Ticket", "", "ticket "] {
            let unknown = Refusal::UnknownCode { code: wrong.into(), known: codes.clone() };
            assert_eq!(check(&asked, verdict, Some(wrong), "r"), Err(unknown));
        }
        assert!(check(&asked, verdict, Some("ticket"), "r").is_ok());
        // A code is no reason, and where none is asked for none is taken.
        assert_eq!(check(&asked, verdict, Some("ticket"), ""), Err(Refusal::ReasonRequired));
        let unknown = Refusal::UnknownCode { code: "ticket".into(), known: vec![] };
        assert_eq!(check(&plain, verdict, Some("ticket"), "r"), Err(unknown));
    }
}

#[test]
fn only_ones_own_approval_is_withdrawn_and_then_counts_no_more() {
    let requirement = requirement(&[("iam", 2)], false);
    let approvals = [approval("alice", &["iam"])];
    let at = |now| Case { now, ..case(&requirement, &approvals) };
    let (alice, bob) = (reviewer("alice", &[]), reviewer("bob", &["iam"]));
    assert_eq!(withdraw(PENDING, &at(NOW), &bob), Err(Refusal::NothingToWithdraw));
    assert_eq!(withdraw(PENDING, &at(NOW + FRESH + 1), &alice), Err(Refusal::SignInAgain));
    let unfit = Reviewer { unfit: Some(Unfit::Actor), ..alice.clone() };
    assert_eq!(withdraw(PENDING, &at(NOW), &unfit), Err(Refusal::Unfit(Unfit::Actor)));
    // Whoever has lost the role may take back what they said in it.
    let withdrawn = withdraw(PENDING, &at(NOW), &alice).unwrap();
    assert_eq!(withdrawn, Withdrawn { pending: PENDING, approval: approvals[0].clone() });
    let again = reviewer("alice", &["iam"]);
    assert_eq!(decide(PENDING, &at(NOW), &again, APPROVE), Err(Refusal::AlreadyDecided));
    let deny = Ballot { verdict: Verdict::Deny, ..APPROVE };
    assert_eq!(decide(PENDING, &at(NOW), &again, deny), Err(Refusal::AlreadyDecided));
    for ballot in [APPROVE, deny] {
        assert!(decide(PENDING, &case(&requirement, &[]), &again, ballot).is_ok());
    }
}

#[test]
fn a_token_that_is_no_persons_decides_nothing() {
    let requirement = requirement(&[("iam", 1)], false);
    for why in [Unfit::Actor, Unfit::Client, Unfit::NoSignIn] {
        let robot = Reviewer { unfit: Some(why), ..reviewer("alice", &["iam"]) };
        for verdict in [Verdict::Approve, Verdict::Deny] {
            let ruling = decide(PENDING, &case(&requirement, &[]), &robot, Ballot { verdict, ..APPROVE });
            assert_eq!(ruling, Err(Refusal::Unfit(why)));
        }
        assert_eq!(case(&requirement, &[]).may_revoke(&robot), Err(Refusal::Unfit(why)));
    }
}

#[test]
fn an_approval_counts_only_as_long_as_its_person_may_give_it() {
    let requirement = requirement(&[("iam", 1), ("sec", 1)], false);
    let lost = Approval { now: BTreeSet::new(), ..approval("alice", &["iam"]) };
    // Another role than the one that the approval was given in is none for it.
    let other = Approval { now: ["sec".to_owned()].into(), ..approval("alice", &["iam"]) };
    for earlier in [[lost.clone()], [other]] {
        let case = case(&requirement, &earlier);
        assert_eq!(case.missing().len(), 2);
        let ruling = decide(PENDING, &case, &reviewer("bob", &["sec"]), APPROVE);
        assert!(matches!(ruling, Ok(Ruling::Counted { .. })), "{ruling:?}");
        assert_eq!(decide(PENDING, &case, &reviewer("alice", &["iam"]), APPROVE), Err(Refusal::AlreadyDecided));
    }
    // Whoever has come to answer for the agent does not count any more.
    let owner = Accountability { persons: ["alice".to_owned()].into(), unknown: None };
    let earlier = [approval("alice", &["iam"])];
    let owned = Case { accountable: &owner, ..case(&requirement, &earlier) };
    assert_eq!(owned.missing().len(), 2);
    // Two whose roles come back meet the factors without anybody saying so; the next approval does.
    let earlier = [lost, approval("bob", &["sec"]), approval("carol", &["iam"])];
    let ruling = decide(PENDING, &case(&requirement, &earlier), &reviewer("dave", &["iam"]), APPROVE);
    let Ok(Ruling::Approved { by, .. }) = ruling else { panic!("{ruling:?}") };
    assert_eq!((by.person.as_str(), by.role.as_str()), ("dave", "iam"));
}

#[test]
fn an_approval_that_rests_on_nothing_is_not_used_up() {
    let check = |requirement: &Requirement, approvals: &[Approval]| {
        let mut hold = hold(requirement);
        hold.stage = Stage::Approved(Approved { use_by: NOW + 1 });
        let in_force = Some(hold.terms.requirement_hash);
        let grounds = Grounds { agent_suspended: false, in_force, accountable: &NOBODY, approvals };
        Approved { use_by: NOW + 1 }.recheck(&hold, &grounds).map_err(|change| change.stage)
    };
    let ended = Err(Stage::Cancelled(Cause::Authority));
    let alice = [approval("alice", &["iam"])];
    assert!(check(&requirement(&[("iam", 1)], false), &alice).is_ok());
    assert_eq!(check(&requirement(&[("iam", 1)], false), &[]).map(drop), ended);
    assert_eq!(check(&requirement(&[], false), &[]).map(drop), ended);
    assert_eq!(check(&requirement(&[("iam", 0)], false), &alice).map(drop), ended);
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
