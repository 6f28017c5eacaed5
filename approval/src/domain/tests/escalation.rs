//! Who may step in, and from when on.

use super::*;

const HALF: u64 = NOW + 900;

fn escalating(factors: &[(&str, u32)]) -> Requirement {
    let escalate = Some(Escalation { role: "lead".into(), after: 50 });
    Requirement { escalate, ..requirement(factors, false) }
}

fn at<'a>(requirement: &'a Requirement, approvals: &'a [Approval], now: u64) -> Case<'a> {
    Case { now, fresh: 1800, ..case(requirement, approvals) }
}

fn given(person: &str, roles: &[&str], at: u64) -> Approval {
    Approval { at, ..approval(person, roles) }
}

#[test]
fn nobody_steps_in_before_the_moment_and_whoever_does_is_recorded_so() {
    let requirement = escalating(&[("iam", 1)]);
    let lead = reviewer("lena", &["lead"]);
    for verdict in [Verdict::Approve, Verdict::Deny] {
        let ballot = Ballot { verdict, ..APPROVE };
        let early = decide(PENDING, &at(&requirement, &[], HALF - 1), &lead, ballot);
        assert_eq!(early, Err(Refusal::EscalatesLater { from: HALF }));
        let other = decide(PENDING, &at(&requirement, &[], HALF), &reviewer("olga", &["ops"]), ballot);
        assert_eq!(other, Err(Refusal::NotEligible));
    }
    assert_eq!(at(&requirement, &[], HALF - 1).may_revoke(&lead), Err(Refusal::EscalatesLater { from: HALF }));
    let Ok(Ruling::Approved { by, factors, .. }) = decide(PENDING, &at(&requirement, &[], HALF), &lead, APPROVE) else {
        panic!("the lead steps in")
    };
    assert_eq!(by, Filled { role: "iam".into(), person: "lena".into(), escalated: true });
    assert_eq!(factors, [by]);
    let own = decide(PENDING, &at(&requirement, &[], HALF), &reviewer("both", &["iam", "lead"]), APPROVE);
    assert!(matches!(own, Ok(Ruling::Approved { by: Filled { escalated: false, .. }, .. })), "{own:?}");
    let Ok(Ruling::Denied { by }) =
        decide(PENDING, &at(&requirement, &[], HALF), &lead, Ballot { verdict: Verdict::Deny, ..APPROVE })
    else {
        panic!("the lead denies")
    };
    assert_eq!(by, Filled { role: "lead".into(), person: "lena".into(), escalated: true });
}

#[test]
fn an_escalation_lifts_no_count_and_no_person_counts_twice() {
    let requirement = escalating(&[("iam", 2), ("sec", 1)]);
    let two = [given("a", &["lead"], HALF), given("b", &["lead"], HALF)];
    assert_eq!(at(&requirement, &two, HALF).missing().iter().map(|(_, count)| count).sum::<u32>(), 1);
    let again = decide(PENDING, &at(&requirement, &two, HALF), &reviewer("a", &["lead"]), APPROVE);
    assert_eq!(again, Err(Refusal::AlreadyDecided));
    let third = decide(PENDING, &at(&requirement, &two, HALF), &reviewer("c", &["lead"]), APPROVE);
    assert!(matches!(third, Ok(Ruling::Approved { .. })), "{third:?}");
    let owner = Accountability { persons: ["c".to_owned()].into(), unknown: None };
    let own = Case { accountable: &owner, ..at(&requirement, &two, HALF) };
    assert_eq!(decide(PENDING, &own, &reviewer("c", &["lead"]), APPROVE), Err(Refusal::OwnAgent));
}

#[test]
fn an_approval_from_before_the_moment_does_not_come_to_stand_in_for_another_role() {
    let requirement = escalating(&[("iam", 1), ("sec", 1)]);
    // Given as `iam`, by somebody who also leads: after the moment it still stands for `iam` only.
    let early = [given("a", &["iam", "lead"], HALF - 1)];
    let second = decide(PENDING, &at(&requirement, &early, HALF), &reviewer("b", &["iam"]), APPROVE);
    assert_eq!(second, Err(Refusal::FactorsMet));
    let late = [given("a", &["iam", "lead"], HALF)];
    let second = decide(PENDING, &at(&requirement, &late, HALF), &reviewer("b", &["iam"]), APPROVE);
    let Ok(Ruling::Approved { mut factors, .. }) = second else { panic!("{second:?}") };
    factors.sort_by(|a, b| a.person.cmp(&b.person));
    let escalated: Vec<_> = factors.iter().map(|f| (f.person.as_str(), f.role.as_str(), f.escalated)).collect();
    assert_eq!(escalated, [("a", "sec", true), ("b", "iam", false)]);
}
