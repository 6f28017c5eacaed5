//! Requests whose token names a key that is not known yet.

use super::*;
use crate::config::KeyPlace;

const NEW: u8 = 7;

fn place() -> Value {
    json!({"cluster": "idp", "authority": "idp.example", "path": "/jwks"})
}

/// A desk whose gate has fetched the usual issuer's key.
fn desk(change: impl FnOnce(&mut Value)) -> Desk {
    let mut desk = Desk::with_policy(|config| {
        config["identity"]["issuers"][0]["jwks"] = place();
        change(config);
    });
    // The fetch went out with the first tick.
    assert_eq!(fetches(&mut desk), 0);
    come(&mut desk, Some(fixture::jwks(fixture::ISSUER)));
    assert!(desk.passes("GET", "/iam/users", b""));
    desk
}

/// The fetches that the gate asks for at this tick.
fn fetches(desk: &mut Desk) -> usize {
    let commands = desk.gate.tick(desk.now, vec![]);
    commands.iter().filter(|command| matches!(command, Command::Fetch { call: RootCall::Keys(0), .. })).count()
}

#[track_caller]
fn fetch(desk: &mut Desk) {
    assert_eq!(fetches(desk), 1);
}

fn come(desk: &mut Desk, keys: Option<Value>) -> Vec<Command> {
    let answer = keys.map(|keys| Answer { status: 200, body: keys.to_string().into_bytes() });
    desk.gate.root_answer(desk.now, RootCall::Keys(0), answer)
}

fn both() -> Option<Value> {
    let mut both = fixture::jwks(fixture::ISSUER);
    both["keys"].as_array_mut().unwrap().extend(fixture::jwks(NEW)["keys"].as_array().unwrap().iter().cloned());
    Some(both)
}

/// A request with a token of the new key.
fn send(desk: &mut Desk, method: &str, path: &str, end: bool) -> (StreamId, Step) {
    let claims = json!({"iss": "https://idp", "aud": "https://api", "sub": "agent-7", "owner": "group/iam",
        "exp": NOW / 1000 + 3_600});
    let token = PrivateKey::from_seed(&[NEW; 32]).sign("JWT", claims.to_string().as_bytes());
    let (id, tagged) = (desk.next_id(), std::mem::replace(&mut desk.tagged, false));
    let pairs = desk.pairs(method, path, &[("authorization", &format!("Bearer {token}"))]);
    desk.tagged = tagged;
    (id, desk.gate.head(desk.now, id, pairs, end).step)
}

fn forwarded(commands: &[Command]) -> Vec<StreamId> {
    commands
        .iter()
        .filter_map(|command| if let Command::Forward { stream, .. } = command { Some(*stream) } else { None })
        .collect()
}

fn replied(commands: &[Command]) -> Vec<(StreamId, u16)> {
    let reply = |command: &Command| match command {
        Command::Reply { stream, reply } => Some((*stream, reply.status)),
        _ => None,
    };
    commands.iter().filter_map(reply).collect()
}

#[test]
fn keys_are_fetched_at_the_start_without_the_services_credential() {
    let mut desk = Desk::new(|config| config["identity"]["issuers"][0]["jwks"] = place());
    let commands = desk.gate.tick(desk.now, vec![]);
    let place =
        KeyPlace { cluster: "idp".into(), authority: "idp.example".into(), path: "/jwks".into(), refresh: 600_000 };
    assert!(commands.iter().any(|command| matches!(command, Command::Fetch { place: other, .. } if *other == place)));
    // A host that would not make the call is asked again.
    desk.gate.tick(desk.now, vec![RootCall::Keys(0)]);
    desk.snapshot(None);
    desk.publish(1, json!([]));
    assert_eq!(desk.refused("GET", "/iam/users", b"").1, (503, "unavailable".into()));
    desk.now += 1_000;
    fetch(&mut desk);
    come(&mut desk, Some(fixture::jwks(fixture::ISSUER)));
    assert!(desk.passes("GET", "/iam/users", b""));
}

#[test]
fn a_request_of_a_new_key_goes_on_when_it_has_come() {
    let mut desk = desk(|_| {});
    let (id, step) = send(&mut desk, "GET", "/iam/users", true);
    assert!(matches!(step, Step::Await));
    fetch(&mut desk);
    let commands = come(&mut desk, both());
    assert_eq!(forwarded(&commands), [id]);
    assert!(desk.gate.is_through(id));
    desk.gate.closed(id);
    assert!(matches!(send(&mut desk, "GET", "/iam/users", true).1, Step::Forward(_)));
    assert_eq!(desk.gate.parked(), (0, 0));
}

#[test]
fn a_body_that_comes_while_keys_are_awaited_is_judged_with_the_rest() {
    let mut desk = desk(|_| {});
    let note = br#"{"text":"x"}"#.to_vec();
    // It came whole, a part of it came, and it began only afterwards.
    let (whole, _) = send(&mut desk, "POST", "/iam/users/7/notes", false);
    assert!(desk.gate.awaits_body(whole));
    assert!(matches!(desk.gate.body(desk.now, whole, Some(note.clone())), Step::Await));
    let (part, _) = send(&mut desk, "POST", "/iam/users/7/notes", false);
    assert!(matches!(desk.gate.body_so_far(part, 5), Step::Await));
    let (wrong, _) = send(&mut desk, "POST", "/iam/users/7/notes", false);
    assert!(matches!(desk.gate.body(desk.now, wrong, Some(b"{}".to_vec())), Step::Await));
    // Nobody looks into this one, so that the rest of it follows.
    let (upload, _) = send(&mut desk, "GET", "/iam/users", false);
    assert!(matches!(desk.gate.body_so_far(upload, 5), Step::Await));
    fetch(&mut desk);
    let commands = come(&mut desk, both());
    assert_eq!(forwarded(&commands), [whole, upload]);
    assert_eq!(replied(&commands), [(wrong, 403)]);
    assert!(desk.gate.is_through(upload) && !desk.gate.awaits_body(upload));
    assert!(desk.gate.awaits_body(part));
    assert!(matches!(desk.gate.body(desk.now, part, Some(note)), Step::Forward(_)));
}

#[test]
fn a_request_of_a_new_key_is_held_like_any_other() {
    let mut desk = desk(|_| {});
    let (id, _) = send(&mut desk, "DELETE", "/iam/users/7", true);
    fetch(&mut desk);
    let commands = come(&mut desk, both());
    let call = commands.into_iter().find_map(|command| match command {
        Command::Call { call: call @ RootCall::Stream(_), callout } => Some((call, callout)),
        _ => None,
    });
    let (call, callout) = call.unwrap();
    let answer = desk.hold_answer(&callout, "pending", 40);
    assert!(forwarded(&desk.gate.root_answer(desk.now, call, Some(answer))).is_empty());
    desk.decide("h1", "approved");
    assert_eq!(desk.tick().forwarded, [(id, true)]);

    // One that has hung up in the meantime is nobody's any more.
    let (id, step) = send(&mut desk, "DELETE", "/iam/users/8", true);
    assert!(matches!(step, Step::Call(_)));
    desk.gate.closed(id);
    assert!(
        desk.gate
            .root_answer(desk.now, RootCall::Stream(id), None)
            .iter()
            .all(|command| { !matches!(command, Command::Forward { .. } | Command::Reply { .. }) })
    );
}

#[test]
fn whoever_cannot_be_waited_for_tries_again() {
    let mut desk = desk(|_| {});
    for _ in 0..64 {
        assert!(matches!(send(&mut desk, "GET", "/iam/users", true).1, Step::Await));
    }
    let status = |step: &Step| if let Step::Reply(reply) = step { reply.status } else { 0 };
    let (_, one_too_many) = send(&mut desk, "GET", "/iam/users", true);
    assert_eq!(status(&one_too_many), 503);
    assert!(desk.passes("GET", "/iam/users", b""), "known keys are not concerned");
    fetch(&mut desk);
    let commands = come(&mut desk, None);
    assert_eq!(replied(&commands).len(), 64);
    assert!(replied(&commands).iter().all(|(_, status)| *status == 503));

    let mut desk = self::desk(|_| {});
    let (large, _) = send(&mut desk, "POST", "/iam/users/7/notes", false);
    assert_eq!(status(&desk.gate.body_so_far(large, 64 * 1024 + 1)), 503);
    let (trailed, _) = send(&mut desk, "POST", "/iam/users/7/notes", false);
    assert_eq!(status(&desk.gate.trailers(trailed)), 503);
    let (gone, _) = send(&mut desk, "GET", "/iam/users", true);
    desk.gate.closed(gone);
    let (late, _) = send(&mut desk, "GET", "/iam/users", true);
    fetch(&mut desk);
    desk.now += 6_000;
    desk.fresh();
    assert_eq!(desk.tick().replies.iter().map(|(id, status, _)| (*id, *status)).collect::<Vec<_>>(), [(late, 503)]);
    assert!(forwarded(&come(&mut desk, both())).is_empty());

    // A stream that nothing may wake from outside does not wait; the fetch is made all the same.
    let mut desk = self::desk(|config| config["wake"] = json!("stream"));
    assert_eq!(status(&send(&mut desk, "GET", "/iam/users", true).1), 503);
    fetch(&mut desk);
    come(&mut desk, both());
    assert!(matches!(send(&mut desk, "GET", "/iam/users", true).1, Step::Forward(_)));
}

#[test]
fn a_key_that_does_not_come_is_unknown_and_is_not_asked_for_again_at_once() {
    let mut desk = desk(|_| {});
    let ids: Vec<StreamId> = (0..10).map(|_| send(&mut desk, "GET", "/iam/users", true).0).collect();
    fetch(&mut desk);
    let commands = come(&mut desk, Some(fixture::jwks(fixture::ISSUER)));
    assert_eq!(replied(&commands), ids.iter().map(|id| (*id, 401)).collect::<Vec<_>>());
    for _ in 0..50 {
        assert!(matches!(send(&mut desk, "GET", "/iam/users", true).1, Step::Reply(reply) if reply.status == 401));
    }
    assert_eq!(fetches(&mut desk), 0);
}

/// A suspension ends what is remembered of the agent, and what waits of it.
#[test]
fn a_suspended_agents_token_is_refused_and_forgotten() {
    let mut desk = desk(|_| {});
    assert!(desk.passes("GET", "/iam/users", b""));
    let before = desk.gate.identity_figures();
    let suspend = |desk: &mut Desk, suspended: bool| {
        desk.feed(vec![
            json!({"seq": 999, "type": "agent", "iss": "https://idp", "sub": "agent-7", "suspended": suspended}),
        ]);
    };
    suspend(&mut desk, true);
    assert_eq!(desk.refused("GET", "/iam/users", b"").1, (403, "suspended".into()));
    suspend(&mut desk, false);
    assert!(desk.passes("GET", "/iam/users", b""));
    let after = desk.gate.identity_figures();
    assert_eq!(after.verifications, before.verifications + 1, "verified anew, once");
}

/// What was signed with a key once went on after the key had been taken back, if it was parked by then.
#[test]
fn a_key_that_is_taken_back_ends_the_requests_that_wait() {
    let body = || Some(br#"{"text":"x"}"#.to_vec());
    for (keys, status) in
        [(both(), None), (Some(fixture::jwks(NEW)), Some(401)), (Some(json!({"keys": []})), Some(503))]
    {
        let mut desk = desk(|_| {});
        let id = desk.held("DELETE", "/iam/users/7", b"");
        let opened = desk.gate.head(desk.now, 900, desk.pairs("POST", "/iam/users/7/notes", &[]), false);
        assert!(matches!(opened.step, Step::Await));
        come(&mut desk, keys);
        match (desk.gate.body(desk.now, 900, body()), status) {
            (Step::Forward(_), None) => {}
            (Step::Reply(reply), Some(status)) => assert_eq!(reply.status, status),
            (other, _) => panic!("{other:?}"),
        }
        desk.decide(&desk.hold_of(id), "approved");
        let done = desk.tick();
        assert_eq!(done.forwarded, status.map_or(vec![(id, true)], |_| vec![]));
        assert_eq!(done.replies.first().map(|(_, status, _)| *status), status);
    }
}

#[test]
fn a_key_that_is_taken_back_while_a_hold_is_redeemed_ends_the_request() {
    let mut desk = desk(|_| {});
    let id = desk.held("DELETE", "/iam/users/7", b"");
    desk.decide(&desk.hold_of(id), "approved");
    let commands = desk.gate.tick(desk.now, vec![]);
    let redeem = commands.into_iter().find_map(|command| match command {
        Command::Call { call: call @ RootCall::Redeem(_), callout } => Some((call, callout)),
        _ => None,
    });
    let (call, callout) = redeem.unwrap();
    let answer = desk.redemptions(&callout);
    come(&mut desk, Some(fixture::jwks(NEW)));
    let commands = desk.gate.root_answer(desk.now, call, answer);
    assert_eq!((forwarded(&commands), replied(&commands)), (vec![], vec![(id, 401)]));
}

/// The old configuration's gate serves what waits in it. What the new one has taken back must not count there.
#[test]
fn an_issuer_that_a_new_configuration_leaves_out_ends_what_waits_in_the_old_one() {
    let again = |desk: &mut Desk| {
        let (id, callout) = desk.opening("DELETE", "/iam/users/7", b"");
        let answer = desk.hold_answer(&callout, "approved", 1);
        assert!(matches!(desk.gate.stream_answer(desk.now, id, Some(answer)), Step::Await));
        desk.tick().forwarded == [(id, true)]
    };
    let mut desk = Desk::ready();
    let id = desk.held("DELETE", "/iam/users/7", b"");
    let _same = Desk::reconfigured(&desk, |config| config["max_wait"] = "10s".into());
    desk.decide(&desk.hold_of(id), "approved");
    assert_eq!(desk.tick().forwarded, [(id, true)], "who counts as an agent has not changed");

    let id = desk.held("DELETE", "/iam/users/7", b"");
    let other = |config: &mut Value| config["identity"]["issuers"][0]["jwks"] = fixture::jwks(NEW);
    let mut newer = Desk::reconfigured(&desk, other);
    newer.publish(1, json!([]));
    desk.decide(&desk.hold_of(id), "approved");
    let done = desk.tick();
    assert_eq!((done.forwarded.len(), done.replies[0].1), (0, 503));
    assert_eq!(done.replies[0].2["next_action"], "retry");
    // The retry is judged by the new configuration, and its key is not there any more.
    assert_eq!(newer.refused("DELETE", "/iam/users/7", b"").1, (401, "identity".into()));
    // Were it still in the old one, as where two filters share a group, it would redeem.
    assert!(again(&mut desk));
}
