//! Ten thousand held streams at once, again and again: memory comes back to where it was, and nobody is left behind.

use std::time::Duration;

use holdgate_host::cases::{driver::Driver, harness::Conditions};
use holdgate_protocol::gateway::HoldState;
use serde_json::json;

use crate::gateway::{Stage, sending, token};

/// Streams that are held at once.
const STREAMS: usize = 10_000;

/// Agents, so that none has more holds than one may.
const AGENTS: usize = 50;

/// How often they are held and let go.
const ROUNDS: usize = 9;

/// After so many rounds the filter's memory has its size: tables have grown, and the holes between what stays are found
/// again. A hundred bytes that each stream left behind would be 3 MB from there to the end.
const SETTLED: usize = 7;

fn round(stage: &mut Stage, round: usize, tokens: &[String], state: Option<HoldState>) {
    let first = stage.harness.observe().requests.len();
    for at in 0..STREAMS {
        let target = format!("/iam/users/{round}-{at}");
        stage.harness.send(sending("DELETE", &target, &tokens[at % tokens.len()], "", 0)).unwrap();
    }
    let waiting = stage.harness.observe().requests[first..].iter().filter(|request| request.reply.is_none()).count();
    assert_eq!(waiting, STREAMS);
    match state {
        None => (first..first + STREAMS).for_each(|handle| stage.harness.hang_up(handle).unwrap()),
        Some(state) => {
            let now = stage.harness.now();
            let pending = |hold: &&holdgate_host::cases::service::Opened| hold.state == HoldState::Pending;
            let ids: Vec<String> = stage.service().holds().filter(pending).map(|hold| hold.id.clone()).collect();
            assert!(ids.len() >= STREAMS, "{}", ids.len());
            let mut service = stage.service.lock().unwrap();
            ids.iter().for_each(|id| assert!(service.decide(now, id, state, None)));
        }
    }
    let over = stage.harness.pass(Duration::from_secs(60), &mut |observed| {
        observed.requests[first..].iter().all(|request| request.reply.is_some() || request.gone)
    });
    assert!(over.unwrap(), "some of round {round} wait still");
    let upstream =
        stage.harness.observe().requests[first..].iter().filter(|request| request.upstream.is_some()).count();
    assert_eq!(upstream, if state == Some(HoldState::Approved) { STREAMS } else { 0 });
}

#[test]
fn ten_thousand_held_streams_leave_no_memory_behind() {
    let tokens: Vec<String> = (0..AGENTS).map(|agent| token(&format!("agent-{agent}"))).collect();
    let mut stage = Stage::new(1, &json!({}), Conditions { quiet: true, ..Conditions::default() });
    let mut memory = Vec::new();
    for at in 0..ROUNDS {
        let state = [Some(HoldState::Approved), Some(HoldState::Denied), None][at % 3];
        round(&mut stage, at, &tokens, state);
        stage.pass(70_000);
        memory.push(stage.harness.gateway().memory());
    }
    assert_eq!(stage.harness.gateway().open_streams(), 0);
    assert_eq!(stage.harness.findings(), [""; 0]);
    let parked = stage.harness.gateway().metrics().get("holdgate.parked").copied();
    assert_eq!(parked.unwrap_or(0), 0);
    println!("bytes of linear memory after each round: {memory:?}");
    let (settled, last) = (memory[SETTLED - 1], memory[ROUNDS - 1]);
    assert!(last <= settled + settled / 100, "memory grows from round to round: {memory:?}");
}

/// What of a held request the filter keeps; the proxy has its own share of each.
#[test]
fn a_parked_stream_takes_little_of_the_filter_s_memory() {
    const MOST: usize = 1_800;
    let tokens: Vec<String> = (0..AGENTS).map(|agent| token(&format!("agent-{agent}"))).collect();
    let mut stage = Stage::new(1, &json!({}), Conditions { quiet: true, ..Conditions::default() });
    let mut park = |from: usize, count: usize| {
        for at in from..from + count {
            let target = format!("/iam/users/{at}");
            stage.harness.send(sending("DELETE", &target, &tokens[at % tokens.len()], "", 0)).unwrap();
        }
        stage.harness.gateway().memory()
    };
    let before = park(0, 1_000);
    let each = (park(1_000, 3_000) - before) / 3_000;
    println!("{each} bytes of linear memory for each parked stream");
    assert!(each <= MOST, "{each}");
}
