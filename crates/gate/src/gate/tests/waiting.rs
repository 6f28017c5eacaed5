//! How agents ask to be answered, and streams that wait for themselves.

use super::{fixture::NOW, *};

/// Sends a request that is held, with more header fields, and gives the callout that opens its hold.
#[track_caller]
fn open(desk: &mut Desk, fields: &[(&str, &str)]) -> (StreamId, Callout) {
    let id = desk.next_id();
    let pairs = desk.pairs("DELETE", "/iam/users/7", fields);
    match desk.gate.head(desk.now, id, pairs, true).step {
        Step::Call(callout) => (id, callout),
        other => panic!("not held: {other:?}"),
    }
}

#[track_caller]
fn reply(step: Step) -> (Reply, Value) {
    let Step::Reply(reply) = step else { panic!("no reply: {step:?}") };
    let body = serde_json::from_slice(&reply.body).unwrap();
    (reply, body)
}

fn header<'a>(reply: &'a Reply, name: &str) -> Option<&'a str> {
    reply.headers.iter().find(|(other, _)| *other == name).map(|(_, value)| value.as_str())
}

#[test]
fn who_prefers_not_to_wait_gets_202_with_a_location_at_once() {
    let mut desk = Desk::ready();
    let (id, callout) = open(&mut desk, &[("prefer", "respond-async"), ("idempotency-key", "k-1")]);
    let asked: OpenHold = serde_json::from_slice(&callout.body).unwrap();
    assert_eq!(asked.idempotency_key.as_deref(), Some("k-1"));
    assert!(asked.asked.respond_async);
    let answer = desk.hold_answer(&callout, "pending", 31);
    let (reply, body) = reply(desk.gate.stream_answer(desk.now, id, Some(answer)));
    assert_eq!((reply.status, header(&reply, "preference-applied")), (202, Some("respond-async")));
    assert_eq!(header(&reply, "location"), body["task"]["status_endpoint"].as_str());
    assert_eq!(header(&reply, "content-type"), Some("application/json"));
    assert_eq!(body["next_action"], "wait");
}

#[test]
fn who_prefers_to_wait_less_gets_the_ticket_then() {
    for (prefer, status) in [("wait=10", 403), ("respond-async, wait=10", 202)] {
        let mut desk = Desk::ready();
        let (id, callout) = open(&mut desk, &[("prefer", prefer)]);
        let answer = desk.hold_answer(&callout, "pending", 31);
        assert!(matches!(desk.gate.stream_answer(desk.now, id, Some(answer)), Step::Await));
        desk.now += 9_999;
        assert!(desk.tick().replies.is_empty());
        desk.now += 1;
        let replies = desk.tick().replies;
        assert_eq!((replies.len(), replies[0].1), (1, status), "{prefer}");
    }
}

#[test]
fn a_preference_changes_no_digest_and_a_bad_key_is_refused() {
    let mut desk = Desk::ready();
    let digest = |callout: &Callout| serde_json::from_slice::<OpenHold>(&callout.body).unwrap().digest;
    let plain = digest(&open(&mut desk, &[]).1);
    assert_eq!(digest(&open(&mut desk, &[("prefer", "wait=3"), ("idempotency-key", "k")]).1), plain);
    let id = desk.next_id();
    let pairs = desk.pairs("DELETE", "/iam/users/7", &[("idempotency-key", "a b")]);
    assert_eq!(reply(desk.gate.head(desk.now, id, pairs, true).step).0.status, 400);
}

#[test]
fn a_reason_goes_to_the_service_and_stays_covered() {
    let mut desk = Desk::with_policy(|config| config["reason_header"] = "x-agent-reason".into());
    let (_, callout) = open(&mut desk, &[("x-agent-reason", "cleaning up")]);
    let asked: OpenHold = serde_json::from_slice(&callout.body).unwrap();
    assert_eq!(asked.agent_reason.as_deref(), Some("cleaning up"));
    assert!(asked.components.contains(&"x-agent-reason".to_owned()));
}

/// A desk whose streams wait for themselves, and one that does so after its hold was opened.
fn polling() -> (Desk, StreamId, Callout) {
    let mut desk = Desk::with_policy(|config| config["wake"] = "stream".into());
    let (id, callout) = open(&mut desk, &[]);
    let answer = desk.hold_answer(&callout, "pending", 31);
    match desk.gate.stream_answer(desk.now, id, Some(answer)) {
        Step::Call(poll) => (desk, id, poll),
        other => panic!("it does not poll: {other:?}"),
    }
}

fn task(state: &str) -> Option<Answer> {
    let body = json!({"hold": "h1", "state": state, "expires_at": 1_790_000_600_u64, "seq": 40});
    Some(Answer { status: 200, body: body.to_string().into_bytes() })
}

#[test]
fn a_stream_that_waits_for_itself_polls_redeems_and_goes_on() {
    let (mut desk, id, poll) = polling();
    assert_eq!(poll.path, format!("/v1/tasks/h1?agent={}&wait=25", desk.agent().key()));
    assert!(poll.timeout > 25_000);
    desk.now += 25_000;
    let Step::Call(poll) = desk.gate.stream_answer(desk.now, id, task("pending")) else { panic!("it gave up") };
    assert!(poll.path.ends_with("&wait=20"), "the wait is 45 s in all: {}", poll.path);
    // The root context never touches it, whatever the feed says.
    desk.decide("h1", "approved");
    let done = desk.tick();
    assert!(done.forwarded.is_empty() && done.replies.is_empty());
    let Step::Call(redemption) = desk.gate.stream_answer(desk.now, id, task("approved")) else {
        panic!("no redemption")
    };
    assert_eq!(redemption.path, "/v1/redemptions");
    let answer = desk.redemptions(&redemption);
    let Step::Forward(permit) = desk.gate.stream_answer(desk.now, id, answer) else { panic!("not forwarded") };
    assert!(permit.is_single_use());
    desk.gate.response(id, Some(201));
    let reports = desk.tick().reports;
    assert_eq!(reports[0]["items"][0]["status"], 201, "{reports:?}");
    assert_eq!(desk.gate.parked(), (0, 0));
}

#[test]
fn a_stream_that_waits_for_itself_is_told_what_became_of_its_hold() {
    for (answer, status, kind) in [
        (task("denied"), 403, "denied"),
        (task("expired"), 403, "expired"),
        (task("cancelled"), 403, "cancelled"),
        // Nothing but the expected answer is a decision; asking again at once would be a storm.
        (None, 403, "held"),
        (task("pending"), 403, "held"),
        (Some(Answer { status: 500, body: b"{}".to_vec() }), 403, "held"),
        (Some(Answer { status: 200, body: b"{\"state\":\"approved\"}".to_vec() }), 403, "held"),
    ] {
        let (mut desk, id, _) = polling();
        let (reply, body) = reply(desk.gate.stream_answer(desk.now, id, answer));
        assert_eq!((reply.status, problem(&body)), (status, kind));
        assert_eq!(desk.gate.parked(), (0, 0));
    }
    let (mut desk, id, _) = polling();
    desk.now += 45_000;
    desk.fresh();
    assert_eq!(problem(&reply(desk.gate.stream_answer(desk.now, id, task("pending"))).1), "held");
}

#[test]
fn a_stream_that_waits_for_itself_asks_once_more_for_its_grant() {
    let (mut desk, id, _) = polling();
    let Step::Call(first) = desk.gate.stream_answer(desk.now, id, task("approved")) else { panic!("no redemption") };
    let Step::Call(second) = desk.gate.stream_answer(desk.now, id, None) else { panic!("it gave up") };
    assert_eq!(first, second);
    let (answered, _) = reply(desk.gate.stream_answer(desk.now, id, None));
    assert_eq!(answered.status, 503);
    assert_eq!(desk.tick().reports[0]["items"][0]["forwarded"], false);
}

#[test]
fn a_hold_approved_before_is_redeemed_by_the_stream_itself_and_a_hang_up_is_told() {
    let mut desk = Desk::with_policy(|config| config["wake"] = "stream".into());
    let (id, callout) = open(&mut desk, &[]);
    let answer = desk.hold_answer(&callout, "approved", 31);
    let step = desk.gate.stream_answer(desk.now, id, Some(answer));
    assert!(matches!(step, Step::Call(callout) if callout.path == "/v1/redemptions"));
    let (mut desk, id, _) = polling();
    desk.gate.closed(id);
    assert!(desk.tick().reports[0]["items"][0]["attempt"].is_string());
    assert_eq!(desk.gate.parked(), (0, 0));
}

/// ngx_wasm_module never says that the head is all, and brings a body behind a head that went on.
#[test]
fn a_head_that_announces_no_body_is_judged_as_one_without_and_a_body_behind_it_is_refused() {
    let mut desk = Desk::with_policy(|config| config["host"] = "ngx-wasm".into());
    let id = desk.next_id();
    let opened = desk.gate.head(desk.now, id, desk.pairs("DELETE", "/iam/users/7", &[]), false);
    assert!(opened.bodiless);
    let Step::Call(callout) = opened.step else { panic!("it waits for a body") };
    let answer = desk.hold_answer(&callout, "approved", 31);
    let Step::Call(redemption) = desk.gate.stream_answer(desk.now, id, Some(answer)) else { panic!("no redemption") };
    let answer = desk.redemptions(&redemption);
    assert!(matches!(desk.gate.stream_answer(desk.now, id, answer), Step::Forward(_)));
    assert_eq!(reply(desk.gate.surplus(id)).0.status, 411);
    assert_eq!(desk.tick().reports[0]["items"][0]["forwarded"], false);
    let id = desk.next_id();
    let opened = desk.gate.head(desk.now, id, desk.pairs("DELETE", "/iam/users/7", &[("content-length", "5")]), false);
    assert!(!opened.bodiless && matches!(opened.step, Step::Await));
    // Where such a body turned out to be empty, the host would bring nothing, and the request would go on undecided.
    for (field, status) in [(("transfer-encoding", "chunked"), 411), (("content-length", "00"), 400)] {
        let id = desk.next_id();
        let opened = desk.gate.head(desk.now, id, desk.pairs("DELETE", "/iam/users/7", &[field]), false);
        assert_eq!(reply(opened.step).0.status, status, "{field:?}");
    }
}

/// ngx_wasm_module's randomness is a generator that is seeded with the time.
#[test]
fn tries_have_names_of_their_own_though_the_host_says_the_same_number_twice() {
    let mut desk = Desk::ready();
    let mut attempts = Vec::new();
    for _ in 0..3 {
        desk.gate.host = Box::new(TestHost::default());
        let (_, callout) = open(&mut desk, &[]);
        attempts.push(serde_json::from_slice::<OpenHold>(&callout.body).unwrap().attempt);
    }
    attempts.sort();
    attempts.dedup();
    assert_eq!(attempts.len(), 3);
    assert!(attempts.iter().all(|attempt| attempt.len() == 22), "16 bytes in base64url");
}

#[test]
fn what_the_service_refuses_to_hold_is_told_in_its_own_words() {
    let body = |body: Value| body.to_string().into_bytes();
    for (status, answer, expected) in [
        (429, json!({"error": "quota", "retry_after": 17}), (429, "quota", Some("17"))),
        (429, json!([]), (429, "quota", Some("60"))),
        (409, json!({"error": "idempotency_conflict"}), (409, "conflict", None)),
        (403, json!({"error": "agent_suspended"}), (403, "suspended", None)),
        (403, json!({"error": "other"}), (503, "unavailable", Some("5"))),
        (
            403,
            json!({"hold": "h1", "state": "denied", "seq": 1, "expires_at": NOW / 1000 + 599, "request_state": "x"}),
            (403, "denied", Some("599")),
        ),
    ] {
        let mut desk = Desk::ready();
        let (id, _) = open(&mut desk, &[]);
        let told = desk.gate.stream_answer(desk.now, id, Some(Answer { status, body: body(answer) }));
        let (reply, body) = reply(told);
        assert_eq!((reply.status, problem(&body), header(&reply, "retry-after")), expected);
    }
}

/// On hosts where nobody can answer from the root a late body once was as good as any.
#[test]
fn a_late_body_is_refused_on_every_host() {
    for (host, wake) in [("envoy", "feed"), ("envoy", "stream"), ("ngx-wasm", "stream")] {
        let mut desk = Desk::with_policy(|config| {
            (config["host"], config["wake"], config["body_within"]) = (host.into(), wake.into(), "10s".into());
        });
        let open = |desk: &mut Desk| {
            let id = desk.next_id();
            let pairs = desk.pairs("POST", "/iam/users/7/notes", &[("content-length", "12")]);
            assert!(matches!(desk.gate.head(desk.now, id, pairs, false).step, Step::Await));
            id
        };
        let body = || Some(br#"{"text":"x"}"#.to_vec());
        let id = open(&mut desk);
        desk.now += 10_000;
        assert!(matches!(desk.gate.body(desk.now, id, body()), Step::Forward(_)), "{host} {wake}");
        let id = open(&mut desk);
        desk.now += 10_001;
        let (reply, _) = reply(desk.gate.body(desk.now, id, body()));
        assert_eq!(reply.status, 408, "{host} {wake}");
        // Envoy's streams are answered as soon as it is too late.
        let id = open(&mut desk);
        desk.now += 10_001;
        desk.fresh();
        let replies = desk.tick().replies;
        let late: Vec<_> = replies.iter().map(|(id, status, _)| (*id, *status)).collect();
        assert_eq!(late, if host == "envoy" { vec![(id, 408)] } else { vec![] }, "{host} {wake}");
    }
}

/// A clock that was set back by an hour once kept a lost feed fresh for that hour, and parked requests as long.
#[test]
fn a_clock_that_is_set_back_hides_no_stale_feed_and_lengthens_no_wait() {
    const HOUR: u64 = 3_600_000;
    let mut desk = Desk::ready();
    let id = desk.held("DELETE", "/iam/users/7", b"");
    desk.now += 20_000;
    desk.tick();
    desk.gate.page(desk.now, None);
    desk.now -= HOUR;
    assert!(desk.passes("GET", "/iam/users", b""), "twenty seconds are not too long");
    desk.now += 1_000;
    let commands = desk.gate.tick(desk.now, vec![]);
    assert!(
        commands.iter().any(|command| matches!(command, Command::Call { call: RootCall::State, .. })),
        "the service is asked for its time as soon as before: {commands:?}"
    );
    desk.now += 29_000;
    let replies = desk.tick().replies;
    assert_eq!((replies.len(), replies[0].0, replies[0].1), (1, id, 403), "its wait is over as it would have been");
    desk.now += 11_000;
    desk.tick();
    assert_eq!(desk.refused("GET", "/iam/users", b"").1, (503, "unavailable".into()));
    desk.fresh();
    assert!(desk.passes("GET", "/iam/users", b""));
}

/// A batch whose question or answer was longer than what is read once failed as a whole, and with it up to 256 approvals.
#[test]
fn redemptions_of_agents_with_long_names_go_out_in_smaller_batches() {
    let mut desk = Desk::ready();
    desk.subject = Box::leak("a".repeat(10_000).into_boxed_str());
    let ids: Vec<StreamId> = (0..300).map(|user| desk.held("DELETE", &format!("/iam/users/{user}"), b"")).collect();
    for hold in ids.iter().map(|id| desk.hold_of(*id)).collect::<Vec<_>>() {
        desk.decide(&hold, "approved");
    }
    let mut forwarded = desk.tick().forwarded;
    forwarded.extend(desk.tick().forwarded);
    forwarded.sort_unstable();
    assert_eq!(forwarded, ids.into_iter().map(|id| (id, true)).collect::<Vec<_>>());
}
