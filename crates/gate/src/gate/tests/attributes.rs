//! What rules see of a request beside its method, its path and its body: the query, headers, the clock.

use fixture::bundle;

use super::*;

fn deny(any: &Value) -> Value {
    json!([{"id": "no", "effect": "deny", "any": any}])
}

fn is_denied(desk: &mut Desk, path: &str, headers: &[(&str, &str)]) -> bool {
    let id = desk.next_id();
    let pairs = desk.pairs("GET", path, headers);
    match desk.gate.head(desk.now, id, pairs, true).step {
        Step::Forward(_) => false,
        Step::Reply(reply) => {
            let body: Value = serde_json::from_slice(&reply.body).unwrap();
            assert_eq!((reply.status, body["rule"].as_str()), (403, Some("no")), "{body}");
            true
        }
        other => panic!("{path}: {other:?}"),
    }
}

#[test]
fn a_query_meets_its_rule_however_it_is_written() {
    let mut desk = Desk::ready();
    desk.publish(2, deny(&json!([[value(json!({"query": "limit"}), json!({"gt": "1000"}))]])));
    for path in ["/iam/a?limit=1000", "/iam/a?limit=5", "/iam/a?limit=5&limits=5000"] {
        assert!(!is_denied(&mut desk, path, &[]), "{path}");
    }
    // Missing or not a number: unknown, and what denies then matches.
    for path in [
        "/iam/a?limit=1001",
        "/iam/a?x=limit",
        "/iam/a?limit=5&limit=5000",
        "/iam/a?limit=5;limit=5000",
        "/iam/a?x=1&limit=1e9",
        "/iam/a?limit=5,5000",
        "/iam/a?limit=%2B5000",
    ] {
        assert!(is_denied(&mut desk, path, &[]), "{path}");
    }
}

#[test]
fn a_tag_of_a_header_and_a_plain_header_are_seen() {
    let mut desk = Desk::ready();
    let tag = json!({"tag": {"name": "confidence", "source": {"header": "x-agent-confidence"}}});
    desk.publish(2, deny(&json!([[value(tag, json!({"lt": "0.8"}))]])));
    assert!(!is_denied(&mut desk, "/iam/a", &[("x-agent-confidence", "0.93")]));
    for headers in [
        &[("x-agent-confidence", "0.79")][..],
        &[("x-agent-confidence", "high")],
        &[("x-agent-confidence", "0.9"), ("x-agent-confidence", "0.1")],
        &[],
    ] {
        assert!(is_denied(&mut desk, "/iam/a", headers), "{headers:?}");
    }
    desk.publish(3, deny(&json!([[value(json!({"header": "x-debug"}), json!({"exists": true}))]])));
    assert!(!is_denied(&mut desk, "/iam/a", &[]));
    assert!(is_denied(&mut desk, "/iam/a", &[("x-debug", "")]));
}

#[test]
fn a_window_of_time_follows_the_clock_and_a_held_request_is_judged_by_the_hour_in_which_it_is_woken() {
    let start = i64::try_from(fixture::NOW / 1000).unwrap();
    let minute = u16::try_from(start.rem_euclid(86_400) / 60).unwrap();
    let window = |outside: bool| {
        json!({"time": {"outside": outside, "days": ["mon", "tue", "wed", "thu", "fri", "sat", "sun"], "from": minute,
            "to": (minute + 10) % 1440, "zone": "UTC", "offsets": [{"from": 0, "seconds": 0}], "until": start + 86_400}})
    };
    let mut desk = Desk::ready();
    desk.publish(2, deny(&json!([[window(false)]])));
    assert!(is_denied(&mut desk, "/iam/a", &[]));
    desk.now += 600_000;
    desk.fresh();
    assert!(!is_denied(&mut desk, "/iam/a", &[]));
    desk.now += 86_400_000;
    desk.fresh();
    desk.token_life += 90_000;
    assert!(is_denied(&mut desk, "/iam/a", &[]), "beyond the zone's table the time is not known");

    // Ten seconds before the window ends, and twenty seconds later.
    let mut desk = Desk::ready();
    desk.publish(2, deny(&json!([[window(true)]])));
    desk.now = (fixture::NOW / 60_000 + 10) * 60_000 - 10_000;
    desk.fresh();
    let id = desk.held("DELETE", "/iam/users/7", b"");
    desk.now += 20_000;
    desk.fresh();
    desk.decide(&desk.hold_of(id), "approved");
    let done = desk.tick();
    assert_eq!((done.replies[0].1, done.replies[0].2["rule"].as_str()), (403, Some("no")));
}

#[test]
fn a_policy_that_this_filter_cannot_evaluate_is_not_put_in_force() {
    let mut desk = Desk::ready();
    let atoms = [(value(json!("mcp_tool"), json!({"glob": "iam.*"})), "`mcp.paths`")];
    for (serial, (atom, word)) in (2..).zip(atoms) {
        desk.publish(serial, deny(&json!([[atom]])));
        assert_eq!(desk.gate.policy.as_ref().unwrap().reference().serial, 1);
        assert!(desk.warnings.iter().any(|warning| warning.contains(word)), "{:?}", desk.warnings);
        let signed = SignedBundle::sign(
            &bundle(serial, &deny(&json!([[atom]]))),
            &PrivateKey::from_seed(&[fixture::AUTHOR; 32]),
        );
        let error = Config::parse(
            json!({
                "group": "edge", "approval": {"cluster": "a", "authority": "a"},
                "identity": {"issuers": [{"iss": "i", "aud": "a", "algs": ["EdDSA"], "jwks": fixture::jwks(1)}]},
                "bundle_keys": fixture::jwks(fixture::AUTHOR), "grant_keys": fixture::jwks(2), "bundle": signed,
            })
            .to_string()
            .as_bytes(),
        )
        .unwrap_err();
        assert!(error.to_string().contains(word), "{error}");
    }
}
