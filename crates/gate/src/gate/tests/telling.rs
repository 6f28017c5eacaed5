//! What the gate tells of requests: one record of each, figures, and to agents no more than they may know.

use super::*;
use fixture::NOW;

/// Numbers that look random and are the same in each run.
struct Numbers(u64);

impl Numbers {
    fn below(&mut self, bound: usize) -> usize {
        self.0 = self.0.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        usize::try_from(self.0 >> 33).unwrap() % bound
    }
}

/// Sends what is due of records and figures.
fn flush(desk: &mut Desk) {
    for _ in 0..40 {
        desk.now += 1_000;
        desk.tick();
    }
}

/// A request as somebody outside sees it.
#[derive(Default)]
struct Seen {
    path: String,
    /// `POST /v1/holds` is on its way.
    opening: Option<Callout>,
    hold: Option<String>,
    /// The service made the hold for it, and says so in its ledger.
    created: bool,
    asks: bool,
    ended: bool,
    /// Records that the gate has to make.
    records: usize,
}

impl Seen {
    fn end(&mut self, by_service: bool) {
        assert!(!std::mem::replace(&mut self.ended, true), "{} ends twice", self.path);
        self.records = usize::from(!by_service && !self.asks);
    }

    fn step(&mut self, step: Step) {
        match step {
            Step::Forward(permit) => self.end(permit.is_single_use()),
            Step::Reply(reply) => self.end(reply.of_hold && self.created),
            Step::Call(callout) if callout.path == "/v1/holds" => self.opening = Some(callout),
            Step::Call(_) | Step::Await => {}
        }
    }
}

/// Whatever happens in whatever order: each request has one end, and one record of it, here or at the service.
#[test]
fn each_request_has_exactly_one_record() {
    let mut total = 0;
    for seed in 0..300 {
        let mut numbers = Numbers(seed);
        let mut desk = Desk::ready();
        let mut seen: BTreeMap<StreamId, Seen> = BTreeMap::new();
        let mut serial = 1;
        for step in 0..60 {
            let open: Vec<StreamId> = seen.iter().filter(|(_, seen)| !seen.ended).map(|(id, _)| *id).collect();
            let some = open.get(numbers.below(open.len().max(1))).copied();
            match (numbers.below(12), some) {
                (0..=3, _) => arrive(&mut desk, &mut numbers, &mut seen, step),
                (4, Some(id)) => {
                    let body = [None, Some(&b"{\"text\":1}"[..]), Some(b"{\"text\"")][numbers.below(3)];
                    let step = desk.gate.body(desk.now, id, body.map(<[u8]>::to_vec));
                    seen.get_mut(&id).unwrap().step(step);
                }
                (5 | 6, Some(id)) => answer(&mut desk, &mut numbers, seen.get_mut(&id).unwrap(), id),
                (7, Some(id)) => {
                    if let Some(hold) = seen[&id].hold.clone() {
                        desk.decide(
                            &hold,
                            ["approved", "approved", "denied", "expired", "cancelled"][numbers.below(5)],
                        );
                    }
                }
                (8, Some(id)) => {
                    desk.gate.closed(id);
                    let of = seen.get_mut(&id).unwrap();
                    of.end(of.created);
                }
                (9, _) => desk.now += [10, 1_000, 46_000, 61_000][numbers.below(4)],
                (10, _) => {
                    serial += 1;
                    let deny = json!([{"id": "freeze", "effect": "deny", "any": [[method("DELETE")]]}]);
                    desk.publish(serial, if numbers.below(2) == 0 { deny } else { json!([]) });
                }
                _ => desk.failing_redemptions = [0, 0, 1, 2][numbers.below(4)],
            }
            if numbers.below(2) == 0 {
                desk.fresh();
                tick(&mut desk, &mut seen);
            }
        }
        tick(&mut desk, &mut seen);
        for (id, seen) in &mut seen {
            desk.gate.closed(*id);
            if !seen.ended {
                seen.end(seen.created);
            }
        }
        flush(&mut desk);
        for seen in seen.values().filter(|seen| !seen.path.is_empty()) {
            let records = desk.records.iter().filter(|record| record["request"]["path"] == *seen.path).count();
            assert_eq!(records, seen.records, "{} of {seed}", seen.path);
        }
        assert_eq!(desk.records.len(), seen.values().map(|seen| seen.records).sum::<usize>(), "{seed}");
        let numbers: Vec<_> = desk.records.iter().map(|record| record["seq"].as_u64().unwrap()).collect();
        assert!(numbers.iter().copied().eq(1..=numbers.len() as u64), "{numbers:?}");
        total += numbers.len();
        let ends: i64 = desk.figures.iter().filter(|(name, _)| name.contains(".ends.")).map(|(_, count)| count).sum();
        assert_eq!(ends, i64::try_from(seen.len()).unwrap());
    }
    assert!(total > 3_000, "{total}");
}

fn arrive(desk: &mut Desk, numbers: &mut Numbers, seen: &mut BTreeMap<StreamId, Seen>, step: usize) {
    let (method, path, end) = match numbers.below(9) {
        0 => ("GET", format!("/iam/users/{step}"), true),
        1 => ("GET", format!("/other/{step}"), true),
        2 => ("GET", format!("/iam//{step}"), true),
        3 | 4 => ("POST", format!("/iam/users/{step}/notes"), false),
        5 | 6 => ("DELETE", format!("/iam/users/{step}"), numbers.below(2) == 0),
        7 => ("GET", format!("/.well-known/holdgate/tasks/{step}"), true),
        _ => ("POST", format!("/iam/users/{step}/roles"), true),
    };
    desk.tagged = numbers.below(8) > 0;
    let (id, pairs) = (desk.next_id(), desk.pairs(method, &path, &[]));
    let malformed = path.contains("//");
    let asks = path.contains("tasks") && desk.tagged;
    desk.tagged = true;
    let opened = desk.gate.head(desk.now, id, pairs, end);
    let path = if malformed { String::new() } else { path };
    // A gate that has lost touch refuses before it knows what is asked.
    let asks = asks && matches!(opened.step, Step::Call(_));
    let seen = seen.entry(id).or_insert(Seen { path, asks, ..Seen::default() });
    seen.step(opened.step);
}

fn answer(desk: &mut Desk, numbers: &mut Numbers, seen: &mut Seen, id: StreamId) {
    let Some(callout) = seen.opening.take() else {
        if seen.asks {
            let found = br#"{"hold":"1","state":"pending","expires_at":1,"seq":1}"#.to_vec();
            let found = Some(Answer { status: 200, body: found });
            let answer = [None, found][numbers.below(2)].clone();
            let step = desk.gate.stream_answer(desk.now, id, answer);
            seen.step(step);
        }
        return;
    };
    let state = ["pending", "pending", "approved", "denied", "used"][numbers.below(5)];
    let mut answer = desk.hold_answer(&callout, state, 10_000_000);
    seen.hold = serde_json::from_slice::<HoldAnswer>(&answer.body).ok().map(|answer| answer.hold);
    answer.status = [201, 201, 200, 403, 429, 409, 500][numbers.below(7)];
    seen.created = answer.status == 201;
    seen.hold = seen.hold.take().filter(|_| answer.status <= 403);
    let step = desk.gate.stream_answer(desk.now, id, Some(answer).filter(|_| numbers.below(9) > 0 || !seen.created));
    if matches!(&step, Step::Reply(reply) if reply.status == 503) {
        seen.created = false;
    }
    seen.step(step);
}

fn tick(desk: &mut Desk, seen: &mut BTreeMap<StreamId, Seen>) {
    // A hold whose decision is news to a stream that was told of it with a greater number is decided all the same.
    let done = desk.tick();
    for (id, single_use) in done.forwarded {
        seen.get_mut(&id).unwrap().end(single_use);
    }
    for (id, status, body) in done.replies {
        let of = seen.get_mut(&id).unwrap();
        let of_hold = body.get("task").is_some() && status != 503;
        of.end(of_hold && of.created);
    }
}

#[test]
fn a_record_tells_who_asked_for_what_and_which_rule_decided() {
    let mut desk = Desk::ready();
    let controls = json!(["nist-csf-2.0: PR.AA-05"]);
    let deny = json!([{"id": "no.purge", "effect": "deny", "controls": controls, "reason": "Not here.",
        "any": [[method("PURGE")]]}]);
    desk.publish(2, deny);
    let rev = desk.gate.policy.as_ref().unwrap().reference().rev;
    assert!(desk.passes("GET", "/iam/users?token=query-secret", b""));
    desk.refused("PURGE", "/iam/users/7", br#"{"role":"body-secret"}"#);
    desk.refused("GET", "/iam//users", b"");
    desk.tagged = false;
    desk.refused("GET", "/iam/\u{22}users".replace('"', "%22").as_str(), b"");
    flush(&mut desk);
    let time = NOW / 1000;
    let policy = json!({"id": "p", "rev": rev, "serial": 2});
    let agent = json!({"iss": "https://idp", "sub": "agent-7", "act": [], "owner": "group/iam"});
    let request = |method: &str, path: &str| {
        let authority = if path.is_empty() { "" } else { "iam.example" };
        json!({"method": method, "authority": authority, "path": path, "digest": null})
    };
    let expected = json!([
        {"seq": 1, "t": time, "effect": "allow", "decided_by": "policy", "code": "allow",
            "rules": [{"id": "read", "mode": "enforce", "controls": []}], "policy": policy, "agent": agent,
            "request": request("GET", "/iam/users"), "hold": null, "status": null},
        {"seq": 2, "t": time, "effect": "deny", "decided_by": "policy", "code": "denied",
            "rules": [{"id": "no.purge", "mode": "enforce", "controls": controls}], "policy": policy, "agent": agent,
            "request": request("PURGE", "/iam/users/7"), "hold": null, "status": 403},
        {"seq": 3, "t": time, "effect": "deny", "decided_by": "policy", "code": "malformed", "rules": [],
            "policy": null, "agent": null, "request": request("", ""), "hold": null, "status": 400},
        {"seq": 4, "t": time, "effect": "deny", "decided_by": "policy", "code": "identity", "rules": [],
            "policy": policy, "agent": null, "request": request("GET", "/iam/%22users"), "hold": null, "status": 401},
    ]);
    assert_eq!(Value::from(desk.records), expected);
}

#[test]
fn a_held_request_that_the_gate_itself_ends_is_recorded_with_its_hold_and_digest() {
    // The service could not be asked.
    let mut desk = Desk::ready();
    let (id, callout) = desk.opening("DELETE", "/iam/users/7", b"");
    let digest = serde_json::from_slice::<OpenHold>(&callout.body).unwrap().digest;
    desk.gate.stream_answer(desk.now, id, None);
    // Another one was denied before: the service has nothing to write about this try.
    let (id, callout) = desk.opening("DELETE", "/iam/users/8", b"");
    let answer = Answer { status: 403, ..desk.hold_answer(&callout, "denied", 1) };
    desk.gate.stream_answer(desk.now, id, Some(answer));
    // The policy changed meanwhile.
    desk.held("DELETE", "/iam/users/9", b"");
    desk.publish(2, json!([{"id": "freeze", "effect": "deny", "any": [[method("DELETE")]]}]));
    desk.decide(&desk.hold_of(4), "approved");
    desk.tick();
    flush(&mut desk);
    let told: Vec<_> = desk
        .records
        .iter()
        .map(|record| {
            let text = |name: &str| record[name].as_str().unwrap_or("-").to_owned();
            (text("effect"), text("decided_by"), text("code"), record["rules"][0]["id"].clone(), text("hold"))
        })
        .collect();
    let told_as = |by: &str, code: &str, rule: &str, hold: &str| {
        ("deny".to_owned(), by.to_owned(), code.to_owned(), Value::from(rule), hold.to_owned())
    };
    assert_eq!(
        told,
        [
            told_as("policy", "unavailable", "delete", "-"),
            told_as("human", "denied", "delete", "h1"),
            told_as("policy", "denied", "freeze", "h2"),
        ]
    );
    assert_eq!(desk.records[0]["request"]["digest"], digest.to_string());
    assert_eq!(desk.figures["holdgate.callout_failures.call.holds"], 1);
}

#[test]
fn a_rule_about_a_verified_tag_that_decides_is_a_model_s_part() {
    let mut desk = Desk::ready();
    let tag = json!({"tag": {"name": "risk", "source": {"claim": "/risk"}}});
    desk.publish(
        2,
        json!([{"id": "risky", "effect": "deny", "any": [[method("GET"), value(tag, json!({"gt": "0.5"}))]]}]),
    );
    desk.refused("GET", "/iam/users", b"");
    flush(&mut desk);
    assert_eq!(desk.records[0]["decided_by"], "model");
}

#[test]
fn rules_in_shadow_mode_are_recorded_and_do_nothing() {
    let mut desk = Desk::ready();
    let text = value(json!({"body": "/text"}), json!({"equals": {"string": "x"}}));
    desk.publish(
        2,
        json!([
            {"id": "dark", "effect": "deny", "mode": "shadow", "any": [[method("GET")]]},
            {"id": "dark.hold", "effect": "hold", "mode": "shadow", "any": [[method("POST"), text.clone()]]},
            {"id": "dark.body", "effect": "deny", "mode": "shadow", "any": [[method("GET"), text]]},
        ]),
    );
    assert!(desk.passes("GET", "/iam/users", b""));
    assert!(desk.passes("POST", "/iam/users/7/notes", br#"{"text":"x"}"#));
    assert!(desk.passes("POST", "/iam/users/7/notes", br#"{"text":"y"}"#));
    flush(&mut desk);
    let rules = |record: &Value| {
        let all = record["rules"].as_array().unwrap().iter();
        all.map(|rule| format!("{} {}", rule["id"].as_str().unwrap(), rule["mode"].as_str().unwrap()))
            .collect::<Vec<_>>()
    };
    assert_eq!(
        rules(&desk.records[0]),
        ["read enforce", "dark shadow", "dark.body shadow"],
        "a missing text is unknown"
    );
    assert_eq!(rules(&desk.records[1]), ["note enforce", "dark.hold shadow"]);
    assert_eq!(rules(&desk.records[2]), ["note enforce"]);
    assert!(desk.records.iter().all(|record| record["effect"] == "allow" && record["decided_by"] == "policy"));
    assert_eq!(desk.figures["holdgate.shadow.effect.deny.rule.dark"], 1);
    assert_eq!(desk.figures["holdgate.shadow.effect.hold.rule.dark.hold"], 1);
    assert_eq!(desk.figures["holdgate.decisions.effect.allow.rule.note"], 2);
}

#[test]
fn figures_tell_what_was_decided_and_how_long_it_took() {
    let mut desk = Desk::ready();
    for _ in 0..3 {
        assert!(desk.passes("GET", "/iam/users", b""));
    }
    desk.refused("GET", "/other", b"");
    let id = desk.held("DELETE", "/iam/users/7", b"");
    flush(&mut desk);
    let figure = |desk: &Desk, name: &str| desk.figures.get(&format!("holdgate.{name}")).copied().unwrap_or_default();
    assert_eq!(figure(&desk, "decisions.effect.allow.rule.read"), 3);
    assert_eq!(figure(&desk, "decisions.effect.deny.rule.none"), 1);
    assert_eq!(figure(&desk, "decisions.effect.hold.rule.delete"), 1);
    assert_eq!((figure(&desk, "ends.code.allow"), figure(&desk, "ends.code.denied")), (3, 1));
    assert_eq!((figure(&desk, "decision_ms_bucket.le.1"), figure(&desk, "decision_ms_count")), (5, 5));
    assert_eq!((figure(&desk, "parked"), figure(&desk, "policy_serial"), figure(&desk, "audit_waiting")), (1, 1, 0));
    assert!(figure(&desk, "parked_bytes") > 500 && figure(&desk, "feed_age_ms") > 30_000);
    desk.gate.closed(id);
    desk.now += 60_000;
    flush(&mut desk);
    assert_eq!((figure(&desk, "parked"), figure(&desk, "parked_bytes")), (0, 0));
    assert_eq!((figure(&desk, "feed_stale_workers"), figure(&desk, "held_ms_count")), (1, 1));
    desk.fresh();
    flush(&mut desk);
    assert_eq!(figure(&desk, "feed_stale_workers"), 0);

    // What has not changed is not told again, and a policy of many rules has no more names than others.
    let told = |desk: &mut Desk| {
        desk.now += 1_000;
        desk.fresh();
        let commands = desk.gate.tick(desk.now, vec![]);
        commands.iter().filter(|command| matches!(command, Command::Measure(_))).count()
    };
    told(&mut desk);
    assert_eq!(told(&mut desk), 0);
    let many: Vec<Value> = (0..400)
        .map(|n| json!({"id": format!("r {n}"), "effect": "allow", "any": [[method("GET"), value(json!("path"), json!({"equals": {"string": format!("/iam/{n}")}}))]]}))
        .chain([json!({"id": "read", "effect": "deny", "any": [[method("NOTHING")]]})])
        .collect();
    desk.publish(2, many.into());
    for n in 0..400 {
        assert!(desk.passes("GET", &format!("/iam/{n}"), b""));
    }
    flush(&mut desk);
    let names = desk.figures.keys().filter(|name| name.contains(".decisions.")).count();
    assert_eq!(names, figures::MAX_RULES + 2, "those of `none` and `other` besides");
    assert_eq!(figure(&desk, "decisions.effect.allow.rule.r_1"), 1);
    assert!(figure(&desk, "decisions.effect.allow.rule.other") > 100);
}

#[test]
fn a_request_s_trace_context_goes_along_with_its_own_calls_only() {
    let mut desk = Desk::ready();
    let parent = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01";
    for (method, path) in [("DELETE", "/iam/users/7"), ("GET", "/.well-known/holdgate/tasks/h1")] {
        let (id, pairs) = (desk.next_id(), desk.pairs(method, path, &[("traceparent", parent), ("tracestate", "a=1")]));
        let Step::Call(callout) = desk.gate.head(desk.now, id, pairs, true).step else { panic!("{path}") };
        assert_eq!(callout.trace, [("traceparent", parent.to_owned()), ("tracestate", "a=1".to_owned())]);
    }
    desk.now += 2_000;
    for command in desk.gate.tick(desk.now, vec![]) {
        if let Command::Call { callout, .. } = command {
            assert!(callout.trace.is_empty(), "{callout:?}");
        }
    }
}
