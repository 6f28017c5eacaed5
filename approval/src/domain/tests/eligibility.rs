//! Roles by scope and by time.

use holdgate_protocol::{Actor, RuleRef};

use super::*;

const DAY: u64 = 24 * 60 * 60;

fn eligible(scope: Scope) -> Eligibility {
    let (from, until) = (None, None);
    let (id, person, role, granted_by) = ("e".into(), "alice".into(), "iam".into(), "init".into());
    Eligibility { id, person, role, scope, from, until, granted_by, granted_at: NOW, certified_at: NOW }
}

fn terms(group: &str, agent: Agent, rules: &[&str]) -> Terms {
    let rule = |id: &&str| RuleRef { id: (*id).into(), hash: Hash::of(id.as_bytes()) };
    let rules = rules.iter().map(rule).collect();
    Terms {
        group: group.into(),
        agent_key: agent.key(),
        agent,
        rules,
        ..hold(&requirement(&[("iam", 1)], false)).terms
    }
}

fn agent(sub: &str, acting: &[&str]) -> Agent {
    let act = acting.iter().map(|sub| Actor { iss: "i".into(), sub: (*sub).into() }).collect();
    Agent { iss: "i".into(), sub: sub.into(), act, owner: None }
}

#[test]
fn a_scope_covers_a_hold_only_in_all_that_it_names() {
    let scope = |json: &str| serde_json::from_str::<Scope>(json).unwrap();
    let bot = agent("bot", &[]);
    let one = terms("edge", bot.clone(), &["iam.grant"]);
    let both = terms("edge", bot.clone(), &["iam.grant", "pay.out"]);
    for (text, covers_one, covers_both) in [
        ("{}", true, true),
        (r#"{"rules": null}"#, true, true),
        (r#"{"rules": ["*"]}"#, true, true),
        (r#"{"rules": []}"#, false, false),
        (r#"{"rules": ["iam.grant"]}"#, true, false),
        (r#"{"rules": ["iam.*"]}"#, true, false),
        (r#"{"rules": ["iam.*", "pay.out"]}"#, true, true),
        (r#"{"rules": ["iam"]}"#, false, false),
        (r#"{"rules": ["iam.grant.*"]}"#, false, false),
        (r#"{"groups": ["edge", "x"]}"#, true, true),
        (r#"{"groups": ["x"]}"#, false, false),
        (r#"{"agents": [{"iss": "i", "sub": "bot"}]}"#, true, true),
        (r#"{"agents": [{"iss": "j", "sub": "bot"}]}"#, false, false),
        (r#"{"policy": "p"}"#, true, true),
        (r#"{"policy": "q"}"#, false, false),
        (r#"{"rules": ["*"], "groups": ["edge"], "policy": "q"}"#, false, false),
    ] {
        assert_eq!((scope(text).covers(&one), scope(text).covers(&both)), (covers_one, covers_both), "{text}");
    }
    // The agent is the one that makes the request, whoever it acts for; a hold without rules lies in no list of them.
    let for_bot = scope(r#"{"agents": [{"iss": "i", "sub": "bot"}]}"#);
    assert!(for_bot.covers(&terms("edge", agent("ann", &["bot", "other"]), &["r"])));
    assert!(!for_bot.covers(&terms("edge", agent("bot", &["other"]), &["r"])));
    assert!(!scope(r#"{"rules": ["*"]}"#).covers(&terms("edge", bot, &[])));
    for wrong in
        [r#"{"rule": []}"#, r#"{"rules": ["a*b"]}"#, r#"{"rules": [""]}"#, r#"{"rules": "*"}"#, r#"{"rules": ["**"]}"#]
    {
        assert!(serde_json::from_str::<Scope>(wrong).is_err(), "{wrong}");
    }
    let written = r#"{"rules":["iam.*"],"groups":null,"agents":null,"policy":"p"}"#;
    assert_eq!(serde_json::to_string(&scope(written)).unwrap(), written);
}

#[test]
fn an_eligibility_begins_ends_and_lapses_at_its_very_second() {
    let period = 90 * DAY;
    let always = eligible(Scope::default());
    let bounded = Eligibility { from: Some(NOW + 10), until: Some(NOW + 20), ..always.clone() };
    for (after, holds) in [(0, false), (9, false), (10, true), (19, true), (20, false)] {
        assert_eq!(bounded.holds_at(NOW + after, period), holds, "{after}");
    }
    assert!(always.holds_at(NOW + period - 1, period) && !always.holds_at(NOW + period, period));
    let again = Eligibility { certified_at: NOW + DAY, ..always.clone() };
    assert!(again.holds_at(NOW + period, period) && !again.holds_at(NOW + DAY + period, period));
    // A database that lost the later moment does not end it before its first period is over.
    let odd = Eligibility { certified_at: 0, ..always.clone() };
    assert!(odd.holds_at(NOW, period));
    let (terms, twice) = (terms("edge", agent("bot", &[]), &["r"]), [always, bounded]);
    assert_eq!(eligibility_roles(&twice, &terms, NOW, period), ["iam".to_owned()].into());
    assert_eq!(eligibility_roles(&twice[1..], &terms, NOW, period), BTreeSet::new());
}

fn eligibility_roles(all: &[Eligibility], terms: &Terms, now: u64, period: u64) -> BTreeSet<String> {
    crate::domain::eligibility::roles(all, terms, now, period)
}
