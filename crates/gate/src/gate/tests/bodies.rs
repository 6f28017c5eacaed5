//! Bodies: however they are cut, what they cost, and what follows them.

use proptest::prelude::*;

use super::*;

/// What a host does with a request: the sizes of the pieces, and whether the end comes by itself.
fn deliver(desk: &mut Desk, path: &str, body: &[u8], cuts: &[usize], empty_end: bool) -> String {
    let id = desk.next_id();
    let pairs = desk.pairs("POST", path, &[]);
    let mut step = desk.gate.head(desk.now, id, pairs, false).step;
    let mut so_far = 0;
    for cut in cuts {
        if !desk.gate.awaits_body(id) {
            break;
        }
        so_far += cut;
        // The last piece may say that it is the last; else the end comes in a callback of its own.
        step = match so_far == body.len() && !empty_end {
            true => desk.gate.body(desk.now, id, Some(body.to_vec())),
            false => desk.gate.body_so_far(id, so_far),
        };
    }
    if desk.gate.awaits_body(id) {
        step = desk.gate.body(desk.now, id, Some(body.to_vec()));
    }
    let told = match step {
        Step::Forward(permit) => format!("forward {}", permit.decision()),
        Step::Reply(reply) => format!("{} {}", reply.status, String::from_utf8(reply.body).unwrap()),
        Step::Call(callout) => {
            let open: OpenHold = serde_json::from_slice(&callout.body).unwrap();
            format!("{:?} {:?} {:?}", open.digest, open.request, open.rules)
        }
        Step::Await => panic!("nothing came of it"),
    };
    desk.gate.closed(id);
    assert_eq!(desk.gate.parked(), (0, 0), "nothing stays behind");
    told
}

fn pieces(length: usize, mut cuts: Vec<usize>) -> Vec<usize> {
    cuts.sort_unstable();
    cuts.push(length);
    let mut last = 0;
    cuts.into_iter().map(|cut| cut - std::mem::replace(&mut last, cut)).collect()
}

const PATHS: [&str; 3] = ["/iam/users/7/notes", "/iam/users/7/roles", "/iam/nothing"];

#[test]
fn each_way_to_cut_a_small_body_comes_to_one_verdict_and_one_digest() {
    let mut desk = Desk::ready();
    for body in [&br#"{"text":1}"#[..], br#"{"no":1}"#, b"{}", b"\xff"] {
        for path in PATHS {
            let whole = deliver(&mut desk, path, body, &[body.len()], false);
            for set in 0_u32..1 << (body.len() - 1) {
                let cuts = (1..body.len()).filter(|at| set & 1 << (at - 1) != 0).collect();
                let cuts = pieces(body.len(), cuts);
                for empty_end in [false, true] {
                    assert_eq!(deliver(&mut desk, path, body, &cuts, empty_end), whole, "{path} {cuts:?}");
                }
            }
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    /// Bodies around `max_body` too, where one cut is refused early and another at the end.
    #[test]
    fn any_cut_of_any_body_comes_to_one_verdict_and_one_digest(
        text in "\\PC{0,40}", padding in 0_usize..300, path in 0..PATHS.len(),
        cuts in prop::collection::vec(any::<prop::sample::Index>(), 0..6), empty_end in any::<bool>(),
    ) {
        let mut desk = Desk::with_policy(|config| config["max_body"] = 256.into());
        let body = json!({"text": text, "padding": "x".repeat(padding)}).to_string().into_bytes();
        let whole = deliver(&mut desk, PATHS[path], &body, &[body.len()], false);
        let cuts = pieces(body.len(), cuts.iter().map(|cut| cut.index(body.len())).collect());
        prop_assert_eq!(deliver(&mut desk, PATHS[path], &body, &cuts, empty_end), whole);
    }
}

fn awaiting(desk: &mut Desk) -> (StreamId, Step) {
    let id = desk.next_id();
    let step = desk.gate.head(desk.now, id, desk.pairs("POST", "/iam/users/7/notes", &[]), false).step;
    (id, step)
}

fn refusal(step: Step) -> (u16, &'static str) {
    let Step::Reply(reply) = step else { panic!("{step:?}") };
    (reply.status, reply.decision)
}

/// Many slow uploads once would have filled the proxy's memory, as only held requests were counted.
#[test]
fn bodies_on_their_way_are_counted_by_agent_and_in_all() {
    for (member, refused) in [("max_agent_bytes", (429, "quota")), ("max_parked_bytes", (503, "unavailable"))] {
        let mut desk =
            Desk::with_policy(|config| (config[member], config["max_body"]) = (20_000.into(), 20_000.into()));
        let (first, step) = awaiting(&mut desk);
        assert!(matches!(step, Step::Await), "{step:?}");
        let (second, _) = awaiting(&mut desk);
        assert!(matches!(desk.gate.body_so_far(first, 9_000), Step::Await));
        assert!(matches!(desk.gate.body_so_far(second, 7_000), Step::Await));
        assert!(matches!(desk.gate.body_so_far(second, 7_000), Step::Await), "the same octets count once");
        assert_eq!(refusal(desk.gate.body_so_far(second, 12_000)), refused, "{member}");
        assert!(!desk.gate.awaits_body(second));
        // What is refused or given up gives its room back.
        let (third, _) = awaiting(&mut desk);
        assert!(matches!(desk.gate.body_so_far(third, 8_000), Step::Await));
        desk.gate.closed(third);
        let body = format!(r#"{{"text":"{}"}}"#, "x".repeat(9_000)).into_bytes();
        assert!(matches!(desk.gate.body(desk.now, first, Some(body)), Step::Forward(_)));
        assert_eq!(desk.gate.parked(), (0, 0));
        // Heads count too: there is no end to streams without a body.
        let mut open = 0;
        while let (_, Step::Await) = awaiting(&mut desk) {
            open += 1;
        }
        assert!((5..40).contains(&open), "{open}");
    }
}

#[test]
fn requests_without_an_identity_share_one_account() {
    let mut desk = Desk::with_policy(|config| {
        config["identity"]["untagged"] = "evaluate".into();
        (config["max_agent_bytes"], config["max_body"]) = (3_000.into(), 3_000.into());
    });
    let text = json!([{"id": "nobody", "effect": "allow", "any": [[method("POST"), value(json!("agent"), json!({"exists": false})),
        value(json!({"body": "/text"}), json!({"exists": true}))]]}]);
    desk.publish(2, text);
    desk.tagged = false;
    let (id, step) = awaiting(&mut desk);
    assert!(matches!(step, Step::Await), "{step:?}");
    assert!(matches!(desk.gate.body_so_far(id, 2_000), Step::Await));
    assert_eq!(refusal(awaiting(&mut desk).1), (429, "quota"));
    desk.tagged = true;
    assert!(matches!(awaiting(&mut desk).1, Step::Await), "agents have room of their own");
}

#[test]
fn a_head_that_decides_awaits_no_body() {
    let mut desk = Desk::ready();
    for (verb, path) in [("GET", "/iam/users"), ("PUT", "/nothing")] {
        let id = desk.next_id();
        let headers = [("content-length", "52428800"), ("content-type", "application/octet-stream")];
        let step = desk.gate.head(desk.now, id, desk.pairs(verb, path, &headers), false).step;
        assert!(!matches!(step, Step::Await), "{verb} {path}: {step:?}");
        assert_eq!(desk.gate.parked(), (0, 0));
    }
}

#[test]
fn trailers_that_nobody_evaluated_are_removed() {
    let mut desk = Desk::ready();
    desk.publish(
        2,
        json!([{"id": "x", "effect": "deny", "any": [[value(json!({"header": "x-debug"}), json!({"exists": true}))]]}]),
    );
    let trailers: [&[u8]; 13] = [
        b"grpc-status",
        b"x-checksum",
        b"holdgate-agent",
        b"x-envoy-retry-on",
        b"x-debug",
        b"authorization",
        b"host",
        b"content-length",
        b"x-http-method-override",
        b":path",
        b"x_debug",
        b"cookie",
        b"x-forwarded-host",
    ];
    let removed = desk.gate.unread_trailers(&trailers.iter().map(|name| (name, "1")).collect());
    assert_eq!(removed, trailers[2..].iter().map(|name| String::from_utf8(name.to_vec()).unwrap()).collect::<Vec<_>>());
}

/// Whatever becomes of a request, what only Holdgate or the proxy may set is named for removal.
#[test]
fn reserved_headers_go_nowhere_on_any_path() {
    let reserved = ["holdgate-agent", "holdgate-", "x-envoy-retry-on", "x-envoy-original-path", "x-envoy-max-retries"];
    let headers: Vec<(&str, &str)> =
        reserved.iter().map(|name| (*name, "1")).chain([("holdgate-agent", "2")]).collect();
    let mut desk = Desk::with_policy(|config| config["identity"]["untagged"] = "evaluate".into());
    let shadow = json!({"id": "shadow", "effect": "deny", "mode": "shadow", "any": [[method("GET")]]});
    desk.publish(2, json!([shadow]));
    for (tagged, verb, path, end) in [
        (true, "GET", "/iam/users", true),
        (true, "POST", "/iam/users/7/notes", false),
        (true, "DELETE", "/iam/users/7", true),
        (true, "PUT", "/iam/users/7", true),
        (true, "GET", "/iam//users", true),
        (true, "get", "/iam/users", true),
        (true, "GET", "/.well-known/holdgate/tasks/h1", true),
        (false, "GET", "/iam/open", true),
        (false, "DELETE", "/iam/users/7", true),
    ] {
        desk.tagged = tagged;
        let id = desk.next_id();
        let opened = desk.gate.head(desk.now, id, desk.pairs(verb, path, &headers), end);
        let removed: std::collections::BTreeSet<_> = opened.remove.iter().map(String::as_str).collect();
        assert_eq!(removed, reserved.into(), "{verb} {path}");
        desk.gate.closed(id);
    }
    // Where a name is not UTF-8, or in another case, the request goes nowhere.
    for name in [&b"holdgate-\xff"[..], b"Holdgate-Agent", b"x_envoy_retry-on", b"holdgate-\xc3\xa9"] {
        let mut pairs = desk.pairs("GET", "/iam/users", &[]);
        pairs.push((name.to_vec(), b"1".to_vec()));
        let id = desk.next_id();
        assert_eq!(refusal(desk.gate.head(desk.now, id, pairs, true).step), (400, "malformed"));
    }
}
