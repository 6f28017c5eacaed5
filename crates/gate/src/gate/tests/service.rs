//! What the gate makes of the service behind it: snapshots, the feed, bundles, and trouble with any of them.

use super::*;

#[test]
fn bundles_are_put_in_force_only_if_signed_newer_and_the_one_that_was_named() {
    let mut desk = Desk::ready();
    let serial = |desk: &Desk| desk.gate.policy.as_ref().unwrap().reference().serial;
    desk.publish(1, json!([{"id": "x", "effect": "deny", "any": [[fixture::method("GET")]]}]));
    assert_eq!(serial(&desk), 1, "the same serial again");
    desk.author = 77;
    desk.publish(5, json!([]));
    assert_eq!(serial(&desk), 1, "signed by a stranger");
    assert!(desk.warnings.iter().any(|text| text.contains("is not put in force")));
    desk.author = fixture::AUTHOR;
    desk.publish(3, json!([]));
    assert_eq!(serial(&desk), 3);
}

#[test]
fn a_stale_feed_stops_holds_and_by_default_everything() {
    for (on_stale, routine) in [("deny", false), ("allow_routine", true)] {
        let mut desk = Desk::with_policy(|config| config["on_stale"] = on_stale.into());
        desk.now += 60_001;
        assert_eq!(desk.passes("GET", "/iam/users", b""), routine, "{on_stale}");
        assert_eq!(desk.refused("DELETE", "/iam/users/7", b"").1, (503, "unavailable".into()));
        desk.fresh();
        assert!(desk.passes("GET", "/iam/users", b""));
    }
}

#[test]
fn a_feed_that_forgot_us_gives_tickets_to_all_who_wait() {
    let mut desk = Desk::ready();
    desk.held("DELETE", "/iam/users/7", b"");
    let commands = desk.gate.root_answer(desk.now, RootCall::Feed, Some(Answer { status: 410, body: vec![] }));
    let tickets = commands.iter().filter(|command| matches!(command, Command::Reply { .. })).count();
    let asks = commands.iter().any(|command| matches!(command, Command::Call { call: RootCall::State, .. }));
    assert_eq!((tickets, asks), (1, true));
}

#[test]
fn clocks_that_disagree_stop_holds_only() {
    let mut desk = Desk::new(|_| {});
    desk.skew = 121;
    desk.snapshot(None);
    desk.publish(1, json!([]));
    assert!(desk.passes("GET", "/iam/users", b""));
    assert_eq!(desk.refused("DELETE", "/iam/users/7", b"").1, (503, "unavailable".into()));

    // The clocks are compared again, and the feed goes on where it was.
    let cursor = desk.gate.feed.cursor;
    desk.now += 5_000;
    desk.fresh();
    let asks = desk.gate.tick(desk.now, vec![]);
    assert!(asks.iter().any(|command| matches!(command, Command::Call { call: RootCall::State, .. })), "{asks:?}");
    desk.skew = 120;
    desk.snapshot(None);
    assert_ne!(desk.gate.feed.cursor, cursor);
    // A grant of a clock that is two minutes ahead counts by that clock.
    let id = desk.held("DELETE", "/iam/users/7", b"");
    desk.decide(&desk.hold_of(id), "approved");
    assert_eq!(desk.tick().forwarded, [(id, true)]);
}

#[test]
fn another_clock_is_read_in_both_directions() {
    for (there, here, agrees) in [(1_000, 1_120, true), (1_120, 1_000, true), (1_000, 1_121, false)] {
        let clock = Clock::compare(there, here);
        assert_eq!((clock.agrees(), clock.there(here)), (agrees, there));
    }
}

#[test]
fn warnings_carry_no_token_and_are_said_once_while_the_service_is_away() {
    let mut desk = Desk::ready();
    for _ in 0..5 {
        let commands = desk.gate.root_answer(desk.now, RootCall::Feed, None);
        desk.note_warnings(&commands);
        desk.now += 1_000;
    }
    let lost = desk.warnings.iter().filter(|text| text.contains("cannot be reached")).count();
    assert_eq!(lost, 1, "{:?}", desk.warnings);
    assert!(desk.warnings.iter().all(|text| !text.contains("eyJ")));
}

#[test]
fn a_bundle_that_an_earlier_vm_kept_is_taken_up_again_if_it_is_newer() {
    let mut desk = Desk::ready();
    desk.publish(7, json!([]));
    let kept = desk.kept.clone().unwrap();
    let mut restarted = Desk::new(|_| {});
    restarted.gate.restore(&kept);
    assert_eq!(restarted.gate.policy.as_ref().unwrap().reference().serial, 7);
    restarted.snapshot(None);
    restarted.publish(3, json!([]));
    assert_eq!(restarted.gate.policy.as_ref().unwrap().reference().serial, 7, "an older one is not taken after it");
    let mut forged = Desk::new(|config| config["bundle_keys"] = fixture::jwks(99));
    forged.gate.restore(&kept);
    assert!(forged.gate.policy.is_none());
}

#[test]
fn a_hold_from_before_the_snapshot_gets_a_ticket() {
    let mut desk = Desk::ready();
    let (id, callout) = desk.opening("DELETE", "/iam/users/7", b"");
    let answer = desk.hold_answer(&callout, "pending", 29);
    desk.gate.feed.base = 30;
    let Step::Reply(reply) = desk.gate.stream_answer(desk.now, id, Some(answer)) else { panic!("parked for nothing") };
    assert_eq!(reply.decision, "held");
}

#[test]
fn a_gateway_that_could_use_no_grant_says_so_and_holds_nothing() {
    for (member, value, told) in [
        ("group", "other", "belongs to the group `other`"),
        ("grant_key", "k9", "`grant_keys` lacks the service's key `k9`"),
    ] {
        let mut desk = Desk::new(|_| {});
        for _ in 0..3 {
            let mut state = json!({"seq": 1, "suspended": [], "policy": null, "now": desk.now / 1000});
            state[member] = value.into();
            let answer = Answer { status: 200, body: state.to_string().into_bytes() };
            let commands = desk.gate.root_answer(desk.now, RootCall::State, Some(answer));
            desk.note_warnings(&commands);
            desk.now += 1_000;
        }
        assert_eq!(desk.warnings.iter().filter(|text| text.contains(told)).count(), 1, "{:?}", desk.warnings);
        assert_eq!(desk.refused("GET", "/iam/users", b"").1, (503, "unavailable".into()));
    }
}

#[test]
fn what_keeps_a_gateway_from_serving_is_in_its_log() {
    for (status, told) in [(401, "HOLDGATE_GATEWAY_CREDENTIAL"), (404, "listener for gateways"), (503, "does it run")] {
        let mut desk = Desk::new(|_| {});
        let answer = Answer { status, body: vec![] };
        let commands = desk.gate.root_answer(desk.now, RootCall::State, Some(answer));
        desk.note_warnings(&commands);
        assert!(desk.warnings[0].contains(told), "{:?}", desk.warnings);
    }
    let mut desk = Desk::new(|config| config["min_serial"] = 9.into());
    desk.snapshot(None);
    desk.publish(8, json!([]));
    assert!(
        desk.warnings.iter().any(|text| text.contains("its serial is 8, `min_serial` says 9")),
        "{:?}",
        desk.warnings
    );
}

#[test]
fn a_feed_that_answers_at_once_without_news_is_not_asked_again_at_once() {
    let mut desk = Desk::ready();
    let empty = Answer { status: 200, body: br#"{"next": 9000, "items": []}"#.to_vec() };
    let mut asked = 0;
    for _ in 0..1_000 {
        let commands = desk.gate.root_answer(desk.now, RootCall::Feed, Some(empty.clone()));
        asked +=
            commands.iter().filter(|command| matches!(command, Command::Call { call: RootCall::Feed, .. })).count();
    }
    assert_eq!(asked, 1, "the first page had news: its number");
    desk.now += 100;
    let commands = desk.gate.tick(desk.now, vec![]);
    assert!(commands.iter().any(|command| matches!(command, Command::Call { call: RootCall::Feed, .. })));
}
