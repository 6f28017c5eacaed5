//! A gate whose root context ends tells what it has left to tell, and takes back what it added to gauges.

use super::*;

/// A desk in whose gate a request is held, and another one was let go on a moment ago.
fn busy() -> (Desk, StreamId) {
    let mut desk = Desk::ready();
    let id = desk.held("DELETE", "/iam/users/7", b"");
    assert!(desk.passes("GET", "/iam/users", b""));
    desk.now += 1_000;
    desk.fresh();
    desk.tick();
    assert!(desk.passes("GET", "/iam/users/2", b""));
    assert_eq!(desk.figures["holdgate.parked"], 1);
    (desk, id)
}

/// Answers what the gate tells while it ends, until it asks nothing more; the paths of its calls.
fn end(desk: &mut Desk) -> Vec<String> {
    let mut commands: VecDeque<Command> = desk.gate.end(desk.now).into();
    let mut paths = Vec::new();
    while let Some(command) = commands.pop_front() {
        if let Command::Call { call, callout } = command {
            paths.push(callout.path.clone());
            let records = matches!(call, RootCall::Audit).then(|| {
                let batch: Value = serde_json::from_slice(&callout.body).unwrap();
                desk.records.extend(batch["records"].as_array().unwrap().iter().cloned());
            });
            let status = if records.is_some() { 202 } else { 200 };
            assert!(!desk.gate.has_ended(desk.now), "{call:?} is not answered");
            let answer = Answer { status, body: b"{}".to_vec() };
            commands.extend(desk.gate.root_answer(desk.now, call, Some(answer)));
        } else {
            desk.note_warnings(&[command]);
        }
    }
    paths
}

#[test]
fn a_gate_tells_all_that_is_left_before_it_ends() {
    let (mut desk, id) = busy();
    desk.gate.closed(id);
    assert!(!desk.gate.has_ended(desk.now + 60_000), "a gate that serves does not end");
    let mut paths = end(&mut desk);
    paths.sort();
    // No feed, no snapshot: nobody waits for news here.
    assert_eq!(paths, ["/v1/audit", "/v1/detach"]);
    assert!(desk.gate.has_ended(desk.now));
    let told: Vec<_> = desk.records.iter().map(|record| record["request"]["path"].as_str().unwrap()).collect();
    assert_eq!(told, ["/iam/users", "/iam/users/2"]);
    for gauge in ["parked", "parked_bytes", "audit_waiting", "feed_stale_workers"] {
        assert_eq!(desk.figures.get(&format!("holdgate.{gauge}")).copied().unwrap_or(0), 0, "{gauge}");
    }
    // What was counted since the last telling is not lost.
    assert_eq!(desk.figures["holdgate.ends.code.allow"], 2);
    assert_eq!(desk.figures["holdgate.ends.code.gone"], 1);
}

#[test]
fn a_gate_with_nothing_to_tell_ends_at_once() {
    let mut desk = Desk::ready();
    assert_eq!(end(&mut desk), [""; 0]);
    assert!(desk.gate.has_ended(desk.now));
}

#[test]
fn an_outcome_is_reported_though_the_gate_ends() {
    let mut desk = Desk::ready();
    let id = desk.held("DELETE", "/iam/users/7", b"");
    desk.decide("h1", "approved");
    assert_eq!(desk.tick().forwarded, [(id, true)]);
    desk.gate.response(id, Some(204));
    desk.gate.closed(id);
    assert_eq!(end(&mut desk), ["/v1/outcomes"]);
}

/// The agent hung up while the redemption was on its way: that its grant was not used is told, and so the answer is awaited.
#[test]
fn a_redemption_on_its_way_is_accounted_for() {
    let mut desk = Desk::ready();
    let id = desk.held("DELETE", "/iam/users/7", b"");
    desk.decide("h1", "approved");
    let commands = desk.gate.tick(desk.now, vec![]);
    let redeem = commands.into_iter().find_map(|command| match command {
        Command::Call { call: call @ RootCall::Redeem(_), callout } => Some((call, callout)),
        _ => None,
    });
    let (call, callout) = redeem.unwrap();
    desk.gate.closed(id);
    end(&mut desk);
    assert!(!desk.gate.has_ended(desk.now));
    let answer = desk.redemptions(&callout);
    let commands = desk.gate.root_answer(desk.now, call, answer);
    let outcome = commands.iter().find_map(|command| match command {
        Command::Call { call: RootCall::Report, callout } => Some(&callout.body),
        _ => None,
    });
    let outcome: Value = serde_json::from_slice(outcome.unwrap()).unwrap();
    assert_eq!(outcome["items"][0]["forwarded"], false);
}

/// A service that does not answer keeps no gate for ever; what is lost is counted.
#[test]
fn a_gate_ends_after_a_while_whatever_the_service_does() {
    let (mut desk, id) = busy();
    desk.gate.closed(id);
    desk.audit_answer = Some(503);
    let begun = desk.now;
    let commands = desk.gate.end(desk.now);
    desk.note_warnings(&commands);
    while !desk.gate.has_ended(desk.now) {
        desk.now += 25;
        let commands = desk.gate.tick(desk.now, vec![]);
        desk.note_warnings(&commands);
        assert!(desk.now < begun + 60_000, "it never ends");
    }
    assert_eq!(desk.now - begun, 5_000);
    assert_eq!(desk.figures["holdgate.audit.dropped"], 1);
    assert_eq!(desk.figures.get("holdgate.audit_waiting").copied().unwrap_or(0), 0);
}
