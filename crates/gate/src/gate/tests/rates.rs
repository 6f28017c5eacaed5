//! Rates in a gate: which requests count, when, and for whom.

use super::*;

fn rate(over: u64, by: &str) -> Value {
    json!({"rate": {"over": over, "per": 60, "by": by}})
}

/// A desk whose policy denies more than `over` requests that meet these conditions.
fn limited(over: u64, by: &str, conditions: &[Value]) -> Desk {
    let mut desk = Desk::ready();
    let any: Vec<Value> = conditions.iter().cloned().chain([rate(over, by)]).collect();
    desk.publish(2, json!([{"id": "flood", "effect": "deny", "any": [any]}]));
    desk
}

#[test]
fn more_than_so_many_in_a_window_are_denied_and_those_count_too() {
    let mut desk = limited(3, "agent", &[method("GET")]);
    for _ in 0..3 {
        assert!(desk.passes("GET", "/iam/users", b""));
    }
    for _ in 0..3 {
        assert_eq!(desk.refused("GET", "/iam/users", b"").1, (403, "denied".into()));
        desk.now += 15_000;
        desk.fresh();
    }
    // The first three are out of the window, the denied ones are in it.
    desk.now += 19_000;
    desk.fresh();
    assert!(desk.passes("GET", "/iam/users", b""));
    assert_eq!(desk.refused("GET", "/iam/users", b"").1, (403, "denied".into()));
    assert!(desk.passes("POST", "/iam/users/7/notes", br#"{"text":"x"}"#), "what the entry is not about");
}

/// Where a rule looks into the body, what counts is known when the body is; the head alone counts nothing.
#[test]
fn a_request_counts_once_and_only_if_its_body_is_what_the_entry_is_about() {
    let big = value(json!({"body": "/text"}), json!({"equals": {"string": "big"}}));
    let mut desk = limited(2, "agent", &[method("POST"), big]);
    for _ in 0..10 {
        assert!(desk.passes("POST", "/iam/users/7/notes", br#"{"text":"small"}"#));
    }
    for _ in 0..2 {
        assert!(desk.passes("POST", "/iam/users/7/notes", br#"{"text":"big"}"#));
    }
    assert_eq!(desk.refused("POST", "/iam/users/7/notes", br#"{"text":"big"}"#).1, (403, "denied".into()));
    assert!(desk.passes("POST", "/iam/users/7/notes", br#"{"text":"small"}"#));
}

#[test]
fn a_held_request_keeps_its_count_when_it_is_woken() {
    let mut desk = Desk::ready();
    let any = json!([[method("DELETE"), rate(1, "agent")]]);
    let rules = json!([{"id": "delete", "effect": "allow", "any": [[method("DELETE")]]}, {"id": "burst", "effect": "hold", "any": any}]);
    desk.publish(2, rules.clone());
    assert!(desk.passes("DELETE", "/iam/users/1", b""));
    let id = desk.held("DELETE", "/iam/users/2", b"");
    let before = shared(&desk);
    desk.decide(&desk.hold_of(id), "approved");
    assert_eq!(desk.tick().forwarded, [(id, true)]);
    assert_eq!(shared(&desk), before, "it counted when it came");
    // Under a newer revision with the same rule it does not count again either.
    let id = desk.held("DELETE", "/iam/users/3", b"");
    let before = shared(&desk);
    desk.publish(3, rules);
    desk.decide(&desk.hold_of(id), "approved");
    assert_eq!(desk.tick().forwarded, [(id, true)]);
    assert_eq!(shared(&desk), before);
}

fn shared(desk: &Desk) -> BTreeMap<String, Vec<u8>> {
    let shared = desk.memory.borrow();
    shared
        .iter()
        .filter(|(name, _)| name.contains("/rates/"))
        .map(|(name, (page, _))| (name.clone(), page.clone()))
        .collect()
}

#[test]
fn workers_of_one_proxy_count_together_and_agents_for_themselves() {
    for (by, of_another) in [("agent", true), ("rule", false)] {
        let mut desk = limited(2, by, &[method("GET")]);
        assert!(desk.passes("GET", "/iam/users", b""));
        // Another worker: a gate of its own over the same shared data.
        let mut other = Desk::beside(&desk);
        other.publish(2, json!([{"id": "flood", "effect": "deny", "any": [[method("GET"), rate(2, by)]]}]));
        assert!(other.passes("GET", "/iam/users", b""));
        assert_eq!(other.refused("GET", "/iam/users", b"").1, (403, "denied".into()));
        assert_eq!(desk.refused("GET", "/iam/users", b"").1, (403, "denied".into()));
        desk.subject = "agent-8";
        assert_eq!(desk.passes("GET", "/iam/users", b""), of_another, "{by}");
    }
}

#[test]
fn where_nothing_can_be_counted_what_denies_matches_and_what_counts_nothing_is_free() {
    let mut desk = limited(1_000, "agent", &[method("GET")]);
    desk.gate.host = Box::new(TestHost { shares: false, ..TestHost::default() });
    assert_eq!(desk.refused("GET", "/iam/users", b"").1, (403, "denied".into()));
    assert!(desk.passes("POST", "/iam/users/7/notes", br#"{"text":"x"}"#));
    desk.now += 1_000;
    desk.tick();
    assert_eq!(desk.figures["holdgate.rates.unknown"], 1);
    let mut desk = limited(1_000, "agent", &[method("GET")]);
    assert!(desk.passes("POST", "/iam/users/7/notes", br#"{"text":"x"}"#));
    assert!(desk.memory.borrow().keys().all(|name| !name.contains("rates")));
}

#[test]
fn rates_of_shadow_rules_count_for_themselves() {
    let mut desk = Desk::ready();
    let any = json!([[method("GET"), rate(1, "agent")]]);
    desk.publish(2, json!([{"id": "dark", "effect": "deny", "mode": "shadow", "any": any}]));
    for _ in 0..3 {
        assert!(desk.passes("GET", "/iam/users", b""));
    }
    desk.now += 1_000;
    desk.tick();
    assert_eq!(desk.figures["holdgate.shadow.effect.deny.rule.dark"], 2);
}

/// The attack: an agent that meets a rule in shadow mode with ever new keys, so that the counts of enforced rules find no room.
#[test]
fn rates_of_shadow_rules_take_no_room_from_enforced_ones() {
    let pages = |mode: &str, by: &str| {
        let mut desk = Desk::ready();
        let any = json!([[method("GET"), rate(1_000_000, by)]]);
        desk.publish(2, json!([{"id": "dark", "effect": "deny", "mode": mode, "any": any}]));
        for subject in ["a", "b", "c", "d", "e", "f", "g", "h", "i", "j", "k", "l", "m", "n", "o", "p"] {
            desk.subject = subject;
            assert!(desk.passes("GET", "/iam/users", b""));
        }
        let memory = desk.memory.borrow();
        let pages = memory.keys().filter_map(|name| name.strip_prefix("holdgate/rates/edge/")?.parse::<u16>().ok());
        pages.collect::<Vec<_>>()
    };
    let (shadow, enforced) = (pages("shadow", "agent"), pages("enforce", "agent"));
    assert!(shadow.len() > 1 && enforced.len() > 1);
    assert!(
        shadow.iter().all(|page| *page >= 512) && enforced.iter().all(|page| *page < 512),
        "{shadow:?} {enforced:?}"
    );
}
